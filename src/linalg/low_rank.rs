//! The singular triplets of a product of two thin factors, without the product.
//!
//! `L·R` with `L = Q₁·T₁` and `Rᵀ = Q₂·T₂` is `Q₁·(T₁·T₂ᵀ)·Q₂ᵀ`: two thin QR factorizations and the decomposition of a
//! small square give the triplets to rounding of `σ₁`, in `(m + n)·r²` operations.

use faer::linalg::solvers::Qr;
use faer::{Mat, MatRef};

use super::exact;
use super::factors::{Basis, Factors, fitting};
use super::operator::thin;
use crate::error::Error;
use crate::low_rank::LowRank;
use crate::spectrum::{Route, Spectrum, magnitude, scaled};

/// The singular triplets of a product, `min(rows, cols, rank)` of them; all other singular values are zero.
///
/// # Errors
/// [`Error::NotConverged`]; [`Error::NotFinite`] when an entry is not, [`Error::Overflow`] when a singular value is too
/// large for a double.
pub fn low_rank(product: &LowRank) -> Result<Factors, Error> {
    let (factors, exponent) = in_units(product)?;
    let values = factors.values.iter().map(|s| scaled(*s, exponent)).collect();
    let values = fitting(values, (product.rows(), product.cols()))?;
    Ok(Factors { values, ..factors })
}

/// The singular values of a product; all but `min(rows, cols, rank)` are zero.
///
/// # Errors
/// [`Error::NotConverged`]; [`Error::NotFinite`] when an entry is not.
pub fn low_rank_values(product: &LowRank) -> Result<Spectrum, Error> {
    let (Factors { mut values, .. }, exponent) = in_units(product)?;
    let (rows, cols) = (product.rows(), product.cols());
    values.resize(rows.min(cols), 0.0);
    Spectrum::in_units(values, (rows, cols), Route::Direct, exponent)
}

/// The triplets, their values in units of a power of two of the given exponent.
fn in_units(product: &LowRank) -> Result<(Factors, i32), Error> {
    exact::on_one_thread();
    let failed = || Error::NotConverged { rows: product.rows(), cols: product.cols() };
    let size = |entries: &[f64]| entries.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    if !product.left().iter().chain(product.right()).all(|x| x.is_finite()) {
        return Err(Error::NotFinite { rows: product.rows(), cols: product.cols() });
    }
    // Powers of two near the largest entries: no product over- or underflows, and no bit changes.
    let sizes = [size(product.left()), size(product.right())];
    let units = sizes.map(super::power_of_two);
    let (left, right) = thin(product);
    let scaled = |factor: MatRef<'_, f64>, unit: f64| {
        Mat::from_fn(factor.nrows(), factor.ncols(), |i, j| factor[(i, j)] / unit)
    };
    let left = Qr::new(scaled(left, units[0]).as_ref());
    let right = Qr::new(scaled(right.transpose(), units[1]).as_ref());
    let small = left.thin_R() * right.thin_R().transpose();
    let svd = small.thin_svd().map_err(|_| failed())?;
    let factors = Factors {
        left: Basis::of((left.compute_thin_Q() * svd.U()).as_ref()),
        values: svd.S().column_vector().iter().map(|s| s.abs()).collect(),
        right: Basis::of((right.compute_thin_Q() * svd.V()).as_ref()),
    };
    Ok((factors, magnitude(sizes[0]) + magnitude(sizes[1])))
}

#[cfg(test)]
mod tests {
    use super::super::kernel::tests::noise;
    use super::*;

    #[track_caller]
    fn check(shape: (usize, usize), rank: usize, left: &[f64], right: &[f64]) {
        let product = &LowRank::new(shape, rank, left.to_vec(), right.to_vec()).expect("sizes agree");
        let (fast, whole) =
            (low_rank(product).expect("converges"), exact::factors(&product.into()).expect("converges"));
        let (fast, whole) = (fast.spectrum().expect("finite"), whole.spectrum().expect("finite"));
        let (rows, cols, rank) = (product.rows(), product.cols(), product.rank());
        for (i, (found, value)) in fast.values().iter().zip(whole.values()).enumerate() {
            let miss = (found - value).abs();
            assert!(miss <= 1e-14 * whole.largest(), "{rows}×{cols} of rank {rank}: σ{i} is off by {miss:e}");
        }
        assert!(fast.values().iter().skip(rank).all(|s| *s == 0.0));
    }

    #[test]
    fn the_factors_give_the_spectrum_of_the_product() {
        for (rows, cols, rank) in [(1, 9, 1), (9, 1, 4), (30, 20, 4), (20, 30, 20), (12, 10, 40), (5, 5, 0)] {
            let left: Vec<f64> = noise(1).take(rows * rank).collect();
            let right: Vec<f64> = noise(2).take(rank * cols).collect();
            check((rows, cols), rank, &left, &right);
            check((rows, cols), rank, &vec![0.0; rows * rank], &right);
            // Two equal columns: a rank below the factors' width.
            let dependent = left.chunks(rank.max(1)).flat_map(|row| {
                let mut row = row.to_vec();
                let last = row.len() - 1;
                row[last] = row[0];
                row
            });
            check((rows, cols), rank, &dependent.collect::<Vec<_>>(), &right);
        }
    }

    #[test]
    fn vectors_belong_to_their_values_at_any_scale() {
        for scale in [1.0, 1e-150, 1e150] {
            let (left, right) = (vec![3.0 * scale, 4.0 * scale], vec![0.0, 2.0, 0.0]);
            let product = LowRank::new((2, 3), 1, left, right).expect("sizes agree");
            let factors = low_rank(&product).expect("converges");
            assert!((factors.values[0] / scale - 10.0).abs() < 1e-14);
            assert!((factors.left.column(0)[1].abs() - 0.8).abs() < 1e-15);
            assert!((factors.right.column(0)[1].abs() - 1.0).abs() < 1e-15);
        }
        let infinite = LowRank::new((1, 1), 1, vec![f64::INFINITY], vec![1.0]).expect("sizes agree");
        assert!(low_rank(&infinite).is_err());
    }
}
