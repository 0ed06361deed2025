//! All singular triplets of a dense matrix: faer's, believed once they have been tested.
//!
//! faer divides and conquers, and its search for the roots of a secular equation can stop far from one where the matrix
//! has few distinct singular values. What it finds is held against the matrix; where that fails, its QR iteration alone
//! decomposes the matrix again, which takes several times as long and has no such step.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::{ComputeSvdVectors, SvdParams, svd, svd_scratch};
use faer::{Mat, MatRef, Par, Spec};

use super::audit;

/// From this short side on, divide and conquer is faster; it is faer's own choice.
const DIVIDED: usize = 128;

/// `U·diag(values)·Vᵀ`, values descending, as many columns on both sides as the matrix has on its short one.
pub(super) struct Triplets {
    pub(super) left: Mat<f64>,
    pub(super) values: Vec<f64>,
    pub(super) right: Mat<f64>,
}

/// The triplets of a matrix of finite entries; none where every way contradicts the matrix.
pub(super) fn triplets(matrix: MatRef<'_, f64>) -> Option<Triplets> {
    let ways = [DIVIDED, usize::MAX];
    let first = usize::from(matrix.nrows().min(matrix.ncols()) < DIVIDED);
    ways[first..].iter().find_map(|threshold| {
        let found = by_faer(matrix, *threshold)?;
        let Triplets { left, values, right } = &found;
        audit::triplets(matrix, left.as_ref(), values, right.as_ref()).ok()?;
        Some(found)
    })
}

/// faer's triplets, by QR iteration alone below a short side of `threshold`.
pub(super) fn by_faer(matrix: MatRef<'_, f64>, threshold: usize) -> Option<Triplets> {
    let (rows, cols) = matrix.shape();
    let short = rows.min(cols);
    let mut params = Spec::<SvdParams, f64>::default();
    params.config.recursion_threshold = threshold;
    let (mut left, mut right) = (Mat::zeros(rows, short), Mat::zeros(cols, short));
    let mut values = Diag::<f64>::zeros(short);
    let (thin, par) = (ComputeSvdVectors::Thin, Par::Seq);
    let mut memory = MemBuffer::new(svd_scratch::<f64>(rows, cols, thin, thin, par, params));
    let stack = MemStack::new(&mut memory);
    svd(matrix, values.as_mut(), Some(left.as_mut()), Some(right.as_mut()), par, stack, params).ok()?;
    let values = values.column_vector().iter().map(|s| s.abs()).collect();
    Some(Triplets { left, values, right })
}
