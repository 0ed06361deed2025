//! Findings from the bytes of a checkpoint, without decomposition: hashes, NaN and infinities, zeros.

use crate::error::Error;
use crate::format::Elements;
use crate::layer::{Element, Layer, TensorInfo};
use crate::matrix::Dtype;
use crate::report::SkippedContent;
use crate::solver::{Cost, Entries, Memo, note, seen};
use crate::weight::{Catalogue, ContentId};

use super::compare::Content;

pub use super::compare::BLOCK;

/// The cost of reading, hashing and scanning a byte, in operations of a decomposition (docs/numerics.md): enough for a
/// plan.
pub const OPERATIONS_PER_BYTE: f64 = 8.0;

/// The cost of reading a matrix, hashing it and taking what its entries say.
pub(super) fn cost(layer: &Layer) -> Cost {
    Cost {
        flops: layer.bytes() as f64 * OPERATIONS_PER_BYTE,
        bytes: match layer.rank {
            // Factors are read whole, and hashed in doubles.
            Some(_) => 16 * layer.parameters() as u64,
            None => layer.bytes().min(BLOCK as u64),
        },
    }
}

/// Findings from the bytes of a stored tensor, skipped or not, which are read unless `memo` knows them; none if its bytes
/// can't be separated from other tensors'.
///
/// # Errors
/// When it cannot be read.
pub fn content(
    source: &Catalogue,
    tensor: &TensorInfo,
    memo: &dyn Memo,
) -> Result<Option<SkippedContent>, Error> {
    let place = || if memo.is_kept() { source.stored().place(tensor) } else { None };
    let before = place();
    let told = |identity: &ContentId, entries: &Entries| {
        let nonfinite_count = is_counted(tensor).then(|| entries.nonfinite_count() as u64);
        SkippedContent { blake3: identity.hex(), nonfinite_count }
    };
    if let Some((identity, entries)) = before.as_ref().and_then(|place| seen(memo, place)) {
        return Ok(Some(told(&identity, &entries)));
    }
    let (identity, entries) = match (&tensor.element, rows(tensor)) {
        (Element::Other(name), _) => {
            let Some(bytes) = tensor.bytes else { return Ok(None) };
            as_stored(source, tensor, (name, bytes))?
        }
        (_, None) => return Ok(None),
        (_, Some(layer)) => {
            let content = Content::of_numbers(&source.alone(layer.clone()), &layer)?;
            (content.identity, content.entries().clone())
        }
    };
    note(memo, before.as_ref(), place, (&identity, &entries));
    Ok(Some(told(&identity, &entries)))
}

/// How entries that are not computed with are stored, where that tells which of them are not finite.
fn elements(name: &str, bytes: u64) -> Option<Elements> {
    Elements::of(name).filter(|elements| bytes.is_multiple_of(elements.unit() as u64))
}

/// Whether it is known which entries are not finite.
fn is_counted(tensor: &TensorInfo) -> bool {
    match (&tensor.element, tensor.bytes) {
        (Element::Other(name), Some(bytes)) => elements(name, bytes).is_some(),
        (Element::Other(_), None) => false,
        _ => true,
    }
}

/// How many bytes [`content`] reads.
pub fn bytes(tensor: &TensorInfo) -> u64 {
    tensor.bytes.unwrap_or_default()
}

/// What bytes say whose entries are not computed with.
fn as_stored(
    source: &Catalogue,
    tensor: &TensorInfo,
    (name, bytes): (&str, u64),
) -> Result<(ContentId, Entries), Error> {
    let elements = elements(name, bytes);
    let unit = elements.map_or(1, Elements::unit);
    let step = (BLOCK / unit).max(1) * unit;
    let (mut hash, mut nonfinite) = (blake3::Hasher::new(), 0);
    for start in (0..bytes).step_by(step) {
        let block = source.stored().bytes(tensor, start, (bytes - start).min(step as u64))?;
        hash.update(&block);
        nonfinite += elements.map_or(0, |of| of.nonfinite(&block));
    }
    // Nothing asks whether they vary.
    Ok((ContentId { blake3: hash.finalize(), varies: true }, Entries::of_count(nonfinite as usize)))
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
