//! Eigenvectors of a symmetric tridiagonal matrix, all or a run of them, by divide and conquer.
//!
//! The matrix is cut in two by taking one coupling away; the halves' eigenvectors make the whole a diagonal plus a matrix
//! of rank one (Cuppen 1981), whose eigenvectors `secular` finds. A direction that the rank-one part does not touch, or
//! that can be turned out of it, keeps its vector: clusters cost nothing. Everything else is one product, and the vectors
//! are orthogonal by construction, whatever the gaps (Gu & Eisenstat 1995).
//!
//! A vector is right to `ε·‖T‖` over the distance to the next eigenvalue; what is far below `‖T‖` has no digits of its own.

use faer::{Accum, Mat, MatMut};
use pulp::Arch;
use std::ops::Range;

use super::inverse::Tridiagonal;
use super::product::multiply;
use super::ql::{self, Pairs, rotate};
use super::secular::Secular;

/// Up to this side rotations are cheaper than products.
const LEAF: usize = 32;
/// From this side on both halves may run at once.
const SPLIT: usize = 128;
/// Couplings below this share of rounding are none: rotations of numbers that underflow would not be orthogonal.
const NOTHING: f64 = 1e-3 * f64::EPSILON;

/// The eigenpairs whose ascending indices are `wanted`.
pub(super) fn eigenpairs(arch: Arch, tridiagonal: &Tridiagonal, wanted: Range<usize>) -> Pairs {
    let Tridiagonal { diagonal, coupling } = tridiagonal;
    let largest = diagonal.iter().chain(coupling).fold(0.0f64, |most, x| most.max(x.abs()));
    let above = |least: f64| move |x: &f64| if x.abs() <= least * largest { 0.0 } else { *x };
    let mut diagonal: Vec<f64> = diagonal.iter().map(above(f64::EPSILON * f64::EPSILON)).collect();
    let mut coupling: Vec<f64> = coupling.iter().map(above(NOTHING)).collect();
    let division = Division { arch, tolerance: 8.0 * f64::EPSILON * largest };
    division.of(&mut diagonal, &mut coupling, wanted)
}

struct Division {
    arch: Arch,
    /// What is this small is rounding of the whole.
    tolerance: f64,
}

impl Division {
    /// Of `n` diagonal entries and `n − 1` couplings, which are used up.
    fn of(&self, diagonal: &mut [f64], coupling: &mut [f64], wanted: Range<usize>) -> Pairs {
        let n = diagonal.len();
        if n <= LEAF {
            return ql::eigenpairs(diagonal, coupling, wanted);
        }
        let half = n / 2;
        let taken = coupling[half - 1];
        diagonal[half - 1] -= taken.abs();
        diagonal[half] -= taken.abs();
        let (upper, lower) = diagonal.split_at_mut(half);
        let (beside_upper, beside_lower) = coupling.split_at_mut(half - 1);
        let mut upper = || self.of(upper, beside_upper, 0..half);
        let mut lower = || self.of(lower, &mut beside_lower[1..], 0..n - half);
        let (upper, lower) = if n < SPLIT { (upper(), lower()) } else { rayon::join(upper, lower) };
        self.merged(upper, lower, taken, wanted)
    }

