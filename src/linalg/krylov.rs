//! The largest singular triplets of an operator, from a few dozen products with narrow blocks.
//!
//! Block Golub–Kahan–Lanczos. Two orthonormal bases grow side by side: `Q` on the short side, `P` on the long one, with
//! `W·Q = P·B` and `Wᵀ·P = Q·Bᵀ + X·R·Eᵀ`, where `E` picks the last block. Only `Q` is kept and orthogonalized in full: that
//! keeps `P` orthogonal, too (Simon & Zha 2000), so that a block of `P` is freed of the one before it and then given up.
//! With `B = A·Σ·Cᵀ` the triplets are `(P·a, σ, Q·c)`; `‖Wᵀu − σv‖ = ‖R·Eᵀa‖` is known without a product, and `σ` is off by
//! about its square. At the end both sides come from `W·(Q·c)`, and products say whether they fit.
//!
//! Blocks are narrow: how soon values come apart hangs on the number of products more than on their width. Of a value that
//! is there more often than a block is wide, only so many copies are found: where that matters, another way is taken.
//!
//! `B` is not taken from a recurrence but from the coefficients of the orthogonalization, so that columns that vanish
//! in a matrix of low rank need no case of their own.

use faer::{Mat, MatRef};

use super::dense::{Triplets, triplets};
use super::factors::{Basis, Factors};
use super::operator::Operator;
use super::orthogonal::{self, Split};
use super::vector::{dot, norm};
use crate::spectrum::{magnitude, scaled};

/// A triplet is found when `‖Wᵀu − σv‖` is below this share of `σ`, or so many times rounding of `σ₁`.
pub(super) const TOLERANCE: f64 = 1e-9;
const ROUNDINGS: f64 = 4.0;
/// Values closer than this share of `σ₁` may be copies of one.
const CLOSE: f64 = 1e-7;
/// Columns of a block.
pub(super) const WIDTH: usize = 8;
/// Blocks that the basis may hold.
pub(super) const MOST: usize = 128;
/// Share of the steps forecast that it will take, since convergence becomes faster.
const SOONER: f64 = 0.6;
/// A look at the values waits for at most this share of the steps so far.
const WAIT: f64 = 0.4;
/// How much slower an operation of the iteration is than one of the Gram matrix and what follows it.
pub(super) const SLOWER: f64 = 1.75;

/// `factors` without the triplets whose values are rounding, for which any vectors would do.
pub(super) fn nonzero(factors: Factors, operator: &Operator<'_>) -> Factors {
    let floor = rounding(operator) * factors.values.first().copied().unwrap_or(0.0);
    let count = factors.values.iter().take_while(|s| **s > floor).count();
    factors.truncated(count)
}

/// Rounding relative to the largest value.
fn rounding(operator: &Operator<'_>) -> f64 {
    operator.rows().max(operator.cols()) as f64 * f64::EPSILON
}

/// The bases, and the action of an operator with no more rows than columns.
struct Space<'a> {
    /// The operator, and its transpose.
    across: [&'a Operator<'a>; 2],
    /// `Q`, on the short side.
    basis: Basis,
    /// The last block of `P`, and how many columns `P` has.
    last: Basis,
    others: usize,
    /// `Pᵀ·Wᵀ·Q`.
    inner: Mat<f64>,
    /// The next block of `Q`, orthonormal to all of it.
    next: Basis,
    /// `R`: coefficients of `W·P` on `next`, a column for each of `last`.
    rest: Mat<f64>,
    /// The longest image of a column.
    scale: f64,
}

/// The triplets by iteration; none where that would take more than so many `steps`, as far as the residuals tell.
pub(super) fn krylov(operator: &Operator<'_>, k: usize, steps: usize, tolerance: f64) -> Option<Factors> {
    let transposed = operator.clone().transposed();
    if operator.rows() <= operator.cols() {
        return short_side([operator, &transposed], k, steps, tolerance);
    }
    short_side([&transposed, operator], k, steps, tolerance).map(Factors::transposed)
}

