//! The element types of GGUF: which are floats, which are decoded, which are only known by name.
//!
//! candle decodes; block sizes follow the GGUF specification.

use candle_core::quantized::GgmlDType;

use crate::layer::Element;
use crate::matrix::Dtype;

/// One element type.
pub(crate) struct ElementKind {
    id: u32,
    /// The name that GGUF's own tools print.
    pub(crate) name: &'static str,
    /// Entries of one block.
    pub(crate) entries: u64,
    /// Bytes of one block.
    pub(crate) bytes: u64,
    pub(crate) form: Form,
}

/// How a type is handled.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// Rows of floats, read as they are.
    Float(Dtype),
    /// Blocks that are decoded to f32.
    Blocks(GgmlDType),
    /// Numbers that are not weights.
    Integers,
    /// Blocks that are not decoded; only their scale is known.
    Unread(Scale),
}

/// Where the scale of a block lies, without which none of its entries is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// A half-precision float at this byte.
    Half(usize),
    /// A power of two at the first byte.
    Power,
    /// FP8 E4M3, in so many first bytes, each for a part of the block.
    Bytes(usize),
    /// A half-precision float in the upper four bits of the last four words.
    Nibbles,
}

impl ElementKind {
    /// The element type of such a tensor, for the rest of the program.
    pub(crate) fn element(&self) -> Element {
        match self.form {
            Form::Float(dtype) => Element::Float(dtype),
            Form::Blocks(_) => Element::Coded(self.name, (8 * self.bytes).div_ceil(self.entries) as u32),
            Form::Integers => Element::Other(self.name.to_lowercase()),
            Form::Unread(_) => Element::Other(self.name.to_owned()),
        }
    }
}

/// The type with this number.
pub(crate) fn of(id: u32) -> Option<&'static ElementKind> {
    KINDS.iter().find(|kind| kind.id == id)
}

/// Bytes and entries of a block of the type called `name`, and where its scale lies, if it is one that is not decoded.
pub(crate) fn scale(name: &str) -> Option<(u64, u64, Scale)> {
    KINDS.iter().filter(|kind| kind.name == name).find_map(|kind| match kind.form {
        Form::Unread(scale) => Some((kind.bytes, kind.entries, scale)),
        _ => None,
    })
}

const fn kind(id: u32, name: &'static str, (entries, bytes): (u64, u64), form: Form) -> ElementKind {
    ElementKind { id, name, entries, bytes, form }
}

use Form::{Blocks, Float, Integers, Unread};
use Scale::Half;

/// All types of the specification but those that were withdrawn.
const KINDS: &[ElementKind] = &[
    kind(0, "F32", (1, 4), Float(Dtype::F32)),
    kind(1, "F16", (1, 2), Float(Dtype::F16)),
    kind(2, "Q4_0", (32, 18), Blocks(GgmlDType::Q4_0)),
    kind(3, "Q4_1", (32, 20), Blocks(GgmlDType::Q4_1)),
    kind(6, "Q5_0", (32, 22), Blocks(GgmlDType::Q5_0)),
    kind(7, "Q5_1", (32, 24), Blocks(GgmlDType::Q5_1)),
    kind(8, "Q8_0", (32, 34), Blocks(GgmlDType::Q8_0)),
    // Q8_1 is made while computing and stored by nothing; its size has changed between versions.
    kind(10, "Q2_K", (256, 84), Blocks(GgmlDType::Q2K)),
    kind(11, "Q3_K", (256, 110), Blocks(GgmlDType::Q3K)),
    kind(12, "Q4_K", (256, 144), Blocks(GgmlDType::Q4K)),
    kind(13, "Q5_K", (256, 176), Blocks(GgmlDType::Q5K)),
    kind(14, "Q6_K", (256, 210), Blocks(GgmlDType::Q6K)),
    kind(15, "Q8_K", (256, 292), Blocks(GgmlDType::Q8K)),
    kind(16, "IQ2_XXS", (256, 66), Unread(Half(0))),
    kind(17, "IQ2_XS", (256, 74), Unread(Half(0))),
    kind(18, "IQ3_XXS", (256, 98), Unread(Half(0))),
    kind(19, "IQ1_S", (256, 50), Unread(Half(0))),
    kind(20, "IQ4_NL", (32, 18), Unread(Half(0))),
    kind(21, "IQ3_S", (256, 110), Unread(Half(0))),
    kind(22, "IQ2_S", (256, 82), Unread(Half(0))),
    kind(23, "IQ4_XS", (256, 136), Unread(Half(0))),
    kind(24, "I8", (1, 1), Integers),
    kind(25, "I16", (1, 2), Integers),
    kind(26, "I32", (1, 4), Integers),
    kind(27, "I64", (1, 8), Integers),
    kind(28, "F64", (1, 8), Float(Dtype::F64)),
    kind(29, "IQ1_M", (256, 56), Unread(Scale::Nibbles)),
    kind(30, "BF16", (1, 2), Float(Dtype::Bf16)),
    kind(34, "TQ1_0", (256, 54), Unread(Half(52))),
    kind(35, "TQ2_0", (256, 66), Unread(Half(64))),
    kind(39, "MXFP4", (32, 17), Unread(Scale::Power)),
    kind(40, "NVFP4", (64, 36), Unread(Scale::Bytes(4))),
    kind(41, "Q1_0", (128, 18), Unread(Half(0))),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decoder_agrees_with_the_table() {
        for kind in KINDS {
            if let Blocks(decoder) = kind.form {
                let (entries, bytes) = (decoder.block_size() as u64, decoder.type_size() as u64);
                assert_eq!((kind.entries, kind.bytes), (entries, bytes), "{}", kind.name);
            }
        }
    }
}
