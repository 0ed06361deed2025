//! The entries of an expression, a few rows at a time, in f64.

use std::ops::Range;
use std::sync::Arc;

use super::expr::{Expr, Runs, Side, Sign};
use super::scratch::{Key, Scratch};
use super::tucker::contracted;
use crate::error::Error;

impl Expr {
    /// The entries of the rows `rows`, row by row.
    pub(crate) fn rows(&self, rows: Range<usize>, room: &Scratch) -> Result<Vec<f64>, Error> {
        if let Some(cut) = self.cut() {
            return Ok(cut.read(rows, room)?.to_f64());
        }
        match self {
            Self::Stored(_) | Self::Decoded(_) | Self::Given(_) => Ok(self.read(rows, room)?.to_f64()),
            Self::Part { of, side, runs } => part(of, (*side, runs), rows, room),
            Self::Transposed(of) if of.is_product() => self.multiplied(rows, room),
            Self::Transposed(of) => {
                let (height, width) = of.shape();
                let all = of.rows(0..height, room)?;
                Ok(transpose(&all, width)[rows.start * height..rows.end * height].to_vec())
            }
            Self::Scaled(of, _) if of.is_product() => self.multiplied(rows, room),
            Self::Scaled(of, by) => {
                let mut entries = of.rows(rows, room)?;
                entries.iter_mut().for_each(|x| *x *= by);
                Ok(entries)
            }
            Self::Diagonal { of, by } => {
                let (mut entries, by) = (of.rows(rows, room)?, by.rows(0..1, room)?);
                for row in entries.chunks_exact_mut(by.len().max(1)) {
                    row.iter_mut().zip(&by).for_each(|(x, d)| *x *= d);
                }
                Ok(entries)
            }
            Self::Product(..) | Self::Beyond { .. } => self.multiplied(rows, room),
            Self::Tucker { kernel, down } => tucker(kernel, down, rows, room),
            Self::Hadamard(first, second) => {
                let mut entries = first.rows(rows.clone(), room)?;
                entries.iter_mut().zip(second.rows(rows, room)?).for_each(|(x, y)| *x *= y);
                Ok(entries)
            }
            Self::Kronecker(first, second) => kronecker(first, second, rows, room),
            Self::Sum(first, sign, second) => {
                let mut entries = first.rows(rows.clone(), room)?;
                let pairs = entries.iter_mut().zip(second.rows(rows, room)?);
                match sign {
                    Sign::Plus => pairs.for_each(|(x, y)| *x += y),
                    Sign::Minus => pairs.for_each(|(x, y)| *x -= y),
                }
                Ok(entries)
            }
            Self::Rescaled { of, lengths, along } => Self::rescaled(of, (lengths, *along), rows, room),
        }
    }

    /// Whether it is a product of thin factors, perhaps scaled or transposed.
    fn is_product(&self) -> bool {
        match self {
            Self::Product(..) => true,
            Self::Transposed(of) | Self::Scaled(of, _) => of.is_product(),
            _ => false,
        }
    }

    fn multiplied(&self, rows: Range<usize>, room: &Scratch) -> Result<Vec<f64>, Error> {
        let count = rows.len();
        Ok(self.factors_of(rows, room)?.dense(0..count)?.to_f64())
    }
}

/// Scattered rows of a matrix, or columns.
fn part(
    of: &Arc<Expr>,
    (side, runs): (Side, &Runs),
    rows: Range<usize>,
    room: &Scratch,
) -> Result<Vec<f64>, Error> {
    let (height, width) = of.shape();
    let whole = room.whole(&Key::Whole(Arc::clone(of)), || of.read(0..height, room))?;
    let mut entries = vec![];
    let mut take = |at: usize, count: usize| {
        let from = entries.len();
        entries.resize(from + count, 0.0);
        whole.widen(at..at + count, &mut entries[from..]);
    };
    match side {
        Side::Rows => rows.for_each(|row| take(runs.at(row) * width, width)),
        Side::Columns => {
            for row in rows {
                (0..runs.count).for_each(|i| take(row * width + runs.at(i), 1));
            }
        }
    }
    Ok(entries)
}

/// Rank × (inputs · positions).
fn tucker(kernel: &Expr, down: &Expr, rows: Range<usize>, room: &Scratch) -> Result<Vec<f64>, Error> {
    let rank = down.shape().0;
    let positions = kernel.shape().1 / rank.max(1);
    Ok(contracted(&kernel.rows(rows, room)?, &down.rows(0..rank, room)?, (rank, positions)))
}

fn kronecker(first: &Expr, second: &Expr, rows: Range<usize>, room: &Scratch) -> Result<Vec<f64>, Error> {
    let ((height, width), cols) = (second.shape(), first.shape().1);
    let all = second.rows(0..height, room)?;
    let blocks = rows.start / height.max(1)..rows.end.div_ceil(height.max(1));
    let ours = first.rows(blocks.clone(), room)?;
    let mut entries = Vec::with_capacity(rows.len() * cols * width);
    for row in rows {
        let first = &ours[(row / height - blocks.start) * cols..][..cols];
        let second = &all[row % height * width..][..width];
        entries.extend(first.iter().flat_map(|x| second.iter().map(move |y| x * y)));
    }
    Ok(entries)
}

/// The rows of row-major `entries` of `cols` columns, as columns.
pub(crate) fn transpose(entries: &[f64], cols: usize) -> Vec<f64> {
    (0..cols).flat_map(|j| entries.iter().skip(j).step_by(cols.max(1))).copied().collect()
}
