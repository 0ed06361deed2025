//! The sides of a comparison: checkpoints, a base with an adapter added, or saved reports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::analysis::compare::{self, Weight};
use crate::checkpoint::{self, Catalogue, Derivations, Pairs, Saved, SavedRow};
use crate::error::{Error, printable};
use crate::layer::{Filter, Layer, Selection, bare};
use crate::report::{Column, Measurements, Skipped, Source};
use crate::text::Text;

/// A base and the versions of it that it is compared with.
pub struct Sides {
    pub(super) base: ComparedSide,
    /// Each with its name.
    pub(super) tuned: Vec<(String, ComparedSide)>,
}

/// One side.
pub struct ComparedSide {
    /// Where it came from.
    pub origin: Source,
    /// All its matrices, in natural name order.
    pub(super) layers: Vec<Arc<Layer>>,
    /// Its tensors that are not matrices.
    pub(super) skipped: Vec<Arc<Skipped>>,
    /// The same without the tensors that only an adapter has, where there may be some.
    others: Option<Vec<Arc<Skipped>>>,
    pub(super) data: SideData,
    /// The file or folder that was opened.
    pub(super) roots: Vec<PathBuf>,
}

/// The readable part of a side: weights or a report.
#[expect(clippy::large_enum_variant, reason = "there is one for each side of a run")]
pub(super) enum SideData {
    /// Weights.
    Weights(Arc<Catalogue>),
    /// Weights that an adapter makes of a base.
    Adapter(Arc<Pairs>, Arc<Catalogue>),
    /// The report of an earlier run, with the positions of its rows by name, and the rows that are copies or have some.
    Saved(Saved, BTreeMap<Text, usize>, BTreeSet<Text>),
}

impl Sides {
    /// `tuned`, each with its name, beside `base`. Where an adapter is among them, fused tensors stay whole on all sides:
    /// an adapter changes them as they are stored.
    pub fn new(base: ComparedSide, tuned: Vec<(String, ComparedSide)>) -> Self {
        let mut sides = Self { base, tuned };
        if sides.all().any(|side| matches!(side.data, SideData::Adapter(..))) {
            sides.base.fuse();
            sides.tuned.iter_mut().for_each(|(_, side)| side.fuse());
        }
        sides
    }

    /// Tensors that were skipped on any side, of those that `filter` keeps.
    pub fn skipped(&self, filter: &Filter) -> impl Iterator<Item = &Skipped> {
        let skipped = self.all().flat_map(|side| &side.skipped).map(|line| &**line);
        skipped.filter(|skipped| filter.keeps(bare(&skipped.tensor)))
    }

    /// What the others are compared with.
    pub fn base(&self) -> &ComparedSide {
        &self.base
    }

    /// The base, then the tuned sides.
    pub fn all(&self) -> impl Iterator<Item = &ComparedSide> {
        std::iter::once(&self.base).chain(self.tuned.iter().map(|(_, side)| side))
    }
}

impl ComparedSide {
    /// A checkpoint.
    pub fn of_checkpoint(origin: Source, source: Arc<Catalogue>, roots: Vec<PathBuf>) -> Self {
        let Selection { layers, skipped, .. } = source.select(&Filter::default());
        Self { origin, layers, others: None, skipped, data: SideData::Weights(source), roots }
    }

    /// `base` with the updates of an adapter added.
    ///
    /// # Errors
    /// When none of them fits.
    pub fn of_adapter(
        origin: Source,
        base: &Arc<Catalogue>,
        adapter: Arc<Catalogue>,
        roots: Vec<PathBuf>,
    ) -> Result<Self, Error> {
        let pairs = Pairs::new(Arc::clone(base), adapter);
        if pairs.paired().is_empty() {
            let reason = "is an adapter of another model: none of its updates fits the base";
            return Err(Error::malformed(Path::new(&origin.path), reason));
        }
        let merged = pairs.merged();
        let Selection { layers, skipped, .. } = merged.select(&Filter::default());
        let others = Some(base.select(&Filter::default()).skipped);
        let data = SideData::Adapter(Arc::new(pairs), Arc::new(merged));
        Ok(Self { origin, layers, skipped, others, data, roots })
    }

