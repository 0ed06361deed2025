//! Wrong files, and what svdkit says about them: one clear line that names the file, never a panic.
//!
//! A new case is a file made by fixtures/bad_files.py and a line here.

use std::fs;
use std::path::{Path, PathBuf};

use svdkit::checkpoint::{self, Catalogue};
use svdkit::layer::{Filter, select};

fn bad(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/bad").join(name)
}

/// Opening `path` fails with a line that names it and contains `expected`.
#[track_caller]
fn check_path(path: &Path, expected: &str) {
    let message = match checkpoint::open(path) {
        Ok(_) => panic!("{} opens", path.display()),
        Err(error) => error.to_string(),
    };
    assert!(message.contains(expected), "{message}\n  should say: {expected}");
    assert!(message.starts_with(&path.display().to_string()), "{message}\n  should name {}", path.display());
    assert!(!message.chars().any(char::is_control), "{message:?} would move the terminal");
}

#[track_caller]
fn check(name: &str, expected: &str) {
    check_path(&bad(name), expected);
}

fn open(path: &Path) -> std::sync::Arc<Catalogue> {
    checkpoint::open(path).expect("opens").1
}

#[test]
fn headers_that_do_not_parse_say_where() {
    check("empty.safetensors", "the file is empty; download or save it again");
    check("seven-bytes.safetensors", "7 bytes are too few for a safetensors file");
    check("header-longer-than-file.safetensors", "the header claims 5000 bytes, but only 96 follow");
    check(
        "header-of-all-ones.safetensors",
        "the header claims 18446744073709551615 bytes, but only 96 follow",
    );
    check("header-cut-short.safetensors", "the header claims 72 bytes, but only 52 follow");
    check("not-utf8.safetensors", "the header is not UTF-8 at its byte 5");
    check("not-json.safetensors", "EOF while parsing a list at line 1 column 68 (in `a.weight`)");
    check("not-a-map.safetensors", "the header does not start with `{`");
    check("text-after-header.safetensors", "trailing characters at line 1 column 73");
    check("deep-json.safetensors", "missing field `dtype` at line 1 column 3013 (in `a`)");
    check(
        "metadata-not-text.safetensors",
        "integer `3`, expected a string at line 1 column 27 (in `__metadata__`)",
    );
}

#[test]
fn names_given_twice_are_refused() {
    check("duplicate-name.safetensors", "the name appears twice at line 1 column 130 (in `a`)");
    check("duplicate-field.safetensors", "duplicate field `dtype` at line 1 column 72 (in `a`)");
    check("duplicate-metadata.safetensors", "the name appears twice at line 1 column 39 (in `__metadata__`)");
}

#[test]
fn tensors_that_cannot_be_are_named() {
    check("shape-overflow.safetensors", "tensor `a`: its shape is too large");
    check("zero-times-overflow.safetensors", "tensor `a`: its shape is too large");
    check(
        "size-mismatch.safetensors",
        "tensor `a`: 24 bytes are stored, but [2, 4] entries of F32 need 32 bytes",
    );
    check(
        "half-a-byte.safetensors",
        "tensor `a`: 2 bytes are stored, but [3] entries of F4 need another number",
    );
    check("offsets-reversed.safetensors", "tensor `a`: its data offsets [24, 0] are reversed");
    check(
        "offsets-outside.safetensors",
        "tensor `a`: its data end at 2400, but the file has 24 bytes of data",
    );
    check("cut-short.safetensors", "tensor `b`: its data end at 48, but the file has 40 bytes of data");
    check("overlapping.safetensors", "tensor `b`: its data start at 12, inside those of another tensor");
    check("same-bytes-twice.safetensors", "tensor `b`: its data start at 0, inside those of another tensor");
    check("hole.safetensors", "tensor `b`: 8 bytes before its data belong to no tensor");
    check("bytes-after.safetensors", "4 bytes after the last tensor belong to none");
    check("negative-shape.safetensors", "integer `-2`, expected u64 at line 1 column 35 (in `a`)");
    check("fractional-shape.safetensors", "floating point `2.5`, expected u64 at line 1 column 36 (in `a`)");
    check("huge-offset.safetensors", "expected u64 at line 1 column 80 (in `a`)");
    check("three-offsets.safetensors", "trailing characters at line 1 column 65 (in `a`)");
    check("too-many-axes.safetensors", "expected a shape of at most 32 axes at line 1 column 131 (in `a`)");
    check("no-shape.safetensors", "missing field `shape` at line 1 column 47 (in `a`)");
    check("tensor-is-a-list.safetensors", "integer `1`, expected a string at line 1 column 8 (in `a`)");
    check("escape-in-name.safetensors", "tensor `\\u{1b}[31ma`: its data offsets");
}

