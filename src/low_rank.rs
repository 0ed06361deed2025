//! A weight known as a product of two thin factors, as adapters store their updates.
//!
//! The product is exact to rounding of f64 and is never formed whole: rows are multiplied out on request, and
//! decompositions go through the factors.

use std::ops::Range;

use crate::error::Error;
use crate::matrix::Matrix;
use crate::spectrum::{magnitude, scaled};

/// `left · right`, a `rows` × `cols` matrix of at most [`rank`](Self::rank) directions; any scale is part of `left`.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    rows: usize,
    cols: usize,
    rank: usize,
    left: Vec<f64>,
    right: Vec<f64>,
}

impl LowRank {
    /// Takes the factors, row-major: `left` of `rows` × `rank`, `right` of `rank` × `cols`.
    ///
    /// # Errors
    /// When a factor does not hold that many entries.
    pub fn new(
        (rows, cols): (usize, usize),
        rank: usize,
        left: Vec<f64>,
        right: Vec<f64>,
    ) -> Result<Self, Error> {
        let fits = |factor: &[f64], side: usize| side.checked_mul(rank) == Some(factor.len());
        if !fits(&left, rows) || !fits(&right, cols) {
            return Err(Error::Contract(format!(
                "{} and {} entries are no factors of rank {rank} of a {rows} × {cols} matrix",
                left.len(),
                right.len()
            )));
        }
        Ok(Self { rows, cols, rank, left, right })
    }

    /// Number of rows of the product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns of the product.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Columns of the left factor: the most directions the product can have.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The left factor, row-major, `rows` × `rank`.
    pub fn left(&self) -> &[f64] {
        &self.left
    }

    /// The right factor, row-major, `rank` × `cols`.
    pub fn right(&self) -> &[f64] {
        &self.right
    }

    /// The transpose.
    ///
    /// # Errors
    /// None: the factors fit.
    pub fn transposed(&self) -> Result<Self, Error> {
        let turned = |entries: &[f64], cols: usize| -> Vec<f64> {
            (0..cols).flat_map(|j| entries.iter().skip(j).step_by(cols.max(1)).copied()).collect()
        };
        let (left, right) = (turned(&self.right, self.cols), turned(&self.left, self.rank));
        Self::new((self.cols, self.rows), self.rank, left, right)
    }

    /// Only its first `count` directions.
    ///
    /// # Errors
    /// None: the factors fit.
    pub fn truncated(&self, count: usize) -> Result<Self, Error> {
        let rank = count.min(self.rank);
        let left = self.left.chunks_exact(self.rank.max(1)).flat_map(|row| row[..rank].to_vec()).collect();
        Self::new((self.rows, self.cols), rank, left, self.right[..rank * self.cols].to_vec())
    }

    /// The same times a number.
    ///
    /// # Errors
    /// None: the factors fit.
    pub fn scaled(self, by: f64) -> Result<Self, Error> {
        let left = self.left.into_iter().map(|x| x * by).collect();
        Self::new((self.rows, self.cols), self.rank, left, self.right)
    }

    /// Its rows `rows`.
    ///
    /// # Errors
    /// When they are not rows of it.
    pub fn part(&self, rows: Range<usize>) -> Result<Self, Error> {
        let left = self.left.get(rows.start * self.rank..rows.end * self.rank).unwrap_or_default();
        Self::new((rows.len(), self.cols), self.rank, left.to_vec(), self.right.clone())
    }

    /// `self + sign · other`, of the rank of both together.
    ///
    /// # Errors
    /// When they are of different shapes.
    pub fn plus(&self, other: &Self, sign: f64) -> Result<Self, Error> {
        let row = |factors: &Self, row: usize| row * factors.rank..(row + 1) * factors.rank;
        let shared = 0..if self.rows == other.rows { self.rows } else { 0 };
        let left = shared.flat_map(|i| {
            let theirs = other.left[row(other, i)].iter().map(|x| sign * x);
            self.left[row(self, i)].iter().copied().chain(theirs)
        });
        let right = [&self.right[..], &other.right[..]].concat();
        Self::new((self.rows, self.cols), self.rank + other.rank, left.collect(), right)
    }

    /// Whether all entries of both factors are finite.
    pub fn is_finite(&self) -> bool {
        self.left.iter().chain(&self.right).all(|x| x.is_finite())
    }

    /// The product times `scale`, which both factors share where one alone would overflow; none where both do.
    #[must_use]
    pub fn times(&self, scale: f64) -> Option<Self> {
        let size = |entries: &[f64]| entries.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
        let [left, right] = [size(&self.left), size(&self.right)];
        if left == 0.0 || right == 0.0 || scale == 0.0 {
            return Some(Self { left: vec![0.0; self.left.len()], ..self.clone() });
        }
        let exponent = magnitude(scale.abs());
        let shared = (magnitude(left) + exponent - magnitude(right)) / 2;
        let unit = scaled(scale, -exponent);
        let product = Self {
            left: self.left.iter().map(|x| scaled(x * unit, exponent - shared)).collect(),
            right: self.right.iter().map(|x| scaled(*x, shared)).collect(),
            ..*self
        };
        product.is_finite().then_some(product)
    }

