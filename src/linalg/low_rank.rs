//! The singular triplets of a product of two thin factors, without the product.
//!
//! `L·R` with `L = Q₁·T₁` and `Rᵀ = Q₂·T₂` is `Q₁·(T₁·T₂ᵀ)·Q₂ᵀ`: two thin QR factorizations and the decomposition of a
//! small square give the triplets to rounding of `σ₁`, in `(m + n)·r²` operations.

use faer::{Col, Mat, MatRef};

use super::audit::{self, Contradiction};
use super::dense::{on_one_thread, triplets};
use super::factors::{Basis, Factors, fitting};
use super::operator::thin;
use super::qr::Qr;
use super::vector::dot;
use crate::error::Error;
use crate::low_rank::LowRank;
use crate::spectrum::{Route, Spectrum, magnitude, scaled};

/// The singular triplets of a product, `min(rows, cols, rank)` of them; all other singular values are zero.
///
/// # Errors
/// [`Error::Contradicted`]; [`Error::NotFinite`] when an entry is not, [`Error::Overflow`] when a singular value is too
/// large for a double.
pub fn low_rank(product: &LowRank) -> Result<Factors, Error> {
    in_units(product)?.factors(product)
}

/// [`low_rank`] and [`low_rank_values`] at once, for the price of one.
///
/// # Errors
/// Those of both.
pub fn low_rank_with_values(product: &LowRank) -> Result<(Factors, Spectrum), Error> {
    let units = in_units(product)?;
    let spectrum = units.spectrum(product)?;
    Ok((units.factors(product)?, spectrum))
}

/// The singular values of a product; all but `min(rows, cols, rank)` are zero.
///
/// # Errors
/// [`Error::NotConverged`]; [`Error::NotFinite`] when an entry is not.
pub fn low_rank_values(product: &LowRank) -> Result<Spectrum, Error> {
    in_units(product)?.spectrum(product)
}

/// `L` of `A = L·Q`, row by row, for `rows` × `cols` entries of `A`, of which there are fewer rows than columns: `A` turned,
/// which changes no singular value of a product with it, to rounding of `‖A‖`.
pub fn turned(entries: &[f64], (rows, cols): (usize, usize)) -> Vec<f64> {
    let triangle = Qr::of(Mat::from_fn(cols, rows, |i, j| entries[j * cols + i]).as_ref()).triangle();
    (0..rows)
        .flat_map(|i| (0..triangle.nrows()).map(move |j| (i, j)))
        .map(|(i, j)| triangle[(j, i)])
        .collect()
}

/// Results for a product, in units of `2^exponent`.
struct Units {
    factors: Factors,
    exponent: i32,
    /// `√Σ‖lⱼ‖²‖rⱼ‖²` of the terms `lⱼ·rⱼᵀ`. Each is rounded to its own size, so where they cancel each other, rounding
    /// stays.
    terms: f64,
}

impl Units {
    fn factors(self, product: &LowRank) -> Result<Factors, Error> {
        let Self { factors, exponent, .. } = self;
        let values = factors.values.iter().map(|s| scaled(*s, exponent)).collect();
        let values = fitting(values, (product.rows(), product.cols()))?;
        Ok(Factors { values, ..factors })
    }

    fn spectrum(&self, product: &LowRank) -> Result<Spectrum, Error> {
        let Self { factors: Factors { values, .. }, exponent, terms } = self;
        let (rows, cols) = (product.rows(), product.cols());
        let mut values = values.clone();
        values.resize(rows.min(cols), 0.0);
        let spectrum = Spectrum::in_units(values, (rows, cols), Route::Direct, *exponent)?;
        let terms = if spectrum.fits() { scaled(*terms, *exponent) } else { *terms };
        Ok(spectrum.of_terms(terms))
    }
}

/// The triplets and their size, near one.
fn in_units(product: &LowRank) -> Result<Units, Error> {
    on_one_thread();
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
    let (thin_left, thin_right) = (scaled(left, units[0]), scaled(right.transpose(), units[1]));
    let (left, right) = (Qr::of(thin_left.as_ref()), Qr::of(thin_right.as_ref()));
    let small = left.triangle() * right.triangle().transpose();
    let contradicted = || Error::Contradicted { rows: product.rows(), cols: product.cols() };
    let found = triplets(small.as_ref()).ok_or_else(contradicted)?;
    let (left, right) = (left.times(found.left.as_ref()), right.times(found.right.as_ref()));
    // The product with a vector of signs, through the factors and through the triplets.
    let probe = audit::signs(product.cols(), 0);
    let inside = right.transpose() * &probe;
    let inside = Col::from_fn(inside.nrows(), |i| found.values[i] * inside[i]);
    let miss = (&thin_left * (thin_right.transpose() * &probe) - &left * inside).norm_l2();
    // Entries are near one, so that plain sums of squares will do.
    let squares = |factor: &Mat<f64>| -> Vec<f64> {
        (0..factor.ncols()).map(|j| factor.col_as_slice(j)).map(|column| dot(column, column)).collect()
    };
    let (of_left, of_right) = (squares(&thin_left), squares(&thin_right));
    let size = (of_left.iter().sum::<f64>() * of_right.iter().sum::<f64>()).sqrt();
    audit::holds(miss <= audit::allowed(product.rows().max(product.cols())) * size)
        .map_err(|Contradiction| contradicted())?;
    let factors =
        Factors { left: Basis::of(left.as_ref()), values: found.values, right: Basis::of(right.as_ref()) };
    let terms = of_left.iter().zip(&of_right).map(|(x, y)| x * y).sum::<f64>().sqrt();
    Ok(Units { factors, exponent: magnitude(sizes[0]) + magnitude(sizes[1]), terms })
}

#[cfg(test)]
mod tests {
    use super::super::exact;
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
    #[test]
    fn terms_that_cancel_leave_rounding_below_the_floor() {
        // `b·aᵀ + b·(c − a)ᵀ` is of rank one, and far smaller than either term.
        let (rows, cols) = (40, 30);
        let (b, a, c): (Vec<f64>, Vec<f64>, Vec<f64>) =
            (noise(1).take(rows).collect(), noise(2).take(cols).collect(), noise(3).take(cols).collect());
        let rest = a.iter().zip(&c).map(|(a, c)| 1e-12 * c - a);
        let left = b.iter().flat_map(|x| [*x, *x]).collect();
        let product = LowRank::new((rows, cols), 2, left, a.iter().copied().chain(rest).collect());
        let product = product.expect("sizes agree");
        let found = low_rank_values(&product).expect("sound");
        assert!(found.values()[0] > found.floor() && found.values()[1] <= found.floor(), "{found:?}");
        let halved = LowRank::new(
            (rows, cols),
            2,
            product.left().to_vec(),
            product.right().iter().map(|x| x * 2f64.powi(-700)).collect(),
        );
        let halved = low_rank_values(&halved.expect("sizes agree")).expect("sound");
        assert!((halved.floor() / found.floor() * 2f64.powi(700) - 1.0).abs() < 1e-12);
        let left = b.iter().flat_map(|x| [*x, -*x]).collect();
        let nothing = LowRank::new((rows, cols), 2, left, [&a[..], &a[..]].concat()).expect("sizes agree");
        let found = low_rank_values(&nothing).expect("sound");
        assert!(found.largest() == 0.0 && found.floor() > 0.0, "{found:?}");
    }
}
