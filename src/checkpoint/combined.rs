//! Two checkpoints of one model as a third: their difference, or a base with an adapter's updates added.
//!
//! Entries are combined in f64, a few rows at a time; neither side is ever in memory whole.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::{Holds, MatrixSource, tied};
use crate::error::{Error, brief};
use crate::layer::{Filter, Layer, Selection, TensorInfo, bare, natural};
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix};
use crate::pair::{self, Pair, Unpaired};
use crate::report::{Kind, Skipped, SourceFile, Update};

/// Two checkpoints whose matrices have been paired by name.
pub struct Pairs {
    base: Arc<dyn MatrixSource>,
    tuned: Arc<dyn MatrixSource>,
    /// In the order of the tuned side.
    paired: Vec<Pair>,
    unpaired: Vec<Unpaired>,
    /// What was left out, each with the name that filters see: tensors of the tuned side that are no matrices, and
    /// matrices without a partner.
    left_out: Vec<(String, Skipped)>,
    /// Those of both sides.
    notes: Vec<String>,
    /// Position in `paired`, by the tuned layer's name.
    positions: BTreeMap<String, usize>,
}

impl Pairs {
    /// Pairs all matrices of `base` with those of `tuned`, a checkpoint or an adapter.
    pub fn new(base: Arc<dyn MatrixSource>, tuned: Arc<dyn MatrixSource>) -> Self {
        let base = if tuned.holds() == Holds::Updates { super::as_stored(base) } else { base };
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
        let mut left_out: Vec<(String, Skipped)> =
            theirs.skipped.into_iter().map(|skipped| (bare(&skipped.tensor).to_owned(), skipped)).collect();
        left_out.extend(unpaired.iter().flat_map(|unpaired| skipped(tuned.as_ref(), unpaired)));
        let notes = tuned.notes().iter().cloned().chain(base.notes().iter().map(|note| of_base(note))).collect();
        let positions = paired.iter().enumerate().map(|(i, pair)| (pair.tuned.name.clone(), i)).collect();
        Self { base, tuned, paired, unpaired, left_out, notes, positions }
    }

    /// The checkpoint that was started from.
    pub fn base(&self) -> &Arc<dyn MatrixSource> {
        &self.base
    }

    /// The checkpoint or adapter that came of it.
    pub fn tuned(&self) -> &Arc<dyn MatrixSource> {
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
        let missing = || Error::Usage(format!("`{}` belongs to another checkpoint", brief(name)));
        self.positions.get(name).map(|i| &self.paired[*i]).ok_or_else(missing)
    }
}

/// A note on a base, as a report on something else has it.
pub fn of_base(note: &str) -> String {
    format!("base: {note}")
}

