//! Products around the kernel of a convolution by their parts: `D` is turned before it meets the kernel, so that what is
//! multiplied out is as large as the kernel, not as the weight.
//!
//! With `D = L·Q` and orthonormal rows of `Q`, `K ×₂ D` is `(K ×₂ L)` times orthonormal rows, and has the same singular values.

use super::entries::Entries;
use crate::error::Error;
use crate::layer::Layer;
use crate::linalg::{low_rank_values, turned};
use crate::low_rank::LowRank;
use crate::spectrum::{Route, Spectrum};
use crate::weight::{Catalogue, ContentId, Tucker};

/// Such a product, turned.
pub struct AroundKernel {
    shape: (usize, usize),
    identity: ContentId,
    /// NaN and infinite numbers of its parts.
    nonfinite: usize,
    product: LowRank,
}

impl AroundKernel {
    /// The product that `layer` is, if it is one.
    ///
    /// # Errors
    /// When its parts cannot be read, or an entry of a factor does not fit a double.
    pub fn of(source: &Catalogue, layer: &Layer) -> Result<Option<Self>, Error> {
        source.tucker(layer)?.map(|parts| Self::new((layer.rows, layer.cols), &parts)).transpose()
    }

    fn new(shape: (usize, usize), parts: &Tucker) -> Result<Self, Error> {
        let (identity, nonfinite, rank) = (parts.identity(), parts.nonfinite(), parts.rank);
        let inputs = parts.down.len() / rank.max(1);
        let right = match nonfinite {
            0 if inputs > rank => parts.right(&turned(&parts.down, (rank, inputs))),
            0 => parts.right(&parts.down),
            _ => vec![f64::NAN; rank],
        };
        let product = LowRank::new((shape.0, right.len() / rank.max(1)), rank, parts.up.clone(), right)?;
        if nonfinite == 0 && !product.is_finite() {
            return Err(Error::Overflow("a factor".to_owned()));
        }
        Ok(Self { shape, identity, nonfinite, product })
    }

    /// What its parts say: their NaN and infinite numbers, and rows that are zero.
    pub fn entries(&self) -> Entries {
        let of_factors = Entries::of_factors(&self.product);
        Entries::of_product(self.nonfinite, of_factors.zero_rows(), None)
    }

    /// What it is called equal by.
    pub fn identity(&self) -> ContentId {
        self.identity
    }

    /// Its singular values.
    pub(super) fn spectrum(&self) -> Result<Spectrum, Error> {
        let ((rows, cols), found) = (self.shape, low_rank_values(&self.product)?);
        let mut values = found.values().to_vec();
        values.resize(rows.min(cols), 0.0);
        let exponent = found.exponent();
        let spectrum = Spectrum::in_units(values, (rows, cols), Route::Direct, exponent)?;
        // Rounding of the parts is as large as its floor.
        let size = found.floor() / (rows.max(cols) as f64 * f64::EPSILON);
        Ok(spectrum.of_terms(size))
    }
}

#[cfg(test)]
mod tests {
    use super::super::choice::Precision;
    use super::super::memory::singular_values;
    use super::*;

    fn noise(count: usize, seed: usize) -> Vec<f64> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729 + 13) % 10_007) as f64 / 5_000.0 - 1.0).collect()
    }

    /// The values of `outputs` × `inputs` · `positions` are those of the product multiplied out.
    #[track_caller]
    fn check((outputs, inputs, positions, rank): (usize, usize, usize, usize), scale: f64) {
        let up = noise(outputs * rank, 1).into_iter().map(|x| x * scale).collect();
        let parts =
            Tucker { up, kernel: noise(rank * rank * positions, 2), down: noise(rank * inputs, 3), rank };
        let shape = (outputs, inputs * positions);
        let product =
            LowRank::new(shape, rank, parts.up.clone(), parts.right(&parts.down)).expect("sizes agree");
        let whole = product.dense(0..outputs).expect("its rows");
        let expected = singular_values(&whole, Precision::Exact).expect("converges");
        let turned = AroundKernel::new(shape, &parts).expect("fits");
        assert!(turned.product.cols() <= rank.min(inputs) * positions);
        let found = turned.spectrum().expect("converges");
        assert_eq!(
            (found.rows(), found.cols(), found.values().len()),
            (outputs, inputs * positions, outputs.min(inputs * positions))
        );
        for (found, value) in found.values().iter().zip(expected.values()) {
            assert!((found - value).abs() <= 1e-13 * expected.largest(), "{found:e} is not {value:e}");
        }
    }

    #[test]
    fn turning_one_factor_changes_no_singular_value() {
        for sides in [(12, 30, 9, 4), (30, 12, 4, 5), (3, 40, 2, 6), (9, 2, 9, 4), (1, 7, 1, 1)] {
            for scale in [1.0, -0.25, 1e-200, 1e200] {
                check(sides, scale);
            }
        }
    }

    #[test]
    fn a_part_that_is_zero_or_not_finite_is_told() {
        let parts = |x: f64| Tucker { up: vec![1.0; 6], kernel: noise(36, 1), down: vec![x; 10], rank: 2 };
        let of = |x: f64| AroundKernel::new((3, 45), &parts(x)).expect("fits");
        assert_eq!((of(0.0).entries().zero_rows(), of(0.0).identity().varies), (3, false));
        assert!(of(0.0).spectrum().expect("sound").values().iter().all(|s| *s == 0.0));
        assert_eq!((of(f64::NAN).entries().nonfinite_count(), of(1.0).entries().nonfinite_count()), (10, 0));
        assert_ne!(of(1.0).identity(), of(2.0).identity());
    }
}
