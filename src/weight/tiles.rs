//! Weights whose numbers lie in the order in which a GPU takes them: SVDQuant's, as Nunchaku stores them.
//!
//! Codes lie in tiles of 128 rows and 64 columns, scales and smoothing factors in runs of 128, the factors of the low-rank
//! part in tiles of 16 × 16. Source: DeepCompressor's `NunchakuWeightPacker` (SVDQuant, Li et al. 2024, arXiv 2411.05007).

use std::ops::Range;

use super::codebook::{Book, Number};
use super::tensors::Tensors;
use crate::error::Error;
use crate::layer::TensorInfo;
use crate::matrix::{Dtype, Matrix};

/// Rows of a tile of codes.
pub(crate) const TILE_ROWS: usize = 128;
/// Columns of a tile of codes.
pub(crate) const TILE_COLUMNS: usize = 64;
/// Rows and columns of a tile of a factor.
pub(crate) const FACTOR_TILE: usize = 16;

/// A weight without its low-rank part, or a factor of that.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tiles {
    Codes(Box<Codes>),
    Factor(PackedFactor),
}

/// 4-bit codes and what they are multiplied by, their shapes checked against each other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Codes {
    /// Two's complement, or FP4.
    pub book: Book,
    pub packed: TensorInfo,
    /// A number for each row and group of columns.
    pub scales: (TensorInfo, Number),
    /// One for each row.
    pub of_rows: Option<TensorInfo>,
    /// One for the whole.
    pub overall: Option<TensorInfo>,
    /// What inputs are divided by before they meet the codes, one for each column.
    pub smooth: Option<TensorInfo>,
    pub rows: usize,
    pub cols: usize,
}

/// A factor of the low-rank part: outputs × rank, or rank × inputs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PackedFactor {
    pub tensor: TensorInfo,
    pub rows: usize,
    pub cols: usize,
    /// Whether it is the one next to the inputs, whose tiles lie column by column.
    pub is_down: bool,
}

impl Tiles {
    /// Rows and columns.
    pub(crate) fn shape(&self) -> (usize, usize) {
        match self {
            Self::Codes(codes) => (codes.rows, codes.cols),
            Self::Factor(factor) => (factor.rows, factor.cols),
        }
    }

    /// The tensor that holds most of it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Codes(codes) => &codes.packed.name,
            Self::Factor(factor) => &factor.tensor.name,
        }
    }

    /// The rows `rows`, in f32.
    pub(crate) fn read(&self, stored: &Tensors, rows: Range<usize>) -> Result<Matrix, Error> {
        let (height, cols) = self.shape();
        if rows.start > rows.end || rows.end > height {
            return Err(Error::Contract(format!("rows {}..{} of {height}", rows.start, rows.end)));
        }
        let count = rows.len();
        let entries = match self {
            Self::Codes(codes) => codes.read(stored, rows)?,
            Self::Factor(factor) => factor.read(stored, &rows)?,
        };
        let bytes = entries.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect();
        Matrix::new(count, cols, Dtype::F32, bytes)
    }
}

impl Codes {
    /// Code · scale · the row's · the whole's / the column's, in f64.
    fn read(&self, stored: &Tensors, rows: Range<usize>) -> Result<Vec<f64>, Error> {
        let all = |tensor: &Option<TensorInfo>| -> Result<Option<Vec<f64>>, Error> {
            tensor
                .as_ref()
                .map(|tensor| numbers(stored, tensor, 0..tensor.shape.iter().product()))
                .transpose()
        };
        let (smooth, of_rows, overall) = (all(&self.smooth)?, all(&self.of_rows)?, all(&self.overall)?);
        let overall = overall.and_then(|numbers| numbers.first().copied()).unwrap_or(1.0);
        let values = self.book.values();
        let groups = self.scales.0.shape.first().copied().unwrap_or(1);
        let group = self.cols / groups.max(1);
        let mut entries = Vec::with_capacity(rows.len() * self.cols);
        let tile_bytes = (TILE_ROWS * self.cols / 2) as u64;
        let mut row = rows.start;
        while row < rows.end {
            let (tile, end) = (row / TILE_ROWS, rows.end.min((row / TILE_ROWS + 1) * TILE_ROWS));
            let codes = stored.bytes(&self.packed, tile as u64 * tile_bytes, tile_bytes)?;
            let (scales, number) = &self.scales;
            let length = (groups * TILE_ROWS * number.size()) as u64;
            let scales = number.values(stored.bytes(scales, tile as u64 * length, length)?);
            for row in row..end {
                let within = row % TILE_ROWS;
                let whole = overall * of_rows.as_ref().map_or(1.0, |numbers| numbers[scattered(row)]);
                for col in 0..self.cols {
                    let (byte, shift) = code_at(within, col);
                    let value = values[usize::from(codes[byte] >> shift & 0xf)];
                    let scale = scales[self.scale_at(within, col / group, groups)];
                    let smooth = smooth.as_ref().map_or(1.0, |numbers| numbers[scattered(col)]);
                    entries.push(value * scale * whole / smooth);
                }
            }
            row = end;
        }
        Ok(entries)
    }

