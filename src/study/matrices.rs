//! Studies of one model, a row a matrix: what their tasks are and what they find.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::asked::PlanPart;
use super::estimate::{pair_bytes, total};
use super::{
    Basis, Beside, Complete, Estimate, EstimatedPart, Found, FoundMatrix, Manifest, MatrixHeaders, Opened,
    Reads, RowHeader, Step, Study, Waiting, unmatched,
};
use crate::analysis::{Measured, hygiene};
use crate::checkpoint::{self, Catalogue, Derivations, Pairs};
use crate::engine::Job;
use crate::error::{Error, printable};
use crate::layer::{Filter, Layer, Selection, TensorInfo};
use crate::report::{self, Column, Drawings, Lists, Report, Skipped, Source, Totals, Unlisted};
use crate::solver::{self, Cost, Form, Memo, Need, Operand, Precision};

/// The most memory that any decomposition takes for each entry of its input.
const BYTES_AN_ENTRY: u64 = 256;

/// Measures one matrix of a source.
type Measure = dyn Fn(&Catalogue, &Layer, &dyn Memo) -> Result<FoundMatrix, Error> + Send + Sync;

/// What one study of this kind brings.
pub(super) struct Method {
    /// The subcommand.
    pub command: &'static str,
    /// Every column that is measured, in report order.
    pub columns: Vec<&'static Column>,
    /// Those of them that the report has in the end.
    pub shown: Vec<&'static Column>,
    /// The parts of the work.
    pub parts: Vec<PlanPart>,
    /// All that the numbers of a row depend on beside its matrices, if rows are kept as a whole.
    pub kept_by: Option<String>,
    /// The settings that decide the numbers.
    pub settings: Vec<(&'static str, String)>,
    /// The cost of one matrix.
    pub cost: Box<dyn Fn(&Layer) -> Cost + Send + Sync>,
    /// Measures one matrix.
    pub measure: Box<Measure>,
    /// What the numbers depend on beside the matrix: the pairs that it is an update of.
    pub base: Option<Arc<Pairs>>,
    /// What becomes of matrices that are copies of others.
    pub copies: Copies,
    /// What else the report says.
    pub beside: Beside,
}

/// What becomes of matrices that are copies of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copies {
    /// Each is done: it is written.
    Done,
    /// One of them is done.
    Spared,
    /// The same, but what a memo knows is not looked at: to recall it twice costs less.
    Recalled,
}

/// Whether an output needs whole spectra.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spectra {
    /// It does.
    Kept,
    /// Enough to draw one is enough.
    Dropped,
}

/// A study of one model.
pub struct Matrices {
    pub(super) opened: Opened,
    selection: Selection,
    /// Positions in `selection.skipped` of stored tensors that are not matrices, and theirs among all stored ones.
    tensors: Vec<(usize, usize)>,
    /// What records hold of singular values.
    spectra: Spectra,
    pub(super) method: Method,
}

