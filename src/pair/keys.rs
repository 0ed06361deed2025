//! Keys for pairing matrices, most reliable first: where it is stored, its name, its canonical name.

use super::canonical;
use crate::error::printable;
use crate::layer::{self, Layer, Part};

/// Where a matrix is stored: no two of a checkpoint have this name, whatever they are called.
pub(super) fn place(layer: &Layer) -> String {
    match layer.part {
        Part::Slice(i) => format!("{}\0{i}", layer.tensor),
        _ if is_whole(layer) => layer.tensor.to_string(),
        _ => format!("{}\0{}", layer.tensor, layer.name),
    }
}

/// Whether a matrix is its whole tensor: one with another name may be a part of it, or decoded from its codes.
fn is_whole(layer: &Layer) -> bool {
    let names = [layer.tensor.as_str(), layer::bare(&layer.tensor)];
    layer.part == Part::Whole && names.iter().any(|name| layer.name == printable(name))
}

/// The name of a matrix.
pub(super) fn called(layer: &Layer) -> String {
    layer.name.to_string()
}

/// The canonical name of its tensor, which distinguishes `emb.weight` from `emb`; for a part, its own.
pub(super) fn tensor(layer: &Layer) -> String {
    canonical(if is_whole(layer) { &layer.tensor } else { &layer.name })
}
