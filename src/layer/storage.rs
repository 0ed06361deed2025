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

/// The parts of a product that its singular values are found from: it is never multiplied out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    /// A Kronecker product of two matrices of these shapes.
    Kronecker([(usize, usize); 2]),
    /// Two factors around the kernel of a convolution.
    Tucker {
        /// Directions between the parts.
        rank: usize,
        /// Columns of the right factor when it has been turned.
        columns: usize,
        /// Numbers stored.
        stored: u64,
    },
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
    /// The doubles that it is read to, where those are factors; none where it is read row by row.
    pub fn factor_entries(&self) -> Option<u64> {
        let (rank, cols) = match (self.operands.as_deref(), self.rank) {
            (Some(Operands::Kronecker(_)), _) => return Some(self.parameters() as u64),
            (Some(Operands::Tucker { rank, columns, .. }), _) => (*rank, *columns),
            (None, rank) => (rank?, self.cols),
        };
        Some((rank as u64).saturating_mul(self.rows.saturating_add(cols) as u64))
    }

    /// Whether both are the same entries of one checkpoint.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        let place = |layer: &Self| (layer.file, layer.offset, layer.rows, layer.cols);
        place(self) == place(other) && self.tensor == other.tensor
    }
}
