//! Weighted cuts against numpy: FWSVD's one-sided and two-sided weights, in three norms.

use std::path::Path;

use serde_json::Value as Json;
use svdkit::matrix::Matrix;
use svdkit::solver::{Chosen, Cut, Operator, Weighting, cut};

/// A matrix of the golden values' generator.
fn noise(rows: usize, cols: usize, seed: u32) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    (0..rows * cols).map(|_| next()).collect()
}

/// `W − X` of a cut.
fn rest(weight: &[f64], Cut { left, values, right, .. }: &Cut) -> Vec<f64> {
    let cols = right.length();
    let entry = |(at, w): (usize, &f64)| {
        let term = |k: usize| values[k] * left.column(k)[at / cols] * right.column(k)[at % cols];
        w - (0..values.len()).map(term).sum::<f64>()
    };
    weight.iter().enumerate().map(entry).collect()
}

#[test]
fn fisher_weights_give_the_published_trade_between_norms() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oracle/initial.json");
    let golden: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let golden = &golden["fwsvd"];
    let (rows, cols) = (24, 16);
    let weight = noise(rows, cols, 11);
    let fisher: Vec<f64> = noise(rows, cols, 41).iter().map(|x| x + 0.51).collect();
    let of_columns: Vec<f64> =
        (0..cols).map(|j| fisher.iter().skip(j).step_by(cols).sum::<f64>().sqrt()).collect();
    let of_rows: Vec<f64> = fisher.chunks(cols).map(|row| row.iter().sum::<f64>().sqrt()).collect();
    for (found, expected) in of_columns.iter().zip(golden["weights_first3"].as_array().unwrap()) {
        assert!((found - expected.as_f64().unwrap()).abs() < 1e-9);
    }
    let matrix = Matrix::from_f64(rows, cols, &weight).unwrap();
    let operator = Operator::from(&matrix);
    let (none, right, left) =
        (Weighting::None, Weighting::Diagonal(of_columns.clone()), Weighting::Diagonal(of_rows));
    for rank in [2, 4, 8] {
        for (name, sides) in
            [("svd", (&none, &none)), ("one_sided", (&none, &right)), ("two_sided", (&left, &right))]
        {
            let found = rest(&weight, &cut(&operator, sides, &Chosen::Top(rank)).unwrap());
            let norm = |scale: &dyn Fn(usize) -> f64| {
                let squares = found.iter().enumerate().map(|(at, x)| x * x * scale(at));
                squares.sum::<f64>().sqrt()
            };
            let norms = [norm(&|_| 1.0), norm(&|at| of_columns[at % cols].powi(2)), norm(&|at| fisher[at])];
            let expected = &golden["errors_fro_weighted_fisher"][rank.to_string()][name];
            for (found, expected) in norms.iter().zip(expected.as_array().unwrap()) {
                let expected = expected.as_f64().unwrap();
                assert!((found - expected).abs() < 1e-9, "{name} at {rank}: {found} is not {expected}");
            }
        }
    }
}
