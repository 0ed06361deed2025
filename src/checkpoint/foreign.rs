//! What is not read, and what to do about it: tables of first bytes, of names, and of ways to quantize.
//!
//! Says what something is, never whether a checkpoint that is read is right.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::input;
use crate::error::{Error, brief};

const TENSORRT: &str =
    "is a TensorRT engine, compiled for one GPU; point svdkit at the checkpoint it was built from";

const PICKLE: &str = "is a bare pickle, which runs code when it is loaded; save its weights with \
                      `safetensors.torch.save_file`, or with `torch.save`";

/// First bytes, and what they say about a file.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"version https://git-lfs", "is a git-lfs pointer, not the weights; run `git lfs pull`"),
    (b"ggjt", "is a GGML file; point svdkit at the safetensors checkpoint it was made from"),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file (Keras); save its weights with `safetensors.numpy.save_file`"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it with `gunzip`"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it with `unzstd`"),
    (b"\xfd7zXZ\0", "is compressed with xz; unpack it with `unxz`"),
    (b"BZh", "is compressed with bzip2; unpack it with `bunzip2`"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it"),
    (b"ftrt", TENSORRT),
    (b"ptrt", TENSORRT),
    (b"PAR1", "is a Parquet table, not a checkpoint"),
    (
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
        "is a PyTorch file from before version 1.6; load it and save it again with `torch.save`",
    ),
    (b"\x80\x02", PICKLE),
    (b"\x80\x03", PICKLE),
    (b"\x80\x04", PICKLE),
    (b"\x80\x05", PICKLE),
    (b"\x7fELF", "is a program or library, not a checkpoint"),
    (b"%PDF", "is a PDF document, not a checkpoint"),
];

/// What a file is, by its first bytes, if that is known and not read.
pub(super) fn file(head: &[u8]) -> Option<&'static str> {
    if let Some((_, what)) = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)) {
        return Some(what);
    }
    let text: String = head.iter().take(64).map(|b| char::from(b.to_ascii_lowercase())).collect();
    let text = text.trim_start();
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return Some("is a web page, not the weights; the download needs a login or another address");
    }
    if text.starts_with('{') || text.starts_with('[') {
        return Some("is JSON text, not weights; name the folder or the weight file beside it");
    }
    // An ONNX file is a protobuf: field 1 (the version, a small number), then field 2 (the producer's name) or 7.
    if let [0x08, 1..=32, 0x12 | 0x3a, ..] = head {
        return Some("is an ONNX model; point svdkit at the checkpoint it was exported from");
    }
    None
}

/// How the files of a kind are called.
struct Names {
    start: &'static str,
    end: &'static str,
    what: &'static str,
}

const fn names(start: &'static str, end: &'static str, what: &'static str) -> Names {
    Names { start, end, what }
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

/// Names of files that hold slices of tensors: however well each file reads, together they are no model.
const SLICES: &[Names] = &[
    names("", ".distcp", DISTRIBUTED),
    names("zero_pp_rank_", ".pt", DEEPSPEED),
    names("bf16_zero_pp_rank_", ".pt", DEEPSPEED),
    names("model_world_size_", ".pt", VERL),
    names("consolidated.01", ".pth", LLAMA),
    names("rank1.", "safetensors", RANKS),
    names("shard-00001-model-", ".safetensors", UNCONSOLIDATED),
];

/// Names of files and folders that say what a folder is in which nothing is read.
const OTHERS: &[Names] = &[
    names("mp_rank_", "_model_states.pt", DEEPSPEED),
    names("global_step", "", DEEPSPEED),
    names("mp_rank_", "", MEGATRON),
    names("iter_", "", MEGATRON),
    names("pytorch_model_fsdp_", "", DISTRIBUTED),
    names("", ".onnx", "is an ONNX model; point svdkit at the checkpoint it was exported from"),
    names("", ".engine", TENSORRT),
    names("", ".plan", TENSORRT),
    names("", ".data-00000-of-00001", TENSORFLOW),
    names("saved_model.pb", "", TENSORFLOW),
    names("flax_model.msgpack", "", "is a Flax model; load it with `from_flax=True` and save it again"),
    names("", ".nemo", "is a NeMo archive; unpack it with `tar`"),
];

/// What the names of a folder say that it is, if nothing in it is read.
pub(super) fn folder(folder: &Path, files: &[String]) -> Option<&'static str> {
    let below = super::probe::subfolders(folder);
    let below = below.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy());
    let all: Vec<_> = files.iter().map(Into::into).chain(below).collect();
    SLICES.iter().chain(OTHERS).find(|names| all.iter().any(|name| names.fit(name))).map(|names| names.what)
}

/// Refuses a file, or a folder with a file, that holds slices of tensors.
pub(super) fn refuse_slices(path: &Path) -> Result<(), Error> {
    let files = match path.file_name() {
        _ if path.is_dir() => super::folder::listing(path)?,
        Some(name) => vec![name.to_string_lossy().into_owned()],
        None => vec![],
    };
    match SLICES.iter().find(|names| files.iter().any(|name| names.fit(name))) {
        Some(names) => Err(Error::malformed(path, names.what)),
        None => Ok(()),
    }
}

impl Names {
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

/// A configuration longer than this is not looked at.
const LONGEST: u64 = 16_000_000;

/// The part of a model's configuration that says how its weights are packed.
#[derive(Deserialize)]
struct Config {
    quantization_config: Option<Method>,
    quantization: Option<Mlx>,
}

#[derive(Deserialize)]
struct Method {
    quant_method: Option<String>,
}

/// What MLX writes.
#[derive(Deserialize)]
#[expect(dead_code, reason = "that both are there tells whose configuration it is")]
struct Mlx {
    bits: u64,
    group_size: u64,
}

/// Refuses weights at `path` whose configuration says that they are packed in a way that is not decoded.
/// A configuration that cannot be read is no reason: the weights say themselves what they are.
pub(super) fn refuse_packed(path: &Path) -> Result<(), Error> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let file = folder.join("config.json");
    if !input::exists(&file) {
        return Ok(());
    }
    let mut text = String::new();
    let read = input::open(&file)?.take(LONGEST).read_to_string(&mut text);
    let Some(config) = read.ok().and_then(|_| serde_json::from_str::<Config>(&text).ok()) else {
        return Ok(());
    };
    if config.quantization.is_some() {
        let what =
            "is quantized by MLX; convert it with `mlx_lm.convert --hf-path DIR --mlx-path OUT --dequantize`";
        return Err(Error::malformed(path, what));
    }
    let method = config.quantization_config.and_then(|method| method.quant_method).unwrap_or_default();
    match METHODS.iter().find(|(name, _)| method == *name) {
        Some((_, name)) => {
            let reason = format!(
                "`{}` says that it is quantized by {name}, which is not decoded; point svdkit at the model it was \
                 made from",
                brief(&file.to_string_lossy())
            );
            Err(Error::malformed(path, reason))
        }
        None => Ok(()),
    }
}
