//! Reports of commands other than `spectrum` on both sides of `compare`: numbers row by row, or a refusal that says what to do.

use std::path::Path;

use serde_json::Value;

use crate::harness::{BASE, check_exit, json, list, stdout};
use crate::permute::text;

const FULL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");
const PAPERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/papers/");
const ORDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/order/");

/// Writes the report of a command and gives its path.
fn saved(folder: &Path, name: &str, arguments: &[&str]) -> String {
    let path = folder.join(name);
    stdout(&[arguments, &["-o", text(&path), "-q"]].concat());
    text(&path).to_owned()
}

/// Compares two reports, which have a number in `column` in every row and show it in the table.
#[track_caller]
fn check(folder: &Path, first: &[&str], second: &[&str], (column, label): (&str, &str)) -> Value {
    let (a, b) = (saved(folder, "a.json", first), saved(folder, "b.json", second));
    let report = json(&["compare", &a, &b, "--all"]);
    assert!(!list(&report, "rows").is_empty());
    for row in list(&report, "rows") {
        assert!(row[column].is_number(), "{column}: {row}");
    }
    let table = stdout(&["compare", &a, &b, "--all", "--width", "140"]);
    assert!(table.contains(label), "{label}: {table}");
    report
}

#[test]
fn reports_with_rows_of_their_own_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let gradients = format!("{PAPERS}gradients");
    let gradients = ["features", &gradients, "--gradients", "--include", "layers.0.*"];
    check(here, &gradients, &gradients, ("partner_cosine_difference", "cos q·o, k·v +"));
    let features = ["features", BASE, "--include", "*embed*"];
    let tuned = ["features", FULL, "--include", "*embed*"];
    check(here, &features, &tuned, ("effective_rank_change", "Δ effective"));
    let (once, twice) = (["lineage", BASE, FULL], ["lineage", BASE, BASE]);
    let report = check(here, &once, &twice, ("log10_p_base", "base log₁₀ p"));
    let row = &list(&report, "rows")[0];
    assert!(row["log10_p"].as_f64().unwrap() <= row["log10_p_base"].as_f64().unwrap(), "{row}");
    let width = |width: usize| format!("{ORDER}width-{width}.safetensors");
    let (a, b, c) = (width(8), width(16), width(32));
    check(here, &["scaling", &a, &b], &["scaling", &b, &c], ("width_exponent_difference", "base exponent"));
    let across = |model| ["compare", model, "--across", "layers", "--include", "*.mlp.*"];
    check(here, &across(BASE), &across(FULL), ("mean_overlap_difference", "base mean"));
}

#[test]
fn reports_whose_rows_are_of_two_models_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let check = |name: &str, arguments: &[&str], said: &str| {
        let path = saved(here, name, arguments);
        check_exit(&["compare", &path, &path], 2, said);
        check_exit(&["compare", &path, BASE], 2, "");
    };
    check("pair.json", &["compare", BASE, FULL, "--no-svd"], "they are of two models already");
    let permute = ["compare", BASE, FULL, "--permute", "--vectors", "none"];
    check("permute.json", &permute, "they are of two models already");
    let base = format!("{PAPERS}base.safetensors");
    let compressed = format!("{PAPERS}compressed.safetensors");
    check(
        "less.json",
        &["compare", &base, &compressed, "--compensate", "1"],
        "they are of two models already",
    );
    let series = ["series", BASE, FULL, "--as-given", "--columns", "frobenius_norm"];
    check("series.json", &series, "they are of many steps");
    let lineage = saved(here, "lineage.json", &["lineage", BASE, FULL]);
    check_exit(
        &["compare", &lineage, BASE],
        2,
        "is a report of `lineage`, which weights are not compared with",
    );
}

#[test]
fn what_a_baseline_has_beside_metrics_is_left_out_against_weights() {
    let folder = tempfile::tempdir().unwrap();
    let include = "*.0.self_attn.q_proj";
    let further = ["spectrum", BASE, "--include", include, "--eig", "--robust", "dpd"];
    let baseline = saved(folder.path(), "eig.json", &further);
    let report = json(&["compare", &baseline, FULL, "--include", include]);
    let row = &list(&report, "rows")[0];
    assert!(row["spectral_norm_change"].is_number(), "{row}");
    assert!(row.get("spectral_radius").is_none() && row.get("robust_rank").is_none(), "{row}");
    let notes = list(&report, "notes");
    assert!(notes.iter().any(|note| note.as_str().unwrap().contains("are not compared with weights")));
    let rule = ["compare", &baseline, FULL, "--fail-if", "spectral_radius_change > 0"];
    check_exit(&rule, 2, "compared between two reports");
    let tuned = ["spectrum", FULL, "--include", include, "--eig", "--robust", "dpd"];
    let tuned = saved(folder.path(), "tuned.json", &tuned);
    let report = json(&["compare", &baseline, &tuned]);
    assert!(list(&report, "rows")[0]["spectral_radius_change"].is_number());
}
