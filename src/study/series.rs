//! `series`: the checkpoints of a run in order, from their reports to one.
//!
//! Each step is measured by itself, by `spectrum` or by `compare`, and its report is handed over. Between steps nothing is
//! kept but numbers and digests. Steps may come in any order and at any time, and one may come again: the result is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::analysis::series;
use crate::checkpoint::step_in_name;
use crate::error::{Error, printable};
use crate::layer::natural;
use crate::report::{
    Column, Course, MissingReason, Numbers, Report, Row, RowValues, SkipKind, Skipped, Standing, Step, Value,
};
use crate::text::Text;

/// The steps of a run that have been measured so far.
#[derive(Debug, Default)]
pub struct Series {
    /// By their numbers.
    steps: BTreeMap<u64, SeenStep>,
    /// The last step by number, with the report on it.
    last: Option<(u64, Report)>,
    /// Matrices that the last step lacks, as the latest step that has them had them.
    gone: BTreeMap<Text, (u64, Row)>,
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
    /// Tensors that may be weights and were not read.
    refused: Vec<Skipped>,
    /// Other tensors that are not finite.
    not_finite: Vec<Text>,
}

/// What is kept of a row.
#[derive(Debug)]
struct SeenRow {
    shape: [u64; 2],
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
    /// Takes the report on a step, of `spectrum` or of `compare` with one tuned side, in the place of what was known of it.
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
        let refused = report.skipped.iter().filter(|skipped| skipped.kind == SkipKind::Refused);
        let is_broken = |skipped: &&Skipped| {
            skipped.content.as_ref().is_some_and(|content| content.nonfinite_count > Some(0))
        };
        let broken = report.skipped.iter().filter(is_broken).map(|skipped| skipped.tensor.clone());
        let found = FoundStep {
            digest: digest(&rows, &report),
            refused: refused.cloned().collect(),
            not_finite: broken.filter(|name| !name.to_ascii_lowercase().contains("mask")).collect(),
            rows,
            metrics,
        };
        self.steps.insert(step, SeenStep { step, path: path.to_owned(), found: Ok(found) });
        let is_last = self.last.as_ref().is_none_or(|(known, _)| *known <= step);
        let earlier = if is_last { self.last.replace((step, report)) } else { Some((step, report)) };
        let Some((_, last)) = &self.last else { return };
        let here: BTreeSet<&str> = last.rows.iter().map(|row| row.name.as_str()).collect();
        self.gone.retain(|name, _| !here.contains(name.as_str()));
        let Some((step, earlier)) = earlier else { return };
        for row in earlier.rows.into_iter().filter(|row| !here.contains(row.name.as_str())) {
            if self.gone.get(&row.name).is_none_or(|(known, _)| *known <= step) {
                self.gone.insert(row.name.clone(), (step, row));
            }
        }
    }

    /// Takes note of a step of which nothing could be measured, and why.
    pub fn skip(&mut self, step: u64, path: &str, why: &str) {
        self.steps.insert(step, SeenStep { step, path: path.to_owned(), found: Err(printable(why)) });
    }

    /// Forgets the steps of which nothing could be measured.
    pub fn forget_skipped(&mut self) {
        self.steps.retain(|_, step| step.found.is_ok());
    }

    /// How many steps were measured.
    pub fn measured(&self) -> usize {
        self.steps.values().filter(|step| step.found.is_ok()).count()
    }

    /// The last step that was measured, by its number.
    pub fn last(&self) -> Option<u64> {
        self.last.as_ref().map(|(step, _)| *step)
    }

    /// Tensors that may be weights and were not read at a step before the last, each with that step.
    pub fn refused_before(&self) -> impl Iterator<Item = (u64, &Skipped)> {
        let before = self.steps.values().filter(|step| Some(step.step) != self.last());
        let found = before.filter_map(|step| Some((step.step, step.found.as_ref().ok()?)));
        found.flat_map(|(step, found)| found.refused.iter().map(move |skipped| (step, skipped)))
    }

    /// The report on all of them.
    ///
    /// # Errors
    /// When none was measured; it says why the first was not.
    pub fn finish(&self, order: StepOrder) -> Result<Report, Error> {
        let steps: Vec<&SeenStep> = self.steps.values().collect();
        let Some((_, last)) = &self.last else {
            let why = steps.iter().find_map(|step| step.found.as_ref().err());
            let why = why.map_or("there is no checkpoint", String::as_str);
            return Err(Error::Usage(format!("no step could be measured; the first: {why}")));
        };
        let mut report = last.clone();
        let metrics = series::metrics(&report.columns);
        report.command = "series".into();
        report.settings.push(("order".into(), order.word().to_owned()));
        report.steps = told(&steps);
        report.totals.compared = None;
        report.totals.failed += earlier_failures(&steps, &mut report.notes);
        report.notes.extend(notes(&steps, order));
        report.columns = series::columns(&metrics);
        let is_there = |name: &Text| {
            steps.iter().any(|step| step.found.as_ref().is_ok_and(|found| found.rows.contains_key(name)))
        };
        let gone = self.gone.iter().filter(|(name, _)| is_there(name)).map(|(_, (_, row))| row.clone());
        report.rows.extend(gone.map(|row| Row { sketch: vec![], outline: vec![], ..row }));
        report.rows.sort_by(|a, b| natural(&a.name, &b.name));
        let numbers: Arc<[f64]> = steps.iter().map(|step| step.step as f64).collect();
        let columns: Arc<[&'static Column]> = report.columns.as_slice().into();
        // A step that could not be measured at all, such as the newest while it is written, is not the last one.
        let measured = steps.iter().rposition(|step| step.found.is_ok()).map_or(0, |last| last + 1);
        for row in &mut report.rows {
            let course = course(&steps, &row.name, (&metrics, &numbers));
            let values = metrics.iter().flat_map(|column| {
                let values = course.of(column.key).unwrap_or_default();
                series::summary(&numbers, &values[..measured.min(values.len())]).map(Some)
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
        Self { shape: row.shape, numbers, digest, failed: row.failed.clone() }
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
fn told(steps: &[&SeenStep]) -> Vec<Step> {
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
fn earlier_failures(steps: &[&SeenStep], notes: &mut Vec<String>) -> u64 {
    let measured = measured(steps);
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

/// The steps that were measured.
fn measured<'s>(steps: &[&'s SeenStep]) -> Vec<(&'s SeenStep, &'s FoundStep)> {
    steps.iter().filter_map(|step| Some((*step, step.found.as_ref().ok()?))).collect()
}

/// What a reader of the numbers has to know of the steps: matrices of other shapes, tensors that were not read or are not
/// finite, names that say another step.
fn notes(steps: &[&SeenStep], order: StepOrder) -> Vec<String> {
    let all = measured(steps);
    let reshaped = all.windows(2).flat_map(|pair| {
        let [(_, before), (SeenStep { step, .. }, found)] = [pair[0], pair[1]];
        found.rows.iter().filter_map(move |(name, row)| {
            let [rows, cols] = before.rows.get(name)?.shape;
            let [now_rows, now_cols] = row.shape;
            (row.shape != [rows, cols]).then(|| {
                format!("! {name} is {now_rows} × {now_cols} from step {step} on, {rows} × {cols} before")
            })
        })
    });
    // Of the last step the report itself tells.
    let (last, earlier) = all.split_last().map_or((None, &[][..]), |(last, earlier)| (Some(last), earlier));
    let is_known = |skipped: &Skipped| {
        last.is_some_and(|(_, last)| last.refused.iter().any(|known| known.tensor == skipped.tensor))
    };
    let refused = earlier.iter().flat_map(|(step, found)| {
        let refused = found.refused.iter().filter(|skipped| !is_known(skipped));
        refused.map(|skipped| {
            format!("! {} is not read at step {}: {}", skipped.tensor, step.step, skipped.reason)
        })
    });
    let broken = earlier.iter().flat_map(|(step, found)| {
        found
            .not_finite
            .iter()
            .map(|name| format!("! {name} holds NaN or infinite entries at step {}", step.step))
    });
    let misnamed = steps.iter().filter(|_| order == StepOrder::ByNumber).filter_map(
        |SeenStep { step, path, .. }| {
            let name = Path::new(path).file_name()?.to_str()?;
            let named = step_in_name(name).filter(|named| named != step && !name.contains('@'))?;
            Some(format!("! {path} is step {step} by its `trainer_state.json`, {named} by its name"))
        },
    );
    let notes = [first_of(reshaped), first_of(refused), first_of(broken), first_of(misnamed)];
    notes.into_iter().flatten().map(|note| printable(&note)).collect()
}

/// The first of some sentences, and how many more there are.
fn first_of(mut all: impl Iterator<Item = String>) -> Option<String> {
    let first = all.next()?;
    Some(match all.count() {
        0 => first,
        more => format!("{first} (and {more} more)"),
    })
}

/// What the numbers of the row `name` were at each step.
fn course(
    steps: &[&SeenStep],
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
