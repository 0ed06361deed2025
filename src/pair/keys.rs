//! Keys for pairing matrices, most reliable first: where it is stored, its name, its canonical name.

use std::borrow::Cow;
use std::sync::Arc;

use super::canonical;
use crate::error::printable;
use crate::layer::{self, Layer, Part};

/// What a key makes of all `layers`.
pub(super) fn names<'l>(layers: &'l [Arc<Layer>], key: fn(&'l Layer) -> Cow<'l, str>) -> Vec<Cow<'l, str>> {
    layers.iter().map(|layer| key(layer)).collect()
}

/// Where a matrix is stored: no two of a checkpoint have this name, whatever they are called.
pub(super) fn place(layer: &Layer) -> Cow<'_, str> {
    match layer.part {
        Part::Slice(i) => format!("{}\0{i}", layer.tensor).into(),
        _ if is_whole(layer) => layer.tensor.as_str().into(),
        _ => format!("{}\0{}", layer.tensor, layer.name).into(),
    }
}

/// Whether a matrix is its whole tensor: one with another name may be a part of it, or decoded from its codes.
fn is_whole(layer: &Layer) -> bool {
    let names = [layer.tensor.as_str(), layer::bare(&layer.tensor)];
    layer.part == Part::Whole && names.iter().any(|name| layer.name == printable(name))
}

/// The name of a matrix.
pub(super) fn called(layer: &Layer) -> Cow<'_, str> {
    layer.name.as_str().into()
}

/// The canonical name of its tensor, which distinguishes `emb.weight` from `emb`; for a part, its own.
pub(super) fn tensor(layer: &Layer) -> Cow<'_, str> {
    canonical(if is_whole(layer) { &layer.tensor } else { &layer.name }).into()
}
