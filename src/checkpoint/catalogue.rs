//! Weights with what each is computed from, and all that was left out: what every dialect takes and gives.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::weight::{Expr, Runs, Scratch, Side};
use super::{Holds, MatrixSource};
use crate::error::{Error, brief};
use crate::layer::{Filter, Layer, Selection, TensorInfo, bare};
use crate::low_rank::LowRank;
use crate::matrix::Matrix;
use crate::report::{Skipped, SourceFile, Update};

/// A matrix with its place in the model.
#[derive(Debug)]
pub(super) struct Weight {
    pub(super) layer: Layer,
    pub(super) expr: Arc<Expr>,
    /// How an adapter stores it, if it is an update.
    pub(super) update: Option<Update>,
}

impl Weight {
    /// The matrix, whose type and thin rank follow from what it is computed from.
    pub(super) fn new(layer: Layer, expr: Arc<Expr>, update: Option<Update>) -> Self {
        let layer = Layer { read_as: expr.entry(), rank: expr.thin_rank(), ..layer };
        Self { layer, expr, update }
    }

    /// `error` with the name of the weight, where it is of no stored tensor.
    fn named(&self, error: Error) -> Error {
        let Error::Overflow(what) = error else { return error };
        let name = brief(&self.layer.name);
        Error::Overflow(match &self.update {
            Some(Update { scale: Some(scale), .. }) => {
                format!("{what} of the update `{name}` (scale {scale})")
            }
            Some(_) => format!("{what} of the update `{name}`"),
            None => format!("{what} of `{name}`"),
        })
    }
}

/// What was left out, by the name that filters see.
#[derive(Debug, Clone)]
pub(super) struct LeftOut {
    pub(super) name: String,
    pub(super) line: Skipped,
}

impl LeftOut {
    /// A tensor, which filters see without `.weight` like every matrix.
    pub(super) fn tensor(line: Skipped) -> Self {
        Self { name: bare(&line.tensor).to_owned(), line }
    }
}

/// Weights, and what was left out.
pub struct Catalogue {
    /// Whose tensors and files these are.
    stored: Arc<dyn MatrixSource>,
    holds: Holds,
    weights: Vec<Weight>,
    left_out: Vec<LeftOut>,
    notes: Vec<String>,
    /// Position in `weights`, by name; made when a weight is first asked for.
    positions: OnceLock<HashMap<String, usize>>,
    /// The same with its fused tensors left as they are stored, where this one cuts them.
    fused: Option<Arc<dyn MatrixSource>>,
    room: Scratch,
}

impl Catalogue {
    /// `weights` of the files of `stored`, in natural order, with its notes.
    pub(super) fn new(
        stored: Arc<dyn MatrixSource>,
        holds: Holds,
        weights: Vec<Weight>,
        left_out: Vec<LeftOut>,
    ) -> Self {
        let notes = stored.notes().to_vec();
        Self {
            stored,
            holds,
            weights,
            left_out,
            notes,
            positions: OnceLock::new(),
            fused: None,
            room: Scratch::default(),
        }
    }

    /// The same, less what `other` holds of each weight; what `other` says beside its weights is not this one's.
    ///
    /// # Errors
    /// The words that `missing` has for a weight that `other` lacks.
    pub(super) fn less(self, other: &Self, missing: impl Fn(&Layer) -> Error) -> Result<Self, Error> {
        let others: BTreeMap<&str, &Weight> =
            other.weights.iter().map(|weight| (weight.layer.name.as_str(), weight)).collect();
        let less = |weight: Weight| {
            let layer = weight.layer;
            let same = |other: &&&Weight| (other.layer.rows, other.layer.cols) == (layer.rows, layer.cols);
            let theirs = others.get(layer.name.as_str()).filter(same).ok_or_else(|| missing(&layer))?;
            let expr = weight.expr.minus(Arc::clone(&theirs.expr));
            let rank = expr.thin_rank().map(|rank| rank as u64);
            Ok(Weight::new(layer, expr, weight.update.map(|update| Update { rank, ..update })))
        };
        let weights = self.weights.into_iter().map(less).collect::<Result<_, Error>>()?;
        Ok(Self { weights, ..self })
    }

