//! Two bases against each other, and a matrix in a basis: products of singular vectors, nothing of what they mean.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};

use super::exact;
use super::factors::{Basis, Factors};
use crate::error::Error;
use crate::matrix::Matrix;

impl Basis {
    /// `AᵀB`: the cosines with the columns of `other`; column `j` holds those of `other`'s column `j`.
    #[must_use]
    pub fn cosines(&self, other: &Self) -> Self {
        Self::of(product(self.as_mat().transpose(), other.as_mat()).as_ref())
    }

    /// The cosine and the sine of the largest principal angle between the spans of the first `k` columns of two bases.
    ///
    /// Of the two the smaller is exact to rounding, so that angles near 0 and near 90° are both told apart.
    ///
    /// # Errors
    /// [`Error::NotConverged`].
    pub fn largest_angle(&self, other: &Self, k: usize) -> Result<(f64, f64), Error> {
        let (a, b) = (self.as_mat().subcols(0, k), other.as_mat().subcols(0, k));
        let along = product(a.transpose(), b);
        let across = b - product(a, along.as_ref());
        let cosine = spectral_values(along.as_ref())?.last().copied().unwrap_or(0.0);
        let sine = spectral_values(across.as_ref())?.first().copied().unwrap_or(0.0);
        Ok((cosine.min(1.0), sine.min(1.0)))
    }
}

/// An update in the singular basis of the weight that it is added to.
#[derive(Debug, Clone, PartialEq)]
pub struct Core {
    /// `M = UᵀΔV`.
    pub entries: Basis,
    /// `‖uᵢᵀΔ‖²`: how much of the update leaves through each left singular vector.
    pub left: Vec<f64>,
    /// `‖Δvᵢ‖²`: how much of it enters through each right one.
    pub right: Vec<f64>,
}

impl Factors {
    /// `update`, of the same shape as the matrix, in the basis of these.
    pub fn core(&self, update: &Matrix) -> Core {
        let entries = update.to_f64();
        let update = MatRef::from_row_major_slice(&entries, update.rows(), update.cols());
        let (u, v) = (self.left.as_mat(), self.right.as_mat());
        let squares = |products: MatRef<'_, f64>| {
            products.col_iter().map(|column| column.squared_norm_l2()).collect::<Vec<_>>()
        };
        let out = product(update.transpose(), u);
        let core = product(out.as_ref().transpose(), v);
        let left = squares(out.as_ref());
        drop(out);
        let right = squares(product(update, v).as_ref());
        Core { entries: Basis::of(core.as_ref()), left, right }
    }
}

/// A product on this thread alone, so that its bits do not depend on how many there are.
fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    matmul(out.as_mut(), Accum::Replace, a, b, 1.0, Par::Seq);
    out
}

fn spectral_values(matrix: MatRef<'_, f64>) -> Result<Vec<f64>, Error> {
    let entries: Vec<f64> =
        (0..matrix.nrows()).flat_map(|i| (0..matrix.ncols()).map(move |j| matrix[(i, j)])).collect();
    let matrix = Matrix::from_f64(matrix.nrows(), matrix.ncols(), &entries)?;
    Ok(exact::singular_values(&matrix)?.values().to_vec())
}
