//! Reading an expression: in the type that its entries are stored in where it is stored, else in f64.

use std::ops::Range;

use super::blocks::{blocks, space};
use super::expr::{Expr, Leaf};
use super::scratch::Scratch;
use crate::error::Error;
use crate::matrix::{Dtype, Matrix};

impl Expr {
    /// The rows `rows`, in the type of [`entry`](Self::entry).
    pub(crate) fn read(&self, rows: Range<usize>, room: &Scratch) -> Result<Matrix, Error> {
        match self {
            Self::Stored(Leaf { tensors, layer }) => return tensors.read(layer, rows),
            Self::Decoded(decoded) => return decoded.read(rows),
            Self::Given(given) => return given.read(rows),
            _ => {}
        }
        if let Some(cut) = self.cut() {
            return cut.read(rows, room);
        }
        let (height, width) = self.shape();
        if rows.start > rows.end || rows.end > height {
            return Err(Error::Contract(format!("rows {}..{} of {height}", rows.start, rows.end)));
        }
        let mut bytes = space(rows.len(), width)?;
        for block in blocks(rows.clone(), width) {
            let entries = self.rows(block.clone(), room)?;
            if self.overflows(&block, &entries, room)? {
                return Err(Error::Overflow("an entry".to_owned()));
            }
            bytes.extend(entries.iter().flat_map(|x| x.to_le_bytes()));
        }
        Matrix::new(rows.len(), width, Dtype::F64, bytes)
    }
}