    /// The eigenpairs of both halves with `taken` between them again.
    fn merged(&self, upper: Pairs, lower: Pairs, taken: f64, wanted: Range<usize>) -> Pairs {
        let (half, n) = (upper.values.len(), upper.values.len() + lower.values.len());
        // T = diag(values) + 2|taken|·z·zᵀ in the halves' vectors, with z of length one.
        let root = 0.5f64.sqrt();
        let ends = |j: usize| upper.vectors[(half - 1, j)];
        let starts = |j: usize| lower.vectors[(0, j)] * taken.signum();
        let z = (0..half).map(ends).chain((0..n - half).map(starts)).map(|x| root * x).collect();
        let values: Vec<f64> = upper.values.iter().chain(&lower.values).copied().collect();
        let mut ascending: Vec<usize> =
            upper.order.iter().copied().chain(lower.order.iter().map(|j| half + j)).collect();
        ascending.sort_by(|i, j| values[*i].total_cmp(&values[*j]));
        let mut deflation = Deflation { values, z, halves: vec![], kept: vec![], turns: vec![] };
        deflation.halves = (0..n).map(|j| Halves { upper: j < half, lower: j >= half }).collect();
        deflation.run(&ascending, 2.0 * taken.abs(), self.tolerance);
        let Deflation { values, z, halves, kept, turns } = deflation;

        // Columns by the half they live in, so that the products meet no blocks of zeros: the upper one alone, both, the
        // lower one alone; those that keep their vectors behind them.
        let place = |j: &usize| if halves[*j].lower { 1 + u8::from(!halves[*j].upper) } else { 0 };
        let mut rows: Vec<usize> = (0..kept.len()).collect();
        rows.sort_by_key(|i| place(&kept[*i]));
        let mut is_kept = vec![false; n];
        kept.iter().for_each(|j| is_kept[*j] = true);
        let others: Vec<usize> = (0..n).filter(|j| !is_kept[*j]).collect();
        let columns = || rows.iter().map(|i| kept[*i]).chain(others.iter().copied());
        let mut above = HalfRows::new(&upper, columns().filter(|j| halves[*j].upper), n, 0);
        let mut below = HalfRows::new(&lower, columns().filter(|j| halves[*j].lower), n, half);
        drop((upper, lower));
        turns.iter().for_each(|turn| {
            above.turn(turn);
            below.turn(turn);
        });

        let poles: Vec<f64> = kept.iter().map(|j| values[*j]).collect();
        let weights: Vec<f64> = kept.iter().map(|j| z[*j]).collect();
        let secular = Secular { arch: self.arch, poles: &poles, z: &weights, rho: 2.0 * taken.abs() };
        let roots = secular.roots();
        let new = |i: usize| (roots[i].value(), i);
        let old = |i: usize| (values[others[i]], kept.len() + i);
        let mut all: Vec<(f64, usize)> = (0..kept.len()).map(new).chain((0..others.len()).map(old)).collect();
        all.sort_by(|x, y| x.0.total_cmp(&y.0));
        let all = &all[wanted.start.min(n)..wanted.end.min(n)];
        let mut formed: Vec<usize> = all.iter().map(|(_, i)| *i).filter(|i| *i < kept.len()).collect();
        formed.sort_unstable();
        let inner = secular.vectors(&roots, &formed, &rows);
        let count = |part: &HalfRows| columns().take(kept.len()).filter(|j| part.at[*j].is_some()).count();
        let (uppers, lowers) = (count(&above), count(&below));
        let mut vectors = Mat::zeros(n, all.len());
        let mut product = vectors.as_mut().subcols_mut(0, formed.len());
        let times = |out: MatMut<'_, f64>, part: &HalfRows, first: usize, count: usize| {
            multiply(
                out,
                Accum::Replace,
                part.vectors.as_ref().subcols(0, count),
                inner.as_ref().subrows(first, count),
                1.0,
            );
        };
        times(product.as_mut().subrows_mut(0, half), &above, 0, uppers);
        times(product.as_mut().subrows_mut(half, n - half), &below, kept.len() - lowers, lowers);
        let mut pairs = Pairs { values: vec![], vectors, order: vec![0; all.len()] };
        pairs.values = formed.iter().map(|i| roots[*i].value()).collect();
        for (rank, (value, i)) in all.iter().enumerate() {
            if let Some(j) = i.checked_sub(kept.len()).map(|i| others[i]) {
                let to = pairs.values.len();
                pairs.values.push(*value);
                pairs.order[rank] = to;
                for (part, first) in [(&above, 0), (&below, half)] {
                    if let Some(from) = part.at[j] {
                        let from = part.vectors.col(from);
                        pairs.vectors.col_mut(to).subrows_mut(first, from.nrows()).copy_from(from);
                    }
                }
            } else {
                pairs.order[rank] = formed.partition_point(|other| other < i);
            }
        }
        pairs
    }
}

/// Which halves of the matrix a vector lives in.
#[derive(Clone, Copy)]
struct Halves {
    upper: bool,
    lower: bool,
}

