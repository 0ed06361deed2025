//! LAPACK's families of test matrices (`dlatms`): chosen singular values between two random orthogonal factors.
//!
//! Only tests: the exact route must find the values to rounding of the largest, the fast one to its spectrum's floor,
//! on every instruction set.

use super::kernel::tests::{machines, noise};
use super::{by_gram, exact};
use crate::matrix::Matrix;

/// The `count` values of family `mode` (1–6) with condition number `condition`, the largest 1.
fn family(mode: u32, count: usize, condition: f64) -> Vec<f64> {
    let share = |i: usize| if count > 1 { i as f64 / (count - 1) as f64 } else { 0.0 };
    let mut random = noise(u64::from(mode)).map(|x| 0.5 * (x + 1.0));
    let mut values: Vec<f64> = match mode {
        // One large, all others small.
        1 => (0..count).map(|i| if i == 0 { 1.0 } else { 1.0 / condition }).collect(),
        // One small, all others large.
        2 => (0..count).map(|i| if i + 1 == count && i > 0 { 1.0 / condition } else { 1.0 }).collect(),
        // Geometric, arithmetic, random with a uniform logarithm.
        3 => (0..count).map(|i| condition.powf(-share(i))).collect(),
        4 => (0..count).map(|i| 1.0 - share(i) * (1.0 - 1.0 / condition)).collect(),
        5 => (0..count).map(|_| condition.powf(-random.next().unwrap_or(0.0))).collect(),
        // Random, whatever condition that gives.
        _ => (0..count).map(|_| random.next().unwrap_or(0.0)).collect(),
    };
    values.sort_by(|a, b| b.total_cmp(a));
    let largest = values[0];
    values.iter().map(|x| x / largest).collect()
}

/// `U·diag(values)·Vᵀ·scale`, row-major, for orthogonal `U` and `V` made of reflections.
fn planted(rows: usize, cols: usize, values: &[f64], scale: f64) -> Matrix {
    let mut entries = vec![0.0; rows * cols];
    for (i, value) in values.iter().enumerate() {
        entries[i * cols + i] = *value;
    }
    let mut normal = noise(rows as u64 + 7).zip(noise(cols as u64 + 8)).map(|(x, y)| x + y);
    for length in 1..=rows.max(cols) {
        // A reflection of the last `length` rows, and of as many columns.
        if length <= rows {
            let mirror: Vec<f64> = normal.by_ref().take(length).collect();
            let square: f64 = mirror.iter().map(|x| x * x).sum();
            let below = &mut entries[(rows - length) * cols..];
            let mut along = vec![0.0; cols];
            for (row, x) in below.chunks_exact(cols).zip(&mirror) {
                along.iter_mut().zip(row).for_each(|(along, entry)| *along += x * entry);
            }
            for (row, x) in below.chunks_exact_mut(cols).zip(&mirror) {
                row.iter_mut().zip(&along).for_each(|(entry, along)| *entry -= 2.0 / square * x * along);
            }
        }
        if length <= cols {
            let mirror: Vec<f64> = normal.by_ref().take(length).collect();
            let square: f64 = mirror.iter().map(|x| x * x).sum();
            for row in entries.chunks_exact_mut(cols) {
                let row = &mut row[cols - length..];
                let along: f64 = row.iter().zip(&mirror).map(|(entry, x)| entry * x).sum();
                row.iter_mut().zip(&mirror).for_each(|(entry, x)| *entry -= 2.0 / square * x * along);
            }
        }
    }
    entries.iter_mut().for_each(|x| *x *= scale);
    Matrix::from_f64(rows, cols, &entries).expect("as many entries as asked for")
}

const SHAPES: [(usize, usize); 6] = [(1, 1), (1, 30), (60, 60), (97, 40), (40, 130), (150, 5)];
const CONDITIONS: [f64; 3] = [2.0, 1e4, 1.0 / f64::EPSILON];

/// Every family, shape and condition number: its matrix at `scale` and its values.
fn every(scale: f64, mut check: impl FnMut(&Matrix, &[f64], &str)) {
    for mode in 1..=6 {
        for (rows, cols) in SHAPES {
            for condition in CONDITIONS {
                let values = family(mode, rows.min(cols), condition);
                let name = format!("mode {mode}, {rows} × {cols}, condition {condition:e}, scale {scale:e}");
                check(&planted(rows, cols, &values, scale), &values, &name);
            }
        }
    }
}

#[test]
fn the_exact_route_is_right_to_lapacks_own_threshold_at_any_scale() {
    // Near the ends of the doubles; 1e-290 keeps the smallest of the planted entries normal.
    for scale in [1.0, 1e-290, 1e-20, 1e20, 1e300] {
        every(scale, |matrix, values, name| {
            let found = exact::singular_values(matrix).expect("converges");
            let unit = f64::EPSILON * matrix.rows().max(matrix.cols()) as f64;
            for (found, value) in found.values().iter().zip(values) {
                let ratio = (found / scale - value).abs() / unit;
                assert!(ratio < 30.0, "{name}: {value:e} is off by {ratio} units");
            }
        });
    }
}

#[test]
fn the_fast_route_is_right_to_what_its_floor_says_on_every_machine() {
    // The scales that f32 weights can have; their squares are ordinary doubles.
    for scale in [1.0, 1e-40, 1e-20, 1e20, 1e37] {
        every(scale, |matrix, values, name| {
            for arch in machines() {
                let found = by_gram(arch, matrix).expect("converges");
                let floor = found.floor() / scale;
                let unit = f64::EPSILON * matrix.rows().max(matrix.cols()) as f64;
                for (found, value) in found.values().iter().zip(values) {
                    let miss = (found / scale - value).abs();
                    assert!(miss <= floor, "{arch:?}, {name}: {value:e} is off by {miss:e}, floor {floor:e}");
                    if *value > floor {
                        let bound = (unit / value).max(unit);
                        assert!(miss <= bound, "{arch:?}, {name}: {value:e} is off by {miss:e} of {bound:e}");
                    }
                }
            }
        });
    }
}
