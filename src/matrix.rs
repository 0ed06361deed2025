//! A 2-D weight in memory, in the precision it was stored in.
//!
//! Weights stay in their storage type. Computations widen a few rows at a time to f64, so that a bf16
//! matrix never needs a second dense copy.

mod rounding;

use std::fmt;
use std::ops::Range;

use half::f16;

use crate::error::Error;

use rounding::rounded_bytes;
pub use rounding::{bf16_bytes, narrow, nearest};

/// The floating-point types a weight may be stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE double precision.
    F64,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16: f32 cut to 8 significant bits.
    Bf16,
    /// 8-bit float, 4 exponent and 3 mantissa bits, finite but for NaN (OCP FP8 E4M3FN).
    F8E4M3,
    /// 8-bit float, 5 exponent and 2 mantissa bits, with infinities (OCP FP8 E5M2).
    F8E5M2,
}

impl Dtype {
    /// Every type.
    const ALL: [Self; 6] = [Self::F64, Self::F32, Self::F16, Self::Bf16, Self::F8E4M3, Self::F8E5M2];

    /// The type of that [`name`](Self::name).
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes of one entry.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::F8E4M3 | Self::F8E5M2 => 1,
        }
    }

    /// Spacing of 1.0 in this type: the relative rounding of storage is half of it.
    pub const fn epsilon(self) -> f64 {
        match self {
            Self::F64 => f64::EPSILON,
            Self::F32 => f32::EPSILON as f64,
            Self::F16 => 1.0 / 1024.0,
            Self::Bf16 => 1.0 / 128.0,
            Self::F8E4M3 => 1.0 / 8.0,
            Self::F8E5M2 => 1.0 / 4.0,
        }
    }

    /// The type with the larger rounding, which limits a sum of both.
    #[must_use]
    pub fn coarser(self, other: Self) -> Self {
        if self.epsilon() >= other.epsilon() { self } else { other }
    }

    /// The name used in tables and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F8E4M3 => "f8_e4m3",
            Self::F8E5M2 => "f8_e5m2",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A weight of `rows` × `cols` (out × in), row-major, little-endian, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    dtype: Dtype,
    bytes: Vec<u8>,
}

impl Matrix {
    /// Takes the stored bytes of a matrix.
    ///
    /// # Errors
    /// When the number of bytes is not `rows · cols · dtype.size()`.
    pub fn new(rows: usize, cols: usize, dtype: Dtype, bytes: Vec<u8>) -> Result<Self, Error> {
        let expected = rows.checked_mul(cols).and_then(|n| n.checked_mul(dtype.size()));
        if expected != Some(bytes.len()) {
            return Err(Error::Contract(format!(
                "{} bytes cannot hold {rows} × {cols} entries of {dtype}",
                bytes.len()
            )));
        }
        Ok(Self { rows, cols, dtype, bytes })
    }

