//! The steps of a run through the program: a planted divergence, a copy and a half-written step are found at their steps, and
//! every number is that of the step by itself.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Stored, check_exit, json, list, save, stored, svdkit};

const BLOCKS: usize = 6;
const ROWS: usize = 40;
const COLS: usize = 36;
/// The block that diverges, the first step at which it does, the step that is a copy of the one before, and the one that is
/// cut short.
const BLOCK: usize = 3;
const DIVERGES: usize = 12;
pub(crate) const COPY: usize = 7;
pub(crate) const CUT: usize = 10;
pub(crate) const STEPS: usize = 16;

/// Numbers between −1 and 1, from a seed.
fn noise(seed: usize) -> impl Iterator<Item = f64> {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    })
}

/// The tensors of a step: each block moves a little at every step.
pub(crate) fn tensors(step: usize) -> Vec<Stored> {
    let matrix = |block: usize| {
        let factor = match step {
            _ if block != BLOCK || step < DIVERGES => 1.0,
            _ => 1.6 * 1.3f64.powf((step - DIVERGES) as f64),
        };
        let start: Vec<f64> = noise(block + 1).take(ROWS * COLS).collect();
        let moved = noise(1000 + block).zip(start).map(|(move_, x)| x + 0.004 * step as f64 * move_);
        let bytes = moved.flat_map(|x| ((x * factor) as f32).to_le_bytes()).collect();
        stored(&format!("model.layers.{block}.self_attn.q_proj.weight"), "F32", &[ROWS, COLS], bytes)
    };
    let norm = noise(77 + step).take(COLS).flat_map(|x| (x as f32).to_le_bytes()).collect();
    (0..BLOCKS).map(matrix).chain([stored("model.norm.weight", "F32", &[COLS], norm)]).collect()
}

