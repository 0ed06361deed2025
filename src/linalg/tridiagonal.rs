//! Eigenvalues of a symmetric tridiagonal matrix by counting, many at a time.
//!
//! The polynomials `p₀ = 1`, `p₁ = d₁ − x`, `pₖ₊₁ = (dₖ₊₁ − x)·pₖ − eₖ²·pₖ₋₁` are the leading minors of `T − x`, and the
//! number of sign changes among them is the number of eigenvalues below `x` (Sturm). One count costs `n` steps without a
//! division and tells, for any interval, how many eigenvalues it holds; a vector of points costs as much as one. First
//! a grid is refined until most intervals hold a single eigenvalue. Then every eigenvalue is bracketed on its own: by
//! secant steps on `pₙ`, which is at hand, and by halving where those do not help. A bracket only ever shrinks by counts,
//! so every eigenvalue is found to `ε·‖T‖`, a small one to an eighth of that, whatever the matrix; nothing here can fail
//! to converge. Every eigenvalue's steps are its own, so the bits depend neither on the number of threads nor on its
//! neighbors.
//!
//! The singular values of a bidiagonal matrix are the eigenvalues above zero of a tridiagonal one (Golub & Kahan 1965)
//! and are counted in the same way.
//!
//! Absolute, not relative accuracy: an eigenvalue far below `‖T‖` is right to `ε·‖T‖` only.

use super::bracket::{Bracket, Point, brackets};
use super::power_of_two;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Points evaluated together: four vectors of eight lanes hide the latency of a step.
const POINTS: usize = 32;
/// Vectors in flight.
const VECTORS: usize = 4;
/// Steps between two rescalings; a step changes a polynomial by a factor of 3 upwards and of `FLOOR` in two downwards.
const STRIDE: usize = 8;
/// Squared couplings below this share of `‖T‖²` count as this: far below rounding, and no polynomial becomes zero.
const FLOOR: f64 = 1e-36;
/// Times the grid is refined.
const ROUNDS: usize = 5;
/// Eigenvalues in one task.
const TASK: usize = 128;

/// All eigenvalues, ascending, of the matrix with this diagonal and `n − 1` couplings beside it, all finite.
pub(super) fn eigenvalues(arch: Arch, diagonal: &[f64], coupling: &[f64]) -> Vec<f64> {
    let n = diagonal.len();
    let reach = |i: usize| {
        let before = if i > 0 { coupling[i - 1].abs() } else { 0.0 };
        before + coupling.get(i).map_or(0.0, |e| e.abs())
    };
    // Gershgorin's discs hold all eigenvalues.
    let low = (0..n).map(|i| diagonal[i] - reach(i)).fold(f64::INFINITY, f64::min);
    let high = (0..n).map(|i| diagonal[i] + reach(i)).fold(f64::NEG_INFINITY, f64::max);
    let norm = low.abs().max(high.abs());
    if n == 0 || norm == 0.0 {
        return vec![0.0; n];
    }
    let problem = Scaled::new(arch, diagonal, coupling, norm);
    // Beyond the discs by more than rounding, so that the count there is sure.
    problem.found(low / problem.unit - 32.0 * problem.finest, 0, high / problem.unit)
}

/// The singular values, ascending, of the upper bidiagonal matrix with this diagonal and `n − 1` entries above it.
///
/// With the two interleaved beside a diagonal of zeros, every `±σ` is an eigenvalue: as many lie below zero as above it,
/// and only the upper half is sought. Values that can't be told from zero are zero.
pub(super) fn singular_values(arch: Arch, diagonal: &[f64], above: &[f64]) -> Vec<f64> {
    let n = diagonal.len();
    let coupling = interleaved(diagonal, above);
    let high = (0..=coupling.len())
        .map(|i| {
            i.checked_sub(1).map_or(0.0, |i| coupling[i].abs()) + coupling.get(i).map_or(0.0, |e| e.abs())
        })
        .fold(0.0, f64::max);
    if high == 0.0 {
        return vec![0.0; n];
    }
    let problem = Scaled::new(arch, &vec![0.0; 2 * n], &coupling, high);
    problem.found(0.0, n, high / problem.unit)
}

