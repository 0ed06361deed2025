//! How bytes become rows where a matrix does not lie in its file as rows of floats: lines with gaps, columns, blocks.
//!
//! Fetches a bounded piece of the file at a time through a function; knows nothing of files and formats.

use std::borrow::Cow;
use std::ops::Range;

use candle_core::CpuStorage;
use candle_core::quantized::GgmlDType;

use super::blocks;
use crate::error::{Error, brief};
use crate::layer::Layer;

/// How an unusual tensor is read.
#[derive(Debug, Clone)]
pub(super) enum Reading {
    /// Not at all, and why.
    Refused(String),
    /// A matrix one of whose strides, in entries, is 1.
    Strided {
        /// From a row to the next.
        row: u64,
        /// From a column to the next.
        col: u64,
    },
    /// A convolution whose rows hold all channels of one position after the other.
    ChannelsLast,
    /// Blocks of small integers with scales.
    Blocks {
        /// What they are decoded by.
        decoder: GgmlDType,
        /// Position of the tensor's first byte; layers count theirs from here, in bytes of f32.
        offset: u64,
    },
}

/// Fills a slice from a position of the file.
pub(super) type Fetch<'a> = &'a dyn Fn(u64, &mut [u8]) -> Result<(), Error>;

/// At most this many bytes are fetched at once beside the matrix.
const PIECE: usize = 4 << 20;

/// The most that a block of any type must be aligned to in memory.
const ALIGNMENT: usize = 8;

/// The rows `rows` of `layer`, whose entries are `row` and `col` apart, one of which is 1.
pub(super) fn strided(
    layer: &Layer,
    rows: &Range<usize>,
    (row, col): (u64, u64),
    fetch: Fetch<'_>,
) -> Result<Vec<u8>, Error> {
    let size = layer.dtype.size();
    let mut out = vec![0; rows.len() * layer.cols * size];
    if col == 1 {
        for (i, line) in rows.clone().zip(out.chunks_exact_mut(layer.cols * size)) {
            fetch(layer.offset + i as u64 * row * size as u64, line)?;
        }
        return Ok(out);
    }
    // Column by column; runs of columns at once where all of their rows are wanted and nothing lies between.
    let (pitch, wanted) = (col as usize * size, rows.len() * size);
    let together = if wanted == pitch { (PIECE / pitch).max(1) } else { 1 };
    let mut bytes = vec![0; wanted * together.min(layer.cols)];
    for first in (0..layer.cols).step_by(together) {
        let columns = first..layer.cols.min(first + together);
        let bytes = &mut bytes[..wanted * columns.len()];
        fetch(layer.offset + (first * pitch + rows.start * size) as u64, bytes)?;
        for (column, entries) in columns.zip(bytes.chunks_exact(wanted)) {
            for (i, entry) in entries.chunks_exact(size).enumerate() {
                let place = (i * layer.cols + column) * size;
                out[place..place + size].copy_from_slice(entry);
            }
        }
    }
    Ok(out)
}

/// The rows `rows` of `layer`, a convolution stored with its channels innermost.
pub(super) fn channels_last(layer: &Layer, rows: &Range<usize>, fetch: Fetch<'_>) -> Result<Vec<u8>, Error> {
    let (size, channels) = (layer.dtype.size(), layer.stored_shape[1]);
    let (width, positions) = (layer.cols * size, layer.cols / channels.max(1));
    let mut out = vec![0; rows.len() * width];
    fetch(layer.offset + (rows.start * width) as u64, &mut out)?;
    for row in out.chunks_exact_mut(width.max(1)) {
        for (i, entry) in row.to_vec().chunks_exact(size).enumerate() {
            let place = (i % channels * positions + i / channels) * size;
            row[place..place + size].copy_from_slice(entry);
        }
    }
    Ok(out)
}

/// The rows `rows` of `layer` as f32, decoded a piece at a time from blocks that begin at `offset`.
pub(super) fn decoded(
    layer: &Layer,
    rows: &Range<usize>,
    (decoder, offset): (GgmlDType, u64),
    fetch: Fetch<'_>,
) -> Result<Vec<u8>, Error> {
    let (entries, bytes) = (decoder.block_size(), decoder.type_size());
    let row = layer.cols / entries * bytes;
    let before = (layer.offset - offset) / layer.dtype.size() as u64 / entries as u64 * bytes as u64;
    let mut out = Vec::with_capacity(rows.len() * layer.cols * layer.dtype.size());
    for piece in blocks(rows.clone(), layer.cols) {
        let length = piece.len() * row;
        let mut room = vec![0; length + ALIGNMENT];
        let skip = room.as_ptr().align_offset(ALIGNMENT);
        let blocks = &mut room[skip..skip + length];
        fetch(offset + before + (piece.start * row) as u64, blocks)?;
        let decoded = decoder.from_data(Cow::Borrowed(blocks)).dequantize(piece.len() * layer.cols);
        let Ok(CpuStorage::F32(values)) = decoded else {
            return Err(Error::Contract(format!("`{}` cannot be decoded", brief(&layer.name))));
        };
        out.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    }
    Ok(out)
}
