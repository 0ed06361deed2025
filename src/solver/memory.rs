//! Decompositions in memory: of a matrix, a product of thin factors, or a sum of these.

use super::choice::{Form, Need, Precision, Procedure, procedure};
use crate::error::Error;
use crate::linalg::{self, Factors, Largest, Operator, Reference, Terms, Vectors};
use crate::matrix::Matrix;
use crate::spectrum::Spectrum;

/// The singular values of a finite matrix.
///
/// # Errors
/// [`Error::NotConverged`]; [`Error::NotFinite`] when an entry is not, [`Error::Overflow`] when an entry of a sum is too
/// large for a double.
pub fn singular_values<'a>(of: impl Into<Operator<'a>>, precision: Precision) -> Result<Spectrum, Error> {
    let operator = of.into();
    let route = procedure(&Form::in_memory(&operator, precision), Need::Values).route();
    match operator.terms() {
        Terms::Stored(matrix) => linalg::singular_values(matrix, route),
        Terms::Product(product) => linalg::low_rank_values(product),
        Terms::Several => linalg::sum_values(&operator, route),
    }
}

/// The largest singular value of a finite matrix: by itself, or where that does not pay or converge, the first of all.
///
/// # Errors
/// As [`singular_values`].
pub fn largest<'a>(of: impl Into<Operator<'a>>, precision: Precision) -> Result<Largest, Error> {
    let operator = of.into();
    let form = Form::in_memory(&operator, precision);
    let alone = (procedure(&form, Need::Largest) == Procedure::Products).then(|| linalg::largest(&operator));
    if let Some(found) = alone.flatten() {
        return Ok(found);
    }
    let spectrum = singular_values(operator, precision)?;
    Ok(Largest { value: spectrum.largest(), error: spectrum.floor() })
}

/// All `min(m, n)` singular triplets of a finite matrix; of a product those of its directions.
///
/// # Errors
/// [`Error::NotConverged`]; [`Error::NotFinite`] when an entry is not, [`Error::Overflow`] when a singular value is too
/// large for a double.
pub fn all_vectors<'a>(of: impl Into<Operator<'a>>) -> Result<Factors, Error> {
    let operator = of.into();
    match operator.terms() {
        Terms::Product(product) => linalg::low_rank(product),
        Terms::Stored(_) | Terms::Several => linalg::factors(operator),
    }
}

/// [`all_vectors`] with the exact spectrum, at once where the weight is a product.
///
/// # Errors
/// Those of [`singular_values`] and of [`all_vectors`].
pub fn vectors_and_values<'a>(of: impl Into<Operator<'a>>) -> Result<(Factors, Spectrum), Error> {
    let operator = of.into();
    match operator.terms() {
        Terms::Product(product) => linalg::low_rank_with_values(product),
        Terms::Stored(_) | Terms::Several => {
            let spectrum = singular_values(operator.clone(), Precision::Exact)?;
            Ok((all_vectors(operator)?, spectrum))
        }
    }
}

/// A finite weight that directions are held against; of a square one, so that `first` vectors are the cheaper ones.
///
/// # Errors
/// [`Error::NotConverged`]; [`Error::NotFinite`] when an entry is not.
pub fn reference(matrix: &Matrix, first: Vectors, precision: Precision) -> Result<Reference<'_>, Error> {
    // How many directions there will be decides nothing.
    let need = Need::Cosines(0);
    Reference::new(matrix, first, procedure(&Form::in_memory(&matrix.into(), precision), need).route())
}
