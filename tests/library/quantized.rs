//! Quantized weights: their spectra are those of the reference packages' own dequantization, and what cannot be read is
//! refused by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use svdkit::checkpoint::{Catalogue, open};
use svdkit::layer::Filter;
use svdkit::solver::{Precision, singular_values};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn source(name: &str) -> std::sync::Arc<Catalogue> {
    open(&fixture(&format!("quantized/{name}"))).unwrap().1
}

/// The singular values of every matrix by name, as svdkit reads it whole and row by row.
fn spectra(source: &Catalogue) -> BTreeMap<String, Vec<f64>> {
    let layers = source.select(&Filter::default()).layers;
    let spectrum = |layer| {
        let whole = source.read(layer, 0..layer.rows).unwrap();
        let rows = (0..layer.rows).map(|row| source.read(layer, row..row + 1).unwrap().bytes().to_vec());
        assert_eq!(whole.bytes(), rows.collect::<Vec<_>>().concat(), "{}", layer.name);
        singular_values(&whole, Precision::Exact).unwrap().values().to_vec()
    };
    layers.iter().map(|layer| (layer.name.to_string(), spectrum(layer))).collect()
}

#[test]
fn spectra_are_those_of_the_reference_packages() {
    let oracle: BTreeMap<String, BTreeMap<String, Vec<f64>>> =
        serde_json::from_slice(&std::fs::read(fixture("oracle/quantized.json")).unwrap()).unwrap();
    let mut worst = (0.0, String::new());
    for (name, expected) in oracle {
        let found = spectra(source(&name).as_ref());
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{name}");
        for (row, values) in expected {
            for (found, expected) in found[&row].iter().zip(&values) {
                let miss = (found - expected).abs() / values[0];
                worst = if miss > worst.0 { (miss, format!("{name}: {row}")) } else { worst };
            }
        }
    }
    assert!(worst.0 < 1e-6, "{worst:?}");
}

/// A pipeline whose components are quantized models, and one that is not.
fn pipeline(quantized: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let names = quantized.iter().chain(&["plain"]);
    let index: BTreeMap<_, _> = names.map(|name| (*name, ["transformers", "Model"])).collect();
    std::fs::write(folder.path().join("model_index.json"), serde_json::to_string(&index).unwrap()).unwrap();
    for name in quantized {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        for file in std::fs::read_dir(fixture(&format!("quantized/{name}"))).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(name).join(file.file_name())).unwrap();
        }
    }
    let identity = vec![0x80, 0x3f, 0, 0, 0, 0, 0x80, 0x3f];
    save(&folder.path().join("plain"), &[("layer.weight", "BF16", &[2, 2], identity)], "{}");
    folder
}

#[test]
fn every_component_of_a_pipeline_is_read_as_its_own_settings_say() {
    let components = ["fp8", "fp8-unconfigured", "integers", "mxfp4", "nvfp4"];
    let folder = pipeline(&components);
    let alone = components.iter().flat_map(|name| {
        let spectra = spectra(source(name).as_ref());
        spectra.into_iter().map(move |(row, values)| (format!("{name}.{row}"), values))
    });
    let plain = [("plain.layer".to_owned(), vec![1.0, 1.0])];
    assert_eq!(spectra(open(folder.path()).unwrap().1.as_ref()), alone.chain(plain).collect());
}

#[test]
fn a_refused_method_of_one_component_leaves_the_others_alone() {
    let folder = pipeline(&["fp8", "refused"]);
    let selection = open(folder.path()).unwrap().1.select(&Filter::default());
    let of = |component| selection.layers.iter().filter(|layer| layer.name.starts_with(component)).count();
    let whole = source("fp8").select(&Filter::default()).layers.len();
    assert_eq!([of("fp8."), of("refused."), of("plain.")], [whole, 1, 1]);
    let gptq = |s: &&std::sync::Arc<svdkit::report::Skipped>| s.reason.contains("quantized with GPTQ");
    let refused: Vec<_> = selection.skipped.iter().filter(gptq).map(|s| s.tensor.as_str()).collect();
    assert_eq!(refused, ["refused.gptq.qweight"]);
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let selection = source("refused").select(&Filter::default());
    assert_eq!(selection.layers.iter().map(|layer| layer.name.as_str()).collect::<Vec<_>>(), ["plain"]);
    let reason = |tensor: &str| {
        let skipped = selection.skipped.iter().find(|skipped| skipped.tensor == tensor);
        skipped.unwrap_or_else(|| panic!("{tensor} is not listed")).reason.clone()
    };
    for (tensor, words) in [
        ("gptq.qweight", "quantized with GPTQ"),
        ("nf4.weight", "quantized with bitsandbytes"),
        ("llm_int8.weight", "quantized with bitsandbytes"),
        ("bare.weight", "its scales are missing"),
        ("mxfp4_blocks", "its scales are missing"),
        ("nvfp4.weight_packed", "its scales are missing"),
        ("int4.weight_packed", "its scales are missing"),
        ("misfit.weight", "do not fit its shape"),
        ("misfit.weight_scale_inv", "scales of a quantized matrix"),
    ] {
        assert!(reason(tensor).contains(words), "{tensor}: {}", reason(tensor));
    }
}

