//! All singular triplets in two stages: through the Gram matrix of the short side, and those of the small values through
//! the Gram matrix of what the large ones leave.
//!
//! The vectors of the short side, the *near* ones, are eigenvectors of `A·Aᵀ` (`divide`, `strips`) and orthonormal by
//! construction. The *far* ones are their images by the weight, over their lengths, which are the values. Squaring has
//! mixed them: two far vectors meet at about `ε·σ₁²/(σᵢσⱼ)`. Of the large values that is rounding; below, one correction
//! removes it; what is lower still is taken clear of the vectors found and decomposed in its turn, as a matrix whose largest
//! value is small. So no value is lost in squaring, and nearly all of the work is products.
//!
//! What is found is tested by whoever uses it.

use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::prelude::*;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::divide::eigenpairs;
use super::factors::{Basis, Factors};
use super::operator::{Operator, Vectors};
use super::power_of_two;
use super::product::multiply;
use super::qr::Qr;
use super::reduced::Reduced;
use super::strips::Packed;
use super::vector::norm;
use crate::matrix::Matrix;

/// Far vectors of values above this share of `σ₁` are orthonormal as they come.
const CLEAR: f64 = 1.0 / 16.0;
/// A level ends at this many `σ₁/m`: a correction below would leave more than rounding of `σ₁` in the product.
const DEPTH: f64 = 4.0;
/// Far vectors that meet at more than this are not nearly orthonormal: one correction would leave its square.
const NEARLY: f64 = 1e-8;
/// Rows in one task.
const ROWS: usize = 256;

/// All `min(m, n)` triplets of an operator of finite entries; none where a stage fails its test. Values that are rounding
/// of the largest have vectors that complete the bases. `known` is the Gram matrix of [`near`]'s side, where it has been
/// reduced before.
pub(super) fn triplets(operator: &Operator<'_>, known: Option<Reduced>) -> Option<Factors> {
    let side = near(operator);
    let rows = operator.towards(side);
    let reduced = if let Some(known) = known { known } else { Reduced::of(&rows)? };
    let found = from_rows(&rows, reduced)?;
    Some(if side == Vectors::Left { found } else { found.transposed() })
}

/// The side whose vectors are found first: the short one, of a square operator the right one.
pub(super) fn near(operator: &Operator<'_>) -> Vectors {
    if operator.rows() < operator.cols() { Vectors::Left } else { Vectors::Right }
}

/// Near vectors, values and far vectors, which belong together column by column.
struct Sides {
    near: Basis,
    values: Vec<f64>,
    far: Basis,
}

/// The same of an operator of no more rows than columns, whose Gram matrix has been `reduced`.
fn from_rows(operator: &Operator<'_>, reduced: Reduced) -> Option<Factors> {
    let (short, long) = (operator.rows(), operator.cols());
    let near = eigenvectors(reduced)?;
    let far = operator.clone().transposed().images(&near);
    let values = far.columns().map(norm).collect();
    let mut sides = Sides { near, values, far };
    let first = sides.values.iter().copied().fold(0.0, f64::max);
    let floor = first * long as f64 * f64::EPSILON;
    let mut done = 0;
    loop {
        sides.sort_from(done);
        if sides.values[done] <= floor {
            complete(&mut sides.far, done);
            break;
        }
        let top = sides.values[done];
        let least = floor.max(DEPTH * top / long as f64);
        // The first is always one of them: where a level is short of columns, it is all there is.
        let count = sides.values[done..].iter().take_while(|s| **s > least).count().max(1);
        // Those of a later level have been turned and taken clear of others: all are corrected.
        let clear = |s: &&f64| done == 0 && **s >= CLEAR * top;
        let clear = sides.values[done..done + count].iter().take_while(clear).count();
        sides.normalize(done..done + count);
        correct(&mut sides.far, done + clear..done + count)?;
        done += count;
        if done == short {
            break;
        }
        if sides.values[done] > floor {
            sides.decompose_from(done)?;
        }
    }
    sides.sort_from(0);
    Some(Factors { left: sides.near, values: sides.values, right: sides.far })
}

/// The eigenvectors of a Gram matrix, largest first.
fn eigenvectors(reduced: Reduced) -> Option<Basis> {
    let (tridiagonal, reflections) = reduced.into_parts()?;
    let (rows, arch) = (tridiagonal.side(), reflections.arch);
    let packed = Packed::of(reflections);
    let pairs = eigenpairs(arch, &tridiagonal, 0..rows);
    let descending: Vec<usize> = pairs.order.iter().rev().copied().collect();
    Some(Basis::from_columns(rows, packed.back(pairs.vectors.as_ref(), &descending, rows)))
}

