//! The gate as a team uses it: rules in `svdkit.toml`, verdicts row by row, what build servers are told, nothing decomposed.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::harness::{BASE, check_exit_in, json_in, planted, svdkit_in};

const FULL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");

const COLLAPSED: &str = "model.layers.2.mlp.up_proj";
const BROKEN: &str = "model.layers.1.mlp.down_proj";
const DROPPED: &str = "model.layers.3.self_attn.q_proj";
const SCALED: &str = "model.layers.0.self_attn.v_proj";
const NORM: &str = "model.layers.1.input_layernorm";

/// What a team would write.
const SETTINGS: &str = r#"
[gate]
allow-missing = true

[[gate.rule]]
fail-if = "nonfinite_count > 0"

[[gate.rule]]
fail-if = "removed > 0"

[[gate.rule]]
fail-if = "effective_rank_change < -10%"

[[gate.rule]]
fail-if = "frobenius_norm_change > 10%"
"#;

/// A folder with a baseline of the bundled model and settings.
fn workplace(settings: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("svdkit.toml"), settings).unwrap();
    assert!(svdkit_in(folder.path(), &["spectrum", BASE, "-q", "-o", "baseline.json"]).status.success());
    folder
}

fn stdout(folder: &Path, arguments: &[&str]) -> String {
    String::from_utf8(svdkit_in(folder, arguments).stdout).unwrap()
}

fn scaled(bytes: &[u8], by: f32) -> Vec<u8> {
    let widened = bytes.as_chunks().0.iter().map(|b| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16));
    svdkit::matrix::bf16_bytes(&widened.map(|x| f64::from(x * by)).collect::<Vec<_>>())
}

const NAN: [u8; 2] = [0xc0, 0x7f];

/// One layer's rank collapsed, one NaN, one tensor dropped, one layer scaled by 1.2.
fn regressed(folder: &Path) -> PathBuf {
    planted(folder, "regressed.safetensors", |name, cols, mut bytes| {
        match name {
            DROPPED => return None,
            COLLAPSED => bytes = bytes[..2 * cols].repeat(bytes.len() / (2 * cols)),
            BROKEN => bytes[200..202].copy_from_slice(&NAN),
            SCALED => bytes = scaled(&bytes, 1.2),
            _ => {}
        }
        Some(bytes)
    })
}

/// Rule, matrix and outcome of every offender.
fn offenders(report: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |verdict: &Value| -> Vec<_> {
        let offenders = verdict["offenders"].as_array().into_iter().flatten();
        offenders
            .map(|offender| (text(&verdict["rule"]), text(&offender["matrix"]), text(&offender["outcome"])))
            .collect()
    };
    report["verdicts"].as_array().unwrap().iter().flat_map(of).collect()
}

#[test]
fn each_planted_regression_is_one_finding_and_there_is_no_other() {
    let folder = workplace(SETTINGS);
    let model = regressed(folder.path());
    let arguments = ["compare", "baseline.json", model.to_str().unwrap()];
    check_exit_in(folder.path(), &arguments, 1, "");
    let rules =
        ["nonfinite_count > 0", "removed > 0", "effective_rank_change < -10%", "frobenius_norm_change > 10%"];
    let planted = [(0, BROKEN), (1, DROPPED), (2, COLLAPSED), (3, SCALED)];
    // Numbers that the baseline has and the checkpoint lacks are lost whatever `allow-missing = true` passes over.
    let lost = [(0, BROKEN), (0, DROPPED), (1, DROPPED), (2, COLLAPSED), (2, BROKEN), (2, DROPPED)];
    let lost = [&lost[..], &[(3, SCALED), (3, BROKEN), (3, DROPPED)]].concat();
    let named = ["--allow-missing=nonfinite,absent,unpaired"];
    for (more, expected) in [(&[][..], &lost[..]), (&named[..], &planted[..])] {
        let fail = |(rule, matrix): &(usize, &str)| {
            (rules[*rule].to_owned(), (*matrix).to_owned(), "fail".to_owned())
        };
        let expected: Vec<_> = expected.iter().map(fail).collect();
        assert_eq!(offenders(&json_in(folder.path(), &[&arguments[..], more].concat())), expected);
    }
}

#[test]
fn an_untouched_copy_passes_with_nothing_decomposed() {
    let folder = workplace(SETTINGS);
    let copy = planted(folder.path(), "copy.safetensors", |_, _, bytes| Some(bytes));
    let arguments = ["compare", "baseline.json", copy.to_str().unwrap(), "--fail-if", "changed > 0"];
    check_exit_in(folder.path(), &arguments, 0, "");
    let report = json_in(folder.path(), &arguments);
    assert_eq!(
        (&report["totals"]["measured"], &report["totals"]["compared"]["unchanged"]),
        (&json!(0), &json!(30))
    );
}

