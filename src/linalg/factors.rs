//! Singular vectors of a decomposition.

use faer::{MatMut, MatRef};

use super::vector::dot;
use crate::error::Error;
use crate::low_rank::LowRank;
use crate::spectrum::{Route, Spectrum};

/// Columns of equal length, one after the other in memory; orthonormal wherever a decomposition made them.
#[derive(Debug, Clone, PartialEq)]
pub struct Basis {
    length: usize,
    entries: Vec<f64>,
}

impl Basis {
    /// No column yet.
    pub(super) fn empty(length: usize) -> Self {
        Self { length, entries: vec![] }
    }

    /// The columns of `matrix`.
    pub(super) fn of(matrix: MatRef<'_, f64>) -> Self {
        let mut entries = Vec::with_capacity(matrix.nrows() * matrix.ncols());
        for column in matrix.col_iter() {
            entries.extend(column.iter());
        }
        Self { length: matrix.nrows(), entries }
    }

    /// Columns of `length` entries, one after the other.
    pub fn from_columns(length: usize, entries: Vec<f64>) -> Self {
        Self { length, entries }
    }

    /// `count` columns of zeros.
    pub(super) fn zero(length: usize, count: usize) -> Self {
        Self { length, entries: vec![0.0; length * count] }
    }

    /// Entries of one column.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Number of columns.
    pub fn count(&self) -> usize {
        self.entries.len() / self.length.max(1)
    }

    /// Column `j`, from 0 on.
    pub fn column(&self, j: usize) -> &[f64] {
        &self.entries[j * self.length..(j + 1) * self.length]
    }

    /// All columns, in order.
    pub fn columns(&self) -> impl Iterator<Item = &[f64]> {
        self.entries.chunks_exact(self.length.max(1))
    }

    /// All columns, in order.
    pub(super) fn columns_mut(&mut self) -> impl Iterator<Item = &mut [f64]> {
        self.entries.chunks_exact_mut(self.length.max(1))
    }

    /// Only the first `count` columns.
    #[must_use]
    pub fn truncated(mut self, count: usize) -> Self {
        self.entries.truncate(count * self.length);
        self
    }

    /// The share of the smaller of two spaces that lies in the other: `‖UᵀV‖²_F / min`; none if one is empty.
    pub fn overlap(&self, other: &Self) -> Option<f64> {
        let cosines = self.columns().flat_map(|u| other.columns().map(move |v| dot(u, v)));
        let shared: f64 = cosines.map(|c| c * c).sum();
        let smaller = self.count().min(other.count());
        // Columns are orthonormal to rounding, which may add a hair.
        (smaller > 0).then(|| (shared / smaller as f64).min(1.0))
    }

    /// Appends the columns of `more`.
    pub(super) fn extend(&mut self, more: &Self) {
        self.entries.extend_from_slice(&more.entries);
    }

    /// Appends one column.
    pub(super) fn push(&mut self, column: &[f64]) {
        self.entries.extend_from_slice(column);
    }

    /// For products.
    pub(super) fn as_mat(&self) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(&self.entries, self.length, self.count())
    }

    /// For products that end here.
    pub(super) fn as_mat_mut(&mut self) -> MatMut<'_, f64> {
        let count = self.count();
        MatMut::from_column_major_slice_mut(&mut self.entries, self.length, count)
    }

    /// Row-major, `width` entries a row; columns that are not there are zero.
    pub(super) fn interleaved(&self, width: usize) -> Vec<f64> {
        let mut rows = vec![0.0; self.length * width];
        for (j, column) in self.columns().enumerate() {
            for (row, x) in rows.chunks_exact_mut(width).zip(column) {
                row[j] = *x;
            }
        }
        rows
    }

    /// The first `count` columns of row-major `rows` of `width` entries.
    pub(super) fn separated(rows: &[f64], width: usize, count: usize) -> Self {
        let length = rows.len() / width;
        let mut entries = Vec::with_capacity(length * count);
        for j in 0..count {
            entries.extend(rows.chunks_exact(width).map(|row| row[j]));
        }
        Self { length, entries }
    }
}

/// Singular triplets `σᵢ, uᵢ, vᵢ` of a matrix, largest first: `values.len()` columns on both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// Left singular vectors, as long as the matrix has rows.
    pub left: Basis,
    /// Singular values, descending.
    pub values: Vec<f64>,
    /// Right singular vectors, as long as the matrix has columns.
    pub right: Basis,
}

impl Factors {
    /// The spectrum of a matrix that has no other singular value than these and zero.
    ///
    /// # Errors
    /// [`Error::NotConverged`] when a value is negative or not finite.
    pub fn spectrum(&self) -> Result<Spectrum, Error> {
        let (rows, cols) = (self.left.length(), self.right.length());
        let mut values = self.values.clone();
        values.resize(rows.min(cols), 0.0);
        Spectrum::new(values, rows, cols, Route::Direct)
    }

    /// No triplet of a matrix of so many rows and columns.
    pub fn none(rows: usize, cols: usize) -> Self {
        Self { left: Basis::empty(rows), values: vec![], right: Basis::empty(cols) }
    }

    /// Those of the transpose.
    #[must_use]
    pub(super) fn transposed(self) -> Self {
        Self { left: self.right, values: self.values, right: self.left }
    }

    /// The sum of all triplets but the first `count`.
    ///
    /// # Errors
    /// None: the factors fit.
    pub fn beyond(&self, count: usize) -> Result<LowRank, Error> {
        let rest = count.min(self.values.len())..self.values.len();
        let (rows, cols) = (self.left.length(), self.right.length());
        let left =
            (0..rows).flat_map(|row| rest.clone().map(move |i| self.values[i] * self.left.column(i)[row]));
        let right = rest.clone().flat_map(|i| self.right.column(i).iter().copied());
        LowRank::new((rows, cols), rest.len(), left.collect(), right.collect())
    }

    /// Only the first `count` triplets.
    #[must_use]
    pub fn truncated(mut self, count: usize) -> Self {
        self.values.truncate(count);
        Self { left: self.left.truncated(count), right: self.right.truncated(count), ..self }
    }
}

/// Singular values, where all of them fit a double.
pub(super) fn fitting(values: Vec<f64>, (rows, cols): (usize, usize)) -> Result<Vec<f64>, Error> {
    if values.iter().all(|s| s.is_finite()) {
        return Ok(values);
    }
    Err(Error::Overflow(format!("a singular value of a {rows} × {cols} matrix")))
}
