//! Studies of one model, a row a matrix: what their tasks are and what they find.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{
    Beside, Complete, Found, FoundMatrix, Manifest, MatrixHeaders, Opened, RowHeader, Step, Study, Waiting,
    unmatched,
};
use crate::analysis::{Measured, hygiene, resolution};
use crate::checkpoint::{self, Catalogue, Pairs};
use crate::engine::Job;
use crate::error::{Error, printable};
use crate::layer::{Filter, Layer, Selection, TensorInfo};
use crate::report::{self, Column, Drawings, Report, Skipped, Totals, Unlisted};
use crate::solver::{self, Cost, Form, Memo, Need, Operand, Precision};
use crate::text::Text;

/// The most memory that any decomposition takes for each entry of its input.
const BYTES_AN_ENTRY: u64 = 256;

/// What is kept of a matrix in a report and until then, but for its names and numbers, as measured: beside its sides, of
/// each, and of each that it is compared with.
const ROW_BYTES: u64 = 520;
const SIDE_BYTES: u64 = 600;
const PAIR_BYTES: u64 = 1160;
/// So many copies of a name are held at a time.
const NAMES: usize = 3;

/// Measures one matrix of a source.
type Measure = dyn Fn(&Catalogue, &Layer, &dyn Memo) -> Result<FoundMatrix, Error> + Send + Sync;

/// What one study of this kind brings.
pub(super) struct Method {
    /// The subcommand.
    pub command: &'static str,
    /// Every column, in report order.
    pub columns: Vec<&'static Column>,
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
    opened: Opened,
    selection: Selection,
    /// Stored tensors that are not matrices, with their positions in `selection.skipped`.
    tensors: Vec<(usize, TensorInfo)>,
    method: Method,
}

/// What a study costs, as headers tell.
pub struct Estimate {
    /// What each matrix costs.
    pub jobs: Vec<Job>,
    /// The memory that each justifies beyond the limit.
    pub justified: Vec<u64>,
    /// What the one costs that takes most memory, and which it is.
    pub largest: Option<(Job, Text, [usize; 2])>,
    /// Numbers stored.
    pub parameters: u64,
    /// Bytes to read.
    pub bytes: u64,
    /// The memory that the report takes, beside the matrices in flight.
    pub report: u64,
    /// Tensors that are not matrices.
    pub skipped: usize,
}

impl Estimate {
    /// Of a row each for `layers`.
    pub(super) fn new(
        layers: &[&Layer],
        jobs: Vec<Job>,
        bytes: u64,
        (skipped, columns, sides): (usize, usize, usize),
    ) -> Self {
        let justified = vec![u64::MAX; jobs.len()];
        let largest = jobs.iter().zip(layers).max_by_key(|(job, _)| job.bytes);
        Self {
            largest: largest.map(|(job, layer)| (*job, layer.name.clone(), [layer.rows, layer.cols])),
            parameters: layers.iter().map(|layer| layer.parameters() as u64).sum(),
            report: report_bytes(layers, columns, sides),
            jobs,
            justified,
            bytes,
            skipped,
        }
    }
}

/// The memory that a report on `layers` in so many columns takes, of as many sides.
fn report_bytes(layers: &[&Layer], columns: usize, sides: usize) -> u64 {
    let names: usize = layers.iter().map(|layer| NAMES * layer.tensor.len()).sum();
    let pairs = PAIR_BYTES * sides.saturating_sub(1) as u64;
    let row = ROW_BYTES + SIDE_BYTES * sides as u64 + pairs + 9 * columns as u64;
    row * layers.len() as u64 + (names * sides) as u64
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

    /// Whether nothing is decomposed.
    pub fn only_reads(&self) -> bool {
        self.method.settings.iter().any(|(key, value)| *key == "svd" && value == "none")
    }

    /// What it costs.
    pub fn estimate(&self) -> Estimate {
        let layers: Vec<&Layer> = self.layers().iter().map(AsRef::as_ref).collect();
        let jobs = layers.iter().map(|layer| self.cost(layer)).collect();
        let bytes = layers.iter().map(|layer| layer.bytes()).sum();
        let justified = layers.iter().map(|layer| self.justified_by(layer)).collect();
        Estimate {
            justified,
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
        let known = |layer: &Layer| solver::seen(memo, &source.place(layer)?);
        let is_new = |layer: &Layer| match self.method.copies {
            Copies::Done => false,
            Copies::Spared => true,
            Copies::Recalled => known(layer).is_none(),
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
            Found::Matrix(Box::new((self.method.measure)(source, layer, memo)?))
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
        let Measured { values, places, flags, identity, spectrum } = measured;
        // Values that do not fit a double cannot be drawn.
        let drawn = spectrum.as_ref().filter(|spectrum| spectrum.fits());
        let directions = layer.rank.unwrap_or(usize::MAX);
        Self {
            values: values.0.into_iter().map(|(_, value)| Some(value)).collect(),
            resolution: spectrum.as_ref().and_then(resolution),
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