    /// A hash of the factors, as doubles.
    pub fn blake3(&self) -> blake3::Hash {
        let mut hash = blake3::Hasher::new();
        for x in self.left.iter().chain(&self.right) {
            hash.update(&x.to_le_bytes());
        }
        hash.finalize()
    }

    /// The rows `rows` of the product.
    ///
    /// # Errors
    /// When they are not rows of it.
    pub fn dense(&self, rows: Range<usize>) -> Result<Matrix, Error> {
        let Some(left) = self.left.get(rows.start * self.rank..rows.end * self.rank) else {
            return Err(Error::Contract(format!("rows {}..{} of {}", rows.start, rows.end, self.rows)));
        };
        let mut product = vec![0.0; rows.len() * self.cols];
        if self.rank > 0 && self.cols > 0 {
            for (left, row) in left.chunks_exact(self.rank).zip(product.chunks_exact_mut(self.cols)) {
                self.multiply(left, row);
            }
        }
        Matrix::from_f64(rows.len(), self.cols, &product)
    }

    /// Row `i` of the product, in the place of what is in `row`, as long as the product is wide.
    pub fn row(&self, i: usize, row: &mut [f64]) {
        row.fill(0.0);
        if let Some(left) = self.left.get(i * self.rank..(i + 1) * self.rank).filter(|_| self.cols > 0) {
            self.multiply(left, row);
        }
    }

    /// Adds the row of the product whose left factors are `left`: four directions at a time, in the order of one at a
    /// time.
    fn multiply(&self, left: &[f64], row: &mut [f64]) {
        let line = |r: usize| &self.right[r * self.cols..(r + 1) * self.cols];
        let whole = self.rank / 4 * 4;
        for r in (0..whole).step_by(4) {
            let (a, b, c, d) = (left[r], left[r + 1], left[r + 2], left[r + 3]);
            let lines = line(r).iter().zip(line(r + 1)).zip(line(r + 2).iter().zip(line(r + 3)));
            for (entry, ((x, y), (z, w))) in row.iter_mut().zip(lines) {
                *entry = (((*entry + a * x) + b * y) + c * z) + d * w;
            }
        }
        for r in whole..self.rank {
            row.iter_mut().zip(line(r)).for_each(|(entry, x)| *entry += left[r] * x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_product_by_hand() {
        let product = LowRank::new((3, 2), 1, vec![1.0, 2.0, -1.0], vec![3.0, 4.0]).expect("factors fit");
        assert_eq!(product.dense(0..3).expect("its rows").to_f64(), [3.0, 4.0, 6.0, 8.0, -3.0, -4.0]);
        assert_eq!(product.dense(1..2).expect("its rows").to_f64(), [6.0, 8.0]);
        assert!(product.dense(2..4).is_err());
    }

    #[test]
    fn a_product_is_turned_and_cut_by_its_factors() {
        let product = LowRank::new((2, 3), 2, vec![1.0, 5.0, 2.0, -1.0], vec![3.0, 4.0, 0.5, 1.0, 1.0, 2.0]);
        let product = product.expect("factors fit");
        let dense = product.dense(0..2).expect("its rows");
        let turned = product.transposed().expect("fits").dense(0..3).expect("its rows");
        assert_eq!(turned, dense.transposed());
        let first = product.truncated(1).expect("fits").dense(0..2).expect("its rows");
        assert_eq!(first.to_f64(), [3.0, 4.0, 0.5, 6.0, 8.0, 1.0]);
        assert_eq!(product.truncated(7).expect("fits"), product);
    }

    #[test]
    fn a_scale_that_one_factor_cannot_bear_is_shared() {
        let product = LowRank::new((1, 2), 1, vec![16.0], vec![2.0, -0.5]).expect("factors fit");
        let scaled = product.times(1e308).expect("fits in two parts");
        let size = scaled.left()[0].log2() + scaled.right()[0].log2();
        assert!((size - 1e308f64.log2() - 5.0).abs() < 1e-12, "{size}");
        assert!((scaled.right()[1] / scaled.right()[0] + 0.25).abs() < 1e-15);
        let large = LowRank::new((1, 1), 1, vec![1e300], vec![1e300]).expect("factors fit");
        assert!(large.times(1e300).is_none() && large.times(1.0).is_some());
    }

    #[test]
    fn a_product_refuses_factors_that_do_not_fit() {
        assert!(LowRank::new((3, 2), 1, vec![1.0; 3], vec![1.0; 3]).is_err());
        assert!(LowRank::new((usize::MAX, 2), 2, vec![], vec![1.0; 4]).is_err());
    }
}