/// Pairs of what only the tuned side stores, where it is a copy of a matrix that has a partner: a head that is tied to
/// its embedding is stored in some files and left out of others. They are no longer among `unpaired`. `tied` gives for
/// each matrix of the tuned side the first that it is a copy of.
pub fn copies(
    paired: &[Pair],
    unpaired: &mut Vec<Unpaired>,
    tied: impl FnOnce(&[Layer]) -> Vec<Option<usize>>,
) -> Vec<Pair> {
    let mut layers: Vec<Layer> = paired.iter().map(|pair| pair.tuned.clone()).collect();
    layers.extend(unpaired.iter().filter_map(|unpaired| match unpaired {
        Unpaired::Added(layer) | Unpaired::Ambiguous(layer) => Some(layer.clone()),
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
        copies.push(Pair { base: paired[original].base.clone(), tuned: layers[i].clone() });
    }
    copies
}

/// What a combined source holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The update: tuned − base, or what the adapter adds.
    Delta,
    /// The tuned weight: as stored, or base + what the adapter adds.
    Tuned,
}

/// Two checkpoints as one.
pub struct Combined {
    pairs: Arc<Pairs>,
    what: What,
}

impl Combined {
    /// The given combination of `pairs`; its matrices have the names of the tuned side.
    pub fn new(pairs: Arc<Pairs>, what: What) -> Self {
        Self { pairs, what }
    }

    /// Whether the tuned side alone holds what is asked for.
    fn is_stored(&self) -> bool {
        (self.what == What::Delta) == (self.pairs.tuned.holds() == Holds::Updates)
    }
}

impl MatrixSource for Combined {
    fn tensors(&self) -> &[TensorInfo] {
        self.pairs.tuned.tensors()
    }

    fn files(&self) -> Vec<SourceFile> {
        self.pairs.tuned.files()
    }

    fn notes(&self) -> &[String] {
        &self.pairs.notes
    }

    fn holds(&self) -> Holds {
        if self.what == What::Delta { Holds::Updates } else { Holds::Weights }
    }

    fn select(&self, filter: &Filter) -> Selection {
        let layer = |pair: &Pair| Layer {
            // A difference is known as well as the coarser of the two it is made of.
            dtype: match pair.tuned.rank {
                Some(_) if self.is_stored() => pair.tuned.dtype,
                _ => pair.base.dtype.coarser(pair.tuned.dtype),
            },
            read_as: if self.is_stored() { pair.tuned.read_as } else { Dtype::F64 },
            encoding: pair.tuned.encoding.clone().or_else(|| pair.base.encoding.clone()),
            rank: pair.tuned.rank.filter(|_| self.what == What::Delta),
            ..pair.tuned.clone()
        };
        let all = self.pairs.paired.iter().map(layer);
        let layers: Vec<Layer> = all.filter(|layer| filter.keeps(&layer.name)).collect();
        let left_out = self.pairs.left_out.iter().filter(|(name, _)| filter.keeps(name));
        let skipped: Vec<Skipped> = left_out.map(|(_, skipped)| skipped.clone()).collect();
        let all = self.pairs.paired.len() + self.pairs.left_out.len();
        Selection { filtered: all - layers.len() - skipped.len(), layers, skipped }
    }

    fn update(&self, layer: &Layer) -> Option<Update> {
        let pair = self.pairs.get(&layer.name).ok()?;
        self.pairs.tuned.update(&pair.tuned).filter(|_| self.what == What::Delta)
    }

    fn factors(&self, layer: &Layer) -> Result<LowRank, Error> {
        self.pairs.tuned.factors(&self.pairs.get(&layer.name)?.tuned)
    }

    fn read(&self, layer: &Layer, rows: Range<usize>) -> Result<Matrix, Error> {
        let pair = self.pairs.get(&layer.name)?;
        if self.is_stored() {
            return self.pairs.tuned.read(&pair.tuned, rows);
        }
        let sign = if self.what == What::Delta { -1.0 } else { 1.0 };
        let mut bytes = super::space(rows.len(), layer.cols)?;
        for block in super::blocks(rows.clone(), layer.cols) {
            let mut entries = self.pairs.tuned.read(&pair.tuned, block.clone())?.to_f64();
            let base = self.pairs.base.read(&pair.base, block)?.to_f64();
            entries.iter_mut().zip(base).for_each(|(sum, base)| *sum += sign * base);
            bytes.extend(entries.iter().flat_map(|x| x.to_le_bytes()));
        }
        Matrix::new(rows.len(), layer.cols, Dtype::F64, bytes)
    }
}

/// A matrix without a partner, as lines of what was left out, each with the matrix's name: one, or one for each tensor of
/// an adapter's update.
fn skipped(tuned: &dyn MatrixSource, unpaired: &Unpaired) -> Vec<(String, Skipped)> {
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
        tensor: tensor.to_owned(),
        shape: shape.iter().map(|n| *n as u64).collect(),
        dtype: dtype.to_owned(),
        reason: reason.clone(),
        // With the right base it would be measured.
        kind: if matches!(unpaired, Unpaired::Ambiguous(_)) { Kind::Refused } else { Kind::Unpaired },
        ..Skipped::default()
    };
    let lines: Vec<Skipped> = match tuned.update(layer) {
        Some(update) => {
            let parts = tuned.tensors().iter().filter(|tensor| update.tensors.contains(&tensor.name));
            parts.map(|part| line(&part.name, &part.shape, part.element.name())).collect()
        }
        None => vec![line(&layer.tensor, &layer.stored_shape, layer.stored_type())],
    };
    lines.into_iter().map(|line| (layer.name.clone(), line)).collect()
}
