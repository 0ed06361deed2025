//! What the raw entries of a weight say before any decomposition: not finite, all zero, how large.

use crate::matrix::{Dtype, Matrix};

/// Sums over the entries of one matrix, taken in blocks of rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entries {
    nonfinite: usize,
    zero_rows: usize,
    max_abs: f64,
}

impl Entries {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next rows of the matrix.
    pub fn push(&mut self, rows: &Matrix) {
        let size = rows.cols() * rows.dtype().size();
        if size == 0 {
            return;
        }
        for row in rows.bytes().chunks_exact(size) {
            let largest = match rows.dtype() {
                // On bits without the sign, floats are ordered like integers, and what is not finite comes last.
                Dtype::Bf16 => self.scan::<2>(row, |b| u64::from(u16::from_le_bytes(b) & 0x7fff), 0x7f80),
                Dtype::F16 => self.scan::<2>(row, |b| u64::from(u16::from_le_bytes(b) & 0x7fff), 0x7c00),
                Dtype::F32 => {
                    self.scan::<4>(row, |b| u64::from(u32::from_le_bytes(b) & 0x7fff_ffff), 0x7f80_0000)
                }
                Dtype::F64 => self.scan::<8>(
                    row,
                    |b| u64::from_le_bytes(b) & 0x7fff_ffff_ffff_ffff,
                    0x7ff0_0000_0000_0000,
                ),
                Dtype::F8E4M3 => self.scan::<1>(row, |[b]: [u8; 1]| u64::from(b & 0x7f), 0x7f),
                Dtype::F8E5M2 => self.scan::<1>(row, |[b]: [u8; 1]| u64::from(b & 0x7f), 0x7c),
            };
            self.zero_rows += usize::from(largest == 0);
            self.max_abs = self.max_abs.max(magnitude(rows.dtype(), largest));
        }
    }

    /// The largest bits in a row of finite entries; counts those from `limit` on. A row of NaN alone gives 1, not 0.
    fn scan<const N: usize>(&mut self, row: &[u8], bits: impl Fn([u8; N]) -> u64, limit: u64) -> u64 {
        let (entries, _) = row.as_chunks::<N>();
        let (mut largest, mut nonfinite) = (0, 0);
        for entry in entries {
            let bits = bits(*entry);
            nonfinite += usize::from(bits >= limit);
            largest = largest.max(if bits >= limit { 1 } else { bits });
        }
        self.nonfinite += nonfinite;
        largest
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
}

/// The number that `bits` stand for in `dtype`.
fn magnitude(dtype: Dtype, bits: u64) -> f64 {
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
}
