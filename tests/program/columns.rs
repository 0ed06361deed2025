//! Cost follows the question: a run has the columns that are asked for, and measures no more than they need.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{BASE, check_exit, json, list, save, stdout, stored, svdkit};

const FULL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");
const LORA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/lora-r4");
const THREE: &str = "spectral_norm,stable_rank,frobenius_norm";

fn keys(report: &Value) -> Vec<&str> {
    list(report, "columns").iter().map(|key| key.as_str().unwrap()).collect()
}

fn unchecked(report: &Value) -> Vec<&str> {
    list(report, "findings_unchecked").iter().map(|one| one["name"].as_str().unwrap()).collect()
}

/// Entries that look random, each column smaller than the one before by `falls`.
fn noise(rows: usize, cols: usize, falls: f32) -> Vec<u8> {
    let mut state = 7u32;
    let mut entry = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32 - 0.5
    };
    (0..rows * cols).flat_map(|i| (entry() / (1.0 + falls * (i % cols) as f32)).to_le_bytes()).collect()
}

/// A model of two matrices that are large enough for a largest value by itself, and of a small one.
fn write(path: &Path) {
    save(
        path,
        &[
            stored("a.weight", "F32", &[400, 300], noise(400, 300, 0.1)),
            stored("b.weight", "F32", &[300, 400], noise(300, 400, 0.0)),
            stored("c.weight", "F32", &[40, 30], noise(40, 30, 0.1)),
        ],
    );
}

#[test]
fn a_report_has_the_columns_that_are_asked_for() {
    let few = ["spectrum", BASE, "--include", "*.0.self_attn.*"];
    let check = |more: &[&str], columns: &[&str], svd: Option<&str>| {
        let report = json(&[&few[..], more].concat());
        assert_eq!(keys(&report), columns, "{more:?}");
        assert_eq!(report["settings"].get("svd").and_then(Value::as_str), svd, "{more:?}");
        for row in list(&report, "rows") {
            assert!(columns.iter().all(|key| row[key].is_number()), "{more:?}: {row}");
            assert_eq!(row.get("effective_rank").is_some(), columns.contains(&"effective_rank"));
            assert_eq!(row.get("sketch").is_some(), svd.is_none(), "{more:?}");
        }
    };
    check(&["--columns", "zero_rows"], &["zero_rows"], Some("none"));
    check(&["--columns", "alpha"], &["alpha"], None);
    check(&["--columns", "σ₁"], &["spectral_norm"], Some("largest"));
    check(&["--columns", "max_abs", "--sort", "-stable_rank"], &["max_abs", "stable_rank"], Some("largest"));
    let rule = ["--columns", "max_abs", "--fail-if", "mean(effective_rank) > 1e9"];
    check(&rule, &["max_abs", "effective_rank"], None);
    let all = json(&few);
    assert_eq!(keys(&all), keys(&json(&[&few[..], &["--columns", "all"]].concat())));
    assert!(keys(&all).len() > 35 && all["settings"].get("svd").is_none());
}

#[test]
fn a_weight_that_is_not_finite_says_so_whatever_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut entries = noise(40, 30, 0.1);
    entries[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    save(&path, &[stored("a.weight", "F32", &[40, 30], entries)]);
    for columns in ["frobenius_norm", "spectral_norm", "frobenius_norm,effective_rank"] {
        let report = json(&["spectrum", path.to_str().unwrap(), "--columns", columns]);
        for column in columns.split(',') {
            assert_eq!(report["rows"][0]["missing"][column]["code"], "nonfinite", "{columns}: {report}");
        }
    }
}

#[test]
fn every_format_has_them() {
    let few = ["spectrum", BASE, "--include", "*.0.self_attn.*", "--columns", "alpha"];
    let csv = stdout(&[&few[..], &["--format", "csv"]].concat());
    let expected = "name,tensor,block,role,rows,cols,dtype,status,reason,tied_to,alpha,missing";
    assert_eq!(csv.lines().next(), Some(expected));
    let lines = stdout(&[&few[..], &["--format", "jsonl"]].concat());
    assert!(lines.contains("\"alpha\"") && !lines.contains("\"xmin\""), "{lines}");
    for format in ["html", "markdown"] {
        let text = stdout(&[&few[..], &["--format", format]].concat());
        assert!(text.contains('α') && !text.contains("condition"), "{format}");
    }
}

