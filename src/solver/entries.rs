//! What the raw entries of a weight say before any decomposition: not finite, all zero, how large, how even.

use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};
use serde::{Deserialize, Serialize};

use super::moments::{Moments, Oddities, Spacing, Texture};
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix};

/// More rows or columns than this get no sums of their own: each takes some 30 bytes.
const MOST_LINES: usize = 1 << 21;

/// Whether the rows and columns of a matrix of this shape get sums.
pub(super) fn has_lines(rows: usize, cols: usize) -> bool {
    rows.max(cols) <= MOST_LINES
}

/// Sums over the entries of one matrix, taken in blocks of rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Told", into = "Told")]
pub struct Entries {
    /// How many rows were taken.
    rows: usize,
    /// Whether rows and columns have sums.
    by_lines: bool,
    nonfinite: usize,
    zero_rows: usize,
    max_abs: f64,
    largest: Option<Entry>,
    moments: Moments,
    /// What the sums come to, once somebody asks.
    lines: OnceLock<Option<Lines>>,
}

/// What the sums over rows and columns come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lines {
    /// Lines of zeros, and repeated ones.
    pub oddities: Oddities,
    /// How even the entries are; none where all are zero, or powers of them fit no double.
    pub texture: Option<Texture>,
    /// The root mean square of rounding to the storage type.
    pub rounding: f64,
    /// The sum of all squared entries.
    pub energy: f64,
}

/// What is told of entries when all were read, in little room.
#[derive(Serialize, Deserialize)]
struct Told {
    nonfinite: usize,
    zero_rows: usize,
    max_abs: f64,
    largest: Option<Entry>,
    lines: Option<Lines>,
}

impl From<Entries> for Told {
    fn from(entries: Entries) -> Self {
        let lines = entries.lines().cloned();
        let Entries { nonfinite, zero_rows, max_abs, largest, .. } = entries;
        Self { nonfinite, zero_rows, max_abs, largest, lines }
    }
}

impl From<Told> for Entries {
    fn from(Told { nonfinite, zero_rows, max_abs, largest, lines }: Told) -> Self {
        Self { nonfinite, zero_rows, max_abs, largest, lines: lines.into(), ..Self::default() }
    }
}

/// The next rows, taken in the widest registers there are.
struct Scan<'a> {
    entries: &'a mut Entries,
    rows: &'a Matrix,
}

impl WithSimd for Scan<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { entries, rows } = self;
        // Without the sign bit, floats are ordered like integers, and NaN and infinities come last.
        match rows.dtype() {
            Dtype::Bf16 => entries.scan(rows, |b| i16::from_le_bytes(b) & i16::MAX, 0x7f80),
            Dtype::F16 => entries.scan(rows, |b| i16::from_le_bytes(b) & i16::MAX, 0x7c00),
            Dtype::F32 => entries.scan(rows, |b| i32::from_le_bytes(b) & i32::MAX, 0x7f80_0000),
            Dtype::F64 => entries.scan(rows, |b| i64::from_le_bytes(b) & i64::MAX, 0x7ff0_0000_0000_0000),
            Dtype::F8E4M3 => entries.scan(rows, |b| i8::from_le_bytes(b) & i8::MAX, 0x7f),
            Dtype::F8E5M2 => entries.scan(rows, |b| i8::from_le_bytes(b) & i8::MAX, 0x7c),
        }
    }
}

/// An entry with its place.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its row.
    pub row: usize,
    /// Its column.
    pub column: usize,
    /// Its value.
    pub value: f64,
}

