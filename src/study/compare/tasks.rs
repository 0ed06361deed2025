//! The rows of a comparison before anything is read: which matrix of one side is which of another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::side::Sides;
use super::standing::between;
use crate::analysis::compare::Retyped;
use crate::checkpoint::copies;
use crate::error::Error;
use crate::layer::{Filter, Layer, distinct, natural};
use crate::pair::{self, Pair, Unpaired};
use crate::report::Standing;
use crate::text::Text;

/// One logical matrix on all sides.
#[derive(Debug, Clone)]
pub(super) struct MatrixTask {
    /// Its name: the base's, where it has one.
    pub(super) name: Text,
    /// In the base.
    pub(super) base: Option<Arc<Layer>>,
    /// In each tuned side.
    pub(super) tuned: Vec<Option<Arc<Layer>>>,
}

impl Sides {
    /// All matrices that `filter` keeps, in natural name order, and the names of those that it drops.
    pub(super) fn tasks(&self, filter: &Filter) -> (Vec<MatrixTask>, Vec<String>) {
        let empty = || vec![None; self.tuned.len()];
        let mut positions: BTreeMap<(Text, Text), usize> = BTreeMap::new();
        let mut tasks = vec![];
        for layer in &self.base.layers {
            positions.insert((layer.name.clone(), layer.tensor.clone()), tasks.len());
            tasks.push(MatrixTask { name: layer.name.clone(), base: Some(layer.clone()), tuned: empty() });
        }
        let mut added: BTreeMap<String, usize> = BTreeMap::new();
        let mut loose = vec![];
        for (side, (_, tuned)) in self.tuned.iter().enumerate() {
            let (pairs, mut left) = pair::pairs(&self.base.layers, &tuned.layers);
            // A head that one side alone stores has a row of its own, against the embedding that it is a copy of.
            let (mut heads, rest) = left.into_iter().partition(is_head);
            left = rest;
            let found = copies(&pairs, &mut heads, |layers| tuned.tied(layers));
            left.extend(heads);
            for Pair { base, tuned } in found {
                let at = *added.entry(pair::canonical(&tuned.name)).or_insert_with(|| {
                    tasks.push(MatrixTask { name: tuned.name.clone(), base: Some(base), tuned: empty() });
                    tasks.len() - 1
                });
                tasks[at].tuned[side] = Some(tuned);
            }
            let reshaped = left.iter().filter_map(|unpaired| match unpaired {
                Unpaired::Reshaped(pair) => Some(pair),
                Unpaired::Added(_) | Unpaired::Ambiguous(_) | Unpaired::Removed(_) => None,
            });
            for Pair { base, tuned } in pairs.iter().chain(reshaped) {
                if let Some(at) = positions.get(&(base.name.clone(), base.tensor.clone())) {
                    tasks[*at].tuned[side] = Some(tuned.clone());
                }
            }
            loose.extend(left.into_iter().map(|unpaired| (side, unpaired)));
        }
        for (side, unpaired) in loose {
            if let Unpaired::Added(layer) | Unpaired::Ambiguous(layer) = unpaired {
                // Several of one side may go by one name in the other dialect.
                let name = pair::canonical(&layer.name);
                let known = added.get(&name).copied().filter(|at| tasks[*at].tuned[side].is_none());
                let at = known.unwrap_or_else(|| {
                    tasks.push(MatrixTask { name: layer.name.clone(), base: None, tuned: empty() });
                    tasks.len() - 1
                });
                added.insert(name, at);
                tasks[at].tuned[side] = Some(layer);
            }
        }
        tell_apart(&mut tasks);
        let (mut kept, dropped): (Vec<MatrixTask>, Vec<MatrixTask>) =
            tasks.into_iter().partition(|task| filter.keeps(&task.name));
        kept.sort_by(|a, b| natural(&a.name, &b.name));
        (kept, dropped.into_iter().map(|task| task.name.to_string()).collect())
    }
}

impl Sides {
    /// Refuses a tuned side without a matrix of the base's, or one of its sizes under another name.
    ///
    /// # Errors
    /// Names a matrix of each.
    pub(super) fn check_related(&self, tasks: &[MatrixTask]) -> Result<(), Error> {
        let sizes = |layers: &[Arc<Layer>]| -> BTreeSet<usize> {
            layers.iter().flat_map(|layer| [layer.rows, layer.cols]).filter(|n| *n > 1).collect()
        };
        let base = tasks.iter().find(|task| task.base.is_some());
        for (i, (_, side)) in self.tuned.iter().enumerate() {
            let tuned = tasks.iter().find(|task| task.tuned[i].is_some());
            let is_paired = tasks.iter().any(|task| task.base.is_some() && task.tuned[i].is_some());
            let is_related = is_paired || !sizes(&self.base.layers).is_disjoint(&sizes(&side.layers));
            if let (Some(base), Some(tuned), false) = (base, tuned, is_related) {
                let base = (self.base.origin.path.as_str(), base.name.as_str());
                return Err(Error::Usage(pair::unrelated(base, (&side.origin.path, &tuned.name))));
            }
        }
        Ok(())
    }
}

/// Names of the output layers of language models.
const HEADS: [&str; 4] = ["lm_head", "embed_out", "output", "head"];

/// Whether only the tuned side stores it, and it is a model's output layer.
fn is_head(unpaired: &Unpaired) -> bool {
    let (Unpaired::Added(layer) | Unpaired::Ambiguous(layer)) = unpaired else { return false };
    let name = pair::canonical(&layer.name);
    HEADS.contains(&name.rsplit('.').next().unwrap_or_default())
}

/// Names rows that share a name by their tensors: one side may lack one of the two matrices.
fn tell_apart(tasks: &mut [MatrixTask]) {
    let full = |task: &MatrixTask| {
        let own = task.base.as_deref().or_else(|| task.layer());
        own.map_or_else(String::new, Layer::full_name)
    };
    tasks.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| full(a).cmp(&full(b))));
    if !tasks.array_windows::<2>().any(|[a, b]| a.name == b.name) {
        return;
    }
    let names: Vec<(String, String)> = tasks.iter().map(|task| (task.name.to_string(), full(task))).collect();
    for (task, name) in tasks.iter_mut().zip(distinct(&names, &BTreeSet::new())) {
        if task.name != name {
            task.name = name.into();
        }
    }
}

impl MatrixTask {
    /// Any side's matrix, the first tuned one's before the base's.
    pub(super) fn layer(&self) -> Option<&Layer> {
        self.shared().map(AsRef::as_ref)
    }

    /// The same, for who keeps it.
    pub(super) fn shared(&self) -> Option<&Arc<Layer>> {
        self.tuned.iter().flatten().next().or(self.base.as_ref())
    }

    /// The status of the matrix on a tuned side, from headers.
    pub(super) fn standing(&self, side: usize) -> (Option<Standing>, Retyped) {
        fn header(layer: &Arc<Layer>) -> ((usize, usize), &str) {
            ((layer.rows, layer.cols), layer.storage())
        }
        between(self.base.as_ref().map(header), self.tuned[side].as_ref().map(header))
    }
}
