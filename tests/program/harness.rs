//! Running the program, reading what it says, and files made for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Map, Value, json};

/// The bundled model.
pub(crate) const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/base");

/// A tensor to be written: name, type, shape, bytes.
pub(crate) type Stored = (String, &'static str, Vec<usize>, Vec<u8>);

/// The program without an environment, and without the cache of whoever runs the tests.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svdkit"));
    command.env_clear().env("CI", "true");
    command
}

/// Runs the program.
pub(crate) fn svdkit(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// The same in `folder`.
pub(crate) fn svdkit_in(folder: &Path, arguments: &[&str]) -> Output {
    program().args(arguments).current_dir(folder).output().unwrap()
}

/// What it prints where all goes well.
#[track_caller]
pub(crate) fn stdout(arguments: &[&str]) -> String {
    let output = svdkit(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The JSON report, whatever the rules said.
#[track_caller]
pub(crate) fn json(arguments: &[&str]) -> Value {
    parsed(&svdkit(&[arguments, &["--format", "json"]].concat()), arguments)
}

/// The same in `folder`.
#[track_caller]
pub(crate) fn json_in(folder: &Path, arguments: &[&str]) -> Value {
    parsed(&svdkit_in(folder, &[arguments, &["--format", "json"]].concat()), arguments)
}

#[track_caller]
fn parsed(output: &Output, arguments: &[&str]) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{arguments:?}: {e}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Its exit code, and a part of what it says on stderr.
#[track_caller]
pub(crate) fn check_exit(arguments: &[&str], code: i32, stderr: &str) {
    checked(&svdkit(arguments), arguments, code, stderr);
}

/// The same in `folder`.
#[track_caller]
pub(crate) fn check_exit_in(folder: &Path, arguments: &[&str], code: i32, stderr: &str) {
    checked(&svdkit_in(folder, arguments), arguments, code, stderr);
}

#[track_caller]
fn checked(output: &Output, arguments: &[&str], code: i32, stderr: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(stderr), "{arguments:?}: {said}");
}

pub(crate) fn list<'r>(report: &'r Value, key: &str) -> &'r [Value] {
    report[key].as_array().unwrap()
}

/// The rows of which `column` is above zero, by their tensors.
pub(crate) fn told<'r>(report: &'r Value, column: &str) -> Vec<&'r str> {
    let told = list(report, "rows").iter().filter(|row| row[column].as_f64().is_some_and(|x| x > 0.0));
    told.map(|row| row["tensor"].as_str().unwrap()).collect()
}

pub(crate) fn stored(name: &str, dtype: &'static str, shape: &[usize], bytes: Vec<u8>) -> Stored {
    (name.to_owned(), dtype, shape.to_vec(), bytes)
}

/// Floats that differ from those of another seed.
pub(crate) fn floats(count: usize, seed: usize) -> Vec<u8> {
    let float = |i: usize| ((i * 37 + seed * 11) % 97) as f32 / 50.0 - 1.0 + i as f32;
    (0..count).flat_map(|i| float(i).to_le_bytes()).collect()
}

/// Writes a safetensors file.
pub(crate) fn save(path: &Path, tensors: &[Stored]) {
    let (mut header, mut data) = (Map::new(), vec![]);
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        data.extend_from_slice(bytes);
    }
    let header = Value::Object(header).to_string().into_bytes();
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()).unwrap();
}

/// The bundled model in a file of that name, each tensor, told by name and columns, as `change` leaves it; dropped where
/// that is nothing.
pub(crate) fn planted(
    folder: &Path,
    name: &str,
    change: impl Fn(&str, usize, Vec<u8>) -> Option<Vec<u8>>,
) -> PathBuf {
    let bytes = fs::read(Path::new(BASE).join("model.safetensors")).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: Map<String, Value> = serde_json::from_slice(&bytes[8..start]).unwrap();
    let mut kept = vec![];
    for (tensor, info) in tensors.iter().filter(|(name, _)| *name != "__metadata__") {
        let at = |i: usize| start + info["data_offsets"][i].as_u64().unwrap() as usize;
        let shape: Vec<usize> = serde_json::from_value(info["shape"].clone()).unwrap();
        let bare = tensor.strip_suffix(".weight").unwrap();
        let cols = *shape.last().unwrap();
        let changed = change(bare, cols, bytes[at(0)..at(1)].to_vec());
        kept.extend(changed.map(|bytes| (tensor.clone(), "BF16", shape, bytes)));
    }
    let path = folder.join(name);
    save(&path, &kept);
    path
}
