//! `adapter verify`: what each method promises holds for what `adapter init` writes, and is seen to break.

use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use crate::adapter::{doubles, noise};
use crate::adapter_init::{singles, stored_in};
use crate::harness::{check_exit_in, json_in, list, save};

/// Two modules, and data for them.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let weights = |seed: u32| {
        let shapes = [("layers.0.q", 24, 16, 0), ("layers.1.up", 16, 24, 1)];
        shapes.map(|(name, rows, cols, i)| {
            singles(&format!("{name}.weight"), &[rows, cols], &noise(rows, cols, seed + i))
        })
    };
    save(&at("model.safetensors"), &weights(11));
    save(&at("other.safetensors"), &weights(50));
    let acts = [("layers.0.q", 16, 31), ("layers.1.up", 24, 32)];
    let acts = acts.map(|(name, n, seed)| doubles(name, &[40, n], &noise(40, n, seed)));
    save(&at("acts.safetensors"), &acts);
    folder
}

fn begin(folder: &Path, method: &str, options: &[&str]) {
    for name in ["out", "base"] {
        let _ = fs::remove_dir_all(folder.join(name));
    }
    let moved: &[&str] = if method == "eva" { &[] } else { &["--base-out", "base"] };
    let data: &[&str] =
        if method == "eva" || method.starts_with("corda") { &["--acts", "acts.safetensors"] } else { &[] };
    let fixed = [
        "adapter",
        "init",
        "model.safetensors",
        "--method",
        method,
        "--rank",
        "3",
        "--out",
        "out",
        "--quiet",
    ];
    json_in(folder, &[&fixed[..], moved, data, options].concat());
}

fn verify(folder: &Path, options: &[&str]) -> Json {
    let base = if folder.join("base").exists() { "base" } else { "model.safetensors" };
    let fixed = ["adapter", "verify", "out", "--base", base, "--original", "model.safetensors"];
    json_in(folder, &[&fixed[..], options].concat())
}

fn broken(report: &Json) -> Vec<u64> {
    list(report, "rows").iter().map(|row| row["broken"].as_u64().unwrap()).collect()
}

const METHODS: [&str; 8] = ["pissa", "minor", "sorsa", "olora", "kasa", "eva", "corda-ipm", "corda-kpm"];

#[test]
fn what_init_writes_holds_what_its_method_promises() {
    let folder = folder();
    for method in METHODS {
        for scale in ["3", "6"] {
            begin(folder.path(), method, &["--alpha", scale]);
            let report = verify(folder.path(), &["--method", method]);
            assert_eq!(broken(&report), [0, 0], "{method}: {}", report["notes"]);
            for row in list(&report, "rows").iter().filter(|_| method != "kasa") {
                assert!(row["preservation_error"].as_f64().unwrap() < 1e-6, "{method}: {row}");
            }
        }
        // Evidence tells it; that of CorDA is the same for both ends.
        begin(folder.path(), method, &[]);
        let report = verify(folder.path(), &[]);
        let note = report["notes"][0].as_str().unwrap();
        let known = if method.starts_with("corda") { "corda-ipm or corda-kpm" } else { method };
        let told = format!("2 of 2 modules hold the invariants of {known} (by evidence");
        assert!(note.starts_with(&told), "{note}");
        assert_eq!(note.contains("does not tell these two apart, nor EoRA"), method.starts_with("corda"));
    }
}

#[test]
fn bf16_is_rounded_and_does_not_break_a_promise() {
    let folder = folder();
    for method in ["pissa", "sorsa", "olora"] {
        begin(folder.path(), method, &["--dtype", "bf16"]);
        let report = verify(folder.path(), &["--method", method]);
        assert_eq!(broken(&report), [0, 0], "{method}: {}", report["notes"]);
    }
}

#[test]
fn another_base_breaks_what_was_promised_and_a_rule_sees_it() {
    let folder = folder();
    begin(folder.path(), "pissa", &[]);
    let wrong = ["adapter", "verify", "out", "--base", "model.safetensors", "--method", "pissa"];
    let report = json_in(folder.path(), &wrong);
    assert!(broken(&report).iter().all(|count| *count >= 3), "{report}");
    let finding = &report["findings"][0];
    assert_eq!(
        (&finding["name"], &finding["level"]),
        (&"broken-invariant".into(), &"problem".into()),
        "{report}"
    );
    let notes = report["notes"].to_string();
    assert!(
        notes.contains("the base lacks 0 directions, not 3") && notes.contains("in the directions of B"),
        "{notes}"
    );
    for (rule, base, code) in [
        ("broken > 0", "base", 0),
        ("broken > 0", "model.safetensors", 1),
        ("finding(broken-invariant)", "model.safetensors", 1),
        ("preservation_error > 1e-5", "base", 0),
    ] {
        let fixed = [
            "adapter",
            "verify",
            "out",
            "--base",
            base,
            "--original",
            "model.safetensors",
            "--method",
            "pissa",
        ];
        check_exit_in(folder.path(), &[&fixed[..], &["--fail-if", rule]].concat(), code, "");
    }
    // Another original: the parts do not add up to it.
    let other = [
        "adapter",
        "verify",
        "out",
        "--base",
        "base",
        "--original",
        "other.safetensors",
        "--method",
        "pissa",
    ];
    let report = json_in(folder.path(), &other);
    assert_eq!(broken(&report), [1, 1]);
    assert!(report["notes"].to_string().contains("do not add up to the original weight"), "{report}");
    // One module of two: the other one says what was meant.
    let mut tensors = vec![];
    for (name, matrix) in stored_in(&folder.path().join("base/model.safetensors")) {
        let mut entries = matrix.to_f64();
        if name == "layers.1.up" {
            entries.iter_mut().zip(noise(matrix.rows(), matrix.cols(), 77)).for_each(|(x, more)| *x += more);
        }
        tensors.push(singles(&format!("{name}.weight"), &[matrix.rows(), matrix.cols()], &entries));
    }
    save(&folder.path().join("damaged.safetensors"), &tensors);
    let report = json_in(folder.path(), &["adapter", "verify", "out", "--base", "damaged.safetensors"]);
    let counts = broken(&report);
    assert!(counts[0] == 0 && counts[1] > 0, "{report}");
    assert_eq!(report["findings"][0]["matrices"], serde_json::json!(["layers.1.up"]));
}

#[test]
fn a_plain_adapter_holds_nothing_and_no_rule_passes_by_that() {
    let folder = folder();
    begin(folder.path(), "minor", &[]);
    let fixed = ["adapter", "verify", "out", "--base", "other.safetensors"];
    let report = json_in(folder.path(), &fixed);
    assert!(
        list(&report, "rows").iter().all(|row| row["missing"]["broken"]["code"] == "not_applicable"),
        "{report}"
    );
    check_exit_in(folder.path(), &[&fixed[..], &["--fail-if", "broken > 0"]].concat(), 1, "");
    check_exit_in(
        folder.path(),
        &["adapter", "verify", "model.safetensors", "--base", "model.safetensors"],
        2,
        "not an adapter",
    );
    let missing =
        ["adapter", "verify", "out", "--base", "other.safetensors", "--original", "acts.safetensors"];
    check_exit_in(folder.path(), &missing, 2, "");
}