#[test]
fn the_largest_value_is_that_of_all_values_within_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write(&path);
    let path = path.to_str().unwrap();
    let (alone, all) = (json(&["spectrum", path, "--columns", THREE]), json(&["spectrum", path]));
    let exact = json(&["spectrum", path, "--precision", "exact"]);
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap();
    for (i, row) in list(&alone, "rows").iter().enumerate() {
        let (all, exact) = (&all["rows"][i], &exact["rows"][i]);
        assert_eq!(row["frobenius_norm"], all["frobenius_norm"], "to the last bit: {}", row["name"]);
        let [resolution] = list(row, "resolution") else { panic!("{row}") };
        let (first, error) = (number(resolution, "spectral_norm"), number(resolution, "accuracy_floor"));
        assert_eq!(json!(first), row["spectral_norm"]);
        assert!(error > 0.0 && error < 1e-6 * first, "{error}");
        let expected = number(exact, "spectral_norm");
        assert!((first - expected).abs() <= error, "{first} is not {expected} to {error}");
        let ranks = [row, exact].map(|row| number(row, "stable_rank"));
        assert!((ranks[0] / ranks[1] - 1.0).abs() < 1e-6, "{ranks:?}");
        assert!(row.get("flags").is_none(), "{row}");
    }
}

#[test]
fn where_it_does_not_converge_all_values_are_found_and_the_row_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    // So many values so close to each other that no iteration tells the first from the second.
    let side = 1200;
    let entry =
        |i: usize| if i.is_multiple_of(side + 1) { 1.0 + (i / side) as f32 / side as f32 } else { 0.0 };
    let entries = (0..side * side).flat_map(|i| entry(i).to_le_bytes()).collect();
    save(&path, &[stored("even.weight", "F32", &[side, side], entries)]);
    let path = path.to_str().unwrap();
    let cache = folder.path().join("cache");
    let alone = ["spectrum", path, "--columns", THREE, "--cache", cache.to_str().unwrap()];
    let report = json(&alone);
    let row = &report["rows"][0];
    assert_eq!(row["flags"][0]["code"], "largest_by_values", "{row}");
    let all = &json(&["spectrum", path])["rows"][0];
    for key in THREE.split(',') {
        assert_eq!(row[key], all[key], "{key}");
    }
    assert_eq!(row["resolution"], all["resolution"]);
    assert_eq!(json(&alone), report, "kept, too");
}

#[test]
fn no_digit_depends_on_what_else_is_computed_or_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write(&path);
    let (path, cache) = (path.to_str().unwrap(), folder.path().join("cache"));
    let commands: [&[&str]; 6] = [
        &["spectrum", path, "--columns", THREE],
        &["spectrum", path],
        &["spectrum", path, "--no-svd"],
        &["rank", path, "--columns", "stable_rank"],
        &["rank", path],
        &["farms", path, "--columns", "whole_alpha"],
    ];
    let printed = |command: &[&str], more: &[&str]| stdout(&[command, more, &["--format", "json"]].concat());
    let expected = commands.map(|command| printed(command, &["--no-cache"]));
    for _ in 0..3 {
        for (command, expected) in commands.iter().zip(&expected) {
            assert_eq!(&printed(command, &["--cache", cache.to_str().unwrap()]), expected, "{command:?}");
        }
    }
}

#[test]
fn rules_on_them_are_judged_to_their_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write(&path);
    let path = path.to_str().unwrap();
    let columns = ["spectrum", path, "--columns", "frobenius_norm"];
    let first = json(&["spectrum", path])["rows"][0]["spectral_norm"].as_f64().unwrap();
    let check = |limit: f64, code: i32| {
        let rule = format!("a: spectral_norm > {limit}");
        check_exit(&[&columns[..], &["--fail-if", &rule]].concat(), code, "");
    };
    check(first * 1.001, 0);
    check(first * 0.999, 1);
    let report = json(&[&columns[..], &["--fail-if", &format!("a: spectral_norm > {first}")]].concat());
    assert_eq!(report["verdicts"][0]["outcome"], "inconclusive");
    assert_eq!(keys(&report), ["spectral_norm", "frobenius_norm"]);
}

