//! Eigenpairs of a small tridiagonal matrix by implicit QL steps (Bowdler, Martin, Reinsch & Wilkinson 1968), which rotate
//! neighboring vectors.

use std::ops::Range;

use faer::{Mat, MatMut};

/// QL steps before an eigenvalue is taken as it is; three are usual. What follows is tested.
const STEPS: usize = 60;

/// Eigenvalues, and the vector of each.
pub(super) struct Pairs {
    /// Of each column.
    pub(super) values: Vec<f64>,
    pub(super) vectors: Mat<f64>,
    /// The columns that were asked for, the smallest eigenvalue first.
    pub(super) order: Vec<usize>,
}

/// The eigenpairs whose ascending indices are `wanted`; `diagonal` is used up.
pub(super) fn eigenpairs(diagonal: &mut [f64], coupling: &[f64], wanted: Range<usize>) -> Pairs {
    let n = diagonal.len();
    let mut vectors = Mat::<f64>::identity(n, n);
    let mut beside = coupling.to_vec();
    beside.push(0.0);
    for first in 0..n {
        for _ in 0..STEPS {
            let small =
                |i: &usize| beside[*i].abs() <= f64::EPSILON * (diagonal[*i].abs() + diagonal[i + 1].abs());
            let end = (first..n - 1).find(small).unwrap_or(n - 1);
            if end == first {
                break;
            }
            step(diagonal, &mut beside, first, end, vectors.as_mut());
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|i, j| diagonal[*i].total_cmp(&diagonal[*j]));
    let order = order[wanted.start.min(n)..wanted.end.min(n)].to_vec();
    Pairs { values: diagonal.to_vec(), vectors, order }
}

/// One implicit QL step on the block `first..=end`, shifted by the eigenvalue of its first two rows.
fn step(diagonal: &mut [f64], beside: &mut [f64], first: usize, end: usize, mut vectors: MatMut<'_, f64>) {
    let slope = (diagonal[first + 1] - diagonal[first]) / (2.0 * beside[first]);
    let reach = slope.hypot(1.0).copysign(slope);
    let mut bulge = diagonal[end] - diagonal[first] + beside[first] / (slope + reach);
    let (mut sine, mut cosine, mut shift) = (1.0, 1.0, 0.0);
    for i in (first..end).rev() {
        let (out, along) = (sine * beside[i], cosine * beside[i]);
        let length = out.hypot(bulge);
        beside[i + 1] = length;
        if length == 0.0 {
            // The block falls apart here.
            diagonal[i + 1] -= shift;
            beside[end] = 0.0;
            return;
        }
        (sine, cosine) = (out / length, bulge / length);
        bulge = diagonal[i + 1] - shift;
        let turned = (diagonal[i] - bulge) * sine + 2.0 * cosine * along;
        shift = sine * turned;
        diagonal[i + 1] = bulge + shift;
        bulge = cosine * turned - along;
        rotate(vectors.as_mut(), i, i + 1, cosine, -sine);
    }
    diagonal[first] -= shift;
    beside[first] = bulge;
    beside[end] = 0.0;
}

/// `x` becomes `c·x + s·y` and `y` becomes `c·y − s·x`.
pub(super) fn rotate(vectors: MatMut<'_, f64>, x: usize, y: usize, c: f64, s: f64) {
    let (x, y) = vectors.two_cols_mut(x, y);
    for (x, y) in x.iter_mut().zip(y.iter_mut()) {
        (*x, *y) = (c * *x + s * *y, c * *y - s * *x);
    }
}
