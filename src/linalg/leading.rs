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
use super::exact;
use super::factors::{Basis, Factors};
use super::operator::Operator;
use super::orthogonal::{self, Split};
use super::reduced::Reduced;
use super::vector::norm;
use crate::error::Error;
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
/// A short side of less than this is decomposed whole, and one of less than so many for each triplet and a few more.
const FEWEST: usize = 128;
const EACH: usize = 8;
const SPARE: usize = 4;
/// How much slower an operation of the iteration is than one of the Gram matrix and what follows it.
pub(super) const SLOWER: f64 = 1.75;

/// Whether so many triplets of a matrix of this shape are sought by products; a shorter side costs less decomposed whole.
pub fn by_products(rows: usize, cols: usize, k: usize) -> bool {
    rows.min(cols) >= FEWEST.max(EACH * (k + SPARE))
}

/// The `k` largest singular triplets, or as many as there are above rounding.
///
/// Where the iteration promises to take longer than making the Gram matrix tridiagonal, as it does where the wanted values
/// hardly stand out from the others, that is done instead. If neither pays or converges, the matrix is decomposed
/// whole.
///
/// # Errors
/// [`Error::NotConverged`]; [`Error::NotFinite`] when an entry is not, [`Error::Overflow`] when a singular value is too
/// large for a double.
pub fn leading(operator: &Operator<'_>, k: usize) -> Result<Factors, Error> {
    leading_to(operator, k, TOLERANCE)
}

/// The same, with `‖Wᵀu − σv‖` of each triplet below this share of its `σ`: where vectors are compared one space with another,
/// and the error of a space is that over the distance to the next value.
///
/// # Errors
/// As [`leading`].
pub fn leading_to(operator: &Operator<'_>, k: usize, tolerance: f64) -> Result<Factors, Error> {
    let whole = || Ok(nonzero(exact::factors(operator)?, operator).truncated(k));
    if !by_products(operator.rows(), operator.cols(), k) {
        return whole();
    }
    let products = |steps| krylov(operator, k, steps, tolerance);
    if operator.has_doubles() {
        return products(MOST).map_or_else(whole, Ok);
    }
    let found = products(affordable(operator)).or_else(|| tridiagonal(operator, k, tolerance));
    found.or_else(|| products(MOST)).map_or_else(whole, Ok)
}

/// The triplets from the Gram matrix of the short side; none where that resolves too little.
fn tridiagonal(operator: &Operator<'_>, k: usize, tolerance: f64) -> Option<Factors> {
    if operator.rows() <= operator.cols() {
        return Reduced::of(operator)?.leading(operator, k, tolerance);
    }
    let transposed = operator.clone().transposed();
    Some(Reduced::of(&transposed)?.leading(&transposed, k, tolerance)?.transposed())
}

/// Steps of the iteration that take as long as the way through the Gram matrix.
fn affordable(operator: &Operator<'_>) -> usize {
    let (short, long) =
        (operator.rows().min(operator.cols()) as f64, operator.rows().max(operator.cols()) as f64);
    let gram = long * short * short + 4.0 / 3.0 * short.powi(3);
    // Two products with a block.
    let step = 4.0 * SLOWER * long * short * WIDTH as f64;
    ((gram / step) as usize).clamp(4, MOST)
}

