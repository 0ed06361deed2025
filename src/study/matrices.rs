//! Studies of one model, a row a matrix: what their tasks are and what they find.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::asked::PlanPart;
use super::estimate::total;
use super::{
    Beside, Complete, Estimate, EstimatedPart, Found, FoundMatrix, Manifest, MatrixHeaders, Opened,
    RowHeader, Step, Study, Waiting, unmatched,
};
use crate::analysis::{Measured, hygiene};
use crate::checkpoint::{self, Catalogue, Pairs};
use crate::engine::Job;
use crate::error::{Error, printable};
use crate::layer::{Filter, Layer, Selection, TensorInfo};
use crate::report::{self, Column, Drawings, Report, Skipped, Totals, Unlisted};
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
    /// Stored tensors that are not matrices, with their positions in `selection.skipped`.
    tensors: Vec<(usize, TensorInfo)>,
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
        let stored = opened.source.tensors().iter();
        let by_name: BTreeMap<&str, &TensorInfo> =
            stored.map(|tensor| (tensor.name.as_str(), tensor)).collect();
        // Tensors that only the base has don't belong to this source.
        let stored = |(i, skipped): (usize, &Skipped)| {
            by_name.get(skipped.tensor.as_str()).map(|tensor| (i, (*tensor).clone()))
        };
        let tensors = selection.skipped.iter().enumerate().filter_map(stored).collect();
        Ok(Self { opened, selection, tensors, method })
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
        Estimate {
            justified,
            parts: self.method.parts.iter().map(part).collect(),
            ..Estimate::new(
                &layers,
                jobs,
                bytes,
                (self.selection.skipped.len(), self.method.columns.len(), 1),
            )
        }
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
        let report = Report {
            schema: report::SCHEMA,
            svdkit: env!("CARGO_PKG_VERSION").into(),
            command: self.method.command.into(),
            model: self.opened.origin.clone(),
            base: self.opened.base.clone(),
            tuned: vec![],
            settings: self
                .method
                .settings
                .iter()
                .map(|(key, value)| ((*key).into(), value.clone()))
                .collect(),
            columns: self.method.columns.clone(),
            rows: vec![],
            skipped: skipped.clone(),
            totals: Totals { skipped: skipped.len() as u64, filtered: *filtered as u64, ..Totals::default() },
            groups: vec![],
            notes: source.notes().iter().map(|note| printable(note)).collect(),
            summary: None,
            findings: vec![],
            findings_unchecked: vec![],
            verdicts: vec![],
            unlisted: Unlisted::default(),
            steps: vec![],
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
        let tensor = |(_, tensor): &(usize, TensorInfo)| {
            let bytes = hygiene::bytes(tensor);
            Job { flops: bytes as f64, bytes: bytes.min(hygiene::BLOCK as u64) }
        };
        let matrices = self.layers().iter().map(|layer| self.cost(layer));
        matrices.chain(self.tensors.iter().map(tensor)).collect()
    }

    fn report_bytes(&self) -> u64 {
        self.estimate().report
    }

    fn justified(&self, task: usize) -> u64 {
        self.layers().get(task).map_or(u64::MAX, |layer| self.justified_by(layer))
    }

    fn copies(&self, waiting: &[Waiting], memo: &dyn Memo) -> Vec<Option<usize>> {
        let (source, layers) = (self.opened.source.as_ref(), self.layers());
        let is_new = |layer: &Layer| match self.method.copies {
            Copies::Done => false,
            Copies::Spared => true,
            Copies::Recalled => !self.is_known(layer, memo),
        };
        let new: Vec<usize> = (0..layers.len()).filter(|i| is_new(&layers[*i])).collect();
        let mut copies = vec![None; layers.len()];
        let tied = checkpoint::tied(source, &new.iter().map(|i| Arc::clone(&layers[*i])).collect::<Vec<_>>());
        for (i, original) in new.iter().zip(tied) {
            copies[*i] = original.map(|original| new[original]);
        }
        if let Some(pairs) = &self.method.base {
            let base = |i: usize| pairs.get(&layers[i].name).ok().map(|pair| pair.base.clone());
            for i in 0..copies.len() {
                let both = copies[i].and_then(|original| Some([base(original)?, base(i)?]));
                copies[i] = copies[i].filter(|_| {
                    both.is_some_and(|both| checkpoint::tied(pairs.base().as_ref(), &both)[1].is_some())
                });
            }
        }
        copies.resize(waiting.len(), None);
        copies
    }

    fn run(&self, task: usize, _: Option<Found>, memo: &dyn Memo) -> Result<Step, Error> {
        let (source, layers) = (self.opened.source.as_ref(), self.layers());
        let found = if let Some(layer) = layers.get(task) {
            Found::Matrix(Box::new(self.row(layer, memo)?))
        } else {
            let tensor = &self.tensors[task - layers.len()].1;
            Found::Bytes(vec![hygiene::content(source, tensor, memo)?])
        };
        Ok(Step::Done(found))
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
fn reasons(skipped: &[Skipped]) -> String {
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
        let skipped = |reason: &str| Skipped { reason: reason.into(), ..Skipped::default() };
        let all = |reasons: &[&str]| reasons.iter().map(|reason| skipped(reason)).collect::<Vec<_>>();
        assert_eq!(reasons(&all(&["1-D", "1-D"])), "1-D");
        assert_eq!(reasons(&all(&["empty", "1-D", "1-D", "i64", "u8"])), "2 1-D, 1 empty, 1 i64, …");
    }
}
