//! The singular values of a difference of two weights, which is never in memory whole where the fast route takes it.

use pulp::Arch;

use super::operator::Operator;
use super::{Precision, route, singular_values, spectrum};
use crate::error::Error;
use crate::matrix::Matrix;
use crate::spectrum::{Route, Spectrum};

/// The singular values of `tuned` − `base`, two finite weights of one shape, their entries subtracted in f64.
///
/// # Errors
/// [`Error::NotConverged`]; [`Error::Overflow`] when an entry of the difference is too large for a double.
pub fn difference(tuned: &Matrix, base: &Matrix, precision: Precision) -> Result<Spectrum, Error> {
    let (rows, cols) = (tuned.rows(), tuned.cols());
    let operator = Operator::from(tuned).minus(&Operator::from(base))?;
    let exactly = |operator: &Operator<'_>| match singular_values(
        &Matrix::from_f64(rows, cols, &operator.to_f64())?,
        Precision::Exact,
    ) {
        // Both sides are finite.
        Err(Error::NotFinite { .. }) => Err(Error::Overflow("an entry of the difference".to_owned())),
        found => found,
    };
    if route(rows, cols, precision) == Route::Direct {
        return exactly(&operator);
    }
    let doubles = operator.has_doubles();
    let short = if rows < cols { operator.clone() } else { operator.clone().transposed() };
    match spectrum(short.gram(Arch::new()), rows, cols) {
        // Squares may leave the range of a double where the singular values do not.
        Ok(found) if found.largest() == 0.0 && doubles => exactly(&operator),
        Err(Error::Overflow(_)) => exactly(&operator),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::super::operator::tests::random;
    use super::*;

    fn check(rows: usize, cols: usize) {
        let (base, tuned) = (random(rows, cols, 1), random(rows, cols, 2));
        let found = difference(&tuned, &base, Precision::Fast).expect("converges");
        let entries: Vec<f64> = tuned.to_f64().iter().zip(base.to_f64()).map(|(x, y)| x - y).collect();
        let dense = Matrix::from_f64(rows, cols, &entries).expect("sizes agree");
        let expected = singular_values(&dense, Precision::Exact).expect("converges");
        assert_eq!((found.rows(), found.cols()), (rows, cols));
        for (s, expected) in found.values().iter().zip(expected.values()) {
            assert!(
                (s - expected).abs() <= 1e-9 * expected.max(1e-3),
                "{rows}×{cols}: {s} is not {expected}"
            );
        }
    }

    #[test]
    fn the_difference_has_the_values_of_the_dense_one_on_both_routes() {
        check(30, 50);
        check(600, 530);
        check(530, 600);
    }
}