/// `factors` without the triplets whose values are rounding, for which any vectors would do.
fn nonzero(factors: Factors, operator: &Operator<'_>) -> Factors {
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
fn krylov(operator: &Operator<'_>, k: usize, steps: usize, tolerance: f64) -> Option<Factors> {
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
    let last = values.get(k - 1).copied().unwrap_or(0.0);
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
        let product = |i: usize, j: usize| super::vector::dot(basis.column(i), basis.column(j));
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

#[cfg(test)]
mod tests {
    use super::super::dense::on_one_thread;
    use super::super::kernel::tests::noise;
    use super::super::operator::tests::{random, update};
    use super::*;
    use crate::matrix::Matrix;

    /// The iteration against the whole decomposition: values, and vectors by what they do.
    #[track_caller]
    fn check(name: &str, operator: &Operator<'_>, k: usize) {
        let found = krylov(operator, k, MOST, TOLERANCE).unwrap_or_else(|| panic!("{name}: no convergence"));
        hold(name, operator, k, &found);
    }

    /// The same where copies hide from a narrow block.
    #[track_caller]
    fn check_copies(name: &str, operator: &Operator<'_>, k: usize) {
        assert_eq!(krylov(operator, k, MOST, TOLERANCE), None, "{name}");
        hold(name, operator, k, &leading(operator, k).expect("converges"));
    }

    /// The same of the way through the Gram matrix.
    #[track_caller]
    fn check_both(name: &str, operator: &Operator<'_>, k: usize) {
        check(name, operator, k);
        let found =
            tridiagonal(operator, k, TOLERANCE).unwrap_or_else(|| panic!("{name}: not clear of rounding"));
        hold(name, operator, k, &found);
    }

    #[track_caller]
    fn hold(name: &str, operator: &Operator<'_>, k: usize, found: &Factors) {
        on_one_thread();
        let whole = nonzero(exact::factors(operator).expect("converges"), operator).truncated(k);
        let largest = whole.values.first().copied().unwrap_or(0.0);
        assert_eq!(found.values.len(), whole.values.len(), "{name}: {:?}", found.values);
        let (rows, cols) = (operator.rows(), operator.cols());
        let entries = operator.to_f64();
        for (i, (s, expected)) in found.values.iter().zip(&whole.values).enumerate() {
            assert!((s - expected).abs() <= 1e-11 * largest, "{name}: σ{i} is {s}, not {expected}");
            let (u, v) = (found.left.column(i), found.right.column(i));
            let forth =
                (0..rows).map(|r| super::super::vector::dot(&entries[r * cols..][..cols], v) - s * u[r]);
            let back =
                (0..cols).map(|c| (0..rows).map(|r| entries[r * cols + c] * u[r]).sum::<f64>() - s * v[c]);
            let misses = [forth.collect::<Vec<_>>(), back.collect()].map(|miss| norm(&miss));
            let [small, large] = if misses[0] <= misses[1] { misses } else { [misses[1], misses[0]] };
            assert!(small <= 1e-13 * largest, "{name}: triplet {i} is off by {small:e} on its better side");
            assert!(large <= 2.0 * TOLERANCE * largest, "{name}: triplet {i} is off by {large:e}");
        }
        for basis in [&found.left, &found.right] {
            let defect = |i: usize, j: usize| {
                let unit = f64::from(u8::from(i == j));
                (super::super::vector::dot(basis.column(i), basis.column(j)) - unit).abs()
            };
            let worst = (0..basis.count()).flat_map(|i| (0..=i).map(move |j| (i, j)));
            let worst = worst.map(|(i, j)| defect(i, j)).fold(0.0, f64::max);
            assert!(worst <= 1e-8, "{name}: vectors meet at {worst:e}");
        }
    }

    fn of(rows: usize, cols: usize, entry: impl Fn(usize, usize) -> f64) -> Matrix {
        let entries: Vec<f64> = (0..rows * cols).map(|i| entry(i / cols, i % cols)).collect();
        Matrix::from_f64(rows, cols, &entries).expect("sizes agree")
    }

    #[test]
    fn leading_triplets_are_those_of_the_whole_decomposition() {
        for (rows, cols) in [(150, 150), (90, 300), (300, 90), (20, 400)] {
            let weight = random(rows, cols, 1);
            check_both("noise", &Operator::from(&weight), 10);
            check_both("noise", &Operator::from(&weight).transposed(), 10);
            let update = update(rows, cols, 4, 1.5, 3);
            let tuned = Operator::from(&weight).plus(&Operator::from(&update)).expect("one shape");
            check_both("noise and an update", &tuned, 10);
            check("an update", &Operator::from(&update), 10);
            check_both("many", &tuned, 17);
        }
    }

    #[test]
    fn clusters_low_ranks_and_zeros_are_resolved() {
        check_copies("identity", &Operator::from(&of(120, 120, |i, j| f64::from(u8::from(i == j)))), 10);
        check_copies(
            "repeated",
            &Operator::from(&of(
                120,
                100,
                |i, j| if i == j { f64::from(u8::from(i < 12)) + 1.0 } else { 0.0 },
            )),
            14,
        );
        // More copies than a block is wide: above others, above zeros, between others, and equal but for rounding.
        let diagonal = |values: &[(usize, f64)]| {
            let all: Vec<f64> = values.iter().flat_map(|(n, x)| vec![*x; *n]).collect();
            of(200, 180, |i, j| if i == j { *all.get(i).unwrap_or(&0.0) } else { 0.0 })
        };
        for values in [
            &[(10, 2.0), (2, 1.9), (168, 0.1)][..],
            &[(20, 3.0), (20, 2.0), (20, 1.0)],
            &[(9, 3.0)],
            &[(1, 5.0), (1, 4.0), (12, 2.0), (20, 1.0)],
            &[(20, 1.0), (20, 1.0 - 6e-8), (80, 0.5)],
            &[(20, 1.0 + 1e-12), (160, 1.0)],
        ] {
            for k in [10, 16] {
                let weight = diagonal(values);
                let operator = Operator::from(&weight);
                hold("copies", &operator, k, &leading(&operator, k).expect("converges"));
            }
        }
        // A huge value above others that are near each other.
        let huge = of(200, 180, |i, j| {
            if i != j {
                0.0
            } else if i == 0 {
                1e10
            } else {
                70.0 - i as f64 / 10.0
            }
        });
        check("huge", &Operator::from(&huge), 10);
        check("zero", &Operator::from(&of(80, 70, |_, _| 0.0)), 10);
        check("rank one", &Operator::from(&of(80, 200, |i, j| (i + 1) as f64 * (j as f64 - 60.0))), 10);
        check("one entry", &Operator::from(&of(90, 90, |i, j| f64::from(u8::from(i + j == 0)))), 3);
        let decaying = of(140, 140, |i, j| if i == j { 0.1f64.powf(i as f64) } else { 0.0 });
        check("decaying", &Operator::from(&decaying), 10);
        let close = of(200, 200, |i, j| if i == j { 2.0 - 1e-7 * i as f64 } else { 0.0 });
        check_both("close", &Operator::from(&close), 10);
        check("a row", &Operator::from(&of(1, 300, |_, j| j as f64)), 5);
    }

    #[test]
    fn any_scale_gives_the_same_triplets() {
        let entries: Vec<f64> = noise(5).take(130 * 140).collect();
        let plain = Matrix::from_f64(130, 140, &entries).expect("sizes agree");
        let expected = leading(&Operator::from(&plain), 6).expect("converges");
        for power in [-66, 66, 480, -480] {
            let scale = 2f64.powi(power);
            let scaled: Vec<f64> = entries.iter().map(|x| x * scale).collect();
            let scaled = Matrix::from_f64(130, 140, &scaled).expect("sizes agree");
            let found = leading(&Operator::from(&scaled), 6).expect("converges");
            let unscaled: Vec<f64> = found.values.iter().map(|s| s / scale).collect();
            assert_eq!(unscaled, expected.values, "2^{power}");
            assert_eq!(found.left, expected.left, "2^{power}");
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let weight = random(700, 600, 4);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| leading(&Operator::from(&weight), 10)).expect("converges")
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn what_is_not_finite_has_no_triplets() {
        let mut entries = vec![1.0; 300 * 200];
        entries[77] = f64::NAN;
        let weight = Matrix::from_f64(300, 200, &entries).expect("sizes agree");
        assert!(leading(&Operator::from(&weight), 3).is_err());
    }
}
