//! Unsupported formats and what to do instead: tables of first bytes, of names, and of quantization methods.
//!
//! It names a format; it never judges whether a supported checkpoint is valid. Formats of weights that are not read
//! stand in `FORMATS` with those that are.

use super::candidate::{Candidate, CandidateKind};
use super::{FORMATS, Format, config, presence};
use crate::error::{Error, brief};
use crate::store::Location;

/// Keras's format.
pub(crate) const HDF5: Format = Format::refused(
    "hdf5",
    &[".h5"],
    |head| head.starts_with(b"\x89HDF\r\n\x1a\n"),
    "is an HDF5 file (Keras); save its weights with `safetensors.numpy.save_file`",
);

/// A protobuf: field 1 (the version, a small number), then field 2 (the producer's name) or 7.
pub(crate) const ONNX: Format =
    Format::refused("onnx", &[".onnx"], |head| matches!(head, [0x08, 1..=32, 0x12 | 0x3a, ..]), EXPORTED);

/// Engines of TensorRT.
pub(crate) const ENGINE: Format = Format::refused(
    "tensorrt",
    &[".engine", ".plan"],
    |head| head.starts_with(b"ftrt") || head.starts_with(b"ptrt"),
    TENSORRT,
);

/// Flax's format; its first bytes don't identify it.
pub(crate) const MSGPACK: Format = Format::refused("flax", &[".msgpack"], |_| false, FLAX);

const EXPORTED: &str = "is an ONNX model; point svdkit at the checkpoint it was exported from";
const FLAX: &str = "is a Flax model; load it with `from_flax=True` and save it again";
const TENSORRT: &str =
    "is a TensorRT engine, compiled for one GPU; point svdkit at the checkpoint it was built from";

const PICKLE: &str = "is a bare pickle, which runs code when it is loaded; save its weights with \
                      `safetensors.torch.save_file`, or with `torch.save`";

/// First bytes, and the message for such a file.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"version https://git-lfs", "is a git-lfs pointer, not the weights; run `git lfs pull`"),
    (b"ggjt", "is a GGML file; point svdkit at the safetensors checkpoint it was made from"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it with `gunzip`"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it with `unzstd`"),
    (b"\xfd7zXZ\0", "is compressed with xz; unpack it with `unxz`"),
    (b"BZh", "is compressed with bzip2; unpack it with `bunzip2`"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it"),
    (b"PAR1", "is a Parquet table, not a checkpoint"),
    (b"\x80\x02", PICKLE),
    (b"\x80\x03", PICKLE),
    (b"\x80\x04", PICKLE),
    (b"\x80\x05", PICKLE),
    (b"\x7fELF", "is a program or library, not a checkpoint"),
    (b"%PDF", "is a PDF document, not a checkpoint"),
];

/// The message for an unsupported file, by its first bytes.
fn file(head: &[u8]) -> Option<&'static str> {
    if let Some(words) = FORMATS.iter().find_map(|format| format.refuses(head)) {
        return Some(words);
    }
    if let Some((_, what)) = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)) {
        return Some(what);
    }
    let text: String = head.iter().take(64).map(|b| char::from(b.to_ascii_lowercase())).collect();
    let text = text.trim_start();
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return Some("is a web page, not the weights; the download needs a login or another address");
    }
    if text.starts_with('{') && text.contains("\"svdkit\":") {
        return Some("is a report of svdkit, not weights; name the model that it is about");
    }
    if text.starts_with('{') || text.starts_with('[') {
        return Some("is JSON text, not weights; name the folder or the weight file beside it");
    }
    None
}

/// Refuses a file that begins as one which is known and not read.
pub(crate) fn refuse(location: &Location, head: &[u8]) -> Result<(), Error> {
    file(head).map_or(Ok(()), |what| Err(location.malformed(what)))
}

/// How the files of a kind are called.
struct FileNames {
    start: &'static str,
    end: &'static str,
    what: &'static str,
}

const fn names(start: &'static str, end: &'static str, what: &'static str) -> FileNames {
    FileNames { start, end, what }
}

const DISTRIBUTED: &str = "is a distributed checkpoint (DCP, FSDP): convert it with `python -m \
                           torch.distributed.checkpoint.format_utils dcp_to_torch DIR OUT.pt`, or with \
                           `accelerate merge-weights DIR OUT`";
const DEEPSPEED: &str =
    "is a DeepSpeed checkpoint: merge it with the `zero_to_fp32.py` that DeepSpeed puts beside it";
const MEGATRON: &str = "is a Megatron checkpoint, cut up for several GPUs: convert it with \
                        `tools/checkpoint/convert.py` of Megatron-LM, or with Megatron-Bridge";
const VERL: &str = "holds the ranks of an FSDP run of verl: merge them with `python -m verl.model_merger merge \
                    --backend fsdp --local_dir DIR --target_dir OUT`";
