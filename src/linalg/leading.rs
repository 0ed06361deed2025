//! The largest singular triplets of an operator, from a few dozen products with narrow blocks.
//!
//! Block Golub–Kahan–Lanczos with full reorthogonalization. Two orthonormal bases grow side by side: `Q` among the right
//! vectors, `P` among the left ones, with `W·Q = P·B` and `Wᵀ·P = Q·Bᵀ + X·R·Eᵀ`, where `E` picks the last block. With
//! `B = A·Σ·Cᵀ` the triplets are `(P·a, σ, Q·c)`; `W·v = σ·u` holds to rounding, and `‖Wᵀu − σv‖ = ‖R·Eᵀa‖` is known
//! without a product. `σ` is off by less than that, and in practice by its square. When the bases have grown to
//! [`MOST`] columns they are cut back to the best triplets (thick restart, Baglama & Reichel 2005).
//!
//! `B` is not taken from a recurrence but from the coefficients of the orthogonalization, so that columns that vanish
//! in a matrix of low rank, and the restart, need no case of their own. A block is never narrower than the number of
//! triplets wanted, so that equal singular values are all found.

use faer::Mat;

use super::dense::{Triplets, triplets};
use super::exact;
use super::factors::{Basis, Factors};
use super::operator::Operator;
use super::orthogonal::{self, Split};
use super::reduced::Reduced;
use super::vector::norm;
use crate::error::Error;

/// A triplet is found when `‖Wᵀu − σv‖` is below this share of `σ₁`.
pub(super) const TOLERANCE: f64 = 1e-9;
/// Extra columns of a block: the values just below the wanted ones converge into them.
const SPARE: usize = 4;
/// Blocks that the bases may hold.
const MOST: usize = 24;
/// Share of the steps forecast that it will take, since convergence becomes faster.
const SOONER: f64 = 0.6;
/// Products after which the whole decomposition would have been cheaper.
const PATIENCE: usize = 160;
/// A short side of fewer blocks than this is decomposed whole.
const FEWEST: usize = 8;

