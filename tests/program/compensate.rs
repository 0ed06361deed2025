//! `compare --compensate`: golden errors before and after SVD and EoRA, what parameters are spent on, and what is refused.

use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use crate::adapter::{doubles, noise, product};
use crate::adapter_init::{folder, near, numbers, singles};
use crate::harness::{BASE, check_exit, check_exit_in, json_in, list, planted, save, svdkit_in};

pub(crate) fn golden(key: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oracle/previews.json");
    let all: Json = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    all[key].clone()
}

fn compensated(folder: &Path, options: &[&str]) -> Json {
    let command = ["compare", "tall.safetensors", "coarse.safetensors", "--compensate", "1,2,4,8", "-q"];
    let report = json_in(folder, &[&command[..], options].concat());
    list(&report, "rows")[0].clone()
}

/// The list of a row, which is `by` times its golden numbers of that name at each rank.
#[track_caller]
fn check(row: &Json, list: &str, golden: &Json, (key, at): (&str, usize), by: f64) {
    let expected: Vec<f64> =
        ["1", "2", "4", "8"].iter().map(|rank| by * golden["at"][rank][key][at].as_f64().unwrap()).collect();
    near(&numbers(&row["lists"][list]), &expected, 1e-9);
}

#[test]
fn errors_before_and_after_are_the_golden_ones() {
    let folder = folder();
    for (file, key) in [("acts.safetensors", "eora"), ("few.safetensors", "eora_rank_deficient")] {
        let (row, golden) = (compensated(folder.path(), &["--acts", file]), golden(key));
        let error = golden["at"]["1"]["act_none_svd_eora"][0].as_f64().unwrap();
        near(&[row["output_error_norm"].as_f64().unwrap()], &[error], 1e-9);
        check(&row, "svd_output_error_norm", &golden, ("act_none_svd_eora", 1), 1.0);
        check(&row, "eora_output_error_norm", &golden, ("act_none_svd_eora", 2), 1.0);
        let spectrum = numbers(&row["lists"]["output_error_spectrum"]);
        near(&spectrum[..10], &numbers(&golden["sigma_projected"]), 1e-9);
        if key == "eora" {
            check(&row, "svd_error_norm", &golden, ("fro_none_svd_eora", 1), 1.0);
            check(&row, "eora_error_norm", &golden, ("fro_none_svd_eora", 2), 1.0);
        }
    }
    // The mean of squares is a 40th of their sum.
    let (row, golden) = (compensated(folder.path(), &["--cov", "imatrix.gguf"]), golden("diagonal_cov"));
    let near = |list: &str, at: usize| {
        for (found, rank) in numbers(&row["lists"][list]).iter().zip(["1", "2", "4", "8"]) {
            let expected = golden["at"][rank]["diag_norm_none_svd_weighted"][at].as_f64().unwrap();
            // The file holds f32.
            assert!((found - expected).abs() < 1e-7, "{list} at {rank}: {found} and {expected}");
        }
    };
    near("svd_output_error_norm", 1);
    near("eora_output_error_norm", 2);
}

#[test]
fn the_spectrum_of_the_error_is_the_golden_one() {
    let (folder, golden) = (folder(), golden("error_spectrum"));
    let row = compensated(folder.path(), &[]);
    near(&numbers(&row["lists"]["error_spectrum"]), &numbers(&golden["sigma"]), 1e-9);
    let of = |key: &str| row[key].as_f64().unwrap();
    let expected = |key: &str| golden[key].as_f64().unwrap();
    near(
        &[of("error_norm"), of("delta_frobenius_ratio"), of("nmse"), of("faint_share")],
        &[expected("fro"), expected("rel"), expected("rel").powi(2), expected("share_below_1pct")],
        1e-9,
    );
    // Without inputs nothing is said of outputs.
    assert!(row.get("output_error").is_none() && row.get("eora_error_4").is_none());
    assert_eq!(row["compensation_parameters_4"], 4 * 40);
    // A plain comparison has the same number.
    let plain =
        json_in(folder.path(), &["compare", "tall.safetensors", "coarse.safetensors", "--columns", "nmse"]);
    near(&[list(&plain, "rows")[0]["nmse"].as_f64().unwrap()], &[of("nmse")], 1e-15);
}

