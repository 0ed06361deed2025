//! Weights with their expressions, and skipped tensors: the input and output of every dialect.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::expr::{Expr, Runs, Side};
use super::given::Given;
use super::lengths::Rescaling;
use super::scratch::Scratch;
use super::stored_factors::StoredFactors;
use super::tensors::Tensors;
use super::tucker::Tucker;
use crate::error::{Error, brief, printable};
use crate::layer::{Element, Filter, Layer, Operands, Selection, TensorInfo, bare, natural, place_of};
use crate::low_rank::LowRank;
use crate::matrix::Matrix;
use crate::report::{SkipKind, Skipped, SourceFile, Update};
use crate::text::Text;

/// What the matrices of a catalogue are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Weights of a model.
    Weights,
    /// Updates of an adapter.
    Updates,
}

/// A matrix with its place in the model.
#[derive(Debug, Clone)]
pub(crate) struct Weight {
    pub(crate) layer: Arc<Layer>,
    pub(crate) expr: Arc<Expr>,
    /// How an adapter stores it, if it is an update.
    pub(crate) update: Option<Box<Update>>,
}

impl Weight {
    /// The matrix, whose type and thin rank follow from its expression.
    pub(crate) fn new(layer: Layer, expr: Arc<Expr>, update: Option<Box<Update>>) -> Self {
        let kronecker = expr.kronecker();
        let kronecker =
            kronecker.map(|(first, second, _)| Operands::Kronecker([first.shape(), second.shape()]));
        let operands = kronecker.or_else(|| expr.tucker_operands()).map(Box::new);
        let layer = Arc::new(Layer { read_as: expr.entry(), rank: expr.thin_rank(), operands, ..layer });
        Self { layer, expr, update }
    }

    /// The matrix that `layer` of `tensors` is.
    pub(crate) fn stored(tensors: &Arc<Tensors>, layer: Arc<Layer>) -> Self {
        Self { expr: Expr::of(tensors, Arc::clone(&layer)), layer, update: None }
    }

    /// `error` with the name of the weight, where it is of no stored tensor.
    fn named(&self, error: Error) -> Error {
        let Error::Overflow(what) = error else { return error };
        let name = brief(&self.layer.name);
        Error::Overflow(match self.update.as_deref() {
            Some(Update { scale: Some(scale), .. }) => {
                format!("{what} of the update `{name}` (scale {scale})")
            }
            Some(_) => format!("{what} of the update `{name}`"),
            None => format!("{what} of `{name}`"),
        })
    }
}

/// Skipped tensors, by the name that filters see.
#[derive(Debug, Clone)]
pub(crate) struct LeftOut {
    pub(crate) name: Text,
    pub(crate) line: Arc<Skipped>,
}

impl LeftOut {
    /// A tensor, which filters see without `.weight` like every matrix.
    pub(crate) fn tensor(line: impl Into<Arc<Skipped>>) -> Self {
        let line = line.into();
        Self { name: line.tensor.part(bare(&line.tensor)), line }
    }
}

/// A checkpoint, or what is computed from some, whose headers have been read and validated; weights are read on request.
pub struct Catalogue {
    /// Whose tensors and files these are.
    stored: Arc<Tensors>,
    holds: Holds,
    weights: Vec<Weight>,
    left_out: Vec<LeftOut>,
    notes: Vec<String>,
    /// Positions in `weights` in the order of names; made when a weight is first asked for.
    by_name: OnceLock<Vec<usize>>,
    /// The same with its fused tensors left as they are stored, where this one cuts them.
    fused: Option<Arc<Catalogue>>,
    room: Scratch,
}

