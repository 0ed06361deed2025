//! All singular triplets of a dense matrix: faer's, believed once they have been tested.
//!
//! faer divides and conquers, and its search for the roots of a secular equation can stop far from one where the matrix
//! has few distinct singular values. The result is checked against the matrix; if it is not close, faer's QR iteration
//! alone decomposes the matrix again, which takes one and a half to three times as long and has no such step.

use std::sync::Once;

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::{ComputeSvdVectors, SvdParams, svd, svd_scratch};
use faer::{Mat, MatRef, Par, Spec};

use super::audit::Miss;
use super::bidiagonal::LONG;
use super::qr::Qr;

/// From this short side on, divide and conquer is faster; it is faer's own choice.
const DIVIDED: usize = 128;

/// One thread a matrix: with more, faer's bits would depend on their number.
static ONE_THREAD: Once = Once::new();

pub(super) fn on_one_thread() {
    ONE_THREAD.call_once(|| faer::set_global_parallelism(faer::Par::Seq));
}

/// `U·diag(values)·Vᵀ`, values descending, as many columns on both sides as the matrix has on its short one.
pub(super) struct Triplets {
    pub(super) left: Mat<f64>,
    pub(super) values: Vec<f64>,
    pub(super) right: Mat<f64>,
}

/// The triplets of a matrix of finite entries; none where every way contradicts the matrix.
pub(super) fn triplets(matrix: MatRef<'_, f64>) -> Option<Triplets> {
    on_one_thread();
    let (rows, cols) = matrix.shape();
    if rows < cols {
        let Triplets { left, values, right } = triplets(matrix.transpose())?;
        return Some(Triplets { left: right, values, right: left });
    }
    if rows < LONG * cols || cols == 0 {
        return closest(matrix, DIVIDED);
    }
    let qr = Qr::of(matrix);
    let Triplets { left, values, right } = closest(qr.triangle().as_ref(), DIVIDED)?;
    let left = qr.times(left.as_ref());
    let miss = Miss::of(matrix, left.as_ref(), &values, right.as_ref());
    miss.is_small().then_some(Triplets { left, values, right })
}

/// The triplets that fit best, by a division from this short side on or, where those are not close, by QR alone.
fn closest(matrix: MatRef<'_, f64>, divided: usize) -> Option<Triplets> {
    let mut best: Option<(Miss, Triplets)> = None;
    let ways = [divided, usize::MAX];
    let first = usize::from(matrix.nrows().min(matrix.ncols()) < divided);
    for threshold in &ways[first..] {
        let Some(found) = by_faer(matrix, *threshold) else { continue };
        let miss = Miss::of(matrix, found.left.as_ref(), &found.values, found.right.as_ref());
        if miss.is_small() && best.as_ref().is_none_or(|(before, _)| miss.product < before.product) {
            best = Some((miss, found));
        }
        if miss.is_close() {
            break;
        }
    }
    best.map(|(_, found)| found)
}

/// faer's triplets, by QR iteration alone below a short side of `threshold`, and never through its QR factorization
/// (see `qr`).
fn by_faer(matrix: MatRef<'_, f64>, threshold: usize) -> Option<Triplets> {
    let (rows, cols) = matrix.shape();
    let short = rows.min(cols);
    let mut params = Spec::<SvdParams, f64>::default();
    params.config.recursion_threshold = threshold;
    params.config.qr_ratio_threshold = f64::INFINITY;
    let (mut left, mut right) = (Mat::zeros(rows, short), Mat::zeros(cols, short));
    let mut values = Diag::<f64>::zeros(short);
    let (thin, par) = (ComputeSvdVectors::Thin, Par::Seq);
    let mut memory = MemBuffer::new(svd_scratch::<f64>(rows, cols, thin, thin, par, params));
    let stack = MemStack::new(&mut memory);
    svd(matrix, values.as_mut(), Some(left.as_mut()), Some(right.as_mut()), par, stack, params).ok()?;
    let values = values.column_vector().iter().map(|s| s.abs()).collect();
    Some(Triplets { left, values, right })
}

#[cfg(test)]
mod tests {
    use super::super::exact;
    use super::*;
    use crate::matrix::Matrix;

    /// Upper bidiagonal, and the smallest matrix on which faer's search for a root stops with its bracket open.
    fn smallest() -> Mat<f64> {
        let (diagonal, above) = ([1.0, 1e-16, 0.0, 1.0], [0.0, 3e-16, 3e-16]);
        Mat::from_fn(4, 4, |i, j| {
            if i == j {
                diagonal[i]
            } else if j == i + 1 {
                above[i]
            } else {
                0.0
            }
        })
    }

    #[test]
    fn a_value_that_divide_and_conquer_invents_is_refused_and_found_right() {
        let matrix = smallest();
        let wrong = by_faer(matrix.as_ref(), 4).expect("converges");
        assert!(wrong.values[2] > 1e-4, "faer is mended: {:?}", wrong.values);
        let miss = Miss::of(matrix.as_ref(), wrong.left.as_ref(), &wrong.values, wrong.right.as_ref());
        assert!(!miss.is_small(), "{miss:?}");
        let right = closest(matrix.as_ref(), 4).expect("the other way is sound");
        assert!(right.values[2] < 1e-15, "{:?}", right.values);
    }

    #[test]
    fn the_exact_route_counts_and_invents_nothing() {
        let entries: Vec<f64> =
            smallest().row_iter().flat_map(|row| row.iter().copied().collect::<Vec<_>>()).collect();
        let matrix = Matrix::from_f64(4, 4, &entries).expect("sizes agree");
        let found = exact::singular_values(&matrix).expect("sound");
        let expected = [1.0, 1.0, 3e-16, 1e-16];
        for (found, expected) in found.values().iter().zip(expected) {
            assert!((found - expected).abs() < 5e-16, "{found:e} is not {expected:e}");
        }
    }
}
