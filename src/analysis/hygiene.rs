//! Findings from the bytes of a checkpoint, without decomposition: hashes, NaN and infinities, zeros.

use crate::error::Error;
use crate::format::Elements;
use crate::layer::{Element, Layer, TensorInfo};
use crate::matrix::Dtype;
use crate::metric::HYGIENE;
use crate::report::SkippedContent;
use crate::weight::Catalogue;

use super::Measured;
use super::compare::Content;

pub use super::compare::BLOCK;

/// The cost of reading, hashing and scanning a byte, in operations of a decomposition (docs/numerics.md): enough for a
/// plan.
pub const OPERATIONS_PER_BYTE: f64 = 8.0;

/// Reads `layer` once and fills every column of [`HYGIENE`].
///
/// # Errors
/// When it cannot be read.
pub fn measure(source: &Catalogue, layer: &Layer) -> Result<Measured, Error> {
    let content = Content::of(source, layer)?;
    let (values, places) = (content.measurements(layer, HYGIENE), content.places(layer));
    Ok(Measured { values, places, flags: vec![], identity: content.identity, spectrum: None })
}

/// Findings from the bytes of a stored tensor, skipped or not; none if its bytes can't be separated from other
/// tensors'.
///
/// # Errors
/// When it cannot be read.
pub fn content(source: &Catalogue, tensor: &TensorInfo) -> Result<Option<SkippedContent>, Error> {
    if let Element::Other(name) = &tensor.element {
        return tensor.bytes.map(|bytes| as_stored(source, tensor, (name, bytes))).transpose();
    }
    let Some(layer) = rows(tensor) else { return Ok(None) };
    let content = Content::of_numbers(&source.alone(layer.clone()), &layer)?;
    let nonfinite_count = Some(content.nonfinite_count());
    Ok(Some(SkippedContent { blake3: content.identity.hex(), nonfinite_count }))
}

/// How many bytes [`content`] reads.
pub fn bytes(tensor: &TensorInfo) -> u64 {
    tensor.bytes.unwrap_or_default()
}

/// Findings from entries that are not computed with.
fn as_stored(
    source: &Catalogue,
    tensor: &TensorInfo,
    (name, bytes): (&str, u64),
) -> Result<SkippedContent, Error> {
    let elements = Elements::of(name).filter(|elements| bytes.is_multiple_of(elements.unit() as u64));
    let unit = elements.map_or(1, Elements::unit);
    let step = (BLOCK / unit).max(1) * unit;
    let (mut hash, mut nonfinite_count) = (blake3::Hasher::new(), elements.map(|_| 0));
    for start in (0..bytes).step_by(step) {
        let block = source.stored().bytes(tensor, start, (bytes - start).min(step as u64))?;
        hash.update(&block);
        nonfinite_count = elements.zip(nonfinite_count).map(|(of, n)| n + of.nonfinite(&block));
    }
    Ok(SkippedContent { blake3: hash.finalize().to_hex().to_string(), nonfinite_count })
}

/// A tensor of floats, or of blocks that are decoded, as rows to be read.
fn rows(tensor: &TensorInfo) -> Option<Layer> {
    let dtype = if let Element::Float(dtype) = tensor.element { dtype } else { Dtype::F32 };
    // Blocks lie along the last axis; numbers may come in any parts.
    let outer = match (&tensor.element, tensor.shape.len()) {
        (Element::Coded(..), axes @ 1..) => axes - 1,
        _ => 0,
    };
    let product = |sides: &[usize]| sides.iter().try_fold(1, |n: usize, side| n.checked_mul(*side));
    let (outer, inner) = tensor.shape.split_at(outer.min(tensor.shape.len()));
    Some(tensor.as_matrix((product(outer)?, product(inner)?), dtype))
}
