//! Two models whose interchangeable units are held against each other, and reports on groups of these.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::each::{counted, left_out};
use super::matrices::report_of;
use super::unmatched;
use crate::analysis::units::{Lacking, Models, UnitGroup, UnitKind, UnitTensor, Units, Which};
use crate::checkpoint::{Catalogue, Holds};
use crate::error::{Error, printable};
use crate::format::Config;
use crate::layer::{Filter, Selection};
use crate::report::{Column, Group, Report, Row, SkipKind, Skipped, Source, Totals};
use crate::store::Location;

/// A checkpoint with its configuration, fused tensors as they are stored.
pub struct ModelOpened {
    pub(super) source: Arc<Catalogue>,
    pub(super) config: Config,
    pub(super) origin: Source,
}

impl ModelOpened {
    /// The model of `source`, a checkpoint at `location`.
    ///
    /// # Errors
    /// When it is an adapter, or the `config.json` beside it cannot be read.
    pub fn new(location: &Location, source: Arc<Catalogue>, origin: Source) -> Result<Self, Error> {
        if source.holds() != Holds::Weights {
            let reason = "is an adapter; `svdkit adapter merge ADAPTER --base BASE --out DIR` makes a checkpoint of it";
            return Err(Error::malformed(Path::new(&origin.path), reason));
        }
        let source = source.fused().cloned().unwrap_or(source);
        Ok(Self { source, config: Config::beside(location)?, origin })
    }

    /// Where it is, as it was typed.
    pub(super) fn path(&self) -> &Path {
        Path::new(&self.origin.path)
    }
}

/// The units of two models.
pub(super) struct UnitPair {
    pub(super) models: [ModelOpened; 2],
    pub(super) units: Units,
    /// The tensors of both, in the order of the units'.
    pub(super) tensors: [Vec<UnitTensor>; 2],
    /// Groups that a filter leaves out.
    pub(super) filtered: usize,
    /// Groups that one model lacks, and what holds no units.
    skipped: Vec<Skipped>,
}

impl UnitPair {
    /// The units of the first model that the second has, too; those of groups that `filter` keeps.
    ///
    /// # Errors
    /// When there are none, or the second model lacks a tensor of the residual stream.
    pub(super) fn new(models: [ModelOpened; 2], which: Which, filter: &Filter) -> Result<Self, Error> {
        let [base, tuned] = &models;
        let mut units = Units::of(base.path(), &base.source, &base.config, which)?;
        let names: Vec<String> = units.groups.iter().map(|group| group.name.clone()).collect();
        let mut skipped = without_units(base, &units, which);
        units.keep(|group| filter.keeps(&group.name));
        if units.groups.is_empty() {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let hint = unmatched::hint(filter, &names);
            let all = names.len();
            let reason = format!("`--include` and `--exclude` leave none of {all} groups of units{hint}");
            return Err(Error::malformed(base.path(), reason));
        }
        let filtered = names.len() - units.groups.len();
        let others = units.of_other(&tuned.source);
        skipped.extend(only_there(tuned, &others, which, filter));
        if units.embedding.is_some_and(|at| others[at].is_err()) {
            units.embedding = None;
            units.notes.push("the models have no embedding in common".to_owned());
        }
        let lacking =
            |group: &UnitGroup| group.tensors().find_map(|at| Some((at, *others[at].as_ref().err()?)));
        let whole = units.groups.iter().filter(|group| lacking(group).is_none()).count();
        for group in &units.groups {
            let Some((at, lacking)) = lacking(group) else { continue };
            let layer = &units.tensors[at].layer;
            // Nothing is left of a stream that is not whole.
            if group.kind == UnitKind::Residual || whole == 0 {
                let reason = match lacking {
                    Lacking::Absent => {
                        "is not here: the units of both models must lie in the same tensors".to_owned()
                    }
                    Lacking::Reshaped(rows, cols) => format!(
                        "is {rows} × {cols} here and {} × {} in the other model",
                        layer.rows, layer.cols
                    ),
                };
                return Err(Error::tensor(tuned.path(), &layer.tensor, reason));
            }
            let reason = match lacking {
                Lacking::Absent => format!("`{}` is not in the second model", layer.tensor),
                Lacking::Reshaped(rows, cols) => {
                    format!("`{}` is {rows} × {cols} in the second model", layer.tensor)
                }
            };
            skipped.extend(lines(&units, group, &printable(&reason)));
        }
        let kept = units.keep(|group| !group.tensors().any(|at| others[at].is_err()));
        let mut others: Vec<Option<UnitTensor>> = others.into_iter().map(Result::ok).collect();
        let others: Vec<UnitTensor> = kept.iter().filter_map(|at| others[*at].take()).collect();
        Ok(Self { tensors: [units.tensors.clone(), others], units, models, filtered, skipped })
    }

