//! Checks whether the result of a decomposition fits its matrix.
//!
//! Every test costs a few passes over the matrix and uses none of the lines that found the values: sums of squares
//! against the entries, counts in the widest gaps by another recurrence, and products with vectors of ±1. Of a vector of
//! signs `y` the length `‖E·y‖` is about `‖E‖_F`, and one bad column shows at its full length in each.
//! A spectrum that fails is refused: no row is better than a wrong one.

use faer::{Col, Mat, MatRef};

use super::tridiagonal::below;

/// How many units `max(m, n)·ε` a decomposition may be off by: the threshold of LAPACK's own tests.
const UNITS: f64 = 30.0;
/// Gaps that are counted in, of each kind.
const GAPS: usize = 3;
/// A count is asked for at points at least this many roundings of the norm away from every value.
const CLEAR: f64 = 64.0;

/// Vectors of signs that products are compared on.
pub(super) const PROBES: usize = 3;

/// What is this close needs no second way.
const CLOSE: Miss = Miss { product: 4.0, bases: 8.0 };

/// A decomposition that contradicts its matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contradiction;

/// Allowed error of a decomposition with sums of this length, relative to the size of the whole.
pub(super) fn allowed(length: usize) -> f64 {
    UNITS * length as f64 * f64::EPSILON
}

/// The sums of a symmetric matrix that no rotation changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Invariants {
    trace: f64,
    square: f64,
}