impl Matrices {
    /// The matrices of `opened` that `filter` keeps, measured by `method`.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn new(opened: Opened, filter: &Filter, method: Method) -> Result<Self, Error> {
        let selection = opened.source.select(filter);
        if selection.layers.is_empty() {
            let all = opened.source.select(&Filter::default());
            let names: Vec<&str> = all.layers.iter().map(|layer| layer.name.as_str()).collect();
            let path = Path::new(&opened.origin.path);
            return Err(nothing_selected(path, &selection, &unmatched::hint(filter, &names)));
        }
        // Tensors that only the base has don't belong to this source.
        let stored = selection.skipped.iter().map(|skipped| opened.source.stored().position(&skipped.tensor));
        let tensors = stored.enumerate().filter_map(|(i, at)| Some((i, at?))).collect();
        Ok(Self { opened, selection, tensors, spectra: Spectra::Dropped, method })
    }

    /// The same, whose records hold so much of singular values.
    #[must_use]
    pub(super) fn holding(self, spectra: Spectra) -> Self {
        Self { spectra, ..self }
    }

    /// Its matrices, in natural name order.
    pub fn layers(&self) -> &[Arc<Layer>] {
        &self.selection.layers
    }

    /// The columns that its report has in the end: rules and findings may need others before.
    pub fn shown(&self) -> &[&'static Column] {
        &self.method.shown
    }

    /// Whether nothing is decomposed.
    pub fn only_reads(&self) -> bool {
        self.method.settings.iter().any(|(key, value)| *key == "svd" && value == "none")
    }

    /// The stored tensors that are not matrices.
    fn others(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.iter().map(|(_, at)| &self.opened.source.tensors()[*at])
    }

    /// What it costs.
    pub fn estimate(&self) -> Estimate {
        let layers: Vec<&Layer> = self.layers().iter().map(AsRef::as_ref).collect();
        let jobs = layers.iter().map(|layer| self.cost(layer)).collect();
        let bytes = total(layers.iter().map(|layer| layer.bytes()));
        let justified = layers.iter().map(|layer| self.justified_by(layer)).collect();
        let part = |part: &PlanPart| EstimatedPart {
            what: part.what.to_owned(),
            flops: layers.iter().map(|layer| (part.flops)(layer)).sum(),
            columns: part.columns.clone(),
        };
        let counts = (self.selection.skipped.len(), self.method.columns.len(), 1);
        let own = Estimate::new(&layers, jobs, bytes, counts);
        let report = own.report + self.opened.pairs.as_ref().map_or(0, |pairs| pair_bytes(pairs));
        Estimate { justified, report, parts: self.method.parts.iter().map(part).collect(), ..own }
    }

    /// The memory that what is stored of a matrix, and of the base's, justifies.
    fn justified_by(&self, layer: &Layer) -> u64 {
        let base = self.method.base.as_ref().and_then(|pairs| {
            let pair = pairs.get(&layer.name).ok()?;
            Some(pairs.base().stored_entries(&pair.base))
        });
        let entries = self.opened.source.stored_entries(layer).saturating_add(base.unwrap_or(0));
        entries.saturating_mul(BYTES_AN_ENTRY)
    }

    /// The cost of one matrix, with the decomposition of another that reading it may take.
    fn cost(&self, layer: &Layer) -> Job {
        let Cost { flops, bytes } = (self.method.cost)(layer);
        if !self.opened.source.decomposes(layer) {
            return Job { flops, bytes };
        }
        let before = solver::cost(
            &Form { operand: Operand::Whole, ..Form::of(layer, Precision::Fast) },
            Need::Vectors,
        );
        Job { flops: flops + before.flops, bytes: bytes.max(before.bytes) }
    }
}

impl Study for Matrices {
    fn manifest(&self) -> Manifest {
        let (source, Selection { layers, skipped, filtered }) = (&self.opened.source, &self.selection);
        let settings = self.method.settings.clone();
        let columns = self.method.columns.clone();
        let report = Report {
            base: self.opened.base.clone(),
            skipped: skipped.iter().map(|line| (**line).clone()).collect(),
            totals: Totals { skipped: skipped.len() as u64, filtered: *filtered as u64, ..Totals::default() },
            notes: source.notes().iter().map(|note| printable(note)).collect(),
            ..report_of(self.method.command, self.opened.origin.clone(), settings, columns)
        };
        let headers = MatrixHeaders {
            tensors: self.tensors.iter().map(|(at, _)| *at).collect(),
            parameters: layers.iter().map(|layer| layer.parameters() as u64).collect(),
            beside: self.method.beside.clone(),
        };
        let rows = layers.iter().map(|layer| RowHeader::new(layer, source.update(layer))).collect();
        let roots = self.opened.roots.clone();
        Manifest { report, rows, roots, complete: Complete::Matrices(headers) }
    }

    fn roots(&self) -> &[PathBuf] {
        &self.opened.roots
    }

