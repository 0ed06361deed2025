//! Mitigated copies of adapters of every kind, against base + update with each intruder scaled, computed densely.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use svdkit::checkpoint::{self, Catalogue, Opening, Pairs};
use svdkit::layer::Filter;
use svdkit::matrix::Matrix;
use svdkit::solver;

use crate::harness::{check_exit, json, list};

const KEEP: f64 = 0.25;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Base + adapter, as entries by the name of each matrix that the adapter changes.
fn merged(base: &Path, adapter: &Path) -> BTreeMap<String, Matrix> {
    let (_, base) = checkpoint::open(base).unwrap();
    let opening = Opening { base: Some(base.clone()), ..Opening::default() };
    let (_, tuned) = checkpoint::open_with(adapter, &opening).unwrap();
    let pairs = Pairs::new(base, tuned);
    let all: Catalogue = pairs.merged();
    let layers = all.select(&Filter::default()).layers;
    let changed = layers.into_iter().filter(|layer| pairs.tuned_of(layer).is_some());
    changed
        .map(|layer| {
            let entries = all.read(&layer, 0..layer.rows).unwrap().to_f64();
            (layer.name.to_string(), Matrix::from_f64(layer.rows, layer.cols, &entries).unwrap())
        })
        .collect()
}

/// `weight` with its directions `indices`, from 1, at a share of their strength.
fn scaled(weight: &Matrix, indices: &[usize]) -> Vec<f64> {
    let factors = solver::all_vectors(weight).unwrap();
    let mut entries = weight.to_f64();
    for index in indices.iter().map(|index| index - 1) {
        let (left, right) = (factors.left.column(index), factors.right.column(index));
        for (row, x) in left.iter().enumerate() {
            for (col, y) in right.iter().enumerate() {
                entries[row * weight.cols() + col] += (KEEP - 1.0) * factors.values[index] * x * y;
            }
        }
    }
    entries
}

#[track_caller]
fn check(base: &str, adapter: &str, options: &[&str], note: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (base, adapter, out) = (fixture(base), fixture(adapter), folder.path().join("out"));
    let keep = KEEP.to_string();
    let arguments = ["intruders", text(&base), text(&adapter), "--mitigate", &keep, "--out", text(&out)];
    let report = json(&[&arguments[..], options].concat());
    assert!(report["notes"].to_string().contains(note), "{}", report["notes"]);
    let (before, after) = (merged(&base, &adapter), merged(&base, &out));
    let mut intruders = 0;
    for row in list(&report, "rows") {
        let indices: Vec<usize> =
            list(row, "intruders").iter().map(|index| index.as_u64().unwrap() as usize).collect();
        intruders += indices.len();
        let at = |all: &BTreeMap<String, Matrix>| {
            let names = [&row["name"], &row["base_name"]].map(|name| name.as_str().unwrap_or_default());
            let found = all.iter().find(|(name, _)| names.iter().any(|of| of.ends_with(name.as_str())));
            found.unwrap_or_else(|| panic!("{row}")).1.clone()
        };
        let expected = scaled(&at(&before), &indices);
        let size = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
        let miss = expected.iter().zip(at(&after).to_f64()).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
        // Factors are in f32.
        assert!(miss < 1e-6 * size, "{}: {miss:e} of {size:e}", row["name"]);
        if !indices.is_empty() {
            assert!(row["energy_kept"].as_f64().unwrap() > 1.0 - 1e-9, "{row}");
        }
    }
    assert!(intruders > 0);
}

#[test]
fn lora_and_dora_keep_their_form() {
    check("charlm/base", "charlm/lora-r4", &["--rank", "14"], "matrices changed");
    check("charlm/base", "charlm/dora-r4", &["--rank", "14"], "matrices changed");
    check("dialects/base", "dialects/gpt2-dora", &["--epsilon", "1", "--rank", "6"], "1 matrix changed");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let dora = fixture("charlm/dora-r4");
    json(&["intruders", text(&fixture("charlm/base")), text(&dora), "--mitigate", "0", "--out", text(&out)]);
    let names = |path: &Path| {
        let bytes = fs::read(path.join("adapter_model.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut all: Vec<(String, Vec<usize>)> =
            tensors.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec())).collect();
        all.sort();
        all
    };
    assert_eq!(names(&dora), names(&out));
    let config = |path: &Path| fs::read(path.join("adapter_config.json")).unwrap();
    assert_eq!(config(&dora), config(&out));
}

#[test]
fn other_kinds_are_written_as_plain_lora() {
    let all = ["--epsilon", "1", "--rank", "8"];
    check("dialects/base", "dialects/loha.safetensors", &all, "written as plain LoRA");
    check("dialects/base", "dialects/lokr.safetensors", &all, "written as plain LoRA");
    // DoRA of a convolution, whose form holds it, and of an embedding, whose form does not.
    check("dialects/base", "dialects/dora", &[&all[..], &["--exclude", "lm_head"]].concat(), "");
    check(
        "dialects/base",
        "dialects/dora",
        &[&all[..], &["--include", "*conv1"]].concat(),
        "1 matrix changed",
    );
}

#[test]
fn what_plain_lora_cannot_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let refused = |adapter: &str, options: &[&str], reason: &str| {
        let (base, adapter) = (fixture("dialects/base"), fixture(adapter));
        let arguments = ["intruders", text(&base), text(&adapter), "--epsilon", "1", "--mitigate", "0"];
        check_exit(&[&arguments[..], &["--out", text(&out)], options].concat(), 2, reason);
        assert!(!out.exists());
    };
    refused("dialects/dora", &["--include", "*embed*"], "no rank of its own there; give `--rank`");
    refused("dialects/parts", &["--rank", "6"], "has intruders, and is saved whole");
    // Its convolution in three factors cannot keep its form, and an encoder of text is not in this base.
    refused("dialects/kohya.safetensors", &["--rank", "8"], "the base has no `lora_te_text_model_encoder");
    refused("dialects/parts", &["--rank", "6", "--exclude", "lm_head"], "trainable_tokens_delta");
}