#[test]
fn a_vector_that_changed_or_is_not_finite_is_seen() {
    let folder = workplace("");
    let altered = |name: &str, at: usize, bytes: [u8; 2]| {
        planted(folder.path(), name, |tensor, _, mut stored| {
            if tensor == NORM {
                stored[at..at + 2].copy_from_slice(&bytes);
            }
            Some(stored)
        })
    };
    let (nan, other) = (altered("nan.safetensors", 6, NAN), altered("other.safetensors", 8, [0x80, 0x3e]));
    let (nan, other) = (nan.to_str().unwrap(), other.to_str().unwrap());
    for base in ["baseline.json", BASE] {
        for more in [&[][..], &["--no-svd"]] {
            let judged = |model: &str, rule: &str| {
                let report =
                    json_in(folder.path(), &[&["compare", base, model, "--fail-if", rule], more].concat());
                offenders(&report).into_iter().map(|(_, matrix, _)| matrix).collect::<Vec<_>>()
            };
            assert_eq!(judged(nan, "nonfinite_count > 0"), [NORM], "{base} {more:?}");
            assert_eq!(judged(other, "changed > 0"), [NORM], "{base} {more:?}");
            assert!(judged(other, "nonfinite_count > 0").is_empty());
        }
    }
    // NaN on both sides is no change, and still no health.
    check_exit_in(folder.path(), &["compare", nan, nan, "--fail-if", "changed > 0"], 0, "");
    check_exit_in(folder.path(), &["compare", nan, nan, "--fail-if", "nonfinite_count > 0"], 1, "");
    check_exit_in(folder.path(), &["spectrum", nan, "--fail-if", "nonfinite_count > 0"], 1, "");
    check_exit_in(
        folder.path(),
        &["spectrum", nan, "--no-svd", "--fail-if", "*norm: nonfinite_count > 0"],
        1,
        "",
    );
    let table = stdout(folder.path(), &["spectrum", nan, "--no-svd"]);
    assert!(
        table.contains("! model.layers.1.input_layernorm.weight: 1 of its entries NaN or infinite"),
        "{table}"
    );
}

#[test]
fn nan_in_complex_numbers_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let header = r#"{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"freqs":{"dtype":"C64","shape":[2],"data_offsets":[16,32]}}"#;
    let numbers: Vec<u8> =
        [1.0, 2.0, 3.0, 4.0, 0.0, f32::NAN, 0.0, 0.0].iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
    let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &numbers].concat();
    fs::write(folder.path().join("model.safetensors"), file).unwrap();
    let arguments = ["spectrum", "model.safetensors", "--no-svd", "--fail-if", "nonfinite_count > 0"];
    check_exit_in(folder.path(), &arguments, 1, "");
}

#[test]
fn without_a_decomposition_only_what_bytes_tell_can_be_asked() {
    let folder = workplace("");
    let model = regressed(folder.path());
    let model = model.to_str().unwrap();
    for base in ["baseline.json", BASE] {
        let rules = [
            "--fail-if",
            "nonfinite_count > 0",
            "--fail-if",
            "removed > 0",
            "--fail-if",
            "max_abs_change > 10%",
        ];
        let report = json_in(folder.path(), &[&["compare", base, model, "--no-svd"], &rules[..]].concat());
        let named: Vec<_> = offenders(&report).into_iter().map(|(_, matrix, _)| matrix).collect();
        // The matrix that is gone has neither entries nor a change to be measured.
        assert_eq!(named, [BROKEN, DROPPED, DROPPED, SCALED, DROPPED], "{base}");
        assert_eq!(report["settings"], json!({"svd": "none"}));
    }
    let refused = "`stable_rank` needs a decomposition; leave `--no-svd` out";
    check_exit_in(folder.path(), &["spectrum", BASE, "--no-svd", "--fail-if", "stable_rank < 2"], 2, refused);
    let rule = "effective_rank_change < 0";
    check_exit_in(
        folder.path(),
        &["compare", BASE, FULL, "--no-svd", "--fail-if", rule],
        2,
        "leave `--no-svd` out",
    );
    let several = ["compare", BASE, FULL, "--tuned", FULL, "--no-svd", "--fail-if", "nonfinite_count > 0"];
    check_exit_in(folder.path(), &several, 2, "did you mean `nonfinite_count@full`?");
    assert!(svdkit_in(folder.path(), &["spectrum", BASE, "--no-svd", "-o", "bytes.json"]).status.success());
    check_exit_in(folder.path(), &["compare", "bytes.json", FULL], 2, "was made with `--no-svd`");
    check_exit_in(folder.path(), &["compare", "bytes.json", FULL, "--no-svd"], 0, "");
    let zeros = planted(folder.path(), "zeros.safetensors", |name, _, bytes| {
        Some(if name == SCALED { vec![0; bytes.len()] } else { bytes })
    });
    let arguments = ["spectrum", zeros.to_str().unwrap(), "--no-svd", "--fail-if", "max_abs == 0"];
    assert_eq!(offenders(&json_in(folder.path(), &arguments))[0].1, SCALED);
}

