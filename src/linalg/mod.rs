//! Decompositions. faer lives here; nothing else knows how a spectrum is found. Which route a weight takes is not chosen
//! here: `solver` does that, and says so with a [`Route`].
//!
//! The fast route: a weight's Gram matrix (`gram`), made a band matrix (`band`), made tridiagonal (`chase`), whose
//! eigenvalues are counted out (`tridiagonal`); `σ = √λ`. All but the last two stages is matrix products (`kernel`,
//! `narrow`). The exact route (`exact`) makes the weight itself bidiagonal by faer
//! (`bidiagonal`) and counts, too. All vectors come the fast way and back (`levels`), those of small weights from faer
//! (`dense`). Results are checked (`audit`).

mod audit;
mod band;
mod bidiagonal;
mod bounds;
mod bracket;
mod bulge;
#[cfg(test)]
mod campaign;
mod certificate;
mod chase;
mod compress;
mod cost;
mod covariance;
mod dense;
mod divide;
mod eigenpairs;
mod exact;
mod factors;
mod gram;
mod inner;
mod inverse;
mod kernel;
mod krylov;
mod largest;
#[cfg(test)]
mod latms;
mod leading;
mod levels;
mod low_rank;
mod narrow;
mod operator;
mod orthogonal;
mod overlap;
mod product;
mod ql;
mod qr;
mod reduced;
mod reference;
mod reflections;
mod remainder;
mod row_products;
mod scan;
mod secular;
mod slab;
#[doc(hidden)]
pub mod stages;
mod strips;
#[cfg(test)]
mod structured;
mod sum;
mod tall;
mod tridiagonal;
mod updated;
mod vector;
mod weighted;
mod window_grid;
mod windows;
mod workspace;

use pulp::Arch;

use crate::error::Error;
use crate::matrix::{Dtype, Matrix};
use crate::spectrum::{Route, Spectrum};
use audit::Contradiction;
use gram::Gram;

pub use certificate::{BestCosine, Question};
pub use cost::{
    Cost, cost, factors_cost, largest_cost, low_rank_cost, products_cost, reference_cost, update_cost,
};
pub use covariance::{cholesky, eigen, gram};
pub use eigenpairs::{Complex, Eigenpairs, eigenpairs};
pub use factors::{Basis, Factors};
pub use inner::add_inner_products;
pub use largest::{Largest, largest, norm_of_entries};
pub use leading::{by_products, leading, leading_to};
pub use low_rank::{low_rank, low_rank_values, low_rank_with_values, turned};
pub use operator::{Operator, Terms, Vectors};
pub use overlap::Core;
pub use reference::Reference;
pub use remainder::{less, remainders};
pub use row_products::row_products;
pub use sum::sum_values;
pub use tall::{Tall, TallProduct, each, eigenvalue_balance, mean_overlaps};
pub use updated::Updated;
pub use weighted::{Chosen, Cut, Weighting, cut, first_columns, weighted};
pub use window_grid::WindowGrid;
pub use windows::Windows;

/// The singular values of a finite matrix.
///
/// # Errors
/// [`Error::NotConverged`]; [`Error::NotFinite`] when an entry is not.
pub fn singular_values(matrix: &Matrix, route: Route) -> Result<Spectrum, Error> {
    if route == Route::Direct {
        return exact::singular_values(matrix);
    }
    match by_gram(Arch::new(), matrix) {
        // Squares of doubles may leave their range where the singular values do not: the exact route scales first.
        Ok(found) if found.largest() == 0.0 && matrix.dtype() == Dtype::F64 => exact::singular_values(matrix),
        Err(Error::Overflow(_)) => exact::singular_values(matrix),
        found => found,
    }
}

/// All `min(m, n)` singular triplets of a finite matrix.
///
/// # Errors
/// [`Error::NotConverged`]; [`Error::NotFinite`] when an entry is not, [`Error::Overflow`] when a singular value is too
/// large for a double.
pub fn factors<'a>(of: impl Into<Operator<'a>>) -> Result<Factors, Error> {
    exact::factors(&of.into())
}

