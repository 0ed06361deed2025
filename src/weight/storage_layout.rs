//! How bytes become rows where a matrix does not lie in its file as rows of floats: lines with gaps, columns.
//!
//! Fetches a bounded piece of the file at a time through a function; knows nothing of files and formats.

use std::ops::Range;

use crate::error::Error;
use crate::layer::Layer;

/// Fills a slice from a position of the file.
pub(crate) type Fetch<'a> = &'a dyn Fn(u64, &mut [u8]) -> Result<(), Error>;

/// At most this many bytes are fetched at once beside the matrix.
const PIECE: usize = 4 << 20;

/// The rows `rows` of `layer`, whose entries are `row` and `col` apart, one of which is 1.
pub(crate) fn strided(
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
pub(crate) fn channels_last(layer: &Layer, rows: &Range<usize>, fetch: Fetch<'_>) -> Result<Vec<u8>, Error> {
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
