//! Two checkpoints of one model, paired, and their combination: the difference, or a base with an adapter's
//! updates added.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::error::{Error, brief};
use crate::layer::{Filter, Layer, natural};
use crate::pair::{self, Pair, Unpaired};
use crate::report::{SkipKind, Skipped};
use crate::text::Text;
use crate::weight::{Catalogue, Holds, LeftOut, Weight, tied};

/// Two checkpoints whose matrices have been paired by name.
pub struct Pairs {
    base: Arc<Catalogue>,
    tuned: Arc<Catalogue>,
    /// In the order of the tuned side.
    paired: Vec<Pair>,
    unpaired: Vec<Unpaired>,
    /// Tensors of the tuned side that are not matrices, and unpaired matrices.
    left_out: Vec<LeftOut>,
    /// Those of both sides.
    notes: Vec<String>,
    /// Position in `paired`, by the tuned layer's name.
    positions: BTreeMap<Text, usize>,
    /// The same by the base's, made when it is first asked for.
    of_base: OnceLock<BTreeMap<Text, usize>>,
}

impl Pairs {
    /// Pairs all matrices of `base` with those of `tuned`, a checkpoint or an adapter.
    pub fn new(base: Arc<Catalogue>, tuned: Arc<Catalogue>) -> Self {
        let base = if tuned.holds() == Holds::Updates { base.fused().cloned().unwrap_or(base) } else { base };
        let all = Filter::default();
        let (ours, theirs) = (base.select(&all), tuned.select(&all));
        let (mut paired, mut unpaired) = pair::pairs(&ours.layers, &theirs.layers);
        if tuned.holds() == Holds::Updates {
            // An adapter leaves most of a model alone.
            unpaired.retain(|unpaired| !matches!(unpaired, Unpaired::Removed(_)));
        } else {
            paired.extend(copies(&paired, &mut unpaired, |layers| tied(tuned.as_ref(), layers)));
            paired.sort_by(|a, b| natural(&a.tuned.name, &b.tuned.name));
        }
        let mut left_out: Vec<LeftOut> = theirs.skipped.into_iter().map(LeftOut::tensor).collect();
        left_out.extend(unpaired.iter().flat_map(|unpaired| skipped(tuned.as_ref(), unpaired)));
        let notes =
            tuned.notes().iter().cloned().chain(base.notes().iter().map(|note| of_base(note))).collect();
        let positions = paired.iter().enumerate().map(|(i, pair)| (pair.tuned.name.clone(), i)).collect();
        Self { base, tuned, paired, unpaired, left_out, notes, positions, of_base: OnceLock::new() }
    }

    /// The original checkpoint.
    pub fn base(&self) -> &Arc<Catalogue> {
        &self.base
    }

    /// The fine-tune: a checkpoint or an adapter.
    pub fn tuned(&self) -> &Arc<Catalogue> {
        &self.tuned
    }

    /// The pairs, in the order of the tuned side.
    pub fn paired(&self) -> &[Pair] {
        &self.paired
    }

    /// Matrices without a partner of their shape.
    pub fn unpaired(&self) -> &[Unpaired] {
        &self.unpaired
    }

    /// The pair whose tuned side is called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<&Pair, Error> {
        let missing = || Error::Contract(format!("`{}` belongs to another checkpoint", brief(name)));
        self.positions.get(name).map(|i| &self.paired[*i]).ok_or_else(missing)
    }

    /// The matrix of the tuned side that `layer` of the base is paired with.
    pub fn tuned_of(&self, layer: &Layer) -> Option<&Layer> {
        let names = || self.paired.iter().enumerate().map(|(i, pair)| (pair.base.name.clone(), i)).collect();
        self.of_base.get_or_init(names).get(&layer.name).map(|i| &*self.paired[*i].tuned)
    }

    /// The updates: tuned − base, or the adapter's. They have the names of the tuned side.
    pub fn difference(&self) -> Catalogue {
        let is_stored = self.tuned.holds() == Holds::Updates;
        let weight = |pair: &Pair| {
            let (tuned, base) = (self.tuned.get(&pair.tuned)?, self.base.get(&pair.base)?);
            let expr = Arc::clone(&tuned.expr);
            let expr = if is_stored { expr } else { expr.minus(Arc::clone(&base.expr)) };
            let layer = Layer {
                // A difference is known as well as the coarser of the two it is made of.
                dtype: match pair.tuned.rank {
                    Some(_) if is_stored => pair.tuned.dtype,
                    _ => pair.base.dtype.coarser(pair.tuned.dtype),
                },
                encoding: pair.tuned.encoding.clone().or_else(|| pair.base.encoding.clone()),
                ..(*pair.tuned).clone()
            };
            Some(Weight::new(layer, expr, tuned.update.clone()))
        };
        let weights = self.paired.iter().filter_map(weight).collect();
        Catalogue::new(Arc::clone(self.tuned.stored()), Holds::Updates, weights, self.left_out.clone())
            .with_notes(self.notes.clone())
    }

    /// The base with an adapter's updates added, under the names of the base. Weights that the adapter
    /// does not change are the base's own, byte for byte; updates that fit no weight of the base are left out.
    pub fn merged(&self) -> Catalogue {
        let weights = self.base.weights().iter().map(|base| {
            let added = self.tuned_of(&base.layer).and_then(|layer| self.tuned.get(layer));
            let Some(tuned) = added else { return base.clone() };
            let expr = Arc::clone(&tuned.expr);
            let is_update = self.tuned.holds() == Holds::Updates;
            let expr = if is_update { expr.plus(Arc::clone(&base.expr)) } else { expr };
            let update = tuned.update.as_ref().or(base.update.as_ref());
            Weight::new((*base.layer).clone(), expr, update.cloned())
        });
        let left_out = self.base.left_out().iter().chain(&self.left_out).cloned();
        let stored = Arc::clone(self.base.stored());
        Catalogue::new(stored, Holds::Weights, weights.collect(), left_out.collect())
            .with_notes(self.notes.clone())
    }
}

