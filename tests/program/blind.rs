//! A gate that cannot judge does not pass: missing values, bounds, changes from nothing, rows that nobody looks at.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{BASE, json_in, planted, svdkit_in};

const LORA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/lora-r4");
const CI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ci.md");
const HIT: &str = "model.layers.2.mlp.up_proj";
const NAN: [u8; 2] = [0xc0, 0x7f];

#[track_caller]
fn check(folder: &Path, arguments: &[&str], code: i32, part: &str) {
    let output = svdkit_in(folder, arguments);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    // A table ends its lines where they are full.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&said).contains(&words(part)), "{arguments:?}: {said}");
}

/// The same with one matrix as `change` leaves it.
fn hit(folder: &Path, name: &str, change: impl Fn(usize, Vec<u8>) -> Vec<u8>) {
    planted(folder, name, |tensor, width, bytes| {
        Some(if tensor == HIT { change(width, bytes) } else { bytes })
    });
}

/// A baseline and models: of zeros, of NaN, with one matrix of zeros, of three rows of zeros, of one direction, gone.
fn workplace() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert!(svdkit_in(at, &["spectrum", BASE, "-q", "-o", "baseline.json"]).status.success());
    planted(at, "zeros.safetensors", |_, _, bytes| Some(vec![0; bytes.len()]));
    planted(at, "nan.safetensors", |_, _, bytes| Some(NAN.repeat(bytes.len() / 2)));
    planted(at, "copy.safetensors", |_, _, bytes| Some(bytes));
    planted(at, "gone.safetensors", |name, _, bytes| (name != HIT).then_some(bytes));
    hit(at, "zero.safetensors", |_, bytes| vec![0; bytes.len()]);
    hit(at, "rows.safetensors", |width, bytes| [&vec![0; 6 * width][..], &bytes[6 * width..]].concat());
    hit(at, "direction.safetensors", |width, bytes| bytes[..2 * width].repeat(bytes.len() / (2 * width)));
    folder
}

fn judged<'a>(model: &'a str, rule: &'a str) -> [&'a str; 5] {
    ["compare", "baseline.json", model, "--fail-if", rule]
}

#[test]
fn the_rules_of_the_page_on_ci_pass_no_checkpoint_of_zeros() {
    let folder = workplace();
    let page = fs::read_to_string(CI).unwrap();
    let (_, rest) = page.split_once("```toml\n").unwrap();
    fs::write(folder.path().join("svdkit.toml"), rest.split_once("```").unwrap().0).unwrap();
    let zero =
        "effective_rank_change could not be measured: every entry is zero (zero_matrix); the base has ";
    check(folder.path(), &["compare", "baseline.json", "zeros.safetensors"], 1, zero);
    check(folder.path(), &["compare", "baseline.json", "nan.safetensors"], 1, "(nonfinite)");
    check(folder.path(), &["compare", "baseline.json", "gone.safetensors"], 1, "(unpaired)");
    // An acceptance of a value that crosses the line accepts no value at all only where it says so.
    check(
        folder.path(),
        &["compare", "baseline.json", "zero.safetensors"],
        1,
        "only where the acceptance has",
    );
    let settings = fs::read_to_string(folder.path().join("svdkit.toml")).unwrap();
    let told = settings.replace("reason = ", "allow-missing = ['zero_matrix']\nreason = ");
    fs::write(folder.path().join("svdkit.toml"), told).unwrap();
    check(folder.path(), &["compare", "baseline.json", "zero.safetensors"], 0, "accepted until 2099-12-31");
    let hidden = "`exclude` of svdkit.toml hides 1 row from this rule";
    check(folder.path(), &["compare", "baseline.json", "copy.safetensors"], 0, hidden);
}

