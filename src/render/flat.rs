//! A report as one flat table, one line for each matrix and skipped tensor, shared by CSV and Parquet.

use std::borrow::Cow;

use crate::layer::bare;
use crate::report::{Column, Format, Report, Row, Value};

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

/// The columns before the metrics of this report.
fn before(report: &Report) -> impl Iterator<Item = (&'static str, CellType)> {
    let labelled = report.rows.iter().any(|row| row.labels.is_some());
    FIXED.into_iter().chain(LABELS.into_iter().filter(move |_| labelled))
}

/// The columns by name.
pub(super) fn columns(report: &Report) -> impl Iterator<Item = (&'static str, CellType)> {
    let metrics = report.columns.iter().map(|column| match column.format {
        Format::Count => (column.key, CellType::Count),
        Format::Real | Format::Share | Format::Change => (column.key, CellType::Real),
    });
    before(report).chain(metrics).chain([MISSING])
}

/// The lines, each with a cell for every column.
pub(super) fn lines(report: &Report) -> impl Iterator<Item = Vec<Cell<'_>>> {
    let rows = report.rows.iter().map(|row| {
        let [rows, cols] = row.shape;
        let fixed = [
            text(&row.name),
            text(&row.tensor),
            row.block.map_or(Cell::Empty, Cell::Count),
            text(&row.role),
            Cell::Count(rows),
            Cell::Count(cols),
            text(&row.dtype),
            text(row.status()),
            row.failed.as_deref().map_or(Cell::Empty, text),
            row.tied_to.as_deref().map_or(Cell::Empty, text),
        ];
        let values = report.columns.iter().map(|column| match row.values.get(column.key) {
            Some(Value::Count(n)) => Cell::Count(n),
            Some(Value::Real(x)) => Cell::Real(x),
            Some(Value::Missing(_)) | None => Cell::Empty,
        });
        let labels = row.labels.iter().flat_map(|labels| {
            let has_esd = if labels.has_esd { "true" } else { "false" };
            [text(&labels.longname), text(&labels.layer_type), text(has_esd), text(&labels.warning)]
        });
        fixed.into_iter().chain(labels).chain(values).chain([missing(row)]).collect()
    });
    let skipped = report.skipped.iter().map(|skipped| {
        let mut line = vec![Cell::Empty; before(report).count() + report.columns.len() + 1];
        line[0] = text(bare(&skipped.tensor));
        line[1] = text(&skipped.tensor);
        line[6] = text(&skipped.dtype);
        line[7] = text("skipped");
        line[8] = text(&skipped.reason);
        line
    });
    rows.chain(skipped)
}

/// `alpha=too_few_values;alpha_sigma=too_few_values`.
fn missing(row: &Row) -> Cell<'_> {
    let code = |(column, value): (&Column, Value)| match value {
        Value::Missing(why) => Some(format!("{}={}", column.key, why.code())),
        Value::Count(_) | Value::Real(_) => None,
    };
    let codes: Vec<String> = row.values.iter().filter_map(code).collect();
    if codes.is_empty() { Cell::Empty } else { Cell::Text(codes.join(";").into()) }
}

fn text(text: &str) -> Cell<'_> {
    Cell::Text(Cow::Borrowed(text))
}
