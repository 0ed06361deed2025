//! Wrong GGUF, NumPy and pipeline files, and what other tools leave behind: one clear line each, as in `malformed`.
//!
//! A new case is a file made by fixtures/bad_containers.py and a line here.

use std::fs;
use std::path::{Path, PathBuf};

use svdkit::checkpoint::{self, Catalogue, Choice, Opening};
use svdkit::layer::Filter;
use svdkit::writing::CheckpointCopy;

fn bad(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/bad").join(name)
}

/// Opening `path` fails with a line that names it and contains `expected`.
#[track_caller]
fn check_with(path: &Path, choice: Choice<'_>, expected: &str) {
    let message = match checkpoint::open_with(path, &Opening { choice, ..Opening::default() }) {
        Ok(_) => panic!("{} opens", path.display()),
        Err(error) => error.to_string(),
    };
    assert!(message.contains(expected), "{message}\n  should say: {expected}");
    assert!(message.starts_with(&path.display().to_string()), "{message}\n  should name {}", path.display());
    assert!(!message.chars().any(char::is_control), "{message:?} would move the terminal");
    assert!(message.len() < 1000, "{message} is no line");
}

#[track_caller]
fn check(name: &str, expected: &str) {
    check_with(&bad(name), Choice::default(), expected);
}

fn open(name: &str) -> std::sync::Arc<Catalogue> {
    checkpoint::open(&bad(name)).expect("opens").1
}

#[test]
fn gguf_headers_that_lie_are_refused() {
    check("gguf/only-magic.gguf", "the header claims more than the file holds; the file is cut short");
    check("gguf/cut-short.gguf", "the header claims more than the file holds; the file is cut short");
    check("gguf/magic-in-name.gguf", "is not a checkpoint svdkit can read");
    check("gguf/version-1.gguf", "is GGUF of version 1, which is no longer read; convert it again");
    check("gguf/version-9.gguf", "is GGUF of version 9; svdkit reads 2 and 3");
    check("gguf/big-endian.gguf", "is a big-endian GGUF file");
    check(
        "gguf/counts-that-lie.gguf",
        "the header claims 1152921504606846976 tensors, more than the file can hold",
    );
    check("gguf/pairs-that-lie.gguf", "are the most");
    check("gguf/name-that-lies.gguf", "a name of 1152921504606846976 bytes is not read; 65535 are the most");
    check("gguf/long-name.gguf", "a name of 70000 bytes is not read");
    check("gguf/name-not-utf8.gguf", "a name in the header is not UTF-8");
    check("gguf/array-that-lies.gguf", "metadata `a`: the header claims more than the file holds");
    check("gguf/texts-that-lie.gguf", "metadata `a`: the header claims more than the file holds");
    check("gguf/deep-arrays.gguf", "metadata `a`: arrays nest too deep");
    check("gguf/unknown-value.gguf", "metadata `a`: its type 77 is unknown");
    check("gguf/key-twice.gguf", "metadata `a` appears twice");
    check("gguf/alignment-zero.gguf", "metadata `general.alignment` is not a power of two");
    check("gguf/alignment-three.gguf", "metadata `general.alignment` is not a power of two");
}

#[test]
fn gguf_tensors_that_cannot_be_are_named() {
    check("gguf/name-twice.gguf", "tensor `a` appears twice");
    check("gguf/escape-in-name.gguf", "tensor `\\u{1b}[31ma`: its 24 bytes at 1099511627776");
    check("gguf/five-axes.gguf", "tensor `a`: 5 axes; 4 are the most");
    check("gguf/axes-that-lie.gguf", "tensor `a`: 4294967295 axes; 4 are the most");
    check("gguf/shape-overflow.gguf", "tensor `a`: its shape is too large");
    check("gguf/zero-times-overflow.gguf", "tensor `a`: its shape is too large");
    check("gguf/bytes-overflow.gguf", "tensor `a`: its shape is too large");
    check("gguf/rows-without-blocks.gguf", "tensor `a`: rows of 33 entries are no blocks of 32 Q4_0");
    check("gguf/outside.gguf", "tensor `a`: its 24 bytes at 48 of the data are not all in the file");
    check("gguf/far-outside.gguf", "tensor `a`: its 24 bytes at 18446744073709551608 of the data are not");
    check("gguf/overlapping.gguf", "tensor `b`: its data start at 8, inside those of another tensor");
    assert_eq!(open("gguf/empty.gguf").tensors(), []);
    let unknown = open("gguf/only-unknown-types.gguf").select(&Filter::default());
    assert_eq!(unknown.skipped[0].reason, "blocks of type 99 are not decoded");
}

#[test]
fn gguf_pieces_are_all_there_or_named() {
    check("gguf/one-of-three.gguf", "is one of 3 pieces, which are found by their names");
    check("gguf-missing-piece", "shard 2 of 3 is missing: `a-00002-of-00003.gguf`");
    let path = bad("gguf-missing-piece/a-00003-of-00003.gguf");
    let message = checkpoint::open(&path).map(drop).expect_err("a piece is missing").to_string();
    assert!(message.contains("shard 2 of 3 is missing"), "{message}");
    check("gguf-several", "holds several GGUF models; name the file of one: `a.gguf`, `b.gguf`");
}