/// A note on a base, as a report on something else has it.
pub fn of_base(note: &str) -> String {
    format!("base: {note}")
}

/// Pairs matrices that only the tuned side stores and that copy a paired matrix: a head that is tied to
/// its embedding is stored in some files and left out of others. They are no longer among `unpaired`. `tied` gives for
/// each matrix of the tuned side the first that it is a copy of.
pub fn copies(
    paired: &[Pair],
    unpaired: &mut Vec<Unpaired>,
    tied: impl FnOnce(&[Arc<Layer>]) -> Vec<Option<usize>>,
) -> Vec<Pair> {
    let mut layers: Vec<Arc<Layer>> = paired.iter().map(|pair| Arc::clone(&pair.tuned)).collect();
    layers.extend(unpaired.iter().filter_map(|unpaired| match unpaired {
        Unpaired::Added(layer) | Unpaired::Ambiguous(layer) => Some(Arc::clone(layer)),
        Unpaired::Removed(_) | Unpaired::Reshaped(_) => None,
    }));
    let (known, mut copies) = (paired.len(), vec![]);
    if layers.len() == known {
        return copies;
    }
    for (i, original) in tied(&layers).into_iter().enumerate().skip(known) {
        let Some(original) = original.filter(|original| *original < known) else { continue };
        let copy = &layers[i];
        unpaired.retain(
            |unpaired| !matches!(unpaired, Unpaired::Added(layer) | Unpaired::Ambiguous(layer) if layer == copy),
        );
        copies.push(Pair { base: Arc::clone(&paired[original].base), tuned: Arc::clone(&layers[i]) });
    }
    copies
}

/// An unpaired matrix, as entries of skipped tensors: one, or one for each tensor of an adapter's update.
fn skipped(tuned: &Catalogue, unpaired: &Unpaired) -> Vec<LeftOut> {
    let (layer, reason) = match unpaired {
        Unpaired::Removed(layer) => (layer, "only in the base".to_owned()),
        Unpaired::Added(layer) => (layer, "not in the base".to_owned()),
        Unpaired::Ambiguous(layer) => (
            layer,
            "fits the base in several ways; give its part of the base alone, as with `--component`"
                .to_owned(),
        ),
        Unpaired::Reshaped(Pair { base, tuned }) => {
            (tuned, format!("{} × {} in the base", base.rows, base.cols))
        }
    };
    let line = |tensor: &str, shape: &[usize], dtype: &str| Skipped {
        tensor: tensor.into(),
        shape: shape.iter().map(|n| *n as u64).collect(),
        dtype: dtype.into(),
        reason: reason.as_str().into(),
        // With the right base it would be measured.
        kind: if matches!(unpaired, Unpaired::Ambiguous(_)) { SkipKind::Refused } else { SkipKind::Unpaired },
        ..Skipped::default()
    };
    let lines: Vec<Skipped> = match tuned.update(layer) {
        Some(update) => {
            let parts = tuned
                .tensors()
                .iter()
                .filter(|tensor| update.tensors.iter().any(|name| tensor.name == *name));
            parts.map(|part| line(&part.name, &part.shape, part.element.name())).collect()
        }
        None => vec![line(&layer.tensor, &layer.stored_shape, layer.stored_type())],
    };
    lines.into_iter().map(|line| LeftOut { name: layer.name.clone(), line: line.into() }).collect()
}
