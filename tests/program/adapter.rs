//! `adapter inspect` and `adapter canon`: numbers against the golden values of the papers, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use svdkit::matrix::Matrix;
use svdkit::solver;

use crate::harness::{Stored, check_exit, json, list, save, stored};

/// A matrix of the golden values' generator.
pub(crate) fn noise(rows: usize, cols: usize, seed: u32) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    (0..rows * cols).map(|_| next()).collect()
}

/// A tensor of doubles.
pub(crate) fn doubles(name: &str, shape: &[usize], entries: &[f64]) -> Stored {
    stored(name, "F64", shape, entries.iter().flat_map(|x| x.to_le_bytes()).collect())
}

/// A matrix as it is multiplied: rows × columns.
pub(crate) fn product(a: &[f64], b: &[f64], inner: usize) -> Vec<f64> {
    let (rows, cols) = (a.len() / inner, b.len() / inner);
    let entry = |i: usize, j: usize| (0..inner).map(|k| a[i * inner + k] * b[k * cols + j]).sum();
    (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))).map(|(i, j)| entry(i, j)).collect()
}

fn golden() -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oracle/adapters.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The base of the golden values in a folder.
fn base(folder: &Path) -> PathBuf {
    let path = folder.join("base.safetensors");
    save(&path, &[doubles("w.weight", &[24, 16], &noise(24, 16, 11))]);
    path
}

/// An adapter of it: B is 24 × 4, A is 4 × 16; other tensors and fields beside.
pub(crate) fn adapter(
    folder: &Path,
    name: &str,
    (a, b): (&[f64], &[f64]),
    more: &[Stored],
    fields: &Json,
) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir(&path).unwrap();
    let prefix = "base_model.model.w";
    let rank = a.len() / 16;
    let mut tensors = vec![
        doubles(&format!("{prefix}.lora_A.weight"), &[rank, 16], a),
        doubles(&format!("{prefix}.lora_B.weight"), &[b.len() / rank, rank], b),
    ];
    tensors.extend(more.iter().cloned());
    save(&path.join("adapter_model.safetensors"), &tensors);
    let mut config = json!({"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": ["w"]});
    config.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap_or_default());
    fs::write(path.join("adapter_config.json"), config.to_string()).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn close(found: &Json, expected: &Json) {
    if let (Json::Array(found), Json::Array(expected)) = (found, expected) {
        assert!(found.len() >= expected.len(), "{found:?} {expected:?}");
        found.iter().zip(expected).for_each(|(found, expected)| close(found, expected));
    } else {
        let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }
}

/// The one row of a report.
fn row(arguments: &[&str]) -> Json {
    list(&json(arguments), "rows")[0].clone()
}

/// The factors that an initialization takes of the base: so many triplets from `first` on.
fn initial(first: usize, scale: f64) -> (Vec<f64>, Vec<f64>) {
    let weight = Matrix::from_f64(24, 16, &noise(24, 16, 11)).unwrap();
    let all = solver::all_vectors(&weight).unwrap();
    let root = |i: usize| (all.values[i] / scale).sqrt();
    let down = (first..first + 4).flat_map(|i| all.right.column(i).iter().map(move |x| (i, *x)));
    let down = down.map(|(i, x)| root(i) * x).collect();
    let up = (0..24).flat_map(|row| (first..first + 4).map(move |i| (row, i)));
    (down, up.map(|(row, i)| root(i) * all.left.column(i)[row]).collect())
}

fn codes(row: &Json) -> Vec<&str> {
    row["factors"]["made_by"]
        .as_array()
        .unwrap()
        .iter()
        .map(|origin| origin["code"].as_str().unwrap())
        .collect()
}

#[test]
fn an_adapter_lies_where_the_golden_values_say() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, golden) = (folder.path(), &golden()["inspect"]);
    let base = base(folder);
    let lora = (noise(4, 16, 21), noise(24, 4, 22));
    for (name, (a, b), made_by) in [
        ("pissa", initial(0, 2.0), ["pissa", "balanced"].as_slice()),
        ("minor", initial(12, 2.0), &["soma", "balanced"]),
        ("lora", lora, &["lora"]),
    ] {
        let path = adapter(folder, name, (&a, &b), &[], &json!({"init_lora_weights": "pissa"}));
        let row = row(&["adapter", "inspect", text(&path), "--base", text(&base)]);
        close(&row["left_centroid"], &golden[name]["left"]);
        close(&row["right_centroid"], &golden[name]["right"]);
        close(&row["left_outside"], &golden[name]["left_outside"]);
        assert_eq!(codes(&row), made_by);
        if name == "lora" {
            close(&row["factors"]["singular_values"], &golden["delta_sigma"]);
            close(&row["principal_share"], &golden["principal_share_4"]);
            close(&row["delta_frobenius_ratio"], &golden["delta_fro_ratio"]);
            close(&row["delta_spectral_ratio"], &golden["delta_spectral_ratio"]);
            let defects = row["defect_a"].as_f64().unwrap() + row["defect_b"].as_f64().unwrap();
            close(&json!(defects), &golden["kasa_loss_rxr"]);
            close(&json!(defects / 2.0), &golden["sorsa_loss"]);
        } else {
            assert!(row["flags"][0]["code"] == "moved_base", "{row}");
        }
    }
}

