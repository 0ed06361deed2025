//! Which matrices of a checkpoint are copies of each other, so that a copy is computed once.
//!
//! Says nothing about why they are equal: tied embeddings, shared blocks and duplicated experts look the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalogue::Catalogue;
use super::fingerprint::{ContentId, Fingerprint};
use crate::layer::Layer;

/// How much of two matrices of one shape is compared before both are read whole.
const START: usize = 4 << 10;

/// How much of a matrix is in memory at once.
const BLOCK: usize = 4 << 20;

/// For each of `layers` the first earlier one with the same type, shape and bytes.
///
/// A matrix of one number throughout is never called tied: all-zero LoRA factors are equal because nothing was
/// learned yet, not because they are shared, and each deserves a row of its own. A matrix that cannot be read is not
/// tied either; measuring it gives the error. Only matrices of equal shape with an equal start are read.
pub fn tied(source: &Catalogue, layers: &[Arc<Layer>]) -> Vec<Option<usize>> {
    let everything = (0..layers.len()).collect();
    let shape = |i: usize| Some((layers[i].stored_type(), layers[i].rows, layers[i].cols));
    let mut tied = vec![None; layers.len()];
    for same_shape in groups(everything, shape) {
        for same_start in groups(same_shape, |i| start(source, &layers[i])) {
            for copies in groups(same_start, |i| content(source, &layers[i])) {
                for i in &copies[1..] {
                    tied[*i] = Some(copies[0]);
                }
            }
        }
    }
    tied
}

/// Splits `indices` by `key` into groups of two or more, order kept; those without a key are left out.
fn groups<K: Ord>(indices: Vec<usize>, key: impl Fn(usize) -> Option<K>) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for i in indices {
        if let Some(key) = key(i) {
            groups.entry(key).or_default().push(i);
        }
    }
    groups.into_values().filter(|group| group.len() > 1).collect()
}

/// The first rows of a matrix, hashed; of an update, its factors.
fn start(source: &Catalogue, layer: &Layer) -> Option<[u8; 32]> {
    if layer.rank.is_some() {
        return factors(source, layer);
    }
    let matrix = source.read(layer, layer.blocks(START).next()?).ok()?;
    Some(*blake3::hash(matrix.bytes()).as_bytes())
}

/// A whole matrix, hashed; none if it does not vary.
fn content(source: &Catalogue, layer: &Layer) -> Option<[u8; 32]> {
    if layer.rank.is_some() {
        return factors(source, layer);
    }
    let mut fingerprint = Fingerprint::default();
    for rows in layer.blocks(BLOCK) {
        fingerprint.push(&source.read(layer, rows).ok()?);
    }
    hash(fingerprint.finish())
}

/// The factors of an update, hashed; none if one of them is zero, as before training.
fn factors(source: &Catalogue, layer: &Layer) -> Option<[u8; 32]> {
    hash(ContentId::of_factors(&source.factors(layer).ok()?))
}

/// The hash of what varies.
fn hash(identity: ContentId) -> Option<[u8; 32]> {
    identity.varies.then(|| *identity.blake3.as_bytes())
}