impl Sides {
    /// Puts the columns from `done` on in descending order: values that are mostly rounding come in none.
    fn sort_from(&mut self, done: usize) {
        let mut order: Vec<usize> = (done..self.values.len()).collect();
        order.sort_by(|i, j| self.values[*j].total_cmp(&self.values[*i]));
        if order.is_sorted() {
            return;
        }
        self.values =
            self.values[..done].iter().copied().chain(order.iter().map(|i| self.values[*i])).collect();
        for basis in [&mut self.near, &mut self.far] {
            let mut sorted = Basis::empty(basis.length());
            order.iter().for_each(|i| sorted.push(basis.column(*i)));
            *basis = std::mem::replace(basis, Basis::empty(0)).truncated(done);
            basis.extend(&sorted);
        }
    }

    /// Divides far columns by their lengths.
    fn normalize(&mut self, columns: std::ops::Range<usize>) {
        for (column, value) in
            self.far.columns_mut().zip(&self.values).skip(columns.start).take(columns.len())
        {
            column.iter_mut().for_each(|x| *x /= value);
        }
    }

    /// The far columns from `done` on are taken clear of those before, as a matrix of their own decomposed, and both sides
    /// turned into its triplets. Their part along the others is rounding of the largest value.
    fn decompose_from(&mut self, done: usize) -> Option<()> {
        let (known, mut rest) = self.far.as_mat_mut().split_at_col_mut(done);
        project(known.into_const(), rest.as_mut());
        let count = rest.ncols();
        let top = self.far.columns().skip(done).map(norm).fold(0.0, f64::max);
        if top == 0.0 {
            self.values[done..].fill(0.0);
            return Some(());
        }
        let turn = {
            // Squares of small numbers stay numbers.
            let unit = power_of_two(top);
            let scaled: Vec<f64> = self.far.columns().skip(done).flatten().map(|x| x / unit).collect();
            let scaled = Matrix::from_f64(count, self.far.length(), &scaled).ok()?;
            eigenvectors(Reduced::of(&Operator::from(&scaled))?)?
        };
        for basis in [&mut self.far, &mut self.near] {
            let mut own = basis.as_mat_mut().subcols_mut(done, count);
            let mut turned = Mat::zeros(own.nrows(), count);
            multiply(turned.as_mut(), Accum::Replace, own.as_ref(), turn.as_mat(), 1.0);
            own.copy_from(turned);
        }
        let lengths: Vec<f64> = self.far.columns().skip(done).map(norm).collect();
        self.values[done..].copy_from_slice(&lengths);
        Some(())
    }
}

/// `x − K·(Kᵀx)` for orthonormal columns `K`.
fn project(known: MatRef<'_, f64>, x: MatMut<'_, f64>) {
    let mut along = Mat::zeros(known.ncols(), x.ncols());
    multiply(along.as_mut(), Accum::Replace, known.transpose(), x.as_ref(), 1.0);
    multiply(x, Accum::Add, known, along.as_ref(), -1.0);
}

/// Makes unit columns that nearly are orthonormal to each other and to all before them so, each changed by those before it
/// alone; none where they are not near enough.
///
/// The strict upper triangle of `XᵀX`, and half of what its diagonal lacks, is the inverse of a Cholesky factor to first
/// order; what is left of second order is rounding.
fn correct(basis: &mut Basis, columns: std::ops::Range<usize>) -> Option<()> {
    if columns.is_empty() {
        return Some(());
    }
    let (known, rest) = basis.as_mat_mut().split_at_col_mut(columns.start);
    let known = known.into_const();
    let mut x = rest.subcols_mut(0, columns.len());
    let mut across = Mat::zeros(known.ncols(), columns.len());
    multiply(across.as_mut(), Accum::Replace, known.transpose(), x.as_ref(), 1.0);
    let mut within = Mat::zeros(columns.len(), columns.len());
    multiply(within.as_mut(), Accum::Replace, x.as_ref().transpose(), x.as_ref(), 1.0);
    (0..columns.len()).for_each(|j| within[(j, j)] = 0.5 * (within[(j, j)] - 1.0));
    if !(across.norm_max() <= NEARLY && within.norm_max() <= NEARLY) {
        return None;
    }
    let rows = |(known, mut x): (MatRef<'_, f64>, MatMut<'_, f64>)| {
        let own = x.to_owned();
        let (dense, upper) = (BlockStructure::Rectangular, BlockStructure::TriangularUpper);
        triangular::matmul(x.as_mut(), dense, Accum::Add, &own, dense, &within, upper, -1.0, Par::Seq);
        faer::linalg::matmul::matmul(x, Accum::Add, known, &across, -1.0, Par::Seq);
    };
    known.par_row_chunks(ROWS).zip(x.as_mut().par_row_chunks_mut(ROWS)).for_each(rows);
    Some(())
}

