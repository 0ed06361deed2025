//! `adapter init`: golden factors and bases of each method, files of data, and what is refused.

use std::fs;
use std::path::Path;

use serde_json::Value as Json;
use svdkit::checkpoint::{self, Factors, Opening};
use svdkit::layer::Filter;
use svdkit::matrix::Matrix;
use svdkit::solver::{Precision, singular_values};

use crate::adapter::{doubles, noise, product};
use crate::harness::{Stored, check_exit_in, json_in, list, save, stored};

pub(crate) fn golden(key: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oracle/initial.json");
    let all: Json = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    all[key].clone()
}

pub(crate) fn numbers(value: &Json) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[track_caller]
pub(crate) fn near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
    }
}

/// A tensor of f32.
pub(crate) fn singles(name: &str, shape: &[usize], entries: &[f64]) -> Stored {
    stored(name, "F32", shape, entries.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect())
}

/// Every matrix of a file, by name; adapters as they are stored.
pub(crate) fn stored_in(path: &Path) -> Vec<(String, Matrix)> {
    let opening = Opening { factors: Factors::Weights, ..Opening::default() };
    let (_, source) = checkpoint::open_with(path, &opening).unwrap();
    let layers = source.select(&Filter::default()).layers;
    layers.iter().map(|layer| (layer.name.to_string(), source.read(layer, 0..layer.rows).unwrap())).collect()
}

pub(crate) fn only(path: &Path, end: &str) -> Vec<f64> {
    let all = stored_in(path);
    all.iter().find(|(name, _)| name.ends_with(end)).unwrap_or_else(|| panic!("{end} of {all:?}")).1.to_f64()
}

pub(crate) fn spectrum(rows: usize, cols: usize, entries: &[f64]) -> Vec<f64> {
    let matrix = Matrix::from_f64(rows, cols, entries).unwrap();
    singular_values(&matrix, Precision::Exact).unwrap().values().to_vec()
}

/// The activations of the golden values, and those with growing columns.
pub(crate) fn inputs() -> [Vec<f64>; 2] {
    let grown =
        noise(40, 16, 32).iter().enumerate().map(|(i, x)| x * (1.0 + (i % 16) as f64 / 8.0)).collect();
    [noise(40, 16, 31), grown]
}

/// `XᵀX` of rows of 16.
pub(crate) fn gram(x: &[f64]) -> Vec<f64> {
    let turned: Vec<f64> = (0..16).flat_map(|j| x.iter().skip(j).step_by(16).copied()).collect();
    product(&turned, x, x.len() / 16)
}

/// A folder with the golden bases and data.
pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let tall = noise(24, 16, 11);
    save(&at("tall.safetensors"), &[singles("layers.0.q.weight", &[24, 16], &tall)]);
    save(&at("flat.safetensors"), &[singles("layers.0.q.weight", &[16, 24], &noise(16, 24, 12))]);
    let coarse: Vec<f64> = tall.iter().map(|x| (4.0 * x + 0.5).floor() / 4.0).collect();
    save(&at("coarse.safetensors"), &[singles("layers.0.q.weight", &[24, 16], &coarse)]);
    let [x, x2] = inputs();
    let mut covariance = vec![0.0; 256];
    for half in x.chunks(320) {
        let largest = half.iter().copied().fold(f64::NEG_INFINITY, f64::max).abs();
        let scaled: Vec<f64> = half.iter().map(|x| x / largest).collect();
        covariance.iter_mut().zip(gram(&scaled)).for_each(|(sum, x)| *sum += x / 2.0);
    }
    save(&at("cov.safetensors"), &[doubles("layers.0.q.cov", &[16, 16], &covariance)]);
    save(&at("acts.safetensors"), &[doubles("layers.0.q.acts", &[40, 16], &x2)]);
    save(&at("few.safetensors"), &[doubles("layers.0.q.acts", &[10, 16], &x2[..160])]);
    let squares: Vec<f64> = (0..16).map(|j| gram(&x2)[17 * j]).collect();
    imatrix(&at("imatrix.gguf"), "layers.0.q.weight", &squares, 40.0);
    folder
}

