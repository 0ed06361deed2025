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
/// [`Error::NotConverged`], also when an entry is not finite.
pub fn difference(tuned: &Matrix, base: &Matrix, precision: Precision) -> Result<Spectrum, Error> {
    let (rows, cols) = (tuned.rows(), tuned.cols());
    let operator = Operator::from(tuned).minus(&Operator::from(base))?;
    if route(rows, cols, precision) == Route::Direct {
        return singular_values(&Matrix::from_f64(rows, cols, &operator.to_f64())?, precision);
    }
    let short = if rows < cols { operator } else { operator.transposed() };
    spectrum(short.gram(Arch::new()), rows, cols)
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