    /// For the analysis.
    pub(super) fn models(&self) -> Models<'_> {
        let [base, tuned] = &self.models;
        Models {
            sources: [base.source.as_ref(), tuned.source.as_ref()],
            tensors: [&self.tensors[0], &self.tensors[1]],
            paths: [base.path(), tuned.path()],
        }
    }

    /// The report on both.
    pub(super) fn report(
        &self,
        command: &'static str,
        settings: Vec<(&'static str, String)>,
        columns: Vec<&'static Column>,
        (rows, groups): (Vec<Row>, Vec<Group>),
    ) -> Report {
        let mut notes: Vec<String> = vec![];
        for note in self.models.iter().flat_map(|model| model.source.notes()).chain(&self.units.notes) {
            let note = printable(note);
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        let [base, tuned] = &self.models;
        let measured = rows.iter().filter(|row| row.failed.is_none());
        let report = Report {
            base: Some(base.origin.clone()),
            totals: Totals {
                filtered: self.filtered as u64,
                parameters: measured.map(|row| row.shape[0].saturating_mul(row.shape[1])).sum(),
                ..Totals::default()
            },
            rows,
            groups,
            notes,
            ..report_of(command, tuned.origin.clone(), settings, columns)
        };
        counted(report, self.skipped.clone())
    }

    /// Where the files lie, for messages.
    pub(super) fn roots(&self) -> [PathBuf; 2] {
        self.models.each_ref().map(|model| model.path().to_owned())
    }
}

/// The name of a group as reports have it.
pub(super) fn printed(group: &UnitGroup) -> String {
    printable(&group.name)
}

/// The matrices of a group that is left out.
fn lines(units: &Units, group: &UnitGroup, reason: &str) -> Vec<Skipped> {
    let tensors: BTreeSet<usize> = group.tensors().collect();
    let tensors = tensors.into_iter().map(|at| &units.tensors[at]).filter(|tensor| !tensor.is_vector);
    tensors.map(|tensor| left_out(&tensor.layer, SkipKind::Refused, reason)).collect()
}

/// What is of no group.
fn without_units(model: &ModelOpened, units: &Units, which: Which) -> Vec<Skipped> {
    let used: BTreeSet<usize> = units.groups.iter().flat_map(UnitGroup::tensors).collect();
    let used: BTreeSet<&str> = used.iter().map(|at| units.tensors[*at].layer.tensor.as_str()).collect();
    let reason = if which == Which::Neurons { "not of a gated or plain MLP" } else { "holds no units" };
    let Selection { layers, skipped, .. } = model.source.select(&Filter::default());
    let matrices = layers.iter().map(|layer| left_out(layer, SkipKind::Plain, reason));
    matrices
        .chain(skipped.into_iter().map(Arc::unwrap_or_clone))
        .filter(|line| !used.contains(line.tensor.as_str()))
        .collect()
}

/// Groups of the second model of which the first has no tensor; `others` are the first model's tensors there.
fn only_there(
    tuned: &ModelOpened,
    others: &[Result<UnitTensor, Lacking>],
    which: Which,
    filter: &Filter,
) -> Vec<Skipped> {
    let Ok(units) = Units::of(tuned.path(), &tuned.source, &tuned.config, which) else { return vec![] };
    let known: BTreeSet<&str> = others.iter().flatten().map(|tensor| tensor.layer.tensor.as_str()).collect();
    let is_new = |group: &&UnitGroup| {
        filter.keeps(&group.name)
            && !group.tensors().any(|at| known.contains(units.tensors[at].layer.tensor.as_str()))
    };
    let groups = units.groups.iter().filter(is_new);
    groups.flat_map(|group| lines(&units, group, "only in the second model")).collect()
}
