//! The fast route against the exact one on matrices as models have them: what its floor and its errors are promised to be.

use std::path::Path;

use svdkit::checkpoint;
use svdkit::layer::{Filter, select};
use svdkit::linalg::stages;
use svdkit::matrix::{Dtype, Matrix, bf16_bytes};
use svdkit::solver::{Precision, singular_values};

/// A seeded stream of normal numbers.
fn normal(seed: u64) -> impl Iterator<Item = f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    std::iter::repeat_with(move || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos())
}

/// A matrix of this type, its entries drawn and then changed by row and column.
fn drawn(rows: usize, cols: usize, dtype: Dtype, entry: impl Fn(f64, usize, usize) -> f64) -> Matrix {
    let entries: Vec<f64> =
        normal(5).take(rows * cols).enumerate().map(|(at, x)| entry(x, at / cols, at % cols)).collect();
    let bytes = match dtype {
        Dtype::Bf16 => bf16_bytes(&entries),
        _ => entries.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
    };
    Matrix::new(rows, cols, dtype, bytes).expect("as many entries as asked for")
}

/// Errors below `ε·σ₁²/2σ + max(m, n)·ε·σ₁` for every value above the floor, none above the floor itself, and the same
/// values above it.
#[track_caller]
fn check(name: &str, matrix: &Matrix) {
    let exact = singular_values(matrix, Precision::Exact).expect("converges");
    let fast = stages::fast(matrix).expect("converges");
    let (first, floor) = (exact.largest(), fast.floor());
    let rounding = matrix.rows().max(matrix.cols()) as f64 * f64::EPSILON;
    for (i, (found, expected)) in fast.values().iter().zip(exact.values()).enumerate() {
        let miss = (found - expected).abs();
        assert!(miss <= floor, "{name}: σ{i} = {expected:e} is off by {miss:e}, the floor is {floor:e}");
        if *expected > floor {
            let squared = f64::EPSILON * first * first / (2.0 * expected);
            let bound = squared + rounding * first;
            assert!(miss <= bound, "{name}: σ{i} = {expected:e} is off by {miss:e}, promised {bound:e}");
        }
    }
    let above = |values: &[f64]| values.iter().filter(|s| **s > floor).count();
    assert_eq!(above(fast.values()), above(exact.values()), "{name}: values above the floor");
}

#[test]
fn what_models_hold_is_as_right_as_promised() {
    check("gaussian", &drawn(320, 320, Dtype::F32, |x, _, _| x));
    check("uneven columns, bf16", &drawn(320, 400, Dtype::Bf16, |x, _, j| 0.02 * x / (1 + j % 40) as f64));
    check("heavy tails", &drawn(320, 400, Dtype::F32, |x, _, _| x.abs().powf(2.5) * x));
    check(
        "graded to 1e-12",
        &drawn(300, 300, Dtype::F32, |x, _, j| x * 10f64.powf(-12.0 * j as f64 / 300.0)),
    );
    check("rank 200 of 320", &drawn(320, 400, Dtype::F32, |x, _, j| if j < 200 { x } else { 0.0 }));
    check("one row", &drawn(1, 700, Dtype::F32, |x, _, _| x));
    check("one column", &drawn(700, 1, Dtype::F32, |x, _, _| x));
    check("thirty times as long", &drawn(3000, 100, Dtype::Bf16, |x, _, _| 0.02 * x));
    check("thirty times as wide", &drawn(100, 3000, Dtype::Bf16, |x, _, _| 0.02 * x));
    check("nearly zero", &drawn(120, 150, Dtype::F32, |x, _, _| 1e-20 * x));
    check("huge", &drawn(120, 150, Dtype::F32, |x, _, _| 1e20 * x));
    check("below the normal floats", &drawn(120, 150, Dtype::F32, |x, _, _| 1e-41 * x));
}

#[test]
fn an_exactly_deficient_rank_is_right_on_the_default_route() {
    // Two repeated columns of small whole numbers: the product is exact, so is the rank.
    let matrix = drawn(400, 420, Dtype::F32, |_, i, j| ((i * 7 + j % 210 * (i % 11)) % 13) as f64);
    let exact = singular_values(&matrix, Precision::Exact).expect("converges");
    let fast = singular_values(&matrix, Precision::Fast).expect("converges");
    let rank = exact.values().iter().filter(|s| **s > exact.floor()).count();
    assert!(rank <= 210, "{rank}");
    assert_eq!(fast.values().iter().filter(|s| **s > fast.floor()).count(), rank);
}

#[test]
fn the_bundled_model_is_right_to_nine_digits() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/charlm/base");
    let (_, source) = checkpoint::open(&path).expect("the bundled model opens");
    for layer in select(source.tensors(), &Filter::default()).layers {
        check(&layer.name, &source.read(&layer, 0..layer.rows).expect("readable"));
    }
}
