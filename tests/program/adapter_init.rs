//! `adapter init`: golden factors and bases of each method, files of data, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use svdkit::analysis::init::redistributed;
use svdkit::checkpoint::{self, Factors, Opening};
use svdkit::layer::Filter;
use svdkit::matrix::Matrix;
use svdkit::solver::{Precision, singular_values};

use crate::adapter::{doubles, noise, product};
use crate::harness::{Stored, check_exit_in, json_in, list, save, stored, svdkit_in};

fn golden(key: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oracle/initial.json");
    let all: Json = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    all[key].clone()
}

fn numbers(value: &Json) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[track_caller]
fn near(found: &[f64], expected: &[f64], tolerance: f64) {
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
    layers.iter().map(|layer| (layer.name.clone(), source.read(layer, 0..layer.rows).unwrap())).collect()
}

fn only(path: &Path, end: &str) -> Vec<f64> {
    let all = stored_in(path);
    all.iter().find(|(name, _)| name.ends_with(end)).unwrap_or_else(|| panic!("{end} of {all:?}")).1.to_f64()
}

fn spectrum(rows: usize, cols: usize, entries: &[f64]) -> Vec<f64> {
    let matrix = Matrix::from_f64(rows, cols, entries).unwrap();
    singular_values(&matrix, Precision::Exact).unwrap().values().to_vec()
}

/// The activations of the golden values, and those with growing columns.
fn inputs() -> [Vec<f64>; 2] {
    let grown =
        noise(40, 16, 32).iter().enumerate().map(|(i, x)| x * (1.0 + (i % 16) as f64 / 8.0)).collect();
    [noise(40, 16, 31), grown]
}

/// `XᵀX` of rows of 16.
fn gram(x: &[f64]) -> Vec<f64> {
    let turned: Vec<f64> = (0..16).flat_map(|j| x.iter().skip(j).step_by(16).copied()).collect();
    product(&turned, x, x.len() / 16)
}