#[test]
fn a_rule_in_the_file_is_meant_as_the_file_says() {
    let folder = workplace(
        r#"
        [[gate.rule]]
        fail-if = "spectral_norm_change > 2%"
        severity = "warn"
        include = ["*.0.*"]

        [[gate.rule]]
        fail-if = "effective_rank_change < -0.1%"
        exclude = ["lm_head", "*.layers.*"]
        "#,
    );
    let arguments = ["compare", "baseline.json", FULL, "--no-vectors"];
    check_exit_in(folder.path(), &arguments, 0, "");
    let report = json_in(folder.path(), &arguments);
    let found: Vec<_> =
        offenders(&report).into_iter().map(|(_, matrix, outcome)| (matrix, outcome)).collect();
    assert!(found.iter().all(|(matrix, outcome)| matrix.contains(".0.") && outcome == "fail"), "{found:?}");
    assert_eq!((&report["verdicts"][0]["severity"], found.is_empty()), (&json!("warn"), false));
    let text = stdout(folder.path(), &arguments);
    assert!(
        text.contains(&format!(
            "spectral_norm_change > 2%      warn  {} rows\n   model.layers.0.",
            found.len()
        )),
        "{text}"
    );
    // Typed, the same rule is no mere warning.
    let typed = [&arguments[..], &["--fail-if", "spectral_norm_change > 2%"]].concat();
    check_exit_in(folder.path(), &typed, 1, "");
    check_exit_in(
        folder.path(),
        &[&arguments[..], &["--fail-if", "changed > 0", "--no-config"]].concat(),
        1,
        "",
    );
    // Rules of a comparison are no business of another command, and it says so.
    check_exit_in(
        folder.path(),
        &["spectrum", BASE],
        0,
        "is not judged: `spectrum` measures nothing of that name",
    );
    check_exit_in(
        folder.path(),
        &["compare", "baseline.json", FULL, "--no-svd"],
        2,
        "line 3: `spectral_norm_change` needs",
    );
}

#[test]
fn what_is_accepted_passes_until_its_day_is_over() {
    let accept = |until: &str| {
        format!(
            "{SETTINGS}\n[[gate.accept]]\ncolumn = \"effective_rank_change\"\nmatrix = \"*.2.mlp.*\"\nreason = \"pruned on purpose\"\nuntil = {until}\n"
        )
    };
    let verdict = |until: &str| {
        let folder = workplace(&accept(until));
        let model = planted(folder.path(), "collapsed.safetensors", |name, cols, bytes| {
            Some(if name == COLLAPSED { bytes[..2 * cols].repeat(bytes.len() / (2 * cols)) } else { bytes })
        });
        let arguments = ["compare", "baseline.json", model.to_str().unwrap()];
        let code = svdkit_in(folder.path(), &arguments).status.code().unwrap();
        (code, json_in(folder.path(), &arguments)["verdicts"][2].clone())
    };
    let (code, accepted) = verdict("2999-12-31");
    assert_eq!((code, &accepted["outcome"], &accepted["accepted"]), (0, &json!("accepted"), &json!(1)));
    assert_eq!(accepted["offenders"][0]["note"], "accepted until 2999-12-31: pruned on purpose");
    let (code, expired) = verdict("2024-02-29");
    assert_eq!((code, &expired["outcome"], &expired["accepted"]), (1, &json!("fail"), &json!(0)));
    assert_eq!(expired["offenders"][0]["note"], "was accepted until 2024-02-29: pruned on purpose");
}

#[test]
fn a_change_that_accuracy_does_not_tell_is_no_verdict() {
    let folder = workplace("");
    // A spectrum that moves by rounding alone: the same rows in another order.
    let permuted = planted(folder.path(), "permuted.safetensors", |name, cols, mut bytes| {
        if name == COLLAPSED {
            bytes.rotate_left(2 * cols);
        }
        Some(bytes)
    });
    let model = permuted.to_str().unwrap();
    for rule in ["effective_rank_change < 0", "effective_rank_change > 0", "frobenius_norm_change != 0"] {
        let arguments = ["compare", "baseline.json", model, "--fail-if", rule];
        check_exit_in(folder.path(), &arguments, 1, "");
        let expected = (rule.to_owned(), COLLAPSED.to_owned(), "inconclusive".to_owned());
        assert_eq!(offenders(&json_in(folder.path(), &arguments)), [expected]);
    }
    check_exit_in(
        folder.path(),
        &["compare", "baseline.json", model, "--fail-if", "effective_rank_change < -0.1%"],
        0,
        "",
    );
}

