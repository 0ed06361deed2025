//! A matrix that is only multiplied with a few vectors at a time: a stored weight, a product of thin factors, or
//! a sum of such. `W₀ + B·A` and `W₁ − W₀` need no matrix of their own.
//!
//! Vectors come row-major, `width` of them side by side, as `narrow` wants them. A stored weight is widened panel by
//! panel: a panel is a few rows long and a few columns wide and stays in the second-level cache. The result is cut into
//! chunks of fixed size, each summed by one task in a fixed order, so that the bits do not depend on the threads.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::gram::Gram;
use super::narrow::{Block, add_product};
use crate::error::Error;
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix};

/// Rows formed at once where a sum is wanted entry by entry.
const BLOCK: usize = 256;
/// Rows and columns of a panel.
const ROWS: usize = 32;
const COLUMNS: usize = 512;
/// Entries from one row of a panel to the next: no power of two, which would crowd the rows into few sets of the cache.
const STRIDE: usize = COLUMNS + 8;

/// A sum of matrices of one shape, some of them subtracted.
#[derive(Debug, Clone)]
pub struct Operator<'a> {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) terms: Vec<(f64, Term<'a>)>,
    pub(super) side: Orientation,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Term<'a> {
    Stored(&'a Matrix),
    LowRank(&'a LowRank),
}

/// What an operator is a sum of.
#[derive(Debug, Clone, Copy)]
pub enum Terms<'a> {
    /// One stored matrix alone.
    Stored(&'a Matrix),
    /// One product of thin factors alone.
    Product(&'a LowRank),
    /// Several of these, or one that is subtracted or transposed.
    Several,
}

/// Which singular vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vectors {
    /// Left: as long as the weight has rows.
    Left,
    /// Right: as long as it has columns.
    Right,
}

/// Which way round the terms are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orientation {
    AsStored,
    Transposed,
}

impl<'a> From<&'a Matrix> for Operator<'a> {
    fn from(weight: &'a Matrix) -> Self {
        Self::new(weight.rows(), weight.cols(), Term::Stored(weight))
    }
}

impl<'a> From<&'a LowRank> for Operator<'a> {
    fn from(product: &'a LowRank) -> Self {
        Self::new(product.rows(), product.cols(), Term::LowRank(product))
    }
}

impl<'a> Operator<'a> {
    fn new(rows: usize, cols: usize, term: Term<'a>) -> Self {
        Self { rows, cols, terms: vec![(1.0, term)], side: Orientation::AsStored }
    }

    /// The sum with an operator of the same shape.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn plus(self, other: &Self) -> Result<Self, Error> {
        self.with(1.0, other)
    }

    /// The difference to an operator of the same shape.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn minus(self, other: &Self) -> Result<Self, Error> {
        self.with(-1.0, other)
    }

    fn with(mut self, sign: f64, other: &Self) -> Result<Self, Error> {
        if (self.rows, self.cols, self.side) != (other.rows, other.cols, other.side) {
            return Err(Error::Contract(format!(
                "a {} × {} matrix cannot be added to a {} × {} one",
                other.rows, other.cols, self.rows, self.cols
            )));
        }
        self.terms.extend(other.terms.iter().map(|(factor, term)| (sign * factor, *term)));
        Ok(self)
    }

    /// The transpose.
    #[must_use]
    pub fn transposed(mut self) -> Self {
        std::mem::swap(&mut self.rows, &mut self.cols);
        self.side = match self.side {
            Orientation::AsStored => Orientation::Transposed,
            Orientation::Transposed => Orientation::AsStored,
        };
        self
    }

    /// The operator whose left vectors these are.
    pub(super) fn towards(&self, vectors: Vectors) -> Self {
        match vectors {
            Vectors::Left => self.clone(),
            Vectors::Right => self.clone().transposed(),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Its terms.
    pub fn terms(&self) -> Terms<'a> {
        match (&self.terms[..], self.side) {
            ([(1.0, Term::Stored(matrix))], Orientation::AsStored) => Terms::Stored(matrix),
            ([(1.0, Term::LowRank(product))], Orientation::AsStored) => Terms::Product(product),
            _ => Terms::Several,
        }
    }

    /// All entries, row-major: for the routes that need a dense copy.
    pub(super) fn to_f64(&self) -> Vec<f64> {
        let mut sum = vec![0.0; self.rows * self.cols];
        for (factor, term) in &self.terms {
            let (rows, cols, entries) = match term {
                Term::Stored(weight) => (weight.rows(), weight.cols(), weight.to_f64()),
                Term::LowRank(product) => (product.rows(), product.cols(), dense(product)),
            };
            let entries = MatRef::from_row_major_slice(&entries, rows, cols);
            let entries = if self.side == Orientation::AsStored { entries } else { entries.transpose() };
            for (sum, row) in sum.chunks_exact_mut(self.cols).zip(entries.row_iter()) {
                for (sum, x) in sum.iter_mut().zip(row.iter()) {
                    *sum += factor * x;
                }
            }
        }
        sum
    }

    /// Whether a term is stored as doubles, whose squares may overflow.
    pub(super) fn has_doubles(&self) -> bool {
        self.terms
            .iter()
            .any(|(_, term)| matches!(term, Term::Stored(weight) if weight.dtype() == Dtype::F64))
    }

    /// The Gram matrix of its rows, `A·Aᵀ`.
    pub(super) fn gram(&self, arch: Arch) -> Gram {
        let mut gram = Gram::new(arch, self.rows);
        match (&self.terms[..], self.side) {
            ([(_, Term::Stored(weight))], Orientation::AsStored) => gram.push_columns(weight),
            ([(_, Term::Stored(weight))], Orientation::Transposed) => gram.push_rows(weight),
            _ => {
                let transposed = self.clone().transposed();
                for first in (0..self.cols).step_by(BLOCK) {
                    let last = self.cols.min(first + BLOCK);
                    gram.push_block(&transposed.block(first..last));
                }
            }
        }
        gram
    }

    /// The product with `x`, which has [`Self::cols`] rows of `width` entries.
    pub(super) fn times(&self, x: &[f64], width: usize) -> Vec<f64> {
        let mut y = vec![0.0; self.rows * width];
        for (factor, term) in &self.terms {
            match (term, self.side) {
                (Term::Stored(weight), Orientation::AsStored) => add_rows(*factor, weight, x, width, &mut y),
                (Term::Stored(weight), Orientation::Transposed) => {
                    add_columns(*factor, weight, x, width, &mut y);
                }
                (Term::LowRank(product), side) => add_low_rank(*factor, product, side, x, width, &mut y),
            }
        }
        y
    }
}

