//! The largest singular value alone, from a few dozen passes over the weight.
//!
//! Lanczos' iteration on `WᵀW`, all of whose vectors are kept and orthogonalized against each other. A pass takes a few rows
//! at a time, multiplies them with the vector and adds them up again, so that the weight is read once a step. Nothing of the
//! largest eigenvalue is lost by squaring: what rounding does to `λ₁` is relative to `λ₁`.
//!
//! The largest Ritz value `θ ≤ λ₁` has the residual `ρ = ‖WᵀWx − θx‖`, which is known without a pass. Some eigenvalue lies
//! within `ρ` of it. If the iteration cannot tell `λ₁` from eigenvalues below it, `x` is a mixture of their vectors in the
//! proportion that the start has, and `λ₁ − θ ≤ ρ·|c₂/c₁|`. The bound takes that for [`MIXED`] at most, of which a random
//! start falls short once in 150 times, and only where two values agree to ten digits. In practice `θ` is off by about `ρ²`
//! over the distance to the next eigenvalue: far less.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::krylov::start;
use super::operator::{Operator, Orientation, Term};
use super::ql::eigenpairs;
use super::vector::{dot, norm};
use crate::matrix::Matrix;

/// The residual that ends the iteration, relative to `λ₁`: the bound is then below the floor of the fast route.
const TOLERANCE: f64 = 2e-9;
/// How far the start may lean away from the leading direction, towards others that are not told from it.
const MIXED: f64 = 100.0;
/// Passes after which the whole decomposition is not much dearer.
const MOST_STEPS: usize = 160;
/// Steps before the first look; each further one comes after a quarter more.
const FIRST_LOOK: usize = 8;
/// Rows that are multiplied together.
const ROWS: usize = 4;
/// Rows that one task sums, at least, and tasks, at most: by shape alone, so that the sum has one order.
const FEWEST_ROWS: usize = 256;
const MOST_TASKS: usize = 64;
/// Entries that are summed side by side.
const LANES: usize = 8;

/// A largest singular value: never above the true one but for rounding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Largest {
    /// `σ₁`.
    pub value: f64,
    /// How far it may be off.
    pub error: f64,
}

/// The largest singular value of a stored weight, or of a sum of such; none where it does not converge soon, an entry is not
/// finite, or a term is a product of thin factors.
pub fn largest(operator: &Operator<'_>) -> Option<Largest> {
    Sum::of(operator)?.largest((operator.rows(), operator.cols()))
}

/// `√Σw²` over the entries of a stored weight, or of a sum of such; none of products of thin factors.
pub fn norm_of_entries(operator: &Operator<'_>) -> Option<f64> {
    let (sum, cols) = (Sum::of(operator)?, operator.cols());
    let (mut row, mut other) = (vec![0.0; cols], vec![0.0; cols]);
    let squares = (0..operator.rows()).map(|i| {
        sum.row(i, &mut row, &mut other);
        dot(&row, &row)
    });
    Some(squares.sum::<f64>().sqrt())
}

/// Stored weights of one shape, each with what it is multiplied by.
struct Sum<'a> {
    terms: Vec<(f64, &'a Matrix)>,
}

impl<'a> Sum<'a> {
    fn of(operator: &Operator<'a>) -> Option<Self> {
        let stored = |(factor, term): &(f64, Term<'a>)| match term {
            Term::Stored(matrix) => Some((*factor, *matrix)),
            Term::LowRank(_) => None,
        };
        let terms = operator.terms.iter().map(stored).collect::<Option<_>>()?;
        (operator.side == Orientation::AsStored).then_some(Self { terms })
    }

    /// A row of the sum; `other` is room for one more.
    #[inline(always)]
    fn row(&self, row: usize, line: &mut [f64], other: &mut [f64]) {
        let cols = line.len();
        for (i, (factor, matrix)) in self.terms.iter().enumerate() {
            let entries = row * cols..(row + 1) * cols;
            if i == 0 {
                matrix.widen(entries, line);
                if factor.total_cmp(&1.0).is_ne() {
                    line.iter_mut().for_each(|x| *x *= factor);
                }
            } else {
                matrix.widen(entries, other);
                line.iter_mut().zip(&*other).for_each(|(x, y)| *x += factor * y);
            }
        }
    }

