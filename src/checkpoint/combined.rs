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
    /// Tensors of the tuned side that are no matrices, and those without a partner.
    left_out: Vec<Skipped>,
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
            pair_copies(tuned.as_ref(), &mut paired, &mut unpaired);
        }
        let mut left_out = theirs.skipped;
        left_out.extend(unpaired.iter().flat_map(|unpaired| skipped(tuned.as_ref(), unpaired)));
        let positions = paired.iter().enumerate().map(|(i, pair)| (pair.tuned.name.clone(), i)).collect();
        Self { base, tuned, paired, unpaired, left_out, positions }
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

/// Pairs what only the tuned side stores, where its bytes are those of a matrix that has a partner: a head that is tied
/// to its embedding is stored in some files and left out of others.
fn pair_copies(tuned: &dyn MatrixSource, paired: &mut Vec<Pair>, unpaired: &mut Vec<Unpaired>) {
    let mut layers: Vec<Layer> = paired.iter().map(|pair| pair.tuned.clone()).collect();
    layers.extend(unpaired.iter().filter_map(|unpaired| match unpaired {
        Unpaired::Added(layer) | Unpaired::Ambiguous(layer) => Some(layer.clone()),
        Unpaired::Removed(_) | Unpaired::Reshaped(_) => None,
    }));
    let known = paired.len();
    if layers.len() == known {
        return;
    }
    for (i, original) in tied(tuned, &layers).into_iter().enumerate().skip(known) {
        let Some(original) = original.filter(|original| *original < known) else { continue };
        let copy = &layers[i];
        unpaired.retain(
            |unpaired| !matches!(unpaired, Unpaired::Added(layer) | Unpaired::Ambiguous(layer) if layer == copy),
        );
        paired.push(Pair { base: paired[original].base.clone(), tuned: layers[i].clone() });
    }
    paired.sort_by(|a, b| natural(&a.tuned.name, &b.tuned.name));
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

    fn stored(&self) -> Option<&dyn MatrixSource> {
        Some(self.pairs.tuned.as_ref())
    }

    fn files(&self) -> Vec<SourceFile> {
        self.pairs.tuned.files()
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
        let left_out = self.pairs.left_out.iter();
        let skipped: Vec<Skipped> =
            left_out.filter(|skipped| filter.keeps(bare(&skipped.tensor))).cloned().collect();
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
            for (sum, base) in entries.iter_mut().zip(base) {
                let (tuned, finite) = (*sum, sum.is_finite() && base.is_finite());
                *sum += sign * base;
                if finite && !sum.is_finite() {
                    let sign = if self.what == What::Delta { '\u{2212}' } else { '+' };
                    let name = brief(&layer.name);
                    return Err(Error::Overflow(format!("an entry of `{name}`, {tuned:e} {sign} {base:e},")));
                }
            }
            bytes.extend(entries.iter().flat_map(|x| x.to_le_bytes()));
        }
        Matrix::new(rows.len(), layer.cols, Dtype::F64, bytes)
    }
}

/// A matrix without a partner, as lines of what was left out: one, or one for each tensor of an adapter's update.
fn skipped(tuned: &dyn MatrixSource, unpaired: &Unpaired) -> Vec<Skipped> {
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
    match tuned.update(layer) {
        Some(update) => {
            let parts = tuned.tensors().iter().filter(|tensor| update.tensors.contains(&tensor.name));
            parts.map(|part| line(&part.name, &part.shape, part.element.name())).collect()
        }
        None => vec![line(&layer.tensor, &layer.stored_shape, layer.stored_type())],
    }
}
