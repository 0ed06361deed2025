//! `adapter merge`: entries are base + update rounded once, and everything else is byte-identical.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use svdkit::checkpoint::{self, Opening, Pairs};
use svdkit::layer::Filter;
use svdkit::matrix::Matrix;

use crate::adapter::{adapter, doubles, noise};
use crate::harness::{BASE, check_exit, json, list, save, stdout};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The tensors of a file: name, type and bytes.
fn tensors(path: &Path) -> BTreeMap<String, (String, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    read.iter()
        .map(|(name, view)| (name.to_owned(), (format!("{:?}", view.dtype()), view.data().to_vec())))
        .collect()
}

#[test]
fn every_changed_weight_is_the_sum_rounded_once() {
    let folder = tempfile::tempdir().unwrap();
    for (base, name) in [
        ("charlm/base", "charlm/lora-r4"),
        ("charlm/base", "charlm/dora-r4"),
        ("charlm/base", "charlm/rslora-r16"),
        ("dialects/base", "dialects/kohya.safetensors"),
        ("dialects/base", "dialects/loha.safetensors"),
        ("dialects/base", "dialects/lokr.safetensors"),
    ] {
        let (base, path) = (fixture(base), fixture(name));
        let out = folder.path().join(name.replace('/', "-"));
        // Kohya's file holds a part of a text encoder, too.
        let without = ["--exclude", "lora_te_*"];
        let arguments = ["adapter", "merge", text(&path), "--base", text(&base), "--out", text(&out)];
        let report = json(&[&arguments[..], &without].concat());
        let (_, before) = checkpoint::open(&base).unwrap();
        let (_, after) = checkpoint::open(&out).unwrap();
        let opening = Opening { base: Some(before.clone()), ..Opening::default() };
        let (_, updates) = checkpoint::open_with(&path, &opening).unwrap();
        let pairs = Pairs::new(before.clone(), updates);
        let merged = pairs.merged();
        let rows = list(&report, "rows");
        assert!(!rows.is_empty() && rows.len() == pairs.paired().len(), "{name}");
        for layer in after.select(&Filter::default()).layers {
            let all = 0..layer.rows;
            let (found, was) =
                (after.read(&layer, all.clone()).unwrap(), before.read(&layer, all.clone()).unwrap());
            let expected = merged.read(&layer, all).unwrap().to_f64();
            let expected = Matrix::rounded(layer.rows, layer.cols, layer.dtype, &expected).unwrap();
            assert_eq!(found, expected, "{name}: {}", layer.name);
            let row = rows.iter().find(|row| row["shape"] == json!([layer.rows, layer.cols]) && found != was);
            assert!(found == was || row.is_some(), "{name}: {}", layer.name);
        }
    }
}

#[test]
fn what_the_adapter_leaves_alone_is_byte_identical() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("merged");
    let lora = fixture("charlm/lora-r4");
    let only = ["--include", "*.0.self_attn.q_proj"];
    let arguments = ["adapter", "merge", text(&lora), "--base", BASE, "--out", text(&out)];
    stdout(&[&arguments[..], &only].concat());
    let (before, after) =
        (tensors(&Path::new(BASE).join("model.safetensors")), tensors(&out.join("model.safetensors")));
    let changed: Vec<&String> = before.keys().filter(|name| before[*name] != after[*name]).collect();
    assert_eq!(changed, ["model.layers.0.self_attn.q_proj.weight"]);
    for file in fs::read_dir(BASE).unwrap().map(|file| file.unwrap().file_name()) {
        let read = |folder: &Path| fs::read(folder.join(&file)).unwrap();
        assert!(file == "model.safetensors" || read(Path::new(BASE)) == read(&out), "{file:?}");
    }
    assert_eq!(
        fs::metadata(out.join("model.safetensors")).unwrap().len(),
        fs::metadata(Path::new(BASE).join("model.safetensors")).unwrap().len()
    );
    // Adding nothing changes nothing, and a merge that adds what another takes away gives the base again.
    check_exit(&arguments, 2, "is not an empty folder");
}