    /// A matrix of computed entries, row-major.
    ///
    /// # Errors
    /// When `entries` does not hold `rows · cols` values.
    pub fn from_f64(rows: usize, cols: usize, entries: &[f64]) -> Result<Self, Error> {
        Self::new(rows, cols, Dtype::F64, entries.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// A matrix of computed entries, row-major, each rounded to the nearest number of `dtype`, ties to even.
    ///
    /// # Errors
    /// When `entries` does not hold `rows · cols` values, one does not fit, or nothing is rounded to `dtype`.
    pub fn rounded(rows: usize, cols: usize, dtype: Dtype, entries: &[f64]) -> Result<Self, Error> {
        if let Dtype::F8E4M3 | Dtype::F8E5M2 = dtype {
            return Err(Error::Usage(format!("nothing is rounded to {dtype}; convert it to bf16 first")));
        }
        let rounded = Self::new(rows, cols, dtype, rounded_bytes(dtype, entries))?;
        if rounded.is_finite() {
            return Ok(rounded);
        }
        Err(Error::Usage(format!("an entry is too large for {dtype}")))
    }

    /// Whether no entry is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        let bytes = &self.bytes;
        match self.dtype {
            Dtype::F64 => {
                all(bytes, |b| u64::from_le_bytes(b) & 0x7ff0_0000_0000_0000 != 0x7ff0_0000_0000_0000)
            }
            Dtype::F32 => all(bytes, |b| u32::from_le_bytes(b) & 0x7f80_0000 != 0x7f80_0000),
            Dtype::F16 => all(bytes, |b| u16::from_le_bytes(b) & 0x7c00 != 0x7c00),
            Dtype::Bf16 => all(bytes, |b| u16::from_le_bytes(b) & 0x7f80 != 0x7f80),
            Dtype::F8E4M3 => all(bytes, |[b]: [u8; 1]| b & 0x7f != 0x7f),
            Dtype::F8E5M2 => all(bytes, |[b]: [u8; 1]| b & 0x7c != 0x7c),
        }
    }

    /// Number of rows: the outputs of the layer.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns: the inputs of the layer.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The storage type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The entries as stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same without the matrix.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Widens the entries `range` (row-major positions) into `out`, exactly.
    ///
    /// # Panics
    /// When `range` lies outside the matrix or `out` has another length.
    #[inline(always)]
    pub fn widen(&self, range: Range<usize>, out: &mut [f64]) {
        assert_eq!(range.len(), out.len(), "one output an entry");
        let size = self.dtype.size();
        widen(self.dtype, &self.bytes[range.start * size..range.end * size], out);
    }

    /// The transpose, in the same type.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let size = self.dtype.size();
        let column = |j: usize| self.bytes.chunks_exact(size).skip(j).step_by(self.cols);
        let bytes = (0..self.cols).flat_map(column).flatten().copied().collect();
        Self { rows: self.cols, cols: self.rows, dtype: self.dtype, bytes }
    }

    /// All entries widened to f64, row-major: for the routes that need a dense copy.
    pub fn to_f64(&self) -> Vec<f64> {
        let mut out = vec![0.0; self.len()];
        self.widen(0..self.len(), &mut out);
        out
    }
}

/// Widens little-endian entries of `dtype` into `out`, exactly. Inlined, so that the caller's instruction set holds.
#[inline(always)]
pub fn widen(dtype: Dtype, bytes: &[u8], out: &mut [f64]) {
    match dtype {
        Dtype::F64 => convert(bytes, out, f64::from_le_bytes),
        Dtype::F32 => convert(bytes, out, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::F16 => convert(bytes, out, |b| of_f16(u16::from_le_bytes(b))),
        // A bf16 is the upper half of an f32: this form vectorizes, the library's does not.
        Dtype::Bf16 => {
            convert(bytes, out, |b| f64::from(f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)));
        }
        Dtype::F8E4M3 => convert(bytes, out, |[b]: [u8; 1]| f8_e4m3(b)),
        Dtype::F8E5M2 => convert(bytes, out, |[b]: [u8; 1]| f8_e5m2(b)),
    }
}

#[inline(always)]
fn convert<const N: usize>(bytes: &[u8], out: &mut [f64], value: impl Fn([u8; N]) -> f64) {
    let (chunks, _) = bytes.as_chunks::<N>();
    for (out, chunk) in out.iter_mut().zip(chunks) {
        *out = value(*chunk);
    }
}

/// The f16 of these bits, in a form that vectorizes.
#[inline(always)]
fn of_f16(bits: u16) -> f64 {
    let (sign, magnitude) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff) << 13);
    // Exponents count from 15 in an f16, and from 127 in an f32.
    let common = magnitude + (112 << 23);
    let least = f32::from_bits(113 << 23);
    let tiny = (f32::from_bits(magnitude + (113 << 23)) - least).to_bits();
    let (whole, end) = (1 << 23, 31 << 23);
    let value = if magnitude < whole {
        tiny
    } else if magnitude < end {
        common
    } else {
        common + (112 << 23)
    };
    f64::from(f32::from_bits(value | sign))
}

