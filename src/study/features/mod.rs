//! `features`: a row a table of data, or a row a matrix of many gradients; a task is a row.

mod tables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tables::{FoundTables, TableRow, gradients, nothing, tables};

use super::matrices::report_of;
use super::{
    Asked, Beside, Complete, Estimate, Found, FoundMatrix, Manifest, MatrixHeaders, OwnColumns, RowHeader,
    Spectra, Step, Study, Waiting,
};
use crate::analysis::features::{
    COSINES, FeatureMetric, Measures, Order, TABLES, Table, Treatment, cosine, mean, next, partner,
};
use crate::checkpoint::Catalogue;
use crate::engine::Job;
use crate::error::{Error, printable};
use crate::layer::{Filter, Layer};
use crate::metric::{FEATURES, Metric, select};
use crate::report::{Column, Format, MissingReason, Skipped, Source, Value};
use crate::solver::{Memo, Needs, Precision};

/// What files hold, and how their tables become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// A row a table.
    Tables,
    /// A row for all tables of one name, a sample a file: numbers are means.
    Means,
    /// The same of gradients, whose files hold them in the shapes of their weights.
    Gradients,
}

impl Rows {
    fn word(self) -> &'static str {
        match self {
            Self::Tables => "tables",
            Self::Means => "means",
            Self::Gradients => "gradients",
        }
    }
}

/// The options.
#[derive(Debug, Clone)]
pub struct FeaturesRequest {
    /// What becomes a row.
    pub rows: Rows,
    /// What is done to a table before it is measured.
    pub treatment: Treatment,
    /// How exact singular values are.
    pub precision: Precision,
    /// The order in which rows are sampled.
    pub order: Order,
    /// What is measured.
    pub asked: Asked,
    /// Whether an output needs whole spectra.
    pub spectra: Spectra,
}

/// A file of tables.
pub struct TableFile {
    /// What rows call it.
    pub name: String,
    /// Its tensors.
    pub source: Arc<Catalogue>,
    /// The file, as messages may call it.
    pub roots: Vec<PathBuf>,
}

/// A study of tables.
pub struct Features {
    request: FeaturesRequest,
    origin: Source,
    files: Vec<TableFile>,
    /// The matrices of each file of gradients, by name.
    by_name: Vec<BTreeMap<String, Arc<Layer>>>,
    rows: Vec<TableRow>,
    measures: Measures,
    cosines: Vec<&'static Column>,
    shown: Vec<&'static Column>,
    skipped: Vec<Skipped>,
    filtered: usize,
    names: Vec<String>,
    roots: Vec<PathBuf>,
}

/// The metrics that rows of this kind may have: a count has no mean, but for the entries that are not finite.
fn has(rows: Rows, metric: &Metric) -> bool {
    rows == Rows::Tables || metric.column.format != Format::Count || metric.column.key == "nonfinite_count"
}