/// Two columns that turn in their plane: the first keeps its vector then.
struct Turn {
    still: usize,
    moving: usize,
    cosine: f64,
    sine: f64,
}

/// What the rank-one part leaves alone is taken out of it.
struct Deflation {
    values: Vec<f64>,
    z: Vec<f64>,
    halves: Vec<Halves>,
    /// Columns that stay in, ascending by value.
    kept: Vec<usize>,
    turns: Vec<Turn>,
}

impl Deflation {
    fn run(&mut self, ascending: &[usize], rho: f64, tolerance: f64) {
        let Self { values, z, halves, kept, turns } = self;
        let mut last: Option<usize> = None;
        for &j in ascending.iter().filter(|j| rho * z[**j].abs() > tolerance).collect::<Vec<_>>() {
            if let Some(p) = last {
                let size = z[p].hypot(z[j]);
                let (cosine, sine) = (z[j] / size, -z[p] / size);
                if ((values[j] - values[p]) * cosine * sine).abs() <= tolerance {
                    // Near enough to equal: the plane turns until the first of the two has no part in z.
                    (z[j], z[p]) = (size, 0.0);
                    turns.push(Turn { still: p, moving: j, cosine, sine });
                    let either = Halves {
                        upper: halves[p].upper || halves[j].upper,
                        lower: halves[p].lower || halves[j].lower,
                    };
                    (halves[p], halves[j]) = (either, either);
                    let (c, s) = (cosine * cosine, sine * sine);
                    (values[p], values[j]) = (values[p] * c + values[j] * s, values[p] * s + values[j] * c);
                } else {
                    kept.push(p);
                }
            }
            last = Some(j);
        }
        kept.extend(last);
    }
}

/// The rows of one half of some columns, one after the other.
struct HalfRows {
    vectors: Mat<f64>,
    /// Where each of the `n` columns is, if it is.
    at: Vec<Option<usize>>,
}

impl HalfRows {
    /// `columns` of all `n`, of which those from `first` on are the half's own.
    fn new(own: &Pairs, columns: impl Iterator<Item = usize>, n: usize, first: usize) -> Self {
        let columns: Vec<usize> = columns.collect();
        let (mut vectors, mut at) = (Mat::zeros(own.vectors.nrows(), columns.len()), vec![None; n]);
        for (to, j) in columns.into_iter().enumerate() {
            at[j] = Some(to);
            if let Some(from) = j.checked_sub(first).filter(|from| *from < own.values.len()) {
                vectors.col_mut(to).copy_from(own.vectors.col(from));
            }
        }
        Self { vectors, at }
    }

