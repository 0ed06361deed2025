//! A report as one flat table, a line a matrix and one a skipped tensor: what CSV and Parquet hold alike.

use std::borrow::Cow;

use crate::report::{Column, Format, Report, Row, Value};

/// What the cells of a column are, where they are not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Count,
    Real,
}

/// One cell. What is missing is empty; the last column has its reason.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell<'a> {
    Empty,
    Text(Cow<'a, str>),
    Count(u64),
    Real(f64),
}

/// What stands before the metrics.
const FIXED: [(&str, Kind); 10] = [
    ("name", Kind::Text),
    ("tensor", Kind::Text),
    ("block", Kind::Count),
    ("role", Kind::Text),
    ("rows", Kind::Count),
    ("cols", Kind::Count),
    ("dtype", Kind::Text),
    ("status", Kind::Text),
    ("reason", Kind::Text),
    ("tied_to", Kind::Text),
];

/// What stands after them: key and code of each value that could not be measured.
const MISSING: (&str, Kind) = ("missing", Kind::Text);

/// The columns by name.
pub(super) fn columns(report: &Report) -> impl Iterator<Item = (&'static str, Kind)> {
    let metrics = report.columns.iter().map(|column| match column.format {
        Format::Count => (column.key, Kind::Count),
        Format::Real | Format::Share | Format::Change => (column.key, Kind::Real),
    });
    FIXED.into_iter().chain(metrics).chain([MISSING])
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
        fixed.into_iter().chain(values).chain([missing(row)]).collect()
    });
    let skipped = report.skipped.iter().map(|skipped| {
        let mut line = vec![Cell::Empty; FIXED.len() + report.columns.len() + 1];
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
    let code = |(column, value): &(&Column, Value)| match value {
        Value::Missing(why) => Some(format!("{}={}", column.key, why.code())),
        Value::Count(_) | Value::Real(_) => None,
    };
    let codes: Vec<String> = row.values.0.iter().filter_map(code).collect();
    if codes.is_empty() { Cell::Empty } else { Cell::Text(codes.join(";").into()) }
}

fn text(text: &str) -> Cell<'_> {
    Cell::Text(Cow::Borrowed(text))
}
