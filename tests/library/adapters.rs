//! Adapters through the library's front door: the updates they hold, against dense products in f64 (every spelling of
//! `fixtures/dialects`) and against the weights that PEFT merged (`fixtures/charlm`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use svdkit::analysis::spectrum::measure;
use svdkit::checkpoint::{self, Catalogue, Opening, Pairs};
use svdkit::layer::{Filter, Layer};
use svdkit::metric::METRICS;
use svdkit::pair::Pair;
use svdkit::report::{Flag, Measurements};
use svdkit::solver::{NoMemo, Precision, singular_values};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

fn oracle(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixture("oracle").join(name)).unwrap()).unwrap()
}

fn open(path: &str, base: Option<&Arc<Catalogue>>) -> Arc<Catalogue> {
    let opening = Opening { base: base.cloned(), ..Opening::default() };
    checkpoint::open_with(&fixture(path), &opening).unwrap().1
}

fn layers(source: &Catalogue) -> Vec<Arc<Layer>> {
    source.select(&Filter::default()).layers
}

/// The singular values of a layer, by the route it takes and once more from its rows, read in three parts.
fn spectra(source: &Catalogue, layer: &Layer) -> [Vec<f64>; 2] {
    let found = measure(source, layer, Precision::Exact, METRICS, &NoMemo).unwrap();
    let cuts = [0, layer.rows / 3, layer.rows * 2 / 3, layer.rows];
    let parts = cuts.windows(2).map(|cut| source.read(layer, cut[0]..cut[1]).unwrap().to_f64());
    let entries: Vec<f64> = parts.flatten().collect();
    let dense = svdkit::matrix::Matrix::from_f64(layer.rows, layer.cols, &entries).unwrap();
    let dense = singular_values(&dense, Precision::Exact).unwrap();
    [found.spectrum.unwrap().values().to_vec(), dense.values().to_vec()]
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert!(found.len() >= expected.len(), "{what}");
    for (i, (found, expected_one)) in found.iter().zip(expected).enumerate() {
        let miss = (found - expected_one).abs();
        assert!(miss <= tolerance * expected[0], "{what}: σ{} = {found:e}, not {expected_one:e}", i + 1);
    }
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn updates_in_every_spelling_have_the_spectra_of_their_dense_products() {
    let base = open("dialects/base", None);
    for (name, case) in oracle("dialects.json").as_object().unwrap() {
        let with = case["base"].as_bool().unwrap().then_some(&base);
        let adapter = open(&format!("dialects/{}", case["path"].as_str().unwrap()), with);
        let source: Arc<Catalogue> = match with {
            Some(base) => Arc::new(Pairs::new(Arc::clone(base), adapter).difference()),
            None => adapter,
        };
        let selection = source.select(&Filter::default());
        let expected = case["rows"].as_object().unwrap();
        let names: Vec<&str> = selection.layers.iter().map(|layer| layer.name.as_str()).collect();
        let mut wanted: Vec<&str> = expected.keys().map(String::as_str).collect();
        wanted.sort_by(|a, b| svdkit::layer::natural(a, b));
        let mut found = names.clone();
        found.sort_by(|a, b| svdkit::layer::natural(a, b));
        assert_eq!(found, wanted, "{name}: {:?}", selection.skipped);
        for layer in &selection.layers {
            let row = &expected[layer.name.as_str()];
            assert_eq!(
                numbers(&row["shape"]),
                [layer.rows as f64, layer.cols as f64],
                "{name} {}",
                layer.name
            );
            for found in spectra(source.as_ref(), layer) {
                let what = format!("{name} {}", layer.name);
                close(&found, &numbers(&row["singular_values"]), 1e-10, &what);
            }
        }
        let reasons: std::collections::BTreeSet<&str> =
            selection.skipped.iter().map(|skipped| skipped.reason.as_str()).collect();
        let stated = case["skipped"].as_array().unwrap().iter().map(|reason| reason.as_str().unwrap());
        assert_eq!(reasons, stated.collect(), "{name}");
    }
}

/// The bundled adapters, each with how many of its factors' directions a query projection has.
const ADAPTERS: [&str; 6] = ["lora-r1", "lora-r4", "lora-r16", "rslora-r16", "dora-r4", "pattern"];

#[test]
fn base_and_update_have_the_spectrum_of_the_weight_that_peft_merged() {
    let oracle = oracle("intruders_charlm.json");
    let base = open("charlm/base", None);
    for name in ADAPTERS.iter().chain(&["full"]) {
        let tuned = open(&format!("charlm/{name}"), Some(&base));
        let pairs = Arc::new(Pairs::new(Arc::clone(&base), tuned));
        let (merged, delta) = (pairs.merged(), pairs.difference());
        let all = layers(&merged);
        let rows = oracle["fine_tunes"][name]["rows"].as_object().unwrap();
        let mut seen = 0;
        for delta_layer in &layers(&delta) {
            let name_of_base = &pairs.get(&delta_layer.name).unwrap().base.name;
            let tuned_layer = all.iter().find(|layer| layer.name == *name_of_base).unwrap();
            let Some(row) = rows.get(&format!("{}.weight", tuned_layer.name)) else { continue };
            seen += 1;
            let what = format!("{name} {}", tuned_layer.name);
            let whole = measure(&merged, tuned_layer, Precision::Exact, METRICS, &NoMemo).unwrap();
            close(whole.spectrum.unwrap().values(), &numbers(&row["sigma"]), 1e-9, &what);
            let change = measure(&delta, delta_layer, Precision::Exact, METRICS, &NoMemo).unwrap().values;
            let weight = measure(
                base.as_ref(),
                &pairs.get(&delta_layer.name).unwrap().base,
                Precision::Exact,
                METRICS,
                &NoMemo,
            );
            let weight = weight.unwrap().values;
            let number = |values: &Measurements, key| values.get(key).unwrap().number().unwrap();
            let ratio = |key| number(&change, key) / number(&weight, key);
            let expected = |key: &str| row[key].as_f64().unwrap();
            for (found, expected) in [
                (ratio("spectral_norm"), expected("delta_sigma1_ratio")),
                (ratio("frobenius_norm"), expected("delta_fro_ratio")),
                (number(&change, "effective_rank"), expected("delta_effective_rank")),
            ] {
                assert!((found / expected - 1.0).abs() < 1e-9, "{what}: {found}, not {expected}");
            }
        }
        assert_eq!(seen, rows.len(), "{name}");
    }
}

#[test]
fn an_adapter_folder_lists_its_updates() {
    let source = open("charlm/pattern", None);
    let layers = layers(source.as_ref());
    assert_eq!(layers.len(), 28);
    let down = layers.iter().find(|layer| layer.name == "model.layers.0.mlp.down_proj").unwrap();
    assert_eq!((down.rows, down.cols, down.rank), (128, 352, Some(2)));
    let update = source.update(down).unwrap();
    assert_eq!((&*update.kind, update.scale, update.tensors.len()), ("lora", Some(4.0), 2));
    let query = layers.iter().find(|layer| layer.name.ends_with("1.self_attn.q_proj")).unwrap();
    assert_eq!(source.update(query).unwrap().scale, Some(4.0));
}

#[test]
fn the_weights_alone_need_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("lora.safetensors");
    std::fs::copy(fixture("charlm/rslora-r16/adapter_model.safetensors"), &weights).unwrap();
    let message = checkpoint::open(&weights).err().unwrap().to_string();
    assert!(message.contains("--adapter-config FILE"), "{message}");
    let config = fixture("charlm/rslora-r16/adapter_config.json");
    let opening = Opening { adapter_config: Some(&config), ..Opening::default() };
    let source = checkpoint::open_with(&weights, &opening).unwrap().1;
    assert_eq!(source.update(&layers(source.as_ref())[0]).unwrap().scale, Some(4.0));
}