#[test]
fn updates_to_a_base_that_training_moved_are_the_true_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, golden) = (folder.path(), golden());
    let base = base(folder);
    let (a, b) = (noise(4, 16, 21), noise(24, 4, 22));
    let kasa = &golden["kasa_update_T"];
    let diagonal: Vec<f64> = serde_json::from_value(kasa["lora_diag"].clone()).unwrap();
    let more = [doubles("base_model.model.w.lora_diag", &[4], &diagonal)];
    let path = adapter(folder, "kasa", (&a, &b), &more, &json!({"kasa_config": {"beta": 1e-4}}));
    let alone = row(&["adapter", "inspect", text(&path)]);
    close(&alone["factors"]["singular_values"], &kasa["sigma_of_factors"]);
    close(&alone["frobenius_norm"], &kasa["fro_of_factors"]);
    assert_eq!((codes(&alone), &alone["factors"]["diagonal"]), (vec!["kasa"], &kasa["lora_diag"]));
    let with = row(&["adapter", "inspect", text(&path), "--base", text(&base)]);
    close(&with["factors"]["singular_values"], &kasa["sigma_true"]);
    close(&with["frobenius_norm"], &kasa["fro_true"]);
    close(&with["delta_frobenius_ratio"], &kasa["ratio_true"]);

    // What training adds depends on the signs that the initialization chose: one choice is the golden one.
    let (a0, b0) = initial(0, 2.0);
    let golden = &golden["pissa_trained_T"];
    let first = golden["sigma"][0].as_f64().unwrap();
    let signed = |signs: usize| {
        let sign = |i: usize| if signs >> i & 1 == 1 { -1.0 } else { 1.0 };
        let down: Vec<f64> = a0.iter().enumerate().map(|(i, x)| sign(i / 16) * x).collect();
        let up: Vec<f64> = b0.iter().enumerate().map(|(i, x)| sign(i % 4) * x).collect();
        (down, up)
    };
    let moved =
        |begun: &[f64], by: &[f64]| -> Vec<f64> { begun.iter().zip(by).map(|(x, y)| x + 0.1 * y).collect() };
    let trained = (0..16).map(|signs| {
        let (down, up) = signed(signs);
        let before = adapter(folder, &format!("before-{signs}"), (&down, &up), &[], &json!({}));
        let (down, up) = (moved(&down, &a), moved(&up, &b));
        let fields = json!({"init_lora_weights": "pissa"});
        let after = adapter(folder, &format!("after-{signs}"), (&down, &up), &[], &fields);
        row(&["adapter", "inspect", text(&after), "--adapter-init", text(&before), "--base", text(&base)])
    });
    let is_golden = |row: &Json| (row["spectral_norm"].as_f64().unwrap() - first).abs() < 1e-9;
    let trained: Vec<Json> = trained.filter(is_golden).collect();
    assert_eq!(trained.len(), 1);
    close(&trained[0]["factors"]["singular_values"], &golden["sigma"]);
    close(&trained[0]["delta_frobenius_ratio"], &golden["ratio"]);
}

#[test]
fn directions_weigh_as_the_golden_values_say() {
    let folder = tempfile::tempdir().unwrap();
    let golden = &golden()["maestro"];
    let path =
        adapter(folder.path(), "a", (&noise(4, 16, 21), &noise(24, 4, 22)), &[], &json!({"lora_alpha": 4}));
    let row = row(&["adapter", "inspect", text(&path)]);
    close(&row["factors"]["importance"], &golden["importance"]);
    close(&row["factors"]["hierarchical_importance"], &golden["hierarchical"]);
    close(&row["factors"]["singular_values"], &golden["sigma"]);
    let pays = row["factor_rank"].as_f64() <= row["break_even_rank"].as_f64();
    assert_eq!((&golden["pays"], golden["params"].as_u64()), (&json!(pays), Some(4 * 40)));
}

/// The factors of a file.
fn factors(path: &Path) -> (Vec<f64>, Vec<f64>) {
    let bytes = fs::read(path.join("adapter_model.safetensors")).unwrap();
    let read = |side: &str| -> Vec<f64> {
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = tensors.tensor(&format!("base_model.model.w.lora_{side}.weight")).unwrap();
        tensor.data().as_chunks::<8>().0.iter().map(|x| f64::from_le_bytes(*x)).collect()
    };
    (read("A"), read("B"))
}

