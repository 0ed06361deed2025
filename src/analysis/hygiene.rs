//! What the bytes of a checkpoint say without any decomposition: hashes, what is not finite, what is zero.

use crate::checkpoint::MatrixSource;
use crate::error::Error;
use crate::layer::{Element, Layer, TensorInfo};
use crate::matrix::Dtype;
use crate::metric::HYGIENE;
use crate::report::SkippedContent;

use super::Measured;
use super::compare::Content;

pub use super::compare::BLOCK;

/// What reading, hashing and scanning a byte takes, in operations of a decomposition (docs/numerics.md): enough for a plan.
pub const OPERATIONS_PER_BYTE: f64 = 8.0;

/// Reads `layer` once and fills every column of [`HYGIENE`].
///
/// # Errors
/// When it cannot be read.
pub fn measure(source: &dyn MatrixSource, layer: &Layer) -> Result<Measured, Error> {
    let content = Content::of(source, layer)?;
    let values = content.measurements(layer, HYGIENE);
    Ok(Measured { values, flags: vec![], blake3: content.blake3, spectrum: None })
}

/// What the bytes of a stored tensor say that is no matrix; none of one whose type has no known size.
///
/// # Errors
/// When it cannot be read.
pub fn content(source: &dyn MatrixSource, tensor: &TensorInfo) -> Result<Option<SkippedContent>, Error> {
    let Some(layer) = rows(tensor) else { return Ok(None) };
    let content = Content::of(source, &layer)?;
    let nonfinite_count = match tensor.element {
        Element::Float(_) => content.nonfinite_count(),
        // Every whole number is finite.
        Element::Other(_) => 0,
    };
    Ok(Some(SkippedContent { blake3: content.blake3, nonfinite_count }))
}

/// How many bytes [`content`] reads.
pub fn bytes(tensor: &TensorInfo) -> u64 {
    rows(tensor).map_or(0, |layer| layer.bytes())
}

/// A tensor as rows to be read: of its entries, or of bytes where they are no floats.
fn rows(tensor: &TensorInfo) -> Option<Layer> {
    let (dtype, size) = match &tensor.element {
        Element::Float(dtype) => (*dtype, 1),
        Element::Other(name) => (Dtype::F8E4M3, width(name)?),
    };
    let rest = tensor.shape.iter().skip(1).try_fold(size, |n, side| n.checked_mul(*side))?;
    Some(Layer {
        name: tensor.name.clone(),
        tensor: tensor.name.clone(),
        stored_shape: tensor.shape.clone(),
        rows: tensor.shape.first().copied().unwrap_or(1),
        cols: rest,
        dtype,
        read_as: dtype,
        file: tensor.file,
        offset: tensor.offset,
        rank: None,
        order: 0,
        block: None,
        role: String::new(),
    })
    .filter(|layer| !layer.is_empty())
}

/// Bytes of one entry of a type that is no float.
fn width(name: &str) -> Option<usize> {
    match name {
        "bool" | "i8" | "u8" => Some(1),
        "i16" | "u16" => Some(2),
        "i32" | "u32" => Some(4),
        "i64" | "u64" => Some(8),
        _ => None,
    }
}