#[test]
fn findings_are_looked_for_in_what_is_measured_and_no_further() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut bad = noise(64, 48, 0.1);
    bad[400..404].copy_from_slice(&f32::NAN.to_le_bytes());
    let half = [noise(32, 48, 0.1), vec![0; 4 * 32 * 48]].concat();
    save(&path, &[stored("a.weight", "F32", &[64, 48], bad), stored("b.weight", "F32", &[64, 48], half)]);
    let path = path.to_str().unwrap();
    let names = |report: &Value| -> Vec<String> {
        list(report, "findings").iter().map(|finding| finding["name"].as_str().unwrap().to_owned()).collect()
    };
    for columns in ["spectral_norm", "alpha", "zero_columns"] {
        let report = json(&["spectrum", path, "--columns", columns]);
        let found = names(&report);
        assert!(
            found.contains(&"non-finite".to_owned()) && found.contains(&"dead-rows".to_owned()),
            "{found:?}"
        );
        assert_eq!(keys(&report), [columns]);
        assert_eq!(unchecked(&report).contains(&"rank-collapsed"), columns != "alpha", "{columns}");
    }
    let rule = ["spectrum", path, "--columns", "zero_rows", "--fail-if"];
    let report = json(&[&rule[..], &["finding(rank-collapsed)"]].concat());
    assert_eq!(keys(&report), ["zero_rows"]);
    assert!(report["settings"].get("svd").is_none(), "the rule brings all values: {}", report["settings"]);
    assert_eq!(report["verdicts"][0]["outcome"], "pass");
    let report = json(&["spectrum", path, "--columns", "spectral_norm", "--no-findings"]);
    assert_eq!(names(&report), Vec::<String>::new());
}

#[test]
fn what_an_output_needs_is_measured_whatever_the_columns_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.safetensors");
    let few = ["--include", "*.0.self_attn.q_proj", "--columns", "zero_rows"];
    let more = ["spectrum", BASE, "--singular-values", file.to_str().unwrap()];
    let report = json(&[&more[..], &few].concat());
    assert!(report["settings"].get("svd").is_none() && file.exists());
    assert_eq!(keys(&report), ["zero_rows"]);
    let file = folder.path().join("snr.json");
    let emit = format!("spectrum-snr={}", file.display());
    let report = json(&["rank", BASE, few[0], few[1], "--columns", "stable_rank", "--emit", &emit]);
    assert_eq!(keys(&report), ["stable_rank", "spectrum_snr"]);
    assert!(std::fs::read_to_string(&file).unwrap().contains("snr"));
}

#[test]
fn rank_farms_and_intruders_measure_what_is_asked() {
    let few = ["--include", "*.0.self_attn.*"];
    let report = json(&[&["rank", BASE, "--columns", "stable_rank"], &few[..]].concat());
    assert_eq!((keys(&report), &report["settings"]["svd"]), (vec!["stable_rank"], &json!("largest")));
    let report = json(&[&["rank", BASE, "--columns", "relative_rank"], &few[..]].concat());
    assert_eq!((keys(&report), report["settings"].get("svd")), (vec!["relative_rank"], None));

    let farms = ["farms", BASE, "--window", "64", "--windows-per-dim", "3"];
    let all = json(&[&farms[..], &few].concat());
    for column in ["farms_alpha", "whole_alpha", "windows", "alpha_shift"] {
        let one = json(&[&farms[..], &["--columns", column], &few].concat());
        assert_eq!(keys(&one), [column]);
        for (row, of_all) in list(&one, "rows").iter().zip(list(&all, "rows")) {
            assert_eq!(row[column], of_all[column], "{column} of {}", row["name"]);
        }
    }

    let full = json(&[&["intruders", BASE, FULL], &few[..]].concat());
    assert!(!keys(&full).contains(&"delta_effective_rank"), "{:?}", keys(&full));
    assert_eq!(full["settings"]["update"], "largest value");
    let asked = json(
        &[&["intruders", BASE, FULL, "--columns", "intruder_count,delta_effective_rank"], &few[..]].concat(),
    );
    assert_eq!(keys(&asked), ["intruder_count", "delta_effective_rank"]);
    assert_eq!(asked["settings"]["update"], "values");
    assert_eq!(keys(&json(&[&["intruders", BASE, FULL, "--columns", "all"], &few[..]].concat())).len(), 9);
    let lora = json(&[&["intruders", BASE, LORA], &few[..]].concat());
    assert!(keys(&lora).contains(&"delta_effective_rank"), "thin factors give it at once");
    for (row, of_all) in list(&full, "rows").iter().zip(list(&asked, "rows")) {
        assert_eq!(row["intruder_count"], of_all["intruder_count"]);
    }
}

