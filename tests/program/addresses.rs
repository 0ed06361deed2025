//! Models named as on the Hugging Face hub, found in a cache that the test lays out as the hub's libraries do.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use super::harness::program;

const CHARLM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm");
const COMMIT: &str = "7ae557604adf67be50417f59c2c2f167def9a775";
const OTHER: &str = "7ae5ffffadf67be50417f59c2c2f167def9a7750";

/// A cache with `tiny/charlm` at two commits (the second holds the settings alone) and an adapter of it.
struct Cache {
    home: TempDir,
}

impl Cache {
    fn new() -> Self {
        let cache = Self { home: tempfile::tempdir().unwrap() };
        let model = cache.repository("models--tiny--charlm");
        add(&model, COMMIT, "model.safetensors", &Path::new(CHARLM).join("base/model.safetensors"));
        add(&model, COMMIT, "sub/config.json", &Path::new(CHARLM).join("base/config.json"));
        add(&model, OTHER, "config.json", &Path::new(CHARLM).join("base/config.json"));
        point(&model, "main", COMMIT);
        point(&model, "v1", OTHER);
        point(&model, "refs/pr/3", COMMIT);
        let adapter = cache.repository("models--tiny--lora");
        for file in ["adapter_model.safetensors", "adapter_config.json"] {
            add(&adapter, OTHER, file, &Path::new(CHARLM).join("lora-r4").join(file));
        }
        point(&adapter, "main", OTHER);
        cache
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.home.path().join("hub").join(name)
    }

    fn svdkit(&self, arguments: &[&str]) -> Output {
        let mut command = program();
        command.args(arguments).current_dir(&self.home).env("HF_HOME", self.home.path());
        command.output().unwrap()
    }

    fn check_found(&self, model: &str) {
        let output = self.svdkit(&["spectrum", model, "--include", "*.0.*", "--format", "json"]);
        assert_eq!(output.status.code(), Some(0), "{model}: {}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["model"]["commit"], COMMIT, "{model}");
        assert_eq!(report["model"]["path"], model);
        assert_eq!(report["totals"]["measured"], 7);
    }

    fn check_refused(&self, model: &str, expected: &str) {
        let output = self.svdkit(&["spectrum", model]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{model}: {said}");
        assert!(said.contains(expected), "{model}: {said}");
        assert_eq!(said.lines().count(), 1, "{model}: {said}");
    }
}

/// Puts a file into a snapshot: its bytes among the blobs, a link to them under its name.
fn add(repository: &Path, commit: &str, name: &str, from: &Path) {
    let blob = format!("{commit}{}", name.replace('/', "-"));
    fs::create_dir_all(repository.join("blobs")).unwrap();
    fs::copy(from, repository.join("blobs").join(&blob)).unwrap();
    let link = repository.join("snapshots").join(commit).join(name);
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    let up = "../".repeat(2 + name.matches('/').count());
    symlink(format!("{up}blobs/{blob}"), link).unwrap();
}

fn point(repository: &Path, name: &str, text: &str) {
    let reference = repository.join("refs").join(name);
    fs::create_dir_all(reference.parent().unwrap()).unwrap();
    fs::write(reference, text).unwrap();
}

#[test]
fn a_model_in_the_cache_is_found_by_each_of_its_names() {
    let cache = Cache::new();
    for model in [
        "tiny/charlm",
        "tiny/charlm@main",
        "tiny/charlm@refs/pr/3",
        "tiny/charlm/model.safetensors",
        "hf://tiny/charlm",
        "hf://models/tiny/charlm@main/model.safetensors",
        "https://huggingface.co/tiny/charlm",
        "https://huggingface.co/tiny/charlm/blob/main/model.safetensors",
    ] {
        cache.check_found(model);
    }
    cache.check_found(&format!("tiny/charlm@{COMMIT}"));
    cache.check_found(&format!("tiny/charlm@{}", &COMMIT[..8]));
}

#[test]
fn the_commit_stands_below_the_table() {
    let output = Cache::new().svdkit(&["spectrum", "tiny/charlm", "--include", "*.0.*"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("@ tiny/charlm is commit {COMMIT}\n")), "{text}");
}

#[test]
fn every_command_takes_addresses() {
    let cache = Cache::new();
    let check = |arguments: &[&str]| {
        let output = cache.svdkit(arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    check(&["rank", "tiny/lora", "--base", "tiny/charlm"]);
    check(&["farms", "tiny/charlm", "--include", "*.0.*"]);
    check(&["intruders", "tiny/charlm", "hf://tiny/lora", "--mitigate", "0.5", "--out", "copy"]);
    let text = check(&["compare", "tiny/charlm", "--tuned", "lora=hf://tiny/lora", "--include", "*.0.*"]);
    assert!(text.contains("tiny/charlm is commit") && text.contains("hf://tiny/lora is commit"), "{text}");
    check(&["spectrum", "copy"]);
}

#[test]
fn a_path_that_exists_is_that_path() {
    let cache = Cache::new();
    fs::create_dir_all(cache.home.path().join("tiny/charlm")).unwrap();
    cache.check_refused("tiny/charlm", "holds no model");
    cache.check_refused("tiny/charml", "did you mean `tiny/charlm`?");
    cache.check_found("hf://tiny/charlm");
}

#[test]
fn what_was_not_downloaded_comes_with_the_command_that_fetches_it() {
    let cache = Cache::new();
    cache.check_refused("some/model", "fetch it with `hf download some/model`");
    cache.check_refused("some/model@v2/unet", "`hf download some/model --include 'unet/*' --revision v2`");
    cache.check_refused("tiny/charlm/other.safetensors", "`hf download tiny/charlm other.safetensors`");
    cache.check_refused("tiny/charlm@0000", "`hf download tiny/charlm --revision 0000`");
    cache.check_refused("tiny/charlm@7ae5", "begins several commits");
    cache.check_refused("tiny/charlm@v1", "holds no model");
    cache.check_refused("hf://tiny/charlm@../../x", "is not an address of a model");
    let elsewhere =
        program().args(["spectrum", "tiny/charlm"]).env("HF_HUB_CACHE", "/nowhere").output().unwrap();
    let said = String::from_utf8_lossy(&elsewhere.stderr);
    assert!(said.contains("cache, /nowhere; fetch it with `hf download tiny/charlm`"), "{said}");
}

#[test]
fn a_cache_that_was_tampered_with_leads_nowhere() {
    let cache = Cache::new();
    let model = cache.repository("models--tiny--charlm");
    point(&model, "up", "../../../../etc");
    point(&model, "long", &"a".repeat(1 << 20));
    fs::write(model.join("refs/binary"), [0xff; 40]).unwrap();
    for (revision, part) in [
        ("up", "names no commit; download the model again"),
        ("long", "is not read"),
        ("binary", "names no commit"),
    ] {
        cache.check_refused(&format!("tiny/charlm@{revision}"), part);
    }
    symlink("circle", model.join("refs/circle")).unwrap();
    cache.check_refused("tiny/charlm@circle", "fetch it with `hf download tiny/charlm --revision circle`");
    let snapshot = model.join("snapshots").join(COMMIT);
    fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    symlink("model.safetensors", snapshot.join("model.safetensors")).unwrap();
    cache.check_refused("tiny/charlm/model.safetensors", "cannot open");
    fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    symlink("../../blobs/gone", snapshot.join("model.safetensors")).unwrap();
    cache.check_refused("tiny/charlm/model.safetensors", "which does not exist; download it again");
    cache.check_refused("tiny/charlm", "which does not exist; download it again");
}
