//! Parts are told before anything is measured, and a script for Slurm is made of them.

use std::fs;
#[cfg(unix)]
use std::process::Command;

#[cfg(unix)]
use super::harness::svdkit;
use super::harness::{BASE, svdkit_in};

const FULL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");

#[test]
fn a_plan_shows_its_parts_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["plan", "--partitions", "3", "--", "spectrum", BASE, "-o", "r.html", "--ledger", "parts"];
    let output = svdkit_in(folder.path(), &words);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains(" tasks  39, "), "{text}");
    let parts =
        text.lines().filter(|line| line.trim_start().starts_with(['1', '2', '3']) && line.contains("flop"));
    assert_eq!(parts.filter(|line| line.contains("KiB")).count(), 3, "{text}");
    let choices = svdkit_in(folder.path(), &["plan", "--", "compare", BASE, FULL]);
    assert!(choices.status.success() && String::from_utf8(choices.stdout).unwrap().contains("over the mean"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn the_script_for_slurm_is_one_for_a_shell() {
    let words = ["plan", "--partitions", "16", "--emit", "slurm", "--", "spectrum", BASE];
    let output = svdkit(&[&words[..], &["--include", "*.mlp.*", "--ledger", "the parts"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("--include '*.mlp.*' --ledger 'the parts' --resume"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parts.sh");
    fs::write(&path, text).unwrap();
    assert!(Command::new("bash").arg("-n").arg(&path).status().unwrap().success());
}