    fn largest(&self, (rows, cols): (usize, usize)) -> Option<Largest> {
        // A root, a length and a quotient round, too, however small the matrix is.
        let rounding = rows.max(cols).max(LANES) as f64 * f64::EPSILON;
        let mut basis: Vec<Vec<f64>> = vec![start(cols, 1).column(0).to_vec()];
        let (mut diagonal, mut beside) = (vec![], vec![]);
        let mut look_at = FIRST_LOOK;
        for step in 1..=MOST_STEPS.min(cols) {
            let last = &basis[step - 1];
            let mut next = self.pass(rows, last);
            diagonal.push(dot(last, &next));
            // Twice is enough (Giraud, Langou & Rozložník 2005).
            for _ in 0..2 {
                for vector in &basis {
                    let share = dot(vector, &next);
                    next.iter_mut().zip(vector).for_each(|(x, v)| *x -= share * v);
                }
            }
            let left = norm(&next);
            if !left.is_finite() {
                return None;
            }
            let size = diagonal.iter().fold(0.0f64, |size, x| size.max(*x));
            let ended = left <= rounding * size || step == cols;
            if ended || step == look_at || step == MOST_STEPS {
                look_at = step + (step / 4).max(1);
                let pairs = eigenpairs(&mut diagonal.clone(), &beside, step - 1..step);
                let top = pairs.order[0];
                let (eigenvalue, share) = (pairs.values[top].max(0.0), pairs.vectors[(step - 1, top)].abs());
                let residual = if ended { 0.0 } else { left * share };
                if residual <= TOLERANCE * eigenvalue {
                    let value = eigenvalue.sqrt();
                    let beyond = if value > 0.0 { MIXED * residual / (2.0 * value) } else { 0.0 };
                    return Some(Largest { value, error: beyond + rounding * value });
                }
            }
            next.iter_mut().for_each(|x| *x /= left);
            beside.push(left);
            basis.push(next);
        }
        None
    }

    /// `WᵀWx`.
    fn pass(&self, rows: usize, x: &[f64]) -> Vec<f64> {
        let arch = Arch::new();
        let of_task = rows.div_ceil(MOST_TASKS).max(FEWEST_ROWS).next_multiple_of(ROWS);
        let width = x.len().next_multiple_of(LANES);
        let mut padded = x.to_vec();
        padded.resize(width, 0.0);
        let firsts: Vec<usize> = (0..rows).step_by(of_task).collect();
        let sums: Vec<Vec<f64>> = firsts
            .into_par_iter()
            .map(|first| {
                let mut sum = vec![0.0; width];
                let rows = first..rows.min(first + of_task);
                arch.dispatch(Pass { of: self, rows, x: &padded, cols: x.len(), sum: &mut sum });
                sum
            })
            .collect();
        let mut sums = sums.into_iter();
        let mut sum = sums.next().unwrap_or_default();
        for more in sums {
            sum.iter_mut().zip(more).for_each(|(x, y)| *x += y);
        }
        sum.truncate(x.len());
        sum
    }
}

/// Adds what `rows` of a weight have in `WᵀWx` to `sum`; both vectors are filled with zeros to whole lanes.
struct Pass<'a, 'w> {
    of: &'a Sum<'w>,
    rows: std::ops::Range<usize>,
    x: &'a [f64],
    cols: usize,
    sum: &'a mut [f64],
}

impl WithSimd for Pass<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { of, rows, x, cols, sum } = self;
        let width = x.len();
        let mut panel = vec![0.0; ROWS * width];
        let mut other = vec![0.0; cols];
        for first in rows.clone().step_by(ROWS) {
            let count = ROWS.min(rows.end - first);
            panel[count * width..].fill(0.0);
            for (row, line) in (first..first + count).zip(panel.chunks_exact_mut(width)) {
                of.row(row, &mut line[..cols], &mut other);
            }
            let products = products(&panel, x);
            add(&panel, products, sum);
        }
    }
}

/// Each row of the panel times `x`.
#[inline(always)]
fn products(panel: &[f64], x: &[f64]) -> [f64; ROWS] {
    let (x, _) = x.as_chunks::<LANES>();
    let lines = lines(panel);
    let mut sums = [[0.0; LANES]; ROWS];
    for (j, x) in x.iter().enumerate() {
        for (sums, line) in sums.iter_mut().zip(lines) {
            for i in 0..LANES {
                sums[i] += line[j][i] * x[i];
            }
        }
    }
    sums.map(|sums| sums.iter().sum())
}

/// `sum` with the panel's rows added, each times its own number.
#[inline(always)]
fn add(panel: &[f64], by: [f64; ROWS], sum: &mut [f64]) {
    let (sum, _) = sum.as_chunks_mut::<LANES>();
    let lines = lines(panel);
    for (j, sum) in sum.iter_mut().enumerate() {
        for (line, by) in lines.iter().zip(by) {
            for i in 0..LANES {
                sum[i] += by * line[j][i];
            }
        }
    }
}

/// The rows of a panel.
#[inline(always)]
fn lines(panel: &[f64]) -> [&[[f64; LANES]]; ROWS] {
    let width = panel.len() / ROWS;
    std::array::from_fn(|row| panel[row * width..(row + 1) * width].as_chunks::<LANES>().0)
}

