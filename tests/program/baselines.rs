//! Baselines of schema 1 against weights: what is measured and judged is what the program of then found.

use std::fs;

use serde_json::{Map, Value};
use svdkit::analysis::columns;
use svdkit::report::Report;

use crate::harness::json;

/// A report of either schema, in the words of the present one, without what schema 1 did not have.
fn report(json: &Value) -> Value {
    let json: Map<String, Value> = json.as_object().unwrap().clone();
    let mut report = serde_json::to_value(Report::read(json, &columns::of_report).unwrap()).unwrap();
    let keys = report.as_object_mut().unwrap();
    keys.retain(|key, _| !["svdkit", "findings", "findings_unchecked", "summary"].contains(&key.as_str()));
    let rows = keys.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten();
    rows.for_each(|row| {
        row.as_object_mut().unwrap().remove("resolution");
    });
    let verdicts = keys.get_mut("verdicts").and_then(Value::as_array_mut).into_iter().flatten();
    verdicts.for_each(|verdict| {
        let verdict = verdict.as_object_mut().unwrap();
        verdict.shift_remove("key");
        // Where the worst value is was not told.
        let told = |of: Option<&mut Value>| {
            if let Some(Value::String(text)) = of {
                text.truncate(text.find(", in ").unwrap_or(text.len()));
            }
        };
        told(verdict.get_mut("worst"));
        let offenders = verdict.get_mut("offenders").and_then(Value::as_array_mut).into_iter().flatten();
        offenders.for_each(|offender| told(offender.get_mut("what")));
    });
    report
}

/// Checks that all is equal, numbers to within what another processor may round otherwise.
#[track_caller]
fn check_alike(found: &Value, expected: &Value, at: &str) {
    match (found, expected) {
        // Vectors that both sides have were said to be unpaired.
        (Value::Object(found), Value::Object(expected))
            if found.get("code") == Some(&"not_a_matrix".into()) =>
        {
            assert_eq!(expected["code"], "absent", "{at}");
        }
        (Value::Number(found), Value::Number(expected)) => {
            let (x, y) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            assert!((x - y).abs() <= 1e-6 * y.abs().max(1e-3), "{at}: {x}, not {y}");
        }
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                check_alike(found, expected, &format!("{at}[{i}]"));
            }
        }
        (Value::Object(found), Value::Object(expected)) => {
            assert!(found.keys().eq(expected.keys()), "{at}: {:?}, not {:?}", found.keys(), expected.keys());
            for (key, expected) in expected {
                check_alike(&found[key], expected, &format!("{at}.{key}"));
            }
        }
        _ => assert_eq!(found, expected, "{at}"),
    }
}

#[track_caller]
fn check(kept: &str, arguments: &[&str]) {
    let path = |name: &str| format!("{}/fixtures/reports/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let kept: Value = serde_json::from_slice(&fs::read(path(kept)).unwrap()).unwrap();
    check_alike(&report(&json(&[&["compare"], arguments, &["-q"]].concat())), &report(&kept), "report");
}

#[test]
fn a_baseline_of_schema_1_finds_what_it_found() {
    const FULL: &str = "fixtures/charlm/full";
    check(
        "compared",
        &[
            "fixtures/reports/spectrum.json",
            FULL,
            "--include=*.0.*",
            "--exclude=*norm*",
            "--fail-if=effective_rank_change < -1%",
            "--fail-if=max(condition_number) > 1e3",
            "--fail-if=alpha_difference > 0",
            "--allow-missing",
        ],
    );
    check(
        "compared-weightwatcher",
        &[
            "fixtures/reports/weightwatcher.json",
            FULL,
            "--include=*.0.mlp.*",
            "--fail-if=spectral_norm_change > 0",
        ],
    );
    check(
        "compared-no-svd",
        &[
            "fixtures/reports/no-svd.json",
            FULL,
            "--no-svd",
            "--include=*.0.*",
            "--fail-if=max_abs_change > 0",
        ],
    );
}

#[test]
fn two_reports_of_either_schema_compare() {
    for (command, kept) in [("farms", "farms"), ("spectrum", "spectrum"), ("rank", "rank")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("now.json");
        let more: &[&str] = if command == "rank" { &["--energy", "0.97"] } else { &[] };
        let output = ["-q", "-o", path.to_str().unwrap()];
        json(&[&[command, "fixtures/charlm/base"], more, &output].concat());
        let old = format!("fixtures/reports/{kept}.json");
        let compared = json(&["compare", &old, path.to_str().unwrap(), "-q"]);
        assert_eq!(compared["totals"]["compared"]["unchanged"], 30, "{command}");
        let columns = compared["columns"].as_array().unwrap();
        assert!(
            columns.iter().any(|key| key.as_str().is_some_and(|key| key.ends_with("_change"))),
            "{command}"
        );
    }
}
