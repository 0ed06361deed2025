//! One matrix: what was found of it, all its numbers, and the plots of its spectrum.

use maud::{Markup, html};

use crate::notation;
use crate::report::{Column, Row, Value};

use super::super::cell::cell;
use super::super::findings::title;
use super::found::text;
use super::overlay;
use super::views::Model;
use super::{compensation, cosines, peers, spectra};

/// The section of row `i`, folded until it is wanted.
pub(super) fn section(model: Model<'_>, i: usize) -> Markup {
    let row = &model.rows[i];
    let values = spectra::of_row(row);
    let (found, broken) = (model.marks.of(i), model.marks.broken(i));
    html! {
        details.matrix data-row=(i) {
            summary {
                code { (row.name) } " "
                small { (row.shape[0]) " × " (row.shape[1]) " · " (row.storage()) }
                @if row.failed.is_some() { " " em.bad { "failed" } }
                @for (verdict, _) in broken.iter().take(2) { " " em.bad { "breaks " (verdict.rule) } }
                @for finding in found.iter().take(2) { " " em.news { (title(finding)) } }
            }
            div id={"m" (i)} {
                (remarks(row))
                @for (verdict, offender) in broken { p.bad { code { (verdict.rule) } ": " (offender.told()) } }
                // A sentence is about the clearest of its matrices.
                @for finding in found.iter().filter(|finding| finding.matrices.first().is_some_and(|name| row.name == *name)) {
                    p { (text(&finding.sentence)) }
                    @if let Some(picture) = peers::picture(model, finding, i) { (picture) }
                }
                @if let Some(pictures) = spectra::pictures(row, &values) { (pictures) }
                (compensation::picture(row))
                (overlay::pictures(row))
                (cosines::pictures(model.report, row))
                (overlay::numbers(model.report, row))
                (numbers(model, row))
                @if !values.is_empty() { (singular_values(&values)) }
            }
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
    // The others are in the table of base, tuned and change.
    let is_listed = |column: &Column| column.is_of_a_pair() || model.report.totals.compared.is_none();
    let mut reasons: Vec<(String, Vec<&str>)> = vec![];
    for (column, value) in row.values.iter() {
        let Value::Missing(why) = value else { continue };
        let why = why.to_string();
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, labels)) => labels.push(column.label),
            None => reasons.push((why, vec![column.label])),
        }
    }
    html! {
        @if !row.values.is_empty() {
            dl { @for column in model.report.columns.iter().filter(|column| is_listed(column)) {
                div { dt { (column.label) } dd { (cell(row, column)) } }
            } }
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