impl Entries {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self { by_lines: true, ..Self::default() }
    }

    /// Nothing seen yet of a matrix of so many rows and columns, which get sums if that is not too many.
    pub fn of_shape((rows, cols): (usize, usize)) -> Self {
        Self { by_lines: has_lines(rows, cols), ..Self::default() }
    }

    /// The same for what is not decomposed: neither rows nor columns have sums.
    pub fn of_numbers() -> Self {
        Self::default()
    }

    /// Those of which only so much is known: how many are NaN or infinite.
    pub fn of_count(nonfinite: usize) -> Self {
        Self { nonfinite, ..Self::default() }
    }

    /// Those of a whole matrix.
    pub fn of(matrix: &Matrix) -> Self {
        let mut entries = Self::of_shape((matrix.rows(), matrix.cols()));
        entries.push(matrix);
        entries
    }

    /// Takes the next rows of the matrix.
    pub fn push(&mut self, rows: &Matrix) {
        self.lines.take();
        Arch::new().dispatch(Scan { entries: self, rows });
    }

    /// Takes rows of entries whose magnitudes are `bits`, not finite from `limit` on.
    #[inline(always)]
    fn scan<const N: usize, W: Copy + Ord + Into<i64>>(
        &mut self,
        rows: &Matrix,
        bits: impl Fn([u8; N]) -> W,
        limit: W,
    ) {
        let zero = bits([0; N]);
        let (cols, before) = (rows.cols(), self.rows);
        self.rows += rows.rows();
        if self.by_lines {
            self.moments.push(rows, spacing(rows.dtype()));
        }
        let mut largest = zero;
        for (i, row) in rows.bytes().chunks_exact((cols * N).max(1)).enumerate() {
            let (entries, _) = row.as_chunks::<N>();
            let mut here = zero;
            for entry in entries {
                here = here.max(bits(*entry));
            }
            self.zero_rows += usize::from(here == zero);
            // Rare: scan the row again, without NaN and infinities.
            if here >= limit {
                self.nonfinite += entries.iter().filter(|entry| bits(**entry) >= limit).count();
                let finite = entries.iter().map(|entry| bits(*entry)).filter(|bits| *bits < limit);
                here = finite.max().unwrap_or(zero);
            }
            if here > largest {
                largest = here;
                let size = magnitude(rows.dtype(), here.into());
                let at = entries.iter().position(|entry| bits(*entry) == here);
                if let Some(column) = at.filter(|_| size > self.max_abs) {
                    self.max_abs = size;
                    let mut value = [0.0];
                    rows.widen(i * cols + column..i * cols + column + 1, &mut value);
                    self.largest = Some(Entry { row: before + i, column, value: value[0] });
                }
            }
        }
    }

    /// Takes a part of the next row, from column `first` on, where one row is too much at once; `zero` says whether all
    /// before it were zeros. Whether all are.
    pub fn push_part(&mut self, part: &Matrix, first: usize, zero: bool) -> bool {
        let mut zero = zero;
        for (i, value) in part.to_f64().into_iter().enumerate() {
            zero &= value == 0.0;
            self.nonfinite += usize::from(!value.is_finite());
            if value.is_finite() && value.abs() > self.max_abs {
                self.max_abs = value.abs();
                self.largest = Some(Entry { row: self.rows, column: first + i, value });
            }
        }
        zero
    }

    /// Ends a row that came in parts.
    pub fn end_row(&mut self, zero: bool) {
        self.rows += 1;
        self.zero_rows += usize::from(zero);
    }

    /// Entries metrics of a product, from its factors: their NaN and infinite entries, and rows that are zero.
    pub fn of_factors(product: &LowRank) -> Self {
        let both = product.left().iter().chain(product.right());
        let nothing = product.right().iter().all(|x| *x == 0.0);
        let rows = product.left().chunks_exact(product.rank().max(1));
        Self {
            nonfinite: both.filter(|x| !x.is_finite()).count(),
            zero_rows: rows.filter(|row| nothing || row.iter().all(|x| *x == 0.0)).count(),
            ..Self::default()
        }
    }

    /// The same of a product that is not multiplied out, from what its parts say.
    pub(super) fn of_product(nonfinite: usize, zero_rows: usize, largest: Option<Entry>) -> Self {
        let max_abs = largest.map_or(0.0, |entry| entry.value.abs());
        Self { nonfinite, zero_rows, max_abs, largest, ..Self::default() }
    }

    /// How many entries are NaN or infinite.
    pub fn nonfinite_count(&self) -> usize {
        self.nonfinite
    }

    /// How many rows hold nothing but zeros.
    pub fn zero_rows(&self) -> usize {
        self.zero_rows
    }

    /// The largest finite magnitude.
    pub fn max_abs(&self) -> f64 {
        self.max_abs
    }

    /// The first entry of the largest finite magnitude; none of zeros.
    pub fn largest(&self) -> Option<Entry> {
        self.largest
    }

    /// What rows and columns say; none where no row was read. Asked for when all rows were taken.
    pub fn lines(&self) -> Option<&Lines> {
        let lines = || {
            let moments = Some(&self.moments).filter(|moments| moments.rows() > 0)?;
            let (oddities, texture) = (moments.oddities(), moments.texture());
            Some(Lines { oddities, texture, rounding: moments.rounding(), energy: moments.energy() })
        };
        self.lines.get_or_init(lines).as_ref()
    }
}