    fn costs(&self) -> Vec<Job> {
        let tensor = |tensor: &TensorInfo| {
            let bytes = hygiene::bytes(tensor);
            Job { flops: bytes as f64, bytes: bytes.min(hygiene::BLOCK as u64) }
        };
        let matrices = self.layers().iter().map(|layer| self.cost(layer));
        matrices.chain(self.others().map(tensor)).collect()
    }

    fn basis(&self) -> Option<Basis> {
        let (source, Method { kept_by, base, .. }) = (self.opened.source.as_ref(), &self.method);
        let mut derivations = Derivations::default();
        derivations.add_files(source);
        for layer in self.layers() {
            derivations.add(source, layer);
            if let Some(pair) = base.as_ref().and_then(|pairs| pairs.get(&layer.name).ok()) {
                let pairs =
                    base.iter().flat_map(|pairs| [(pairs.base(), &pair.base), (pairs.tuned(), &pair.tuned)]);
                pairs.for_each(|(source, layer)| derivations.add(source, layer));
            }
        }
        let spectra = if self.spectra == Spectra::Kept { "all" } else { "enough to draw" };
        let options = vec![
            ("the options", kept_by.clone().unwrap_or_default()),
            ("what is kept of singular values", spectra.to_owned()),
        ];
        Some(Basis { options, derivations, reports: vec![] })
    }

    fn reads(&self) -> Vec<Reads> {
        let stored = self.opened.source.tensors();
        let places: BTreeMap<&str, &TensorInfo> =
            stored.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        // What is computed from several tensors lies with the one that it is called by.
        let matrix = |layer: &Arc<Layer>| {
            let bytes = layer.bytes();
            let place = places.get(layer.tensor.as_str());
            place.map_or(Reads { file: usize::MAX, offset: 0, bytes }, |tensor| Reads {
                file: tensor.file,
                offset: tensor.offset,
                bytes,
            })
        };
        let other = |tensor: &TensorInfo| Reads {
            file: tensor.file,
            offset: tensor.offset,
            bytes: hygiene::bytes(tensor),
        };
        self.layers().iter().map(matrix).chain(self.others().map(other)).collect()
    }

    fn report_bytes(&self) -> u64 {
        self.estimate().report
    }

    fn justified(&self, task: usize) -> u64 {
        self.layers().get(task).map_or(u64::MAX, |layer| self.justified_by(layer))
    }

    fn copies(&self, waiting: &[Waiting], memo: &dyn Memo) -> Vec<Option<usize>> {
        let source = self.opened.source.as_ref();
        let layer = |i: usize| self.layers().get(waiting[i].task);
        let is_new = |layer: &Arc<Layer>| match self.method.copies {
            Copies::Done => false,
            Copies::Spared => true,
            Copies::Recalled => !self.is_known(layer, memo),
        };
        let new: Vec<usize> = (0..waiting.len()).filter(|i| layer(*i).is_some_and(is_new)).collect();
        let mut copies = vec![None; waiting.len()];
        let layers: Vec<Arc<Layer>> = new.iter().filter_map(|i| layer(*i).cloned()).collect();
        for (i, original) in new.iter().zip(checkpoint::tied(source, &layers)) {
            copies[*i] = original.map(|original| new[original]);
        }
        if let Some(pairs) = &self.method.base {
            let base = |i: usize| pairs.get(&layer(i)?.name).ok().map(|pair| pair.base.clone());
            for i in 0..copies.len() {
                let both = copies[i].and_then(|original| Some([base(original)?, base(i)?]));
                copies[i] = copies[i].filter(|_| {
                    both.is_some_and(|both| checkpoint::tied(pairs.base().as_ref(), &both)[1].is_some())
                });
            }
        }
        copies
    }