/// The fast route on a given instruction set.
fn by_gram(arch: Arch, matrix: &Matrix) -> Result<Spectrum, Error> {
    spectrum(Gram::of(arch, matrix), matrix.rows(), matrix.cols())
}

/// The singular values of a tall matrix that comes in blocks of rows: the same bits as from the whole.
pub struct Stream {
    gram: Gram,
    rows: usize,
    cols: usize,
}

impl Stream {
    /// For a weight of no more columns than rows.
    pub fn new(rows: usize, cols: usize) -> Self {
        Self { gram: Gram::new(Arch::new(), cols), rows, cols }
    }

    /// Takes the next rows.
    pub fn push(&mut self, rows: &Matrix) {
        self.gram.push_rows(rows);
    }

    /// The singular values of all rows taken.
    ///
    /// # Errors
    /// [`Error::Overflow`] when squares of entries are too large or too small for a double.
    pub fn finish(self) -> Result<Spectrum, Error> {
        spectrum(self.gram, self.rows, self.cols)
    }
}

/// The singular values of a weight whose Gram matrix has been summed.
fn spectrum(gram: Gram, rows: usize, cols: usize) -> Result<Spectrum, Error> {
    let eigenvalues = gram.eigenvalues().map_err(|Contradiction| Error::Contradicted { rows, cols })?;
    // Zeros that fill the matrix up to a multiple of the band's width come with it and go again.
    from_eigenvalues(eigenvalues.into_iter().rev().take(rows.min(cols)), rows, cols)
}

/// `σ = √λ`.
fn from_eigenvalues(
    eigenvalues: impl Iterator<Item = f64>,
    rows: usize,
    cols: usize,
) -> Result<Spectrum, Error> {
    let value = |x: f64| if x > 0.0 { x.sqrt() } else { x * 0.0 };
    let values: Vec<f64> = eigenvalues.map(value).collect();
    if !values.iter().all(|s| s.is_finite()) {
        return Err(Error::Overflow(format!("a sum of squared entries of a {rows} × {cols} matrix")));
    }
    Spectrum::new(values, rows, cols, Route::Gram)
}

