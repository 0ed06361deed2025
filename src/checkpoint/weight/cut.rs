//! Rows or columns of a stored matrix, in the type they are stored in.

use std::ops::Range;

use super::{Expr, Leaf, Runs, Side};
use crate::error::Error;
use crate::layer::Layer;
use crate::matrix::Matrix;

/// A part of a stored matrix: some of its rows, or some of its columns as rows.
pub(super) struct Cut<'a> {
    leaf: &'a Leaf,
    pub(super) side: Side,
    pub(super) runs: &'a Runs,
}

impl Expr {
    /// The same as a part of a stored matrix, if it is one.
    pub(super) fn cut(&self) -> Option<Cut<'_>> {
        let (of, side, runs) = match self {
            Self::Part { of, side: Side::Rows, runs } => (of, Side::Rows, runs),
            Self::Transposed(part) => match &**part {
                Self::Part { of, side: Side::Columns, runs } => (of, Side::Columns, runs),
                _ => return None,
            },
            _ => return None,
        };
        if let Self::Stored(leaf) = &**of { Some(Cut { leaf, side, runs }) } else { None }
    }
}

impl Cut<'_> {
    /// The matrix that it is a part of.
    pub(super) fn whole(&self) -> &Layer {
        &self.leaf.layer
    }

    /// The rows `rows` of it.
    pub(super) fn read(&self, rows: Range<usize>) -> Result<Matrix, Error> {
        if rows.start > rows.end || rows.end > self.runs.count {
            let reason = format!("rows {}..{} of `{}`", rows.start, rows.end, self.whole().name);
            return Err(Error::Usage(reason));
        }
        let (count, whole) = (rows.len(), self.whole());
        let (width, bytes) = match self.side {
            Side::Rows => (whole.cols, self.rows(rows)?),
            Side::Columns => (whole.rows, self.columns(rows)?),
        };
        Matrix::new(count, width, whole.read_as, bytes)
    }

    /// Those that are stored as rows.
    fn rows(&self, rows: Range<usize>) -> Result<Vec<u8>, Error> {
        let Leaf { source, layer: whole } = self.leaf;
        let line = whole.cols * whole.read_as.size();
        let mut bytes = Vec::with_capacity(rows.len() * line);
        for block in super::super::blocks(rows, whole.cols * self.runs.period.div_ceil(self.runs.run.max(1))) {
            let Some(last) = block.clone().last() else { continue };
            let first = self.runs.at(block.start);
            let read = source.read(whole, first..self.runs.at(last) + 1)?;
            for row in block {
                let at = (self.runs.at(row) - first) * line;
                bytes.extend_from_slice(&read.bytes()[at..at + line]);
            }
        }
        Ok(bytes)
    }

    /// Those that are stored as columns.
    fn columns(&self, rows: Range<usize>) -> Result<Vec<u8>, Error> {
        let Leaf { source, layer: whole } = self.leaf;
        let size = whole.read_as.size();
        let line = whole.rows * size;
        let mut bytes = vec![0; rows.len() * line];
        let Some(last) = rows.clone().last() else { return Ok(bytes) };
        let first = self.runs.at(rows.start);
        let columns = first..self.runs.at(last) + 1;
        for block in super::super::blocks(0..whole.rows, columns.len()) {
            let read = source.window(whole, block.clone(), columns.clone())?;
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
