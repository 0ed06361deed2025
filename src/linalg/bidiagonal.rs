//! A dense matrix made bidiagonal by faer's reflections, with the error of the reduction: `W = U·B·Vᵀ`.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::householder::{
    apply_block_householder_sequence_on_the_left_in_place_scratch as scratch,
    apply_block_householder_sequence_on_the_left_in_place_with_conj as forth,
    apply_block_householder_sequence_transpose_on_the_left_in_place_with_conj as back,
};
use faer::linalg::qr::no_pivoting::factor::recommended_block_size;
use faer::linalg::svd::bidiag::{bidiag_in_place, bidiag_in_place_scratch};
use faer::{Col, Conj, Mat, MatRef, Par, Spec};

use super::audit::signs;
use super::qr::Qr;

/// From this aspect ratio on, a triangle first is cheaper than the whole.
pub(super) const LONG: usize = 2;

/// An upper bidiagonal matrix with the singular values of another.
pub(super) struct Bidiagonal {
    pub(super) diagonal: Vec<f64>,
    /// One fewer.
    pub(super) above: Vec<f64>,
    /// `‖W·x − U·B·Vᵀ·x‖` for a vector of signs.
    pub(super) miss: f64,
}

impl Bidiagonal {
    /// Of a matrix no wider than high, its entries near one.
    pub(super) fn of(matrix: MatRef<'_, f64>) -> Self {
        let (rows, cols) = matrix.shape();
        let probe = signs(cols, 0);
        let image = matrix * &probe;
        let (diagonal, above, mut again) = if rows >= LONG * cols {
            let qr = Qr::of(matrix);
            let (diagonal, above, inside) = reduced(qr.triangle(), &probe);
            (diagonal, above, qr.times(inside.as_mat()).col(0).to_owned())
        } else {
            reduced(matrix.to_owned(), &probe)
        };
        again -= &image;
        Self { diagonal, above, miss: again.norm_l2() }
    }
}

/// Diagonal and superdiagonal of `B`, and `U·B·Vᵀ` times the probe.
fn reduced(mut matrix: Mat<f64>, probe: &Col<f64>) -> (Vec<f64>, Vec<f64>, Col<f64>) {
    let (rows, cols) = matrix.shape();
    let block = recommended_block_size::<f64>(rows, cols);
    let (mut left, mut right) = (Mat::zeros(block, cols), Mat::zeros(block, cols - 1));
    let mut memory = MemBuffer::new(bidiag_in_place_scratch::<f64>(rows, cols, Par::Seq, Spec::default()));
    let stack = MemStack::new(&mut memory);
    bidiag_in_place(matrix.as_mut(), left.as_mut(), right.as_mut(), Par::Seq, stack, Spec::default());
    let diagonal: Vec<f64> = (0..cols).map(|i| matrix[(i, i)]).collect();
    let above: Vec<f64> = (1..cols).map(|i| matrix[(i - 1, i)]).collect();
    let mut inside = probe.clone();
    let mut memory = MemBuffer::new(scratch::<f64>(cols, block, 1));
    let basis = matrix.as_ref().submatrix(0, 1, cols - 1, cols - 1).transpose();
    let rest = inside.as_mut().subrows_mut(1, cols - 1).as_mat_mut();
    back(basis, right.as_ref(), Conj::Yes, rest, Par::Seq, MemStack::new(&mut memory));
    let product = |i: usize| diagonal[i] * inside[i] + above.get(i).map_or(0.0, |e| e * inside[i + 1]);
    let mut again = Col::from_fn(rows, |i| if i < cols { product(i) } else { 0.0 });
    let (basis, stack) = (matrix.as_ref(), MemStack::new(&mut memory));
    forth(basis, left.as_ref(), Conj::No, again.as_mat_mut(), Par::Seq, stack);
    (diagonal, above, again)
}