/// The same of an operator with no more rows than columns, and its transpose.
fn short_side(across: [&Operator<'_>; 2], k: usize, steps: usize, tolerance: f64) -> Option<Factors> {
    let short = across[0].rows();
    let mut space = Space::new(across);
    let (mut look_at, rounding) = (k + WIDTH, rounding(across[0]));
    let mut before: Option<(usize, f64)> = None;
    for step in 1..=steps {
        space.grow();
        if !space.scale.is_finite() {
            return None;
        }
        let ended = space.next.count() == 0;
        if space.basis.count() < look_at && !ended {
            continue;
        }
        let inner = triplets(space.inner.as_ref())?;
        let wanted = k.min(inner.values.len());
        let largest = inner.values.first().copied().unwrap_or(0.0);
        let allowed = |value: &f64| (tolerance * value).max(ROUNDINGS * rounding * largest);
        let miss = |(i, value): (usize, &f64)| space.residual(inner.left.col(i)) / allowed(value);
        let worst = inner.values[..wanted].iter().enumerate().map(miss).fold(0.0, f64::max);
        if ended || (worst <= 1.0 && wanted == k) {
            let close = (CLOSE * largest, tolerance.max(rounding) * largest);
            if hides_copies(&inner.values, k, close) && space.basis.count() < short {
                return None;
            }
            let found = space.triplets(inner.right.subcols(0, wanted))?;
            return fits(across, &found, tolerance).then_some(found);
        }
        let mut more = WAIT * step as f64;
        if let Some((earlier, residual)) = before {
            let (gained, missing) = ((residual / worst).ln(), worst.ln());
            let forecast = missing / gained * (step - earlier) as f64;
            let forecast = if gained > 0.0 { forecast } else { f64::INFINITY };
            // The first steps say little.
            if 2 * step > steps && step as f64 + SOONER * forecast > steps as f64 {
                return None;
            }
            more = forecast.min(more);
        }
        before = Some((step, worst));
        look_at = space.basis.count() + (more as usize).max(1) * WIDTH;
    }
    None
}

/// Whether as many of the `k` largest values as a block has columns are the same but for `close.0`, and a wanted one is
/// smaller by more than `close.1`, or 0: more copies may be hidden.
fn hides_copies(values: &[f64], k: usize, close: (f64, f64)) -> bool {
    let last = k.checked_sub(1).and_then(|i| values.get(i)).copied().unwrap_or(0.0);
    let hides = |some: &[f64]| some[0] - some[WIDTH - 1] <= close.0 && some[WIDTH - 1] - last > close.1;
    values[..k.min(values.len())].windows(WIDTH).any(hides)
}

impl<'a> Space<'a> {
    fn new(across: [&'a Operator<'a>; 2]) -> Self {
        let [rows, cols] = [across[0].rows(), across[0].cols()];
        Self {
            across,
            basis: Basis::empty(rows),
            last: Basis::empty(cols),
            others: 0,
            inner: Mat::zeros(0, 0),
            next: start(rows, WIDTH),
            rest: Mat::zeros(0, 0),
            scale: 0.0,
        }
    }

    /// Takes the next block into the basis and finds the one after it.
    fn grow(&mut self) {
        let [operator, transposed] = self.across;
        let image = multiply(transposed, &self.next);
        let larger = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
        self.scale = image.columns().map(norm).fold(self.scale, larger);
        let Split { inside, fresh, outside } = orthogonal::split(&self.last, &image, self.scale);
        let (rows, cols, first) = (self.others, self.basis.count(), self.others - self.last.count());
        self.inner = Mat::from_fn(rows + fresh.count(), cols + self.next.count(), |i, j| {
            match (i.checked_sub(rows), j.checked_sub(cols)) {
                (None, None) => self.inner[(i, j)],
                (None, Some(j)) if i >= first => inside[(i - first, j)],
                (Some(i), Some(j)) => outside[(i, j)],
                _ => 0.0,
            }
        });
        self.basis.extend(&self.next);
        self.others += fresh.count();
        let image = multiply(operator, &fresh);
        self.last = fresh;
        let Split { fresh, outside, .. } = orthogonal::split(&self.basis, &image, self.scale);
        (self.next, self.rest) = (fresh, outside);
    }

    /// `‖Wv − σu‖` of the triplet whose coefficients on the long side are `a`.
    fn residual(&self, a: faer::ColRef<'_, f64>) -> f64 {
        let last = a.subrows(a.nrows() - self.rest.ncols(), self.rest.ncols());
        (&self.rest * last).norm_l2()
    }

    /// The triplets in the span of the vectors with these coefficients, from their images.
    fn triplets(&self, coefficients: MatRef<'_, f64>) -> Option<Factors> {
        let vectors = Basis::of((self.basis.as_mat() * coefficients).as_ref());
        if vectors.count() == 0 {
            let right = Basis::empty(self.across[0].cols());
            return Some(Factors { left: vectors, values: vec![], right });
        }
        let mut image = multiply(self.across[1], &vectors);
        // Squares of any size fit.
        let power = magnitude(self.scale);
        image.columns_mut().flatten().for_each(|x| *x = scaled(*x, -power));
        let Triplets { left, mut values, right } = triplets(image.as_mat())?;
        values.iter_mut().for_each(|value| *value = scaled(*value, power));
        let short = Basis::of((vectors.as_mat() * right).as_ref());
        Some(nonzero(Factors { left: short, values, right: Basis::of(left.as_ref()) }, self.across[0]))
    }
}

/// Checks by products that triplets fit the operator and its transpose, and that their bases are orthonormal.
fn fits([operator, transposed]: [&Operator<'_>; 2], found: &Factors, tolerance: f64) -> bool {
    let Factors { left, values, right } = found;
    let least = ROUNDINGS * rounding(operator) * values.first().copied().unwrap_or(0.0);
    let fits = |operator: &Operator<'_>, from: &Basis, to: &Basis| {
        multiply(operator, from).columns().zip(to.columns()).zip(values).all(|((image, to), value)| {
            let miss: Vec<f64> = image.iter().zip(to).map(|(x, y)| x - value * y).collect();
            norm(&miss) <= 2.0 * (tolerance * value).max(least)
        })
    };
    let orthonormal = |basis: &Basis| {
        let product = |i: usize, j: usize| dot(basis.column(i), basis.column(j));
        let off = |i: usize, j: usize| (product(i, j) - f64::from(u8::from(i == j))).abs();
        (0..basis.count()).all(|i| (0..=i).all(|j| off(i, j) <= tolerance))
    };
    orthonormal(left) && orthonormal(right) && fits(operator, right, left) && fits(transposed, left, right)
}

/// The operator times each of some columns.
fn multiply(operator: &Operator<'_>, block: &Basis) -> Basis {
    let width = match block.count() {
        ..=8 => 8,
        9..=16 => 16,
        17..=24 => 24,
        wide => wide.next_multiple_of(16),
    };
    Basis::separated(&operator.times(&block.interleaved(width), width), width, block.count())
}

/// Orthonormal columns to start from: fixed ones that no matrix was made to be orthogonal to.
pub(super) fn start(length: usize, width: usize) -> Basis {
    // SplitMix64 (Steele, Lea & Flood 2014), seeded with zero.
    let mut state = 0u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    let entries: Vec<f64> = (0..length * width).map(|_| next()).collect();
    let noise = Basis::separated(&entries, width, width);
    orthogonal::split(&Basis::empty(length), &noise, 1.0).fresh
}
