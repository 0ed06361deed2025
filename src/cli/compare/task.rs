//! The rows of a comparison before anything is measured: which matrix is which, and whether its bytes changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::analysis::compare::{Content, Retyped, equal};
use crate::checkpoint::copies;
use crate::error::Error;
use crate::layer::{Filter, Layer, bare, distinct, natural};
use crate::pair::{self, Pair, Unpaired};
use crate::report::{Skipped, Standing};

use super::side::{self, Side};

/// A base and what came of it.
pub(super) struct Sides {
    /// What was started from.
    pub(super) base: Side,
    /// What came of it, each with its name.
    pub(super) tuned: Vec<(String, Side)>,
}

/// One logical matrix on all sides.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// Its name: the base's, where it has one.
    pub(super) name: String,
    /// In the base.
    pub(super) base: Option<Arc<Layer>>,
    /// In each tuned side.
    pub(super) tuned: Vec<Option<Arc<Layer>>>,
}

impl Sides {
    /// The same, where an adapter is among the sides with fused tensors whole: its updates are of such.
    pub(super) fn alike(mut self) -> Self {
        if self.all().any(|side| matches!(side.content, side::Content::Adapter(..))) {
            self.base.fuse();
            self.tuned.iter_mut().for_each(|(_, side)| side.fuse());
        }
        self
    }

    /// What was left out of any side, of what `filter` keeps.
    pub(super) fn skipped(&self, filter: &Filter) -> impl Iterator<Item = &Skipped> {
        let skipped = self.all().flat_map(|side| &side.skipped);
        skipped.filter(|skipped| filter.keeps(bare(&skipped.tensor)))
    }

    /// The base, then the tuned sides.
    pub(super) fn all(&self) -> impl Iterator<Item = &Side> {
        std::iter::once(&self.base).chain(self.tuned.iter().map(|(_, side)| side))
    }

    /// All matrices that `filter` keeps, in natural name order, and the names of those that it drops.
    pub(super) fn tasks(&self, filter: &Filter) -> (Vec<Task>, Vec<String>) {
        let empty = || vec![None; self.tuned.len()];
        let mut positions: BTreeMap<(String, String), usize> = BTreeMap::new();
        let mut tasks = vec![];
        for layer in &self.base.layers {
            positions.insert((layer.name.clone(), layer.tensor.clone()), tasks.len());
            tasks.push(Task { name: layer.name.clone(), base: Some(layer.clone()), tuned: empty() });
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
                    tasks.push(Task { name: tuned.name.clone(), base: Some(base), tuned: empty() });
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
                    tasks.push(Task { name: layer.name.clone(), base: None, tuned: empty() });
                    tasks.len() - 1
                });
                added.insert(name, at);
                tasks[at].tuned[side] = Some(layer);
            }
        }
        tell_apart(&mut tasks);
        let (mut kept, dropped): (Vec<Task>, Vec<Task>) =
            tasks.into_iter().partition(|task| filter.keeps(&task.name));
        kept.sort_by(|a, b| natural(&a.name, &b.name));
        (kept, dropped.into_iter().map(|task| task.name).collect())
    }
}

/// What the output layers of language models are called.
const HEADS: [&str; 4] = ["lm_head", "embed_out", "output", "head"];

/// Whether only the tuned side stores it, and it is a model's output layer.
fn is_head(unpaired: &Unpaired) -> bool {
    let (Unpaired::Added(layer) | Unpaired::Ambiguous(layer)) = unpaired else { return false };
    let name = pair::canonical(&layer.name);
    HEADS.contains(&name.rsplit('.').next().unwrap_or_default())
}

/// Gives rows of one name those of their tensors: of two matrices that are called alike, one side may lack one.
fn tell_apart(tasks: &mut [Task]) {
    let full = |task: &Task| {
        let own = task.base.as_deref().or_else(|| task.layer());
        (task.name.clone(), own.map_or_else(String::new, Layer::full_name))
    };
    tasks.sort_by_cached_key(full);
    let names: Vec<(String, String)> = tasks.iter().map(full).collect();
    for (task, name) in tasks.iter_mut().zip(distinct(&names, &BTreeSet::new())) {
        task.name = name;
    }
}

/// How two tensors stand to each other as far as their headers, shape and type, tell: the same until bytes are looked at.
pub(super) fn between<S: PartialEq, T: PartialEq>(
    base: Option<(S, T)>,
    tuned: Option<(S, T)>,
) -> (Option<Standing>, Retyped) {
    match (base, tuned) {
        (None, None) => (None, Retyped::No),
        (None, Some(_)) => (Some(Standing::Added), Retyped::No),
        (Some(_), None) => (Some(Standing::Removed), Retyped::No),
        (Some((base_shape, base_type)), Some((shape, dtype))) => {
            let retyped = if base_type == dtype { Retyped::No } else { Retyped::Yes };
            let standing = match (base_shape == shape, retyped) {
                (false, _) => Standing::Reshaped,
                (true, Retyped::Yes) => Standing::Measured,
                (true, Retyped::No) => Standing::Unchanged,
            };
            (Some(standing), retyped)
        }
    }
}

