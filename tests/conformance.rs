//! Containers as the formats' own packages read them: `fixtures/conformance.py` wrote the files with gguf 0.19.0 and
//! numpy 2.4.6, and the singular values of what those packages read back.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::Path;

use serde_json::Value as Json;
use svdkit::checkpoint::{self, MatrixSource};
use svdkit::layer::Filter;
use svdkit::linalg::{Precision, singular_values};

/// The largest difference, as a share of σ₁, from what the reference gives.
const TOLERANCE: f64 = 1e-6;

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"))
}

fn open(path: &str) -> Box<dyn MatrixSource> {
    checkpoint::open(&fixtures().join(path)).unwrap().1
}

/// Checks every matrix that the oracle names in the file, and that what else can be read is in `unnamed`.
#[track_caller]
fn check(path: &str, unnamed: &[&str]) {
    let text = std::fs::read_to_string(fixtures().join("oracle/containers.json")).unwrap();
    let oracle: Json = serde_json::from_str(&text).unwrap();
    let expected = oracle["files"][path].as_object().unwrap();
    let source = open(path);
    let layers = source.select(&Filter::default()).layers;
    let mut others: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    others.retain(|name| !expected.contains_key(*name));
    assert_eq!(others, unnamed);
    let mut worst = (0.0, String::new());
    for (name, values) in expected {
        let layer = layers.iter().find(|layer| layer.name == *name).unwrap_or_else(|| panic!("no {name}"));
        let whole = source.read(layer, 0..layer.rows).unwrap();
        let found = singular_values(&whole, Precision::Exact).unwrap();
        let values: Vec<f64> = values.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        assert_eq!(found.values().len(), values.len(), "{name}");
        for (found, expected) in found.values().iter().zip(&values) {
            let difference = (found - expected).abs() / values[0];
            if difference > worst.0 {
                worst = (difference, format!("{name}: {found}, reference {expected}"));
            }
        }
        let halves = [0..layer.rows / 2, layer.rows / 2..layer.rows];
        let parts = halves.map(|rows| source.read(layer, rows).unwrap().to_f64());
        assert_eq!(parts.concat(), whole.to_f64(), "{name} read in two parts");
    }
    assert!(worst.0 < TOLERANCE, "{path}: {} (off by {:.1e})", worst.1, worst.0);
}

#[test]
fn every_gguf_type_is_decoded_as_the_reference_does() {
    check("formats/gguf/kinds.gguf", &[]);
}

#[test]
fn gguf_pieces_are_one_model_whichever_is_named() {
    check("formats/gguf/split", &[]);
    let whole = open("formats/gguf/split");
    let named = open("formats/gguf/split/tiny-00002-of-00003.gguf");
    assert_eq!(whole.tensors(), named.tensors());
    assert_eq!(named.files().len(), 3);
}

#[test]
fn gguf_tensors_that_cannot_be_decoded_are_listed_by_their_type() {
    let source = open("formats/gguf/kinds.gguf");
    let skipped = source.select(&Filter::default()).skipped;
    let lines: Vec<_> = skipped.iter().map(|s| format!("{} {} {}", s.tensor, s.dtype, s.reason)).collect();
    assert_eq!(
        lines,
        [
            "blk.0.iq4_xs.weight IQ4_XS blocks of IQ4_XS are not decoded",
            "blk.0.mxfp4.weight MXFP4 blocks of MXFP4 are not decoded",
            "output_norm.weight f32 1-D",
            "positions i32 i32 is no floating-point weight",
        ]
    );
    assert!(source.notes()[0].contains("llama-quantize --allow-requantize"), "{:?}", source.notes());
}

#[test]
fn arrays_are_read_as_numpy_reads_them() {
    check("formats/numpy/arrays.npz", &["cube[0]", "cube[1]"]);
    check("formats/numpy/columns.npy", &[]);
}

#[test]
fn arrays_that_are_no_weights_are_listed_with_a_reason() {
    let skipped = open("formats/numpy/arrays.npz").select(&Filter::default()).skipped;
    let lines: Vec<_> = skipped.iter().map(|s| format!("{} {}: {}", s.tensor, s.dtype, s.reason)).collect();
    let starts = [
        "bias f32: 1-D",
        "big >f4: is stored in big-endian order",
        "empty f32: empty",
        "fields fields: has named fields",
        "flags bool: bool is no floating-point weight",
        "int8 i8: i8 is no",
        "scalar f32: a single number",
        "void V2: is of a type that NumPy does not know",
        "words U2: U2 is no",
    ];
    assert!(
        lines.len() == starts.len() && lines.iter().zip(starts).all(|(a, b)| a.starts_with(b)),
        "{lines:#?}"
    );
    let objects = open("formats/numpy/objects.npz").select(&Filter::default());
    assert_eq!(objects.skipped[0].reason, "holds Python objects, which are never loaded");
    assert_eq!(objects.layers.len(), 1);
}
