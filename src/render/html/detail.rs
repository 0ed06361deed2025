//! One matrix: its findings, all its numbers, and the plots of its spectrum.

use maud::{Markup, html};

use crate::notation;
use crate::report::{Row, Value};

use super::super::cell::{cell, number};
use super::axis::{Axis, extremes};
use super::cosines;
use super::frame::Path;
use super::spectra;
use super::standout::{FARTHEST, Finding};
use super::views::Model;

/// The section of row `i`, folded until it is wanted.
pub(super) fn section(model: Model<'_>, i: usize) -> Markup {
    let row = &model.report.rows[i];
    let values = spectra::values(&row.outline);
    let news = model.standing.of(i);
    html! {
        details.matrix data-row=(i) {
            summary {
                code { (row.name) } " "
                small { (row.shape[0]) " × " (row.shape[1]) " · " (row.storage()) }
                @if row.failed.is_some() { " " em.bad { "failed" } }
                @for finding in news.iter().take(2) { " " em.news { (finding.column.label) " " (cell(row, finding.column)) } }
            }
            div id={"m" (i)} {
                (remarks(row))
                @if !news.is_empty() { (findings(model, news)) }
                @if let Some(pictures) = spectra::pictures(row, &values) { (pictures) }
                (cosines::pictures(model.report, row))
                (numbers(model, row))
                @if !values.is_empty() { (singular_values(&values)) }
            }
        }
    }
}

fn findings(model: Model<'_>, findings: &[Finding]) -> Markup {
    html! {
        div.wide { table.findings {
            thead { tr { (headings()) } }
            tbody { @for finding in findings { tr { (line(model, finding)) } } }
        } }
    }
}

fn headings() -> Markup {
    html! { th { "column" } th.n { "value" } th.n { "peers' median" } th.n { "spreads away" } th { "among its peers" } }
}

/// The cells of one finding: the number, its peers' median, the deviation, and its position.
fn line(model: Model<'_>, finding: &Finding) -> Markup {
    let row = &model.report.rows[finding.row];
    html! {
        td title=(finding.column.doc) { (finding.column.label) }
        td.n { (cell(row, finding.column)) }
        td.n { (number(finding.median, finding.column.format)) }
        td.n { (distance(finding.distance)) }
        td { (strip(model, finding)) }
    }
}

/// In spreads: `−12`, `> 99`.
fn distance(x: f64) -> String {
    let sign = if x < 0.0 { "−" } else { "+" };
    if x.abs() >= FARTHEST { format!("> {sign}{FARTHEST}") } else { format!("{sign}{:.1}", x.abs()) }
}

/// All peers as ticks on a line, and the one in question as a dot.
fn strip(model: Model<'_>, finding: &Finding) -> Markup {
    let peers = &model.standing.peers[finding.group];
    let value = |row: &usize| model.report.rows[*row].values.get(finding.column.key).and_then(Value::number);
    let values: Vec<f64> = peers.iter().filter_map(value).collect();
    let (low, high) = extremes(&values);
    let scale = Axis::fitting(&values, (6.0, 194.0)).scale;
    let axis = Axis::new(scale, (low, high), (6.0, 194.0));
    let mut ticks = Path::default();
    let mut places: Vec<i64> = values.iter().map(|x| (axis.at(*x) * 2.0).round() as i64).collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        ticks.line((place as f64 / 2.0, 3.0), (place as f64 / 2.0, 13.0));
    }
    html! {
        svg.strip viewBox="0 0 200 16" role="img" aria-label="where it stands among its peers" {
            path.ticks d=(ticks.text()) {}
            circle cx=(super::frame::round(axis.at(finding.value))) cy="8" r="5" {}
        }
    }
}

/// Cautions in words.
fn remarks(row: &Row) -> Markup {
    html! {
        @if let Some(failure) = &row.failed { p.bad { "Could not be measured: " (failure) } }
        @if let Some(original) = &row.tied_to { p.note { "Byte-identical to " code { (original) } "; computed once." } }
        @for flag in &row.flags { p.note { (flag) } }
        @if row.tensor != row.name && row.tensor.strip_suffix(".weight") != Some(&row.name) {
            p.note { "Stored as " code { (row.tensor) } @if let Some(shape) = &row.stored_shape { " " (format!("{shape:?}")) } }
        }
    }
}

fn numbers(model: Model<'_>, row: &Row) -> Markup {
    let mut reasons: Vec<(String, Vec<&str>)> = vec![];
    for (column, value) in &row.values.0 {
        let Value::Missing(why) = value else { continue };
        let why = why.to_string();
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, labels)) => labels.push(column.label),
            None => reasons.push((why, vec![column.label])),
        }
    }
    html! {
        @if !row.values.0.is_empty() {
            dl { @for column in &model.report.columns { div { dt { (column.label) } dd { (cell(row, column)) } } } }
        }
        @for (why, labels) in reasons { p.note { "– " (labels.join(", ")) ": " (why) } }
    }
}

/// Every value at the start, then ever fewer: the table behind the pictures.
fn singular_values(values: &[f64]) -> Markup {
    let shares = spectra::shares(values);
    let doubled =
        std::iter::successors(Some(1usize), |rank| Some(rank * 2)).take_while(|rank| *rank < values.len());
    let ranks: Vec<usize> = doubled.chain([values.len()]).collect();
    html! {
        div.wide { table.ranks {
            tbody {
                tr { th { "rank" } @for rank in &ranks { td { (rank) } } }
                tr { th { "σ" } @for rank in &ranks { td { (notation::real(values[rank - 1])) } } }
                tr { th { "% of Σσ²" } @for rank in &ranks { td { (format!("{:.1}", shares[rank - 1] * 100.0)) } } }
            }
        } }
    }
}