/// A run as Trainer leaves it.
fn run(folder: &Path) -> PathBuf {
    let run = folder.join("run");
    for step in 1..=STEPS {
        let place = run.join(format!("checkpoint-{}", 10 * step));
        fs::create_dir_all(&place).unwrap();
        let file = place.join("model.safetensors");
        save(&file, &tensors(if step == COPY { COPY - 1 } else { step }));
        if step == CUT {
            let bytes = fs::read(&file).unwrap();
            fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
    // What is left of a save that was stopped, and what training keeps beside.
    fs::create_dir(run.join("tmp-checkpoint-170")).unwrap();
    fs::write(run.join("trainer_state.json"), "{}").unwrap();
    run
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn sentence<'r>(report: &'r Value, name: &str) -> &'r str {
    let finding = list(report, "findings").iter().find(|finding| finding["name"] == name);
    finding.unwrap_or_else(|| panic!("no {name}: {}", report["findings"]))["sentence"].as_str().unwrap()
}

fn row(report: &Value, block: usize) -> &Value {
    let name = format!("model.layers.{block}.self_attn.q_proj");
    list(report, "rows").iter().find(|row| row["name"] == name.as_str()).unwrap()
}

#[test]
fn a_divergence_a_copy_and_a_half_written_step_are_named_at_their_steps() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let report = json(&["series", text(&run)]);
    let steps: Vec<u64> = list(&report, "steps").iter().map(|step| step["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=16).map(|step| 10 * step).collect::<Vec<u64>>());
    let jump = sentence(&report, "jump");
    let planted = format!("model.layers.{BLOCK}.self_attn.q_proj");
    assert!(jump.starts_with(&planted) && jump.contains("from step 110 to step 120 ("), "{jump}");
    assert!(!jump.contains("Also"), "{jump}");
    assert_eq!(sentence(&report, "identical-step"), "Step 70 holds the weights of step 60, bit by bit.");
    assert!(sentence(&report, "incomplete-step").starts_with("Step 100 is left out: "), "{report}");
    let cut = &list(&report, "steps")[CUT - 1];
    assert!(cut["failed"].as_str().unwrap().contains("checkpoint-100/model.safetensors"), "{cut}");
    assert_eq!(list(&report, "steps")[COPY - 1]["repeats"], 60);
    assert_eq!(list(&report, "steps")[COPY - 1]["changed"], 0);
    assert_eq!(list(&report, "steps")[COPY]["changed"], 6);
    let names: Vec<&str> =
        list(&report, "findings").iter().map(|finding| finding["name"].as_str().unwrap()).collect();
    assert!(!names.contains(&"gap") && !names.contains(&"rank-collapsed-at-step"), "{names:?}");
    check_exit(&["series", text(&run)], 0, "step 100 is left out: ");
    check_exit(&["series", text(&run), "--strict"], 2, "step 100 could not be measured");
}

#[test]
fn every_number_is_that_of_the_step_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let at = |step: usize| run.join(format!("checkpoint-{}", 10 * step));
    let first = at(1);
    let report = json(&["series", text(&run), "--base", text(&first)]);
    for step in [1, 2, COPY, 13, STEPS] {
        let own = json(&["spectrum", text(&at(step))]);
        let drift = json(&["compare", text(&first), text(&at(step)), "--all", "--no-vectors"]);
        for block in 0..BLOCKS {
            let course = &row(&report, block)["course"];
            for key in ["spectral_norm", "alpha", "effective_rank", "nonfinite_count"] {
                assert_eq!(course[key][step - 1], row(&own, block)[key], "{key} at {step}");
            }
            for key in ["delta_frobenius_ratio", "delta_effective_rank", "sigma_drift"] {
                assert_eq!(course[key][step - 1], row(&drift, block)[key], "{key} at {step}");
            }
        }
    }
    let cut = &row(&report, 0)["course"];
    assert!(cut["spectral_norm"][CUT - 1].is_null());
    assert_eq!(cut["missing"]["spectral_norm"][CUT - 1], "failed");
    assert_eq!(cut["unchanged_at"], serde_json::json!([70]));
    let last = row(&report, BLOCK);
    assert_eq!(last["spectral_norm"], last["course"]["spectral_norm"][STEPS - 1]);
    assert_eq!(last["spectral_norm_max_step_change_at"], 120);
    assert!((last["spectral_norm_max_step_change"].as_f64().unwrap() - 0.6).abs() < 0.02, "{last}");
    assert!(row(&report, 0)["delta_frobenius_ratio_slope"].as_f64().unwrap() > 0.0);
}

#[test]
fn rules_speak_of_the_last_step_of_slopes_and_of_changes() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let run = text(&run);
    let verdict = |rule: &str| {
        let report = json(&["series", run, "--columns", "spectral_norm", "--fail-if", rule]);
        let verdict = report["verdicts"][0].clone();
        (verdict["outcome"].as_str().unwrap().to_owned(), verdict["worst"].as_str().unwrap_or("").to_owned())
    };
    let (outcome, worst) = verdict("*.q_proj: last(spectral_norm) > 12");
    assert_eq!(outcome, "fail");
    assert!(
        worst.starts_with("model.layers.3.self_attn.q_proj: ") && worst.ends_with("; first at step 130"),
        "{worst}"
    );
    assert_eq!(verdict("*.2.*: last(spectral_norm) > 12").0, "pass");
    let (outcome, worst) = verdict("max_step_change(spectral_norm) > 50%");
    assert_eq!(outcome, "fail");
    assert!(worst.contains("spectral_norm_max_step_change = +59.9 %"), "{worst}");
    assert_eq!(verdict("slope(spectral_norm) < -1").0, "pass");
    assert_eq!(verdict("slope(spectral_norm) > 0.1").0, "fail");
    let wrong = |arguments: &[&str], message| check_exit(arguments, 2, message);
    wrong(&["series", run, "--fail-if", "slope(spectral_nrom) > 0"], "did you mean `spectral_norm`?");
    wrong(&["series", run, "--fail-if", "rise(spectral_norm) > 0"], "last, slope, max_step_change");
    wrong(&["spectrum", run, "--fail-if", "slope(spectral_norm) > 0"], "as `svdkit series` has it");
    wrong(
        &["series", run, "--fail-if", "last(spectral_norm_slope) > 1"],
        "takes a metric, as in `spectral_norm`",
    );
    check_exit(&["series", run, "--fail-if", "finding(jump)"], 1, "");
    check_exit(&["series", run, "--include", "*.0.*", "--fail-if", "finding(jump)"], 0, "");
}

