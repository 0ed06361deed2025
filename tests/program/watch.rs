//! A run that is watched while it is written: the same bytes as `series`, whatever is slow, torn, deleted or killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::harness::{Stored, check_exit, json, list, program, save, svdkit, svdkit_in};
use super::series::{COPY, CUT, STEPS, sentence, tensors, text};

/// What is waited for comes much sooner, or never; a busy machine has little time for what runs at a low priority.
const DEADLINE: Duration = Duration::from_mins(5);
pub(crate) const INTERVAL: &str = "0.05";

fn until(what: &str, mut is_there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_there() {
        assert!(begun.elapsed() < DEADLINE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn nap() {
    std::thread::sleep(Duration::from_millis(30));
}

pub(crate) fn watch(run: &Path, arguments: &[&str]) -> Child {
    let mut command = program();
    command.args(["watch", text(run), "--interval", INTERVAL]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What it printed; a report may be more than a pipe holds.
pub(crate) fn ended(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn place(run: &Path, step: usize) -> PathBuf {
    run.join(format!("checkpoint-{}", 10 * step))
}

/// The bytes of a step's file: one is a copy of the one before.
fn bytes(folder: &Path, step: usize) -> Vec<u8> {
    let file = folder.join("made.safetensors");
    save(&file, &tensors(if step == COPY { COPY - 1 } else { step }));
    fs::read(&file).unwrap()
}

/// A step as Trainer saves it, with a pause wherever one may be; one is never finished.
pub(crate) fn write_slowly(folder: &Path, run: &Path, step: usize) {
    let whole = bytes(folder, step);
    let (unfinished, place) = (run.join(format!("tmp-checkpoint-{}", 10 * step)), place(run, step));
    fs::create_dir_all(&unfinished).unwrap();
    let half = &whole[..whole.len() / 2];
    fs::write(unfinished.join("model.safetensors"), half).unwrap();
    if step.is_multiple_of(3) {
        nap();
    }
    fs::rename(&unfinished, &place).unwrap();
    if step == CUT {
        return;
    }
    // Where a disk is slow, the name may be there before the bytes.
    if step.is_multiple_of(4) {
        nap();
    }
    fs::write(place.join("model.safetensors"), &whole).unwrap();
    let state = format!("{{\"global_step\": {}}}", 10 * step);
    fs::write(place.join("trainer_state.json"), state).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn a_run_that_is_watched_while_it_is_written_gives_the_bytes_of_series() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&folder.path().join(name)).to_owned();
    let run = folder.path().join("run");
    let outputs = |of: &str| {
        let (json, csv, html) =
            (at(&format!("{of}.json")), at(&format!("{of}.csv")), at(&format!("{of}.html")));
        ["-o".into(), json, "-o".into(), csv, "-o".into(), html, "--tensorboard".into(), at(of)]
    };
    let options = ["--format", "jsonl", "--fail-if", "finding(jump)"];
    let own = outputs("watch");
    let mut arguments: Vec<&str> = own.iter().map(String::as_str).chain(options).collect();
    arguments.extend(["--until", "160"]);
    // It waits for the folder, too.
    let child = watch(&run, &arguments);
    nap();
    for step in 1..=STEPS {
        write_slowly(folder.path(), &run, step);
    }
    let watched = ended(child);
    let told = said(&watched);
    assert_eq!(watched.status.code(), Some(1), "{told}");
    for line in ["step 10: measured", "step 70: repeats step 60; new: identical-step\n"] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let at_jump = told.lines().find(|line| line.starts_with("step 120: ")).unwrap();
    assert!(at_jump.contains("3.self_attn.q_proj spectral_norm +59.9 %"), "{told}");
    assert!(told.contains("new: jump"), "{told}");
    let torn: Vec<&str> = told.lines().filter(|line| line.starts_with("step 100")).collect();
    assert!(matches!(torn[..], [line] if line.starts_with("step 100 never became complete: ")), "{told}");

    let theirs = outputs("series");
    let mut arguments: Vec<&str> = ["series", text(&run)].into_iter().chain(options).collect();
    arguments.extend(theirs.iter().map(String::as_str));
    let series = svdkit(&arguments);
    assert_eq!(series.status.code(), Some(1));
    assert_eq!(watched.stdout, series.stdout);
    for name in [".json", ".csv", ".html", "/events.out.tfevents.0.svdkit"] {
        let [a, b] = ["watch", "series"].map(|of| fs::read(at(&format!("{of}{name}"))).unwrap());
        assert_eq!(a, b, "{name}");
    }
    let report: serde_json::Value = serde_json::from_slice(&fs::read(at("watch.json")).unwrap()).unwrap();
    assert!(sentence(&report, "jump").contains("from step 110 to step 120 ("), "{report}");
    assert!(sentence(&report, "incomplete-step").starts_with("Step 100 is left out: "));
}

#[test]
fn a_watch_that_is_killed_goes_on_though_its_checkpoints_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let steps = 1..=6;
    for step in steps.clone() {
        write_slowly(folder.path(), &run, step);
    }
    let series = svdkit(&["series", text(&run), "--format", "json"]).stdout;
    fs::remove_dir_all(&run).unwrap();
    let page = folder.path().join("run.html");
    let ledger = folder.path().join("run.html.ledger").join("steps.jsonl");
    let lines = || fs::read_to_string(&ledger).map_or(0, |text| text.matches('\n').count());
    let arguments = ["-o", text(&page), "--until", "60", "--format", "json"];
    for step in steps {
        let mut child = watch(&run, &arguments);
        write_slowly(folder.path(), &run, step);
        if step == 6 {
            let output = ended(child);
            assert_eq!(output.status.code(), Some(0), "{}", said(&output));
            assert!(said(&output).contains("5 steps are known"), "{}", said(&output));
            assert_eq!(String::from_utf8(output.stdout).unwrap(), String::from_utf8(series).unwrap());
            break;
        }
        until("a step", || lines() == 1 + step);
        child.kill().unwrap();
        child.wait().unwrap();
        // As `save_total_limit` leaves it.
        fs::remove_dir_all(place(&run, step)).unwrap();
    }
    // Nothing is measured again, and a report of another kind is made of what is known.
    let csv = svdkit(&["watch", text(&run), "--until", "60", "-o", text(&page), "--format", "csv", "-q"]);
    // The head, six matrices at six steps, and a vector.
    assert_eq!(String::from_utf8(csv.stdout).unwrap().lines().count(), 1 + 6 * 6 + 1);
    let refused = |arguments: &[&str], why: &str| {
        check_exit(&[&["watch", text(&run), "--until", "60", "-o", text(&page)], arguments].concat(), 2, why);
    };
    refused(&["--exclude", "*.0.*"], "is of another run: `exclude` is `` in the ledger and `*.0.*` now");
    refused(&["--columns", "spectral_norm"], "the choice of columns is ");
    fs::create_dir(folder.path().join("other")).unwrap();
    let other = folder.path().join("other");
    let parts = text(ledger.parent().unwrap());
    check_exit(&["watch", text(&other), "--until", "60", "--ledger", parts], 2, "is of another run: ");
    let own = format!("json={}", text(&ledger));
    refused(&["-o", &own], "is the ledger of this watch");
}

#[test]
fn a_checkpoint_is_complete_when_all_its_shards_are_there_and_nothing_has_a_temporary_name() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let place = place(&run, 1);
    fs::create_dir_all(&place).unwrap();
    let all = tensors(1);
    let (first, second): (Vec<Stored>, Vec<Stored>) =
        all.into_iter().partition(|(name, ..)| name < &"model.layers.3".to_owned());
    let shard = |n: usize| format!("model-0000{n}-of-00002.safetensors");
    let map = |tensors: &[Stored], n: usize| -> Vec<String> {
        tensors.iter().map(|(name, ..)| format!("\"{name}\":\"{}\"", shard(n))).collect()
    };
    let map = [map(&first, 1), map(&second, 2)].concat().join(",");
    let child = watch(&run, &["--until", "10", "--format", "json", "--ledger", text(folder.path())]);
    let ledger = folder.path().join("steps.jsonl");
    let is_measured = || fs::read_to_string(&ledger).is_ok_and(|text| text.matches('\n').count() > 1);
    let wait = || std::thread::sleep(Duration::from_millis(250));
    fs::write(place.join("model.safetensors.index.json"), format!("{{\"weight_map\":{{{map}}}}}")).unwrap();
    save(&place.join(shard(1)), &first);
    wait();
    assert!(!is_measured(), "a shard is missing");
    fs::write(place.join("optimizer.pt.tmp"), "").unwrap();
    save(&place.join(shard(2)), &second);
    wait();
    assert!(!is_measured(), "the optimizer is being written");
    fs::remove_file(place.join("optimizer.pt.tmp")).unwrap();
    let output = ended(child);
    // On a slow machine it may have said that nothing could be measured so far.
    assert!(said(&output).contains("step 10: measured"), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list(&report, "rows").len(), 6);
    assert_eq!(list(&report, "steps").len(), 1);
}

#[test]
fn a_file_ends_the_watch_and_a_checkpoint_written_anew_is_measured_anew() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    for step in [1, 2] {
        write_slowly(folder.path(), &run, step);
    }
    // A file with a temporary name that nobody will rename.
    fs::write(place(&run, 2).join("x.part"), "").unwrap();
    let json_at = folder.path().join("r.json");
    let ledger = folder.path().join("r.json.ledger").join("steps.jsonl");
    let child = watch(&run, &["-o", text(&json_at), "-q"]);
    let lines = || fs::read_to_string(&ledger).map_or(0, |text| text.matches('\n').count());
    until("the first step", || lines() == 2);
    write_slowly(folder.path(), &run, 4);
    fs::rename(place(&run, 4).join("model.safetensors"), place(&run, 1).join("model.safetensors")).unwrap();
    fs::remove_dir_all(place(&run, 4)).unwrap();
    until("the first step again", || lines() == 3);
    fs::write(run.join("svdkit.stop"), "").unwrap();
    let output = ended(child);
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
    let report: serde_json::Value = serde_json::from_slice(&fs::read(&json_at).unwrap()).unwrap();
    fs::remove_file(run.join("svdkit.stop")).unwrap();
    assert_eq!(report, json(&["series", text(&run)]));
    assert_eq!(list(&report, "steps").len(), 2);
    assert_eq!(names(folder.path()), ["made.safetensors", "r.json", "r.json.ledger", "run"]);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_watch_with_130_and_what_it_measured_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    write_slowly(folder.path(), &run, 1);
    let file = folder.path().join("r.json");
    for signal in ["-INT", "-TERM"] {
        let mut child = watch(&run, &["-o", text(&file), "-q"]);
        until("the report", || file.exists());
        let nice = fs::read_to_string(format!("/proc/{}/stat", child.id())).ok();
        let nice = nice.as_ref().and_then(|stat| stat.rsplit_once(") ")?.1.split(' ').nth(16));
        assert!(nice.is_none_or(|nice| nice.parse::<i32>().unwrap() >= 10), "{nice:?}");
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        until("the end", || child.try_wait().unwrap().is_some());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(130), "interrupted\n"));
        let report: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(report, json(&["series", text(&run)]));
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    write_slowly(folder.path(), &run, 1);
    let (run, file) = (text(&run), folder.path().join("made.safetensors"));
    check_exit(&["watch", text(&file)], 2, "is not a folder; `svdkit series` measures single checkpoints");
    check_exit(&["watch", run, "--interval", "0"], 2, "a number of seconds from 0.01");
    let inside = format!("{run}/checkpoint-10/r.json");
    check_exit(&["watch", run, "--interval", INTERVAL, "-o", &inside], 2, "lies in a folder that is read");
    check_exit(&["watch", run, "--fail-if", "slope(nothing) > 0"], 2, "no column is called `nothing`");
    let base = folder.path().join("base.safetensors");
    fs::rename(&file, &base).unwrap();
    write_slowly(folder.path(), Path::new(run), 2);
    let parts = folder.path().join("parts");
    let child = watch(Path::new(run), &["--base", text(&base), "--until", "90", "--ledger", text(&parts)]);
    until("a step", || {
        fs::read_to_string(parts.join("steps.jsonl")).is_ok_and(|text| text.lines().count() > 1)
    });
    fs::remove_file(&base).unwrap();
    write_slowly(folder.path(), Path::new(run), 3);
    let output = ended(child);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("`--base` names a checkpoint that stays"), "{}", said(&output));
    let planned = svdkit(&["watch", run, "--dry-run"]);
    assert_eq!(planned.status.code(), Some(0), "{}", said(&planned));
}

