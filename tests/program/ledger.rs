//! Ledgers: records on disk as they are found; runs that are resumed, cut into parts and collected give the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use super::harness::{BASE, check_exit, planted, program, save, stored, svdkit, svdkit_in};

const FULL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");
const LORA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/lora-r4");

/// Commands of every kind that takes a ledger.
fn commands() -> Vec<Vec<&'static str>> {
    let few = ["--include", "*.0.*", "--include", "*.1.mlp.*", "--include", "*norm*"];
    let commands: [&[&str]; 9] = [
        &["spectrum", BASE],
        &["spectrum", BASE, "--no-svd"],
        &["spectrum", LORA, "--base", BASE, "--columns", "stable_rank,zero_rows"],
        &["rank", FULL, "--base", BASE, "--energy", "0.8"],
        &["farms", BASE, "--window", "64", "--windows-per-dim", "3"],
        &["intruders", BASE, LORA, "--detail", "--sweep", "epsilon=0.3:0.9:0.3"],
        &["compare", BASE, FULL, "--fail-if", "delta_frobenius_ratio > 0.1"],
        &["compare", BASE, "--tuned", LORA, "--tuned", FULL, "--vectors", "none"],
        &["spectrum", BASE, "--sort", "-alpha", "--fail-if", "finding(caution)"],
    ];
    let few = commands.iter().map(|command| [command, &few[..]].concat());
    few.chain([vec!["heads", FULL, "--base", BASE], vec!["heads", BASE, "--compose"]]).collect()
}

/// What a run says and how it ends, without its notes.
pub(crate) fn outcome(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap())
}

