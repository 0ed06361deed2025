//! `series`: the checkpoints of a run in order, from their reports to one.
//!
//! Each step is measured by itself, by `spectrum` or by `compare`, and its report is handed over. Between steps nothing is
//! kept but numbers and digests. Steps may come in any order and at any time: the result is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::analysis::series;
use crate::error::{Error, printable};
use crate::layer::natural;
use crate::report::{Column, Course, MissingReason, Numbers, Report, Row, RowValues, Standing, Step, Value};
use crate::text::Text;

/// The steps of a run that have been measured so far.
#[derive(Debug, Default)]
pub struct Series {
    steps: Vec<SeenStep>,
    /// The last step by number, with the report on it.
    last: Option<(u64, Report)>,
    /// Matrices that the last step lacks, as an earlier one had them.
    gone: BTreeMap<Text, Row>,
}

/// One step.
#[derive(Debug)]
struct SeenStep {
    step: u64,
    path: String,
    found: Result<FoundStep, String>,
}

/// What is kept of a step that was measured.
#[derive(Debug)]
struct FoundStep {
    metrics: Arc<[&'static Column]>,
    rows: BTreeMap<Text, SeenRow>,
    /// A digest of all its tensors; none where one of them is not known.
    digest: Option<[u8; 32]>,
}

/// What is kept of a row.
#[derive(Debug)]
struct SeenRow {
    numbers: Numbers,
    digest: Option<[u8; 32]>,
    failed: Option<String>,
}

/// What decides the place of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOrder {
    /// Its number.
    ByNumber,
    /// Where it was given.
    AsGiven,
}

impl StepOrder {
    /// The word in settings.
    fn word(self) -> &'static str {
        match self {
            Self::ByNumber => "step",
            Self::AsGiven => "given",
        }
    }
}

impl Series {
    /// Takes the report on a step, of `spectrum` or of `compare` with one tuned side.
    pub fn add(&mut self, step: u64, path: &str, mut report: Report) {
        let metrics = series::metrics(&report.columns);
        let is_matrix = |row: &Row| {
            let standing = row.comparison.as_ref().map(|comparison| comparison.status);
            let is_vector = row.stored_shape.as_ref().is_some_and(|shape| shape.len() < 2);
            standing.is_none() || (standing != Some(Standing::Removed) && !is_vector)
        };
        report.rows.retain(is_matrix);
        let rows: BTreeMap<Text, SeenRow> =
            report.rows.iter().map(|row| (row.name.clone(), SeenRow::of(row, &metrics))).collect();
        let found = FoundStep { digest: digest(&rows, &report), rows, metrics };
        self.steps.push(SeenStep { step, path: path.to_owned(), found: Ok(found) });
        let is_last = self.last.as_ref().is_none_or(|(known, _)| *known <= step);
        let earlier =
            if is_last { self.last.replace((step, report)).map(|(_, old)| old) } else { Some(report) };
        let Some((_, last)) = &self.last else { return };
        let here: BTreeSet<&str> = last.rows.iter().map(|row| row.name.as_str()).collect();
        self.gone.retain(|name, _| !here.contains(name.as_str()));
        for row in earlier.into_iter().flat_map(|report| report.rows) {
            if !here.contains(row.name.as_str()) {
                self.gone.insert(row.name.clone(), row);
            }
        }
    }

    /// Takes note of a step of which nothing could be measured, and why.
    pub fn skip(&mut self, step: u64, path: &str, why: &str) {
        self.steps.push(SeenStep { step, path: path.to_owned(), found: Err(printable(why)) });
    }

    /// How many steps were measured.
    pub fn measured(&self) -> usize {
        self.steps.iter().filter(|step| step.found.is_ok()).count()
    }

