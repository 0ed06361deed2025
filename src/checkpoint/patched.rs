//! A model as an adapter makes it: its base, with the adapter's updates added to the matrices that have one.
//!
//! What the adapter leaves alone is the base's own, byte for byte.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::combined::{Combined, Pairs, What};
use super::{Holds, MatrixSource};
use crate::error::Error;
use crate::layer::{Filter, Layer, Selection, TensorInfo};
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix};
use crate::report::{SourceFile, Update};

/// A base with an adapter's updates added; its matrices have the names of the base.
pub struct Patched {
    pairs: Arc<Pairs>,
    added: Combined,
    /// The name of the adapter's matrix, by that of the base.
    updates: BTreeMap<String, String>,
}

impl Patched {
    /// The model that `adapter` makes of `base`.
    pub fn new(base: Arc<dyn MatrixSource>, adapter: Arc<dyn MatrixSource>) -> Self {
        let pairs = Arc::new(Pairs::new(base, adapter));
        let names = pairs.paired().iter().map(|pair| (pair.base.name.clone(), pair.tuned.name.clone()));
        Self { updates: names.collect(), added: Combined::new(Arc::clone(&pairs), What::Tuned), pairs }
    }

    /// The adapter, and its matrix that is added to `layer` if there is one.
    pub fn added_to(&self, layer: &Layer) -> Option<(&Arc<dyn MatrixSource>, &Layer)> {
        let pair = self.pairs.get(self.updates.get(&layer.name)?).ok()?;
        Some((self.pairs.tuned(), &pair.tuned))
    }

    /// The checkpoint that the adapter changes.
    pub fn base(&self) -> &Arc<dyn MatrixSource> {
        self.pairs.base()
    }

    /// How many matrices the adapter changes.
    pub fn len(&self) -> usize {
        self.updates.len()
    }

    /// Whether the adapter changes nothing of this base.
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }
}

impl MatrixSource for Patched {
    fn tensors(&self) -> &[TensorInfo] {
        self.pairs.base().tensors()
    }

    fn files(&self) -> Vec<SourceFile> {
        self.pairs.tuned().files()
    }

    fn notes(&self) -> &[String] {
        self.pairs.tuned().notes()
    }

    fn holds(&self) -> Holds {
        Holds::Weights
    }

    fn select(&self, filter: &Filter) -> Selection {
        let mut selection = self.pairs.base().select(filter);
        for layer in &mut selection.layers {
            if self.updates.contains_key(&layer.name) {
                layer.read_as = Dtype::F64;
            }
        }
        // What of the adapter fits nothing of the base is left out, and said so.
        let left_out = self.added.select(filter).skipped;
        selection.skipped.extend(left_out);
        selection
    }

    fn update(&self, layer: &Layer) -> Option<Update> {
        let (adapter, added) = self.added_to(layer)?;
        adapter.update(added)
    }

    fn factors(&self, layer: &Layer) -> Result<LowRank, Error> {
        self.pairs.base().factors(layer)
    }

    fn read(&self, layer: &Layer, rows: Range<usize>) -> Result<Matrix, Error> {
        match self.added_to(layer) {
            Some((_, added)) => self.added.read(added, rows),
            None => self.pairs.base().read(layer, rows),
        }
    }
}