#[test]
fn the_order_is_that_of_the_steps_and_nothing_else_changes_a_byte() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let at = |step: usize| text(&run.join(format!("checkpoint-{}", 10 * step))).to_owned();
    let (a, b, c) = (at(2), at(3), at(9));
    let bytes = |arguments: &[&str]| svdkit(&[&["series", "--format", "json"], arguments].concat()).stdout;
    let report = bytes(&[&a, &b, &c]);
    assert_eq!(bytes(&[&c, &a, &b, "-j", "1"]), report);
    let cache = folder.path().join("cache");
    for _ in 0..2 {
        assert_eq!(bytes(&[&a, &b, &c, "--cache", text(&cache)]), report);
    }
    let given = json(&["series", &c, &a, &b, "--as-given"]);
    let steps: Vec<(u64, &str)> = list(&given, "steps")
        .iter()
        .map(|step| (step["step"].as_u64().unwrap(), step["path"].as_str().unwrap()))
        .collect();
    assert_eq!(steps, [(1, c.as_str()), (2, a.as_str()), (3, b.as_str())]);
    assert_eq!((&given["settings"]["order"], &given["model"]["path"]), (&"given".into(), &b.as_str().into()));
    check_exit(&["series", &a, &format!("{a}/model.safetensors")], 2, "is step 20, and so is");
}

#[test]
fn what_is_no_run_is_refused_and_a_distributed_checkpoint_names_its_converter() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("empty")).unwrap();
    check_exit(&["series", text(&path("empty"))], 2, "holds no checkpoints that are named by their steps");
    check_exit(&["series", text(&path("absent"))], 2, "does not exist");
    // What a later step holds is no place for a report.
    let run = run(folder.path());
    let later = run.join("checkpoint-50").join("model.safetensors");
    let before = fs::read(&later).unwrap();
    let output = format!("json={}", later.display());
    check_exit(&["series", text(&run), "-o", &output], 2, "lies in a folder that is read");
    assert_eq!(fs::read(&later).unwrap(), before);
    // The newest checkpoint may be half-written: the last numbers are of the one before it.
    let newest = run.join(format!("checkpoint-{}", 10 * STEPS)).join("model.safetensors");
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let report = json(&["series", text(&run)]);
    assert!(row(&report, 0)["spectral_norm"].is_number(), "{}", row(&report, 0));
    save(&path("last.safetensors"), &tensors(1));
    check_exit(&["series", text(&path("last.safetensors"))], 2, "tells no step");
    for step in [100, 200] {
        let place = path("titan").join(format!("step-{step}"));
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("__0_0.distcp"), [0; 64]).unwrap();
    }
    let converter = "torch.distributed.checkpoint.format_utils dcp_to_torch";
    check_exit(&["series", text(&path("titan"))], 2, converter);
    check_exit(&["series", "org/name@step*"], 2, "holds no revision of `org/name`");
    // A step that is refused, beside one that is not.
    save(&path("titan").join("step-300.safetensors"), &tensors(1));
    let report = json(&["series", text(&path("titan"))]);
    assert_eq!(list(&report, "steps").len(), 3);
    assert!(list(&report, "steps")[1]["failed"].as_str().unwrap().contains(converter));
}

#[test]
fn tensors_that_come_and_go_and_missing_steps_are_told() {
    let folder = tempfile::tempdir().unwrap();
    for step in [1, 2, 3, 4, 5, 6, 8] {
        let place = folder.path().join(format!("step{}", 100 * step));
        fs::create_dir(&place).unwrap();
        let kept = tensors(step).into_iter().filter(|(name, ..)| step != 4 || !name.contains(".5."));
        save(&place.join("model.safetensors"), &kept.collect::<Vec<_>>());
    }
    let report = json(&["series", text(folder.path())]);
    assert_eq!(sentence(&report, "gap"), "model.layers.5.self_attn.q_proj is not in step 400.");
    assert_eq!(row(&report, 5)["course"]["missing"]["alpha"][3], "absent");
    let report = json(&["series", text(folder.path()), "--exclude", "*.5.*"]);
    let gap = "Steps are 100 apart, and 1 step is missing, between 600 and 800.";
    assert_eq!(sentence(&report, "gap"), gap);
    // The last step lacks a matrix that all others have.
    save(&folder.path().join("step800/model.safetensors"), &tensors(8)[1..]);
    let report = json(&["series", text(folder.path())]);
    let gone = row(&report, 0);
    assert!(gone["spectral_norm"].is_null() && gone["course"]["spectral_norm"][0].is_number(), "{gone}");
}