/// Significant bits and the least exponent of `dtype`; none of types whose rounding no direction of a weight is near.
const fn spacing(dtype: Dtype) -> Option<Spacing> {
    let (digits, least) = match dtype {
        Dtype::F64 | Dtype::F32 => return None,
        Dtype::F16 => (11, -14),
        Dtype::Bf16 => (8, -126),
        Dtype::F8E4M3 => (4, -6),
        Dtype::F8E5M2 => (3, -14),
    };
    Some(Spacing { digits, least })
}

/// The value of `bits` in `dtype`.
fn magnitude(dtype: Dtype, bits: i64) -> f64 {
    let bytes = bits.to_le_bytes()[..dtype.size()].to_vec();
    Matrix::new(1, 1, dtype, bytes).map_or(0.0, |one| one.to_f64()[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::bf16_bytes;

    fn check(dtype: Dtype, bytes: Vec<u8>, expected: (usize, usize, f64)) {
        let matrix = Matrix::new(2, bytes.len() / 2 / dtype.size(), dtype, bytes).expect("whole rows");
        let mut entries = Entries::new();
        entries.push(&matrix);
        assert_eq!((entries.nonfinite_count(), entries.zero_rows(), entries.max_abs()), expected, "{dtype}");
    }

    #[test]
    fn every_dtype_tells_its_largest_entry_its_zero_rows_and_what_is_not_finite() {
        let values = [0.0f64, -0.0, 0.5, -3.0];
        check(Dtype::F64, values.iter().flat_map(|x| x.to_le_bytes()).collect(), (0, 1, 3.0));
        check(Dtype::F32, values.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(), (0, 1, 3.0));
        check(Dtype::Bf16, bf16_bytes(&values), (0, 1, 3.0));
        check(Dtype::Bf16, bf16_bytes(&[f64::NAN, f64::NEG_INFINITY, 1.0, f64::INFINITY]), (3, 0, 1.0));
        check(Dtype::F16, vec![0, 0x7c, 1, 0xfc, 0, 0x3c, 0, 0xbe], (2, 0, 1.5));
        check(Dtype::F8E4M3, vec![0x7f, 0xff, 0x7e, 0xfe], (2, 0, 448.0));
        check(Dtype::F8E5M2, vec![0x7c, 0xff, 0x7b, 0x80], (2, 0, 57344.0));
    }

    #[test]
    fn multiples_of_the_identity_repeat_no_line() {
        for x in [0.5, 1.0, 2.0, 3.0, 4.0, -2.0, 1e-20, 1e20] {
            let entries: Vec<f64> = (0..64).map(|i| if i % 9 == 0 { x } else { 0.0 }).collect();
            for dtype in [Dtype::F64, Dtype::F32, Dtype::Bf16] {
                let matrix = Matrix::rounded(8, 8, dtype, &entries).expect("fits");
                let entries = Entries::of(&matrix);
                let found = &entries.lines().expect("eight rows").oddities;
                assert_eq!(*found, Oddities::default(), "{x} in {dtype}");
            }
        }
    }

    #[test]
    fn what_is_told_of_entries_reads_back() {
        let entries: Vec<f64> = (0..40 * 30).map(|i| f64::from(i * 7919 % 1009) - 504.0).collect();
        for entries in [
            Entries::of(&Matrix::from_f64(40, 30, &entries).expect("sizes agree")),
            Entries::of(&Matrix::from_f64(40, 30, &[0.0; 1200]).expect("sizes agree")),
            Entries::of_numbers(),
        ] {
            let text = serde_json::to_string(&entries).expect("plain data");
            let read: Entries = serde_json::from_str(&text).expect("as written");
            let all = |of: &Entries| (of.nonfinite_count(), of.zero_rows(), of.max_abs(), of.largest());
            assert_eq!((all(&read), read.lines()), (all(&entries), entries.lines()));
        }
    }

    #[test]
    fn blocks_of_rows_do_not_change_a_bit() {
        let entries: Vec<f64> = (0..40 * 1100).map(|i| f64::from(i * 7919 % 1009) - 504.0).collect();
        let whole = Matrix::from_f64(40, 1100, &entries).expect("sizes agree");
        let mut parts = Entries::new();
        for rows in [0..1, 1..18, 18..40] {
            let part = &entries[rows.start * 1100..rows.end * 1100];
            parts.push(&Matrix::from_f64(rows.len(), 1100, part).expect("sizes agree"));
        }
        assert_eq!(Entries::of(&whole), parts);
    }
}