/// `y += factor·W·x`, a few rows of `y` at a time.
fn add_rows(factor: f64, weight: &Matrix, x: &[f64], width: usize, y: &mut [f64]) {
    let (arch, cols) = (Arch::new(), weight.cols());
    let buffers = || (vec![0.0; ROWS * STRIDE], vec![0.0; ROWS * width]);
    y.par_chunks_mut(ROWS * width).enumerate().for_each_init(buffers, |(panel, sum), (chunk, y)| {
        let (first, count) = (chunk * ROWS, y.len() / width);
        sum.fill(0.0);
        for left in (0..cols).step_by(COLUMNS) {
            let here = COLUMNS.min(cols - left);
            arch.dispatch(Widen { weight, rows: first..first + count, cols: left..left + here, panel });
            let block = Block { entries: panel, across: STRIDE, along: 1 };
            let sum = &mut sum[..count.next_multiple_of(8) * width];
            add_product(arch, block, &x[left * width..(left + here) * width], sum, width);
        }
        y.iter_mut().zip(sum).for_each(|(y, sum)| *y += factor * *sum);
    });
}

/// `y += factor·Wᵀ·x`, a few rows of `y` (columns of `W`) at a time.
fn add_columns(factor: f64, weight: &Matrix, x: &[f64], width: usize, y: &mut [f64]) {
    let (arch, rows) = (Arch::new(), weight.rows());
    let buffers = || (vec![0.0; ROWS * STRIDE], vec![0.0; COLUMNS * width]);
    y.par_chunks_mut(COLUMNS * width).enumerate().for_each_init(buffers, |(panel, sum), (chunk, y)| {
        let (left, count) = (chunk * COLUMNS, y.len() / width);
        sum.fill(0.0);
        for first in (0..rows).step_by(ROWS) {
            let here = ROWS.min(rows - first);
            arch.dispatch(Widen { weight, rows: first..first + here, cols: left..left + count, panel });
            let block = Block { entries: panel, across: 1, along: STRIDE };
            let sum = &mut sum[..count.next_multiple_of(8) * width];
            add_product(arch, block, &x[first * width..(first + here) * width], sum, width);
        }
        y.iter_mut().zip(sum).for_each(|(y, sum)| *y += factor * *sum);
    });
}

/// Part of a weight, widened into the top left of `panel`; the rest is unchanged.
struct Widen<'a> {
    weight: &'a Matrix,
    rows: Range<usize>,
    cols: Range<usize>,
    panel: &'a mut [f64],
}

