//! `adapter extract` and `adapter resize`: what a cut loses, which files are written, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use svdkit::checkpoint::{self, Opening, Pairs};
use svdkit::layer::Filter;
use svdkit::metric::energy_rank;
use svdkit::solver::{Precision, singular_values};

use crate::adapter::{adapter, doubles, noise};
use crate::harness::{BASE, check_exit, json, list, save};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn extract(tuned: &Path, out: &Path, options: &[&str]) -> Json {
    json(&[&["adapter", "extract", BASE, text(tuned), "--out", text(out)], options].concat())
}

#[test]
fn a_cut_loses_the_directions_that_it_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let full = fixture("charlm/full");
    let (_, base) = checkpoint::open(Path::new(BASE)).unwrap();
    let (_, tuned) = checkpoint::open(&full).unwrap();
    let pairs = Pairs::new(base.clone(), tuned);
    let difference = pairs.difference();
    for (name, options, rank) in [
        ("rank", ["--rank", "6"], None),
        ("energy", ["--energy", "0.8"], Some(0.8)),
        ("budget", ["--budget", "7"], None),
    ] {
        let out = folder.path().join(name);
        let report = extract(&full, &out, &options);
        let rows = list(&report, "rows");
        let mut ranks = 0;
        for row in rows {
            let number = |key: &str| row[key].as_f64().unwrap();
            let layers = difference.select(&Filter::default()).layers;
            let layer = layers.iter().find(|layer| row["name"] == layer.name.as_str()).unwrap();
            let dense = difference.read(layer, 0..layer.rows).unwrap();
            let spectrum = singular_values(&dense, Precision::Exact).unwrap();
            let kept = row["kept_rank"].as_u64().unwrap() as usize;
            ranks += kept;
            if let Some(share) = rank {
                assert_eq!(kept, energy_rank(&spectrum, share), "{row}");
            } else if name == "rank" {
                assert_eq!(kept, 6, "{row}");
            }
            let rest = spectrum.values()[kept..].iter().map(|s| s * s).sum::<f64>().sqrt();
            // Factors are in f32.
            assert!((number("lost_norm") - rest).abs() < 2e-6 * spectrum.norm(), "{row}: {rest}");
        }
        if name == "budget" {
            assert_eq!(ranks, 7 * rows.len());
        }
        // It opens, and base + adapter is as far from the fine-tune as the report says.
        let opening = Opening { base: Some(base.clone()), ..Opening::default() };
        let (_, written) = checkpoint::open_with(&out, &opening).unwrap();
        let again = Pairs::new(base.clone(), written);
        for layer in again.difference().select(&Filter::default()).layers {
            let row = rows.iter().find(|row| row["name"] == layer.name.as_str()).unwrap();
            let update = again.tuned().factors(&layer).unwrap().dense(0..layer.rows).unwrap().to_f64();
            let wanted = difference.select(&Filter::default()).layers;
            let wanted = wanted.iter().find(|wanted| wanted.name == layer.name).unwrap();
            let wanted = difference.read(wanted, 0..layer.rows).unwrap().to_f64();
            let miss = update.iter().zip(&wanted).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
            let lost = row["lost_norm"].as_f64().unwrap();
            assert!((miss - lost).abs() < 1e-9 * (1.0 + lost), "{row}: {miss}");
        }
        let config: Json =
            serde_json::from_slice(&fs::read(out.join("adapter_config.json")).unwrap()).unwrap();
        assert_eq!(config["init_lora_weights"], true);
        assert_eq!(config["target_modules"].as_array().unwrap().len(), rows.len());
    }
}

#[test]
fn an_adapter_that_is_written_again_with_its_rank_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (name, based, dialect) in [
        ("charlm/lora-r4", false, "peft"),
        ("charlm/lora-r4", true, "kohya"),
        ("charlm/lora-r4", true, "diffusers"),
        ("charlm/dora-r4", true, "peft"),
    ] {
        let (path, out) =
            (fixture(name), folder.path().join(format!("{}-{dialect}-{based}", name.replace('/', "-"))));
        let mut arguments =
            vec!["adapter", "resize", text(&path), "--energy", "1", "--dtype", "f64", "--out", text(&out)];
        arguments.extend(["--dialect", dialect]);
        if based {
            arguments.extend(["--base", BASE]);
        }
        let report = json(&arguments);
        assert!(!list(&report, "rows").is_empty());
        for row in list(&report, "rows") {
            assert!(row["lost_ratio"].as_f64().unwrap() < 1e-6, "{row}");
        }
        let again = json(&["spectrum", text(&out), "--base", BASE, "--columns", "spectral_norm"]);
        assert_eq!(list(&again, "rows").len(), list(&report, "rows").len());
        for row in list(&again, "rows") {
            // Names in a pipeline begin with the component.
            let name = row["name"].as_str().unwrap();
            let name = name.strip_prefix("unet.").unwrap_or(name);
            let before = list(&report, "rows").iter().find(|before| before["name"] == name).unwrap();
            let (x, y) = (row["spectral_norm"].as_f64().unwrap(), before["spectral_norm"].as_f64().unwrap());
            assert!((x - y).abs() < 1e-9 * y, "{row}");
        }
    }
}