#[test]
fn arrays_that_are_none_are_named() {
    check("numpy/only-magic.npy", "does not start as an array does");
    check("numpy/no-array.npz", "tensor `a`: does not start as an array does");
    check("numpy/cut-short.npy", "its header is cut short");
    check("numpy/header-that-lies.npy", "its header is cut short");
    check("numpy/long-header.npy", "a header of 2147483648 bytes is not read; 65535 are the most");
    check("numpy/version-9.npy", "is an array of version 9, which is unknown");
    check("numpy/not-a-literal.npy", "its header is not understood: `__import__('os').system('true')`");
    check("numpy/no-shape.npy", "its header is not understood: `{'descr': '<f4'}`");
    check("numpy/escape-in-header.npy", "its header is not understood: `{'\\u{1b}[31m': 1}`");
    check("numpy/many-axes.npy", "its header is not understood");
    check("numpy/shape-too-small.npy", "24 bytes are stored, but [2, 2] entries need 16 bytes");
    check("numpy/shape-too-large.npy", "24 bytes are stored, but [2000, 3] entries need 24000 bytes");
    check("numpy/shape-overflow.npy", "its shape is too large");
    check("numpy/zero-times-overflow.npy", "its shape is too large");
    check("numpy/bad-entry.npz", "tensor `\\u{1b}[31mb`: 20 bytes are stored");
    check("numpy/other-entry.npz", "entry `notes.txt` of the archive is not an array");
    check(
        "numpy/compressed.npz",
        "entry `a.npy` of the archive is compressed; load the file and save it again",
    );
}

#[test]
fn pipelines_that_are_not_whole_name_what_is_missing() {
    check("pipeline", "`model_index.json` names no component that holds weights");
    check("pipeline-not-json", "not a valid index: EOF while parsing an object");
    check("pipeline-outside", "component `../gguf-several` lies outside the folder");
    check("pipeline-without-weights", "component `unet` of `model_index.json` holds no weights");
    check("pipeline-of-two", "component `vae` of `model_index.json` holds no weights; download it");
}

#[test]
fn a_pipeline_is_not_copied_in_part() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats/pipeline");
    let (_, source) = checkpoint::open(&path).expect("opens");
    let error =
        CheckpointCopy::check(&path, source.as_ref(), Path::new("nowhere")).expect_err("refused").to_string();
    assert!(error.contains("is a pipeline; name the folder of the component"), "{error}");
}

#[test]
fn a_choice_that_is_not_offered_is_refused() {
    let variant = Choice { variant: Some("fp16"), ..Choice::default() };
    let components = ["text_encoder".to_owned()];
    let component = Choice { components: &components, ..Choice::default() };
    let dialects = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats");
    check_with(&dialects.join("sharded"), variant, "holds no files of the variant `fp16`");
    check_with(&dialects.join("tied.safetensors"), variant, "is not a folder, so `--variant` does not apply");
    check_with(&dialects.join("sharded"), component, "is not a pipeline of components");
    check_with(&bad("pipeline-of-two"), component, "has no component `text_encoder`; it has `unet`, `vae`");
}

#[test]
fn what_other_tools_write_is_called_by_its_name_and_its_converter() {
    check("model.engine", "is a TensorRT engine, compiled for one GPU");
    check("hqq", "says that it is quantized by HQQ, which is not decoded; point svdkit at the model it");
    check("mlx", "is quantized by MLX; convert it with `mlx_lm.convert");
    check("distributed", "python -m torch.distributed.checkpoint.format_utils dcp_to_torch");
    check("distributed/__0_0.distcp", "`accelerate merge-weights DIR OUT`");
    check("fsdp", "is a distributed checkpoint (DCP, FSDP)");
    check("deepspeed", "is a DeepSpeed checkpoint: merge it with the `zero_to_fp32.py`");
    check("megatron", "is a Megatron checkpoint, cut up for several GPUs: convert it with");
    check("verl", "merge them with `python -m verl.model_merger merge");
    check("llama", "`convert_llama_weights_to_hf.py` of transformers");
    check("tensorflow", "is a TensorFlow checkpoint");
    check("unconsolidated", "each with a part of every tensor: consolidate them");
    check("ranks", "holds one file a rank of a TensorRT-LLM model");
}

#[cfg(unix)]
#[test]
fn pipes_and_circles_among_pieces_are_not_waited_for() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let piece = bad("gguf/one-of-three.gguf");
    fs::copy(&piece, at("m-00001-of-00002.gguf")).expect("copied");
    let status = std::process::Command::new("mkfifo").arg(at("m-00002-of-00002.gguf")).status();
    assert!(status.expect("mkfifo runs").success());
    let message = checkpoint::open(folder.path()).map(drop).expect_err("a pipe").to_string();
    assert!(message.contains("is one of 3 pieces") || message.contains("is a pipe"), "{message}");
    fs::remove_file(at("m-00001-of-00002.gguf")).expect("removed");
    symlink(at("m-00001-of-00002.gguf"), at("m-00001-of-00002.gguf")).expect("a circle");
    let message = checkpoint::open(folder.path()).map(drop).expect_err("a circle").to_string();
    assert!(message.contains("is missing") || message.contains("cannot open"), "{message}");
    // A circle of folders.
    symlink(folder.path(), at("model")).expect("a circle");
    fs::write(at("model_index.json"), r#"{"model": ["diffusers", "X"]}"#).expect("written");
    check_with(folder.path(), Choice::default(), "");
}

#[test]
fn a_folder_of_a_hundred_thousand_names_is_looked_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for i in 0..100_000 {
        fs::File::create(folder.path().join(format!("step-{i}\u{1b}[31m.txt"))).expect("created");
    }
    fs::File::create(folder.path().join("opt-0\u{1b}[31m.pt")).expect("created");
    check_with(folder.path(), Choice::default(), "; there is `opt-0\\u{1b}[31m.pt`: name the file");
}