#[cfg(test)]
mod tests {
    use super::super::kernel::tests::noise;
    use super::super::operator::tests::random;
    use super::*;
    use crate::matrix::Dtype;
    use crate::spectrum::Route;

    /// The value against that of the whole decomposition, within its bound.
    #[track_caller]
    fn check(name: &str, matrix: &Matrix) {
        let whole = super::super::singular_values(matrix, Route::Direct).expect("converges").largest();
        let Largest { value, error } = largest(&Operator::from(matrix)).expect("converges");
        assert!(error <= 2e-7 * whole, "{name}: {error:e} of {whole}");
        let rounding = matrix.rows().max(matrix.cols()).max(LANES) as f64 * f64::EPSILON * whole;
        let within = value - rounding <= whole && whole <= value + error;
        assert!(within, "{name}: {value:e} is not {whole:e}, to {error:e}");
    }

    fn f32_matrix(rows: usize, cols: usize, entries: impl Iterator<Item = f64>) -> Matrix {
        let bytes = entries.take(rows * cols).flat_map(|x| (x as f32).to_le_bytes()).collect();
        Matrix::new(rows, cols, Dtype::F32, bytes).expect("sizes agree")
    }

    #[test]
    fn it_is_that_of_the_whole_decomposition_within_its_bound() {
        for (rows, cols) in [(1, 1), (1, 9), (9, 1), (7, 300), (300, 7), (257, 301), (600, 259)] {
            check(&format!("{rows} × {cols}"), &random(rows, cols, rows as u64));
        }
        let decaying = noise(3).enumerate().map(|(i, x)| x / (1 + i % 300) as f64);
        check("decaying columns", &f32_matrix(280, 300, decaying));
        check("ones", &f32_matrix(300, 260, std::iter::repeat(1.0)));
        check("zeros", &f32_matrix(300, 260, std::iter::repeat(0.0)));
        let diagonal =
            |of: fn(usize) -> f64| move |i: usize| if i.is_multiple_of(301) { of(i / 301) } else { 0.0 };
        check("all alike", &f32_matrix(300, 300, (0..).map(diagonal(|_| 3.0))));
        check("even steps", &f32_matrix(300, 300, (0..).map(diagonal(|i| 1.0 + i as f64 / 300.0))));
    }

    #[test]
    fn values_that_hardly_differ_are_told_apart_or_within_the_bound() {
        for digits in 3..15 {
            for seed in 0..8 {
                let gap = 10f64.powi(-digits);
                // A rotation of the diagonal, so that nothing is special about any entry.
                let side = 40;
                let mut entries = vec![0.0; side * side];
                let v: Vec<f64> = noise(seed).take(side).collect();
                let length: f64 = v.iter().map(|x| x * x).sum();
                let reflected = |i: usize, j: usize| f64::from(u8::from(i == j)) - 2.0 * v[i] * v[j] / length;
                let value = |k: usize| match k {
                    0 => 1.0,
                    1..4 => 1.0 - k as f64 * gap,
                    _ => 0.9 / k as f64,
                };
                for i in 0..side {
                    for j in 0..side {
                        entries[i * side + j] =
                            (0..side).map(|k| reflected(i, k) * value(k) * reflected(k, j)).sum();
                    }
                }
                let matrix = Matrix::from_f64(side, side, &entries).expect("sizes agree");
                check(&format!("1e-{digits}, {seed}"), &matrix);
            }
        }
    }

    #[test]
    fn a_difference_is_never_formed() {
        let (base, tuned) = (random(270, 300, 1), random(270, 300, 2));
        let difference = Operator::from(&tuned).minus(&Operator::from(&base)).expect("one shape");
        let dense = Matrix::from_f64(270, 300, &difference.to_f64()).expect("sizes agree");
        check("dense", &dense);
        assert_eq!(largest(&difference), largest(&Operator::from(&dense)));
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let weight = random(1700, 600, 4);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| largest(&Operator::from(&weight))).expect("converges")
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn scale_changes_nothing_but_scale() {
        let of = |scale: f64| {
            let entries = noise(2).map(|x| f64::from(x as f32) * scale);
            largest(&Operator::from(&f32_matrix(300, 290, entries))).expect("converges")
        };
        let Largest { value, error } = of(1.0);
        for power in [-60, 60, 120] {
            let scale = 2f64.powi(power);
            assert_eq!(of(scale), Largest { value: value * scale, error: error * scale }, "2^{power}");
        }
    }

    #[test]
    fn what_is_not_finite_has_none() {
        let mut entries = vec![1.0; 300 * 200];
        entries[77] = f64::NAN;
        let weight = Matrix::from_f64(300, 200, &entries).expect("sizes agree");
        assert_eq!(largest(&Operator::from(&weight)), None);
    }
}