/// `d₁ e₁ d₂ e₂ …`: the off-diagonal of the Golub–Kahan matrix, whose diagonal is zero.
pub(super) fn interleaved(diagonal: &[f64], above: &[f64]) -> Vec<f64> {
    let above = above.iter().map(Some).chain(std::iter::repeat(None));
    diagonal.iter().zip(above).flat_map(|(d, e)| std::iter::once(*d).chain(e.copied())).collect()
}

/// How many eigenvalues lie below `x`, one point at a time, by the ratios of neighboring minors: a second opinion on
/// what was found, which shares no line with it.
pub(super) fn below(diagonal: &[f64], coupling: &[f64], x: f64) -> usize {
    let mut ratio = 1.0;
    let step = |k: usize| {
        let squared = if k > 0 { coupling[k - 1].powi(2) } else { 0.0 };
        ratio = diagonal[k] - x - squared / ratio;
        ratio = if ratio == 0.0 { f64::MIN_POSITIVE } else { ratio };
        ratio < 0.0
    };
    (0..diagonal.len()).map(step).filter(|negative| *negative).count()
}

/// The matrix divided by `unit`, a power of two near its norm.
struct Scaled {
    arch: Arch,
    diagonal: Vec<f64>,
    /// `−eₖ₋₁²` beside `dₖ`; the first is zero.
    coupling: Vec<f64>,
    unit: f64,
    /// The accuracy of a small eigenvalue; a large one is found to its own rounding.
    finest: f64,
}

impl Scaled {
    fn new(arch: Arch, diagonal: &[f64], coupling: &[f64], norm: f64) -> Self {
        let unit = power_of_two(norm);
        let squared = coupling.iter().map(|e| -(e / unit).powi(2).max(FLOOR));
        Self {
            arch,
            diagonal: diagonal.iter().map(|d| d / unit).collect(),
            coupling: std::iter::once(0.0).chain(squared).collect(),
            unit,
            finest: 0.25 * f64::EPSILON * (norm / unit),
        }
    }

    /// The eigenvalues from `low` to `high`, in units of the original; `below` of them all lie below `low`.
    fn found(&self, low: f64, below: usize, high: f64) -> Vec<f64> {
        let grid = self.grid(low, below, high);
        let starts: Vec<Bracket> = brackets(&grid, below..self.diagonal.len());
        let mut found = vec![0.0; starts.len()];
        found.par_chunks_mut(TASK).enumerate().for_each(|(task, out)| {
            let first = task * TASK;
            self.close(below + first, &starts[first..first + out.len()], out);
        });
        // Two neighbors within rounding of each other may have come out in the other order.
        found.sort_by(f64::total_cmp);
        found.iter().map(|x| x * self.unit).collect()
    }

    fn points(&self, xs: &[f64; POINTS]) -> [Point; POINTS] {
        let mut told = Told { below: [0.0; POINTS], value: [0.0; POINTS], power: [0.0; POINTS] };
        self.arch.dispatch(Count { diagonal: &self.diagonal, coupling: &self.coupling, xs, told: &mut told });
        std::array::from_fn(|i| Point {
            x: xs[i],
            below: told.below[i] as usize,
            value: told.value[i],
            power: told.power[i],
        })
    }

    /// Points between `low` and `high`, both included, denser where eigenvalues crowd; their counts never fall.
    fn grid(&self, low: f64, below: usize, high: f64) -> Vec<Point> {
        let n = self.diagonal.len();
        // The counts at the ends are sure; their values are not needed.
        let end = |x, below| Point { x, below, value: 0.0, power: 0.0 };
        let mut grid = vec![end(low, below), end(high + 32.0 * self.finest, n)];
        for round in 0..ROUNDS {
            let mut xs = vec![];
            let mut crowded = 0;
            for pair in grid.windows(2) {
                let inside = pair[1].below - pair[0].below;
                if inside < 2 {
                    continue;
                }
                crowded += inside;
                let more = if round == 0 { inside / 2 + 1 } else { inside };
                let step = (pair[1].x - pair[0].x) / (more + 1) as f64;
                if step > 16.0 * self.finest {
                    xs.extend((1..=more).map(|i| pair[0].x + step * i as f64));
                }
            }
            // A few crowded ones are found faster one by one.
            if xs.is_empty() || (round > 1 && crowded * 8 < n - below) {
                break;
            }
            grid.extend(self.all(&xs));
            grid.sort_by(|a, b| a.x.total_cmp(&b.x));
            for i in 1..grid.len() {
                grid[i].below = grid[i].below.max(grid[i - 1].below);
            }
        }
        grid
    }