#[test]
fn shards_and_their_index_stay_and_biases_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    fs::create_dir(&base).unwrap();
    save(
        &base.join("model-00001-of-00002.safetensors"),
        &[doubles("w.weight", &[24, 16], &noise(24, 16, 11)), doubles("w.bias", &[24], &noise(24, 1, 12))],
    );
    save(&base.join("model-00002-of-00002.safetensors"), &[doubles("norm.weight", &[16], &noise(16, 1, 13))]);
    let map = json!({"metadata": {}, "weight_map": {
        "w.weight": "model-00001-of-00002.safetensors", "w.bias": "model-00001-of-00002.safetensors",
        "norm.weight": "model-00002-of-00002.safetensors"}});
    fs::write(base.join("model.safetensors.index.json"), map.to_string()).unwrap();
    let (a, b) = (noise(4, 16, 21), noise(24, 4, 22));
    let more = [
        doubles("base_model.model.w.lora_B.bias", &[24], &noise(24, 1, 31)),
        doubles("base_model.model.norm.weight", &[16], &noise(16, 1, 32)),
    ];
    let adapter = adapter(folder.path(), "a", (&a, &b), &more, &json!({}));
    let out = folder.path().join("out");
    let report = json(&["adapter", "merge", text(&adapter), "--base", text(&base), "--out", text(&out)]);
    assert!(
        list(&report, "notes").iter().any(|note| note.as_str().unwrap().contains("1 matrix and 2 vectors"))
    );
    let index = "model.safetensors.index.json";
    assert_eq!(fs::read(base.join(index)).unwrap(), fs::read(out.join(index)).unwrap());
    let first = tensors(&out.join("model-00001-of-00002.safetensors"));
    let numbers = |bytes: &[u8]| -> Vec<f64> {
        bytes.as_chunks::<8>().0.iter().map(|x| f64::from_le_bytes(*x)).collect()
    };
    // The scale is 2.
    let expected: Vec<f64> =
        noise(24, 1, 12).iter().zip(noise(24, 1, 31)).map(|(x, y)| y * 2.0 + x).collect();
    assert_eq!(numbers(&first["w.bias"].1), expected);
    let second = tensors(&out.join("model-00002-of-00002.safetensors"));
    assert_eq!(numbers(&second["norm.weight"].1), noise(16, 1, 32));
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let base = folder.join("base.safetensors");
    save(
        &base,
        &[doubles("w.weight", &[24, 16], &noise(24, 16, 11)), doubles("v.weight", &[4, 4], &noise(4, 4, 1))],
    );
    let out = folder.join("out");
    let check = |adapter: &Path, base: &Path, expected: &str| {
        check_exit(
            &["adapter", "merge", text(adapter), "--base", text(base), "--out", text(&out)],
            2,
            expected,
        );
        assert!(!out.exists());
        let hidden = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
        assert!(hidden.into_iter().all(|name| !name.to_string_lossy().starts_with(".svdkit")));
    };
    let (a, b) = (noise(4, 16, 21), noise(24, 4, 22));
    let short = adapter(folder, "short", (&a, &noise(20, 4, 22)), &[], &json!({}));
    check(&short, &base, "fit no matrix of the base");
    let strange = [
        doubles("base_model.model.u.lora_A.weight", &[2, 16], &noise(2, 16, 1)),
        doubles("base_model.model.u.lora_B.weight", &[24, 2], &noise(24, 2, 1)),
    ];
    let missing = adapter(folder, "missing", (&a, &b), &strange, &json!({}));
    check(&missing, &base, "`u`");
    let mut bad = b.clone();
    bad[7] = f64::INFINITY;
    let nan = adapter(folder, "nan", (&a, &bad), &[], &json!({}));
    check(&nan, &base, "nothing was written: `w`: ");
    let tokens =
        [doubles("base_model.model.v.token_adapter.trainable_tokens_delta", &[2, 4], &noise(2, 4, 1))];
    let tokens = adapter(folder, "tokens", (&a, &b), &tokens, &json!({}));
    check(&tokens, &base, "cannot be merged");
    let good = adapter(folder, "good", (&a, &b), &[], &json!({}));
    check(&base, &base, "is a checkpoint, not an adapter");
    let whole = folder.join("folder");
    fs::create_dir(&whole).unwrap();
    fs::copy(&base, whole.join("model.safetensors")).unwrap();
    let inside = whole.join("out");
    let arguments = ["adapter", "merge", text(&good), "--base", text(&whole), "--out", text(&inside)];
    check_exit(&arguments, 2, "lies in the model's own folder");
    check(&good, &fixture("formats/gguf/kinds.gguf"), "");
    check(&good, &fixture("formats/torch/model.pt"), "");
}

#[test]
fn an_update_of_zero_leaves_every_bit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let base = folder.join("base.safetensors");
    let mut entries = noise(24, 16, 11);
    entries[3] = -0.0;
    save(&base, &[doubles("w.weight", &[24, 16], &entries)]);
    let zero = adapter(folder, "zero", (&noise(4, 16, 21), &[0.0; 96]), &[], &json!({}));
    let out = folder.join("out");
    let report = json(&["adapter", "merge", text(&zero), "--base", text(&base), "--out", text(&out)]);
    assert_eq!(list(&report, "rows")[0]["changed_share"], json!(0.0));
    assert_eq!(fs::read(&base).unwrap(), fs::read(out.join("base.safetensors")).unwrap());
}
