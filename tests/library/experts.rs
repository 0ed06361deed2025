//! Fused tensors: one mixture of experts gives the same rows, names and numbers in whatever layout it was saved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use svdkit::checkpoint::{Catalogue, Opening, QueriesKeysValues, open_with};
use svdkit::layer::{Filter, Layer, Part};
use svdkit::pair::canonical;
use svdkit::solver::{Precision, singular_values};

type Spectra = BTreeMap<String, Vec<f64>>;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn source(name: &str, attention: QueriesKeysValues) -> Arc<Catalogue> {
    let opening = Opening { attention, ..Opening::default() };
    open_with(&fixture(&format!("experts/{name}")), &opening).unwrap().1
}

fn oracle(name: &str) -> Spectra {
    let all = std::fs::read(fixture("oracle/experts.json")).unwrap();
    serde_json::from_slice::<BTreeMap<String, Spectra>>(&all).unwrap().remove(name).unwrap()
}

fn layers(source: &Catalogue) -> Vec<Arc<Layer>> {
    source.select(&Filter::default()).layers
}

/// Checks names, shapes and numbers, and that rows read one by one are those read at once.
fn check(source: &Catalogue, expected: &Spectra, name: impl Fn(&Layer) -> String) {
    let layers = layers(source);
    let names: BTreeSet<String> = layers.iter().map(|layer| name(layer)).collect();
    assert_eq!(names, expected.keys().cloned().collect());
    for layer in &layers {
        let whole = source.read(layer, 0..layer.rows).unwrap();
        assert_eq!((whole.rows(), whole.cols()), (layer.rows, layer.cols));
        let rows = (0..layer.rows).map(|row| source.read(layer, row..row + 1).unwrap().bytes().to_vec());
        assert_eq!(whole.bytes(), rows.collect::<Vec<_>>().concat(), "{}", layer.name);
        let found = singular_values(&whole, Precision::Exact).unwrap();
        for (found, expected) in found.values().iter().zip(&expected[&name(layer)]) {
            assert!((found - expected).abs() < 1e-12 * expected.max(1.0), "{}", layer.name);
        }
    }
}

#[test]
fn experts_are_the_same_in_every_layout() {
    let expected = oracle("experts");
    let reference = source("apart", QueriesKeysValues::Together);
    for layout in ["apart", "mixtral", "fused", "turned", "interleaved", "flat", "gguf-names"] {
        let source = source(layout, QueriesKeysValues::Together);
        check(source.as_ref(), &expected, |layer| canonical(&layer.name));
        let by_name = |source: &Catalogue| -> BTreeMap<String, (usize, usize, Vec<u8>)> {
            let read = |layer: &Layer| source.read(layer, 0..layer.rows).unwrap().bytes().to_vec();
            let all = layers(source);
            all.iter().map(|layer| (canonical(&layer.name), (layer.rows, layer.cols, read(layer)))).collect()
        };
        assert_eq!(by_name(source.as_ref()), by_name(reference.as_ref()), "{layout}");
    }
}

#[test]
fn parts_of_fused_tensors_have_canonical_names() {
    for layout in ["fused", "turned", "interleaved", "flat"] {
        let names = layers(source(layout, QueriesKeysValues::Together).as_ref());
        let names: Vec<String> = names.iter().map(|layer| layer.name.to_string()).collect();
        assert_eq!(names, oracle("experts").into_keys().collect::<Vec<_>>(), "{layout}");
    }
}

#[test]
fn what_no_table_knows_is_left_as_stored_and_says_so() {
    for layout in ["unknown", "contradicted"] {
        let layers = layers(source(layout, QueriesKeysValues::Together).as_ref());
        assert_eq!(layers.len(), 12);
        assert!(layers.iter().all(|layer| matches!(layer.part, Part::Slice(_)) && layer.flag().is_some()));
    }
}

#[test]
fn biases_of_experts_are_no_matrices() {
    let skipped = source("interleaved", QueriesKeysValues::Together).select(&Filter::default()).skipped;
    assert_eq!(
        skipped.iter().map(|tensor| tensor.reason.as_str()).collect::<Vec<_>>(),
        ["biases of experts"]
    );
}

#[test]
fn queries_keys_and_values_are_split_where_that_is_known() {
    for model in ["gpt2", "gpt_neox", "bloom", "phi3", "mpt"] {
        assert_eq!(layers(source(model, QueriesKeysValues::Together).as_ref()).len(), 1);
        let source = source(model, QueriesKeysValues::Split);
        let expected = oracle(model);
        check(source.as_ref(), &expected, |layer| layer.name.to_string());
    }
}

#[test]
fn a_stack_that_is_not_cut_is_read_whole_by_adapters() {
    let fused = source("fused", QueriesKeysValues::Together);
    let stored = layers(fused.fused().unwrap().as_ref());
    assert_eq!(stored[0].name, "model.layers.0.mlp.experts.down_proj[0]");
}
