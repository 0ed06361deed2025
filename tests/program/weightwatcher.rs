//! `--names weightwatcher` as notebooks meet it: its words beside the numbers, and a fit that rounding decides.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::harness::stdout;

fn rows(path: &str) -> Vec<Value> {
    let text = stdout(&["spectrum", path, "--names", "weightwatcher", "--format", "json"]);
    let mut report: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(report["rows"].take()).unwrap()
}

/// A checkpoint of f64 tensors.
fn save(path: &Path, tensors: &[(String, Vec<usize>, Vec<f64>)]) -> String {
    let (mut header, mut data) = (Map::new(), vec![]);
    for (name, shape, entries) in tensors {
        let start = data.len();
        data.extend(entries.iter().flat_map(|x| x.to_le_bytes()));
        let info = json!({"dtype": "F64", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), info);
    }
    let header = Value::Object(header).to_string().into_bytes();
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_row_has_the_words_of_weightwatchers_table() {
    let folder = tempfile::tempdir().unwrap();
    let entries = |n: usize| (0..n).map(|i| ((i * 7 + 3) % 11) as f64 - 5.0).collect::<Vec<f64>>();
    let broken = std::iter::once(f64::NAN).chain(entries(19)).collect();
    let path = save(
        &folder.path().join("model.safetensors"),
        &[
            ("blocks.0.fc.weight".to_owned(), vec![5, 4], entries(20)),
            ("blocks.0.conv.weight".to_owned(), vec![4, 3, 2, 2], entries(48)),
            ("blocks.0.broken.weight".to_owned(), vec![5, 4], broken),
        ],
    );
    let found: Vec<[Value; 3]> = rows(&path)
        .iter()
        .map(|row| ["longname", "layer_type", "has_esd"].map(|key| row[key].clone()))
        .collect();
    let expected = [
        ("blocks.0.broken", "dense", false),
        ("blocks.0.conv", "conv2d", true),
        ("blocks.0.fc", "dense", true),
    ];
    for (found, (name, kind, esd)) in found.iter().zip(expected) {
        assert_eq!(found, &[json!(name), json!(kind), json!(esd)]);
    }
    let csv = stdout(&["spectrum", &path, "--names", "weightwatcher", "--format", "csv"]);
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let at = lines[0].iter().position(|name| *name == "longname").unwrap();
    assert_eq!(lines[0][at..at + 5], ["longname", "layer_type", "has_esd", "warning", "layer_id"]);
    assert_eq!(lines[3][at..at + 3], ["blocks.0.fc", "dense", "true"]);
    assert!(lines.iter().all(|line| line.len() == lines[0].len()));
    for plain in
        [stdout(&["spectrum", &path, "--format", "csv"]), stdout(&["spectrum", &path, "--format", "json"])]
    {
        assert!(!plain.contains("longname") && !plain.contains("has_esd"));
    }
}

/// Rows and columns turned by a small rotation: the same singular values but for rounding.
fn turned((rows, cols): (usize, usize), entries: &[f64], angle: f64) -> Vec<f64> {
    let (sin, cos) = angle.sin_cos();
    let mut turned = entries.to_vec();
    for j in 0..cols {
        let (a, b) = (turned[j], turned[(rows - 1) * cols + j]);
        (turned[j], turned[(rows - 1) * cols + j]) = (cos * a - sin * b, sin * a + cos * b);
    }
    for row in turned.chunks_exact_mut(cols) {
        let (a, b) = (row[0], row[cols - 1]);
        (row[0], row[cols - 1]) = (cos * a + sin * b, cos * b - sin * a);
    }
    turned
}

/// Whether a row says that rounding decides its fitted bulk.
fn is_by_rounding(row: &Value) -> bool {
    row["flags"].as_array().into_iter().flatten().any(|flag| flag["code"] == "bulk_by_rounding")
}

#[test]
fn a_bulk_that_rounding_decides_is_flagged() {
    let folder = tempfile::tempdir().unwrap();
    let shape = (6, 3);
    // λ = 6, 2, 1, whose parts of the density are equally high.
    let mut plain = vec![0.0; 18];
    (plain[0], plain[7], plain[14]) = (6f64.sqrt(), 2f64.sqrt(), 1.0);
    let tensors: Vec<_> = (0..24)
        .map(|i| (format!("w.{i}.weight"), vec![6, 3], turned(shape, &plain, f64::from(i) * 0.26)))
        .collect();
    let found = rows(&save(&folder.path().join("turned.safetensors"), &tensors));
    let spikes: BTreeSet<u64> = found.iter().map(|row| row["num_spikes"].as_u64().unwrap()).collect();
    assert!(spikes.len() > 1, "the same matrix, turned, has one answer");
    let norms = found.iter().map(|row| row["norm"].as_f64().unwrap());
    assert!(norms.into_iter().all(|norm| (norm - 9.0).abs() < 1e-13));
    for row in &found {
        assert!(is_by_rounding(row), "{}: {}", row["name"], row["flags"]);
    }
    // One that is not, however it is turned.
    (plain[0], plain[7], plain[14]) = (3.0, 1.7, 1.0);
    let tensors: Vec<_> = (0..8)
        .map(|i| (format!("w.{i}.weight"), vec![6, 3], turned(shape, &plain, f64::from(i) * 0.26)))
        .collect();
    for row in rows(&save(&folder.path().join("steady.safetensors"), &tensors)) {
        assert!(!is_by_rounding(&row), "{}: {}", row["name"], row["flags"]);
    }
}
