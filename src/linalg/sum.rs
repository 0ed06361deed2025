//! The singular values of a sum or a difference of matrices, which is never in memory whole where the fast route takes it.

use pulp::Arch;

use super::operator::Operator;
use super::{exact, spectrum};
use crate::error::Error;
use crate::matrix::Matrix;
use crate::spectrum::{Route, Spectrum};

/// The singular values of a sum of finite matrices, their entries added in f64.
///
/// # Errors
/// [`Error::NotConverged`]; [`Error::Overflow`] when an entry of the sum is too large for a double.
pub fn sum_values(operator: &Operator<'_>, route: Route) -> Result<Spectrum, Error> {
    let (rows, cols) = (operator.rows(), operator.cols());
    let exactly = || match exact::singular_values(&Matrix::from_f64(rows, cols, &operator.to_f64())?) {
        // All terms are finite.
        Err(Error::NotFinite { .. }) => Err(Error::Overflow("an entry of the difference".to_owned())),
        found => found,
    };
    if route == Route::Direct {
        return exactly();
    }
    let doubles = operator.has_doubles();
    let short = if rows < cols { operator.clone() } else { operator.clone().transposed() };
    match spectrum(short.gram(Arch::new()), rows, cols) {
        // Squares may leave the range of a double where the singular values do not.
        Ok(found) if found.largest() == 0.0 && doubles => exactly(),
        Err(Error::Overflow(_)) => exactly(),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::super::operator::tests::random;
    use super::*;

    fn check(rows: usize, cols: usize, route: Route) {
        let (base, tuned) = (random(rows, cols, 1), random(rows, cols, 2));
        let difference = Operator::from(&tuned).minus(&Operator::from(&base)).expect("one shape");
        let found = sum_values(&difference, route).expect("converges");
        let entries: Vec<f64> = tuned.to_f64().iter().zip(base.to_f64()).map(|(x, y)| x - y).collect();
        let dense = Matrix::from_f64(rows, cols, &entries).expect("sizes agree");
        let expected = exact::singular_values(&dense).expect("converges");
        assert_eq!((found.rows(), found.cols(), found.route()), (rows, cols, route));
        for (s, expected) in found.values().iter().zip(expected.values()) {
            assert!(
                (s - expected).abs() <= 1e-9 * expected.max(1e-3),
                "{rows}×{cols}: {s} is not {expected}"
            );
        }
    }

    #[test]
    fn the_difference_has_the_values_of_the_dense_one_on_both_routes() {
        check(30, 50, Route::Direct);
        check(600, 530, Route::Gram);
        check(530, 600, Route::Gram);
    }
}