/// An importance matrix as llama.cpp writes it.
pub(crate) fn imatrix(path: &Path, name: &str, squares: &[f64], count: f32) {
    let tensor = |name: &str, shape: &[u64], offset: u64| {
        let mut bytes = (name.len() as u64).to_le_bytes().to_vec();
        bytes.extend(name.bytes());
        bytes.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes
    };
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes(), &2u64.to_le_bytes(), &0u64.to_le_bytes()].concat();
    file.extend(tensor(&format!("{name}.in_sum2"), &[squares.len() as u64], 0));
    let after = (4 * squares.len() as u64).next_multiple_of(32);
    file.extend(tensor(&format!("{name}.counts"), &[1], after));
    file.resize(file.len().next_multiple_of(32), 0);
    let start = file.len();
    file.extend(squares.iter().flat_map(|x| (*x as f32).to_le_bytes()));
    file.resize(start + after as usize, 0);
    file.extend(count.to_le_bytes());
    file.resize(file.len().next_multiple_of(32), 0);
    fs::write(path, file).unwrap();
}

/// Runs a method; gives its row, A and B, and the base that it leaves.
pub(crate) struct Begun {
    pub(crate) row: Json,
    pub(crate) report: Json,
    pub(crate) a: Vec<f64>,
    pub(crate) b: Vec<f64>,
    pub(crate) base: Option<Vec<f64>>,
}

#[track_caller]
pub(crate) fn begin(folder: &Path, base: &str, method: &str, options: &[&str]) -> Begun {
    let out = folder.join("out");
    let (adapter, moved) = (out.join("adapter"), out.join("base"));
    let _ = fs::remove_dir_all(&out);
    let moves = !["eva", "eora"].contains(&method);
    let base_out: &[&str] = if moves { &["--base-out", "out/base"] } else { &[] };
    let fixed = ["adapter", "init", base, "--method", method, "--out", "out/adapter", "--quiet"];
    let report = json_in(folder, &[&fixed, options, base_out].concat());
    let file = adapter.join("adapter_model.safetensors");
    let [a, b] = ["lora_A", "lora_B"].map(|end| only(&file, end));
    let base = moves.then(|| only(&moved.join(base), "q"));
    let row = list(&report, "rows")[0].clone();
    Begun { row, report, a, b, base }
}

pub(crate) fn number(row: &Json, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("no {key}: {row}"))
}

/// The golden values of an initialization with scale 2.
#[track_caller]
pub(crate) fn check(key: &str, weight: (usize, usize, &[f64]), begun: &Begun) {
    let (golden, (rows, cols, weight)) = (golden(key), weight);
    let update: Vec<f64> = product(&begun.b, &begun.a, 4);
    let scaled: Vec<f64> = update.iter().map(|x| 2.0 * x).collect();
    let base = begun.base.as_ref().unwrap();
    near(&spectrum(rows, cols, &scaled)[..4], &numbers(&golden["adapter_sigma"]), 2e-6);
    near(&spectrum(rows, cols, base), &numbers(&golden["residual_sigma"]), 2e-6);
    near(&[number(&begun.row, "residual_norm")], &[golden["residual_fro"].as_f64().unwrap()], 1e-9);
    let squares = |entries: &mut dyn Iterator<Item = &f64>| entries.map(|x| x * x).sum::<f64>();
    let of_a: Vec<f64> = begun.a.chunks(cols).map(|row| squares(&mut row.iter())).collect();
    let of_b: Vec<f64> = (0..4).map(|j| squares(&mut begun.b.iter().skip(j).step_by(4))).collect();
    near(&of_a, &numbers(&golden["A_gram_diag"]), 2e-6);
    near(&of_b, &numbers(&golden["B_gram_diag"]), 2e-6);
    let entries = ["product_00", "product_7_3"].map(|key| golden[key].as_f64().unwrap());
    near(&[update[0], update[7 * cols + 3]], &entries, 2e-6);
    // The weight is kept, as far as the report says.
    let lost =
        weight.iter().zip(base).zip(&scaled).map(|((w, x), y)| (w - x - y).powi(2)).sum::<f64>().sqrt();
    let norm = weight.iter().map(|x| x * x).sum::<f64>().sqrt();
    let told = number(&begun.row, "preservation_error");
    assert!(told < 1e-7 && (told - lost / norm).abs() < 1e-12, "{told} is not {}", lost / norm);
}