    fn turn(&mut self, turn: &Turn) {
        if let (Some(still), Some(moving)) = (self.at[turn.still], self.at[turn.moving]) {
            rotate(self.vectors.as_mut(), still, moving, turn.cosine, turn.sine);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::tests::{machines, noise};
    use super::super::tridiagonal::eigenvalues;
    use super::*;

    fn tridiagonal(diagonal: Vec<f64>, coupling: Vec<f64>) -> Tridiagonal {
        Tridiagonal { diagonal, coupling }
    }

    /// All vectors: orthonormal to rounding, and each belongs to its value, which is the counted one.
    #[track_caller]
    fn check(name: &str, t: &Tridiagonal) {
        let n = t.side();
        let counted = eigenvalues(Arch::new(), &t.diagonal, &t.coupling);
        let size = counted.iter().fold(f64::MIN_POSITIVE, |most, x| most.max(x.abs()));
        let unit = f64::EPSILON * (n as f64).max(8.0);
        for arch in machines() {
            let Pairs { values, vectors, order } = eigenpairs(arch, t, 0..n);
            let off = (vectors.transpose() * &vectors - Mat::<f64>::identity(n, n)).norm_max();
            assert!(off <= unit, "{name}, {arch:?}: {:.2} n·ε from orthonormal", off / unit);
            for (i, j) in order.iter().enumerate() {
                let (value, x) = (values[*j], vectors.col(*j));
                let miss = (value - counted[i]).abs();
                assert!(miss <= unit * size, "{name}, {arch:?}: λ{i} = {value:e}, counted {:e}", counted[i]);
                let x: Vec<f64> = x.iter().copied().collect();
                let residual =
                    t.times(&x).iter().zip(&x).map(|(y, x)| (y - value * x).abs()).fold(0.0, f64::max);
                assert!(residual <= 2.0 * unit * size, "{name}, {arch:?}: {i} is off by {residual:e}");
            }
        }
    }

    /// Matrices with clusters, gradings and blocks.
    fn hard() -> Vec<(&'static str, Tridiagonal)> {
        let n = 150;
        let index = |i: usize| i as f64;
        let wilkinson = |i: usize| (index(i % 21) - 10.0).abs();
        let glued = |i: usize| if i % 21 == 20 { 1e-8 } else { 1.0 };
        let powers = |base: f64| move |i: usize| base.powf(i as f64);
        let make = |d: &dyn Fn(usize) -> f64, e: &dyn Fn(usize) -> f64| {
            tridiagonal((0..n).map(d).collect(), (1..n).map(e).collect())
        };
        let random: Vec<f64> = noise(3).take(2 * n).collect();
        vec![
            ("identity", make(&|_| 1.0, &|_| 0.0)),
            ("zero", make(&|_| 0.0, &|_| 0.0)),
            ("second difference", make(&|_| 2.0, &|_| -1.0)),
            ("noise", make(&|i| random[i], &|i| random[n + i])),
            ("glued Wilkinson", make(&wilkinson, &|i| glued(i - 1))),
            ("graded", make(&powers(0.3), &powers(0.3))),
            ("graded to nothing", make(&powers(0.009), &powers(0.009))),
            ("graded upwards", make(&|i| powers(0.7)(n - i), &|i| powers(0.7)(n - i))),
            ("one step", make(&|i| index(i / 75), &|_| 1e-9)),
            (
                "levels",
                make(&|i| [1.0, 0.5, 1.0 + 1e-10, 1e-3][i % 4], &|i| if i % 7 == 0 { 0.0 } else { 1e-12 }),
            ),
            ("nearly equal", make(&|i| 1.0 + 1e-14 * random[i], &|i| 1e-14 * random[n + i])),
            ("equal blocks", make(&|i| index(i % 12), &|i| if i % 12 == 0 { 0.0 } else { 1.0 })),
            ("weak cut", make(&|i| index(i), &|i| if i == n / 2 { 1e-20 } else { 0.1 })),
            ("zero diagonal", make(&|_| 0.0, &|i| random[i])),
        ]
    }

    #[test]
    fn vectors_are_orthonormal_and_belong_to_their_values_on_every_machine() {
        check("one", &tridiagonal(vec![3.0], vec![]));
        check("two", &tridiagonal(vec![3.0, 3.0], vec![1e-20]));
        for (name, t) in hard() {
            check(name, &t);
        }
        for n in [33, 64, 65, 300] {
            check(
                "noise",
                &tridiagonal(noise(n).take(n as usize).collect(), noise(9).take(n as usize - 1).collect()),
            );
        }
    }

    #[test]
    fn some_pairs_are_those_of_all() {
        for (name, t) in hard() {
            let n = t.side();
            let all = eigenpairs(Arch::new(), &t, 0..n);
            for wanted in [0..n, 0..1, n - 7..n, 40..90, n..n] {
                let some = eigenpairs(Arch::new(), &t, wanted.clone());
                assert_eq!(some.order.len(), wanted.len(), "{name}");
                for (i, j) in wanted.zip(&some.order) {
                    let i = all.order[i];
                    assert_eq!(some.values[*j].to_bits(), all.values[i].to_bits(), "{name}");
                    let off = (some.vectors.col(*j) - all.vectors.col(i)).norm_max();
                    assert!(off < 1e-14, "{name}: {off:e}");
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let (diagonal, coupling) = (noise(1).take(700).collect(), noise(2).take(699).collect());
        let t = tridiagonal(diagonal, coupling);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| eigenpairs(Arch::new(), &t, 0..700))
        };
        let (one, three) = (run(1), run(3));
        assert_eq!((one.values, one.order), (three.values, three.order));
        assert_eq!(one.vectors, three.vectors);
    }
}
