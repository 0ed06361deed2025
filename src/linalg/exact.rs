//! The exact route: the matrix itself made bidiagonal, of the triangle of a QR factorization where the weight is long,
//! and the singular values of that counted out; with vectors where they are asked for.
//!
//! Every value is right to a small multiple of `max(m, n)·ε·σ₁`, however small it is, and tested before it is given away.

use faer::MatRef;
use pulp::Arch;

use super::audit::{self, Contradiction, Miss};
use super::bidiagonal::Bidiagonal;
use super::cost::in_two_stages;
use super::dense::{Triplets, on_one_thread, triplets};
use super::factors::{Basis, Factors, fitting};
use super::operator::Operator;
use super::reduced::{Reduced, times};
use super::{levels, tridiagonal};
use crate::error::Error;
use crate::matrix::Matrix;
use crate::spectrum::{Route, Spectrum, magnitude, scaled};

/// The singular values of a finite matrix.
///
/// # Errors
/// [`Error::Contradicted`]; [`Error::NotFinite`] when an entry is not.
pub(super) fn singular_values(matrix: &Matrix) -> Result<Spectrum, Error> {
    by_counting(Arch::new(), matrix)
}

/// The same on a given instruction set.
pub(super) fn by_counting(arch: Arch, matrix: &Matrix) -> Result<Spectrum, Error> {
    on_one_thread();
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let mut entries = matrix.to_f64();
    let Some(exponent) = scale(&mut entries).map_err(|NotFinite| Error::NotFinite { rows, cols })? else {
        return Spectrum::new(vec![0.0; rows.min(cols)], rows, cols, Route::Direct);
    };
    let weight: MatRef<'_, f64> = MatRef::from_row_major_slice(&entries, rows, cols);
    let tall = if rows >= cols { weight } else { weight.transpose() };
    let values = counted(arch, tall).map_err(|Contradiction| Error::Contradicted { rows, cols })?;
    Spectrum::in_units(values, (rows, cols), Route::Direct, exponent)
}

/// The singular values of a matrix no wider than high, its entries near one, ascending.
fn counted(arch: Arch, matrix: MatRef<'_, f64>) -> Result<Vec<f64>, Contradiction> {
    let (rows, cols) = matrix.shape();
    let Bidiagonal { diagonal, above, miss } = Bidiagonal::of(matrix);
    audit::holds(diagonal.iter().chain(&above).all(|x| x.is_finite()))?;
    let values = tridiagonal::singular_values(arch, &diagonal, &above);
    let largest = values.last().copied().unwrap_or(0.0);
    audit::holds(miss <= audit::allowed(rows) * largest)?;
    let squares = |column: faer::ColRef<'_, f64>| column.iter().map(|x| x * x).sum::<f64>();
    let entries: f64 = matrix.col_iter().map(squares).sum();
    audit::close(entries, values.iter().map(|s| s * s).sum(), rows)?;
    audit::counts(&vec![0.0; 2 * cols], &tridiagonal::interleaved(&diagonal, &above), cols, &values)?;
    Ok(values)
}

/// An entry is NaN or infinite.
struct NotFinite;

/// Divides by a power of two near the largest entry, so that no product over- or underflows and no bit changes, and gives
/// its exponent; none where all are zero.
fn scale(entries: &mut [f64]) -> Result<Option<i32>, NotFinite> {
    let largest = entries.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    if !entries.iter().all(|x| x.is_finite()) {
        return Err(NotFinite);
    }
    if largest == 0.0 {
        return Ok(None);
    }
    let unit = super::power_of_two(largest);
    entries.iter_mut().for_each(|x| *x /= unit);
    Ok(Some(magnitude(largest)))
}

/// All `min(m, n)` singular triplets: in two stages where those pay, fit, and squares stay in the range of a double; else by
/// faer.
///
/// # Errors
/// [`Error::Contradicted`]; [`Error::NotFinite`] when an entry is not, [`Error::Overflow`] when a singular value is too
/// large for a double.
pub(super) fn factors(operator: &Operator<'_>) -> Result<Factors, Error> {
    factors_by(operator, None)
}

/// The same, with what is `known` to [`levels::triplets`].
///
/// # Errors
/// As [`factors`].
pub(super) fn factors_by(operator: &Operator<'_>, known: Option<Reduced>) -> Result<Factors, Error> {
    on_one_thread();
    let (rows, cols) = (operator.rows(), operator.cols());
    if in_two_stages(rows, cols)
        && let Some(found) = close(operator, known)
    {
        return Ok(found);
    }
    let mut entries = operator.to_f64();
    let exponent = scale(&mut entries).map_err(|NotFinite| Error::NotFinite { rows, cols })?.unwrap_or(0);
    let matrix = MatRef::from_row_major_slice(&entries, rows, cols);
    let Triplets { left, values, right } = triplets(matrix).ok_or(Error::Contradicted { rows, cols })?;
    let values = fitting(values.iter().map(|s| scaled(*s, exponent)).collect(), (rows, cols))?;
    Ok(Factors { left: Basis::of(left.as_ref()), values, right: Basis::of(right.as_ref()) })
}

/// The triplets in two stages, if they fit the operator.
fn close(operator: &Operator<'_>, known: Option<Reduced>) -> Option<Factors> {
    let found = levels::triplets(operator, known)?;
    let (left, right) = (found.left.as_mat(), found.right.as_mat());
    let (tall, left, right) = if operator.rows() < operator.cols() {
        (&operator.clone().transposed(), right, left)
    } else {
        (operator, left, right)
    };
    let image = |block: MatRef<'_, f64>| times(tall, &Basis::of(block)).as_mat().to_owned();
    Miss::of_tall(image, left, &found.values, right).is_close().then_some(found)
}
