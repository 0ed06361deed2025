//! A report as one flat table, one line for each matrix (of a series for each step of it) and skipped tensor, shared by CSV
//! and Parquet.

use std::borrow::Cow;

use crate::layer::bare;
use crate::report::{Aspect, Column, Format, Report, Row, Step, Value};

/// The type of a column's cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellType {
    Text,
    Count,
    Real,
}

/// One cell. A missing value is empty; the last column has its reason.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell<'a> {
    Empty,
    Text(Cow<'a, str>),
    Count(u64),
    Real(f64),
}

/// The columns before the metrics.
const FIXED: [(&str, CellType); 10] = [
    ("name", CellType::Text),
    ("tensor", CellType::Text),
    ("block", CellType::Count),
    ("role", CellType::Text),
    ("rows", CellType::Count),
    ("cols", CellType::Count),
    ("dtype", CellType::Text),
    ("status", CellType::Text),
    ("reason", CellType::Text),
    ("tied_to", CellType::Text),
];

/// The last column: key and code of each missing value.
const MISSING: (&str, CellType) = ("missing", CellType::Text);

/// Text columns of another tool's tables, if its names were asked for.
const LABELS: [(&str, CellType); 4] = [
    ("longname", CellType::Text),
    ("layer_type", CellType::Text),
    ("has_esd", CellType::Text),
    ("warning", CellType::Text),
];

/// The step, in a series.
const STEP: (&str, CellType) = ("step", CellType::Count);

/// The columns before the metrics of this report.
fn before(report: &Report) -> impl Iterator<Item = (&'static str, CellType)> {
    let labelled = report.rows.iter().any(|row| row.labels.is_some());
    let step = (!report.steps.is_empty()).then_some(STEP);
    FIXED.into_iter().chain(LABELS.into_iter().filter(move |_| labelled)).chain(step)
}

/// The metrics: in a series those that have a number at each step.
fn metrics(report: &Report) -> impl Iterator<Item = &'static Column> {
    let is_one =
        |column: &&&'static Column| report.steps.is_empty() || column.means().aspect == Aspect::Value;
    report.columns.iter().filter(is_one).copied()
}

/// The columns by name.
pub(super) fn columns(report: &Report) -> impl Iterator<Item = (&'static str, CellType)> {
    let metrics = metrics(report).map(|column| match column.format {
        Format::Count => (column.key, CellType::Count),
        Format::Real | Format::Share | Format::Change => (column.key, CellType::Real),
    });
    before(report).chain(metrics).chain([MISSING])
}

/// The lines, each with a cell for every column.
pub(super) fn lines(report: &Report) -> impl Iterator<Item = Vec<Cell<'_>>> {
    let rows = report.rows.iter().flat_map(move |row| {
        let each = if report.steps.is_empty() { 1 } else { report.steps.len() };
        (0..each).map(move |at| line(report, row, at))
    });
    let skipped = report.skipped.iter().map(|skipped| {
        let mut line = vec![Cell::Empty; before(report).count() + metrics(report).count() + 1];
        line[0] = text(bare(&skipped.tensor));
        line[1] = text(&skipped.tensor);
        line[6] = text(&skipped.dtype);
        line[7] = text("skipped");
        line[8] = text(&skipped.reason);
        line
    });
    rows.chain(skipped)
}

/// The line of a row; in a series that of the step at a position.
fn line<'r>(report: &'r Report, row: &'r Row, at: usize) -> Vec<Cell<'r>> {
    let step = report.steps.get(at);
    let of_step =
        |column: &Column| row.course.as_ref()?.values.get(at)?.get(row.course.as_ref()?.place(column.key)?);
    let value = |column: &Column| if step.is_some() { of_step(column) } else { row.values.get(column.key) };
    let status = match step {
        Some(Step { failed: Some(_), .. }) => "failed",
        Some(_) => "measured",
        None => row.status(),
    };
    let failed = step.map_or(row.failed.as_deref(), |step| step.failed.as_deref());
    let [rows, cols] = row.shape;
    let fixed = [
        text(&row.name),
        text(&row.tensor),
        row.block.map_or(Cell::Empty, Cell::Count),
        text(&row.role),
        Cell::Count(rows),
        Cell::Count(cols),
        text(&row.dtype),
        text(status),
        failed.map_or(Cell::Empty, text),
        row.tied_to.as_deref().map_or(Cell::Empty, text),
    ];
    let values: Vec<(&Column, Option<Value>)> =
        metrics(report).map(|column| (column, value(column))).collect();
    let missing = missing(&values);
    let cells = values.into_iter().map(|(_, value)| match value {
        Some(Value::Count(n)) => Cell::Count(n),
        Some(Value::Real(x)) => Cell::Real(x),
        Some(Value::Missing(_)) | None => Cell::Empty,
    });
    let labels = row.labels.iter().flat_map(|labels| {
        let has_esd = if labels.has_esd { "true" } else { "false" };
        [text(&labels.longname), text(&labels.layer_type), text(has_esd), text(&labels.warning)]
    });
    let number = step.map(|step| Cell::Count(step.step));
    fixed.into_iter().chain(labels).chain(number).chain(cells).chain([missing]).collect()
}

/// `alpha=too_few_values;alpha_sigma=too_few_values`.
fn missing<'r>(values: &[(&Column, Option<Value>)]) -> Cell<'r> {
    let code = |(column, value): &(&Column, Option<Value>)| match value {
        Some(Value::Missing(why)) => Some(format!("{}={}", column.key, why.code())),
        Some(Value::Count(_) | Value::Real(_)) | None => None,
    };
    let codes: Vec<String> = values.iter().filter_map(code).collect();
    if codes.is_empty() { Cell::Empty } else { Cell::Text(codes.join(";").into()) }
}

fn text(text: &str) -> Cell<'_> {
    Cell::Text(Cow::Borrowed(text))
}