/// Whether so many triplets of a matrix of this shape are sought by products; a shorter side costs less decomposed whole.
pub fn by_products(rows: usize, cols: usize, k: usize) -> bool {
    rows.min(cols) >= FEWEST * width(k)
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

/// The same, with `‖Wᵀu − σv‖` of each triplet below this share of `σ₁`: where vectors are compared one space with another,
/// and the error of a space is that over the distance to the next value.
///
/// # Errors
/// As [`leading`].
pub fn leading_to(operator: &Operator<'_>, k: usize, tolerance: f64) -> Result<Factors, Error> {
    let whole = || Ok(nonzero(exact::factors(operator)?, operator).truncated(k));
    if !by_products(operator.rows(), operator.cols(), k) {
        return whole();
    }
    if operator.has_doubles() {
        return krylov(operator, k, PATIENCE / 2, tolerance).map_or_else(whole, Ok);
    }
    let found = krylov(operator, k, affordable(operator, k), tolerance)
        .or_else(|| tridiagonal(operator, k, tolerance));
    found.or_else(|| krylov(operator, k, PATIENCE / 2, tolerance)).map_or_else(whole, Ok)
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
fn affordable(operator: &Operator<'_>, k: usize) -> usize {
    let (short, long) =
        (operator.rows().min(operator.cols()) as f64, operator.rows().max(operator.cols()) as f64);
    let gram = long * short * short + 4.0 / 3.0 * short.powi(3);
    // Two products with a block, at less than half the speed of the Gram matrix with all that goes with them.
    let step = 4.0 * 2.5 * long * short * width(k) as f64;
    ((gram / step) as usize).clamp(FEWEST / 2, PATIENCE / 2)
}

/// Columns of a block: the width of the product kernel.
fn width(k: usize) -> usize {
    match k + SPARE {
        ..=16 => 16,
        17..=24 => 24,
        wide => wide.next_multiple_of(16),
    }
}

/// `factors` without the triplets whose values are rounding, for which any vectors would do.
fn nonzero(factors: Factors, operator: &Operator<'_>) -> Factors {
    let rounding = operator.rows().max(operator.cols()) as f64 * f64::EPSILON;
    let floor = rounding * factors.values.first().copied().unwrap_or(0.0);
    let count = factors.values.iter().take_while(|s| **s > floor).count();
    factors.truncated(count)
}

/// The bases, and the operator's action on them.
struct Space {
    right: Basis,
    left: Basis,
    /// `Pᵀ·W·Q`.
    inner: Mat<f64>,
    /// The next block of right vectors, orthonormal to all of `right`.
    next: Basis,
    /// `R`: coefficients of `Wᵀ·P` on `next`, a column for each of `left`'s last `rest.ncols()` columns.
    rest: Mat<f64>,
}

/// The triplets by iteration; none where that would take more than so many `steps`, as far as the residuals tell.
fn krylov(operator: &Operator<'_>, k: usize, steps: usize, tolerance: f64) -> Option<Factors> {
    let transposed = operator.clone().transposed();
    let width = width(k);
    let mut space = Space {
        right: Basis::empty(operator.cols()),
        left: Basis::empty(operator.rows()),
        inner: Mat::zeros(0, 0),
        next: start(operator.cols(), width),
        rest: Mat::zeros(0, 0),
    };
    let (mut scale, mut look_at) = (0.0, 4 * width);
    let mut before: Option<(usize, f64)> = None;
    for step in 1..=steps {
        space.grow(operator, &transposed, width, &mut scale);
        if !scale.is_finite() {
            return None;
        }
        let ended = space.next.count() == 0;
        if space.right.count() < look_at && !ended {
            continue;
        }
        let inner = triplets(space.inner.as_ref())?;
        let values = inner.values.clone();
        let wanted = k.min(values.len());
        let largest = values.first().copied().unwrap_or(0.0);
        let worst = (0..wanted).map(|i| space.residual(inner.left.col(i))).fold(0.0, f64::max) / largest;
        if ended || (worst <= tolerance && wanted == k) {
            let found = nonzero(space.triplets(&inner, wanted, values), operator);
            return holds((operator, &transposed), &found, width, tolerance).then_some(found);
        }
        let mut more = 1;
        if let Some((earlier, residual)) = before {
            let (gained, missing) = ((residual / worst).ln(), (worst / tolerance).ln());
            let forecast = missing / gained * (step - earlier) as f64;
            let sooner = if gained > 0.0 { SOONER * forecast } else { f64::INFINITY };
            if steps < PATIENCE / 2 && step as f64 + sooner > steps as f64 {
                return None;
            }
            // A look costs as much as a step or two.
            more = sooner.min(MOST as f64 / 4.0) as usize;
        }
        before = Some((step, worst));
        look_at = (space.right.count() + more.max(1) * width).min(MOST * width);
        if space.right.count() >= MOST * width {
            let kept = (k + width / 2).min(values.len());
            let triplets = space.triplets(&inner, kept, values);
            // All that is left over of the kept ones lies in the next block.
            (space.right, space.left) = (triplets.right, triplets.left);
            space.inner = Mat::from_fn(kept, kept, |i, j| if i == j { triplets.values[i] } else { 0.0 });
            look_at = kept + 4 * width;
        }
    }
    None
}

impl Space {
    /// Takes the next block into both bases and finds the one after it.
    fn grow(&mut self, operator: &Operator<'_>, transposed: &Operator<'_>, width: usize, scale: &mut f64) {
        let image = multiply(operator, &self.next, width);
        let larger = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
        *scale = image.columns().map(norm).fold(*scale, larger);
        let Split { inside, fresh, outside } = orthogonal::split(&self.left, &image, *scale);
        let (rows, cols) = (self.left.count(), self.right.count());
        self.inner =
            Mat::from_fn(rows + fresh.count(), cols + self.next.count(), |i, j| match j.checked_sub(cols) {
                None if i < rows => self.inner[(i, j)],
                None => 0.0,
                Some(j) if i < rows => inside[(i, j)],
                Some(j) => outside[(i - rows, j)],
            });
        self.right.extend(&self.next);
        self.left.extend(&fresh);
        let image = multiply(transposed, &fresh, width);
        let Split { fresh, outside, .. } = orthogonal::split(&self.right, &image, *scale);
        (self.next, self.rest) = (fresh, outside);
    }

    /// `‖Wᵀu − σv‖` of the triplet whose left coefficients are `a`.
    fn residual(&self, a: faer::ColRef<'_, f64>) -> f64 {
        let last = a.subrows(a.nrows() - self.rest.ncols(), self.rest.ncols());
        (&self.rest * last).norm_l2()
    }

    /// The first `count` triplets.
    fn triplets(&self, inner: &Triplets, count: usize, values: Vec<f64>) -> Factors {
        let of = |basis: &Basis, coefficients: &Mat<f64>| {
            Basis::of((basis.as_mat() * coefficients.subcols(0, count)).as_ref())
        };
        let (left, right) = (of(&self.left, &inner.left), of(&self.right, &inner.right));
        Factors { left, values, right }.truncated(count)
    }
}

/// Checks by products that triplets fit the operator and their bases are orthonormal.
fn holds(
    (operator, transposed): (&Operator<'_>, &Operator<'_>),
    found: &Factors,
    width: usize,
    tolerance: f64,
) -> bool {
    let Factors { left, values, right } = found;
    let allowed = 2.0 * tolerance * values.first().copied().unwrap_or(0.0);
    let fits = |operator: &Operator<'_>, from: &Basis, to: &Basis| {
        let image = multiply(operator, from, width);
        image.columns().zip(to.columns()).zip(values).all(|((image, to), value)| {
            let miss: Vec<f64> = image.iter().zip(to).map(|(x, y)| x - value * y).collect();
            super::vector::norm(&miss) <= allowed
        })
    };
    let orthonormal = |basis: &Basis| {
        let product = |i: usize, j: usize| super::vector::dot(basis.column(i), basis.column(j));
        let off = |i: usize, j: usize| (product(i, j) - f64::from(u8::from(i == j))).abs();
        (0..basis.count()).all(|i| (0..=i).all(|j| off(i, j) <= tolerance))
    };
    orthonormal(left) && orthonormal(right) && fits(operator, right, left) && fits(transposed, left, right)
}

/// The operator times each of at most `width` columns.
fn multiply(operator: &Operator<'_>, block: &Basis, width: usize) -> Basis {
    Basis::separated(&operator.times(&block.interleaved(width), width), width, block.count())
}

/// The first block: fixed columns that no matrix was made to be orthogonal to.
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
        let found =
            krylov(operator, k, PATIENCE / 2, TOLERANCE).unwrap_or_else(|| panic!("{name}: no convergence"));
        hold(name, operator, k, &found);
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
        check_both("identity", &Operator::from(&of(120, 120, |i, j| f64::from(u8::from(i == j)))), 10);
        check_both(
            "repeated",
            &Operator::from(&of(
                120,
                100,
                |i, j| if i == j { f64::from(u8::from(i < 12)) + 1.0 } else { 0.0 },
            )),
            14,
        );
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