    fn run(&self, task: usize, _: Option<Found>, memo: &dyn Memo) -> Result<Step, Error> {
        let (source, layers) = (self.opened.source.as_ref(), self.layers());
        let found = if let Some(layer) = layers.get(task) {
            Found::Matrix(Box::new(self.row(layer, memo)?))
        } else {
            let tensor = &source.tensors()[self.tensors[task - layers.len()].1];
            Found::Bytes(vec![hygiene::content(source, tensor, memo)?])
        };
        Ok(Step::Done(found))
    }
}

/// The report of a command on one model before anything is known of that but where it came from.
pub(super) fn report_of(
    command: &'static str,
    model: Source,
    settings: Vec<(&'static str, String)>,
    columns: Vec<&'static Column>,
) -> Report {
    Report {
        schema: report::SCHEMA,
        svdkit: env!("CARGO_PKG_VERSION").into(),
        command: command.into(),
        model,
        base: None,
        tuned: vec![],
        settings: settings.into_iter().map(|(key, value)| (key.into(), value)).collect(),
        columns,
        rows: vec![],
        skipped: vec![],
        totals: Totals::default(),
        groups: vec![],
        notes: vec![],
        summary: None,
        findings: vec![],
        findings_unchecked: vec![],
        verdicts: vec![],
        unlisted: Unlisted::default(),
        steps: vec![],
    }
}

impl FoundMatrix {
    /// What is kept of what was measured.
    pub(super) fn new(measured: Measured, layer: &Layer, spectra: Spectra) -> Self {
        let Measured { values, places, flags, identity, resolution, spectrum, .. } = measured;
        // Values that do not fit a double cannot be drawn.
        let drawn = spectrum.as_ref().filter(|spectrum| spectrum.fits());
        let directions = layer.rank.unwrap_or(usize::MAX);
        Self {
            values: values.0.into_iter().map(|(_, value)| Some(value)).collect(),
            resolution,
            flags,
            places,
            blake3: identity.hex(),
            base_blake3: None,
            varies: identity.varies,
            sketch: drawn.map_or_else(Vec::new, |spectrum| spectrum.leading_sketch(directions)),
            outline: drawn.map_or_else(Vec::new, |spectrum| spectrum.outline(directions)),
            drawn: Drawings::default(),
            spectrum: spectrum.filter(|_| spectra == Spectra::Kept).map(Box::new),
            factors: None,
            lists: Lists::default(),
            intruders: None,
        }
    }
}

fn nothing_selected(path: &Path, selection: &Selection, hint: &str) -> Error {
    let reason = match (selection.filtered, &selection.skipped[..]) {
        (0, []) => "holds no tensor".to_owned(),
        (0, [only]) => format!("its one tensor cannot be measured: {}", only.reason),
        (0, skipped) => {
            format!("none of its {} tensors can be measured: {}", skipped.len(), reasons(skipped))
        }
        (n, _) => format!("`--include` and `--exclude` leave nothing of its {n} matrices and tensors{hint}"),
    };
    Error::malformed(path, reason)
}

/// The commonest reasons, each with its count where there are several.
fn reasons(skipped: &[Arc<Skipped>]) -> String {
    const MOST: usize = 3;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for skipped in skipped {
        *counts.entry(&skipped.reason).or_default() += 1;
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    if let [(only, _)] = counts[..] {
        return only.to_owned();
    }
    let more = if counts.len() > MOST { ", …" } else { "" };
    let listed: Vec<String> =
        counts.iter().take(MOST).map(|(reason, count)| format!("{count} {reason}")).collect();
    listed.join(", ") + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_reasons_are_named_with_their_counts() {
        let skipped = |reason: &str| Arc::new(Skipped { reason: reason.into(), ..Skipped::default() });
        let all = |reasons: &[&str]| reasons.iter().map(|reason| skipped(reason)).collect::<Vec<_>>();
        assert_eq!(reasons(&all(&["1-D", "1-D"])), "1-D");
        assert_eq!(reasons(&all(&["empty", "1-D", "1-D", "i64", "u8"])), "2 1-D, 1 empty, 1 i64, …");
    }
}