/// Replaces the columns from `done` on by some that are orthonormal to all others: where a value is rounding, any will do.
/// The reflections that make the others a triangle turn the axes beyond it into such.
fn complete(basis: &mut Basis, done: usize) {
    let beyond =
        Mat::from_fn(basis.length(), basis.count() - done, |i, j| f64::from(u8::from(i == done + j)));
    let rest = Qr::of(basis.as_mat().subcols(0, done)).times(beyond.as_ref());
    basis.as_mat_mut().subcols_mut(done, rest.ncols()).copy_from(rest);
}

#[cfg(test)]
mod tests {
    use super::super::exact;
    use super::super::operator::tests::random;
    use super::super::structured::{Case, Draw, diagonal, drawn};
    use super::*;

    /// Values against those counted from the bidiagonal form; bases and product entry by entry.
    #[track_caller]
    fn check(case: &Case) {
        let (rows, cols) = case.matrix.shape();
        let matrix = Matrix::from_f64(rows, cols, &case.row_major()).expect("sizes agree");
        let found =
            triplets(&Operator::from(&matrix), None).unwrap_or_else(|| panic!("{}: nothing", case.name));
        let unit = f64::EPSILON * rows.max(cols) as f64;
        let counted = exact::singular_values(&matrix).expect("sound");
        let first = counted.largest();
        for (i, (found, value)) in found.values.iter().zip(counted.values()).enumerate() {
            let miss = (found - value).abs() / (unit * first);
            assert!(miss <= 2.0, "{}: σ{i} is off by {miss} floors", case.name);
        }
        let count = found.values.len();
        let (left, right) = (found.left.as_mat(), found.right.as_mat());
        let scaled = Mat::from_fn(rows, count, |i, j| left[(i, j)] * found.values[j]);
        let misses = [
            (left.transpose() * left - Mat::<f64>::identity(count, count)).norm_max(),
            (right.transpose() * right - Mat::<f64>::identity(count, count)).norm_max(),
            (scaled * right.transpose() - &case.matrix).norm_l2() / first,
        ];
        assert!(misses.iter().all(|x| *x <= 8.0 * unit), "{}: {misses:?} of {unit:e}", case.name);
    }

    #[test]
    fn triplets_of_structured_matrices_of_any_side_fit_and_are_orthonormal() {
        for seed in 0..60 {
            let case = drawn(1000 + seed, 130);
            if case.values[0] > 0.0 {
                check(&case);
            }
        }
    }

    #[test]
    fn small_values_keep_their_vectors_level_by_level() {
        let mut draw = Draw::new(5);
        let n = 200;
        let share = |i: usize| i as f64 / n as f64;
        let kinds: [(&str, &dyn Fn(usize) -> f64); 5] = [
            ("geometric", &|i| 1e15f64.powf(-share(i))),
            ("spike", &|i| if i == 0 { 1.0 } else { 1e-5 * (1.0 - 0.9 * share(i)) }),
            ("spikes", &|i| if i < 20 { 1.0 } else { 1e-7 * share(n - i) }),
            ("clusters", &|i| [1.0, 1.0 + 1e-10, 0.5, 1e-3][i % 4] * (1.0 + 1e-13 * i as f64)),
            ("half", &|i| if i < n / 2 { 1.0 + share(i) } else { 0.0 }),
        ];
        for (name, value) in kinds {
            check(&diagonal(name, (0..n).map(value).collect()).reflected(&mut draw));
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        for (rows, cols) in [(300, 280), (260, 500)] {
            let weight = random(rows, cols, 3);
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                pool.install(|| triplets(&Operator::from(&weight), None)).expect("fits")
            };
            assert_eq!(run(1), run(3), "{rows} × {cols}");
        }
    }
}