#[test]
fn files_of_other_kinds_are_called_by_their_name() {
    check("lfs-pointer.safetensors", "is a git-lfs pointer, not the weights; run `git lfs pull`");
    check("lfs-pointer.bin", "is a git-lfs pointer");
    check("web-page.safetensors", "is a web page, not the weights");
    check("model.h5", "is an HDF5 file");
    check("model.safetensors.gz", "is compressed with gzip; unpack it with `gunzip`");
    check("model.onnx", "is an ONNX model");
    check("bare.pkl", "is a bare pickle, which runs code when it is loaded");
    check("script.pt", "is a TorchScript program; save the weights alone");
    check("documents.zip", "is a zip archive (of `letter.txt` …), but none that `torch.save` made");
    check("no-model/config.json", "is JSON text, not weights");
    check("random.bin", "is not a checkpoint svdkit can read (diffusers, safetensors, numpy, torch, gguf)");
}

#[test]
fn incomplete_folders_name_what_is_missing() {
    check("missing-shard", "shard 2 of 3 is missing: `model-00002-of-00003.safetensors`");
    check("missing-shard-no-index", "shard 2 of 3 is missing: `model-00002-of-00003.safetensors`");
    check(
        "two-missing-shards",
        "2 of 3 shards are missing: `model-00001-of-00003.safetensors`, `model-00002",
    );
    check("broken-shard", "model-00002-of-00003.safetensors: is a git-lfs pointer");
    check("shard-outside", "shard `../nan-and-inf.safetensors` lies outside the folder");
    check("shard-absolute", "shard `/etc/model.safetensors` lies outside the folder");
}

#[test]
fn indices_that_do_not_fit_their_shards_are_refused() {
    check("index-not-json", "not a valid index: EOF while parsing an object at line 1 column 16");
    check("index-without-map", "not a valid index: missing field `weight_map`");
    check("index-map-of-numbers", "not a valid index: invalid type: integer `1`, expected a string");
    check("index-empty", "the index names no tensors");
    check("index-names-twice", "not a valid index: `a` appears twice");
    check(
        "index-promises-more",
        "`model-00002-of-00003.safetensors` lacks what the index promises: `layers.9.weight`",
    );
    check(
        "index-disagrees",
        "`model-00002-of-00003.safetensors` lacks what the index promises: `layers.0.weight`",
    );
    check(
        "same-tensor-in-two-shards",
        "tensor `layers.0.weight` is in both `model-00001-of-00003.safetensors` and",
    );
    check(
        "same-tensor-without-index",
        "tensor `a.weight` is in both `a.safetensors` and `b.fp16.safetensors`",
    );
    check(
        "two-indices",
        "holds several checkpoints; name the index of one: `one.safetensors.index.json`, `two",
    );
}

#[test]
fn folders_without_a_model_say_what_is_there() {
    check(
        "no-model",
        "looked for `*.safetensors`, their index, `pytorch_model.bin` and `*.gguf`; there is `optimizer.pt`",
    );
    check("downloaded", "; a model is in `");
}

#[test]
fn pickles_are_data_and_never_run() {
    check("hostile-pickle.pt", "holds a Python object (posix.system), not tensors by name");
    check("module.pt", "holds a Python object (torch.nn.modules.linear.Linear)");
    assert_eq!(open(&bad("hostile-value.pt")).tensors().len(), 1);
    check("deep-pickle.pt", "the pickle nests more than 100 deep");
    check("memo-bomb.pt", "holds no tensors");
    check("long-string.pt", "the pickle is cut short");
    check("long-integer.pt", "holds no tensors by name");
    check("pickle-cut-short.pt", "the pickle is cut short");
    check("pickle-underflow.pt", "the pickle is malformed: an object is missing");
    check("pickle-recalls-nothing.pt", "the pickle is malformed: it recalls what it never stored");
    check("protocol-4.pt", "holds no tensors");
    check("legacy.pt", "the pickle is cut short");
}

#[test]
fn torch_files_that_hold_no_model_say_so() {
    check("no-tensors.pt", "holds no tensors");
    check("other-keys.pt", "holds no tensors by name, but `generator`, `critic`");
    check("list.pt", "holds no tensors by name; save `model.state_dict()`");
    check("tensor-twice.pt", "tensor `a` appears twice");
    check("few-arguments.pt", "tensor `a`: its description is malformed");
    check("no-arguments.pt", "tensor `a`: its description is malformed");
    check("negative-axis.pt", "tensor `a`: a number of its description is negative");
    check("huge-shape.pt", "tensor `a`: its shape is too large");
    check("strides-missing.pt", "tensor `a`: its shape and strides differ in length");
}

