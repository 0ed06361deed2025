//! How a matrix is stored that is not simply a tensor of floats: as codes with scales, or as a part of a tensor.

use super::Layer;

/// How numbers are stored that are not floats: small codes with scales beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoding {
    /// Type of the tensor that holds the codes.
    pub stored: String,
    /// The scheme, as reports name it.
    pub scheme: String,
    /// Bits of one code.
    pub bits: u32,
    /// Spacing of 1.0 in a code, where its rounding is relative.
    pub epsilon: Option<f64>,
}

/// The part of a stored tensor that a matrix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    /// All of it, or a slice of a stack that is stored out × in.
    #[default]
    Whole,
    /// A slice of a stack, by its position. Which of its sides is the outputs is unknown.
    Slice(usize),
    /// Some rows or columns of a matrix of another shape, under a name of its own.
    Cut,
}

impl Layer {
    /// Whether both are the same entries of one checkpoint.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        let place = |layer: &Self| (layer.file, layer.offset, layer.rows, layer.cols);
        place(self) == place(other) && self.tensor == other.tensor
    }
}