#[test]
fn a_comparison_decomposes_the_sides_and_the_update_as_far_as_is_asked() {
    let few = ["compare", BASE, FULL, "--include", "*.0.self_attn.*"];
    let all = json(&few);
    assert_eq!(all["settings"].get("svd"), None);
    let check = |columns: &str, svd: &str, vectors: Option<&str>| {
        let report = json(&[&few[..], &["--columns", columns]].concat());
        assert_eq!(keys(&report), columns.split(',').collect::<Vec<_>>());
        assert_eq!(report["settings"]["svd"], svd, "{columns}");
        assert_eq!(report["settings"].get("vectors").and_then(Value::as_str), vectors, "{columns}");
        for (row, of_all) in list(&report, "rows").iter().zip(list(&all, "rows")) {
            for key in columns.split(',').filter(|key| of_all.get(key).is_some()) {
                let [found, expected] = [row, of_all].map(|row| row[key].as_f64().unwrap());
                assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{key}: {found}, not {expected}");
            }
        }
    };
    check("changed,zero_rows", "none", None);
    check("delta_frobenius_ratio", "base entries, tuned entries, update entries", Some("none"));
    check("delta_effective_rank", "base entries, tuned entries, update values", Some("none"));
    check("delta_stable_rank", "base entries, tuned entries, update largest value", Some("none"));
    check("delta_spectral_ratio", "base largest value, tuned entries, update largest value", Some("none"));
    check("spectral_norm_base", "base largest value, tuned entries, update none", Some("none"));
    check("alpha", "base entries, tuned values, update none", Some("none"));
    check("effective_rank_change", "base values, tuned values, update none", Some("none"));
    check("gain_alignment", "base entries, tuned entries, update none", Some("none"));
    check("subspace_overlap", "base values, tuned values, update none", Some("leading"));
    check("alignment", "base values, tuned values, update entries", Some("all"));
}

#[test]
fn a_baseline_of_few_columns_is_met_by_as_little_work_and_refused_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let baseline = folder.path().join("baseline.json");
    let baseline = baseline.to_str().unwrap();
    let few = ["--include", "*.0.self_attn.*"];
    stdout(&[&["spectrum", BASE, "--columns", THREE, "-o", baseline], &few[..]].concat());
    let against = [&["compare", baseline, FULL], &few[..]].concat();
    let report = json(&against);
    assert_eq!(report["settings"]["svd"], "largest");
    let row = &report["rows"][0];
    let plain = json(&[&["compare", BASE, FULL], &few[..]].concat());
    for key in ["spectral_norm_change", "stable_rank_change", "frobenius_norm_change"] {
        let [found, expected] = [row, &plain["rows"][0]].map(|row| row[key].as_f64().unwrap());
        assert!((found - expected).abs() < 1e-6, "{key}: {found}, not {expected}");
    }
    let lacks = format!("{baseline} has no `effective_rank`");
    for option in ["--fail-if", "--columns"] {
        let asks = if option == "--columns" { "effective_rank" } else { "effective_rank_change < -10%" };
        check_exit(&[&against[..], &[option, asks]].concat(), 2, &lacks);
    }
    // A baseline of one column of all values is measured again by all of them.
    stdout(&[&["spectrum", BASE, "--columns", "effective_rank", "-o", baseline], &few[..]].concat());
    let report = json(&against);
    assert_eq!(report["settings"].get("svd"), None);
    assert!(report["rows"][0]["effective_rank_change"].is_number());
}

#[test]
fn a_plan_tells_what_each_need_costs_and_what_asks_for_it() {
    let plan = |more: &[&str]| stdout(&[&["spectrum", BASE, "--dry-run"], more].concat());
    let text = plan(&[]);
    assert!(text.contains(" needs     entries  about") && text.contains(" values   about"), "{text}");
    let rule = ["--columns", "max_abs", "--sort", "stable_rank", "--fail-if", "max(spectral_norm) > 9"];
    let text = plan(&rule);
    assert!(text.contains("largest value  about"), "{text}");
    for part in
        ["max_abs (`--columns`)", "stable_rank (`--sort`)", "spectral_norm (rule `max(spectral_norm) > 9`)"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = stdout(&["compare", BASE, FULL, "--dry-run", "--columns", "delta_effective_rank"]);
    assert!(text.contains("values of the update  about") && !text.contains("of the base"), "{text}");
    let text = stdout(&["intruders", BASE, FULL, "--dry-run"]);
    assert!(text.contains("directions  about") && text.contains("update      about"), "{text}");
}

#[test]
fn bad_columns_are_refused_before_anything_is_read() {
    check_exit(&["spectrum", "/nowhere", "--columns", "stabel_rank"], 2, "did you mean `stable_rank`?");
    check_exit(&["spectrum", BASE, "--no-svd", "--columns", "alpha"], 2, "leave `--no-svd` out");
    check_exit(
        &["compare", BASE, FULL, "--vectors", "leading", "--columns", "alignment"],
        2,
        "`--vectors all`",
    );
    let output = svdkit(&["spectrum", BASE, "--columns", THREE, "--no-svd"]);
    assert_eq!(output.status.code(), Some(2));
}