#[test]
fn csv_has_a_line_for_each_matrix_and_step_and_lines_of_json_the_steps() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let output = |format: &str| {
        let output = svdkit(&["series", text(&run), "--columns", "spectral_norm", "--format", format]);
        String::from_utf8(output.stdout).unwrap()
    };
    let csv = output("csv");
    let mut lines = csv.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(head[head.len() - 3..], ["step", "spectral_norm", "missing"]);
    let lines: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let of = |step: &str| lines.iter().filter(|line| line[line.len() - 3] == step).count();
    assert_eq!((of("10"), of("100"), of("160"), lines.len()), (6, 6, 6, 6 * 16 + 1));
    let cut = lines.iter().find(|line| line[line.len() - 3] == "100").unwrap();
    assert_eq!((cut[7], cut[cut.len() - 2], cut[cut.len() - 1]), ("failed", "", "spectral_norm=failed"));
    let jsonl = output("jsonl");
    assert_eq!(jsonl.lines().filter(|line| line.starts_with("{\"status\":\"step\"")).count(), 16);
    let page = output("html");
    assert_eq!(page.matches("<figure class=\"course\">").count(), 1, "{page}");
    let table = output("table");
    assert!(table.contains("over steps") && table.contains("15 steps · 1 step left out"), "{table}");
    // Of the lines only that of the matrix that diverges reaches from the least to the greatest.
    let tall: Vec<&str> = table.lines().filter(|line| line.contains('█')).collect();
    assert!(matches!(tall[..], [line] if line.contains("self_attn.q_proj")), "{table}");
}

/// The messages in an event file, their checksums left to TensorBoard (tests/series_run.py).
fn records(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut found) = (bytes, vec![]);
    while let Some((length, after)) = rest.split_first_chunk::<8>() {
        let length = u64::from_le_bytes(*length) as usize;
        found.push(&after[4..4 + length]);
        rest = &after[4 + length + 4..];
    }
    found
}

#[test]
fn an_event_file_has_an_event_for_each_measured_step() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let events = folder.path().join("events");
    let arguments = ["series", text(&run), "--columns", "spectral_norm", "--tensorboard", text(&events)];
    check_exit(&arguments, 0, "spectral_norm at 15 steps");
    let bytes = fs::read(events.join("events.out.tfevents.0.svdkit")).unwrap();
    let records = records(&bytes);
    assert_eq!(records.len(), 1 + STEPS - 1);
    let report = json(&arguments[..4]);
    let tag = b"spectral_norm/model.layers.3.self_attn.q_proj";
    let last = records[records.len() - 1];
    let at = last.windows(tag.len()).position(|part| part == tag).unwrap() + tag.len();
    let value = f32::from_le_bytes(last[at + 1..at + 5].try_into().unwrap());
    let expected = row(&report, 3)["spectral_norm"].as_f64().unwrap() as f32;
    assert_eq!(value.to_bits(), expected.to_bits());
    fs::write(folder.path().join("file"), "").unwrap();
    let wrong = folder.path().join("file");
    check_exit(&["series", text(&run), "--tensorboard", text(&wrong)], 2, "is not a folder");
}

#[test]
fn adapters_of_a_run_are_measured_as_their_updates() {
    let charlm = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/charlm");
    let [one, four] = ["lora-r1", "lora-r4"].map(|name| text(&charlm.join(name)).to_owned());
    let report = json(&["series", &one, &four, "--as-given", "--include", "*.0.self_attn.*"]);
    let rank = |step: usize| list(&report, "rows")[0]["course"]["numerical_rank"][step].as_u64().unwrap();
    assert_eq!((rank(0), rank(1)), (1, 4));
    let base = text(&charlm.join("base")).to_owned();
    let report =
        json(&["series", &one, &four, "--as-given", "--base", &base, "--include", "*.0.self_attn.q*"]);
    let ratio = &list(&report, "rows")[0]["course"]["delta_frobenius_ratio"];
    assert!(ratio[0].as_f64().unwrap() > 0.0 && ratio[1].as_f64().unwrap() > 0.0, "{ratio}");
}
