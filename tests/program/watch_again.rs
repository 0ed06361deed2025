//! A watch that is typed again, and what goes wrong at every step.

use std::fs;

use serde_json::Value;

use super::harness::{check_exit, list, save};
use super::series::{tensors, text};
use super::watch::{INTERVAL, ended, place, said, watch, write_slowly};

#[test]
fn a_watch_goes_on_with_other_rules_on_what_is_measured_anyhow() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    for step in [1, 2] {
        write_slowly(folder.path(), &run, step);
    }
    let file = folder.path().join("r.json");
    let arguments = ["-o", text(&file), "--until", "20", "-q"];
    assert_eq!(ended(watch(&run, &arguments)).status.code(), Some(0));
    fs::remove_dir_all(place(&run, 1)).unwrap();
    let rules =
        ["--fail-if", "max_step_change(stable_rank) > 1000%", "--fail-if", "*.0.*: last(spectral_norm) > 99"];
    let again = ended(watch(&run, &[&arguments[..], &rules].concat()));
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    let report: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(list(&report, "steps").len(), 2);
    let outcomes: Vec<&Value> = list(&report, "verdicts").iter().map(|verdict| &verdict["outcome"]).collect();
    assert_eq!(outcomes, ["pass", "pass"]);
    // A column that is not measured by itself.
    let others = ["--columns", "spectral_norm", "--fail-if", "effective_rank < 1"];
    let refused = ended(watch(&run, &[&arguments[..], &others].concat()));
    assert!(
        said(&refused).contains("the choice of columns is `those of the table` in the ledger"),
        "{}",
        said(&refused)
    );
}

#[test]
fn a_damaged_ledger_says_which_line_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    for step in [1, 2, 3] {
        write_slowly(folder.path(), &run, step);
    }
    let file = folder.path().join("r.json");
    let arguments = ["-o", text(&file), "--until", "30", "-q"];
    assert_eq!(ended(watch(&run, &arguments)).status.code(), Some(0));
    let first = fs::read(&file).unwrap();
    let ledger = folder.path().join("r.json.ledger").join("steps.jsonl");
    let lines = fs::read_to_string(&ledger).unwrap();
    let damaged = lines.replacen("\"step\":20", "\"step\":21", 1);
    assert_ne!(damaged, lines);
    fs::write(&ledger, damaged).unwrap();
    let refused = ended(watch(&run, &arguments));
    let what = "line 3 is not as it was written; remove the file; the steps whose checkpoints are still there are measured anew";
    assert!(said(&refused).contains(what), "{}", said(&refused));
    assert_eq!(refused.status.code(), Some(2));
    fs::remove_file(&ledger).unwrap();
    assert_eq!(ended(watch(&run, &arguments)).status.code(), Some(0));
    assert_eq!(fs::read(&file).unwrap(), first);
}

#[test]
fn what_goes_wrong_after_every_step_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    for step in 1..=4 {
        write_slowly(folder.path(), &run, step);
    }
    let file = folder.path().join("r.json");
    let rule = ["--fail-if", "zzz*: alpha > 1", "--until", "40", "-o", text(&file)];
    let output = ended(watch(&run, &rule));
    let lines = said(&output);
    assert_eq!(output.status.code(), Some(2), "{lines}");
    // Once while it watches, once at its end.
    assert_eq!(lines.matches("no matrix of the report matches").count(), 2, "{lines}");
    assert!(lines.contains("step 40: measured"), "{lines}");
}

#[test]
fn a_matrix_that_is_no_longer_zero_is_what_changed_most() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    write_slowly(folder.path(), &run, 1);
    let mut zero = tensors(1);
    zero[2].3.fill(0);
    save(&place(&run, 1).join("model.safetensors"), &zero);
    write_slowly(folder.path(), &run, 2);
    let lines = said(&ended(watch(&run, &["--until", "20"])));
    let line = "step 20: model.layers.2.self_attn.q_proj spectral_norm is no longer 0 since step 10\n";
    assert!(lines.contains(line), "{lines}");
}

#[test]
fn a_refused_folder_of_events_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    write_slowly(folder.path(), &run, 1);
    let inside = place(&run, 1).join("svd");
    for command in [&["series", text(&run)][..], &["watch", text(&run), "--interval", INTERVAL]] {
        let arguments = [command, &["--tensorboard", text(&inside)]].concat();
        check_exit(&arguments, 2, "lies in a folder that is read");
        assert!(!inside.exists(), "{arguments:?}");
    }
    // Where a checkpoint will be.
    let later = place(&run, 9).join("svd");
    let arguments = ["watch", text(&run), "--interval", INTERVAL, "--tensorboard", text(&later)];
    check_exit(&arguments, 2, "lies in a folder that is read");
    assert!(!place(&run, 9).exists());
}
