//! What the bytes of a checkpoint say without any decomposition: hashes, what is not finite, what is zero.

use crate::checkpoint::MatrixSource;
use crate::error::Error;
use crate::layer::{Element, Layer, Part, TensorInfo};
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
    let nonfinite_count = match &tensor.element {
        Element::Other(name) if !is_complex(name) => 0,
        _ => content.nonfinite_count(),
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
        Element::Coded(..) => (Dtype::F32, 1),
        Element::Other(name) => numbers(name)?,
    };
    // Blocks lie along the last axis.
    let outer = match (&tensor.element, tensor.shape.len()) {
        (Element::Coded(..), axes @ 1..) => axes - 1,
        _ => 1,
    };
    let product = |sides: &[usize], n| sides.iter().try_fold(n, |n: usize, side| n.checked_mul(*side));
    let (outer, inner) = tensor.shape.split_at(outer.min(tensor.shape.len()));
    Some(Layer {
        name: tensor.name.clone(),
        tensor: tensor.name.clone(),
        stored_shape: tensor.shape.clone(),
        rows: product(outer, 1)?,
        cols: product(inner, size)?,
        dtype,
        encoding: None,
        part: Part::Whole,
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

/// What an entry of a type that is no float is read as, and how many of it: bytes, or the parts of a complex number.
fn numbers(name: &str) -> Option<(Dtype, usize)> {
    match name {
        "bool" | "i8" | "u8" => Some((Dtype::F8E4M3, 1)),
        "i16" | "u16" => Some((Dtype::F8E4M3, 2)),
        "i32" | "u32" => Some((Dtype::F8E4M3, 4)),
        "i64" | "u64" => Some((Dtype::F8E4M3, 8)),
        "c64" | "complexfloat" => Some((Dtype::F32, 2)),
        "c128" | "complexdouble" => Some((Dtype::F64, 2)),
        _ => None,
    }
}

/// Whether an entry may be NaN though it is no float: every whole number is finite.
fn is_complex(name: &str) -> bool {
    name.starts_with('c')
}