#[test]
fn a_canonical_adapter_is_the_golden_one_whatever_stands_between_its_factors() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, golden) = (folder.path(), &golden()["canon"]);
    let (a, b) = (noise(4, 16, 21), noise(24, 4, 22));
    // Z is triangular, so that its inverse is easy.
    let z: Vec<f64> =
        (0..16).map(|i| if i / 4 == i % 4 { 2.0 } else { f64::from(u8::from(i / 4 < i % 4)) }).collect();
    let mut inverse = vec![0.0; 16];
    for j in 0..4 {
        for i in (0..4).rev() {
            let rest: f64 = (i + 1..4).map(|k| z[i * 4 + k] * inverse[k * 4 + j]).sum();
            inverse[i * 4 + j] = (f64::from(u8::from(i == j)) - rest) / 2.0;
        }
    }
    let plain = adapter(folder, "plain", (&a, &b), &[], &json!({"use_rslora": true}));
    let mixed = adapter(folder, "mixed", (&product(&z, &a, 4), &product(&b, &inverse, 4)), &[], &json!({}));
    let out = |name: &str| folder.join(name);
    for (from, to) in [(&plain, "canon"), (&mixed, "again")] {
        let row = row(&["adapter", "canon", text(from), "--out", text(&out(to))]);
        if to == "canon" {
            assert!(row.get("defect_a").is_none(), "it is another one now");
            assert_eq!(row["wasted_rank"], golden["wasted_at_1pct"]);
        }
    }
    let ((down, up), (down2, up2)) = (factors(&out("canon")), factors(&out("again")));
    for (x, y) in down.iter().chain(&up).zip(down2.iter().chain(&up2)) {
        assert!((x - y).abs() < 1e-12, "{x} {y}");
    }
    close(&json!(down[..3]), &golden["A_first_row_first3"]);
    close(&json!(down[3 * 16..3 * 16 + 3]), &golden["A_last_row_first3"]);
    let rows: Vec<&[f64]> = up.chunks(4).take(3).collect();
    close(&json!(rows), &golden["B_first3_rows"]);
    let read = |path: &Path| fs::read(path.join("adapter_config.json")).unwrap();
    assert_eq!(read(&plain), read(&out("canon")), "the scale stays in the configuration");
    // It is known for what it is now, and gives the same update.
    let [before, after] = [&plain, &out("canon")].map(|path| row(&["adapter", "inspect", text(path)]));
    assert_eq!(codes(&after), ["canonical"]);
    close(&after["factors"]["singular_values"], &before["factors"]["singular_values"]);
    let values: Vec<f64> = serde_json::from_value(golden["sigma_BA"].clone()).unwrap();
    for (i, value) in values.iter().enumerate() {
        let length = up.iter().skip(i).step_by(4).map(|x| x * x).sum::<f64>().sqrt();
        close(&json!(length), &json!(value));
    }
}

#[test]
fn what_is_not_trained_or_not_an_adapter_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let zero = adapter(folder, "zero", (&noise(4, 16, 21), &[0.0; 96]), &[], &json!({}));
    let report = json(&["adapter", "inspect", text(&zero)]);
    assert_eq!(codes(&list(&report, "rows")[0]), ["untrained"]);
    let names: Vec<&str> = list(&report, "findings").iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"untrained"), "{names:?}");
    let base = base(folder);
    check_exit(&["adapter", "inspect", text(&base)], 2, "is a checkpoint, not an adapter");
    let mut b = noise(24, 4, 22);
    b[5] = f64::NAN;
    let nan = adapter(folder, "nan", (&noise(4, 16, 21), &b), &[], &json!({}));
    let row = row(&["adapter", "inspect", text(&nan), "--base", text(&base)]);
    assert!(
        row["spectral_norm"].is_null() && row["left_centroid"].is_null() && row["nonfinite_count"] == 1,
        "{row}"
    );
    let out = folder.join("out");
    check_exit(&["adapter", "canon", text(&nan), "--out", text(&out)], 2, "nothing was written");
    check_exit(&["adapter", "canon", text(&zero), "--out", text(&nan)], 2, "is not an empty folder");
    let inside = zero.join("inside");
    check_exit(
        &["adapter", "canon", text(&zero), "--out", text(&inside)],
        2,
        "lies in the model's own folder",
    );
    assert!(!out.exists() && !inside.exists());
}

#[test]
fn doubles_stay_doubles() {
    let folder = tempfile::tempdir().unwrap();
    let path = adapter(folder.path(), "a", (&noise(4, 16, 21), &noise(24, 4, 22)), &[], &json!({}));
    let out = folder.path().join("out");
    row(&["adapter", "canon", text(&path), "--out", text(&out)]);
    let bytes = fs::read(out.join("adapter_model.safetensors")).unwrap();
    assert!(String::from_utf8_lossy(&bytes[8..200]).contains("F64"));
}
