//! What breaks in the middle of a run is told, though the last step is sound.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::harness::{Stored, check_exit, json, list, save, stdout, stored, svdkit};
use super::series::{sentence, tensors, text};

/// Steps 10, 20, … 80, each as `change` leaves it.
fn run(folder: &Path, change: impl Fn(usize, Vec<Stored>) -> Vec<Stored>) -> PathBuf {
    for step in 1..=8 {
        let place = folder.join(format!("run/checkpoint-{}", 10 * step));
        fs::create_dir_all(&place).unwrap();
        save(&place.join("model.safetensors"), &change(step, tensors(step)));
    }
    folder.join("run")
}

/// The bytes of a tensor, to be changed.
fn bytes<'t>(tensors: &'t mut [Stored], name: &str) -> &'t mut Vec<u8> {
    &mut tensors.iter_mut().find(|(tensor, ..)| tensor.contains(name)).unwrap().3
}

fn notes(report: &Value) -> Vec<&str> {
    list(report, "notes").iter().map(|note| note.as_str().unwrap()).collect()
}

#[test]
fn entries_that_are_not_finite_at_one_step_are_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path(), |step, mut tensors| {
        let nan = f32::NAN.to_le_bytes();
        if [4, 5].contains(&step) {
            bytes(&mut tensors, "layers.2.")[..4].copy_from_slice(&nan);
        }
        if step == 6 {
            bytes(&mut tensors, "norm")[..4].copy_from_slice(&nan);
        }
        tensors
    });
    let report = json(&["series", text(&run)]);
    let told = "model.layers.2.self_attn.q_proj holds NaN or infinite entries at steps 40–50.";
    assert_eq!(sentence(&report, "non-finite-at-step"), told);
    let vector = "! model.norm.weight holds NaN or infinite entries at step 60";
    assert_eq!(notes(&report), [vector]);
    check_exit(&["series", text(&run), "--fail-if", "finding(non-finite-at-step)"], 1, "");
    check_exit(&["series", text(&run), "--fail-if", "finding(problem)"], 1, "");
}

#[test]
fn a_matrix_that_becomes_zero_jumps_and_loses_its_rank() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path(), |step, mut tensors| {
        if step >= 6 {
            bytes(&mut tensors, "layers.1.").fill(0);
        }
        // An adapter begins with nothing.
        if step == 1 {
            bytes(&mut tensors, "layers.4.").fill(0);
        }
        tensors
    });
    let report = json(&["series", text(&run)]);
    let jump = sentence(&report, "jump");
    assert!(jump.starts_with("model.layers.1.self_attn.q_proj: "), "{jump}");
    assert!(jump.contains("from step 50 to step 60 (−100 %)") && !jump.contains("Also"), "{jump}");
    let collapsed = sentence(&report, "rank-collapsed-at-step");
    assert!(
        collapsed.starts_with("model.layers.1.self_attn.q_proj uses 0 of 36 directions at step 60;"),
        "{collapsed}"
    );
    assert!(!collapsed.contains("Also"), "{collapsed}");
    // A change from 0 is larger than any number.
    let sort = ["--columns", "spectral_norm", "--sort", "-spectral_norm_max_step_change", "--format", "csv"];
    let csv = stdout(&[&["series", text(&run)][..], &sort].concat());
    assert!(csv.lines().nth(1).unwrap().starts_with("model.layers.4."), "{csv}");
}

#[test]
fn a_change_from_zero_is_infinite_in_tables_and_has_its_reason_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path(), |step, mut tensors| {
        if step == 1 {
            bytes(&mut tensors, "layers.4.").fill(0);
        }
        tensors
    });
    let change = "spectral_norm_max_step_change";
    let arguments = ["series", text(&run), "--include", "*.4.*", "--columns", change];
    let report = json(&arguments);
    let row = &list(&report, "rows")[0];
    assert!(row[change].is_null(), "{row}");
    assert_eq!(row["missing"][change]["code"], "zero_base", "{row}");
    assert_eq!(row["spectral_norm_max_step_change_at"], 20, "{row}");
    let table = stdout(&arguments);
    assert!(table.contains(" +∞"), "{table}");
    // Lines of steps have no place for it.
    let csv = [&arguments[..], &["--format", "csv"]].concat();
    check_exit(&csv, 0, "no column for `spectral_norm_max_step_change`, which is of all steps; JSON has it");
    assert_eq!(svdkit(&[&csv[..], &["-q"]].concat()).stderr, b"");
}

