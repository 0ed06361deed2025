//! Weights that are stored in parts, through the commands: compared with whole ones, told, and never written.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use svdkit::checkpoint;
use svdkit::layer::Filter;

use crate::harness::{check_exit, json, list, save, stdout, stored};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/factored").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The weights of a fixture, multiplied out in doubles and by `scale`, under the names that the model has for them.
fn whole(folder: &Path, name: &str, scale: f64, rename: impl Fn(&str) -> String) -> PathBuf {
    let (_, source) = checkpoint::open(&fixture(name)).unwrap();
    let tensor = |layer: &svdkit::layer::Layer| {
        let entries = source.read(layer, 0..layer.rows).unwrap().to_f64();
        let bytes = entries.iter().flat_map(|x| (x * scale).to_le_bytes()).collect();
        stored(&format!("{}.weight", rename(&layer.name)), "F64", &[layer.rows, layer.cols], bytes)
    };
    let layers = source.select(&Filter::default()).layers;
    let tensors: Vec<_> = layers.iter().map(|layer| tensor(layer)).collect();
    let path = folder.join(format!("{name}.safetensors"));
    save(&path, &tensors);
    path
}

#[test]
fn a_factored_checkpoint_is_compared_with_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    for (name, prefix) in [("svd-llm", ""), ("effort", ""), ("sorsa", "model."), ("svdquant", "")] {
        let rename = |of: &str| of.strip_prefix(prefix).unwrap_or(of).to_owned();
        let base = whole(folder.path(), name, 1.0, rename);
        let report = json(&["compare", text(&base), text(&fixture(name))]);
        let rows = list(&report, "rows");
        let measured: Vec<&Json> = rows.iter().filter(|row| row["status"] == "measured").collect();
        assert!(measured.len() > 1 || name == "effort", "{name}");
        for row in &measured {
            let ratio = row["delta_frobenius_ratio"].as_f64().unwrap();
            assert!(ratio < 1e-7, "{name}: {row}");
        }
        // Factors came with the form, and are not tensors that were added.
        let added: Vec<&Json> = rows.iter().filter(|row| row["status"] == "added").collect();
        let is_part = |row: &&&Json| {
            ["_u_proj", "_v_proj", "sorsa_", "residual", "wscales", "lora_", "proj_"]
                .iter()
                .any(|part| row["name"].as_str().unwrap().contains(part))
        };
        assert!(
            added.iter().filter(is_part).all(|row| row["name"].as_str().unwrap().ends_with("bias")),
            "{added:?}"
        );
    }
}

#[test]
fn parts_are_told_and_incomplete_ones_refused() {
    let table = stdout(&["spectrum", text(&fixture("svd-llm"))]);
    assert!(table.contains("9 matrices are stored as two factors (SVD-LLM) and measured as one"), "{table}");
    assert!(table.contains("9 a part of a weight"), "{table}");
    let inspect = json(&["inspect", text(&fixture("svd-llm"))]);
    let numbers: u64 =
        list(&inspect, "patterns").iter().map(|pattern| pattern["parameters"].as_u64().unwrap()).sum();
    let stored: usize = checkpoint::open(&fixture("svd-llm"))
        .unwrap()
        .1
        .tensors()
        .iter()
        .map(|t| t.shape.iter().product::<usize>())
        .sum();
    assert_eq!(numbers, stored as u64);
    check_exit(&["spectrum", text(&fixture("incomplete")), "--strict"], 2, "`a.fc.out_network` is missing");
    check_exit(&["spectrum", text(&fixture("incomplete"))], 0, "");
}

#[test]
fn whatever_is_stored_in_parts_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (base, parts) = (whole(folder.path(), "svd-llm", 0.5, str::to_owned), fixture("svd-llm"));
    let arguments = ["intruders", text(&base), text(&parts), "--mitigate", "0", "--out", text(&out)];
    check_exit(&arguments, 2, "is stored as factors, which are not written");
    assert!(!out.exists());
    // An adapter of such a fine-tune can be: its update is not stored.
    let arguments = ["adapter", "extract", text(&base), text(&parts), "--rank", "2", "--out", text(&out)];
    check_exit(&arguments, 0, "");
    let names = fs::read(out.join("adapter_model.safetensors")).unwrap();
    let names = String::from_utf8_lossy(&names[8..2000]).into_owned();
    assert!(names.contains("mlp.up_proj.lora_A") && !names.contains("_u_proj"), "{names}");
}
