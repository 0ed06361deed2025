//! Weights that are stored as small codes: with scales beside them, or in blocks with scales of their own.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use candle_core::CpuStorage;
use candle_core::quantized::GgmlDType;

use super::blocks::blocks;
use super::scheme::Scheme;
use super::tensors::Tensors;
use super::tiles::Tiles;
use crate::error::{Error, brief};
use crate::layer::Layer;
use crate::matrix::{Dtype, Matrix};

/// The most that a block of any type must be aligned to in memory.
const ALIGNMENT: usize = 8;

/// A matrix that is decoded, to f32.
#[derive(Clone)]
pub(crate) enum Decoded {
    /// Codes and what lies beside them.
    Scaled {
        tensors: Arc<Tensors>,
        scheme: Arc<Scheme>,
        /// Which of the tensor's rows are its own.
        first: usize,
        rows: usize,
    },
    /// Blocks of codes with scales.
    Blocks {
        tensors: Arc<Tensors>,
        layer: Arc<Layer>,
        decoder: GgmlDType,
        /// Position of the tensor's first byte; layers count theirs from there, in bytes of f32.
        start: u64,
    },
    /// In the order of a GPU's tiles.
    Tiles { tensors: Arc<Tensors>, tiles: Arc<Tiles> },
}

impl Decoded {
    /// Rows and columns.
    pub(crate) fn shape(&self) -> (usize, usize) {
        match self {
            Self::Scaled { scheme, rows, .. } => (*rows, scheme.view.cols),
            Self::Blocks { layer, .. } => (layer.rows, layer.cols),
            Self::Tiles { tiles, .. } => tiles.shape(),
        }
    }

    /// The rows `rows`, in f32.
    pub(crate) fn read(&self, rows: Range<usize>) -> Result<Matrix, Error> {
        match self {
            Self::Scaled { tensors, scheme, first, rows: height } => {
                scheme.read(tensors, first + rows.start..first + rows.end.min(*height))
            }
            Self::Blocks { tensors, layer, decoder, start } => {
                let bytes = decoded(tensors, layer, &rows, (*decoder, *start))?;
                Matrix::new(rows.len(), layer.cols, Dtype::F32, bytes)
            }
            Self::Tiles { tensors, tiles } => tiles.read(tensors, rows),
        }
    }
}

impl PartialEq for Decoded {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Scaled { scheme, first, rows, .. },
                Self::Scaled { scheme: theirs, first: start, rows: count, .. },
            ) => Arc::ptr_eq(scheme, theirs) && (first, rows) == (start, count),
            (Self::Blocks { tensors, layer, .. }, Self::Blocks { tensors: theirs, layer: other, .. }) => {
                Arc::ptr_eq(tensors, theirs) && layer.is_same_place(other)
            }
            (Self::Tiles { tiles, .. }, Self::Tiles { tiles: theirs, .. }) => Arc::ptr_eq(tiles, theirs),
            _ => false,
        }
    }
}

impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scaled { scheme, .. } => &scheme.name,
            Self::Blocks { layer, .. } => &layer.name,
            Self::Tiles { tiles, .. } => tiles.name(),
        })
    }
}

/// The rows `rows` of `layer` as f32, decoded a piece at a time from blocks that begin at `start`.
fn decoded(
    tensors: &Tensors,
    layer: &Layer,
    rows: &Range<usize>,
    (decoder, start): (GgmlDType, u64),
) -> Result<Vec<u8>, Error> {
    if rows.start > rows.end || rows.end > layer.rows {
        return Err(Error::Contract(format!("rows {}..{} of {}", rows.start, rows.end, layer.rows)));
    }
    let (entries, bytes) = (decoder.block_size(), decoder.type_size());
    let row = layer.cols / entries * bytes;
    let before = (layer.offset - start) / Dtype::F32.size() as u64 / entries as u64 * bytes as u64;
    let mut out = Vec::with_capacity(rows.len() * layer.cols * Dtype::F32.size());
    for piece in blocks(rows.clone(), layer.cols) {
        let length = piece.len() * row;
        let mut room = vec![0; length + ALIGNMENT];
        let skip = room.as_ptr().align_offset(ALIGNMENT);
        let blocks = &mut room[skip..skip + length];
        tensors.fill(layer, start + before + (piece.start * row) as u64, blocks)?;
        let decoded = decoder.from_data(Cow::Borrowed(blocks)).dequantize(piece.len() * layer.cols);
        let Ok(CpuStorage::F32(values)) = decoded else {
            return Err(Error::Contract(format!("`{}` cannot be decoded", brief(&layer.name))));
        };
        out.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    }
    Ok(out)
}