#[test]
fn a_value_that_is_lost_breaks_a_rule_unless_its_reason_is_named() {
    let folder = workplace();
    let at = folder.path();
    for base in ["baseline.json", BASE] {
        for rule in
            ["effective_rank_change < -10%", "effective_rank < 2", "mean(effective_rank_change) < -90%"]
        {
            let check = |model: &str, leave: &str, code| {
                let all = ["compare", base, model, "--all", "--no-vectors", "--fail-if", rule, leave];
                check(at, &all, code, "");
            };
            check("zero.safetensors", "--allow-missing", 1);
            check("zero.safetensors", "--allow-missing=nonfinite", 1);
            check("zero.safetensors", "--allow-missing=nonfinite,zero_matrix", 0);
            check("gone.safetensors", "--allow-missing", 1);
            check("gone.safetensors", "--allow-missing=absent,unpaired", 0);
            check("copy.safetensors", "--allow-missing", 0);
        }
        // What is said of the pair alone is lost, too.
        let pair = ["compare", base, "zero.safetensors", "--fail-if", "alignment < 0.1", "--allow-missing"];
        check(at, &pair, if base == BASE { 1 } else { 2 }, "");
    }
    // What the baseline lacks, too, is covered.
    hit(at, "nan-0.safetensors", |_, bytes| [&NAN[..], &bytes[2..]].concat());
    hit(at, "nan-1.safetensors", |_, bytes| [&bytes[..2], &NAN[..], &bytes[4..]].concat());
    assert!(svdkit_in(at, &["spectrum", "nan-0.safetensors", "-q", "-o", "nan.json"]).status.success());
    let rule = ["--fail-if", "effective_rank_change < -10%"];
    let both = [&["compare", "nan.json", "nan-1.safetensors"], &rule[..]].concat();
    check(at, &both, 1, "");
    let told = "pass  1 of 30 values missing and allowed: nonfinite × 1";
    check(at, &[&both[..], &["--allow-missing"]].concat(), 0, told);
    check(at, &[&both[..], &["--allow-missing=zero_matrix"]].concat(), 1, "");
}

#[test]
fn a_matrix_that_is_gone_breaks_rules_on_the_pair_unless_that_is_named() {
    let folder = workplace();
    let judged = |rule, allowed| ["compare", BASE, "gone.safetensors", "-q", "--fail-if", rule, allowed];
    for rule in
        ["alignment < 0.5", "delta_frobenius_ratio > 0.5", "mean(alignment) < 0.5", "delta_stable_rank < 1"]
    {
        check(folder.path(), &judged(rule, "--allow-missing"), 1, "unpaired");
        check(folder.path(), &judged(rule, "--allow-missing=unpaired"), 0, "unpaired");
    }
}