/// The largest power of two that is not above a normal positive `x`.
fn power_of_two(x: f64) -> f64 {
    f64::from_bits(x.to_bits() & !((1 << 52) - 1)).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::kernel::tests::{machines, noise};
    use super::*;

    fn f32_matrix(rows: usize, cols: usize, entries: impl Iterator<Item = f64>) -> Matrix {
        let bytes = entries.take(rows * cols).flat_map(|x| (x as f32).to_le_bytes()).collect();
        Matrix::new(rows, cols, Dtype::F32, bytes).expect("sizes agree")
    }

    fn fast(matrix: &Matrix) -> Result<Spectrum, Error> {
        by_gram(Arch::new(), matrix)
    }

    /// Fast against exact, on every instruction set: within the accuracy that a spectrum of the fast route claims.
    #[track_caller]
    fn check(matrix: &Matrix) {
        let exact = singular_values(matrix, Route::Direct).expect("converges");
        let rounding = matrix.rows().max(matrix.cols()) as f64 * f64::EPSILON;
        let first = exact.largest();
        for arch in machines() {
            let fast = by_gram(arch, matrix).expect("converges");
            assert_eq!(fast.route(), Route::Gram);
            for (i, (found, value)) in fast.values().iter().zip(exact.values()).enumerate() {
                // |λ − λ'| ≤ rounding·σ₁², so near zero values may be off by √rounding·σ₁.
                let bound = rounding * first * first / value.max(first * rounding.sqrt());
                let miss = (found - value).abs();
                assert!(miss <= bound.max(rounding * first), "{arch:?}: σ{i} = {found:e}, exactly {value:e}");
            }
        }
    }

    #[test]
    fn the_fast_route_agrees_with_the_exact_one_on_every_shape() {
        for (rows, cols) in
            [(1, 9), (9, 1), (7, 5), (48, 48), (49, 130), (127, 255), (300, 300), (1500, 50), (64, 999)]
        {
            check(&f32_matrix(rows, cols, noise(rows as u64)));
        }
    }

    #[test]
    fn wide_bands_agree_too() {
        check(&f32_matrix(1304, 1310, noise(1)));
    }

    #[test]
    fn heavy_tails_clusters_and_deficient_ranks_are_resolved_to_the_floor() {
        let side = 160;
        check(&f32_matrix(side, side, noise(5).enumerate().map(|(i, x)| x / (1 + i % side) as f64)));
        check(&f32_matrix(side, side, (0..).map(|i| if i % (side + 1) == 0 { 3.0 } else { 0.0 })));
        check(&f32_matrix(
            side,
            side,
            noise(6).enumerate().map(|(i, x)| if i % side < 100 { x } else { 0.0 }),
        ));
        check(&f32_matrix(
            side,
            side,
            noise(7).enumerate().map(|(i, x)| if i % side == 3 { 1e4 * x } else { x }),
        ));
        check(&f32_matrix(side, side, std::iter::repeat(1.0)));
    }

    #[test]
    fn scale_changes_nothing_but_scale() {
        let of = |scale: f64| {
            let matrix = f32_matrix(60, 90, noise(2).map(|x| f64::from(x as f32) * scale));
            fast(&matrix).expect("converges").values().to_vec()
        };
        let plain = of(1.0);
        for power in [-60, 60, 120] {
            let scale = 2f64.powi(power);
            assert_eq!(of(scale), plain.iter().map(|s| s * scale).collect::<Vec<_>>(), "2^{power}");
        }
    }

    #[test]
    fn a_zero_matrix_has_zero_values_and_a_matrix_with_nan_has_none() {
        let zeros = f32_matrix(60, 70, std::iter::repeat(0.0));
        assert_eq!(fast(&zeros).expect("converges").values(), [0.0; 60]);
        for (side, bad) in [(60, f64::NAN), (60, f64::INFINITY), (5, f64::NAN)] {
            let matrix =
                f32_matrix(side, side, noise(1).enumerate().map(|(i, x)| if i == 3 { bad } else { x }));
            assert!(fast(&matrix).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stream_of_rows_gives_the_bits_of_the_whole() {
        let (rows, cols) = (700, 520);
        let matrix = f32_matrix(rows, cols, noise(4));
        let whole = fast(&matrix).expect("converges");
        for step in [1, 100, 256, 700] {
            let mut stream = Stream::new(rows, cols);
            for block in matrix.bytes().chunks(step * cols * 4) {
                stream.push(
                    &Matrix::new(block.len() / cols / 4, cols, Dtype::F32, block.to_vec())
                        .expect("whole rows"),
                );
            }
            assert_eq!(stream.finish().expect("converges"), whole, "{step}");
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let matrix = f32_matrix(1100, 1050, noise(9));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| fast(&matrix)).expect("converges")
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(3));
    }

    #[test]
    fn exact_values_survive_extreme_scales() {
        for scale in [1e-150, 1e150, 1e-300] {
            let entries: Vec<f64> = noise(8).take(12 * 7).map(|x| x * scale).collect();
            let plain: Vec<f64> = noise(8).take(12 * 7).collect();
            let of = |entries: &[f64]| {
                let matrix = Matrix::from_f64(12, 7, entries).expect("sizes agree");
                singular_values(&matrix, Route::Direct).expect("converges").values().to_vec()
            };
            for (s, expected) in of(&entries).iter().zip(of(&plain)) {
                assert!((s / scale - expected).abs() < 1e-12 * expected, "{scale:e}");
            }
        }
    }
}