    /// Where the scale of a row of a tile and of a group of columns stands among those of the tile.
    fn scale_at(&self, row: usize, group: usize, groups: usize) -> usize {
        match self.book {
            // Four groups of 16 columns lie together.
            Book::E2m1 => {
                let (quarter, eighth, last) = (row / 32, row / 8 % 4, row % 8);
                (((group / 4 * 8 + last) * 4 + eighth) * 4 + quarter) * 4 + group % 4
            }
            _ => scattered(row) + group.min(groups - 1) * TILE_ROWS,
        }
    }
}

impl PackedFactor {
    fn read(&self, stored: &Tensors, rows: &Range<usize>) -> Result<Vec<f64>, Error> {
        let packs = |n: usize| n / FACTOR_TILE;
        let tile = FACTOR_TILE * FACTOR_TILE;
        // Of the factor next to the outputs, the rows lie together.
        let first = if self.is_down { 0 } else { packs(rows.start) * packs(self.cols) * tile };
        let end = if self.is_down {
            self.rows * self.cols
        } else {
            rows.end.div_ceil(FACTOR_TILE) * packs(self.cols) * tile
        };
        let stored = numbers(stored, &self.tensor, first..end)?;
        let entry = |row: usize, col: usize| {
            let (down, across) = (row / FACTOR_TILE, col / FACTOR_TILE);
            let tile_at = if self.is_down {
                across * packs(self.rows) + down
            } else {
                down * packs(self.cols) + across
            };
            stored[tile_at * tile + factor_at(row % FACTOR_TILE, col % FACTOR_TILE) - first]
        };
        Ok(rows
            .clone()
            .flat_map(|row| (0..self.cols).map(move |col| (row, col)))
            .map(|(row, col)| entry(row, col))
            .collect())
    }
}

/// The numbers `range` of a float tensor.
fn numbers(stored: &Tensors, tensor: &TensorInfo, range: Range<usize>) -> Result<Vec<f64>, Error> {
    let Some(number) = Number::of(&tensor.element) else {
        return Err(stored.malformed(tensor, "is not a float tensor".to_owned()));
    };
    let bytes =
        stored.bytes(tensor, (range.start * number.size()) as u64, (range.len() * number.size()) as u64)?;
    Ok(number.values(bytes))
}

/// The byte of a code among those of its 128 rows, and by how many bits it is shifted there.
fn code_at(row: usize, col: usize) -> (usize, u32) {
    let (pack, half, lane) = (row / 16, row / 8 % 2, row % 8);
    let (tile, right, across, code) = (col / 64, col / 32 % 2, col / 8 % 4, col % 8);
    let word = ((((tile * 8 + pack) * 8 + lane) * 4 + across) * 2 + half) * 2 + right;
    (word * 4 + code / 2, code as u32 % 2 * 4)
}

/// Where the number of a row stands: pairs of rows, 8 apart, lie together in every run of 16.
fn scattered(row: usize) -> usize {
    let (run, half, pair, last) = (row / 16, row / 8 % 2, row / 2 % 4, row % 2);
    (run * 4 + pair) * 4 + half * 2 + last
}

/// Where the entry of a tile of a factor stands.
fn factor_at(row: usize, col: usize) -> usize {
    let (half, lane) = (row / 8, row % 8);
    let (right, across, last) = (col / 8, col / 2 % 4, col % 2);
    (((lane * 4 + across) * 2 + half) * 2 + right) * 2 + last
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every place is taken once.
    fn check(places: impl Iterator<Item = usize>, count: usize) {
        let mut places: Vec<usize> = places.collect();
        places.sort_unstable();
        assert_eq!(places, (0..count).collect::<Vec<_>>());
    }

    #[test]
    fn every_entry_has_a_place_of_its_own() {
        let pairs =
            |rows: usize, cols: usize| (0..rows).flat_map(move |row| (0..cols).map(move |col| (row, col)));
        let nibble = |(row, col)| {
            let (byte, shift) = code_at(row, col);
            byte * 2 + shift as usize / 4
        };
        check(pairs(TILE_ROWS, 192).map(nibble), TILE_ROWS * 192);
        check((0..TILE_ROWS).map(scattered), TILE_ROWS);
        check(pairs(FACTOR_TILE, FACTOR_TILE).map(|(row, col)| factor_at(row, col)), 256);
    }

    #[test]
    fn the_first_places_are_those_that_the_packer_names() {
        // The comment of `pack_scale`: lane 0 holds rows 0, 1, 8, 9; lane 1 rows 2, 3, 10, 11.
        let mut rows: Vec<usize> = (0..16).collect();
        rows.sort_by_key(|row| scattered(*row));
        assert_eq!(rows, [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15]);
    }
}