    fn all(&self, xs: &[f64]) -> Vec<Point> {
        let batch = |xs: &[f64]| {
            // The last batch is filled up with copies.
            let padded: [f64; POINTS] = std::array::from_fn(|i| xs[i.min(xs.len() - 1)]);
            self.points(&padded)[..xs.len()].to_vec()
        };
        xs.par_chunks(POINTS).flat_map_iter(batch).collect()
    }

    /// Closes the brackets of the eigenvalues from index `first` on; a lane takes the next as soon as one is done.
    fn close(&self, first: usize, brackets: &[Bracket], out: &mut [f64]) {
        let mut waiting = 0..brackets.len();
        let mut lanes: [Option<(usize, Bracket)>; POINTS] =
            std::array::from_fn(|_| waiting.next().map(|i| (i, brackets[i])));
        let mut xs = [0.0; POINTS];
        while lanes.iter().any(Option::is_some) {
            for (x, lane) in xs.iter_mut().zip(&lanes) {
                if let Some((_, bracket)) = lane {
                    *x = bracket.next(self.finest);
                }
            }
            let points = self.points(&xs);
            for (lane, point) in lanes.iter_mut().zip(points) {
                if let Some((i, bracket)) = lane {
                    bracket.shrink(first + *i, point);
                    if bracket.is_closed(self.finest) {
                        out[*i] = bracket.value();
                        *lane = waiting.next().map(|i| (i, brackets[i]));
                    }
                }
            }
        }
    }
}

/// The results for a batch of points, lane by lane.
struct Told {
    below: [f64; POINTS],
    value: [f64; POINTS],
    power: [f64; POINTS],
}

/// Counts sign changes at a batch of points.
struct Count<'a> {
    diagonal: &'a [f64],
    coupling: &'a [f64],
    xs: &'a [f64; POINTS],
    told: &'a mut Told,
}

impl WithSimd for Count<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (xs, _) = pulp::as_arrays::<VECTORS, _>(S::as_simd_f64s(self.xs).0);
        let (below, _) = pulp::as_arrays_mut::<VECTORS, _>(S::as_mut_simd_f64s(&mut self.told.below).0);
        let (value, _) = pulp::as_arrays_mut::<VECTORS, _>(S::as_mut_simd_f64s(&mut self.told.value).0);
        let (power, _) = pulp::as_arrays_mut::<VECTORS, _>(S::as_mut_simd_f64s(&mut self.told.power).0);
        for (((xs, below), value), power) in xs.iter().zip(below).zip(value).zip(power) {
            [*below, *value, *power] = sturm(simd, self.diagonal, self.coupling, xs);
        }
    }
}

