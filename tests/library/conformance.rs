//! Checkpoints as the packages that wrote them read them: the containers of `fixtures/conformance.py` (gguf, numpy), and
//! the models and adapters of `fixtures/writers.py` (diffusers, transformers, torch, peft, LyCORIS).

use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;
use svdkit::checkpoint::{self, Catalogue, Choice, Opening, Pairs};
use svdkit::layer::Filter;
use svdkit::solver::{Precision, singular_values};

/// The largest difference, as a share of σ₁, from what the reference gives.
const TOLERANCE: f64 = 1e-6;

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"))
}

fn open(path: &str) -> Arc<Catalogue> {
    checkpoint::open(&fixtures().join(path)).unwrap().1
}

fn oracle(name: &str) -> Json {
    let text = std::fs::read_to_string(fixtures().join("oracle").join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn check(path: &str, unnamed: &[&str]) {
    agree(open(path).as_ref(), &oracle("containers.json")["files"][path], path, unnamed);
}

/// Checks every matrix that is `expected`, and that what else can be read is in `unnamed`.
fn agree(source: &Catalogue, expected: &Json, path: &str, unnamed: &[&str]) {
    let expected = expected.as_object().unwrap();
    let layers = source.select(&Filter::default()).layers;
    let mut others: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    others.retain(|name| !expected.contains_key(*name));
    assert_eq!(others, unnamed, "{path}");
    let mut worst = (0.0, String::new());
    for (name, values) in expected {
        let layer =
            layers.iter().find(|layer| layer.name == *name).unwrap_or_else(|| panic!("{path}: no {name}"));
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
            "positions i32 i32 is not a float type",
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
        "flags bool: bool is not a float type",
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

/// The names of matrices are those of tensors without `.weight`.
fn rows(expected: &Json) -> Json {
    let rows = expected.as_object().unwrap().iter();
    rows.map(|(name, values)| (name.strip_suffix(".weight").unwrap_or(name).to_owned(), values.clone()))
        .collect()
}

#[test]
fn models_are_read_as_the_packages_that_saved_them_do() {
    for (file, expected) in oracle("writers.json")["files"].as_object().unwrap() {
        let (path, variant) =
            file.split_once(" --variant ").map_or((&**file, None), |(path, v)| (path, Some(v)));
        let components: &[String] = if variant.is_some() { &["unet".to_owned()] } else { &[] };
        let opening = Opening { choice: Choice { variant, components }, ..Opening::default() };
        let source = checkpoint::open_with(&fixtures().join(path), &opening).unwrap().1;
        agree(source.as_ref(), &rows(expected), file, &[]);
    }
}

#[test]
fn adapters_add_what_the_packages_that_saved_them_add() {
    for (path, expected) in oracle("writers.json")["adapters"].as_object().unwrap() {
        // These say which component they change; the others leave that to whoever loads them.
        let whole = ["writers/diffusers", "writers/kohya.safetensors"].contains(&path.as_str());
        let base = if whole { "writers/pipeline" } else { "writers/pipeline/unet" };
        let base: Arc<Catalogue> = open(base);
        let opening = Opening { base: Some(Arc::clone(&base)), ..Opening::default() };
        let adapter = checkpoint::open_with(&fixtures().join(path), &opening).unwrap().1;
        let pairs = Arc::new(Pairs::new(base, adapter));
        let mut expected = rows(expected);
        if !whole {
            let inside = expected.as_object().unwrap().iter();
            expected = inside.map(|(name, x)| (name.replacen("unet.", "", 1), x.clone())).collect();
        }
        agree(&pairs.difference(), &expected, path, &[]);
    }
}

#[test]
fn an_adapter_of_a_part_that_is_not_named_is_not_guessed_at() {
    let base: Arc<Catalogue> = open("writers/pipeline");
    let opening = Opening { base: Some(Arc::clone(&base)), ..Opening::default() };
    let adapter = checkpoint::open_with(&fixtures().join("writers/peft"), &opening).unwrap().1;
    let pairs = Arc::new(Pairs::new(base, adapter));
    let skipped = pairs.difference().select(&Filter::default()).skipped;
    // Both the UNet and the autoencoder have blocks of these names.
    assert_eq!(skipped.len(), 10);
    assert!(skipped.iter().all(|s| s.tensor.contains(".conv1.") && s.reason.contains("in several ways")));
}