#[test]
fn the_example_of_the_docs_says_what_the_docs_say() {
    let folder = tempfile::tempdir().unwrap();
    let charlm = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/charlm");
    for (step, model) in [(100, "base"), (200, "full"), (300, "full")] {
        let place = folder.path().join(format!("RUN/checkpoint-{step}"));
        fs::create_dir_all(&place).unwrap();
        for name in names(&charlm.join(model)) {
            fs::copy(charlm.join(model).join(&name), place.join(&name)).unwrap();
        }
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/watch.md");
    let docs = fs::read_to_string(docs).unwrap();
    let block = docs.split_once("```text\n$ svdkit ").unwrap().1.split_once("```").unwrap().0;
    let (command, expected) = block.split_once('\n').unwrap();
    let words: Vec<&str> = command.split(' ').map(|word| word.trim_matches('\'')).collect();
    let output = svdkit_in(folder.path(), &[&words[..], &["--interval", INTERVAL]].concat());
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), expected));
}

#[test]
fn a_run_that_never_came_ends_with_the_stop_file() {
    let folder = tempfile::tempdir().unwrap();
    let stop = folder.path().join("stop");
    fs::write(&stop, "").unwrap();
    let output = ended(watch(&folder.path().join("run"), &["--until-file", text(&stop)]));
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

#[test]
fn two_checkpoints_of_one_step_are_waited_for_once_something_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let (run, report) = (folder.path().join("run"), folder.path().join("run.json"));
    let write = |place: &Path, step| {
        fs::create_dir_all(place).unwrap();
        fs::write(place.join("model.safetensors"), bytes(folder.path(), step)).unwrap();
    };
    write(&place(&run, 1), 1);
    let child = watch(&run, &["-o", text(&report), "--format", "csv"]);
    until("the report", || report.exists());
    let moved = run.join("step-10");
    write(&moved, 1);
    nap();
    nap();
    fs::remove_dir_all(&moved).unwrap();
    write(&place(&run, 2), 2);
    fs::write(run.join("svdkit.stop"), "").unwrap();
    let output = ended(child);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains(",20,"), "{}", said(&output));
}
