//! Two models whose interchangeable units are held against each other, and reports on groups of these.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::matrices::report_of;
use super::unmatched;
use crate::analysis::units::{Models, UnitGroup, UnitTensor, Units, Which};
use crate::checkpoint::{Catalogue, Holds};
use crate::error::{Error, printable};
use crate::format::Config;
use crate::layer::Filter;
use crate::report::{Column, Group, Report, Row, Source, Totals};
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
}

impl UnitPair {
    /// The units of the first model, and where the second has them; those of groups that `filter` keeps.
    ///
    /// # Errors
    /// When there are none, or the second model lacks one.
    pub(super) fn new(models: [ModelOpened; 2], which: Which, filter: &Filter) -> Result<Self, Error> {
        let [base, tuned] = &models;
        let mut units = Units::of(base.path(), &base.source, &base.config, which)?;
        let names: Vec<String> = units.groups.iter().map(|group| group.name.clone()).collect();
        units.groups.retain(|group| filter.keeps(&group.name));
        if units.groups.is_empty() {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let hint = unmatched::hint(filter, &names);
            let all = names.len();
            let reason = format!("`--include` and `--exclude` leave none of {all} groups of units{hint}");
            return Err(Error::malformed(base.path(), reason));
        }
        let others = units.of_other(tuned.path(), &tuned.source)?;
        let filtered = names.len() - units.groups.len();
        Ok(Self { tensors: [units.tensors.clone(), others], units, models, filtered })
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
        Report {
            base: Some(base.origin.clone()),
            totals: Totals {
                measured: rows.len() as u64,
                filtered: self.filtered as u64,
                parameters: rows.iter().map(|row| row.shape[0].saturating_mul(row.shape[1])).sum(),
                ..Totals::default()
            },
            rows,
            groups,
            notes,
            ..report_of(command, tuned.origin.clone(), settings, columns)
        }
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