    /// The same, cut out of `fused`.
    pub(super) fn of_fused(self, fused: Arc<dyn MatrixSource>) -> Self {
        Self { fused: Some(fused), ..self }
    }

    /// The same with other notes.
    pub(super) fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }

    /// Which rows of a stored matrix `layer` is, or which columns as rows, if it is only some of it.
    pub(super) fn runs(&self, layer: &Layer) -> Option<(Side, Runs)> {
        self.get(layer)?.expr.runs()
    }

    fn get(&self, layer: &Layer) -> Option<&Weight> {
        let names =
            || self.weights.iter().enumerate().map(|(i, weight)| (weight.layer.name.clone(), i)).collect();
        self.positions.get_or_init(names).get(&layer.name).map(|i| &self.weights[*i])
    }

    fn weight(&self, layer: &Layer) -> Result<&Weight, Error> {
        let missing = || Error::Contract(format!("`{}` belongs to another checkpoint", brief(&layer.name)));
        self.get(layer).ok_or_else(missing)
    }

    /// What a matrix is computed from.
    pub(super) fn expression(&self, layer: &Layer) -> Option<Arc<Expr>> {
        self.get(layer).map(|weight| Arc::clone(&weight.expr))
    }
}

/// The source that stores the tensors of `source` as they are.
pub(super) fn raw(source: &Arc<dyn MatrixSource>) -> &Arc<dyn MatrixSource> {
    source.catalogue().map_or(source, |catalogue| raw(&catalogue.stored))
}

impl MatrixSource for Catalogue {
    fn tensors(&self) -> &[TensorInfo] {
        self.stored.tensors()
    }

    fn stored(&self) -> Option<&dyn MatrixSource> {
        Some(self.stored.as_ref())
    }

    fn files(&self) -> Vec<SourceFile> {
        self.stored.files()
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn holds(&self) -> Holds {
        self.holds
    }

    fn fused(&self) -> Option<&Arc<dyn MatrixSource>> {
        self.fused.as_ref()
    }

    fn catalogue(&self) -> Option<&Catalogue> {
        Some(self)
    }

    fn select(&self, filter: &Filter) -> Selection {
        let layers = self.weights.iter().map(|weight| &weight.layer);
        let layers: Vec<Layer> = layers.filter(|layer| filter.keeps(&layer.name)).cloned().collect();
        let left_out = self.left_out.iter().filter(|left_out| filter.keeps(&left_out.name));
        let skipped: Vec<Skipped> = left_out.map(|left_out| left_out.line.clone()).collect();
        let all = self.weights.len() + self.left_out.len();
        Selection { filtered: all - layers.len() - skipped.len(), layers, skipped }
    }

    fn update(&self, layer: &Layer) -> Option<Update> {
        self.get(layer)?.update.clone()
    }

    fn decomposes(&self, layer: &Layer) -> bool {
        self.get(layer).is_some_and(|weight| weight.expr.decomposed().is_some())
    }

    fn factors(&self, layer: &Layer) -> Result<LowRank, Error> {
        let weight = self.weight(layer)?;
        weight.expr.factors(&self.room).map_err(|error| weight.named(error))
    }

    fn bytes(&self, tensor: &TensorInfo, start: u64, length: u64) -> Result<Vec<u8>, Error> {
        self.stored.bytes(tensor, start, length)
    }

    fn read(&self, layer: &Layer, rows: Range<usize>) -> Result<Matrix, Error> {
        let weight = self.weight(layer)?;
        weight.expr.read(rows, &self.room).map_err(|error| weight.named(error))
    }
}
