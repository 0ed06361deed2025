//! Matrices of few distinct singular values through the binary: the rank is the true one, and no value is invented.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::harness::program;

fn svdkit(arguments: &[&str]) -> Value {
    let output = program().args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A checkpoint of one f32 matrix.
fn checkpoint(path: &Path, (rows, cols): (usize, usize), entry: impl Fn(usize, usize) -> f32) {
    let header = serde_json::json!({
        "w": {"dtype": "F32", "shape": [rows, cols], "data_offsets": [0, 4 * rows * cols]}
    });
    let header = serde_json::to_vec(&header).unwrap();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend((0..rows * cols).flat_map(|i| entry(i / cols, i % cols).to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

fn hadamard(i: usize, j: usize) -> f32 {
    if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 }
}

/// A matrix of this rank whose values are all the same but for zeros, by either route.
#[track_caller]
fn check(shape: (usize, usize), rank: usize, value: f64, entry: impl Fn(usize, usize) -> f32) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let spectra = folder.path().join("spectra.safetensors");
    checkpoint(&path, shape, entry);
    let (model, saved) = (path.to_str().unwrap(), spectra.to_str().unwrap());
    for precision in ["fast", "exact"] {
        let _ = fs::remove_file(&spectra);
        let report = svdkit(&[
            "spectrum",
            model,
            "--format",
            "json",
            "--precision",
            precision,
            "--singular-values",
            saved,
        ]);
        let row = &report["rows"][0];
        assert_eq!(row["numerical_rank"], rank, "{precision}: {row}");
        assert_eq!(row["below_floor_count"], shape.0.min(shape.1) - rank, "{precision}: {row}");
        let floor = row["accuracy_floor"].as_f64().unwrap();
        let bytes = fs::read(&spectra).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let values = file.tensor("w").unwrap().data().as_chunks().0.iter().map(|x| f64::from_le_bytes(*x));
        for (i, found) in values.enumerate() {
            let expected = if i < rank { value } else { 0.0 };
            assert!(
                (found - expected).abs() <= floor,
                "{precision}: σ{} is {found:e}, floor {floor:e}",
                i + 1
            );
        }
    }
}

#[test]
fn a_hadamard_matrix_of_doubled_entries_has_half_its_rank() {
    let value = 2.0 * 128f64.sqrt();
    check((256, 256), 128, value, |i, j| hadamard(i / 2, j / 2));
    // In another order, and as a long weight.
    check((256, 256), 128, value, |i, j| hadamard(i % 128, j % 128));
    check((512, 128), 128, value, |i, j| hadamard(i / 4, j));
    check((300, 300), 50, 6.0, |i, j| f32::from(u8::from(i / 6 == j / 6)));
}