impl Task {
    /// Any side's matrix, the first tuned one's before the base's.
    pub(super) fn layer(&self) -> Option<&Layer> {
        self.tuned.iter().flatten().next().or(self.base.as_ref()).map(AsRef::as_ref)
    }

    /// How the matrix stands on a tuned side as far as headers tell.
    pub(super) fn standing(&self, side: usize) -> (Option<Standing>, Retyped) {
        fn header(layer: &Arc<Layer>) -> ((usize, usize), &str) {
            ((layer.rows, layer.cols), layer.storage())
        }
        between(self.base.as_ref().map(header), self.tuned[side].as_ref().map(header))
    }
}

/// What the bytes of one row say.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// BLAKE3 of the base's bytes, where it is known.
    pub(super) base: Option<String>,
    /// The base's entries, if they were read.
    pub(super) base_content: Option<Content>,
    /// Each tuned side.
    pub(super) tuned: Vec<SeenSide>,
    /// Whether some side is known not to be one number throughout.
    pub(super) varies: bool,
}

/// What the bytes of one side say.
#[derive(Debug, Clone)]
pub(super) struct SeenSide {
    /// How it stands to the base.
    pub(super) standing: Option<Standing>,
    /// Whether its type differs from the base's.
    pub(super) retyped: Retyped,
    /// BLAKE3 of its bytes, where it is known.
    pub(super) blake3: Option<String>,
    /// Its entries, if they were read.
    pub(super) content: Option<Content>,
}

/// How much of a comparison is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Every byte is looked at, nothing is decomposed.
    Bytes,
    /// Bytes are looked at where they decide what changed; that is measured.
    Changes,
    /// What did not change is measured, too.
    Everything,
}

/// Looks at the bytes of a row, as far as they decide whether it changed or are all that is looked at.
///
/// # Errors
/// When a side cannot be read, or could not be when its report was written.
pub(super) fn see(sides: &Sides, task: &Task, depth: Depth) -> Result<Seen, Error> {
    let layers = std::iter::once(task.base.as_ref()).chain(task.tuned.iter().map(Option::as_ref));
    for (side, layer) in sides.all().zip(layers) {
        let row = layer.and_then(|layer| side.row(&layer.name));
        if let Some(failure) = row.and_then(|row| row.failed.as_ref()) {
            return Err(side.failed(failure));
        }
    }
    let base = known(&sides.base, task.base.as_ref());
    let mut seen = Seen { base, base_content: None, tuned: vec![], varies: false };
    let headers: Vec<_> = (0..sides.tuned.len()).map(|i| task.standing(i)).collect();
    let undecided = headers.iter().any(|(standing, _)| *standing == Some(Standing::Unchanged));
    if let Some(base) =
        task.base.as_ref().filter(|_| depth == Depth::Bytes || (undecided && seen.base.is_none()))
    {
        seen.base_content = read(&sides.base, base)?;
        seen.base = seen.base.or_else(|| seen.base_content.as_ref().map(|content| content.blake3.clone()));
    }
    for (i, (_, side)) in sides.tuned.iter().enumerate() {
        let (mut standing, retyped) = headers[i];
        let mut blake3 = known(side, task.tuned[i].as_ref());
        let mut content = None;
        let decides = standing == Some(Standing::Unchanged);
        if let Some(tuned) = task.tuned[i].as_ref().filter(|_| decides || depth == Depth::Bytes) {
            content = read(side, tuned)?;
            blake3 = blake3.or_else(|| content.as_ref().map(|content| content.blake3.clone()));
        }
        if let (true, Some(base), Some(tuned)) = (decides, &task.base, &task.tuned[i]) {
            let same = seen.base.is_some() && seen.base == blake3;
            let same = match (sides.base.weights(), side.weights()) {
                // A stored weight and one that is computed have other bytes for the same numbers.
                (Some(source), Some(other)) if base.read_as != tuned.read_as => {
                    equal((source.as_ref(), base), (other.as_ref(), tuned))?
                }
                _ => same,
            };
            if !same {
                standing = Some(Standing::Measured);
            }
        }
        seen.tuned.push(SeenSide { standing, retyped, blake3, content });
    }
    let contents = seen.tuned.iter().map(|side| &side.content).chain([&seen.base_content]);
    let varies = contents.flatten().any(Content::varies);
    let all = sides.all().zip(std::iter::once(&task.base).chain(&task.tuned));
    let copied =
        || all.filter_map(|(side, layer)| Some(side.has_copies(layer.as_ref()?))).any(|copied| copied);
    seen.varies = varies || copied();
    Ok(seen)
}

/// The hash that a report has of a matrix.
fn known(side: &Side, layer: Option<&Arc<Layer>>) -> Option<String> {
    side.row(&layer?.name)?.blake3.clone()
}

/// The content of a matrix, if the side has weights.
fn read(side: &Side, layer: &Layer) -> Result<Option<Content>, Error> {
    side.weights().map(|source: &Arc<_>| Content::of(source.as_ref(), layer)).transpose()
}