#[test]
fn golden_factors_of_singular_directions() {
    let folder = folder();
    let options = ["--rank", "4", "--alpha", "8"];
    for (method, tall, flat) in
        [("pissa", "init_pissa", "init_pissa_flat"), ("minor", "init_minor", "init_minor_flat")]
    {
        let begun = begin(folder.path(), "tall.safetensors", method, &options);
        check(tall, (24, 16, &noise(24, 16, 11)), &begun);
        let begun = begin(folder.path(), "flat.safetensors", method, &options);
        check(flat, (16, 24, &noise(16, 24, 12)), &begun);
    }
    for (method, key) in [("corda-ipm", "init_corda_ipm"), ("corda-kpm", "init_corda_kpm")] {
        let options = [&options[..], &["--cov", "cov.safetensors"]].concat();
        let begun = begin(folder.path(), "tall.safetensors", method, &options);
        check(key, (24, 16, &noise(24, 16, 11)), &begun);
        let golden = golden("corda_cov");
        near(&numbers(&begun.row["factors"]["singular_values"]), &numbers(&golden["sigma_WC"]), 1e-9);
        let all: f64 = numbers(&golden["sigma_WC"]).iter().map(|s| s * s).sum::<f64>();
        near(&[number(&begun.row, "weighted_norm")], &[all.sqrt()], 1e-8);
        if method == "corda-ipm" {
            near(
                &[number(&begun.row, "chosen_energy")],
                &[golden["context_energy_at_4"].as_f64().unwrap()],
                1e-9,
            );
        }
    }
}

#[test]
fn sorsa_keeps_singular_vectors_apart_and_does_not_divide_by_the_scale() {
    let folder = folder();
    for (key, alpha, warns) in [("init_sorsa_s1", "4", false), ("init_sorsa_s2", "8", true)] {
        let begun = begin(folder.path(), "tall.safetensors", "sorsa", &["--rank", "4", "--alpha", alpha]);
        let golden = golden(key);
        let lengths: Vec<f64> =
            (0..4).map(|j| begun.b.iter().skip(j).step_by(4).map(|x| x * x).sum::<f64>().sqrt()).collect();
        near(&lengths, &numbers(&golden["S"]), 2e-6);
        near(&spectrum(24, 16, begun.base.as_ref().unwrap()), &numbers(&golden["residual_sigma"]), 2e-6);
        near(&[number(&begun.row, "residual_norm")], &[golden["residual_fro"].as_f64().unwrap()], 1e-9);
        let turned: Vec<f64> = (0..16).flat_map(|j| begun.a.iter().skip(j).step_by(16).copied()).collect();
        let identity: Vec<f64> = (0..16).map(|i| f64::from(u8::from(i % 5 == 0))).collect();
        near(&product(&begun.a, &turned, 16), &identity, 1e-6);
        let notes = begun.report["notes"].to_string();
        assert_eq!(notes.contains("SORSA's S is not divided"), warns, "{notes}");
    }
}

#[test]
fn kasa_cuts_the_last_directions_off_and_begins_at_random_the_same_every_time() {
    let folder = folder();
    for (base, key, shape) in
        [("tall.safetensors", "kasa_base_T", (24, 16)), ("flat.safetensors", "kasa_base_Fl", (16, 24))]
    {
        let begun = begin(folder.path(), base, "kasa", &["--rank", "4"]);
        let golden = golden(key);
        let values = spectrum(shape.0, shape.1, begun.base.as_ref().unwrap());
        let rank = values.iter().filter(|s| **s > 1e-6).count();
        assert_eq!(rank as u64, golden["peft_numerical_rank"].as_u64().unwrap());
        for (key, of) in [
            ("residual_norm", "peft_fro"),
            ("chosen_energy", "energy_discarded"),
            ("tail_gap", "tail_gap_of_original"),
        ] {
            near(&[number(&begun.row, key)], &[golden[of].as_f64().unwrap()], 1e-9);
        }
        assert!(
            begun.b.iter().all(|x| *x == 0.0)
                && begun.a.iter().all(|x| x.abs() <= 1.0 / (shape.1 as f64).sqrt())
        );
        let adapter = folder.path().join("out/adapter");
        let config: Json =
            serde_json::from_slice(&fs::read(adapter.join("adapter_config.json")).unwrap()).unwrap();
        assert_eq!(
            (&config["kasa_config"]["beta"], &config["init_lora_weights"]),
            (&1e-4.into(), &true.into())
        );
        let file = fs::read(adapter.join("adapter_model.safetensors")).unwrap();
        assert!(String::from_utf8_lossy(&file).contains("base_model.model.layers.0.q.lora_diag"));
        let again = begin(folder.path(), base, "kasa", &["--rank", "4", "-j", "1"]);
        assert_eq!(begun.a, again.a);
        assert_ne!(begin(folder.path(), base, "kasa", &["--rank", "4", "--seed", "1"]).a, again.a);
        assert_eq!(again.report["settings"]["seed"], "0");
    }
}