/// Sign changes, `pₙ` and its power at the points `xs`.
#[inline(always)]
fn sturm<S: Simd>(
    simd: S,
    diagonal: &[f64],
    coupling: &[f64],
    xs: &[S::f64s; VECTORS],
) -> [[S::f64s; VECTORS]; 3] {
    let (zero, one) = (simd.splat_f64s(0.0), simd.splat_f64s(1.0));
    let (small, large) = (simd.splat_f64s(2f64.powi(-256)), simd.splat_f64s(2f64.powi(256)));
    let (up, down) = (simd.splat_f64s(2f64.powi(512)), simd.splat_f64s(2f64.powi(-512)));
    let minus = simd.splat_f64s(-1.0);
    let (mut before, mut now) = ([zero; VECTORS], [one; VECTORS]);
    let mut negative = [simd.less_than_f64s(one, zero); VECTORS];
    let (mut changes, mut power) = ([zero; VECTORS], [zero; VECTORS]);
    for (diagonal, coupling) in diagonal.chunks(STRIDE).zip(coupling.chunks(STRIDE)) {
        for (d, e) in diagonal.iter().zip(coupling) {
            let (d, e) = (simd.splat_f64s(*d), simd.splat_f64s(*e));
            for r in 0..VECTORS {
                let next = simd.mul_add_e_f64s(simd.sub_f64s(d, xs[r]), now[r], simd.mul_f64s(e, before[r]));
                // A zero counts as positive: the change is then found at the step after it.
                let sign = simd.less_than_f64s(next, zero);
                let changed = simd.xor_m64s(negative[r], sign);
                changes[r] = simd.add_f64s(changes[r], simd.select_f64s(changed, one, zero));
                (before[r], now[r], negative[r]) = (now[r], next, sign);
            }
        }
        for r in 0..VECTORS {
            let size = simd.max_f64s(simd.abs_f64s(before[r]), simd.abs_f64s(now[r]));
            let (low, high) = (simd.less_than_f64s(size, small), simd.less_than_f64s(large, size));
            let factor = simd.select_f64s(low, up, simd.select_f64s(high, down, one));
            let shift = simd.select_f64s(low, minus, simd.select_f64s(high, one, zero));
            before[r] = simd.mul_f64s(before[r], factor);
            now[r] = simd.mul_f64s(now[r], factor);
            power[r] = simd.add_f64s(power[r], shift);
        }
    }
    [changes, now, power]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(diagonal: &[f64], coupling: &[f64], expected: &[f64]) {
        // At most three entries stand in a row.
        let norm = 3.0 * diagonal.iter().chain(coupling).fold(0.0f64, |m, x| m.max(x.abs()));
        let found = eigenvalues(Arch::new(), diagonal, coupling);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 4.0 * f64::EPSILON * norm, "{found:e} is not {expected:e}");
        }
    }

    /// A seeded stream of numbers in (−½, ½).
    fn noise() -> impl FnMut() -> f64 {
        let mut state = 1u32;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.5
        }
    }

    /// The naive twin: one point at a time, by ratios of neighboring polynomials, halving only.
    /// A dense solver is a worse twin: faer's is off by a hundred roundings where 40-digit arithmetic confirms this one.
    fn naive(diagonal: &[f64], coupling: &[f64]) -> Vec<f64> {
        let bound = 3.0 * diagonal.iter().chain(coupling).fold(0.0f64, |m, x| m.max(x.abs()));
        let eigenvalue = |i: usize| {
            let (mut low, mut high) = (-bound, bound);
            for _ in 0..200 {
                let middle = 0.5 * (low + high);
                if below(diagonal, coupling, middle) > i { high = middle } else { low = middle }
            }
            low
        };
        (0..diagonal.len()).map(eigenvalue).collect()
    }

    #[test]
    fn the_second_difference_has_its_known_eigenvalues() {
        for n in [1, 2, 7, 8, 9, 100, 513] {
            let angle = |k: usize| std::f64::consts::PI * k as f64 / (2 * (n + 1)) as f64;
            let expected: Vec<f64> = (1..=n).map(|k| 4.0 * angle(k).sin().powi(2)).collect();
            check(&vec![2.0; n], &vec![-1.0; n - 1], &expected);
        }
    }

    #[test]
    fn eigenvalues_agree_with_the_naive_count() {
        for n in [2, 3, 31, 33, 200] {
            let mut noise = noise();
            let (diagonal, coupling): (Vec<f64>, Vec<f64>) = (0..n).map(|_| (noise(), noise())).unzip();
            check(&diagonal, &coupling[1..], &naive(&diagonal, &coupling[1..]));
        }
    }

    #[test]
    fn clusters_zeros_and_scales_are_no_trouble() {
        check(&[], &[], &[]);
        check(&[0.0; 3], &[0.0; 2], &[0.0; 3]);
        check(&[5.0; 40], &[0.0; 39], &[5.0; 40]);
        check(&[1e-300, 3e-300], &[0.0], &[1e-300, 3e-300]);
        check(&[1e300, 3e300], &[0.0], &[1e300, 3e300]);
        let graded: Vec<f64> = (0..60).map(|i| 10f64.powi(-i)).collect();
        let mut ascending = graded.clone();
        ascending.reverse();
        check(&graded, &[0.0; 59], &ascending);
        // Wilkinson's matrix: pairs that agree to many digits.
        let wilkinson: Vec<f64> = (-10..=10).map(|i: i32| f64::from(i.abs())).collect();
        check(&wilkinson, &[1.0; 20], &naive(&wilkinson, &[1.0; 20]));
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let mut noise = noise();
        let (diagonal, coupling): (Vec<f64>, Vec<f64>) = (0..700).map(|_| (noise(), noise())).unzip();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| eigenvalues(Arch::new(), &diagonal, &coupling[1..]))
        };
        assert_eq!(run(1), run(3));
    }
}