#[test]
fn the_ten_worst_rows_over_all_rules_are_annotated() {
    let folder = workplace("");
    let rules = ["--fail-if", "changed > 0", "--fail-if", "effective_rank_change < 0"];
    let arguments = [&["compare", "baseline.json", FULL, "--format", "github"], &rules[..]].concat();
    let text = stdout(folder.path(), &arguments);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 11, "{text}");
    assert!(lines[0].starts_with("::error title=svdkit%3A changed > 0::lm_head: changed = 1"), "{text}");
    assert!(lines[1].starts_with("::error title=svdkit%3A effective_rank_change < 0::"), "{text}");
    assert!(
        lines[10].starts_with("::notice ") && lines[10].ends_with("more problems are in the report"),
        "{text}"
    );
    let gitlab = [&["compare", "baseline.json", FULL, "--format", "gitlab"], &rules[..]].concat();
    let issues: Vec<Value> = serde_json::from_str(&stdout(folder.path(), &gitlab)).unwrap();
    let mut prints: Vec<&str> = issues.iter().map(|issue| issue["fingerprint"].as_str().unwrap()).collect();
    prints.sort_unstable();
    prints.dedup();
    assert!(prints.len() == issues.len() && issues.len() > 39, "{}", issues.len());
    let junit = [&["compare", "baseline.json", FULL, "--format", "junit"], &rules[..]].concat();
    assert!(
        stdout(folder.path(), &junit).contains("<testcase name=\"lm_head\" classname=\"changed &gt; 0\">")
    );
}

#[test]
fn a_summary_of_any_model_stays_below_what_github_takes() {
    let folder = tempfile::tempdir().unwrap();
    // Names as long as these would fill a summary with a few hundred rows.
    let (mut header, side) = (Map::new(), 2);
    for i in 0..3000 {
        let name = format!("layers.{i}.{}.weight", "x".repeat(1500));
        header.insert(
            name,
            json!({"dtype": "BF16", "shape": [side, side], "data_offsets": [8 * i, 8 * i + 8]}),
        );
    }
    let header = Value::Object(header).to_string().into_bytes();
    let path = folder.path().join("wide.safetensors");
    let data = [1, 0x3f, 0, 0x3f, 3, 0x3f, 4, 0x3f].repeat(3000);
    fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()).unwrap();
    let arguments =
        ["spectrum", path.to_str().unwrap(), "--no-svd", "--format", "markdown", "--fail-if", "max_abs > 0"];
    let summary = stdout(folder.path(), &arguments);
    assert!(summary.starts_with("**FAILED**: 1 of 1 rules\n"), "{}", &summary[..200]);
    assert!(summary.len() < 1 << 20, "{}", summary.len());
    assert!(summary.contains("more; the JSON report has them all"));
    assert!(summary.trim_end().ends_with("parameters"));
}

#[test]
fn a_rule_on_findings_that_nothing_is_looked_for_is_an_error() {
    let check = |arguments: &[&str], code, stderr| check_exit_in(Path::new("/"), arguments, code, stderr);
    let rule = ["--fail-if", "finding(problem)"];
    let refused = "no findings are looked for in this report";
    check(&[&["spectrum", BASE, "--names", "weightwatcher"], &rule[..]].concat(), 2, refused);
    check(&[&["spectrum", BASE, "--no-findings"], &rule[..]].concat(), 2, refused);
    check(&["spectrum", BASE, "--fail-if", "zzz.*: finding(problem)"], 2, "no matrix of the report matches");
    check(&[&["spectrum", BASE], &rule[..]].concat(), 0, "");
}

#[test]
fn an_acceptance_that_accepts_nothing_is_told() {
    let accept = |matrix: &str| {
        workplace(&format!(
            "{SETTINGS}\n[[gate.accept]]\ncolumn = \"effective_rank_change\"\nmatrix = \"{matrix}\"\nreason = \"pruned\"\n"
        ))
    };
    let told = |matrix: &str, more: &[&str]| {
        let folder = accept(matrix);
        let model = regressed(folder.path());
        let arguments = ["compare", "baseline.json", model.to_str().unwrap(), "--no-vectors"];
        String::from_utf8(svdkit_in(folder.path(), &[&arguments[..], more].concat()).stderr).unwrap()
    };
    let gone = "nothing breaks `effective_rank_change` for `*.9.*` any more; the acceptance can go";
    assert!(told("*.9.*", &[]).contains(gone), "{}", told("*.9.*", &[]));
    assert!(!told("*.2.mlp.*", &[]).contains("can go"));
    assert!(!told("*.9.*", &["--quiet"]).contains("can go"));
    // What a filter leaves out may still break the rule.
    assert!(!told("*.9.*", &["--include", "*.2.*"]).contains("can go"));
}
