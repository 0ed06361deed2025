//! Entries of tensors that are not matrices: their width, and which of their codes are NaN or infinite. By the
//! names that types go by in safetensors, PyTorch, NumPy and GGUF.

use super::gguf::{self, Scale};
use crate::matrix::{Dtype, Matrix};

/// How to detect NaN and infinite entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elements {
    /// Bytes that are scanned together.
    unit: usize,
    rule: Rule,
}

/// The non-finite entries of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Nothing: every code is a number.
    Never,
    /// A float.
    Float(Dtype),
    /// A float in big-endian order.
    Swapped(Dtype),
    /// A byte of this code.
    Code(u8),
    /// So many entries, where their scale is not.
    Block(u64, Scale),
}

/// Integers, booleans and the small floats without a NaN, by bytes of an entry; 0 if an entry is not a whole number of
/// bytes.
const NEVER: [(u64, &[&str]); 5] = [
    (0, &["f4", "f6_e2m3", "f6_e3m2"]),
    (1, &["bool", "i8", "u8", "qint8", "quint8", "float4_e2m1fn_x2"]),
    (2, &["i16", "u16", "uint16"]),
    (4, &["i32", "u32", "uint32", "qint32"]),
    (8, &["i64", "u64", "uint64"]),
];

/// Floats of a byte with one NaN and no infinity.
const CODES: [(&str, u8); 6] = [
    ("f8_e4m3fnuz", 0x80),
    ("f8_e5m2fnuz", 0x80),
    ("f8_e8m0", 0xff),
    ("float8_e4m3fnuz", 0x80),
    ("float8_e5m2fnuz", 0x80),
    ("float8_e8m0fnu", 0xff),
];

/// Complex numbers: two floats, each counted.
const COMPLEX: [(&str, Dtype); 5] = [
    ("complexhalf", Dtype::F16),
    ("c64", Dtype::F32),
    ("complexfloat", Dtype::F32),
    ("c128", Dtype::F64),
    ("complexdouble", Dtype::F64),
];

/// NumPy's floats in the order that this machine does not have.
const SWAPPED: [(&str, Dtype); 3] = [(">f2", Dtype::F16), (">f4", Dtype::F32), (">f8", Dtype::F64)];

/// Prefix of the name of a type whose entries have no known order.
const SCATTERED: [&str; 2] = ["scattered ", "expanded "];

/// Bytes of one entry of the type called `name`, where they are known.
pub(crate) fn width(name: &str) -> Option<u64> {
    let whole = NEVER.iter().find(|(width, names)| *width > 0 && names.contains(&name));
    let complex = || COMPLEX.iter().find(|(known, _)| *known == name).map(|(_, part)| 2 * part.size() as u64);
    let code = || CODES.iter().any(|(known, _)| *known == name).then_some(1);
    let float = || Dtype::parse(name).map(|dtype| dtype.size() as u64);
    whole.map(|(width, _)| *width).or_else(complex).or_else(code).or_else(float)
}

impl Elements {
    /// The elements of the type `name`; none if its codes are unknown.
    pub fn of(name: &str) -> Option<Self> {
        let name = SCATTERED.iter().find_map(|word| name.strip_prefix(word)).unwrap_or(name);
        let find =
            |table: &[(&str, Dtype)]| table.iter().find(|(known, _)| *known == name).map(|found| found.1);
        let float = Dtype::parse(name).or_else(|| find(&COMPLEX));
        let float = float.map(|dtype| (dtype.size(), Rule::Float(dtype)));
        let swapped = || find(&SWAPPED).map(|dtype| (dtype.size(), Rule::Swapped(dtype)));
        let code = || CODES.iter().find(|(known, _)| *known == name).map(|(_, code)| (1, Rule::Code(*code)));
        let never = || {
            (NEVER.iter().any(|(_, names)| names.contains(&name)) || is_text(name))
                .then_some((1, Rule::Never))
        };
        let block = || {
            let (bytes, entries, scale) = gguf::scale(name)?;
            Some((bytes as usize, Rule::Block(entries, scale)))
        };
        let found = float.or_else(swapped).or_else(code).or_else(never).or_else(block);
        found.map(|(unit, rule)| Self { unit, rule })
    }

    /// Bytes that must be scanned together: a run holds whole groups.
    pub fn unit(self) -> usize {
        self.unit
    }