/// Writes a folder with `tensors` (name, type, shape, bytes) and a `config.json`.
fn save(folder: &Path, tensors: &[(&str, &str, &[usize], Vec<u8>)], config: &str) {
    let (mut entries, mut data) = (serde_json::Map::new(), vec![]);
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
        entries.insert((*name).to_owned(), entry);
        data.extend_from_slice(bytes);
    }
    let header = serde_json::Value::Object(entries).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
    std::fs::write(folder.join("config.json"), config).unwrap();
}

/// Opens such a folder.
fn made(
    tensors: &[(&str, &str, &[usize], Vec<u8>)],
    config: &str,
) -> (tempfile::TempDir, Result<std::sync::Arc<Catalogue>, String>) {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), tensors, config);
    let opened = open(folder.path()).map(|(_, source)| source).map_err(|error| error.to_string());
    (folder, opened)
}

fn words(numbers: &[i64]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

#[test]
fn shapes_that_lie_are_refused_before_anything_is_allocated() {
    for shape in [[1 << 40, 1 << 40], [2, 1 << 62], [-1, 8], [3, 8], [2, 800], [0, 8]] {
        let (_folder, source) = made(
            &[
                ("a.weight_packed", "I32", &[2, 1], vec![0; 8]),
                ("a.weight_scale", "F32", &[2, 1], vec![0; 8]),
                ("a.weight_shape", "I64", &[2], words(&shape)),
            ],
            "{}",
        );
        let selection = source.unwrap().select(&Filter::default());
        assert!(selection.layers.is_empty() && selection.skipped.len() == 3, "{shape:?}: {selection:?}");
    }
}

#[test]
fn a_group_that_is_not_there_is_an_error_that_names_the_tensor() {
    let order = [0i32, 0, 1, 1, 0, 0, 7, 1].iter().flat_map(|n| n.to_le_bytes()).collect();
    let (_folder, source) = made(
        &[
            ("a.weight_packed", "I32", &[2, 1], vec![0; 8]),
            ("a.weight_scale", "F32", &[2, 2], vec![0; 16]),
            ("a.weight_shape", "I64", &[2], words(&[2, 8])),
            ("a.weight_g_idx", "I32", &[8], order),
        ],
        "{}",
    );
    let source = source.unwrap();
    let layer = source.select(&Filter::default()).layers.remove(0);
    let error = source.read(&layer, 0..2).unwrap_err().to_string();
    assert!(error.contains("tensor `a.weight_g_idx`: names group 7 of 2"), "{error}");
}

#[test]
fn a_damaged_configuration_is_an_error_and_a_strange_one_is_not() {
    let weight = [("a.weight", "F8_E4M3", &[2, 4][..], vec![0x38; 8])];
    let (_folder, source) = made(&weight, "{\"model_type\": ");
    let error = source.map(|_| ()).unwrap_err();
    assert!(error.contains("config.json: is not valid JSON"), "{error}");
    for config in [
        "[]",
        "{\"quantization_config\": null}",
        "{\"model_type\": 7, \"hidden_size\": \"x\", \"text_config\": []}",
    ] {
        let (_folder, source) = made(&weight, config);
        assert_eq!(source.unwrap().select(&Filter::default()).layers.len(), 1, "{config}");
    }
    let scaled = [weight[0].clone(), ("a.weight_scale_inv", "F32", &[1, 2][..], vec![0; 8])];
    for block in ["[0, 0]", "[-1, 2]", "[1e300, 2]", "[128]", "\"x\""] {
        let config = format!("{{\"quantization_config\": {{\"weight_block_size\": {block}}}}}");
        let (_folder, source) = made(&scaled, &config);
        assert_eq!(source.unwrap().select(&Filter::default()).skipped.len(), 2, "{block}");
    }
}