impl WithSimd for Widen<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (row, out) in self.rows.zip(self.panel.chunks_exact_mut(STRIDE)) {
            let start = row * self.weight.cols();
            let out = &mut out[..self.cols.len()];
            self.weight.widen(start + self.cols.start..start + self.cols.end, out);
        }
    }
}

/// `y += factor·L·(R·x)`, or its transpose.
fn add_low_rank(factor: f64, product: &LowRank, side: Orientation, x: &[f64], width: usize, y: &mut [f64]) {
    let (left, right) = thin(product);
    let (left, right) = match side {
        Orientation::AsStored => (left, right),
        Orientation::Transposed => (right.transpose(), left.transpose()),
    };
    let mut middle = vec![0.0; product.rank() * width];
    let mut middle = MatMut::from_row_major_slice_mut(&mut middle, product.rank(), width);
    let x = MatRef::from_row_major_slice(x, right.ncols(), width);
    matmul(middle.as_mut(), Accum::Replace, right, x, 1.0, Par::Seq);
    let y = MatMut::from_row_major_slice_mut(y, left.nrows(), width);
    matmul(y, Accum::Add, left, middle, factor, Par::Seq);
}

/// Both factors of a product.
pub(super) fn thin(product: &LowRank) -> (MatRef<'_, f64>, MatRef<'_, f64>) {
    (
        MatRef::from_row_major_slice(product.left(), product.rows(), product.rank()),
        MatRef::from_row_major_slice(product.right(), product.rank(), product.cols()),
    )
}

/// All entries of a product, row-major.
fn dense(product: &LowRank) -> Vec<f64> {
    let (left, right) = thin(product);
    let mut entries = vec![0.0; product.rows() * product.cols()];
    let out = MatMut::from_row_major_slice_mut(&mut entries, product.rows(), product.cols());
    matmul(out, Accum::Replace, left, right, 1.0, Par::Seq);
    entries
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::kernel::tests::noise;
    use super::*;
    use crate::matrix::{Dtype, bf16_bytes};

    /// A bf16 weight of entries that look random.
    pub(in super::super) fn random(rows: usize, cols: usize, seed: u64) -> Matrix {
        let entries: Vec<f64> = noise(seed).take(rows * cols).collect();
        Matrix::new(rows, cols, Dtype::Bf16, bf16_bytes(&entries)).expect("sizes agree")
    }

    /// A product of factors that look random, of the size that makes `share` of a random weight's spectral norm.
    pub(in super::super) fn update(rows: usize, cols: usize, rank: usize, share: f64, seed: u64) -> LowRank {
        let size =
            share * 3.0 / ((rows * cols) as f64).sqrt() * ((rows as f64).sqrt() + (cols as f64).sqrt());
        let left = noise(seed).take(rows * rank).map(|x| x * size).collect();
        let right = noise(seed + 1).take(rank * cols).collect();
        LowRank::new((rows, cols), rank, left, right).expect("sizes agree")
    }

    #[track_caller]
    fn check(operator: &Operator<'_>) {
        let (rows, cols) = (operator.rows(), operator.cols());
        let entries = operator.to_f64();
        for width in [16, 24, 32] {
            let x: Vec<f64> = noise(3).take(cols * width).collect();
            let y = operator.times(&x, width);
            for i in 0..rows {
                for c in 0..width {
                    let expected: f64 = (0..cols).map(|j| entries[i * cols + j] * x[j * width + c]).sum();
                    let miss = (y[i * width + c] - expected).abs();
                    assert!(miss < 1e-12, "{rows}×{cols}, {width} wide: ({i}, {c}) is off by {miss:e}");
                }
            }
        }
    }

    #[test]
    fn products_of_sums_and_differences_equal_the_naive_ones_either_way_round() {
        for (rows, cols) in [(1, 1), (5, 9), (32, 512), (33, 513), (130, 600), (600, 70)] {
            let (base, tuned) = (random(rows, cols, 1), random(rows, cols, 2));
            let update = update(rows, cols, 3, 1.0, 7);
            let sum = Operator::from(&base).plus(&Operator::from(&update)).expect("one shape");
            let difference = Operator::from(&tuned).minus(&sum).expect("one shape");
            check(&sum);
            check(&difference);
            check(&difference.transposed());
        }
    }

    #[test]
    fn shapes_that_differ_are_refused() {
        let (a, b) = (random(3, 4, 1), random(4, 3, 1));
        assert!(Operator::from(&a).plus(&Operator::from(&b)).is_err());
        assert!(Operator::from(&a).minus(&Operator::from(&b).transposed()).is_err());
    }
}