impl Invariants {
    /// Of the matrix whose column `j`, from the diagonal down, is `column(j)`.
    pub(super) fn of_columns<'a>(side: usize, column: impl Fn(usize) -> &'a [f64]) -> Self {
        let sums = (0..side).map(|j| {
            let (diagonal, below) = column(j).split_first().expect("a column has a diagonal");
            (*diagonal, diagonal * diagonal + 2.0 * super::vector::dot(below, below))
        });
        let (trace, square) = sums.fold((0.0, 0.0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
        Self { trace, square }
    }

    /// Of a tridiagonal matrix.
    pub(super) fn of_tridiagonal(diagonal: &[f64], coupling: &[f64]) -> Self {
        let squares = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
        Self { trace: diagonal.iter().sum(), square: squares(diagonal) + 2.0 * squares(coupling) }
    }

    /// Of whatever has these eigenvalues.
    pub(super) fn of_eigenvalues(eigenvalues: &[f64]) -> Self {
        Self::of_tridiagonal(eigenvalues, &[])
    }

    /// With a change of the trace and of the sum of squares.
    pub(super) fn plus(&self, trace: f64, square: f64) -> Self {
        Self { trace: self.trace + trace, square: self.square + square }
    }

    /// Whether both can belong to one matrix without negative eigenvalues, whose longest sums have this length.
    pub(super) fn agree(&self, other: &Self, length: usize) -> Result<(), Contradiction> {
        close(self.trace, other.trace, length)?;
        close(self.square, other.square, length)
    }
}

/// Whether two positive sums of this length are equal to rounding.
pub(super) fn close(a: f64, b: f64, length: usize) -> Result<(), Contradiction> {
    holds((a - b).abs() <= allowed(length) * a.abs().max(b.abs()))
}

/// A comparison that fails for NaN.
pub(super) fn holds(condition: bool) -> Result<(), Contradiction> {
    if condition { Ok(()) } else { Err(Contradiction) }
}

/// Whether as many eigenvalues of a tridiagonal matrix lie below the widest gaps of `found` as were found there.
///
/// `found` ascends and is the upper end of the spectrum; `skipped` more lie below all of it.
pub(super) fn counts(
    diagonal: &[f64],
    coupling: &[f64],
    skipped: usize,
    found: &[f64],
) -> Result<(), Contradiction> {
    let norm = found.iter().fold(0.0f64, |norm, x| norm.max(x.abs()));
    let margin = CLEAR * f64::EPSILON * norm;
    let agree = |(i, x): (usize, f64)| holds(below(diagonal, coupling, x) == skipped + i);
    points(found, margin).into_iter().try_for_each(agree)
}

/// Points in the widest gaps, by difference and by ratio, and how many values lie below each.
fn points(found: &[f64], margin: f64) -> Vec<(usize, f64)> {
    let gap = |i: usize| (found[i - 1].max(margin), found[i]);
    let width = |i: usize| found[i] - found[i - 1];
    let ratio = |i: usize| gap(i).1 / gap(i).0;
    let mut by_width: Vec<usize> = (1..found.len()).filter(|i| width(*i) > 2.0 * margin).collect();
    let mut by_ratio: Vec<usize> = (1..found.len()).filter(|i| gap(*i).1 > 8.0 * gap(*i).0).collect();
    by_width.sort_by(|i, j| width(*j).total_cmp(&width(*i)));
    by_ratio.sort_by(|i, j| ratio(*j).total_cmp(&ratio(*i)));
    let middle = |i: usize| (i, 0.5 * (found[i - 1] + found[i]));
    let mean = |i: usize| (i, gap(i).0.sqrt() * gap(i).1.sqrt());
    by_width.into_iter().take(GAPS).map(middle).chain(by_ratio.into_iter().take(GAPS).map(mean)).collect()
}

/// A vector of signs that no matrix was made to be orthogonal to.
pub(super) fn signs(length: usize, seed: u64) -> Col<f64> {
    // SplitMix64 (Steele, Lea & Flood 2014).
    let sign = |i: usize| {
        let mut z = (seed << 32).wrapping_add(i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        if (z ^ (z >> 31)) >> 63 == 0 { 1.0 } else { -1.0 }
    };
    Col::from_fn(length, sign)
}

/// The error of triplets, in units of `max(m, n)·ε`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Miss {
    /// `‖W − U·diag(values)·Vᵀ‖`, relative to the largest value.
    pub(super) product: f64,
    /// `‖UᵀU − I‖` and `‖VᵀV − I‖`, the larger.
    pub(super) bases: f64,
}

impl Miss {
    /// Of triplets with as many values as the short side, so that one of the bases is square: then no value is off by
    /// more than the product is.
    pub(super) fn of(
        matrix: MatRef<'_, f64>,
        left: MatRef<'_, f64>,
        values: &[f64],
        right: MatRef<'_, f64>,
    ) -> Self {
        if matrix.nrows() < matrix.ncols() {
            return Self::of_tall(|v| matrix.transpose() * v, right, values, left);
        }
        Self::of_tall(|v| matrix * v, left, values, right)
    }

    /// The same of a matrix no wider than high that `times` multiplies with a few columns.
    pub(super) fn of_tall(
        times: impl Fn(MatRef<'_, f64>) -> Mat<f64>,
        left: MatRef<'_, f64>,
        values: &[f64],
        right: MatRef<'_, f64>,
    ) -> Self {
        let mut worst = Self { product: 0.0, bases: 0.0 };
        let unit = f64::EPSILON * left.nrows().max(1) as f64;
        let largest = values.first().copied().unwrap_or(0.0).max(f64::MIN_POSITIVE);
        if !values.iter().all(|s| *s >= 0.0) || !values.is_sorted_by(|a, b| a >= b) {
            worst.product = f64::INFINITY;
        }
        let probes: Vec<Col<f64>> = (0..PROBES as u64).map(|seed| signs(values.len(), seed)).collect();
        let y = Mat::from_fn(values.len(), PROBES, |i, j| probes[j][i]);
        let scaled = Mat::from_fn(values.len(), PROBES, |i, j| values[i] * y[(i, j)]);
        let (u, v) = (left * &y, right * &y);
        let product = times(v.as_ref()) - left * scaled;
        for miss in product.col_iter() {
            worst.product = larger(worst.product, miss.norm_l2() / largest / unit);
        }
        for miss in [left.transpose() * u - &y, right.transpose() * v - &y].iter().flat_map(Mat::col_iter) {
            worst.bases = larger(worst.bases, miss.norm_l2() / unit);
        }
        worst
    }

    /// Whether no second way is needed.
    pub(super) fn is_close(&self) -> bool {
        self.product <= CLOSE.product && self.bases <= CLOSE.bases
    }

    /// Whether both are below the threshold of LAPACK's own tests.
    pub(super) fn is_small(&self) -> bool {
        self.product <= UNITS && self.bases <= UNITS
    }
}

/// The larger one; NaN is larger than all.
fn larger(a: f64, b: f64) -> f64 {
    if a >= b {
        a
    } else if b.is_nan() {
        f64::INFINITY
    } else {
        b
    }
}

/// Whether `U·diag(values)·Uᵀ` is the symmetric matrix and the columns of `U` are orthonormal.
pub(super) fn eigenvectors(
    matrix: MatRef<'_, f64>,
    vectors: MatRef<'_, f64>,
    values: &[f64],
) -> Result<(), Contradiction> {
    let allowed = allowed(matrix.nrows());
    let largest = values.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    (0..PROBES as u64).try_for_each(|seed| {
        let y = signs(values.len(), seed);
        let u = vectors * &y;
        let scaled = Col::from_fn(y.nrows(), |i| values[i] * y[i]);
        holds((vectors.transpose() * &u - &y).norm_l2() <= allowed)?;
        holds((matrix * &u - vectors * &scaled).norm_l2() <= allowed * largest)
    })
}

#[cfg(test)]
mod tests {
    use pulp::Arch;

    use super::super::bidiagonal::Bidiagonal;
    use super::super::structured::{hadamard, ones};
    use super::super::tridiagonal::{interleaved, singular_values};
    use super::*;

    /// Half of the values are zero, and the bidiagonal form falls apart into small blocks.
    fn halves() -> (Vec<f64>, Vec<f64>) {
        let case = hadamard(64).kron(&ones(2, 2));
        let Bidiagonal { diagonal, above, .. } = Bidiagonal::of(case.matrix.as_ref());
        let values = singular_values(Arch::new(), &diagonal, &above);
        (interleaved(&diagonal, &above), values)
    }

    #[test]
    fn an_invented_value_is_on_the_wrong_side_of_a_gap() {
        let (coupling, mut values) = halves();
        let n = values.len();
        let zeros = vec![0.0; 2 * n];
        assert_eq!(counts(&zeros, &coupling, n, &values), Ok(()));
        // What faer gave.
        for invented in [1e-4, 1e-8, 1e-12] {
            values[n / 2 - 1] = invented * values[n - 1];
            assert_eq!(counts(&zeros, &coupling, n, &values), Err(Contradiction), "{invented:e}");
        }
    }

    #[test]
    fn a_value_that_is_missing_shows_in_the_sum_of_squares() {
        let (_, values) = halves();
        let sum: f64 = values.iter().map(|s| s * s).sum();
        assert_eq!(close(sum, 4.0 * 64.0 * 64.0, values.len()), Ok(()));
        assert_eq!(close(sum * (1.0 + 1e-11), 4.0 * 64.0 * 64.0, values.len()), Err(Contradiction));
        assert_eq!(close(f64::NAN, 1.0, 3), Err(Contradiction));
    }

    #[test]
    fn one_wrong_column_shows_in_every_probe() {
        let case = hadamard(16);
        let unit = case.matrix.as_ref() * 0.25;
        let identity = faer::Mat::<f64>::identity(16, 16);
        let of = |values: &[f64], left: &faer::Mat<f64>| {
            Miss::of(case.matrix.as_ref(), left.as_ref(), values, identity.as_ref())
        };
        assert!(of(&[4.0; 16], &unit).is_small());
        let mut off = [4.0; 16];
        off[15] -= 1e-10;
        assert!(!of(&off, &unit).is_small());
        let mut turned = unit.clone();
        turned[(3, 3)] += 1e-10;
        assert!(of(&[4.0; 16], &turned).bases > 1e3);
        turned[(3, 3)] = f64::NAN;
        assert!(!of(&[4.0; 16], &turned).is_small());
    }
}
