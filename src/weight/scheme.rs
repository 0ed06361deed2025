//! How the entries of one quantized weight are computed: codes, times scales, less zero points.
//!
//! Everything is computed in f64 and rounded once, to f32. Codes and scales are read for the wanted rows alone.

use std::ops::Range;

use super::blocks::blocks;
use super::codebook::{Book, Number};
use super::grid::{Grid, View};
use super::tensors::Tensors;
use crate::error::Error;
use crate::layer::{Encoding, TensorInfo};
use crate::matrix::{Dtype, Matrix};

/// Numbers that codes are multiplied by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scales {
    pub tensor: TensorInfo,
    pub number: Number,
    pub grid: Grid,
}

/// A number for a whole matrix, beside the scales of its blocks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Overall {
    pub tensor: TensorInfo,
    pub number: Number,
    pub use_: Use,
}

/// How the scale of the whole matrix is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Multiply,
    Divide,
}

/// The zero points, one for each block.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Zeros {
    pub tensor: TensorInfo,
    pub stored: ZeroCodes,
}

/// How the zero points are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ZeroCodes {
    /// Signed bytes, as the scales lie.
    Bytes,
    /// Packed like the codes, but down the columns, into words of 32 bits.
    PackedDown,
}

/// All that is known of one quantized weight, its parts checked against each other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scheme {
    /// Name of the weight as a model stores it that is not quantized.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    pub view: View,
    /// The scheme, as reports name it.
    pub label: String,
    pub codes: TensorInfo,
    pub book: Book,
    pub scales: Option<Scales>,
    pub overall: Option<Overall>,
    pub zeros: Option<Zeros>,
    /// The group of scales that each column belongs to, where that is not by position.
    pub groups: Option<TensorInfo>,
    /// Names of the tensors beside the codes.
    pub parts: Vec<String>,
}

/// Scales and zero points of some rows.
struct Beside {
    /// First row of the scales that were read.
    first: usize,
    scales: Vec<f64>,
    zeros: Vec<f64>,
    groups: Vec<usize>,
    overall: Vec<f64>,
}

impl Scheme {
    /// How reports describe it.
    pub(crate) fn encoding(&self) -> Encoding {
        Encoding {
            stored: self.codes.element.name().to_owned(),
            scheme: self.label.clone(),
            bits: self.book.bits(),
            epsilon: self.book.epsilon(),
        }
    }

    /// The rows `wanted` of the tensor, counted over all its matrices.
    ///
    /// # Errors
    /// When they are not rows of it, or a part cannot be read.
    pub(crate) fn read(&self, stored: &Tensors, wanted: Range<usize>) -> Result<Matrix, Error> {
        let View { slices, rows, cols } = self.view;
        if wanted.start > wanted.end || wanted.end > slices * rows {
            let reason = format!("rows {}..{} are not in it", wanted.start, wanted.end);
            return Err(Error::Contract(format!("`{}`: {reason}", self.name)));
        }
        let count = wanted.len();
        let values = self.book.values();
        let mut bytes = Vec::with_capacity(count * cols * Dtype::F32.size());
        for block in blocks(wanted, cols) {
            let beside = self.beside(stored, &block)?;
            let codes = stored.bytes(
                &self.codes,
                block.start as u64 * self.row_bytes() as u64,
                block.len() as u64 * self.row_bytes() as u64,
            )?;
            for (row, codes) in block.zip(codes.chunks_exact(self.row_bytes().max(1))) {
                self.decode(row, codes, &values, &beside, &mut bytes);
            }
        }
        Matrix::new(count, cols, Dtype::F32, bytes)
    }

    /// Bytes of the codes of one row; packed codes fill whole bytes or words.
    fn row_bytes(&self) -> usize {
        match self.book {
            Book::Offset(bits) => (self.view.cols * bits as usize).div_ceil(32) * 4,
            book => self.view.cols * book.bits() as usize / 8,
        }
    }

