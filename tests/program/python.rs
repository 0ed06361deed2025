//! What the Python package relies on: options that are written down, and tensors read from another program's memory.

use std::fs;

use crate::harness::{BASE, program, stdout};

#[test]
fn the_package_has_the_options_of_the_program() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/python/svdkit/_options.py");
    let written = fs::read_to_string(path).unwrap();
    let made = stdout(&["python-options"]);
    assert!(made == written, "`make bless` writes _options.py anew");
}

#[cfg(unix)]
#[test]
fn tensors_are_read_from_the_memory_of_another_program() {
    use std::fs::File;

    use serde_json::json;

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let whole = fs::read(format!("{BASE}/model.safetensors")).unwrap();
    let start = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    // The data lie in three parts elsewhere, the last first; the end is in the file.
    let cuts = [start, start + 1001, start + 70_000, whole.len() - 500];
    let (mut memory, mut parts) = (b"other things".to_vec(), vec![]);
    for cut in cuts.windows(2).rev() {
        parts.insert(0, json!({"offset": cut[0], "length": cut[1] - cut[0], "address": memory.len()}));
        memory.extend(&whole[cut[0]..cut[1]]);
        memory.extend(b"between");
    }
    let mut holes = whole.clone();
    holes[start..cuts[3]].fill(0);
    fs::create_dir(at("model")).unwrap();
    fs::copy(format!("{BASE}/config.json"), at("model/config.json")).unwrap();
    fs::write(at("model/model.safetensors"), holes).unwrap();
    fs::write(at("memory"), memory).unwrap();
    let list = json!([{"path": at("model/model.safetensors"), "parts": parts}]);
    fs::write(at("list.json"), list.to_string()).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = program();
        command.arg("--borrowed").arg(at("list.json")).args(arguments).current_dir(folder.path());
        command.stdin(File::open(at("memory")).unwrap()).output().unwrap()
    };
    let rows = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap()["rows"].clone();
    let expected = stdout(&["spectrum", BASE, "--format", "json"]);
    assert_eq!(rows(&run(&["spectrum", "model", "--format", "json"]).stdout), rows(expected.as_bytes()));

    // A copy would have the holes.
    let copied = run(&["intruders", BASE, "model", "--mitigate", "0", "--out", "copy"]);
    let said = String::from_utf8_lossy(&copied.stderr);
    assert_eq!(copied.status.code(), Some(2), "{said}");
    assert!(said.contains("lies in the memory of another program"), "{said}");

    fs::write(at("list.json"), "[{}]").unwrap();
    let refused = run(&["spectrum", "model"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not a list of borrowed tensors"));
}
