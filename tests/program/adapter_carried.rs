//! What was trained beside the matrices goes into a written PEFT folder, in the places that PEFT has for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::adapter::{adapter, doubles, noise};
use crate::harness::{Stored, json as report, list, save, stored};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The bytes of each tensor of an adapter, without PEFT's prefix.
fn tensors(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(folder.join("adapter_model.safetensors")).unwrap();
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let name = |name: &str| name.trim_start_matches("base_model.model.").to_owned();
    read.iter().map(|(stored, view)| (name(stored), view.data().to_vec())).collect()
}

fn config(folder: &Path) -> Json {
    serde_json::from_slice(&fs::read(folder.join("adapter_config.json")).unwrap()).unwrap()
}

fn bytes(entries: &[f64]) -> Vec<u8> {
    entries.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A model of which `moved` vectors and every matrix differ from the base's.
fn model(path: &Path, moved: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let shapes: [(&str, &[usize]); 9] = [
        ("l.0.q.weight", &[12, 8]),
        ("l.0.q.bias", &[12]),
        ("l.0.norm.weight", &[8]),
        ("l.0.norm.bias", &[8]),
        ("l.0.scale", &[8]),
        ("l.1.norm.weight", &[8]),
        ("l.1.norm.bias", &[8]),
        ("final.weight", &[8]),
        ("bn.running_mean", &[8]),
    ];
    let mut all: Vec<Stored> = vec![];
    for (i, (name, shape)) in shapes.iter().enumerate() {
        let moved = usize::from(moved.contains(name) || shape.len() > 1 && !moved.is_empty());
        let entries = noise(shape.iter().product(), 1, (i + 20 * moved) as u32);
        all.push(doubles(name, shape, &entries));
    }
    all.push(stored("bn.num_batches_tracked", "I64", &[], 7u64.to_le_bytes().to_vec()));
    save(path, &all);
    all.into_iter().map(|(name, _, _, bytes)| (name, bytes)).collect()
}

fn extracted(folder: &Path, moved: &[&str]) -> (Json, BTreeMap<String, Vec<u8>>, PathBuf) {
    let (base, tuned, out) =
        (folder.join("base.safetensors"), folder.join("tuned.safetensors"), folder.join("out"));
    model(&base, &[]);
    let after = model(&tuned, moved);
    let found =
        report(&["adapter", "extract", text(&base), text(&tuned), "--rank", "2", "--out", text(&out)]);
    (found, after, out)
}

#[test]
fn norms_are_saved_whole_and_biases_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let moved = ["l.0.norm.weight", "l.0.q.bias", "bn.running_mean"];
    let (found, after, out) = extracted(folder.path(), &moved);
    let (written, config) = (tensors(&out), config(&out));
    for name in ["l.0.norm.weight", "l.0.norm.bias", "bn.running_mean", "bn.num_batches_tracked"] {
        assert_eq!(written[name], after[name], "{name}");
    }
    assert_eq!(written["l.0.q.base_layer.bias"], after["l.0.q.bias"]);
    assert_eq!((&config["bias"], &config["modules_to_save"]), (&json!("all"), &json!(["bn", "l.0.norm"])));
    assert!(!written.contains_key("l.1.norm.weight") && !written.contains_key("final.weight"));
    assert!(
        found["notes"].to_string().contains("with 2 modules saved whole and 1 bias"),
        "{}",
        found["notes"]
    );
    // It is the fine-tune again, but for the cut.
    let merged = folder.path().join("merged");
    let base = folder.path().join("base.safetensors");
    report(&["adapter", "merge", text(&out), "--base", text(&base), "--out", text(&merged)]);
    let read = fs::read(merged.join("base.safetensors")).unwrap();
    let read = safetensors::SafeTensors::deserialize(&read).unwrap();
    for name in ["l.0.norm.weight", "l.0.q.bias"] {
        assert_eq!(read.tensor(name).unwrap().data(), after[name], "{name}");
    }
}

#[test]
fn what_has_no_place_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (found, _, out) = extracted(folder.path(), &["l.0.scale"]);
    assert!(found["notes"].to_string().contains("1 tensor was trained, too, and not written: `l.0.scale`"));
    assert_eq!(config(&out)["modules_to_save"], Json::Null);
    let kohya = folder.path().join("kohya");
    let (base, tuned) = (folder.path().join("base.safetensors"), folder.path().join("tuned.safetensors"));
    model(&tuned, &["l.1.norm.bias"]);
    let arguments = ["adapter", "extract", text(&base), text(&tuned), "--rank", "2", "--out", text(&kohya)];
    let found = report(&[&arguments[..], &["--dialect", "kohya"]].concat());
    assert!(
        found["notes"].to_string().contains("2 tensors were trained, too, and not written"),
        "{}",
        found["notes"]
    );
}

#[test]
fn a_name_that_others_end_in_saves_them_too() {
    let folder = tempfile::tempdir().unwrap();
    let (base, tuned, out) = ("base.safetensors", "tuned.safetensors", folder.path().join("out"));
    let write = |name: &str, seed: u32| {
        let weights = [("norm.weight", 1), ("l.0.norm.weight", 2), ("l.0.input_norm.weight", 3)];
        let mut all: Vec<Stored> = weights
            .iter()
            .map(|(name, i)| doubles(name, &[6], &noise(6, 1, i + u32::from(*i == 1) * seed)))
            .collect();
        all.push(doubles("l.0.q.weight", &[8, 6], &noise(8, 6, 9 + seed)));
        save(&folder.path().join(name), &all);
    };
    write(base, 0);
    write(tuned, 50);
    let [base, tuned] = [base, tuned].map(|name| folder.path().join(name));
    report(&["adapter", "extract", text(&base), text(&tuned), "--rank", "2", "--out", text(&out)]);
    assert_eq!(config(&out)["modules_to_save"], json!(["l.0.input_norm", "l.0.norm", "norm"]));
}

#[test]
fn an_adapter_keeps_its_whole_weights_and_biases() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (a, b) = (noise(4, 16, 21), noise(24, 4, 22));
    let prefix = "base_model.model.";
    let of = |name: &str, shape: &[usize], seed: u32| {
        doubles(&format!("{prefix}{name}"), shape, &noise(shape.iter().product(), 1, seed))
    };
    let more = [
        of("head.weight", &[8, 8], 5),
        of("norm.weight", &[16], 6),
        of("norm.bias", &[16], 7),
        of("w.base_layer.bias", &[24], 8),
        of("w.lora_B.bias", &[24], 9),
    ];
    let path = adapter(folder, "a", (&a, &b), &more, &json!({}));
    let out = folder.join("out");
    let found = report(&["adapter", "resize", text(&path), "--rank", "2", "--out", text(&out)]);
    assert_eq!(list(&found, "rows").len(), 1);
    let (before, after, config) = (tensors(&path), tensors(&out), config(&out));
    for name in ["head.weight", "norm.weight", "norm.bias", "w.base_layer.bias"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    // The scale is 2 before and 1 after.
    let doubled: Vec<f64> = noise(24, 1, 9).iter().map(|x| 2.0 * x).collect();
    assert_eq!(after["w.lora_B.bias"], bytes(&doubled));
    assert_eq!(config["modules_to_save"], json!(["head", "norm"]));
    assert_eq!((&config["bias"], &config["lora_bias"]), (&json!("all"), &json!(true)));
}