#[test]
fn a_reason_goes_by_its_code() {
    let folder = workplace();
    let at = folder.path();
    let near = "no reason is called `zero_matrx`; did you mean `zero_matrix`?";
    check(
        at,
        &[&judged("copy.safetensors", "changed > 0")[..], &["--allow-missing=zero_matrx"]].concat(),
        2,
        near,
    );
    let settings = |allowed: &str, code, part: &str| {
        let settings = format!("[[gate.rule]]\nfail-if = 'alpha_change > 900%'\nallow-missing = {allowed}\n");
        fs::write(at.join("svdkit.toml"), settings).unwrap();
        check(at, &["compare", "baseline.json", "zero.safetensors"], code, part);
    };
    settings("true", 1, "(zero_matrix)");
    settings("false", 1, "(zero_matrix)");
    settings("['zero_matrix']", 0, "1 of 30 values missing and allowed: zero_matrix × 1");
    settings("['nonfinit']", 2, "no reason is called `nonfinit`; did you mean `nonfinite`?");
    settings("3", 2, "expected `true`, `false` or a list of reasons");
    fs::write(at.join("svdkit.toml"), "[gate]\nallow-missing = ['zero_matrix', 'absent']").unwrap();
    check(at, &["config"], 0, "zero_matrix, absent");
    check(at, &judged("zero.safetensors", "alpha_change > 900%"), 0, "");
    // A reason is known by its code, whatever its words are.
    fs::remove_file(at.join("svdkit.toml")).unwrap();
    let report = json_in(at, &["spectrum", "zero.safetensors"]).to_string();
    assert!(report.contains(r#""text":"every entry is zero""#));
    fs::write(at.join("old.json"), report.replace("every entry is zero", "other words")).unwrap();
    let missing = "alpha_change could not be measured: every entry is zero (zero_matrix); the base has";
    check(at, &judged("old.json", "alpha_change > 900%"), 1, missing);
}

#[test]
fn what_lies_below_the_floor_is_judged_by_the_bound() {
    let folder = workplace();
    let at = folder.path();
    let check = |rule: &str, code, part: &str| {
        for leave in [&[][..], &["--allow-missing"]] {
            check(
                at,
                &[&["spectrum", "direction.safetensors", "--fail-if", rule], leave].concat(),
                code,
                part,
            );
        }
    };
    check("condition_number > 1e6", 1, "FAIL  model.layers.2.mlp.up_proj: condition_number ≥ ");
    check("max(condition_number) > 1e6", 1, "FAIL  max of condition_number ≥ ");
    check("mean(condition_number) > 1e6", 1, "FAIL  mean of condition_number ≥ ");
    check("count(condition_number > 1e6) > 0", 1, "count of condition_number = 1");
    check("share(condition_number > 1e6) > 1%", 1, "FAIL");
    check(
        "smallest_singular_value < 1e-5",
        1,
        "FAIL  model.layers.2.mlp.up_proj: smallest_singular_value ≤ ",
    );
    check("min(smallest_singular_value) < 1e-5", 1, "FAIL  min of smallest_singular_value");
    check("model.layers.2.mlp.up_proj: condition_number < 1e6", 0, "pass");
    let unsure = ["spectrum", "direction.safetensors", "--fail-if", "condition_number > 1e200"];
    self::check(at, &unsure, 1, "inconclusive");
    self::check(at, &[&unsure[..], &["--allow-missing"]].concat(), 0, "missing and allowed: below_floor × 1");
    for rule in ["condition_number_change > 100%", "smallest_singular_value_change < -90%"] {
        self::check(at, &judged("direction.safetensors", rule), 1, "FAIL  model.layers.2.mlp.up_proj");
    }
}

#[test]
fn a_change_from_nothing_breaks_every_line_of_its_direction() {
    let folder = workplace();
    let at = folder.path();
    for leave in [&[][..], &["--allow-missing"], &["--allow-missing=zero_base"]] {
        let check = |rule: &str, code, part: &str| {
            check(at, &[&judged("rows.safetensors", rule)[..], leave].concat(), code, part);
        };
        check("zero_rows_change > 0%", 1, "model.layers.2.mlp.up_proj: zero_rows 0 → 3.000 (+∞)");
        check("zero_rows_change > 900%", 1, "(+∞)");
        check("zero_rows_change < -10%", 0, "");
        check("max(zero_rows_change) > 50%", 1, "max of zero_rows_change = +∞");
        check("sum(zero_rows_change) > 0", 1, "");
        check("count(zero_rows_change > 10%) > 0", 1, "count of zero_rows_change = 1");
    }
    check(at, &judged("copy.safetensors", "zero_rows_change > 0%"), 0, "");
}

#[test]
fn a_rule_that_finds_no_value_does_not_pass() {
    let folder = workplace();
    let at = folder.path();
    let check = |model: &str, rule: &str, code| {
        check(at, &["spectrum", model, "--fail-if", rule, "--allow-missing"], code, "");
    };
    for rule in [
        "alpha > 90",
        "count(alpha > 60) > 3",
        "share(alpha > 60) > 3%",
        "mean(alpha) > 60",
        "sum(alpha) > 6",
        "max(alpha) > 60",
        "min(alpha) < 1",
    ] {
        for model in ["zeros.safetensors", "nan.safetensors"] {
            check(model, rule, 1);
        }
        check("zero.safetensors", rule, i32::from(rule.starts_with("sum")));
    }
    let nothing = "alpha cannot be judged: no value could be measured; zero_matrix × 30";
    let all = ["spectrum", "zeros.safetensors", "--fail-if", "alpha > 9", "--allow-missing"];
    self::check(at, &all, 1, nothing);
    // Who names the reason has said that this may be.
    self::check(at, &[&all[..4], &["--allow-missing=zero_matrix"]].concat(), 0, "30 of 30 values missing");
}

#[test]
fn every_format_tells_what_is_missing() {
    let folder = workplace();
    let rule = judged("zero.safetensors", "alpha_change > 900%");
    let told = "1 of 30 values missing and allowed: zero_matrix × 1";
    for (format, part) in [
        ("table", told),
        ("markdown", told),
        ("html", told),
        ("junit", told),
        ("github", told),
        ("gitlab", told),
        ("json", told),
        ("json", r#""missing_reasons":{"zero_matrix":1}"#),
        ("jsonl", r#""alpha_change":{"code":"zero_matrix","text":"every entry is zero"}"#),
        ("csv", "alpha=zero_matrix;"),
    ] {
        let arguments = [&rule[..], &["--format", format, "--allow-missing=zero_matrix"]].concat();
        check(folder.path(), &arguments, 0, part);
    }
}

#[test]
fn a_row_that_failed_in_a_report_is_not_compared() {
    let folder = workplace();
    let at = folder.path();
    let report: Value = serde_json::from_slice(&fs::read(at.join("baseline.json")).unwrap()).unwrap();
    let failed = |list: &str, key: &str, name: &str, file: &str| {
        let mut report = report.clone();
        let rows = report[list].as_array_mut().unwrap();
        rows.iter_mut().find(|row| row[key] == name).unwrap()["failed"] =
            json!("cannot read: no such device");
        fs::write(at.join(file), report.to_string()).unwrap();
    };
    failed("rows", "name", HIT, "matrix.json");
    failed("skipped", "tensor", "model.norm.weight", "vector.json");
    for file in ["matrix.json", "vector.json"] {
        for sides in [["baseline.json", file], [file, "baseline.json"], [file, BASE]] {
            let arguments = [&["compare"], &sides[..], &["--fail-if", "changed > 0"]].concat();
            check(at, &arguments, 2, "could not be measured when the report was written: cannot read");
            assert_eq!(json_in(at, &arguments)["totals"]["failed"], 1, "{sides:?}");
        }
    }
}

#[test]
fn a_vector_that_did_not_change_is_judged() {
    let folder = workplace();
    let at = folder.path();
    planted(at, "vectors.safetensors", |name, _, bytes| (name != "model.norm").then_some(bytes));
    for column in ["changed", "added", "removed", "reshaped", "retyped", "nonfinite_count"] {
        for name in ["model.norm", "*norm", "model.layers.{0,3}.input_layernorm"] {
            let rule = format!("{name}: {column} > 0");
            check(at, &judged("copy.safetensors", &rule), 0, "pass");
            check(at, &["compare", "baseline.json", "baseline.json", "--fail-if", &rule], 0, "pass");
        }
        let adapter = format!("*norm: {column} > 0");
        check(at, &["compare", BASE, LORA, "--no-svd", "--fail-if", &adapter], 0, "pass");
        let none = format!("no*such: {column} > 0");
        check(at, &judged("copy.safetensors", &none), 2, "no matrix of the report matches");
    }
    check(at, &judged("vectors.safetensors", "model.norm: removed > 0"), 1, "model.norm: removed = 1");
    check(at, &judged("vectors.safetensors", "model.norm: added > 0"), 0, "pass");
    check(
        at,
        &["compare", "vectors.safetensors", BASE, "--fail-if", "*norm: added > 0"],
        1,
        "model.norm: added",
    );
    let sides = ["compare", BASE, "--tuned", LORA, "--tuned", "a=copy.safetensors", "--no-vectors"];
    check(at, &[&sides[..], &["--fail-if", "model.norm: changed@a > 0"]].concat(), 0, "pass");
    check(at, &judged("copy.safetensors", "*norm: alpha > 0"), 2, "no matrix of the report matches");
}

#[test]
fn a_percentage_is_one_of_something() {
    let folder = workplace();
    let check =
        |rule: &str, code, part: &str| check(folder.path(), &judged("copy.safetensors", rule), code, part);
    check(
        "effective_rank < 50%",
        2,
        "50.00 % of what? `effective_rank` is not a share; write a number, as in `0.5`",
    );
    check("effective_rank < 50%", 2, "a change relative to the base is `effective_rank_change`");
    check("max(alpha) > 5%", 2, "of what?");
    check("count(changed > 0) > 5%", 2, "ask for `share(…)`");
    check("share(alpha > 600%) > 5%", 2, "of what?");
    check("changed > 5%", 2, "a share of the rows is `share(changed …)`");
    check("effective_rank_change < -50%", 0, "pass");
    check("min(effective_rank_change) < -50%", 0, "pass");
    check("share(effective_rank_change < -5%) > 5%", 0, "pass");
    let overlap = ["compare", BASE, "copy.safetensors", "--fail-if", "diag_share > 200%"];
    self::check(folder.path(), &overlap, 0, "pass");
}

#[test]
fn settings_that_hide_rows_are_told() {
    let folder = workplace();
    let at = folder.path();
    let settings = |settings: &str, rule: &str, more: &[&str], code, part: &str| {
        fs::write(at.join("svdkit.toml"), settings).unwrap();
        check(at, &[&judged("zero.safetensors", rule)[..], more].concat(), code, part);
    };
    settings(
        "exclude = ['*.mlp.*']",
        "changed > 0",
        &[],
        0,
        "`exclude` of svdkit.toml hides 12 rows from this rule",
    );
    settings("include = ['*attn*']", "changed > 0", &[], 0, "`include` of svdkit.toml hides 23 rows");
    settings("include = ['*attn*']", "alpha < 0", &[], 0, "`include` of svdkit.toml hides 14 rows");
    settings("exclude = ['*.mlp.*']", "*attn*: changed > 0", &[], 0, "pass\n");
    settings(
        "exclude = ['*.mlp.*']",
        "*mlp*: changed > 0",
        &[],
        2,
        "`exclude` of svdkit.toml hides 12 that would",
    );
    // Rows alone have no place for it: stderr does.
    for format in ["csv", "jsonl"] {
        let hides = "`exclude` of svdkit.toml hides";
        settings("exclude = ['*.mlp.*']", "changed > 0", &["--format", format], 0, hides);
    }
    // What is typed needs no remark, and a rule on nothing else is an error.
    settings("", "changed > 0", &["--exclude", "*.mlp.*"], 0, "pass\n");
    settings("", "*mlp*: changed > 0", &["--exclude", "*.mlp.*"], 2, "may leave it out");
}
