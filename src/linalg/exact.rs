//! The exact route: faer's singular values in f64, of the triangle of a QR factorization where the weight is long;
//! with vectors where they are asked for.
//!
//! Every value is right to a small multiple of `max(m, n)·ε·σ₁`, however small it is.

use std::sync::Once;

use faer::linalg::solvers::Qr;
use faer::{Mat, MatRef};

use super::factors::{Basis, Factors, fitting};
use super::operator::Operator;
use crate::error::Error;
use crate::matrix::Matrix;
use crate::spectrum::{Route, Spectrum, magnitude, scaled};

/// From this aspect ratio on, a triangle first is cheaper than the whole.
const LONG: usize = 2;

/// One thread a matrix: with more, faer's bits would depend on their number.
static ONE_THREAD: Once = Once::new();

pub(super) fn on_one_thread() {
    ONE_THREAD.call_once(|| faer::set_global_parallelism(faer::Par::Seq));
}

/// The singular values of a finite matrix.
///
/// # Errors
/// [`Error::NotConverged`]; [`Error::NotFinite`] when an entry is not.
pub(super) fn singular_values(matrix: &Matrix) -> Result<Spectrum, Error> {
    on_one_thread();
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let failed = || Error::NotConverged { rows, cols };
    let mut entries = matrix.to_f64();
    // A power of two near the largest entry: no product over- or underflows, and no bit changes.
    let largest = entries.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    if !entries.iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite { rows, cols });
    }
    if largest == 0.0 {
        return Spectrum::new(vec![0.0; rows.min(cols)], rows, cols, Route::Direct);
    }
    let unit = super::power_of_two(largest);
    entries.iter_mut().for_each(|x| *x /= unit);
    let weight: MatRef<'_, f64> = MatRef::from_row_major_slice(&entries, rows, cols);
    let tall = if rows >= cols { weight } else { weight.transpose() };
    let values = if rows.max(cols) >= LONG * rows.min(cols) {
        let triangle: Mat<f64> = Qr::new(tall).thin_R().to_owned();
        triangle.singular_values()
    } else {
        tall.singular_values()
    };
    let values = values.map_err(|_| failed())?;
    let values = values.into_iter().map(f64::abs).collect();
    Spectrum::in_units(values, (rows, cols), Route::Direct, magnitude(largest))
}

/// All `min(m, n)` singular triplets.
///
/// # Errors
/// [`Error::NotConverged`]; [`Error::NotFinite`] when an entry is not, [`Error::Overflow`] when a singular value is too
/// large for a double.
pub(super) fn factors(operator: &Operator<'_>) -> Result<Factors, Error> {
    on_one_thread();
    let (rows, cols) = (operator.rows(), operator.cols());
    let failed = || Error::NotConverged { rows, cols };
    let mut entries = operator.to_f64();
    let largest = entries.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    if !entries.iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite { rows, cols });
    }
    let unit = super::power_of_two(largest);
    entries.iter_mut().for_each(|x| *x /= unit);
    let matrix = MatRef::from_row_major_slice(&entries, rows, cols);
    let svd = matrix.thin_svd().map_err(|_| failed())?;
    let values = svd.S().column_vector().iter().map(|s| scaled(s.abs(), magnitude(largest))).collect();
    let values = fitting(values, (rows, cols))?;
    Ok(Factors { left: Basis::of(svd.U()), values, right: Basis::of(svd.V()) })
}