#[test]
fn olora_takes_the_first_columns_of_a_qr_decomposition() {
    let folder = folder();
    for (base, rows, cols, seed) in [("tall.safetensors", 24, 16, 11), ("flat.safetensors", 16, 24, 12)] {
        let begun = begin(folder.path(), base, "olora", &["--rank", "4"]);
        let weight = noise(rows, cols, seed);
        let update = product(&begun.b, &begun.a, 4);
        // The first columns of W are Q's alone, and what is left is orthogonal to it.
        let first = |entries: &[f64]| -> Vec<f64> {
            entries.chunks(cols).flat_map(|row| row[..4].to_vec()).collect()
        };
        near(&first(&update), &first(&weight), 1e-6);
        let rest = begun.base.unwrap();
        let turned: Vec<f64> = (0..4).flat_map(|j| begun.b.iter().skip(j).step_by(4).copied()).collect();
        near(&product(&turned, &rest, rows), &vec![0.0; 4 * cols], 1e-6);
        let upper = (0..4).all(|i| begun.a[i * cols..i * cols + i].iter().all(|x| x.abs() < 1e-6));
        assert!(upper, "{:?}", &begun.a[..cols]);
    }
}

#[test]
fn what_rounding_costs_is_told_in_every_type() {
    let golden = golden("pissa_bf16");
    let folder = tempfile::tempdir().unwrap();
    let rounded = Matrix::rounded(24, 16, svdkit::matrix::Dtype::Bf16, &noise(24, 16, 11)).unwrap();
    let tensor = stored("layers.0.q.weight", "BF16", &[24, 16], rounded.bytes().to_vec());
    save(&folder.path().join("tall.safetensors"), &[tensor]);
    for dtype in ["f32", "bf16", "f16"] {
        let begun = begin(
            folder.path(),
            "tall.safetensors",
            "pissa",
            &["--rank", "4", "--alpha", "8", "--dtype", dtype],
        );
        let update = product(&begun.b, &begun.a, 4);
        let (weight, base) = (rounded.to_f64(), begun.base.unwrap());
        let lost =
            weight.iter().zip(&base).zip(&update).map(|((w, x), y)| (w - x - 2.0 * y).powi(2)).sum::<f64>();
        let norm = weight.iter().map(|x| x * x).sum::<f64>();
        let told = number(&begun.row, "preservation_error");
        near(&[told], &[(lost / norm).sqrt()], 1e-12);
        // The residual makes up for the rounding of the factors, so that only its own is left.
        let own = golden["base_only_rel_err"].as_f64().unwrap();
        assert!(
            (told / own - 1.0).abs() < 0.2 && told < 0.7 * golden["preserve_rel_err"].as_f64().unwrap(),
            "{told}"
        );
        assert!(begun.report["notes"].to_string().contains("rounding moves the weights by"));
    }
}

#[test]
fn targets_are_linear_layers_in_numbered_blocks_or_as_named() {
    let folder = tempfile::tempdir().unwrap();
    let tensors: Vec<Stored> = ["embed_tokens", "layers.0.q", "layers.0.up", "lm_head"]
        .iter()
        .map(|name| singles(&format!("{name}.weight"), &[12, 10], &noise(12, 10, 3)))
        .chain([singles("norm.weight", &[10], &noise(1, 10, 1))])
        .collect();
    save(&folder.path().join("model.safetensors"), &tensors);
    let names = |options: &[&str]| -> Vec<String> {
        let _ = fs::remove_dir_all(folder.path().join("out"));
        let _ = fs::remove_dir_all(folder.path().join("base"));
        let fixed = [
            "adapter",
            "init",
            "model.safetensors",
            "--method",
            "pissa",
            "--rank",
            "2",
            "--out",
            "out",
            "--base-out",
            "base",
        ];
        let report = json_in(folder.path(), &[&fixed[..], options].concat());
        list(&report, "rows").iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["layers.0.q", "layers.0.up"]);
    assert_eq!(names(&["--exclude", "*.up"]), ["layers.0.q"]);
    assert_eq!(names(&["--target", "*.q", "--target", "lm_head"]), ["layers.0.q", "lm_head"]);
    // What is not changed keeps its bytes.
    let before = stored_in(&folder.path().join("model.safetensors"));
    let after = stored_in(&folder.path().join("base/model.safetensors"));
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        assert_eq!(before == after, !["layers.0.q", "lm_head"].contains(&name.as_str()), "{name}");
    }
    let none = [
        "adapter",
        "init",
        "model.safetensors",
        "--method",
        "pissa",
        "--rank",
        "2",
        "--out",
        "no",
        "--base-out",
        "none",
        "--target",
        "embed*",
    ];
    check_exit_in(folder.path(), &none, 2, "no linear layer in a numbered block");
}