#[test]
fn parameters_go_where_they_take_the_most_away() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // One error has a single direction, one is spread out, one is none.
    let weights = [noise(24, 16, 1), noise(24, 16, 2), noise(24, 16, 3)];
    let single = product(&noise(24, 1, 4), &noise(1, 16, 5), 1);
    let compressed = [
        weights[0].iter().zip(&single).map(|(x, y)| x + 4.0 * y).collect(),
        weights[1].iter().zip(noise(24, 16, 6)).map(|(x, y)| x + y).collect(),
        weights[2].clone(),
    ];
    let model = |entries: &[Vec<f64>]| {
        let tensors = entries.iter().enumerate();
        tensors
            .map(|(i, entries)| singles(&format!("layers.{i}.q.weight"), &[24, 16], entries))
            .collect::<Vec<_>>()
    };
    save(&at("a.safetensors"), &model(&weights));
    save(&at("b.safetensors"), &model(&compressed));
    let report =
        json_in(folder.path(), &["compare", "a.safetensors", "b.safetensors", "--compensate", "2,3"]);
    let rows = list(&report, "rows");
    let best: Vec<u64> = rows.iter().map(|row| row["best_rank"].as_u64().unwrap()).collect();
    assert_eq!(best, [1, 5, 0]);
    assert_eq!(rows[1]["best_parameters"], 5 * 40);
    assert_eq!((&rows[2]["error_norm"], &rows[2]["svd_error_2"]), (&0.0.into(), &0.0.into()));
    assert_eq!(rows[2]["delta_effective_rank"], Json::Null);
    let notes: Vec<&str> = list(&report, "notes").iter().map(|note| note.as_str().unwrap()).collect();
    assert!(notes[1].starts_with("rank 2 leaves ") && notes[1].contains("240 parameters"), "{notes:?}");
    // A saved report is read back.
    let output = svdkit_in(
        folder.path(),
        &[
            "compare",
            "a.safetensors",
            "b.safetensors",
            "--compensate",
            "2,3",
            "-o",
            "r.json",
            "-o",
            "r.html",
            "-q",
        ],
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = fs::read_to_string(at("r.html")).unwrap();
    assert!(page.contains("What is left of the error"), "no picture");
}

#[test]
fn what_cannot_be_compensated_is_one_line() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let check = |options: &[&str], said: &str| {
        let command = [&["compare", "tall.safetensors"], options].concat();
        check_exit_in(folder.path(), &command, 2, said);
    };
    let run = ["coarse.safetensors", "--compensate", "4"];
    check(&["--compensate", "4"], "name the compressed model");
    check(&["coarse.safetensors", "--cov", "cov.safetensors"], "--compensate");
    check(&["coarse.safetensors", "--compensate", "0"], "a whole number from 1 on");
    check(&[&run[..], &["--vectors", "all"]].concat(), "cannot be used with");
    check(&[&run[..], &["--columns", "alignment"]].concat(), "no column is called `alignment`");
    save(&at("wide.safetensors"), &[doubles("layers.0.q.acts", &[4, 9], &[1.0; 36])]);
    check(
        &[&run[..], &["--acts", "wide.safetensors"]].concat(),
        "has 9 channels, but `layers.0.q` has 16 inputs",
    );
    save(&at("other.safetensors"), &[doubles("layers.1.q.acts", &[4, 16], &[1.0; 64])]);
    check(
        &[&run[..], &["--acts", "other.safetensors"]].concat(),
        "has nothing for 1 of 1 modules: `layers.0.q`",
    );
    let mut entries = vec![1.0; 64];
    entries[5] = f64::NAN;
    save(&at("nan.safetensors"), &[doubles("layers.0.q.acts", &[4, 16], &entries)]);
    check(&[&run[..], &["--acts", "nan.safetensors"]].concat(), "holds NaN or infinite entries");
    let mut negative = vec![0.0; 256];
    (0..16).for_each(|i| negative[17 * i] = 1.0);
    (negative[1], negative[16]) = (3.0, 3.0);
    save(&at("negative.safetensors"), &[doubles("layers.0.q.cov", &[16, 16], &negative)]);
    check(&[&run[..], &["--cov", "negative.safetensors"]].concat(), "negative eigenvalue");
    let mut broken = noise(24, 16, 11);
    broken[7] = f64::INFINITY;
    save(&at("broken.safetensors"), &[singles("layers.0.q.weight", &[24, 16], &broken)]);
    check(
        &["broken.safetensors", "--compensate", "4"],
        "broken.safetensors: tensor `layers.0.q.weight`: holds NaN",
    );
}

#[test]
fn a_matrix_that_compression_lost_is_no_pass() {
    let folder = tempfile::tempdir().unwrap();
    let short = planted(folder.path(), "short.safetensors", |name, _, bytes| {
        (!name.ends_with("layers.1.mlp.up_proj")).then_some(bytes)
    });
    let command = ["compare", BASE, short.to_str().unwrap(), "--compensate", "2"];
    check_exit(&command, 2, "lacks 1 matrix of the original");
    check_exit(&[&command[..], &["--exclude", "*.1.mlp.up_proj"]].concat(), 0, "");
    check_exit(&[&command[..], &["--permute"]].concat(), 2, "cannot be used with");
}
