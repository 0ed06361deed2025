//! Quantized weights: their spectra are those of the reference packages' own dequantization, and what cannot be read is
//! refused by name.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use svdkit::checkpoint::{MatrixSource, open};
use svdkit::layer::Filter;
use svdkit::linalg::{Precision, singular_values};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn source(name: &str) -> Box<dyn MatrixSource> {
    open(&fixture(&format!("quantized/{name}"))).unwrap().1
}

/// The singular values of every matrix by name, as svdkit reads it whole and row by row.
fn spectra(source: &dyn MatrixSource) -> BTreeMap<String, Vec<f64>> {
    let layers = source.select(&Filter::default()).layers;
    let spectrum = |layer| {
        let whole = source.read(layer, 0..layer.rows).unwrap();
        let rows = (0..layer.rows).map(|row| source.read(layer, row..row + 1).unwrap().bytes().to_vec());
        assert_eq!(whole.bytes(), rows.collect::<Vec<_>>().concat(), "{}", layer.name);
        singular_values(&whole, Precision::Exact).unwrap().values().to_vec()
    };
    layers.iter().map(|layer| (layer.name.clone(), spectrum(layer))).collect()
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