    /// Appends the entries of one row.
    fn decode(&self, row: usize, codes: &[u8], values: &[f64], beside: &Beside, out: &mut Vec<u8>) {
        let bits = self.book.bits() as usize;
        let mask = (1usize << bits) - 1;
        let (line, width, block) = match &self.scales {
            Some(scales) => (
                (scales.grid.row(row) - beside.first) * scales.grid.cols,
                scales.grid.cols,
                scales.grid.block.1,
            ),
            None => (0, 1, self.view.cols),
        };
        let overall =
            beside.overall.get(row / self.view.rows).or(beside.overall.first()).copied().unwrap_or(1.0);
        let scales = &beside.scales[line..line + width];
        let zeros = beside.zeros.get(line..line + width);
        let mut entry = |col: usize, group: usize| {
            let code = usize::from(codes[col * bits / 8]) >> (col * bits % 8) & mask;
            let zero = zeros.map_or(0.0, |zeros| zeros[group]);
            let value = (values[code] - zero) * (scales[group] * overall);
            out.extend_from_slice(&(value as f32).to_le_bytes());
        };
        if beside.groups.is_empty() {
            (0..self.view.cols).for_each(|col| entry(col, col / block));
        } else {
            beside.groups.iter().enumerate().for_each(|(col, group)| entry(col, *group));
        }
    }

    /// Reads the scales and zero points for `rows`.
    fn beside(&self, stored: &Tensors, rows: &Range<usize>) -> Result<Beside, Error> {
        let mut beside =
            Beside { first: 0, scales: vec![1.0], zeros: vec![], groups: vec![], overall: vec![] };
        let Some(Scales { tensor, number, grid }) = &self.scales else { return Ok(beside) };
        let span = grid.span(rows);
        let part = |from: usize, count: usize, size: usize| ((from * size) as u64, (count * size) as u64);
        let (from, length) = part(span.start * grid.cols, span.len() * grid.cols, number.size());
        beside.scales = number.values(stored.bytes(tensor, from, length)?);
        beside.first = span.start;
        if let Some(Overall { tensor, number, use_ }) = &self.overall {
            let all: usize = tensor.shape.iter().product();
            let numbers = number.values(stored.bytes(tensor, 0, (all * number.size()) as u64)?);
            beside.overall = match use_ {
                Use::Multiply => numbers,
                Use::Divide => numbers.into_iter().map(|x| 1.0 / x).collect(),
            };
        }
        if let Some(Zeros { tensor, stored: how }) = &self.zeros {
            beside.zeros = match how {
                ZeroCodes::Bytes => {
                    let (from, length) = part(span.start * grid.cols, span.len() * grid.cols, 1);
                    Number::Byte.values(stored.bytes(tensor, from, length)?)
                }
                ZeroCodes::PackedDown => self.packed_zeros(stored, tensor, grid, span)?,
            };
        }
        if let Some(tensor) = &self.groups {
            let bytes = stored.bytes(tensor, 0, (self.view.cols * 4) as u64)?;
            let (words, _) = bytes.as_chunks::<4>();
            beside.groups = words.iter().map(|word| u32::from_le_bytes(*word) as usize).collect();
            if let Some(group) = beside.groups.iter().find(|group| **group >= grid.cols) {
                return Err(stored.malformed(tensor, format!("names group {group} of {}", grid.cols)));
            }
        }
        Ok(beside)
    }

    /// The zero points of the rows `span` of scales, from words that pack several rows.
    fn packed_zeros(
        &self,
        stored: &Tensors,
        tensor: &TensorInfo,
        grid: &Grid,
        span: Range<usize>,
    ) -> Result<Vec<f64>, Error> {
        let values = self.book.values();
        let bits = self.book.bits() as usize;
        let words = (grid.rows * bits).div_ceil(32);
        let mut zeros = Vec::with_capacity(span.len() * grid.cols);
        let row_of = |row: usize| row / grid.rows * words + row % grid.rows * bits / 32;
        let (first, last) = (row_of(span.start), row_of(span.end - 1));
        let line = grid.cols as u64 * 4;
        let bytes = stored.bytes(tensor, first as u64 * line, (last - first + 1) as u64 * line)?;
        for row in span {
            for col in 0..grid.cols {
                let at = ((row_of(row) - first) * grid.cols + col) * 4 + row % grid.rows * bits % 32 / 8;
                let code = usize::from(bytes[at]) >> (row % grid.rows * bits % 8) & ((1 << bits) - 1);
                zeros.push(values[code]);
            }
        }
        Ok(zeros)
    }
}
