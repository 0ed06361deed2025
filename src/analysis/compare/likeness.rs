//! A weight that only looks different: the base's entries with other signs, times a factor, in another order, or
//! turned as a whole.

use std::ops::Range;

use super::content::BLOCK;
use crate::error::Error;
use crate::matrix::{Dtype, Matrix};
use crate::report::Flag;
use crate::solver::unit::Rescaled;

/// Singular values and size of the change, relative to the base's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    /// Whether all singular values are the base's, to within `SAME`.
    pub(super) same_values: bool,
    /// Whether the entries moved more than an update that leaves the values unchanged by itself.
    pub(super) moved: bool,
}

/// The flag of a `tuned` weight whose entries follow from those of a `base` of the same shape in a simple way.
pub(super) fn flag(base: Rescaled<'_>, tuned: Rescaled<'_>, change: Change) -> Result<Option<Flag>, Error> {
    if each(base, tuned, |a, b| a.abs().total_cmp(&b.abs()).is_eq())? {
        return Ok(Some(Flag::SignsDiffer));
    }
    if !change.moved {
        return Ok(None);
    }
    if let Some(factor) = factor(base, tuned)? {
        let rounding = 2.0 * base.layer.dtype.coarser(tuned.layer.dtype).epsilon();
        let copied = |a: f64, b: f64| (b - factor * a).abs() <= rounding * (factor * a).abs();
        if each(base, tuned, copied)? {
            return Ok(Some(Flag::ScaledCopy));
        }
    }
    if !change.same_values {
        return Ok(None);
    }
    let dtype = base.layer.dtype.coarser(tuned.layer.dtype);
    let (base, tuned) = (Grid::new(&base.whole()?, dtype), Grid::new(&tuned.whole()?, dtype));
    Ok(Some(match () {
        () if tuned.bits == base.transposed().bits => Flag::LikelyTransposed,
        () if tuned.rows() == base.rows() && tuned.transposed().rows() == base.transposed().rows() => {
            Flag::LikelyPermuted
        }
        () => Flag::LikelyRotated,
    }))
}

/// Whether `holds` is true for every pair of entries, the base's first; stops at the first failure.
fn each(base: Rescaled<'_>, tuned: Rescaled<'_>, holds: impl Fn(f64, f64) -> bool) -> Result<bool, Error> {
    // Most pairs differ in their first row: it comes first, and alone.
    let first = (tuned.layer.rows > 0).then_some(0..1);
    for rows in first.into_iter().chain(tuned.layer.blocks(BLOCK)) {
        if !pairs(base, tuned, rows)?.all(|(a, b)| holds(a, b)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Entries of some rows, the base's first.
fn pairs(
    base: Rescaled<'_>,
    tuned: Rescaled<'_>,
    rows: Range<usize>,
) -> Result<impl Iterator<Item = (f64, f64)>, Error> {
    let (a, b) = (base.read(rows.clone())?, tuned.read(rows)?);
    let length = a.cols().max(1);
    let row = move |matrix: &Matrix, start: usize| {
        let mut row = vec![0.0; length];
        matrix.widen(start..start + length, &mut row);
        row
    };
    Ok((0..a.len()).step_by(length).flat_map(move |start| row(&a, start).into_iter().zip(row(&b, start))))
}

/// The factor of the largest of the base's first entries; none if all of them are zero.
fn factor(base: Rescaled<'_>, tuned: Rescaled<'_>) -> Result<Option<f64>, Error> {
    let Some(rows) = tuned.layer.blocks(BLOCK).next() else { return Ok(None) };
    let largest = pairs(base, tuned, rows)?.max_by(|(a, _), (b, _)| a.abs().total_cmp(&b.abs()));
    Ok(largest.filter(|(a, b)| *a != 0.0 && *b != 0.0).map(|(a, b)| b / a))
}

/// The entries of a matrix as bits, rounded to a type so that a copy in another one has the same.
struct Grid {
    cols: usize,
    bits: Vec<u64>,
}

impl Grid {
    fn new(matrix: &Matrix, dtype: Dtype) -> Self {
        let entries = matrix.to_f64();
        // Entries that are not rounded to a type are equal only if stored alike.
        let rounded = Matrix::rounded(matrix.rows(), matrix.cols(), dtype, &entries).ok();
        let entries = rounded.map_or(entries, |rounded| rounded.to_f64());
        // −0 equals 0.
        Self { cols: matrix.cols(), bits: entries.iter().map(|x| (x + 0.0).to_bits()).collect() }
    }

    fn transposed(&self) -> Self {
        let column = |j: usize| self.bits.iter().skip(j).step_by(self.cols.max(1)).copied();
        Self { cols: self.bits.len() / self.cols.max(1), bits: (0..self.cols).flat_map(column).collect() }
    }

    /// The entries of each row in ascending order, and the rows in ascending order: the same however rows and columns
    /// are ordered.
    fn rows(&self) -> Vec<Vec<u64>> {
        let sorted = |row: &[u64]| {
            let mut row = row.to_vec();
            row.sort_unstable();
            row
        };
        let mut rows: Vec<Vec<u64>> = self.bits.chunks(self.cols.max(1)).map(sorted).collect();
        rows.sort_unstable();
        rows
    }
}
