//! Readers that leave: of stdout it changes nothing, of any other output it is an error of that output alone.

#![cfg(unix)]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::harness::program;

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/base");
const LORA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/lora-r4");

/// Three thousand small matrices and a tensor that is refused: no report of it fits into a pipe.
fn many(folder: &Path) -> PathBuf {
    const COUNT: usize = 3000;
    let mut header = String::from(r#"{"odd.weight":{"dtype":"C64","shape":[2,2],"data_offsets":[0,32]}"#);
    let mut data = vec![0; 32];
    for i in 0..COUNT {
        let begin = data.len();
        data.extend((1..=6u8).flat_map(|n| (f32::from(n) + i as f32).to_le_bytes()));
        let end = data.len();
        let _ = write!(
            header,
            r#","layers.{i}.w.weight":{{"dtype":"F32","shape":[2,3],"data_offsets":[{begin},{end}]}}"#
        );
    }
    header.push('}');
    let path = folder.join("many.safetensors");
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&path, [&length[..], header.as_bytes(), &data].concat()).unwrap();
    path
}

/// Runs with a stdout that nobody reads.
fn unread(arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    program().args(arguments).stdout(writer).output().unwrap()
}

fn check(arguments: &[&str], code: i32, stderr: &str) {
    let output = unread(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.as_ref()), (Some(code), stderr), "{arguments:?}");
}

#[test]
fn a_report_that_nobody_reads_keeps_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = many(folder.path());
    let model = path.to_str().unwrap();
    for format in ["table", "json", "jsonl", "csv", "markdown", "html", "junit", "github", "gitlab"] {
        let run = |more: &[&str], code, stderr| {
            check(&[&["spectrum", model, "-q", "--format", format], more].concat(), code, stderr);
        };
        run(&[], 0, "");
        run(&["--fail-if", "spectral_norm > 0"], 1, "");
        run(&["--strict"], 2, "error: odd.weight: c64 is not a float type\n");
    }
    for format in ["table", "json", "jsonl", "csv", "markdown"] {
        check(&["inspect", model, "--format", format], 0, "");
    }
}

#[test]
fn every_command_keeps_its_exit_code() {
    let pair = ["compare", BASE, LORA, "-q", "--include", "*.0.self_attn.*", "--format", "csv"];
    check(&pair, 0, "");
    check(&[&pair[..], &["--fail-if", "delta_frobenius_ratio > 0"]].concat(), 1, "");
    let one = ["--include", "*.0.self_attn.q_proj", "-q"];
    let all: [&[&str]; 9] = [
        &["rank", BASE, "--emit", "peft-rank-pattern", "--budget", "4"],
        &["rank", BASE, "--emit", "kohya", "--resize", "sv_fro=0.9"],
        &["rank", BASE, "--plot", "model.layers.0.self_attn.q_proj"],
        &["spectrum", BASE, "--plot", "esd"],
        &["spectrum", BASE, "--dry-run"],
        &["spectrum", BASE, "--no-svd"],
        &["farms", BASE, "--window", "60", "--windows-per-dim", "2"],
        &["farms", BASE, "--window", "60", "--windows-per-dim", "2", "--allocate", "lr"],
        &["compare", BASE, LORA, "--dry-run"],
    ];
    for arguments in all {
        check(&[arguments, &one].concat(), 0, "");
    }
    check(
        &[
            "rank",
            BASE,
            "-q",
            "--include",
            "lm_head",
            "--emit",
            "spectrum-yaml",
            "--fail-if",
            "effective_rank > 0",
        ],
        1,
        "FAIL effective_rank > 0: lm_head: effective_rank = 23.05\n",
    );
    check(&[&["intruders", BASE, LORA, "--fail-if", "intruder_count >= 0"], &one[..]].concat(), 1, "");
    for arguments in [
        &["explain"][..],
        &["explain", "alpha"],
        &["config"],
        &["config", "--format", "json"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
        &["spectrum", "--help"],
        &["explain", "--help"],
    ] {
        check(arguments, 0, "");
    }
}

#[test]
fn a_pipe_of_an_option_whose_reader_leaves_is_an_error_and_the_rest_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let model = many(folder.path());
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for option in [["-o", "json="], ["--singular-values", ""]] {
        let (pipe, beside) = (at("pipe"), at("beside.csv"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // To open it is to wait for the writer; the reader leaves at once, and the rest does not fit.
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || drop(File::open(pipe).unwrap())
        });
        let [option, format] = option;
        let output = program()
            .args(["spectrum", model.to_str().unwrap(), "-q", "--format", "csv"])
            .args([option, &format!("{format}{pipe}"), "-o", &beside])
            .output()
            .unwrap();
        reader.join().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with(&format!("error: {pipe}: cannot write: ")), "{said}");
        assert_eq!(fs::read(&beside).unwrap(), output.stdout, "{option}");
        fs::remove_file(pipe).unwrap();
        fs::remove_file(beside).unwrap();
    }
}

#[test]
fn a_pipe_that_nobody_reads_is_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let output =
        program().args(["spectrum", BASE, "-q", "-o", &format!("json={}", pipe.display())]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("nobody reads this pipe; start its reader first"), "{said}");
}
