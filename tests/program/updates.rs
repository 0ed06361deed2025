//! Numbers of updates beside those of whole weights: refused in every command, direction and mixture.

use std::fs;

use serde_json::Value;

use crate::harness::{check_exit, json, list, save, stored, svdkit};

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/base");
const FULL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");
const LORA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/lora-r4");

#[test]
fn numbers_of_updates_are_not_compared_with_those_of_weights() {
    let folder = tempfile::tempdir().unwrap();
    let saved = |name: &str, arguments: &[&str]| {
        let path = folder.path().join(name).to_str().unwrap().to_owned();
        assert!(svdkit(&[arguments, &["-o", &path]].concat()).status.success(), "{arguments:?}");
        path
    };
    let few = ["--include", "*.0.self_attn.*"];
    for command in ["spectrum", "rank", "farms"] {
        let weights = saved("weights.json", &[&[command, BASE], &few[..]].concat());
        let adapter = saved("adapter.json", &[&[command, LORA], &few[..]].concat());
        let update = saved("update.json", &[&[command, FULL, "--base", BASE], &few[..]].concat());
        let adapted = saved("adapted.json", &[&[command, LORA, "--base", BASE], &few[..]].concat());
        let mut mixed: Value = serde_json::from_str(&fs::read_to_string(&adapter).unwrap()).unwrap();
        mixed["rows"][1].as_object_mut().unwrap().remove("update");
        let part = folder.path().join("mixed.json").to_str().unwrap().to_owned();
        fs::write(&part, mixed.to_string()).unwrap();
        for updates in [&adapter, &update, &adapted, &part] {
            for other in [weights.as_str(), BASE, LORA] {
                for (a, b) in [(updates.as_str(), other), (other, updates)] {
                    for more in [&[][..], &["--no-svd"]] {
                        let mut arguments = [&["compare", a, b][..], more].concat();
                        if other == LORA {
                            arguments.extend(["--base", BASE]);
                        }
                        let output = svdkit(&arguments);
                        let said = String::from_utf8_lossy(&output.stderr);
                        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
                        let told = [updates, other, "whole weights", "svdkit "];
                        assert!(told.iter().all(|part| said.contains(part)), "{arguments:?}: {said}");
                        assert!(output.stdout.is_empty() && said.lines().count() == 1, "{said}");
                    }
                }
            }
            check_exit(&["compare", updates, updates], 0, "");
        }
        let matrix = mixed["rows"][1]["name"].as_str().unwrap();
        for (a, b) in [(&adapter, &part), (&part, &adapter)] {
            check_exit(&["compare", a, b], 2, &format!("`{matrix}` is an update in {adapter}"));
        }
    }
}

/// Floats that look random.
fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0).to_le_bytes()
    };
    (0..count).flat_map(|_| next()).collect()
}

/// A base and its adapter take one reduction; `--vectors none` reduces both sides, `--vectors all` decomposes both.
#[test]
fn what_follows_from_the_base_is_what_each_side_gives_by_itself() {
    for (rows, cols, rank) in [(820, 830, 4), (830, 820, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (base, adapter) = (path("base.safetensors"), path("adapter"));
        save(base.as_ref(), &[stored("layers.0.up.weight", "F32", &[rows, cols], noise(rows * cols, 3))]);
        fs::create_dir(&adapter).unwrap();
        let factor = |name: &str, shape: &[usize], seed| {
            let name = format!("base_model.model.layers.0.up.lora_{name}.weight");
            stored(&name, "F32", shape, noise(shape.iter().product(), seed))
        };
        let factors = [factor("A", &[rank, cols], 5), factor("B", &[rows, rank], 7)];
        save(folder.path().join("adapter/adapter_model.safetensors").as_path(), &factors);
        let config =
            format!(r#"{{"peft_type": "LORA", "r": {rank}, "lora_alpha": 1, "target_modules": ["up"]}}"#);
        fs::write(folder.path().join("adapter/adapter_config.json"), config).unwrap();

        let run = |vectors: &str| {
            let report = json(&["compare", &base, &adapter, "-k", "6", "--vectors", vectors]);
            list(&report, "rows")[0].clone()
        };
        let [follows, none, all] = ["leading", "none", "all"].map(run);
        let close = |other: &Value, keys: &[&str], within: f64| {
            for key in keys {
                let [a, b] = [&follows[key], &other[key]]
                    .map(|x| x.as_f64().unwrap_or_else(|| panic!("{key}: {follows}")));
                assert!((a - b).abs() <= within * b.abs(), "{rows} × {cols}: {key} is {a}, not {b}");
            }
        };
        close(&none, &["spectral_norm", "stable_rank", "effective_rank", "nuclear_norm"], 1e-12);
        close(&none, &["smallest_singular_value", "delta_spectral_ratio", "gain_alignment"], 1e-7);
        close(
            &all,
            &["subspace_overlap", "right_subspace_overlap", "subspace_angle", "right_subspace_angle"],
            1e-9,
        );
        assert_eq!(follows["blake3"], none["blake3"]);
    }
}