const LLAMA: &str = "holds Llama's weights cut up for several GPUs: convert them with \
                     `convert_llama_weights_to_hf.py` of transformers";
const RANKS: &str =
    "holds one file a rank of a TensorRT-LLM model; point svdkit at the checkpoint it was made from";
const UNCONSOLIDATED: &str = "holds the shards of a distributed checkpoint, each with a part of every tensor: \
                              consolidate them with \
                              `torch.distributed.checkpoint._consolidate_hf_safetensors`";
const TENSORFLOW: &str = "is a TensorFlow checkpoint; save its weights with `safetensors.numpy.save_file`";

/// Names of files that hold slices of tensors: each file may be readable, but together they are not a model.
const SLICES: &[FileNames] = &[
    names("", ".distcp", DISTRIBUTED),
    names("zero_pp_rank_", ".pt", DEEPSPEED),
    names("bf16_zero_pp_rank_", ".pt", DEEPSPEED),
    names("model_world_size_", ".pt", VERL),
    names("consolidated.01", ".pth", LLAMA),
    names("rank1.", "safetensors", RANKS),
    names("shard-00001-model-", ".safetensors", UNCONSOLIDATED),
];

/// Names of files and folders that identify an unsupported folder.
const OTHERS: &[FileNames] = &[
    names("mp_rank_", "_model_states.pt", DEEPSPEED),
    names("global_step", "", DEEPSPEED),
    names("mp_rank_", "", MEGATRON),
    names("iter_", "", MEGATRON),
    names("pytorch_model_fsdp_", "", DISTRIBUTED),
    names("", ".onnx", EXPORTED),
    names("", ".engine", TENSORRT),
    names("", ".plan", TENSORRT),
    names("", ".data-00000-of-00001", TENSORFLOW),
    names("saved_model.pb", "", TENSORFLOW),
    names("flax_model.msgpack", "", FLAX),
    names("", ".nemo", "is a NeMo archive; unpack it with `tar`"),
];

/// The message for an unsupported folder, by the names in it.
pub(crate) fn folder(folder: &Location, files: &[String]) -> Option<&'static str> {
    let below = presence::subfolders(folder);
    let all: Vec<_> = files.iter().cloned().chain(below.iter().map(Location::name)).collect();
    SLICES.iter().chain(OTHERS).find(|names| all.iter().any(|name| names.fit(name))).map(|names| names.what)
}

/// Refuses a file, or a folder with a file, that holds slices of tensors.
pub(crate) fn refuse_slices(candidate: &Candidate<'_>) -> Result<(), Error> {
    let own = [candidate.location.name()];
    let files = match &candidate.content {
        CandidateKind::Folder(names) => &names[..],
        CandidateKind::File(_) => &own,
    };
    match SLICES.iter().find(|names| files.iter().any(|name| names.fit(name))) {
        Some(names) => Err(candidate.location.malformed(names.what)),
        None => Ok(()),
    }
}

impl FileNames {
    fn fit(&self, name: &str) -> bool {
        name.starts_with(self.start) && name.ends_with(self.end)
    }
}

/// Ways to quantize whose packed weights are not decoded, by the name in `quantization_config`.
const METHODS: &[(&str, &str)] = &[
    ("hqq", "HQQ"),
    ("aqlm", "AQLM"),
    ("quanto", "quanto"),
    ("eetq", "EETQ"),
    ("exl2", "ExLlamaV2 (exl2)"),
    ("exl3", "ExLlamaV3 (exl3)"),
    ("torchao", "torchao"),
    ("higgs", "HIGGS"),
    ("vptq", "VPTQ"),
    ("spqr", "SpQR"),
];

/// Refuses weights whose configuration says that they are packed in a way that is not decoded.
/// An unreadable configuration is no reason to refuse: the weights describe themselves.
pub(crate) fn refuse_packed(candidate: &Candidate<'_>) -> Result<(), Error> {
    let Ok(config) = candidate.config() else { return Ok(()) };
    // Both files together identify the tool.
    let number = |key: &str| config.field("quantization")?.get(key)?.as_u64();
    if number("bits").and(number("group_size")).is_some() {
        let what =
            "is quantized by MLX; convert it with `mlx_lm.convert --hf-path DIR --mlx-path OUT --dequantize`";
        return Err(candidate.location.malformed(what));
    }
    let method = config.field("quantization_config").and_then(|method| method.get("quant_method")?.as_str());
    let Some((_, name)) = METHODS.iter().find(|(name, _)| method == Some(*name)) else { return Ok(()) };
    let file = candidate.location.folder().join(config::NAME).describe();
    let reason = format!(
        "`{}` says that it is quantized by {name}, which is not decoded; point svdkit at the model it was made from",
        brief(&file.to_string_lossy())
    );
    Err(candidate.location.malformed(reason))
}
