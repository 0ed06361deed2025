//! Matrices that are held against each other: what one model or block lacks, and entries that are not finite.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::adapter::noise;
use crate::harness::{BASE, check_exit, json, list, planted};
use crate::permute::{Tensor, group, row, text, written};

/// The bundled model without the tensors that `is_lost`.
fn without(folder: &Path, name: &str, is_lost: impl Fn(&str) -> bool) -> PathBuf {
    let path = planted(folder, name, |name, _, bytes| (!is_lost(name)).then_some(bytes));
    let config = Path::new(BASE).join("config.json");
    fs::copy(config, folder.join("config.json")).unwrap();
    path
}

/// The bundled model with NaN in the matrix that ends in `last`.
fn broken(folder: &Path, name: &str, last: &str) -> PathBuf {
    let nan = |mut bytes: Vec<u8>| {
        bytes[..2].copy_from_slice(&[0xc0, 0x7f]);
        bytes
    };
    let path = planted(folder, name, |name, _, bytes| {
        Some(if name.trim_end_matches(".weight").ends_with(last) { nan(bytes) } else { bytes })
    });
    fs::copy(Path::new(BASE).join("config.json"), folder.join("config.json")).unwrap();
    path
}

/// The rows that failed, and how many did not.
fn failed(report: &Value) -> (Vec<&str>, usize) {
    let rows = list(report, "rows");
    let failed = rows.iter().filter(|row| row["failed"].is_string());
    let failed: Vec<&str> = failed.map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(report["totals"]["failed"], failed.len());
    let sound = rows.len() - failed.len();
    (failed, sound)
}

/// The tensors that were skipped for a reason with `word`.
fn skipped<'r>(report: &'r Value, word: &str) -> Vec<&'r str> {
    let lines = list(report, "skipped").iter().filter(|line| line["reason"].as_str().unwrap().contains(word));
    lines.map(|line| line["tensor"].as_str().unwrap()).collect()
}

#[test]
fn a_matrix_that_is_not_finite_fails_its_row_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (here, said) = (folder.path(), "holds NaN or infinite entries");
    let gate = broken(here, "gate.safetensors", "layers.1.mlp.gate_proj");
    let gate = text(&gate);
    // Blocks against each other: the kind that has it.
    let across = ["compare", gate, "--across", "layers"];
    assert_eq!(failed(&json(&across)), (vec!["model.layers.*.mlp.gate_proj"], 6));
    check_exit(&across, 2, "--exclude model.layers.1.mlp.gate_proj");
    check_exit(&[&across[..], &["--exclude", "model.layers.1.mlp.gate_proj"]].concat(), 0, "");
    // A family.
    let scaling = ["scaling", gate, BASE, "--widths", "64,128"];
    assert_eq!(failed(&json(&scaling)), (vec!["model.layers.*.mlp.gate_proj"], 6));
    check_exit(&scaling, 2, said);
    // The lineage of one MLP, whose tested matrix is sound.
    for order in [&[][..], &["--permuted"]] {
        let lineage = [&["lineage", BASE, gate][..], order].concat();
        let report = json(&lineage);
        assert_eq!(failed(&report), (vec!["model.layers.1.mlp"], 3), "{order:?}");
        assert_eq!(group(&report, "combined")["matrices"], 3);
        check_exit(&[&lineage[..], &["--fail-if", "max(log10_p) > -10"]].concat(), 2, said);
    }
    // Units of one module, with all of its tensors; no copy of a model that is not whole.
    let permute = ["compare", BASE, gate, "--permute", "--vectors", "none"];
    let report = json(&permute);
    let (rows, sound) = failed(&report);
    assert!(rows.len() == 3 && rows.iter().all(|name| name.starts_with("model.layers.1.mlp.")), "{rows:?}");
    assert!(sound > 12);
    assert_eq!(group(&report, "model.layers.1.mlp")["missing"]["moved_units"]["code"], "failed");
    assert_eq!(group(&report, "model.layers.2.mlp")["moved_units"], 0);
    check_exit(&permute, 2, said);
    let out = here.join("copy");
    check_exit(&[&permute[..], &["--out", text(&out)]].concat(), 2, "no copy is written");
    assert!(!out.join("model.safetensors").exists());
}

