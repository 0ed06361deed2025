//! The tables of the page: all matrices, module types, skipped tensors, and the meaning of the columns.

use maud::{Markup, html};

use crate::notation;
use crate::report::{Column, Report, Source, Value};

use super::super::cell::{cell, number};
use super::module_grid::Spread;
use super::views::Model;

/// The rows `listed`: every column, of which `shown` are seen at first.
pub(super) fn matrices(model: Model<'_>, listed: &[usize], shown: &[&Column]) -> Markup {
    let rest =
        model.report.columns.iter().copied().filter(|column| !shown.iter().any(|s| s.key == column.key));
    let columns: Vec<(&Column, bool)> =
        shown.iter().map(|column| (*column, true)).chain(rest.map(|column| (column, false))).collect();
    html! {
        div.wide.tall { table.matrices {
            thead { tr {
                th { "matrix" } th { "shape" } th { "dtype" }
                @for (column, seen) in &columns { th.n.more[!seen] title=(column.doc) { (column.label) } }
            } }
            tbody { @for i in listed { (matrix(model, *i, &columns)) } }
        } }
    }
}

fn matrix(model: Model<'_>, i: usize, columns: &[(&Column, bool)]) -> Markup {
    let row = &model.rows[i];
    let news =
        |column: &Column| model.marks.is_evidence(i, column.key) || model.marks.is_broken(i, column.key);
    let is_broken = !model.marks.broken(i).is_empty();
    let is_news = is_broken || !model.marks.of(i).is_empty();
    html! {
        tr.broken[is_broken] data-row=(i) data-kind=(model.kinds.of[i]) data-news[is_news] {
            th { (model.link(i)) }
            td { (row.shape[0]) " × " (row.shape[1]) } td { (row.storage()) }
            @if let Some(failure) = &row.failed {
                td.bad colspan=(columns.len()) { (failure) }
            } @else {
                @for (column, seen) in columns {
                    // Most cells are plain: without a class they keep the page small.
                    @match (seen, news(column)) {
                        (true, false) => td { (cell(row, column)) },
                        (seen, news) => td.more[!seen].news[news] { (cell(row, column)) },
                    }
                }
            }
        }
    }
}

/// The least, the middle and the greatest of each column shown, a line a module type.
pub(super) fn kinds(model: Model<'_>, shown: &[&Column]) -> Markup {
    let spread = |rows: &[usize], column: &Column| {
        let number = |row: &usize| model.rows[*row].values.get(column.key).and_then(Value::number);
        Spread::of(rows.iter().filter_map(number).collect())
    };
    html! {
        div.wide { table.kinds {
            thead { tr { th { "module type" } th.n { "matrices" } @for column in shown { th.n title=(column.doc) { (column.label) } } } }
            tbody { @for (name, rows) in model.kinds.names.iter().zip(model.kinds.members()) {
                tr {
                    th { (name) } td.n { (notation::count(rows.len() as u64)) }
                    @for column in shown { td.n { @match spread(&rows, column) {
                        None => "–",
                        Some(Spread { least, median, greatest }) => {
                            b { (number(median, column.format)) }
                            @if least < greatest { small { (number(least, column.format)) " – " (number(greatest, column.format)) } }
                        }
                    } } }
                }
            } }
        } }
    }
}

/// Skipped tensors, with the reason.
pub(super) fn skipped(report: &Report) -> Markup {
    html! {
        div.wide { table {
            thead { tr { th { "tensor" } th { "shape" } th { "dtype" } th { "reason" } } }
            tbody { @for skipped in &report.skipped {
                tr { th { (skipped.tensor) } td { (format!("{:?}", skipped.shape)) } td { (skipped.dtype) } td { (skipped.reason) } }
            } }
        } }
    }
}

/// Formula, range and source of every column.
pub(super) fn columns(report: &Report) -> Markup {
    html! {
        div.wide { table {
            thead { tr { th { "column" } th { "key" } th { "what it is" } th { "range" } th { "source" } } }
            tbody { @for column in &report.columns {
                tr { th { (column.label) } td { code { (column.key) } } td.text { (column.doc.replace('`', "")) } td.text { (column.range) } td.text { (column.source) } }
            } }
        } }
    }
}

/// The source of the numbers, and the settings.
pub(super) fn origin(report: &Report) -> Markup {
    html! {
        dl {
            div { dt { "svdkit" } dd { (report.svdkit) } }
            div { dt { "command" } dd { (report.command) } }
            @for (key, value) in &report.settings { div { dt { (key) } dd { (value) } } }
        }
        (source("model", &report.model))
        @if let Some(base) = &report.base { (source("base", base)) }
    }
}

fn source(word: &str, source: &Source) -> Markup {
    html! {
        div.wide { table {
            thead { tr { th { (word) ": " code { (source.path) } " · " (source.format) @if let Some(commit) = &source.commit { " · commit " (commit) } } th.n { "size" } } }
            tbody { @for file in &source.files { tr { th { (file.name) } td.n { (notation::bytes(file.bytes)) } } } }
        } }
    }
}