#[test]
fn a_matrix_that_the_last_step_lacks_does_not_pass_and_other_shapes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path(), |step, mut tensors| {
        if step == 8 {
            tensors.retain(|(name, ..)| !name.contains("layers.4."));
        }
        if step >= 5 {
            for (.., shape, _) in tensors.iter_mut().filter(|(name, ..)| name.contains("layers.5.")) {
                *shape = vec![20, 72];
            }
        }
        tensors
    });
    let rule = "*.4.*: last(spectral_norm) > 1000";
    let report = json(&["series", text(&run), "--fail-if", rule]);
    assert_eq!(
        (&report["verdicts"][0]["outcome"], &report["verdicts"][0]["missing"]),
        (&"fail".into(), &1.into())
    );
    check_exit(&["series", text(&run), "--fail-if", rule], 1, "");
    check_exit(&["series", text(&run), "--fail-if", rule, "--allow-missing"], 1, "");
    check_exit(&["series", text(&run), "--fail-if", "*.3.*: last(spectral_norm) > 1000"], 0, "");
    // Neither do functions of its earlier numbers.
    for function in ["slope", "max_step_change"] {
        for (block, code) in [(4, 1), (3, 0)] {
            let rule = format!("*.{block}.*: {function}(spectral_norm) > 1000");
            check_exit(&["series", text(&run), "--fail-if", &rule], code, "");
            check_exit(&["series", text(&run), "--fail-if", &rule, "--allow-missing"], code, "");
        }
    }
    let gone = list(&report, "rows").iter().find(|row| row["block"] == 4).unwrap();
    assert_eq!(gone["missing"]["spectral_norm_slope"]["code"], "absent", "{gone}");
    assert_eq!(
        notes(&report),
        ["! model.layers.5.self_attn.q_proj is 20 × 72 from step 50 on, 40 × 36 before"]
    );
}

#[test]
fn tensors_that_were_not_read_at_an_earlier_step_count_for_strict() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path(), |step, tensors| {
        let odd = (step == 3).then(|| stored("odd.weight", "C64", &[2, 2], vec![0; 32]));
        tensors.into_iter().chain(odd).collect()
    });
    check_exit(&["series", text(&run)], 0, "");
    check_exit(
        &["series", text(&run), "--strict"],
        2,
        "error: odd.weight: at step 30: c64 is not a float type\n",
    );
    let report = json(&["series", text(&run)]);
    assert_eq!(notes(&report), ["! odd.weight is not read at step 30: c64 is not a float type"]);
}

#[test]
fn a_name_that_says_another_step_is_noted_and_a_reason_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path(), |_, tensors| tensors);
    let state = |of: &str, step: u32| {
        fs::write(run.join(of).join("trainer_state.json"), format!("{{\"global_step\": {step}}}")).unwrap();
    };
    state("checkpoint-20", 20);
    assert_eq!(json(&["series", text(&run)]).get("notes"), None);
    state("checkpoint-20", 25);
    let report = json(&["series", text(&run)]);
    let place = run.join("checkpoint-20").display().to_string();
    assert_eq!(notes(&report), [format!("! {place} is step 25 by its `trainer_state.json`, 20 by its name")]);
    // What is wrong with the request is wrong at every step.
    let told = |arguments: &[&str]| {
        let output = svdkit(&[&["series", text(&run)], arguments].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let lines = told(&["--include", "nothing"]);
    assert!(lines.starts_with("error: no step could be measured; the first: "), "{lines}");
    assert_eq!(lines.lines().count(), 1, "{lines}");
    for step in [30, 40, 50] {
        let file = run.join(format!("checkpoint-{step}/model.safetensors"));
        fs::write(&file, &fs::read(&file).unwrap()[..5000]).unwrap();
    }
    let output = svdkit(&["series", text(&run), "--format", "csv"]);
    let lines = String::from_utf8(output.stderr).unwrap();
    assert_eq!(lines.matches("is left out").count(), 1, "{lines}");
    assert!(lines.contains("2 more steps are left out for the same reasons"), "{lines}");
}