impl FeaturesRequest {
    fn others(&self) -> impl Iterator<Item = &'static FeatureMetric> + use<> {
        let count = if self.rows == Rows::Gradients { 0 } else { TABLES.len() };
        TABLES.iter().take(count)
    }

    fn cosines(&self) -> impl Iterator<Item = &'static Column> + use<> {
        let count = match self.rows {
            Rows::Tables => 0,
            Rows::Means => 1,
            Rows::Gradients => COSINES.len(),
        };
        COSINES.iter().take(count)
    }

    /// Every column, in report order.
    pub fn columns(&self) -> Vec<&'static Column> {
        let spectral = FEATURES.iter().filter(|metric| has(self.rows, metric)).map(|metric| &metric.column);
        spectral.chain(self.others().map(|metric| &metric.column)).chain(self.cosines()).collect()
    }

    /// The tasks over the tables of `files` that `filter` keeps; the report names them as `origin` does.
    ///
    /// # Errors
    /// When there is none.
    pub fn plan(self, files: Vec<TableFile>, origin: Source, filter: &Filter) -> Result<Features, Error> {
        let found = match self.rows {
            Rows::Gradients => gradients(&files, filter)?,
            Rows::Tables | Rows::Means => tables(&files, self.rows, filter)?,
        };
        let FoundTables { rows, skipped, filtered, names, by_name } = found;
        if rows.is_empty() {
            let path = origin.path.as_ref();
            return Err(Error::malformed(path, nothing(&names, (filtered, &skipped), filter)));
        }
        let least = if self.spectra == Spectra::Kept { Needs::Values } else { Needs::Entries };
        let taken = self.asked.of_table(FEATURES, (least, Needs::Values));
        let metrics = select(FEATURES, |metric| {
            has(self.rows, metric) && taken.metrics.iter().any(|taken| taken.column == metric.column)
        });
        let is_shown = |column: &Column| self.asked.own == OwnColumns::Wanted || self.asked.names(column);
        let others: Vec<_> = self.others().filter(|metric| is_shown(&metric.column)).collect();
        let cosines: Vec<&'static Column> = self.cosines().filter(|column| is_shown(column)).collect();
        let shown = taken.shown.iter().filter(|column| metrics.iter().any(|m| m.column == ***column));
        let shown = shown.copied().chain(others.iter().map(|m| &m.column)).chain(cosines.iter().copied());
        Ok(Features {
            shown: shown.collect(),
            measures: Measures {
                treatment: self.treatment,
                precision: self.precision,
                order: self.order,
                spectral: (metrics, taken.needs),
                others,
            },
            cosines,
            roots: files.iter().flat_map(|file| file.roots.clone()).collect(),
            request: self,
            origin,
            files,
            by_name,
            rows,
            skipped,
            filtered,
            names,
        })
    }
}

impl Features {
    /// The columns that its report has in the end.
    pub fn shown(&self) -> &[&'static Column] {
        &self.shown
    }

    /// What it costs.
    pub fn estimate(&self) -> Estimate {
        let layers: Vec<&Layer> = self.rows.iter().map(|row| row.layer.as_ref()).collect();
        let tables = || self.rows.iter().flat_map(|row| &row.tables);
        let bytes = tables().map(|(_, table)| table.layer.bytes()).sum();
        let columns = self.shown.len();
        Estimate::new(&layers, self.costs(), bytes, (self.skipped.len(), columns, 1))
    }

    /// The names of all tables, whatever the filter.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The mean of a cosine over the samples of a row that have the other gradient.
    fn cosines(&self, row: &TableRow, other: impl Fn(&str) -> Option<String>) -> Result<Value, Error> {
        let mut values = vec![];
        let Some(name) = other(&row.layer.name) else {
            return Ok(Value::Missing(MissingReason::NoPartner));
        };
        for (at, table) in &row.tables {
            if let Some(layer) = self.by_name[*at].get(&name) {
                let other = Table { source: Arc::clone(&table.source), layer: Arc::clone(layer) };
                values.push(cosine(table, &other)?);
            }
        }
        Ok(if values.is_empty() { Value::Missing(MissingReason::NoPartner) } else { mean(&values) })
    }