    /// How many entries in `bytes` are NaN or infinite.
    pub fn nonfinite(self, bytes: &[u8]) -> u64 {
        let count = |is: &dyn Fn(&[u8]) -> u64| bytes.chunks_exact(self.unit).map(is).sum();
        match self.rule {
            Rule::Never => 0,
            Rule::Float(dtype) => infinite(dtype, bytes.to_vec()),
            Rule::Swapped(dtype) => {
                let swapped = bytes.chunks_exact(self.unit).flat_map(|entry| entry.iter().rev().copied());
                infinite(dtype, swapped.collect())
            }
            Rule::Code(code) => count(&|unit| u64::from(unit == [code])),
            Rule::Block(entries, scale) => count(&|block| scale.nonfinite(block, entries)),
        }
    }
}

impl Scale {
    /// How many of the `entries` of `block` it leaves without a value.
    fn nonfinite(self, block: &[u8], entries: u64) -> u64 {
        match self {
            Self::Half(at) => entries * infinite(Dtype::F16, block[at..at + 2].to_vec()),
            Self::Power => entries * u64::from(block[0] == 0xff),
            Self::Bytes(count) => entries / count as u64 * infinite(Dtype::F8E4M3, block[..count].to_vec()),
            Self::Nibbles => {
                let (words, _) = block[block.len() - 8..].as_chunks::<2>();
                let nibble = |i: usize| u16::from_le_bytes(words[i]) >> 12 << (4 * i);
                let half = (0..4).fold(0, |half, i| half | nibble(i));
                entries * infinite(Dtype::F16, half.to_le_bytes().to_vec())
            }
        }
    }
}

/// NumPy's texts: characters, never NaN.
fn is_text(name: &str) -> bool {
    let digits = name.strip_prefix(['S', 'U']);
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// How many of the floats in `bytes` are NaN or infinite.
fn infinite(dtype: Dtype, bytes: Vec<u8>) -> u64 {
    let count = bytes.len() / dtype.size();
    let entries = Matrix::new(1, count, dtype, bytes).map_or_else(|_| vec![], |entries| entries.to_f64());
    entries.iter().filter(|x| !x.is_finite()).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, bytes: &[u8], expected: Option<u64>) {
        assert_eq!(Elements::of(name).map(|elements| elements.nonfinite(bytes)), expected, "{name}");
    }

    /// A block of `length` bytes that are all ones but for `finite` at `at`.
    fn block(length: usize, at: usize, finite: &[u8]) -> Vec<u8> {
        let mut block = vec![0xff; length];
        block[at..at + finite.len()].copy_from_slice(finite);
        block
    }

    #[test]
    fn each_type_has_its_own_codes_for_what_is_no_number() {
        check("i64", &[0xff; 16], Some(0));
        check("f4", &[0xff; 3], Some(0));
        check("U3", &[0xff; 12], Some(0));
        check("f8_e4m3fnuz", &[0x80, 0x7f, 0xff], Some(1));
        check("float8_e5m2fnuz", &[0x7c, 0x80, 0x80], Some(2));
        check("f8_e8m0", &[0xff, 0xfe, 0], Some(1));
        check("f16", &[0, 0x7c, 0, 0x3c], Some(1));
        check("expanded f32", &[0, 0, 0xc0, 0x7f], Some(1));
        check(">f4", &[0x7f, 0xc0, 0, 0, 0, 0, 0xc0, 0x7f], Some(1));
        check("c64", &[0, 0, 0xc0, 0x7f, 0, 0, 0x80, 0x7f], Some(2));
        check("complexhalf", &[0, 0x7c, 0, 0], Some(1));
        check("V2", &[0xff; 2], None);
        check("type 99", &[0xff; 2], None);
    }

    #[test]
    fn a_block_is_no_number_where_its_scale_is_none() {
        for (name, length, at) in [
            ("IQ4_NL", 18, 0),
            ("IQ4_XS", 136, 0),
            ("IQ2_XXS", 66, 0),
            ("IQ3_S", 110, 0),
            ("IQ1_S", 50, 0),
            ("TQ1_0", 54, 52),
            ("TQ2_0", 66, 64),
            ("Q1_0", 18, 0),
        ] {
            let entries = match name {
                "IQ4_NL" => 32,
                "Q1_0" => 128,
                _ => 256,
            };
            check(name, &vec![0xff; length], Some(entries));
            check(name, &block(length, at, &[0xff, 0x7b]), Some(0));
        }
        check("MXFP4", &[[0xff; 17], [0xfe; 17]].concat(), Some(32));
        check("NVFP4", &block(36, 1, &[0x7e, 0x38, 0]), Some(16));
        check("IQ1_M", &[0xff; 56], Some(256));
        check("IQ1_M", &block(56, 55, &[0x7f]), Some(256));
        check("IQ1_M", &block(56, 55, &[0x3f]), Some(0));
    }
}
