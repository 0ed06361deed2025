//! Rows or columns of a stored matrix, in the type that it is read as.

use std::ops::Range;

use super::blocks::blocks;
use super::expr::{Expr, Leaf, Runs, Side};
use super::scratch::Scratch;
use crate::error::Error;
use crate::matrix::Matrix;

/// A part of a matrix that is read as it is stored: some of its rows, or some of its columns as rows.
pub(crate) struct Cut<'a> {
    pub(crate) of: &'a Expr,
    pub(crate) side: Side,
    pub(crate) runs: &'a Runs,
}

impl Expr {
    /// The same as a part of such a matrix, if it is one.
    pub(crate) fn cut(&self) -> Option<Cut<'_>> {
        let (of, side, runs) = match self {
            Self::Part { of, side: Side::Rows, runs } => (of, Side::Rows, runs),
            Self::Transposed(part) => match &**part {
                Self::Part { of, side: Side::Columns, runs } => (of, Side::Columns, runs),
                _ => return None,
            },
            _ => return None,
        };
        let is_stored =
            matches!(**of, Self::Stored(_) | Self::Decoded(_) | Self::Given(_)) || of.cut().is_some();
        is_stored.then_some(Cut { of, side, runs })
    }

    /// The columns `columns` of the rows `rows`.
    pub(crate) fn window(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        room: &Scratch,
    ) -> Result<Matrix, Error> {
        if let Self::Stored(Leaf { tensors, layer }) = self
            && let Some(found) = tensors.columns(layer, rows.clone(), &columns)
        {
            return found;
        }
        let (size, width) = (self.entry().size(), self.shape().1);
        let mut bytes = Vec::with_capacity(rows.len() * columns.len() * size);
        let count = rows.len();
        for block in blocks(rows, width) {
            for row in self.read(block, room)?.bytes().chunks_exact((width * size).max(1)) {
                bytes.extend_from_slice(&row[columns.start * size..columns.end * size]);
            }
        }
        Matrix::new(count, columns.len(), self.entry(), bytes)
    }
}

impl Cut<'_> {
    /// The rows `rows` of it.
    pub(crate) fn read(&self, rows: Range<usize>, room: &Scratch) -> Result<Matrix, Error> {
        if rows.start > rows.end || rows.end > self.runs.count {
            let reason = format!("rows {}..{} of {}", rows.start, rows.end, self.runs.count);
            return Err(Error::Contract(reason));
        }
        let (count, (height, width)) = (rows.len(), self.of.shape());
        let (width, bytes) = match self.side {
            Side::Rows => (width, self.rows(rows, room)?),
            Side::Columns => (height, self.columns(rows, room)?),
        };
        Matrix::new(count, width, self.of.entry(), bytes)
    }

    /// Those that are stored as rows.
    fn rows(&self, rows: Range<usize>, room: &Scratch) -> Result<Vec<u8>, Error> {
        let cols = self.of.shape().1;
        let line = cols * self.of.entry().size();
        let mut bytes = Vec::with_capacity(rows.len() * line);
        for block in blocks(rows, cols * self.runs.period.div_ceil(self.runs.run.max(1))) {
            let Some(last) = block.clone().last() else { continue };
            let first = self.runs.at(block.start);
            let read = self.of.read(first..self.runs.at(last) + 1, room)?;
            for row in block {
                let at = (self.runs.at(row) - first) * line;
                bytes.extend_from_slice(&read.bytes()[at..at + line]);
            }
        }
        Ok(bytes)
    }

    /// Those that are stored as columns.
    fn columns(&self, rows: Range<usize>, room: &Scratch) -> Result<Vec<u8>, Error> {
        let (size, height) = (self.of.entry().size(), self.of.shape().0);
        let line = height * size;
        let mut bytes = vec![0; rows.len() * line];
        let Some(last) = rows.clone().last() else { return Ok(bytes) };
        let first = self.runs.at(rows.start);
        let columns = first..self.runs.at(last) + 1;
        for block in blocks(0..height, columns.len()) {
            let read = self.of.window(block.clone(), columns.clone(), room)?;
            for (row, stored) in block.zip(read.bytes().chunks_exact(columns.len() * size)) {
                for (i, output) in rows.clone().enumerate() {
                    let (from, to) = ((self.runs.at(output) - first) * size, i * line + row * size);
                    bytes[to..to + size].copy_from_slice(&stored[from..from + size]);
                }
            }
        }
        Ok(bytes)
    }
}
