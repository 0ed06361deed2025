//! Decompositions. faer lives here; nothing else knows how a spectrum is found.

use faer::{Mat, MatRef};

use crate::error::Error;
use crate::matrix::Matrix;
use crate::spectrum::{Route, Spectrum};

/// How exact the small singular values have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// The fast route: relative error about `ε·(σ₁/σ)²`.
    #[default]
    Fast,
    /// Every value to rounding of `σ₁`.
    Exact,
}

/// The singular values of a finite matrix.
///
/// # Errors
/// [`Error::NotConverged`].
pub fn singular_values(matrix: &Matrix, _precision: Precision) -> Result<Spectrum, Error> {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let entries = matrix.to_f64();
    let dense: MatRef<'_, f64> = MatRef::from_row_major_slice(&entries, rows, cols);
    let owned: Mat<f64> = dense.to_owned();
    let values = owned.singular_values().map_err(|_| Error::NotConverged { rows, cols })?;
    Spectrum::new(values, rows, cols, Route::Direct)
}

pub struct Cost {
    pub flops: f64,
    pub bytes: u64,
}
pub fn cost(r: usize, c: usize, _: crate::matrix::Dtype, _: Precision) -> Cost {
    let (m, n) = (r.max(c) as f64, r.min(c) as f64);
    Cost { flops: m * n * n + 4.0 / 3.0 * n * n * n, bytes: (16 * r * c) as u64 }
}
