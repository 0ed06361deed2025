//! `features`: numbers of the papers, files and folders, refusals, rules and formats.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::adapter::{doubles, noise};
use crate::harness::{check_exit, json as report, list, save, stdout};

/// Numbers of numpy.
pub(crate) fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oracle/tables.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[track_caller]
pub(crate) fn near(found: &Value, expected: &Value, what: &str) {
    let [found, expected] = [found, expected].map(|x| x.as_f64().unwrap_or(f64::NAN));
    let close = (found - expected).abs() <= 1e-9 * expected.abs().max(1.0);
    assert!(close, "{what}: {found} is not {expected}");
}

/// A folder for files of this test.
fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Writes tables of doubles into one file, and gives its path.
pub(crate) fn file(folder: &Path, name: &str, tables: &[(&str, usize, Vec<f64>)]) -> PathBuf {
    let stored: Vec<_> = tables
        .iter()
        .map(|(name, cols, entries)| doubles(name, &[entries.len() / cols, *cols], entries))
        .collect();
    let path = folder.join(name);
    save(&path, &stored);
    path
}

/// The activations of the golden numbers.
fn activations(rows: usize) -> Vec<f64> {
    noise(rows, 16, 32).iter().enumerate().map(|(k, x)| x * (1.0 + (k % 16) as f64 / 8.0)).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The only row of a report.
pub(crate) fn only(report: &Value) -> &Value {
    let rows = list(report, "rows");
    assert_eq!(rows.len(), 1, "{report}");
    &rows[0]
}

#[test]
fn the_matrix_nuclear_norm_and_entropy_are_those_of_numpy() {
    let folder = folder();
    for (key, rows) in [("mnn_X2", 40), ("mnn_X2_12_tokens", 12)] {
        let path = file(folder.path(), "x.safetensors", &[("x", 16, activations(rows))]);
        let golden = &golden()[key];
        let found = report(&["features", text(&path)]);
        let row = only(&found);
        near(&row["matrix_nuclear_norm"], &golden["mnn_over_tokens"], key);
        near(&row["normalized_nuclear_norm"], &golden["nuclear_over_tokens"], key);
        near(&row["matrix_entropy"], &golden["entropy"], key);
        let treated = report(&["features", text(&path), "--center", "--unit-rows"]);
        near(&only(&treated)["column_norm_sum"], &golden["l12_all_columns"], key);
    }
}

#[test]
fn the_nuclear_bound_is_that_of_numpy() {
    let folder = folder();
    let path = file(folder.path(), "t.safetensors", &[("t", 16, noise(24, 16, 11))]);
    let golden = &golden()["nuclear_bound_T"];
    let found = report(&["features", text(&path)]);
    for (column, key) in [
        ("column_norm_sum", "by_columns"),
        ("row_norm_sum", "by_rows"),
        ("nuclear_bound", "bound"),
        ("nuclear_norm", "nuclear"),
    ] {
        near(&only(&found)[column], &golden[key], column);
    }
}

/// The doubles of a safetensors file that holds one tensor.
fn stored(path: &Path) -> Vec<f64> {
    let bytes = fs::read(path).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[start..].chunks_exact(8).map(|x| f64::from_le_bytes(x.try_into().unwrap())).collect()
}

#[test]
fn centered_and_standardized_spectra_are_those_of_numpy() {
    let folder = folder();
    let path = file(folder.path(), "x.safetensors", &[("x", 16, activations(40))]);
    let (golden, spectra) = (&golden()["centred_X2"], folder.path().join("sigma.safetensors"));
    for (option, key) in [("--center", "sigma"), ("--standardize", "standardised_sigma")] {
        let found = report(&["features", text(&path), option, "--singular-values", text(&spectra)]);
        let sigma = stored(&spectra);
        for (found, expected) in sigma.iter().zip(list(golden, key)) {
            near(&json!(found), expected, key);
        }
        if option == "--center" {
            let row = only(&found);
            let ratio = 1.0 / row["condition_number"].as_f64().unwrap();
            near(&json!(ratio), &golden["smallest_over_largest"], "condition_number");
            near(&row["smallest_singular_value"], &golden["sigma"][15], "smallest_singular_value");
            let all: f64 = sigma.iter().map(|s| s * s).sum();
            for (s, share) in sigma.iter().zip(list(golden, "explained")) {
                near(&json!(s * s / all), share, "explained");
            }
        }
    }
}

#[test]
fn the_dimension_of_a_cloud_is_that_of_numpy() {
    let folder = folder();
    let (left, right) = (noise(200, 3, 501), noise(3, 16, 502));
    let entry = |k: usize| (0..3).map(|i| left[k / 16 * 3 + i] * right[i * 16 + k % 16]).sum();
    let path = file(folder.path(), "c.safetensors", &[("c", 16, (0..3200).map(entry).collect())]);
    let golden = &golden()["intrinsic_dimension"];
    let found = report(&["features", text(&path), "--first-rows"]);
    for (column, key) in [
        ("two_nn_dimension", "two_nn_fit"),
        ("two_nn_likelihood", "two_nn_ml"),
        ("mle_dimension", "mle_k10"),
        ("tree_length", "mst_length_all"),
        ("ph_dimension", "phd_on_first_n"),
    ] {
        near(&only(&found)[column], &golden[key], column);
    }
    // Other samples say about the same, the same seed the same.
    let seeded = |seed: &str| {
        only(&report(&["features", text(&path), "--seed", seed, "--columns", "ph_dimension"]))["ph_dimension"]
            .as_f64()
            .unwrap()
    };
    let (first, second) = (seeded("1"), seeded("2"));
    assert!((2.2..4.0).contains(&first) && (2.2..4.0).contains(&second), "{first} {second}");
    assert!((first - second).abs() > 1e-9 && (first - seeded("1")).abs() < 1e-15);
}

/// Two samples of gradients of three blocks.
fn gradients(folder: &Path) -> PathBuf {
    let folder = folder.join("gradients");
    fs::create_dir_all(&folder).unwrap();
    for sample in 0..2 {
        let mut tables = vec![];
        let names: Vec<String> = ["q", "k", "v", "o"].map(|role| format!("{role}_proj")).into();
        for layer in 0..3 {
            let own = |j: usize| {
                noise(
                    if j.is_multiple_of(3) { 12 } else { 6 },
                    12,
                    1000 + 100 * sample + 10 * layer + j as u32,
                )
            };
            for (j, name) in names.iter().enumerate() {
                let mut entries = own(j);
                if j == 3 {
                    entries.iter_mut().zip(own(0)).for_each(|(o, q)| *o += 0.5 * q);
                }
                tables.push((format!("layers.{layer}.self_attn.{name}.weight"), 12, entries));
            }
        }
        let tables: Vec<_> = tables.iter().map(|(name, cols, e)| (name.as_str(), *cols, e.clone())).collect();
        file(&folder, &format!("sample{sample}.safetensors"), &tables);
    }
    folder
}

#[test]
fn gradients_of_a_folder_are_averaged_and_held_against_each_other() {
    let folder = folder();
    let path = gradients(folder.path());
    let (golden, found) = (&golden()["gradients"], report(&["features", text(&path), "--gradients"]));
    for layer in 0..3 {
        for (role, partner) in [("q", "cos_q_o"), ("k", "cos_k_v"), ("v", "cos_k_v"), ("o", "cos_q_o")] {
            let name = format!("layers.{layer}.self_attn.{role}_proj");
            let row = list(&found, "rows").iter().find(|row| row["name"] == name.as_str()).unwrap();
            assert_eq!(row["samples"], 2);
            near(&row["nuclear_norm"], &golden["nuclear"][role][layer], &name);
            near(&row["effective_rank"], &golden["effective_rank"][role][layer], &name);
            near(&row["partner_cosine"], &golden[partner][layer], &name);
            if layer < 2 {
                near(&row["next_cosine"], &golden["adjacent"][role][layer], &name);
            } else {
                assert_eq!(row["next_cosine"], Value::Null);
            }
        }
    }
}

#[test]
fn the_mean_of_a_folder_is_the_mean_of_its_files() {
    let folder = folder();
    let one = file(folder.path(), "a.safetensors", &[("x", 16, noise(30, 16, 1))]);
    let two = file(folder.path(), "b.safetensors", &[("x", 16, noise(50, 16, 2))]);
    let apart = report(&["features", text(&one), text(&two)]);
    let names: Vec<&str> = list(&apart, "rows").iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a:x", "b:x"]);
    let mean = report(&["features", text(folder.path()), "--mean"]);
    for column in ["matrix_nuclear_norm", "effective_rank", "nuclear_norm", "mle_dimension"] {
        let [a, b] = [0, 1].map(|i| apart["rows"][i][column].as_f64().unwrap());
        near(&only(&mean)[column], &json!(f64::midpoint(a, b)), column);
    }
    assert_eq!(only(&mean)["samples"], 2);
}

#[test]
fn all_axes_but_the_last_are_samples() {
    let folder = folder();
    let path = folder.path().join("x.safetensors");
    save(&path, &[doubles("x", &[2, 20, 16], &activations(40)), doubles("y", &[3], &[1.0, 2.0, 3.0])]);
    let found = report(&["features", text(&path), "--columns", "matrix_nuclear_norm"]);
    assert_eq!(only(&found)["shape"], json!([40, 16]));
    near(&only(&found)["matrix_nuclear_norm"], &golden()["mnn_X2"]["mnn_over_tokens"], "MNN");
    assert_eq!(list(&found, "skipped")[0]["reason"], "1-D");
}

#[test]
fn entries_that_are_not_finite_leave_nothing_to_measure() {
    let folder = folder();
    let mut entries = activations(40);
    entries[5] = f64::NAN;
    let path = file(folder.path(), "x.safetensors", &[("x", 16, entries)]);
    let found = report(&["features", text(&path), "--center"]);
    let row = only(&found);
    assert_eq!(row["nonfinite_count"], 1);
    for column in ["effective_rank", "matrix_entropy", "two_nn_dimension", "ph_dimension"] {
        assert_eq!(row[column], Value::Null, "{column}");
        assert_eq!(row["missing"][column]["code"], "nonfinite", "{column}");
    }
}

#[test]
fn a_few_rows_have_no_dimension_and_equal_ones_no_direction() {
    let folder = folder();
    let path =
        file(folder.path(), "x.safetensors", &[("few", 4, noise(5, 4, 1)), ("same", 4, vec![1.0; 40])]);
    let found = report(&["features", text(&path)]);
    let code = |row: usize, column: &str| found["rows"][row]["missing"][column]["code"].clone();
    assert_eq!(code(0, "mle_dimension"), "too_few_rows");
    assert_eq!(code(0, "ph_dimension"), "too_few_rows");
    assert_eq!(code(1, "matrix_entropy"), "no_estimate");
    assert_eq!(code(1, "tree_length"), "too_few_rows");
}

#[test]
fn slips_are_told_in_a_line() {
    let folder = folder();
    let path = file(folder.path(), "x.safetensors", &[("x", 1, vec![1.0, 2.0])]);
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    check_exit(&["features", text(&empty)], 2, "holds no file of tables");
    check_exit(&["features", "nowhere.npy"], 2, "nowhere.npy");
    check_exit(&["features", text(&path), "--gradients", "--center"], 2, "cannot be used with");
    check_exit(&["features", text(&path), "--include", "y"], 2, "leave none of its 1 tables");
    check_exit(&["features", text(&path), "--columns", "next_cosine"], 2, "add `--gradients`");
    check_exit(
        &["features", text(&path), "--mean", "--columns", "rank_at_90"],
        2,
        "a column of single tables",
    );
    let vector = folder.path().join("v.safetensors");
    save(&vector, &[doubles("v", &[3], &[1.0, 2.0, 3.0])]);
    check_exit(&["features", text(&vector)], 2, "`v` is skipped: 1-D");
}

#[test]
fn reports_are_judged_compared_and_drawn() {
    let folder = folder();
    let path = file(folder.path(), "x.safetensors", &[("x", 16, activations(40))]);
    let (one, two) = (folder.path().join("one.json"), folder.path().join("two.json"));
    stdout(&["features", text(&path), "-o", text(&one)]);
    file(folder.path(), "x.safetensors", &[("x", 16, activations(20))]);
    let page = folder.path().join("page.html");
    stdout(&["features", text(&path), "-o", text(&two), "-o", text(&page)]);
    assert!(fs::read_to_string(&page).unwrap().contains("matrix_nuclear_norm"));
    let moved = report(&["compare", text(&one), text(&two)]);
    let row = only(&moved);
    let [before, after] =
        [&row["matrix_nuclear_norm_base"], &row["matrix_nuclear_norm"]].map(|x| x.as_f64().unwrap());
    near(&row["matrix_nuclear_norm_change"], &json!((after - before) / before), "change");
    check_exit(&["features", text(&path), "--fail-if", "matrix_entropy > 0.1"], 1, "");
    let csv = stdout(&["features", text(&path), "--format", "csv"]);
    assert!(csv.lines().next().unwrap().contains("mle_dimension"), "{csv}");
    assert!(stdout(&["features", text(&path), "--format", "markdown"]).contains("MNN"));
    assert!(stdout(&["features", text(&path), "--dry-run"]).contains("memory"));
}

#[test]
fn samples_of_different_models_are_not_averaged() {
    let folder = folder();
    for (name, rows) in [("a.safetensors", 6), ("b.safetensors", 8)] {
        file(folder.path(), name, &[("layers.0.q_proj.weight", 4, noise(rows, 4, 1))]);
    }
    let path = text(folder.path());
    check_exit(&["features", path, "--gradients"], 2, "is 8 × 4 here and 6 × 4 in `a`");
    // Texts differ in length, not in width.
    assert_eq!(list(&report(&["features", path, "--mean"]), "rows").len(), 1);
    file(folder.path(), "c.safetensors", &[("layers.0.q_proj.weight", 5, noise(6, 5, 1))]);
    check_exit(&["features", path, "--mean"], 2, "is 6 × 5 here and 6 × 4 in `a`");
}

#[test]
fn a_rule_on_cosines_is_about_rows_with_a_partner() {
    let folder = folder();
    let all: Vec<_> = ["q_proj", "o_proj", "gate_proj"].map(|role| format!("layers.0.{role}.weight")).into();
    let tables: Vec<_> = all.iter().map(|name| (name.as_str(), 4, noise(4, 4, 7))).collect();
    let path = file(folder.path(), "a.safetensors", &tables);
    let rule = |rule: &'static str| ["features", text(&path), "--gradients", "--fail-if", rule];
    check_exit(&rule("partner_cosine < -0.5"), 0, "");
    check_exit(&rule("partner_cosine > 0.5"), 1, "");
    check_exit(&rule("*gate_proj: partner_cosine > 0.5"), 2, "no `partner_cosine` that could be judged");
}