#[test]
fn what_one_model_lacks_is_said_and_strict_fails_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let cut = without(here, "cut.safetensors", |name| name.contains("layers.3.mlp"));
    let cut = text(&cut);
    for (sides, word) in [([BASE, cut], "is not in the second model"), ([cut, BASE], "only in the second")] {
        for command in [&["lineage"][..], &["compare", "--permute", "--vectors", "none"]] {
            let arguments = [&command[..1], &sides, &command[1..]].concat();
            let report = json(&arguments);
            let lost = skipped(&report, word);
            assert_eq!(lost.len(), 3, "{arguments:?}: {lost:?}");
            assert!(lost.iter().all(|name| name.contains("layers.3.mlp")));
            check_exit(&arguments, 0, "");
            check_exit(&[&arguments[..], &["--strict"]].concat(), 2, "layers.3.mlp");
        }
    }
    // With the residual stream nothing may lack.
    check_exit(&["compare", BASE, cut, "--permute", "all"], 2, "is not here");
    // A block that has a shape of its own, and matrices in no block.
    let report = json(&["compare", BASE, "--across", "layers"]);
    assert!(skipped(&report, "in no numbered block").contains(&"model.embed_tokens.weight"));
    check_exit(&["compare", BASE, "--across", "layers", "--strict"], 0, "");
    let lone = |name: &str, rows: usize| -> PathBuf {
        let tensors: [Tensor; 3] = [
            ("layers.0.w.weight", [6, 4], noise(6, 4, 1)),
            ("layers.1.w.weight", [6, 4], noise(6, 4, 2)),
            ("layers.2.w.weight", [rows, 4], noise(rows, 4, 3)),
        ];
        written(here, name, &tensors)
    };
    let lone = lone("lone.safetensors", 5);
    let across = ["compare", text(&lone), "--across", "layers", "-k", "2"];
    let report = json(&across);
    assert_eq!(skipped(&report, "no other block"), ["layers.2.w.weight"]);
    check_exit(&[&across[..], &["--strict"]].concat(), 2, "layers.2.w");
    // Two kinds of one name have names of their own.
    let tensors: Vec<Tensor> = vec![
        ("layers.0.w.weight", [6, 4], noise(6, 4, 1)),
        ("layers.1.w.weight", [6, 4], noise(6, 4, 2)),
        ("layers.2.w.weight", [5, 4], noise(5, 4, 3)),
        ("layers.3.w.weight", [5, 4], noise(5, 4, 4)),
    ];
    let two = written(here, "two.safetensors", &tensors);
    let report = json(&["compare", text(&two), "--across", "layers", "-k", "2"]);
    let names: Vec<&str> = list(&report, "rows").iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["layers.*.w", "layers.*.w (6 × 4)"]);
    // A role that one model of a family lacks.
    let less = without(here, "less.safetensors", |name| name.contains("up_proj"));
    let scaling = ["scaling", BASE, text(&less), "--widths", "128,64"];
    let report = json(&scaling);
    let lost = skipped(&report, "has no `model.layers.*.mlp.up_proj`");
    assert_eq!(lost.len(), 4, "{lost:?}");
    assert!(lost[0].starts_with("base: "), "{lost:?}");
    check_exit(&[&scaling[..], &["--strict"]].concat(), 2, "up_proj");
    check_exit(&["scaling", BASE, BASE, "--widths", "0,1"], 2, "a whole number from 1 on");
}