#[test]
fn torch_archives_that_lack_bytes_are_refused() {
    check("storage-too-small.pt", "tensor `a`: [200, 3] entries of f32 do not fit its 24 bytes");
    check("start-outside.pt", "tensor `a`: [2, 3] entries of f32 do not fit its 24 bytes");
    check("storage-missing.pt", "tensor `a`: its data are not in the archive");
    check("storage-elsewhere.pt", "tensor `a`: its data are not in the archive");
    check("big-endian.pt", "was saved on a big-endian machine");
    check("two-pickles.pt", "the archive holds several `data.pkl`");
    check("compressed.pt", "entry `x/data.pkl` of the archive is compressed");
    check("archive-cut-short.pt", "is a zip archive without an end; the file is cut short");
    check("archive-entry-outside.pt", "entry `x/data/0` of the archive lies outside the file");
    check("archive-directory-outside.pt", "is a zip archive whose directory is not in the file");
    check("archive-directory-elsewhere.pt", "the directory of the zip archive is malformed");
}

#[test]
fn an_unknown_dtype_does_not_hide_the_other_tensors() {
    let source = open(&bad("unknown-dtype.safetensors"));
    let selection = select(source.tensors(), &Filter::default());
    assert_eq!((selection.layers.len(), selection.skipped.len()), (1, 1));
    assert_eq!(selection.skipped[0].dtype, "f3_e1m1");
}

#[test]
fn weights_that_are_not_finite_are_read_as_they_are() {
    let source = open(&bad("nan-and-inf.safetensors"));
    let layer = &select(source.tensors(), &Filter::default()).layers[0];
    let entries = source.read(layer, 0..2).expect("readable").to_f64();
    assert!(entries[1].is_nan() && entries[4] == f64::INFINITY);
}

#[test]
fn paths_that_do_not_exist_get_their_neighbors_names() {
    check("no_modle", "does not exist; did you mean `");
    check("zzzz", "does not exist");
    check("nowhere/model.safetensors", "does not exist, nor does the folder `");
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_opened() {
    use std::os::unix::{fs::symlink, net::UnixListener};
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let _listener = UnixListener::bind(at("socket")).expect("a socket");
    check_path(&at("socket"), "is a socket, not a file or folder");
    check_path(Path::new("/dev/zero"), "is a device, not a file or folder");
    symlink("gone.safetensors", at("link.safetensors")).expect("a link");
    check_path(&at("link.safetensors"), "is a link to `gone.safetensors`, which does not exist");
    let status = std::process::Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo runs");
    assert!(status.success());
    check_path(&at("pipe"), "is a pipe, not a file or folder");
    // A pipe or folder of a weight's name inside a folder is not waited on either.
    fs::rename(at("pipe"), at("model.safetensors")).expect("renamed");
    check_path(folder.path(), "is a pipe, not a file or folder");
}

#[cfg(unix)]
#[test]
fn files_without_permission_say_so() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("secret.safetensors");
    fs::write(&path, b"secret").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("forbidden");
    // The superuser may read everything.
    if fs::read(&path).is_err() {
        check_path(&path, "cannot open");
    }
}

#[test]
fn a_header_above_the_bound_is_not_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("long.safetensors");
    fs::write(&path, 150_000_000u64.to_le_bytes()).expect("written");
    fs::File::options().write(true).open(&path).expect("opens").set_len(200_000_000).expect("extended");
    check_path(&path, "the header claims 150000000 bytes; more than 100000000 are not read");
}

/// Opens a copy of a sound file, changes it, and reads on.
fn read_after(change: impl Fn(&Path)) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.safetensors");
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats/tied.safetensors");
    fs::copy(original, &path).expect("copied");
    let source = open(&path);
    let layer = &select(source.tensors(), &Filter::default()).layers[0];
    change(&path);
    let message = source.read(layer, 0..layer.rows).expect_err("the file has changed").to_string();
    assert!(message.starts_with(&format!("{}: tensor `embed.weight`: ", path.display())), "{message}");
    message
}

#[test]
fn a_file_that_changes_under_the_reader_is_an_error_that_names_the_tensor() {
    let cut = read_after(|path| {
        fs::File::options().write(true).open(path).expect("opens").set_len(500).expect("cut");
    });
    assert!(
        cut.contains("the file changed while it was read: it had") && cut.ends_with("now has 500"),
        "{cut}"
    );
    let gone = read_after(|path| fs::remove_file(path).expect("removed"));
    assert!(gone.contains("cannot open the file again"), "{gone}");
    let rewritten = read_after(|path| {
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
        fs::File::options().write(true).open(path).expect("opens").set_modified(later).expect("touched");
    });
    assert!(rewritten.contains("it was written to"), "{rewritten}");
}