/// Writes an adapter of a `part` of a pipeline as Diffusers does, with `settings` in the header.
fn diffusers(path: &Path, part: &str, settings: &str) {
    let bytes = std::fs::read(fixture("dialects/diffusers.safetensors")).unwrap();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..end]).unwrap().replace("unet.", &format!("{part}."));
    let metadata = serde_json::json!({ "lora_adapter_metadata": settings });
    let header = header.replacen('{', &format!("{{\"__metadata__\": {metadata}, "), 1);
    let mut written = (header.len() as u64).to_le_bytes().to_vec();
    written.extend(header.bytes());
    written.extend(&bytes[end..]);
    std::fs::write(path, written).unwrap();
}

/// The scales of its linear layers.
fn scales(source: &Catalogue) -> Vec<f64> {
    let layers = layers(source);
    let linear = layers.iter().filter(|layer| !layer.name.contains("conv"));
    linear.filter_map(|layer| source.update(layer)?.scale).collect()
}

#[test]
fn each_file_of_a_folder_has_its_own_settings() {
    let folder = tempfile::tempdir().unwrap();
    let write =
        |part: &str, settings| diffusers(&folder.path().join(format!("{part}.safetensors")), part, settings);
    write("text_encoder", r#"{"text_encoder.lora_alpha": 400}"#);
    write("unet", r#"{"unet.lora_alpha": 6}"#);
    let source = checkpoint::open(folder.path()).unwrap().1;
    assert_eq!(scales(source.as_ref()), [400.0, 200.0, 6.0, 3.0]);
    write("unet", r#"{"unet.lora_alpha": 6, "text_encoder.lora_alpha": 5}"#);
    let message = checkpoint::open(folder.path()).err().unwrap().to_string();
    assert!(message.contains("gives `text_encoder` other settings in another file"), "{message}");
}

#[test]
fn whole_numbers_scale_an_adapter_in_a_torch_file_too() {
    assert_eq!(scales(open("formats/torch/adapter.pt", None).as_ref()), [2.0, 4.0]);
}

#[test]
fn settings_in_the_header_scale_what_diffusers_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    for (settings, expected) in [
        (r#"{"unet.r": 2, "unet.lora_alpha": 6, "unet.alpha_pattern": {"to_q": 8}}"#, Ok([6.0, 4.0])),
        (r#"{"unet.lora_alpha": 6, "text_encoder.lora_alpha": 99, "by": "me"}"#, Ok([6.0, 3.0])),
        // Settings of another part, and such that do not say how anything is scaled.
        (r#"{"text_encoder.lora_alpha": 40}"#, Ok([1.0, 1.0])),
        (r#"{"unet.r": 2, "unet": {"lora_alpha": 6}}"#, Ok([1.0, 1.0])),
        (r#"{"unet.lora_alpha": "much"}"#, Err("header is no valid adapter configuration: invalid type")),
        ("[]", Err("header is not valid: invalid type")),
    ] {
        diffusers(&path, "unet", settings);
        match (checkpoint::open(&path), expected) {
            (Ok((_, source)), Ok(expected)) => assert_eq!(scales(source.as_ref()), expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (found, _) => panic!("{settings}: {}", found.is_ok()),
        }
    }
}

#[test]
fn what_needs_the_base_says_so_without_it() {
    for (path, reason) in [
        ("charlm/dora-r4", "DoRA rescales the weight it is added to; give `--base "),
        ("dialects/parts", "a whole weight, saved with the adapter; give `--base`"),
    ] {
        let skipped = open(path, None).select(&Filter::default()).skipped;
        assert!(skipped.iter().any(|skipped| skipped.reason.starts_with(reason)), "{path}: {skipped:?}");
    }
}

#[test]
fn an_update_to_a_moved_base_is_none_to_the_original() {
    let base = open("dialects/base", None);
    let opening = Opening { base: Some(base), ..Opening::default() };
    let message = checkpoint::open_with(&fixture("dialects/kasa"), &opening).err().unwrap().to_string();
    assert!(message.contains("`kasa` took a part out of the base before training"), "{message}");
    let source = open("dialects/kasa", None);
    assert_eq!(source.update(&layers(source.as_ref())[0]).unwrap().flags, [Flag::MovedBase]);
}

#[test]
fn less_its_beginning_an_adapter_is_an_update_to_the_original_weights() {
    let (base, before) = (open("charlm/base", None), fixture("charlm/lora-r4"));
    for base in [None, Some(base)] {
        let opening = Opening { adapter_init: Some(&before), base, ..Opening::default() };
        let since = checkpoint::open_with(&fixture("charlm/lora-r16"), &opening).unwrap().1;
        let [now, before] = ["charlm/lora-r16", "charlm/lora-r4"].map(|path| open(path, None));
        for layer in layers(since.as_ref()).iter().take(7) {
            assert_eq!(layer.rank, Some(20), "{}", layer.name);
            let [by_factors, by_rows] = spectra(since.as_ref(), layer);
            close(&by_factors, &by_rows, 1e-13, &layer.name);
            let read = |source: &Arc<Catalogue>| source.read(layer, 2..3).unwrap().to_f64();
            let differences: Vec<f64> = read(&now).iter().zip(read(&before)).map(|(x, y)| x - y).collect();
            assert_eq!(since.read(layer, 2..3).unwrap().to_f64(), differences);
        }
    }
    let other = fixture("dialects/gpt2");
    let opening = Opening { adapter_init: Some(&other), ..Opening::default() };
    let message = checkpoint::open_with(&fixture("charlm/lora-r16"), &opening).err().unwrap().to_string();
    let expected = "gpt2: has no update of `model.layers.0.mlp.down_proj` (128 × 352)";
    assert!(message.contains(expected), "{message}");
    let opening = Opening { adapter_init: Some(&before), ..Opening::default() };
    let message = checkpoint::open_with(&fixture("dialects/kasa"), &opening).err().unwrap().to_string();
    assert!(message.contains("give the base itself with `--base`"), "{message}");
}

#[test]
fn a_copy_that_only_the_tuned_side_stores_is_paired_with_its_original() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let paired = |renamed: &[(&str, &str)]| {
        let mut bytes = std::fs::read(fixture("formats/tied.safetensors")).unwrap();
        for (from, to) in renamed {
            let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        }
        std::fs::write(&path, bytes).unwrap();
        let base: Arc<Catalogue> = checkpoint::open(&path).unwrap().1;
        let pairs = Pairs::new(base, open("formats/tied.safetensors", None));
        let both = |pair: &Pair| format!("{}={}", pair.base.name, pair.tuned.name);
        (pairs.paired().iter().map(both).collect::<Vec<_>>(), pairs.unpaired().len())
    };
    let names = ["embed=embed", "embed=head", "near=near", "zero_a=zero_a", "zero_b=zero_b"];
    assert_eq!(paired(&[("head", "misc")]), (names.map(str::to_owned).to_vec(), 1));
    // Its name could be either of two; its bytes say what it is.
    let (names, _) = paired(&[("head", "misc"), ("zero_a", "a.head"), ("zero_b", "b.head")]);
    assert_eq!(names, ["embed=embed", "embed=head", "near=near"]);
}

#[test]
fn updates_that_were_never_trained_are_not_copies_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    let header = json!({
        "lora_unet_a.lora_down.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "lora_unet_a.lora_up.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [16, 32]},
        "lora_unet_b.lora_down.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [32, 48]},
        "lora_unet_b.lora_up.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [48, 64]},
    });
    let header = header.to_string();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 64]].concat();
    std::fs::write(&path, bytes).unwrap();
    let source = checkpoint::open(&path).unwrap().1;
    assert_eq!(checkpoint::tied(source.as_ref(), &layers(source.as_ref())), [None, None]);
}
