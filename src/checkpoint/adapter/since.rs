//! An adapter less what it held before training: the update to the original weights, where the initialization took a
//! part out of the base (PiSSA, OLoRA, CorDA). `ΔW = s·(B·A − B₀·A₀)`, of at most twice the rank.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::super::{Holds, MatrixSource};
use crate::error::{Error, brief};
use crate::layer::{Filter, Layer, Selection, TensorInfo};
use crate::low_rank::LowRank;
use crate::matrix::Matrix;
use crate::report::{SourceFile, Update};

/// An adapter and its own beginning.
pub(super) struct Since {
    now: Box<dyn MatrixSource>,
    before: Box<dyn MatrixSource>,
    /// By name: the layer now, and before.
    pairs: BTreeMap<String, [Layer; 2]>,
}

impl Since {
    /// Pairs the updates of `now` with those of `before`, which was opened from `path`.
    ///
    /// # Errors
    /// When one of them is not in `before`, or of another shape there.
    pub(super) fn new(
        now: Box<dyn MatrixSource>,
        before: Box<dyn MatrixSource>,
        path: &Path,
    ) -> Result<Self, Error> {
        let beginnings = before.select(&Filter::default()).layers;
        let beginnings: BTreeMap<&str, &Layer> =
            beginnings.iter().map(|layer| (layer.name.as_str(), layer)).collect();
        let mut pairs = BTreeMap::new();
        for layer in now.select(&Filter::default()).layers {
            let same = |before: &&&Layer| (before.rows, before.cols) == (layer.rows, layer.cols);
            let Some(beginning) = beginnings.get(layer.name.as_str()).filter(same) else {
                let reason =
                    format!("has no update of `{}` ({} × {})", brief(&layer.name), layer.rows, layer.cols);
                return Err(Error::malformed(path, reason));
            };
            let rank = layer.rank.zip(beginning.rank).map(|(now, before)| now + before);
            let rank = rank.filter(|rank| *rank < layer.rows.min(layer.cols));
            pairs.insert(layer.name.clone(), [Layer { rank, ..layer }, (*beginning).clone()]);
        }
        Ok(Self { now, before, pairs })
    }

    fn get(&self, layer: &Layer) -> Result<&[Layer; 2], Error> {
        let missing = || Error::Usage(format!("`{}` belongs to another checkpoint", brief(&layer.name)));
        self.pairs.get(&layer.name).ok_or_else(missing)
    }
}

impl MatrixSource for Since {
    fn tensors(&self) -> &[TensorInfo] {
        self.now.tensors()
    }

    fn files(&self) -> Vec<SourceFile> {
        self.now.files()
    }

    fn notes(&self) -> &[String] {
        self.now.notes()
    }

    fn holds(&self) -> Holds {
        Holds::Updates
    }

    fn select(&self, filter: &Filter) -> Selection {
        let mut selection = self.now.select(filter);
        for layer in &mut selection.layers {
            layer.rank = self.pairs.get(&layer.name).and_then(|[now, _]| now.rank);
        }
        selection
    }

    fn update(&self, layer: &Layer) -> Option<Update> {
        let mut update = self.now.update(layer)?;
        update.rank = self.get(layer).ok()?[0].rank.map(|rank| rank as u64);
        update.flags.retain(|flag| *flag != super::MOVED_BASE);
        Some(update)
    }

    fn factors(&self, layer: &Layer) -> Result<LowRank, Error> {
        let [now, before] = self.get(layer)?;
        self.now.factors(now)?.minus(&self.before.factors(before)?)
    }

    fn read(&self, layer: &Layer, rows: Range<usize>) -> Result<Matrix, Error> {
        let [now, before] = self.get(layer)?;
        let mut entries = self.now.read(now, rows.clone())?.to_f64();
        let beginning = self.before.read(before, rows.clone())?.to_f64();
        entries.iter_mut().zip(beginning).for_each(|(x, y)| *x -= y);
        Matrix::from_f64(rows.len(), layer.cols, &entries)
    }
}