impl Catalogue {
    /// `weights` of the files of `stored`, in natural order, with its notes.
    pub(crate) fn new(
        stored: Arc<Tensors>,
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
            by_name: OnceLock::new(),
            fused: None,
            room: Scratch::default(),
        }
    }

    /// Matrices in memory, in the order given, as weights or as updates to some.
    pub fn given(holds: Holds, matrices: impl IntoIterator<Item = (Layer, Given)>) -> Self {
        let weight = |(layer, given)| Weight::new(layer, Arc::new(Expr::Given(given)), None);
        let weights = matrices.into_iter().map(weight).collect();
        Self::new(Arc::new(Tensors::none()), holds, weights, vec![])
    }

    /// The same, minus the weights of `other`; notes and skipped tensors of `other` are not kept.
    ///
    /// # Errors
    /// The words that `missing` has for a weight that `other` lacks.
    pub(crate) fn less(self, other: &Self, missing: impl Fn(&Layer) -> Error) -> Result<Self, Error> {
        let others: BTreeMap<&str, &Weight> =
            other.weights.iter().map(|weight| (weight.layer.name.as_str(), weight)).collect();
        let less = |weight: Weight| {
            let layer = weight.layer.as_ref();
            let same = |other: &&&Weight| (other.layer.rows, other.layer.cols) == (layer.rows, layer.cols);
            let theirs = others.get(layer.name.as_str()).filter(same).ok_or_else(|| missing(layer))?;
            let expr = weight.expr.minus(Arc::clone(&theirs.expr));
            let rank = expr.thin_rank().map(|rank| rank as u64);
            let update = weight.update.map(|update| Box::new(Update { rank, ..*update }));
            Ok(Weight::new(layer.clone(), expr, update))
        };
        let weights = self.weights.into_iter().map(less).collect::<Result<_, Error>>()?;
        Ok(Self { weights, ..self })
    }

    /// The same without the weights that go by one of these `tensors`, which are left out for this reason.
    pub(crate) fn leaving(&self, tensors: &BTreeSet<String>, reason: &str) -> Self {
        let (gone, weights): (Vec<Weight>, Vec<Weight>) =
            self.weights.iter().cloned().partition(|weight| tensors.contains(weight.layer.tensor.as_str()));
        let line = |tensor: &TensorInfo| Arc::new(tensor.skipped(SkipKind::Plain, reason));
        let of_weight = |weight: &Weight| {
            let tensor = self.tensors().iter().find(|tensor| tensor.name == weight.layer.tensor)?;
            Some(LeftOut { name: weight.layer.name.clone(), line: line(tensor) })
        };
        let told = |left_out: &LeftOut| match self
            .tensors()
            .iter()
            .find(|tensor| tensor.name == left_out.line.tensor)
        {
            Some(tensor) if tensors.contains(tensor.name.as_str()) => {
                LeftOut { line: line(tensor), ..left_out.clone() }
            }
            _ => left_out.clone(),
        };
        let mut left_out: Vec<LeftOut> =
            self.left_out.iter().map(told).chain(gone.iter().filter_map(of_weight)).collect();
        left_out.sort_by(|a, b| natural(&a.line.tensor, &b.line.tensor));
        Self::new(Arc::clone(&self.stored), self.holds, weights, left_out).with_notes(self.notes.clone())
    }

    /// The same, cut out of `fused`.
    pub(crate) fn of_fused(self, fused: Arc<Self>) -> Self {
        Self { fused: Some(fused), ..self }
    }

    /// The same with other notes.
    pub(crate) fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }

    /// Its weights, in natural name order.
    pub(crate) fn weights(&self) -> &[Weight] {
        &self.weights
    }

    /// What was left out of it.
    pub(crate) fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Which rows of a stored matrix `layer` is, or which columns as rows, if it is only some of it.
    pub(crate) fn runs(&self, layer: &Layer) -> Option<(Side, Runs)> {
        self.get(layer)?.expr.runs()
    }

    /// Whether `layer` is computed from factors, so that no tensor holds its entries.
    pub fn is_factored(&self, layer: &Layer) -> bool {
        self.get(layer).is_some_and(|weight| matches!(*weight.expr, Expr::Product(..) | Expr::Sum(..)))
    }

    /// The weight that `layer` is.
    pub(crate) fn get(&self, layer: &Layer) -> Option<&Weight> {
        let name = |i: &usize| self.weights[*i].layer.name.as_str();
        let sorted = || {
            let mut all: Vec<usize> = (0..self.weights.len()).collect();
            all.sort_unstable_by(|a, b| name(a).cmp(name(b)));
            all
        };
        let all = self.by_name.get_or_init(sorted);
        let at = all.binary_search_by(|i| name(i).cmp(&layer.name)).ok()?;
        Some(&self.weights[all[at]])
    }

    fn weight(&self, layer: &Layer) -> Result<&Weight, Error> {
        let missing = || Error::Contract(format!("`{}` belongs to another checkpoint", brief(&layer.name)));
        self.get(layer).ok_or_else(missing)
    }

    /// The tensors that it was made from, as they are stored.
    pub fn stored(&self) -> &Arc<Tensors> {
        &self.stored
    }

    /// All stored tensors, in natural name order. Costs nothing: headers were read when it was opened.
    pub fn tensors(&self) -> &[TensorInfo] {
        self.stored.list()
    }

    /// The weight files, in reading order.
    pub fn files(&self) -> Vec<SourceFile> {
        self.stored.files()
    }

    /// Notes on the choice of files.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether its matrices are weights or updates to the weights of another checkpoint.
    pub fn holds(&self) -> Holds {
        self.holds
    }

    /// The same with its fused tensors left as they are stored, where this one cuts them.
    pub fn fused(&self) -> Option<&Arc<Self>> {
        self.fused.as_ref()
    }

    /// The matrices to analyze, and the skipped tensors.
    pub fn select(&self, filter: &Filter) -> Selection {
        let layers = self.weights.iter().map(|weight| &weight.layer);
        let layers: Vec<Arc<Layer>> = layers.filter(|layer| filter.keeps(&layer.name)).cloned().collect();
        let left_out = self.left_out.iter().filter(|left_out| filter.keeps(&left_out.name));
        let skipped: Vec<Arc<Skipped>> = left_out.map(|left_out| Arc::clone(&left_out.line)).collect();
        let all = self.weights.len() + self.left_out.len();
        Selection { filtered: all - layers.len() - skipped.len(), layers, skipped }
    }

    /// How an adapter stores the update that a layer is; none of a weight.
    pub fn update(&self, layer: &Layer) -> Option<Box<Update>> {
        self.get(layer)?.update.clone()
    }

    /// How many numbers of files a layer is computed from.
    pub fn stored_entries(&self, layer: &Layer) -> u64 {
        self.get(layer).map_or(0, |weight| weight.expr.stored_entries())
    }

    /// Whether a matrix of another checkpoint has to be decomposed before anything of `layer` is read.
    pub fn decomposes(&self, layer: &Layer) -> bool {
        self.get(layer).is_some_and(|weight| weight.expr.decomposed().is_some())
    }

    /// The thin factors of a layer that has a `rank`.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn factors(&self, layer: &Layer) -> Result<LowRank, Error> {
        let weight = self.weight(layer)?;
        weight.expr.factors(&self.room).map_err(|error| weight.named(error))
    }

    /// The factors of an update as they are stored, without scale and base; none where it is not a product of two.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn stored_factors(&self, layer: &Layer) -> Result<Option<StoredFactors>, Error> {
        let weight = self.weight(layer)?;
        weight.expr.stored_factors(&self.room).map_err(|error| weight.named(error))
    }

    /// By what DoRA multiplies the rows or columns of a base with an update; none of other updates.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub(crate) fn rescaling(&self, layer: &Layer) -> Result<Option<Rescaling>, Error> {
        let weight = self.weight(layer)?;
        weight.expr.rescaling(&self.room).map_err(|error| weight.named(error))
    }

    /// `layer` with `other` added, as the one of a catalogue.
    ///
    /// # Errors
    /// When it belongs to another catalogue.
    pub(crate) fn plus(&self, layer: &Layer, other: LowRank) -> Result<(Self, Arc<Layer>), Error> {
        let weight = self.weight(layer)?;
        let expr = Arc::clone(&weight.expr).plus(Arc::new(Expr::Given(other.into())));
        let one = Weight::new(layer.clone(), expr, weight.update.clone());
        let layer = Arc::clone(&one.layer);
        Ok((Self::new(Arc::clone(&self.stored), self.holds, vec![one], vec![]), layer))
    }

    /// Reads the rows `rows` of `layer`: as stored where it is stored so, else as doubles.
    ///
    /// # Errors
    /// When the file has changed, ended or cannot be read.
    pub fn read(&self, layer: &Layer, rows: Range<usize>) -> Result<Matrix, Error> {
        let weight = self.weight(layer)?;
        weight.expr.read(rows, &self.room).map_err(|error| weight.named(error))
    }

    /// The two matrices that a layer is the Kronecker product of, as those of a catalogue, and what that is multiplied by.
    pub fn operands(&self, layer: &Layer) -> Option<(Self, [Arc<Layer>; 2], f64)> {
        let weight = self.get(layer)?;
        let (first, second, scale) = weight.expr.kronecker()?;
        let operand = |expr: Arc<Expr>| {
            let own = Layer::plain(layer.name.clone(), expr.shape(), layer.dtype);
            let tensor = layer.tensor.clone();
            Weight::new(Layer { tensor, ..own }, expr, weight.update.clone())
        };
        let mut both = [operand(first), operand(second)];
        // No weight has such a name.
        Arc::make_mut(&mut both[1].layer).name = format!("{}\0", layer.name).into();
        let layers = both.each_ref().map(|weight| Arc::clone(&weight.layer));
        Some((Self::new(Arc::clone(&self.stored), Holds::Updates, both.to_vec(), vec![]), layers, scale))
    }

    /// The parts of a layer that is a product around the kernel of a convolution.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn tucker(&self, layer: &Layer) -> Result<Option<Tucker>, Error> {
        let Some(weight) = self.get(layer) else { return Ok(None) };
        weight.expr.tucker(&self.room).map_err(|error| weight.named(error))
    }

    /// The columns `columns` of these rows alone, for a row that is too long to be read at once.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn window(&self, layer: &Layer, rows: Range<usize>, columns: Range<usize>) -> Result<Matrix, Error> {
        let weight = self.weight(layer)?;
        weight.expr.window(rows, columns, &self.room).map_err(|error| weight.named(error))
    }

    /// What was added to `of`, a matrix of `base`, to make `layer`: a catalogue of that alone, and it. None if it was
    /// made in another way.
    pub fn added(&self, layer: &Layer, (base, of): (&Self, &Layer)) -> Option<(Self, Arc<Layer>)> {
        let weight = self.get(layer)?;
        let expr = weight.expr.added_to(&base.get(of)?.expr)?;
        let one = Weight::new(layer.clone(), Arc::clone(expr), weight.update.clone());
        let layer = Arc::clone(&one.layer);
        Some((Self::new(Arc::clone(&self.stored), Holds::Updates, vec![one], vec![]), layer))
    }

    /// The same with each vector of floats that `is_wanted` by its name as a matrix of one row.
    #[must_use]
    pub fn with_vectors(&self, is_wanted: impl Fn(&str) -> bool) -> Self {
        let vector = |info: &TensorInfo| match (&info.element, info.shape.as_slice()) {
            (Element::Float(dtype), [length]) if *length > 0 && is_wanted(bare(&info.name)) => {
                let name: Text = printable(bare(&info.name)).into();
                let (block, role) = place_of(&name);
                let layer = Layer { name, block, role, ..info.as_matrix((1, *length), *dtype) };
                Some(Weight::stored(&self.stored, Arc::new(layer)))
            }
            _ => None,
        };
        let vectors: Vec<Weight> = self.stored.list().iter().filter_map(vector).collect();
        let is_vector = |name: &str| vectors.iter().any(|weight| weight.layer.tensor == name);
        let left_out = self.left_out.iter().filter(|left_out| !is_vector(&left_out.line.tensor));
        let left_out = left_out.cloned().collect();
        let mut weights = [self.weights.clone(), vectors].concat();
        weights.sort_by(|a, b| natural(&a.layer.name, &b.layer.name));
        let new = Self::new(Arc::clone(&self.stored), self.holds, weights, left_out);
        Self { notes: self.notes.clone(), fused: self.fused.clone(), ..new }
    }

    /// A stored tensor, seen as the matrix `layer`, as the one of a catalogue.
    #[must_use]
    pub fn alone(&self, layer: Layer) -> Self {
        let one = Weight::stored(&self.stored, Arc::new(layer));
        Self::new(Arc::clone(&self.stored), Holds::Weights, vec![one], vec![])
    }
}