    /// The report on all of them.
    ///
    /// # Errors
    /// When none was measured; it says why the first was not.
    pub fn finish(mut self, order: StepOrder) -> Result<Report, Error> {
        self.steps.sort_by_key(|step| step.step);
        let Some((_, mut report)) = self.last else {
            let why = self.steps.into_iter().find_map(|step| step.found.err());
            let why = why.unwrap_or_else(|| "there is no checkpoint".to_owned());
            return Err(Error::Usage(format!("no step could be measured; the first: {why}")));
        };
        let metrics = series::metrics(&report.columns);
        report.command = "series".into();
        report.settings.push(("order".into(), order.word().to_owned()));
        report.steps = told(&self.steps);
        report.totals.compared = None;
        report.totals.failed += earlier_failures(&self.steps, &mut report.notes);
        report.columns = series::columns(&metrics);
        let gone = self.gone.into_values().map(|row| Row { sketch: vec![], outline: vec![], ..row });
        report.rows.extend(gone);
        report.rows.sort_by(|a, b| natural(&a.name, &b.name));
        let steps: Arc<[f64]> = self.steps.iter().map(|step| step.step as f64).collect();
        let columns: Arc<[&'static Column]> = report.columns.as_slice().into();
        // A step that could not be measured at all, such as the newest while it is written, is not the last one.
        let measured = self.steps.iter().rposition(|step| step.found.is_ok()).map_or(0, |last| last + 1);
        for row in &mut report.rows {
            let course = course(&self.steps, &row.name, (&metrics, &steps));
            let values = metrics.iter().flat_map(|column| {
                let values = course.of(column.key).unwrap_or_default();
                series::summary(&steps, &values[..measured.min(values.len())]).map(Some)
            });
            row.values = RowValues::new(&columns, values.collect());
            row.resolution.retain(|resolution| !resolution.base);
            row.comparison = None;
            row.course = Some(Box::new(course));
        }
        Ok(report)
    }
}

impl SeenRow {
    fn of(row: &Row, metrics: &[&'static Column]) -> Self {
        let digest = row.blake3.as_ref().map(|hex| *blake3::hash(hex.as_bytes()).as_bytes());
        let value = |column: &&'static Column| row.values.get(column.key);
        let numbers =
            if row.failed.is_some() { Numbers::default() } else { metrics.iter().map(value).collect() };
        Self { numbers, digest, failed: row.failed.clone() }
    }

    /// The values of `metrics`, which were measured as those of `own`.
    fn values(&self, own: &[&'static Column], metrics: &[&'static Column]) -> Numbers {
        if self.failed.is_some() {
            return all(metrics, MissingReason::Failed);
        }
        if own == metrics {
            return self.numbers.clone();
        }
        let value = |column: &&'static Column| {
            let at = own.iter().position(|known| known == column)?;
            self.numbers.get(at)
        };
        metrics.iter().map(value).collect()
    }
}

fn all(metrics: &[&'static Column], why: MissingReason) -> Numbers {
    metrics.iter().map(|_| Some(Value::Missing(why))).collect()
}

/// A digest of all tensors of a step, names and bytes; none where the bytes of one are not known.
fn digest(rows: &BTreeMap<Text, SeenRow>, report: &Report) -> Option<[u8; 32]> {
    let mut hash = blake3::Hasher::new();
    for (name, row) in rows {
        hash.update(name.as_bytes()).update(b"\0").update(&row.digest?);
    }
    // A comparison doesn't read them.
    for skipped in &report.skipped {
        hash.update(skipped.tensor.as_bytes()).update(b"\0");
        hash.update(skipped.content.as_ref().map_or("", |content| &content.blake3).as_bytes());
    }
    (!rows.is_empty()).then(|| *hash.finalize().as_bytes())
}

/// The steps, as the report tells them.
fn told(steps: &[SeenStep]) -> Vec<Step> {
    let mut first: BTreeMap<[u8; 32], u64> = BTreeMap::new();
    let mut before: Option<&FoundStep> = None;
    let mut told = vec![];
    for SeenStep { step, path, found } in steps {
        let mut all = Step { step: *step, path: path.clone(), ..Step::default() };
        match found {
            Err(why) => all.failed = Some(why.clone()),
            Ok(found) => {
                let known = found.digest.map(|digest| *first.entry(digest).or_insert(*step));
                all.repeats = known.filter(|known| known != step);
                all.changed = before.map(|before| {
                    let is_changed = |(name, row): &(&Text, &SeenRow)| !is_same(before.rows.get(*name), row);
                    found.rows.iter().filter(is_changed).count() as u64
                });
                before = Some(found);
            }
        }
        told.push(all);
    }
    told
}

/// Whether the bytes of a row are known to be those of `before`.
fn is_same(before: Option<&SeenRow>, row: &SeenRow) -> bool {
    row.digest.is_some() && before.is_some_and(|before| before.digest == row.digest)
}

/// How many matrices of earlier steps could not be measured; `notes` say which.
fn earlier_failures(steps: &[SeenStep], notes: &mut Vec<String>) -> u64 {
    let measured: Vec<_> = steps.iter().filter_map(|step| Some((step, step.found.as_ref().ok()?))).collect();
    let mut count = 0;
    // Rows of the last one say so themselves.
    for (step, found) in measured.iter().rev().skip(1).rev() {
        for (name, why) in found.rows.iter().filter_map(|(name, row)| Some((name, row.failed.as_ref()?))) {
            notes.push(printable(&format!("! {name} at step {}: {why}", step.step)));
            count += 1;
        }
    }
    count
}

/// What the numbers of the row `name` were at each step.
fn course(
    steps: &[SeenStep],
    name: &Text,
    (metrics, numbers): (&Arc<[&'static Column]>, &Arc<[f64]>),
) -> Course {
    let (mut values, mut unchanged, mut before) = (vec![], vec![], None);
    for (at, step) in steps.iter().enumerate() {
        let Ok(found) = &step.found else {
            values.push(all(metrics, MissingReason::Failed));
            continue;
        };
        let row = found.rows.get(name);
        values.push(
            row.map_or_else(
                || all(metrics, MissingReason::Absent),
                |row| row.values(&found.metrics, metrics),
            ),
        );
        if row.is_some_and(|row| is_same(before, row)) {
            unchanged.push(at);
        }
        before = row;
    }
    Course { columns: Arc::clone(metrics), steps: Arc::clone(numbers), values, unchanged }
}
