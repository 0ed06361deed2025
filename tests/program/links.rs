//! What `--mitigate` copies of a model that holds links: nothing from outside of its folder.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;

use super::harness::program;

fn charlm(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/charlm").join(name)
}

fn svdkit(folder: &Path, arguments: &[&str]) -> Output {
    program().current_dir(folder).args(arguments).output().unwrap()
}

/// What `--mitigate` copies of `tuned`, and what it says.
fn mitigated(tuned: &Path, out: &Path) -> (Vec<String>, String) {
    let base = charlm("base");
    let words = [
        "intruders",
        base.to_str().unwrap(),
        tuned.to_str().unwrap(),
        "--mitigate",
        "0.5",
        "--include",
        "*.0.*q_proj",
    ];
    let output = svdkit(Path::new("."), &[&words[..], &["--out", out.to_str().unwrap()]].concat());
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{err}");
    let mut names: Vec<String> =
        fs::read_dir(out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    (names, err)
}

#[test]
fn a_copy_takes_nothing_from_outside_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("model")).unwrap();
    fs::copy(charlm("full/model.safetensors"), at("weights")).unwrap();
    fs::write(at("secret.json"), "{\"token\": 1}").unwrap();
    fs::write(at("model/vocabulary.txt"), "a").unwrap();
    for (target, link) in [
        ("../weights", "model.safetensors"),
        ("/etc/passwd", "tokenizer.json"),
        ("../secret.json", "config.json"),
        ("vocabulary.txt", "inside.txt"),
        ("chain-2", "chain.txt"),
        ("../secret.json", "chain-2"),
        ("nowhere", "dangling.txt"),
    ] {
        symlink(target, at("model").join(link)).unwrap();
    }
    let (names, err) = mitigated(&at("model"), &at("out"));
    assert_eq!(names, ["inside.txt", "model.safetensors", "vocabulary.txt"]);
    for left in ["tokenizer.json", "config.json", "chain.txt", "chain-2", "dangling.txt"] {
        assert!(err.contains(&format!("without `{left}`")), "{left}: {err}");
    }
    assert!(fs::symlink_metadata(at("out/inside.txt")).unwrap().is_file(), "a copy, not a link");
}

#[test]
fn a_snapshot_of_a_download_cache_is_copied_with_its_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("models--a--b");
    let (blobs, snapshot) = (repository.join("blobs"), repository.join("snapshots/0123"));
    fs::create_dir_all(&blobs).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    for name in ["model.safetensors", "config.json"] {
        fs::copy(charlm("full").join(name), blobs.join(name)).unwrap();
        symlink(Path::new("../../blobs").join(name), snapshot.join(name)).unwrap();
    }
    symlink("/etc/passwd", blobs.join("passwd")).unwrap();
    symlink("../../blobs/passwd", snapshot.join("tokenizer.json")).unwrap();
    let (names, err) = mitigated(&snapshot, &folder.path().join("out"));
    assert_eq!(names, ["config.json", "model.safetensors"]);
    assert!(err.contains("without `tokenizer.json`"), "{err}");
}

#[test]
fn an_adapter_whose_settings_lie_elsewhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("adapter");
    fs::create_dir(&adapter).unwrap();
    fs::copy(charlm("lora-r4/adapter_model.safetensors"), adapter.join("adapter_model.safetensors")).unwrap();
    symlink(charlm("lora-r4/adapter_config.json"), adapter.join("adapter_config.json")).unwrap();
    let (base, out) = (charlm("base"), folder.path().join("out"));
    let words = [
        base.to_str().unwrap(),
        adapter.to_str().unwrap(),
        "--mitigate",
        "0",
        "--out",
        out.to_str().unwrap(),
    ];
    let output = svdkit(folder.path(), &[&["intruders"], &words[..]].concat());
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err.contains("is a link out of the adapter's folder"), "{err}");
    assert!(!out.exists());
}