/// A folder with the golden bases and data.
fn folder() -> tempfile::TempDir {
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
fn imatrix(path: &Path, name: &str, squares: &[f64], count: f32) {
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
struct Begun {
    row: Json,
    report: Json,
    a: Vec<f64>,
    b: Vec<f64>,
    base: Option<Vec<f64>>,
}

#[track_caller]
fn begin(folder: &Path, base: &str, method: &str, options: &[&str]) -> Begun {
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

fn number(row: &Json, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("no {key}: {row}"))
}

/// The golden values of an initialization with scale 2.
#[track_caller]
fn check(key: &str, weight: (usize, usize, &[f64]), begun: &Begun) {
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
fn eora_makes_up_for_the_error_of_the_outputs() {
    let folder = folder();
    let path = folder.path();
    for (data, key, norms) in [
        (["--acts", "acts.safetensors"], "eora", "act_none_svd_eora"),
        (["--acts", "few.safetensors"], "eora_rank_deficient", "act_none_svd_eora"),
        (["--cov", "imatrix.gguf"], "diagonal_cov", "diag_norm_none_svd_weighted"),
    ] {
        for rank in ["1", "2", "4", "8"] {
            let options = [&data[..], &["--rank", rank, "--original", "tall.safetensors"]].concat();
            let begun = begin(path, "coarse.safetensors", "eora", &options);
            let golden = golden(key);
            let found = ["weighted_norm", "plain_error", "weighted_error"].map(|key| number(&begun.row, key));
            // An imatrix is in f32.
            let tolerance = if key == "diagonal_cov" { 1e-6 } else { 1e-9 };
            near(&found, &numbers(&golden["at"][rank][norms]), tolerance);
            if key == "eora" {
                let left = golden["at"][rank]["fro_none_svd_eora"][2].as_f64().unwrap();
                near(&[number(&begun.row, "residual_norm")], &[left], 1e-9);
                let first = numbers(&begun.row["factors"]["singular_values"]);
                near(&first[..10], &numbers(&golden["sigma_projected"]), 1e-9);
            }
            // The file itself: of its rank, of scale 1, and as good as the report says.
            let update = product(&begun.b, &begun.a, rank.parse().unwrap());
            let (tall, coarse) = (noise(24, 16, 11), only(&path.join("coarse.safetensors"), "q"));
            let left: Vec<f64> = tall.iter().zip(&coarse).zip(&update).map(|((w, c), x)| w - c - x).collect();
            if key != "diagonal_cov" {
                let x = &inputs()[1][..if key == "eora" { 640 } else { 160 }];
                let turned: Vec<f64> = (0..16).flat_map(|j| x.iter().skip(j).step_by(16).copied()).collect();
                let error = product(&left, &turned, 16).iter().map(|x| x * x).sum::<f64>().sqrt();
                near(&[error], &[found[2]], 1e-9);
            }
        }
    }
    let config: Json =
        serde_json::from_slice(&fs::read(path.join("out/adapter/adapter_config.json")).unwrap()).unwrap();
    assert_eq!((&config["r"], &config["lora_alpha"]), (&8.into(), &8.into()));
}

#[test]
fn eora_of_another_model_is_refused() {
    let folder = folder();
    let options = [
        "adapter",
        "init",
        "tall.safetensors",
        "--method",
        "eora",
        "--rank",
        "2",
        "--original",
        "flat.safetensors",
        "--acts",
        "acts.safetensors",
        "--out",
        "out",
    ];
    check_exit_in(folder.path(), &options, 2, "of the shape that `--original` has");
    assert!(!folder.path().join("out").exists());
}

#[test]
fn eora_of_more_directions_than_there_are_is_filled_with_zeros() {
    let folder = folder();
    let options = ["--rank", "14", "--original", "tall.safetensors", "--acts", "few.safetensors"];
    let begun = begin(folder.path(), "coarse.safetensors", "eora", &options);
    assert_eq!(begun.a.len(), 14 * 16);
    assert!(begun.a[10 * 16..].iter().all(|x| *x == 0.0) && number(&begun.row, "weighted_error") < 1e-6);
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
fn eva_gives_ranks_where_inputs_vary() {
    let golden = golden("eva");
    let folder = tempfile::tempdir().unwrap();
    let [x, x2] = inputs();
    let mut spiked = noise(40, 16, 33);
    spiked.iter_mut().step_by(16).for_each(|x| *x *= 12.0);
    let names = ["q", "k", "o", "down"];
    let weight = |(i, name): (usize, &&str)| {
        singles(&format!("layers.0.{name}.weight"), &[8, 16], &noise(8, 16, i as u32))
    };
    save(&folder.path().join("model.safetensors"), &names.iter().enumerate().map(weight).collect::<Vec<_>>());
    let acts = [&x, &x, &x2, &spiked];
    let tensors: Vec<Stored> = names
        .iter()
        .zip(acts)
        .map(|(name, x)| doubles(&format!("layers.0.{name}.acts"), &[40, 16], x))
        .collect();
    save(&folder.path().join("acts.safetensors"), &tensors);
    let options = [
        "adapter",
        "init",
        "model.safetensors",
        "--method",
        "eva",
        "--rank",
        "3",
        "--alpha",
        "6",
        "--acts",
        "acts.safetensors",
        "--out",
        "out",
        "--quiet",
    ];
    let report = json_in(folder.path(), &options);
    for row in list(&report, "rows") {
        let name = row["role"].as_str().unwrap();
        assert_eq!(row["adapter_rank"], golden["ranks"][name], "{name}");
        let ratios = numbers(&row["factors"]["importance"]);
        let key = match name {
            "o" => "ratios_X2_first6",
            "down" => "ratios_spiked_first6",
            _ => "ratios_X_first6",
        };
        near(&ratios, &numbers(&golden[key]), 1e-9);
        let rank = row["adapter_rank"].as_u64().unwrap() as usize;
        near(&[number(row, "explained_variance")], &[ratios[..rank].iter().sum()], 1e-12);
        let a = only(&folder.path().join("out/adapter_model.safetensors"), &format!("{name}.lora_A"));
        assert_eq!(a.len(), rank * 16);
    }
    let config: Json =
        serde_json::from_slice(&fs::read(folder.path().join("out/adapter_config.json")).unwrap()).unwrap();
    let (r, alpha) = (config["r"].as_f64().unwrap(), config["lora_alpha"].as_f64().unwrap());
    assert_eq!(alpha / r, 2.0);
    for (pattern, rank) in config["rank_pattern"].as_object().unwrap() {
        assert_eq!(config["alpha_pattern"][pattern].as_f64().unwrap() / rank.as_f64().unwrap(), 2.0);
    }
    // A budget that ends between two equal shares: the layer that was measured first gets no less.
    let lists = ["ratios_X_first6", "ratios_X_first6", "ratios_X2_first6", "ratios_spiked_first6"];
    let lists: Vec<Vec<f64>> = lists.iter().map(|key| numbers(&golden[*key])).collect();
    let found = redistributed(&lists, &[None, Some(0), None, None], 3);
    assert_eq!(found, names.map(|name| golden["ranks"][name].as_u64().unwrap() as usize));
}

#[test]
fn a_rule_on_a_rank_that_eva_gave_is_judged_by_it() {
    let folder = folder();
    let fixed = [
        "adapter",
        "init",
        "tall.safetensors",
        "--method",
        "eva",
        "--rank",
        "4",
        "--acts",
        "acts.safetensors",
        "--out",
        "out",
    ];
    check_exit_in(folder.path(), &[&fixed[..], &["--fail-if", "adapter_rank > 3"]].concat(), 1, "");
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

#[test]
fn options_that_do_not_fit_a_method_are_refused() {
    let folder = folder();
    let check = |method: &str, options: &[&str], said: &str| {
        let fixed =
            ["adapter", "init", "tall.safetensors", "--method", method, "--rank", "4", "--out", "out"];
        check_exit_in(folder.path(), &[&fixed[..], options].concat(), 2, said);
        assert!(!folder.path().join("out").exists() && !folder.path().join("base").exists());
    };
    check("pissa", &[], "`--base-out DIR` takes the base");
    check("eva", &["--base-out", "base", "--acts", "acts.safetensors"], "leave `--base-out` out");
    check("corda-ipm", &["--base-out", "base"], "`--cov FILE` or `--acts FILE`");
    check("eva", &["--cov", "cov.safetensors"], "`--acts FILE`");
    check("pissa", &["--base-out", "base", "--cov", "cov.safetensors"], "takes no data");
    check("eora", &["--cov", "cov.safetensors"], "`--original MODEL`");
    check(
        "eora",
        &["--cov", "cov.safetensors", "--original", "tall.safetensors", "--alpha", "3"],
        "leave `--alpha` out",
    );
    check("pissa", &["--base-out", "base", "--alpha", "0"], "a number above 0");
    check("pissa", &["--base-out", "out"], "neither in the other");
    check("pissa", &["--base-out", "out/base"], "neither in the other");
    let large = [
        "adapter",
        "init",
        "tall.safetensors",
        "--method",
        "kasa",
        "--rank",
        "16",
        "--out",
        "out",
        "--base-out",
        "base",
    ];
    check_exit_in(folder.path(), &large, 2, "`layers.0.q.weight`: is 24 × 16, so `--rank` can be 15 at most");
}

#[test]
fn data_that_cannot_be_are_named_and_nothing_is_written() {
    let folder = folder();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let check = |file: &str, said: &str| {
        let fixed = [
            "adapter",
            "init",
            "tall.safetensors",
            "--method",
            "corda-ipm",
            "--rank",
            "4",
            "--out",
            "out",
            "--base-out",
            "base",
            "--cov",
            file,
        ];
        let output = svdkit_in(folder.path(), &fixed);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{file}: {told}");
        assert!(
            told.contains(said) && (said == "NaN" || told.contains(file.split('.').next().unwrap())),
            "{file}: {told}"
        );
        assert!(!path("out").exists() && !path("base").exists(), "{file}");
        let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with(".svdkit")), "{file}");
    };
    let square = |change: &dyn Fn(&mut Vec<f64>)| {
        let mut entries = gram(&inputs()[0]);
        change(&mut entries);
        entries
    };
    let write =
        |file: &str, entries: &[f64]| save(&path(file), &[doubles("layers.0.q.cov", &[16, 16], entries)]);
    write("nan.safetensors", &square(&|entries| entries[5] = f64::NAN));
    check("nan.safetensors", "`layers.0.q.cov`: holds NaN or infinite entries");
    write("zero.safetensors", &[0.0; 256]);
    check("zero.safetensors", "is all zeros");
    write("slanted.safetensors", &square(&|entries| entries[1] += 1.0));
    check("slanted.safetensors", "is not symmetric");
    write("negative.safetensors", &square(&|entries| entries[17] = -1.0));
    check("negative.safetensors", "a negative entry on its diagonal");
    write(
        "indefinite.safetensors",
        &square(&|entries| {
            entries[1] += 9.0;
            entries[16] += 9.0;
        }),
    );
    check("indefinite.safetensors", "the negative eigenvalue");
    save(&path("other.safetensors"), &[doubles("layers.7.q.cov", &[16, 16], &gram(&inputs()[0]))]);
    check("other.safetensors", "has nothing for 1 of 1 modules: `layers.0.q`; its first is `layers.7.q`");
    save(&path("size.safetensors"), &[doubles("layers.0.q.cov", &[9, 9], &[1.0; 81])]);
    check("size.safetensors", "has 9 channels, but `layers.0.q` has 16 inputs");
    save(&path("shape.safetensors"), &[doubles("layers.0.q.cov", &[9, 16], &[1.0; 144])]);
    check("shape.safetensors", "a covariance is n × n, or n numbers");
    imatrix(&path("count.gguf"), "layers.0.q.weight", &[1.0; 16], -3.0);
    check("count.gguf", "the number of tokens is -3");
    imatrix(&path("sums.gguf"), "layers.0.q.weight", &[-1.0; 16], 3.0);
    check("sums.gguf", "negative entries");
    fs::write(path("broken.safetensors"), b"no").unwrap();
    check("broken.safetensors", "");
    // A weight that is not finite is named, too.
    let mut entries = noise(24, 16, 11);
    entries[3] = f64::INFINITY;
    save(&path("tall.safetensors"), &[singles("layers.0.q.weight", &[24, 16], &entries)]);
    check("cov.safetensors", "NaN");
}