#[test]
fn a_zero_matrix_of_a_family_is_named_and_strict_fails_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let zero = planted(folder.path(), "zero.safetensors", |name, _, bytes| {
        Some(if name.ends_with("layers.2.mlp.up_proj") { vec![0; bytes.len()] } else { bytes })
    });
    let scaling = ["scaling", text(&zero), BASE, "--widths", "64,128"];
    let report = json(&scaling);
    assert_eq!(skipped(&report, "every entry is zero"), ["zero: model.layers.2.mlp.up_proj.weight"]);
    let role = row(&report, "model.layers.*.mlp.up_proj");
    assert_eq!(role["missing"]["width_exponent"]["code"], "zero_matrix", "{role}");
    check_exit(&scaling, 0, "");
    check_exit(
        &[&scaling[..], &["--strict"]].concat(),
        2,
        "every entry is zero, so its role has no exponent",
    );
}

#[test]
fn rows_that_are_all_alike_tell_nothing_of_lineage() {
    let folder = tempfile::tempdir().unwrap();
    let equal = |name: &str, seed: u32| {
        let rows = |seed| noise(1, 32, seed).repeat(64);
        let tensors: [Tensor; 3] = [
            ("mlp.gate_proj.weight", [64, 32], noise(64, 32, seed)),
            ("mlp.up_proj.weight", [64, 32], rows(seed + 1)),
            ("mlp.down_proj.weight", [32, 64], noise(32, 64, seed + 2)),
        ];
        written(folder.path(), name, &tensors)
    };
    let (a, b) = (equal("a.safetensors", 11), equal("b.safetensors", 22));
    let report = json(&["lineage", text(&a), text(&b)]);
    for column in ["p_value", "log10_p", "lineage_z"] {
        assert_eq!(row(&report, "mlp")["missing"][column]["code"], "equal_rows", "{report}");
    }
    assert_eq!(group(&report, "combined")["missing"]["log10_p"]["code"], "equal_rows");
    check_exit(&["lineage", text(&a), text(&b), "--fail-if", "max(log10_p) > -3"], 1, "");
}

#[test]
fn an_embedding_with_more_tokens_is_matched_by_those_of_both() {
    let folder = tempfile::tempdir().unwrap();
    let model = |name: &str, tokens: usize| {
        let tensors: Vec<Tensor> = vec![
            ("model.embed_tokens.weight", [tokens, 16], noise(tokens, 16, 5)),
            ("model.layers.0.mlp.gate_proj.weight", [64, 16], noise(64, 16, 6)),
            ("model.layers.0.mlp.up_proj.weight", [64, 16], noise(64, 16, 7)),
            ("model.layers.0.mlp.down_proj.weight", [16, 64], noise(16, 64, 8)),
        ];
        written(folder.path(), name, &tensors)
    };
    let (a, b) = (model("a.safetensors", 40), model("b.safetensors", 48));
    for order in [&[][..], &["--permuted"]] {
        let report = json(&[&["lineage", text(&a), text(&b)], order].concat());
        assert!(group(&report, "combined")["log10_p"].as_f64().unwrap() < -10.0, "{report}");
    }
}

#[test]
fn what_is_no_model_is_refused_by_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("report.json");
    json(&["spectrum", BASE, "--include", "*.0.mlp.*", "-o", text(&saved)]);
    let lora = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/lora-r4");
    for command in [&["lineage"][..], &["scaling"], &["compare", "--permute"]] {
        let with = |other| [&command[..1], &[BASE, other], &command[1..]].concat();
        check_exit(&with(text(&saved)), 2, "is a report of svdkit");
        check_exit(&with(lora), 2, "`svdkit adapter merge ADAPTER --base BASE --out DIR`");
    }
    // Updates of rank 4 have four directions, and random spaces of four are that much alike.
    let report = json(&["compare", lora, "--across", "layers", "--include", "*.q_proj"]);
    let chance = list(&report, "rows")[0]["chance_overlap"].as_f64().unwrap();
    assert!((chance - (4.0f64 / 128.0).sqrt()).abs() < 1e-12, "{chance}");
    let notes = list(&report, "notes").iter().map(|note| note.as_str().unwrap()).collect::<Vec<_>>();
    assert!(notes.iter().any(|note| note.contains("adds to its base")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("`-k 10` is more than the 4 directions")), "{notes:?}");
}
