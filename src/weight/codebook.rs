//! The values of a quantized weight's codes and scales.

use crate::layer::Element;
use crate::matrix::{Dtype, Matrix};

/// How a small code is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Book {
    /// OCP FP8, or a float of another width that [`Dtype`] knows.
    Float(Dtype),
    /// FP8 E4M3 as AMD's first processors have it: bias 8, one zero, one NaN, no infinities.
    E4m3Fnuz,
    /// FP8 E5M2 of the same family: bias 16.
    E5m2Fnuz,
    /// OCP FP4: a sign, two exponent bits and one of mantissa.
    E2m1,
    /// A whole number in two's complement, 8 bits.
    Signed,
    /// The same of 4 bits.
    TwosComplement,
    /// A whole number of so many bits, the middle of the range added.
    Offset(u32),
}

impl Book {
    /// Bits of a code.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Float(_) | Self::E4m3Fnuz | Self::E5m2Fnuz | Self::Signed => 8,
            Self::E2m1 | Self::TwosComplement => 4,
            Self::Offset(bits) => bits,
        }
    }

    /// Spacing of 1.0, if rounding is relative.
    pub(crate) fn epsilon(self) -> Option<f64> {
        match self {
            Self::Float(dtype) => Some(dtype.epsilon()),
            Self::E4m3Fnuz => Some(Dtype::F8E4M3.epsilon()),
            Self::E5m2Fnuz => Some(Dtype::F8E5M2.epsilon()),
            // Half of FP4's magnitudes are evenly spaced around zero, as whole numbers all are.
            Self::E2m1 | Self::Signed | Self::TwosComplement | Self::Offset(_) => None,
        }
    }

    /// The value of every code.
    pub(crate) fn values(self) -> Vec<f64> {
        let all = 0..=u8::MAX;
        match self {
            Self::Float(dtype) => widen(dtype, all.collect()),
            Self::E4m3Fnuz => all.map(|code| fnuz(code, 3, 8)).collect(),
            Self::E5m2Fnuz => all.map(|code| fnuz(code, 2, 16)).collect(),
            Self::E2m1 => [1.0, -1.0].iter().flat_map(|sign| FP4.map(|x| sign * x)).collect(),
            Self::Signed => all.map(|code| f64::from(code.cast_signed())).collect(),
            Self::TwosComplement => (0..8).chain(-8..0).map(f64::from).collect(),
            Self::Offset(bits) => {
                (0..1u32 << bits).map(|code| f64::from(code) - f64::from(1u32 << (bits - 1))).collect()
            }
        }
    }
}

/// The magnitudes of FP4 E2M1.
const FP4: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// An FP8 number without infinities and negative zero, whose place is NaN's.
fn fnuz(code: u8, mantissa_bits: u32, bias: i32) -> f64 {
    if code == 0x80 {
        return f64::NAN;
    }
    let sign = if code & 0x80 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(code & 0x7f) >> mantissa_bits;
    let ones = 1i32 << mantissa_bits;
    let mantissa = i32::from(code) & (ones - 1);
    let (whole, exponent) = if exponent == 0 { (mantissa, 1) } else { (ones + mantissa, exponent) };
    sign * f64::from(whole) / f64::from(ones) * 2f64.powi(exponent - bias)
}

/// The type of a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    /// A float.
    Float(Dtype),
    /// A power of two, by its exponent plus 127; 255 is NaN (OCP E8M0).
    Power,
    /// A signed byte.
    Byte,
}

impl Number {
    /// The numbers that a tensor of this element type holds, if it can hold scales.
    pub(crate) fn of(element: &Element) -> Option<Self> {
        match element {
            Element::Float(dtype) => Some(Self::Float(*dtype)),
            Element::Other(name) if name == "u8" || name == "f8_e8m0" => Some(Self::Power),
            Element::Other(name) if name == "i8" => Some(Self::Byte),
            Element::Coded(..) | Element::Other(_) => None,
        }
    }

    /// Bytes of one.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Float(dtype) => dtype.size(),
            Self::Power | Self::Byte => 1,
        }
    }

    /// The numbers in `bytes`.
    pub(crate) fn values(self, bytes: Vec<u8>) -> Vec<f64> {
        match self {
            Self::Float(dtype) => widen(dtype, bytes),
            Self::Power => bytes
                .into_iter()
                .map(|code| if code == u8::MAX { f64::NAN } else { 2f64.powi(i32::from(code) - 127) })
                .collect(),
            Self::Byte => bytes.into_iter().map(|code| f64::from(code.cast_signed())).collect(),
        }
    }
}

/// All entries of `bytes`, exactly.
fn widen(dtype: Dtype, bytes: Vec<u8>) -> Vec<f64> {
    let count = bytes.len() / dtype.size();
    Matrix::new(1, count, dtype, bytes).map_or_else(|_| vec![], |numbers| numbers.to_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(book: Book, codes: &[u8], expected: &[f64]) {
        let values = book.values();
        assert_eq!(values.len(), 1 << book.bits(), "{book:?}");
        let got: Vec<f64> = codes.iter().map(|code| values[usize::from(*code)]).collect();
        assert_eq!(got, expected, "{book:?}");
    }

    #[test]
    fn codes_stand_for_what_the_formats_say() {
        check(Book::Float(Dtype::F8E4M3), &[0x38, 0xfe], &[1.0, -448.0]);
        check(Book::E4m3Fnuz, &[0, 1, 0x40, 0x7f, 0xff], &[0.0, 2f64.powi(-10), 1.0, 240.0, -240.0]);
        check(Book::E5m2Fnuz, &[1, 0x40, 0x7f], &[2f64.powi(-17), 1.0, 57344.0]);
        check(Book::E2m1, &[0, 1, 7, 8, 15], &[0.0, 0.5, 6.0, 0.0, -6.0]);
        check(Book::Signed, &[0, 127, 128], &[0.0, 127.0, -128.0]);
        check(Book::TwosComplement, &[0, 7, 8, 15], &[0.0, 7.0, -8.0, -1.0]);
        check(Book::Offset(4), &[0, 8, 15], &[-8.0, 0.0, 7.0]);
        assert!(Book::E4m3Fnuz.values()[0x80].is_nan() && Book::E5m2Fnuz.values()[0x80].is_nan());
    }

    #[test]
    fn scales_are_floats_or_powers_of_two() {
        assert_eq!(Number::Power.values(vec![127, 0, 130]), [1.0, 2f64.powi(-127), 8.0]);
        assert!(Number::Power.values(vec![255])[0].is_nan());
        assert_eq!(Number::Float(Dtype::F32).values(0.1f32.to_le_bytes().to_vec()), [f64::from(0.1f32)]);
    }
}