#[test]
fn embeddings_convolutions_and_turned_layers_find_their_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let tensors = |scale: f64| {
        let weight = |name: &str, shape: &[usize], seed: u32| {
            let count: usize = shape.iter().product();
            let moved: Vec<f64> = noise(count, 1, seed)
                .iter()
                .zip(noise(count, 1, seed + 9))
                .map(|(x, y)| x + scale * y)
                .collect();
            doubles(name, shape, &moved)
        };
        vec![
            weight("wte.weight", &[30, 12], 1),
            weight("h.0.mlp.c_fc.weight", &[12, 48], 2),
            weight("conv.weight", &[8, 3, 3, 3], 3),
            weight("norm.weight", &[12], 4),
            weight("bare", &[12, 12], 5),
        ]
    };
    let (base, tuned) = (folder.join("base.safetensors"), folder.join("tuned.safetensors"));
    save(&base, &tensors(0.0));
    save(&tuned, &tensors(0.1));
    let out = folder.join("out");
    let report = json(&["adapter", "extract", text(&base), text(&tuned), "--rank", "3", "--out", text(&out)]);
    let bytes = fs::read(out.join("adapter_model.safetensors")).unwrap();
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| read.tensor(&format!("base_model.model.{name}")).unwrap().shape().to_vec();
    assert_eq!((shape("wte.lora_embedding_A"), shape("wte.lora_embedding_B")), (vec![3, 30], vec![12, 3]));
    assert_eq!(
        (shape("h.0.mlp.c_fc.lora_A.weight"), shape("h.0.mlp.c_fc.lora_B.weight")),
        (vec![3, 12], vec![48, 3])
    );
    assert_eq!(
        (shape("conv.lora_A.weight"), shape("conv.lora_B.weight")),
        (vec![3, 3, 3, 3], vec![8, 3, 1, 1])
    );
    let notes = list(&report, "notes").iter().map(|note| note.as_str().unwrap()).collect::<String>();
    assert!(notes.contains("`bare`") && notes.contains("with 1 module saved whole"), "{notes}");
    let config: Json = serde_json::from_slice(&fs::read(out.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["fan_in_fan_out"], true);
}

#[test]
fn nothing_to_write_and_nowhere_to_write_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let out = folder.join("out");
    check_exit(
        &["adapter", "extract", BASE, BASE, "--rank", "4", "--out", text(&out)],
        2,
        "nothing was written",
    );
    let full = fixture("charlm/full");
    check_exit(&["adapter", "extract", BASE, text(&full), "--out", text(&out)], 2, "--rank");
    check_exit(
        &["adapter", "extract", BASE, text(&full), "--rank", "4", "--out", BASE],
        2,
        "is not an empty folder",
    );
    let kohya = fixture("dialects/kohya.safetensors");
    check_exit(&["adapter", "resize", text(&kohya), "--rank", "1", "--out", text(&out)], 2, "give `--base`");
    check_exit(
        &["adapter", "resize", BASE, "--rank", "1", "--out", text(&out)],
        2,
        "is a checkpoint, not an adapter",
    );
    let mut b = noise(24, 4, 22);
    b[0] = f64::NAN;
    let nan = adapter(folder, "nan", (&noise(4, 16, 21), &b), &[], &json!({}));
    check_exit(
        &["adapter", "resize", text(&nan), "--rank", "1", "--out", text(&out)],
        2,
        "nothing was written: `w`",
    );
    assert!(!out.exists());
}

#[test]
fn what_no_lora_holds_is_told_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (a, b) = (noise(4, 16, 21), noise(24, 4, 22));
    let norm = [doubles("base_model.model.norm.weight", &[16], &noise(1, 16, 5))];
    let with_norm = adapter(folder, "norm", (&a, &b), &norm, &json!({}));
    let report =
        json(&["adapter", "resize", text(&with_norm), "--rank", "2", "--out", text(&folder.join("small"))]);
    let notes = report["notes"].to_string();
    assert!(notes.contains("with 1 module saved whole"), "{notes}");
    let (experts, out) = (fixture("dialects/experts"), folder.join("out"));
    check_exit(
        &["adapter", "resize", text(&experts), "--rank", "1", "--out", text(&out)],
        2,
        "in one, which cannot be written as modules of their own",
    );
    check_exit(
        &["adapter", "canon", text(&experts), "--out", text(&out)],
        2,
        "in one, which cannot be made canonical",
    );
    let loha = fixture("dialects/loha.safetensors");
    check_exit(
        &["adapter", "canon", text(&loha), "--out", text(&out)],
        2,
        "2 updates are not the product of two stored factors",
    );
    let inside = with_norm.join("inside");
    check_exit(
        &["adapter", "resize", text(&with_norm), "--rank", "2", "--out", text(&inside)],
        2,
        "lies in a folder that is read",
    );
    assert!(!out.exists() && !inside.exists());
}