#[track_caller]
pub(crate) fn json(command: &[&str], options: &[&str]) -> (Option<i32>, String) {
    let output = svdkit(&[command, &["-q", "--format", "json"], options].concat());
    let (code, out) = outcome(&output);
    assert!(!out.is_empty(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    (code, out)
}

/// A folder for ledgers, and the path of one in it.
pub(crate) fn folder() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parts").to_str().unwrap().to_owned();
    (folder, path)
}

/// Does all parts, the last first, each on more threads than the one before; every other one with a cache.
#[track_caller]
fn parts(command: &[&str], ledger: &str, count: usize, extra: &[&str]) {
    let cache = format!("{ledger}-cache");
    for part in (1..=count).rev() {
        let (number, threads) = (format!("{part}/{count}"), part.to_string());
        let own = ["-q", "--format", "json", "--ledger", ledger, "--partition", &number, "-j", &threads];
        let kept: &[&str] = if part % 2 == 0 { &["--cache", &cache] } else { &[] };
        let output = svdkit(&[command, &own[..], kept, extra].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && output.stdout.is_empty(), "{command:?}, {number}: {said}");
    }
}

fn part(ledger: &str, number: usize, of: usize) -> PathBuf {
    Path::new(ledger).join(format!("part-{number}-of-{of}.jsonl"))
}

#[test]
fn a_ledger_and_parts_of_any_run_give_the_bytes_of_a_run_without() {
    for (i, command) in commands().into_iter().enumerate() {
        let (_folder, path) = folder();
        let expected = json(&command, &[]);
        assert_eq!(json(&command, &["--ledger", &path]), expected, "{command:?}");
        assert_eq!(json(&command, &["--ledger", &path, "--resume"]), expected, "{command:?}, known");
        assert_eq!(outcome(&svdkit(&["collect", &path, "-q"])), expected, "{command:?}, collected alone");
        let three = format!("{path}-3");
        parts(&command, &three, 3, &[]);
        assert_eq!(outcome(&svdkit(&["collect", &three, "-q"])), expected, "{command:?}, in three parts");
        if i % 5 == 1 {
            let many = format!("{path}-50");
            parts(&command, &many, 50, &[]);
            assert_eq!(
                outcome(&svdkit(&["collect", &many])),
                expected,
                "{command:?}, in more parts than tasks"
            );
        }
    }
}

#[test]
fn every_format_is_that_of_a_single_run() {
    let (folder, path) = folder();
    let command = ["spectrum", BASE, "--sort", "-alpha"];
    parts(&command, &path, 2, &[]);
    let formats = ["csv", "jsonl", "md", "html", "xml", "txt"];
    let names = |kind: &str| formats.map(|format| format!("{kind}.{format}"));
    let outputs = |names: &[String; 6]| -> Vec<String> {
        names.iter().flat_map(|name| ["-o".to_owned(), name.clone()]).collect()
    };
    let run = |words: &[&str], files: &[String]| {
        let files = files.iter().map(String::as_str);
        let words: Vec<&str> = words.iter().copied().chain(files).collect();
        svdkit_in(folder.path(), &words)
    };
    let (single, collected) = (names("single"), names("collected"));
    let table = run(&command, &outputs(&single));
    let again = run(&["collect", &path, "--format", "table"], &outputs(&collected));
    assert_eq!(table.stdout, again.stdout);
    for (single, collected) in single.iter().zip(&collected) {
        let read = |name: &String| fs::read(folder.path().join(name)).unwrap();
        assert!(read(single) == read(collected), "{collected}");
    }
}

#[test]
fn other_outputs_of_the_command_come_with_the_report() {
    let (folder, path) = folder();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let few = ["--include", "*.0.*"];
    let checks: [(&[&str], &str); 3] = [
        (&["spectrum", BASE, "--singular-values"], "s.safetensors"),
        (&["farms", BASE, "--window", "64", "--windows-per-dim", "3", "--allocate"], "sparsity="),
        (&["rank", BASE, "--budget", "8", "--emit"], "peft-rank-pattern="),
    ];
    for (i, (command, option)) in checks.iter().enumerate() {
        let (kind, ledger) = (option.split('=').next().unwrap(), format!("{path}-{i}"));
        let written = file(&format!("{i}-{kind}"));
        let option = if option.ends_with('=') { format!("{kind}={written}") } else { written.clone() };
        let command = [&command[..], &[option.as_str()], &few[..]].concat();
        assert!(svdkit(&command).status.success(), "{command:?}");
        let expected = fs::read(&written).unwrap();
        fs::remove_file(&written).unwrap();
        parts(&command, &ledger, 2, &[]);
        assert!(!Path::new(&written).exists(), "a part writes records alone");
        assert!(svdkit(&["collect", &ledger]).status.success());
        assert!(fs::read(&written).unwrap() == expected, "{command:?}");
    }
}

#[test]
fn a_ledger_cut_anywhere_is_resumed_to_the_same_bytes() {
    let (_folder, path) = folder();
    for command in
        [&["spectrum", BASE, "--include", "*.0.*"][..], &["compare", BASE, FULL, "--include", "*.0.*"]]
    {
        let expected = json(command, &["--ledger", &path]);
        let file = part(&path, 1, 1);
        let whole = fs::read(&file).unwrap();
        for i in 0..12 {
            fs::write(&file, &whole[..whole.len() * i / 11]).unwrap();
            assert_eq!(json(command, &["--ledger", &path, "--resume"]), expected, "{command:?}, {i}");
        }
        fs::remove_dir_all(&path).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_killed_run_is_resumed_to_the_same_bytes() {
    let (_folder, path) = folder();
    let command = ["farms", BASE, "--window", "64", "--windows-per-dim", "5"];
    let expected = json(&command, &[]);
    let words =
        [&command[..], &["-q", "--format", "json", "--ledger", &path, "--resume", "-j", "1"]].concat();
    for _ in 0..3 {
        let mut child = program().args(&words).stdout(std::process::Stdio::null()).spawn().unwrap();
        let size = || fs::metadata(part(&path, 1, 1)).map_or(0, |data| data.len());
        let before = size();
        while size() <= before + 2000 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(outcome(&svdkit(&words)), expected);
}

/// Replaces words in the entry of line `at`, as who knows the check.
fn forge(path: &Path, at: usize, change: impl Fn(&str) -> String) {
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let start = lines[at].find("\"entry\":").unwrap() + 8;
    let entry = change(&lines[at][start..lines[at].len() - 1]);
    // Checks are of the first line's, too.
    let begin = "{\"blake3\":\"".len();
    let first = if at == 0 { "" } else { &lines[0][begin..begin + 32] };
    let check = &blake3::hash([first, &entry].concat().as_bytes()).to_hex()[..32];
    lines[at] = format!("{{\"blake3\":\"{check}\",\"entry\":{entry}}}");
    fs::write(path, lines.join("\n") + "\n").unwrap();
}

#[test]
fn what_was_made_otherwise_is_refused_by_name() {
    let (folder, path) = folder();
    let command = ["spectrum", BASE, "--include", "*.0.*"];
    json(&command, &["--ledger", &path]);
    let refused = |words: &[&str], told: &str| {
        check_exit(&[words, &["--ledger", &path, "--resume"]].concat(), 2, told);
    };
    let few = ["--include", "*.0.*"];
    refused(
        &[&["spectrum", BASE, "--precision", "exact"], &few[..]].concat(),
        "`precision` is `fast` in the ledger and `exact` now",
    );
    refused(&[&["spectrum", BASE, "--columns", "stable_rank"], &few[..]].concat(), "`svd`");
    refused(
        &[&["spectrum", BASE, "--columns", "alpha", "--no-findings"], &few[..]].concat(),
        "the list of columns",
    );
    refused(&["spectrum", BASE], "the choice of matrices");
    refused(&[&["rank", BASE], &few[..]].concat(), "the command is `spectrum` in the ledger and `rank` now");
    refused(&[&["spectrum", FULL], &few[..]].concat(), "the file `model.safetensors`");
    let values = folder.path().join("s.safetensors");
    refused(
        &[&command[..], &["--singular-values", values.to_str().unwrap()]].concat(),
        "what is kept of singular values",
    );
    // The same names, shapes and lengths.
    let model = |name: &str, byte: u8| {
        let changed = planted(folder.path(), name, |_, _, mut bytes| {
            bytes.iter_mut().step_by(2).for_each(|low| *low = byte);
            Some(bytes)
        });
        changed.to_str().unwrap().to_owned()
    };
    let (one, other) = (model("m.safetensors", 1), format!("{path}-2"));
    json(&["spectrum", &one, "--include", "*.0.*"], &["--ledger", &other]);
    model("m.safetensors", 2);
    check_exit(&["collect", &other], 2, "the file `m.safetensors`");
    // Who wrote it, where, and in which layout.
    let file = part(&path, 1, 1);
    let sound = fs::read(&file).unwrap();
    let forged = |from: &str, to: &str, told: &str| {
        forge(&file, 0, |entry| {
            assert!(entry.contains(from), "{entry}");
            entry.replacen(from, to, 1)
        });
        refused(&command, told);
        fs::write(&file, &sound).unwrap();
    };
    forged("\"svdkit\":\"", "\"svdkit\":\"9.", "the version of svdkit is `9.");
    forged("\"processor\":\"", "\"processor\":\"other ", "the processor is `other ");
    forged("\"ledger\":1", "\"ledger\":9", "not a part of a ledger as this version");
    forged("\"tasks\":", "\"tasks\":1", "the number of tasks differs");
    forge(&file, 0, |entry| entry.replacen("\"svdkit\":\"", "\"svdkit\":\"9.", 1));
    check_exit(&["collect", &path], 2, "was made by svdkit 9.");
}

#[test]
fn damage_is_refused_by_file_and_line() {
    let (_folder, path) = folder();
    let command = ["spectrum", BASE, "--include", "*.0.*"];
    json(&command, &["--ledger", &path]);
    let file = part(&path, 1, 1);
    let sound = fs::read(&file).unwrap();
    let refused = |told: &str| {
        check_exit(&[&command[..], &["--ledger", &path, "--resume"]].concat(), 2, told);
        check_exit(&["collect", &path], 2, told);
        fs::write(&file, &sound).unwrap();
    };
    let mut damaged = sound.clone();
    let middle = sound.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&file, &damaged).unwrap();
    refused("part-1-of-1.jsonl: line ");
    forge(&file, 2, |_| "{\"task\":1}".to_owned());
    refused("something that is not a record");
    let task = |to: usize| {
        move |entry: &str| {
            let mut record: Value = serde_json::from_str(entry).unwrap();
            record["task"] = to.into();
            record.to_string()
        }
    };
    forge(&file, 1, task(9999));
    refused("task 9999, which is one of another part");
    forge(&file, 1, task(3));
    forge(&file, 2, task(3));
    refused("holds task 3 twice");
}

#[test]
fn what_is_missing_is_named_with_the_command_that_makes_it() {
    let (folder, path) = folder();
    let command = ["spectrum", BASE, "--include", "*.0.*"];
    let expected = json(&command, &[]);
    parts(&command, &path, 3, &[]);
    fs::remove_file(part(&path, 2, 3)).unwrap();
    let text = fs::read(part(&path, 3, 3)).unwrap();
    let end = text.iter().rposition(|byte| *byte == b'{').unwrap();
    fs::write(part(&path, 3, 3), &text[..end]).unwrap();
    let output = svdkit(&["collect", &path]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
    assert!(said.contains("parts are incomplete") || said.contains("part is incomplete"), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("to make it: ")).collect();
    assert_eq!(lines.len(), 2, "{said}");
    for line in lines {
        let words = line.split("to make it: svdkit ").nth(1).unwrap();
        let words: Vec<String> = words.split(' ').map(|word| word.replace('\'', "")).collect();
        assert!(words.contains(&"--resume".to_owned()));
        let output = program().args(&words).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(outcome(&svdkit(&["collect", &path])), expected);
}

#[test]
fn parts_of_two_plans_and_of_two_processors_are_not_mixed() {
    let (_folder, path) = folder();
    let command = ["spectrum", BASE, "--include", "*.0.*"];
    parts(&command, &path, 2, &[]);
    let other = [&command[..], &["--ledger", &path, "--partition", "1/3"]].concat();
    check_exit(&other, 2, "part-1-of-2.jsonl, one of 2 parts");
    let sound = fs::read(part(&path, 2, 2)).unwrap();
    forge(&part(&path, 2, 2), 0, |entry| entry.replacen("\"processor\":\"", "\"processor\":\"other ", 1));
    check_exit(&["collect", &path], 2, "part-2-of-2.jsonl: was made on another kind of processor");
    // What a part says of itself counts, not how its file is called.
    fs::write(part(&path, 2, 2), fs::read(part(&path, 1, 2)).unwrap()).unwrap();
    check_exit(&["collect", &path], 2, "it is part 1/2 in the ledger and 2/2 now");
    fs::write(part(&path, 2, 2), sound).unwrap();
    fs::copy(part(&path, 1, 2), part(&path, 1, 5)).unwrap();
    check_exit(&["collect", &path], 2, "parts of two plans");
}

#[test]
fn a_matrix_that_failed_is_tried_again_and_told_by_the_report() {
    let (folder, path) = folder();
    // The update of the first does not fit a double; that of the others does.
    let write = |name: &str, size: f64| {
        let entries =
            |size: f64| (0..48).flat_map(|i| (size * (1.0 + f64::from(i % 7))).to_le_bytes()).collect();
        let matrix = |name: &str, size| stored(&format!("{name}.weight"), "F64", &[6, 8], entries(size));
        let path = folder.path().join(name);
        save(&path, &[matrix("a", size), matrix("b", 0.1 * size.signum()), matrix("c", 0.2)]);
        path.to_str().unwrap().to_owned()
    };
    let (base, tuned) = (write("base.safetensors", 2e307), write("tuned.safetensors", -2e307));
    let command = ["rank", &tuned, "--base", &base];
    let expected = json(&command, &[]);
    assert_eq!(expected.0, Some(2), "{}", expected.1);
    parts_of_two(&command, &path, expected.0);
    assert_eq!(outcome(&svdkit(&["collect", &path, "-q"])), expected);
    let lines = |number| fs::read_to_string(part(&path, number, 2)).unwrap().lines().count();
    let before = lines(1) + lines(2);
    parts_of_two(&command, &path, expected.0);
    assert_eq!(lines(1) + lines(2), before + 1, "what did not fail is not done again");
    assert_eq!(outcome(&svdkit(&["collect", &path, "-q"])), expected);
}

/// Both parts, one of which ends with `code`.
fn parts_of_two(command: &[&str], path: &str, code: Option<i32>) {
    let run = |number: &str| {
        let own = ["-q", "--format", "json", "--ledger", path, "--resume", "--partition", number];
        svdkit(&[command, &own[..]].concat()).status.code()
    };
    assert_eq!(run("1/2").max(run("2/2")), code);
}

#[test]
fn slips_are_told_in_a_line() {
    let (folder, path) = folder();
    check_exit(&["spectrum", BASE, "--partition", "1/2"], 2, "--ledger");
    check_exit(&["spectrum", BASE, "--resume"], 2, "--ledger");
    for wrong in ["0/2", "3/2", "2", "a/b"] {
        check_exit(&["spectrum", BASE, "--ledger", &path, "--partition", wrong], 2, "a part is K/N");
    }
    let out = folder.path().join("copy");
    let mitigated = ["intruders", BASE, LORA, "--mitigate", "0.5", "--out", out.to_str().unwrap()];
    check_exit(&[&mitigated[..], &["--ledger", &path]].concat(), 2, "leave out");
    check_exit(&["intruders", BASE, LORA, "--tuned", FULL, "--ledger", &path], 2, "one fine-tune");
    assert!(!Path::new(&path).exists() && !out.exists(), "nothing is begun");
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    check_exit(&["spectrum", BASE, "--ledger", file.to_str().unwrap()], 2, "file");
    check_exit(&["collect", file.to_str().unwrap()], 2, "is not a folder");
    check_exit(&["collect", folder.path().to_str().unwrap()], 2, "holds no part of a ledger");
    let command = ["spectrum", BASE, "--include", "*.0.*", "-q"];
    let with = |more: &[&str]| -> Output { svdkit(&[&command[..], &["--ledger", &path], more].concat()) };
    assert!(with(&[]).status.success());
    let again = [&command[..], &["--ledger", &path]].concat();
    check_exit(&again, 2, "holds records of an earlier run; `--resume` goes on with it");
    let own = part(&path, 1, 1);
    let onto = [&again[..], &["--resume", "-o", own.to_str().unwrap()]].concat();
    check_exit(&onto, 2, "is a part of `--ledger`");
    check_exit(&["collect", &path, "-o", own.to_str().unwrap()], 2, "is a part of `--ledger`");
    check_exit(&["plan", "--", "inspect", BASE], 2, "`inspect` is not done in parts");
    check_exit(&["plan", "--", "spectrum"], 2, "the command: ");
    check_exit(
        &["plan", "--partitions", "2", "--emit", "slurm", "--", "spectrum", BASE],
        2,
        "add `--ledger DIR`",
    );
    check_exit(&["plan", "--emit", "slurm", "--", "spectrum", BASE], 2, "--partitions");
}