    /// A report of an earlier run.
    pub fn of_report(origin: Source, saved: Saved, roots: Vec<PathBuf>) -> Self {
        let positions = saved.rows.iter().enumerate().map(|(i, row)| (row.layer.name.clone(), i)).collect();
        let ties = saved.rows.iter().filter_map(|row| Some([row.layer.name.clone(), row.tied_to.clone()?]));
        let copies = ties.flatten().collect();
        // What these leave out was not read.
        let is_unread = ["lineage", "scaling", "compare"].contains(&saved.command.as_str());
        Self {
            origin,
            layers: saved.layers().into_iter().map(Arc::new).collect(),
            skipped: saved.skipped.iter().cloned().map(Arc::new).collect(),
            others: is_unread.then(Vec::new),
            data: SideData::Saved(saved, positions, copies),
            roots,
        }
    }

    /// Its tensors that are not matrices, but for those that only an adapter has.
    pub(super) fn others(&self) -> &[Arc<Skipped>] {
        self.others.as_ref().unwrap_or(&self.skipped)
    }

    /// Shows fused tensors as they are stored.
    fn fuse(&mut self) {
        let SideData::Weights(source) = &self.data else { return };
        let Some(source) = source.fused().cloned() else { return };
        let Selection { layers, skipped, .. } = source.select(&Filter::default());
        (self.layers, self.others, self.skipped) = (layers, None, skipped);
        self.data = SideData::Weights(source);
    }

    /// The report, if it is one.
    pub fn saved(&self) -> Option<&Saved> {
        match &self.data {
            SideData::Weights(_) | SideData::Adapter(..) => None,
            SideData::Saved(saved, ..) => Some(saved),
        }
    }

    /// The row of a report that is called `name`.
    pub(super) fn row(&self, name: &str) -> Option<&SavedRow> {
        match &self.data {
            SideData::Weights(_) | SideData::Adapter(..) => None,
            SideData::Saved(saved, positions, _) => saved.rows.get(*positions.get(name)?),
        }
    }

    /// The numbers of that row in `columns`.
    pub(super) fn numbers(&self, name: &str, columns: &[&'static Column]) -> Measurements {
        let values = self.row(name).map(|row| &row.values);
        let value = |column: &&'static Column| Some((*column, values?.of(column.means())?));
        Measurements(columns.iter().filter_map(value).collect())
    }

    /// Notes on the choice of its files.
    pub(super) fn notes(&self) -> Vec<String> {
        self.weights().map_or_else(Vec::new, |source| source.notes().to_vec())
    }

    /// For each of `layers` the first earlier one that it is a copy of.
    pub(super) fn tied(&self, layers: &[Arc<Layer>]) -> Vec<Option<usize>> {
        if let Some(source) = self.weights() {
            return checkpoint::tied(source.as_ref(), layers);
        }
        let original = |layer: &Arc<Layer>| {
            let own = self.row(&layer.name).and_then(|row| row.tied_to.clone());
            own.unwrap_or_else(|| layer.name.clone())
        };
        let mut first: BTreeMap<Text, usize> = BTreeMap::new();
        let found = layers.iter().enumerate().map(|(i, layer)| *first.entry(original(layer)).or_insert(i));
        found.enumerate().map(|(i, first)| (first != i).then_some(first)).collect()
    }

    /// Whether a report calls a matrix a copy of another, or another a copy of it.
    pub(super) fn has_copies(&self, layer: &Layer) -> bool {
        matches!(&self.data, SideData::Saved(_, _, copies) if copies.contains(&layer.name))
    }

    /// The error for a matrix that failed when the report was written.
    pub(super) fn failed(&self, failure: &str) -> Error {
        let what = format!("could not be measured when the report was written: {}", printable(failure));
        Error::malformed(Path::new(&self.origin.path), what)
    }

    /// Takes note of the files or the report that its numbers come from.
    pub(super) fn origins(&self, derivations: &mut Derivations, reports: &mut Vec<PathBuf>) {
        match &self.data {
            SideData::Weights(source) => derivations.add_files(source),
            SideData::Adapter(pairs, _) => {
                derivations.add_files(pairs.base());
                derivations.add_files(pairs.tuned());
            }
            SideData::Saved(..) => reports.extend(self.roots.first().cloned()),
        }
    }

    /// The weights, if it has them.
    pub fn weights(&self) -> Option<&Arc<Catalogue>> {
        match &self.data {
            SideData::Weights(source) | SideData::Adapter(_, source) => Some(source),
            SideData::Saved(..) => None,
        }
    }
}

/// A side of one pair, for the analysis.
pub(super) fn half<'a>(
    side: &'a ComparedSide,
    layer: &'a Layer,
    saved: &'a Measurements,
) -> compare::PairSide<'a> {
    match side.weights() {
        Some(source) => compare::PairSide::Weight(Weight { source, layer }),
        None => compare::PairSide::Saved(saved),
    }
}