    fn row(&self, row: &TableRow, memo: &dyn Memo) -> Result<FoundMatrix, Error> {
        let measure = |(_, table): &(usize, Table)| {
            Ok(FoundMatrix::new(self.measures.of(table, memo)?, &row.layer, self.request.spectra))
        };
        let mut all = row.tables.iter().map(measure).collect::<Result<Vec<_>, Error>>()?;
        let mut found = all.swap_remove(0);
        let mut values: Vec<Value> = found.values.iter().flatten().collect();
        if !all.is_empty() {
            let of = |i: usize| {
                let others = all.iter().filter_map(|other| other.values.get(i));
                mean(&std::iter::once(values[i]).chain(others).collect::<Vec<_>>())
            };
            values = (0..values.len()).map(of).collect();
            let hashes: Vec<&str> =
                std::iter::once(&found).chain(&all).map(|found| found.blake3.as_str()).collect();
            found.blake3 = blake3::hash(hashes.concat().as_bytes()).to_hex().to_string();
            // The coarsest of their resolutions; no picture is of several.
            let coarse = |found: &FoundMatrix| {
                found.resolution.as_ref().map_or(0.0, |r| r.accuracy_floor / r.spectral_norm)
            };
            if let Some(coarsest) = all.iter().max_by(|a, b| coarse(a).total_cmp(&coarse(b)))
                && coarse(coarsest) > coarse(&found)
            {
                found.resolution.clone_from(&coarsest.resolution);
            }
            (found.sketch, found.outline, found.spectrum, found.varies) = (vec![], vec![], None, false);
        }
        for column in &self.cosines {
            values.push(match column.key {
                "samples" => Value::count(row.tables.len()),
                "partner_cosine" => self.cosines(row, partner)?,
                _ => self.cosines(row, next)?,
            });
        }
        if !self.cosines.is_empty() {
            // What a row says depends on other tables, too: the same bytes alone do not make it the same row.
            let all = format!("{} {values:?}", found.blake3);
            found.blake3 = blake3::hash(all.as_bytes()).to_hex().to_string();
        }
        found.values = values.into_iter().map(Some).collect();
        Ok(found)
    }
}

impl Study for Features {
    fn manifest(&self) -> Manifest {
        let FeaturesRequest { rows, treatment, precision, order, .. } = &self.request;
        let settings = vec![
            ("rows", rows.word().to_owned()),
            ("treatment", treatment.word().to_owned()),
            ("precision", super::spectrum::precision_word(*precision).to_owned()),
            (
                "sample",
                match order {
                    Order::Seeded(seed) => format!("seed {seed}"),
                    Order::Stored => "stored".to_owned(),
                },
            ),
        ];
        let columns = self.measures.spectral.0.iter().map(|metric| &metric.column);
        let columns = columns.chain(self.measures.others.iter().map(|metric| &metric.column));
        let columns = columns.chain(self.cosines.iter().copied()).collect();
        let mut report = report_of("features", self.origin.clone(), settings, columns);
        report.totals.skipped = self.skipped.len() as u64;
        report.totals.filtered = self.filtered as u64;
        report.skipped.clone_from(&self.skipped);
        let mut notes: Vec<String> =
            self.files.iter().flat_map(|file| file.source.notes().to_vec()).collect();
        notes.dedup();
        report.notes = notes.iter().map(|note| printable(note)).collect();
        let parameters = |row: &TableRow| row.tables.iter().map(|(_, table)| table.layer.len() as u64).sum();
        let headers = MatrixHeaders {
            tensors: vec![],
            parameters: self.rows.iter().map(parameters).collect(),
            beside: Beside::Nothing,
        };
        let rows = self.rows.iter().map(|row| RowHeader::new(&row.layer, None)).collect();
        Manifest { report, rows, roots: self.roots.clone(), complete: Complete::Matrices(headers) }
    }

    fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    fn costs(&self) -> Vec<Job> {
        let cost = |row: &TableRow| {
            let costs = row.tables.iter().map(|(_, table)| self.measures.cost(&table.layer));
            costs.fold(Job { flops: 0.0, bytes: 0 }, |all, cost| Job {
                flops: all.flops + cost.flops,
                bytes: all.bytes.max(cost.bytes),
            })
        };
        self.rows.iter().map(cost).collect()
    }

    fn report_bytes(&self) -> u64 {
        self.estimate().report
    }

    fn copies(&self, waiting: &[Waiting], _: &dyn Memo) -> Vec<Option<usize>> {
        vec![None; waiting.len()]
    }

    fn run(&self, task: usize, _: Option<Found>, memo: &dyn Memo) -> Result<Step, Error> {
        Ok(Step::Done(Found::Matrix(Box::new(self.row(&self.rows[task], memo)?))))
    }
}
