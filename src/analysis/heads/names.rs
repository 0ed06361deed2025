//! What the tensors of a checkpoint are called: matrices by their layers, vectors as they are stored.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::layouts::NormKind;
use crate::error::{Error, brief};
use crate::layer::{Layer, Selection, TensorInfo};
use crate::weight::Catalogue;

/// A norm as it is stored; without a gain, 1 is meant.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    pub kind: NormKind,
    pub gain: Option<TensorInfo>,
    pub shift: Option<TensorInfo>,
}

/// What the tensors of a checkpoint are called.
pub(super) struct Names<'a> {
    path: &'a Path,
    matrices: BTreeMap<&'a str, &'a Arc<Layer>>,
    vectors: BTreeMap<&'a str, &'a TensorInfo>,
}

impl<'a> Names<'a> {
    /// Those of `source`, a checkpoint at `path` whose matrices are those of `selection`.
    pub(super) fn new(path: &'a Path, source: &'a Catalogue, selection: &'a Selection) -> Self {
        Self {
            path,
            matrices: selection.layers.iter().map(|layer| (layer.name.as_str(), layer)).collect(),
            vectors: source.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor)).collect(),
        }
    }

    /// The names of all matrices.
    pub(super) fn matrices(&self) -> impl Iterator<Item = &'a str> {
        self.matrices.keys().copied()
    }
    pub(super) fn matrix(&self, name: &str) -> Option<Arc<Layer>> {
        self.matrices.get(name).map(|layer| Arc::clone(layer))
    }

    /// A matrix that has to be there.
    pub(super) fn needed(&self, name: &str) -> Result<Arc<Layer>, Error> {
        let lacks =
            || Error::malformed(self.path, format!("lacks `{}`, a part of an attention module", brief(name)));
        self.matrix(name).ok_or_else(lacks)
    }

    pub(super) fn vector(&self, name: &str) -> Option<TensorInfo> {
        self.vectors.get(name).map(|tensor| (*tensor).clone())
    }

    /// The norm of that name, under the names of vectors that PyTorch and TensorFlow write.
    pub(super) fn norm(&self, name: &str, kind: NormKind) -> Norm {
        let first = |endings: [&str; 2]| endings.iter().find_map(|end| self.vector(&format!("{name}.{end}")));
        Norm { kind, gain: first(["weight", "gamma"]), shift: first(["bias", "beta"]) }
    }

    /// The norm whose name ends like this, the nearest to `stack` by name.
    pub(super) fn norm_ending(&self, ending: &str, stack: &str, kind: NormKind) -> Norm {
        let stems = self.vectors.keys().filter_map(|name| {
            let stem = name.strip_suffix(".weight").or_else(|| name.strip_suffix(".gamma"))?;
            let owner = stem.strip_suffix(ending)?;
            (owner.is_empty() || owner.ends_with('.')).then_some(stem)
        });
        let shared = |stem: &&str| stem.bytes().zip(stack.bytes()).take_while(|(a, b)| a == b).count();
        let stem = stems.max_by_key(shared).filter(|_| !ending.is_empty());
        stem.map_or(Norm { kind, gain: None, shift: None }, |stem| self.norm(stem, kind))
    }

    /// Whether a vector is as long as what it scales or is added to.
    pub(super) fn check_vector(&self, tensor: Option<&TensorInfo>, lengths: &[usize]) -> Result<(), Error> {
        let Some(tensor) = tensor else { return Ok(()) };
        if lengths.contains(&tensor.shape.iter().product()) {
            return Ok(());
        }
        let reason = format!("has shape {:?}, and {} numbers are needed", tensor.shape, lengths[0]);
        Err(Error::tensor(self.path, &tensor.name, reason))
    }

    /// Whether a projection has as many outputs and inputs as it should.
    pub(super) fn check(&self, layer: &Layer, fits: bool, heads: &str) -> Result<(), Error> {
        let reason =
            format!("{} × {} does not fit {heads} that `config.json` tells of", layer.rows, layer.cols);
        if fits { Ok(()) } else { Err(Error::tensor(self.path, &layer.tensor, reason)) }
    }

    pub(super) fn lacks(&self, what: &str) -> Error {
        Error::malformed(self.path, format!("`config.json` does not say {what}"))
    }
}