/// OCP FP8 E4M3FN: bias 7, no infinities, all ones is NaN.
fn f8_e4m3(byte: u8) -> f64 {
    let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(byte >> 3 & 0xf), f64::from(byte & 7));
    match (exponent, byte & 7) {
        (15, 7) => f64::NAN,
        (0, _) => sign * mantissa * 2f64.powi(-9),
        _ => sign * (8.0 + mantissa) * 2f64.powi(exponent - 10),
    }
}

/// OCP FP8 E5M2 is the upper half of an f16.
fn f8_e5m2(byte: u8) -> f64 {
    f16::from_bits(u16::from(byte) << 8).to_f64()
}

/// Whether all entries of `bytes` are as they should be; without an early end, so that it vectorizes.
fn all<const N: usize>(bytes: &[u8], is_good: impl Fn([u8; N]) -> bool) -> bool {
    bytes
        .as_chunks::<N>()
        .0
        .chunks(4096)
        .all(|chunk| chunk.iter().fold(true, |all, entry| all & is_good(*entry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dtype: Dtype, bytes: &[u8], expected: &[f64]) {
        let matrix = Matrix::new(1, expected.len(), dtype, bytes.to_vec()).expect("sizes agree");
        let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&matrix.to_f64()), bits(expected), "{dtype}");
    }

    #[test]
    fn every_dtype_widens_exactly() {
        check(Dtype::F64, &0.1f64.to_le_bytes(), &[0.1]);
        check(Dtype::F32, &0.1f32.to_le_bytes(), &[f64::from(0.1f32)]);
        check(Dtype::F16, &[0x00, 0x3c, 0x01, 0x00, 0xff, 0xfb], &[1.0, 2f64.powi(-24), -65504.0]);
        check(Dtype::Bf16, &[0x80, 0x3f, 0x01, 0x00, 0x80, 0xff], &[1.0, 2f64.powi(-133), f64::NEG_INFINITY]);
        check(Dtype::F8E4M3, &[0x38, 0x01, 0x7e, 0xfe, 0x80], &[1.0, 2f64.powi(-9), 448.0, -448.0, -0.0]);
        check(Dtype::F8E5M2, &[0x3c, 0x01, 0x7b, 0x7c], &[1.0, 2f64.powi(-16), 57344.0, f64::INFINITY]);
        assert!(f8_e4m3(0x7f).is_nan() && f8_e5m2(0x7d).is_nan());
    }

    #[test]
    fn every_f16_is_what_the_library_says() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (of_f16(bits), f16::from_bits(bits).to_f64());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{bits:x}");
        }
    }

    #[test]
    fn computed_entries_are_rounded_to_nearest_even() {
        // Half-way between two neighbors, just above half-way, and exact.
        let entries = [1.0 + 2f64.powi(-8), 1.0 + 3.0 * 2f64.powi(-8), 1.0 + 2f64.powi(-8) + 1e-12, -2.0];
        let rounded = Matrix::rounded(2, 2, Dtype::Bf16, &entries).expect("fits");
        assert_eq!(rounded.to_f64(), [1.0, 1.0 + 2f64.powi(-6), 1.0 + 2f64.powi(-7), -2.0]);
        assert_eq!(Matrix::rounded(1, 1, Dtype::F32, &[0.1]).expect("fits").to_f64(), [f64::from(0.1f32)]);
        assert!(Matrix::rounded(1, 1, Dtype::F16, &[1e6]).is_err());
        assert!(Matrix::rounded(1, 1, Dtype::F8E4M3, &[1.0]).is_err());
    }

    #[test]
    fn a_transpose_swaps_rows_and_columns() {
        let matrix = Matrix::rounded(2, 3, Dtype::Bf16, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).expect("fits");
        let turned = matrix.transposed();
        assert_eq!((turned.rows(), turned.to_f64()), (3, vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        assert_eq!(turned.transposed(), matrix);
    }

    #[test]
    fn a_matrix_refuses_bytes_that_do_not_fill_it() {
        assert!(Matrix::new(2, 3, Dtype::F32, vec![0; 23]).is_err());
        assert!(Matrix::new(usize::MAX, 2, Dtype::F32, vec![]).is_err());
    }
}
