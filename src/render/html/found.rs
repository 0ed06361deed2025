//! What the report says in sentences, first on the page, each with the spectrum of its clearest matrix and its peers.

use maud::{Markup, html};

use super::marks::unmeasured;
use super::views::Model;
use super::{peers, spectra};
use crate::notation;
use crate::report::Finding;

/// So many matrices that could not be measured are told before the others are counted, and so many of a finding.
const MOST: usize = 12;

pub(super) fn findings(model: Model<'_>) -> Markup {
    let report = model.report;
    let failed: Vec<(usize, String)> =
        model.rows.iter().enumerate().filter_map(|(i, row)| Some((i, unmeasured(row)?))).collect();
    html! {
        @for (i, why) in failed.iter().take(MOST) {
            p { (model.link(*i)) " " span.bad { "could not be measured" } ": " (why) }
        }
        @if failed.len() > MOST { p.note { (notation::count((failed.len() - MOST) as u64)) " more could not be measured." } }
        @if report.findings.is_empty() { p { "Nothing stands out." } }
        @for finding in &report.findings { (finding_of(model, finding)) }
        @if !report.findings_unchecked.is_empty() {
            details {
                summary { "Not checked everywhere" }
                ul { @for unchecked in &report.findings_unchecked {
                    li { code { (unchecked.name) } @if let Some(side) = &unchecked.side { " of " (side) } ": " (unchecked.reason) }
                } }
            }
        }
    }
}

fn finding_of(model: Model<'_>, finding: &Finding) -> Markup {
    let rows = model.marks.rows(finding);
    let first = rows.first().copied();
    let row = first.map(|i| model.rows[i]);
    let values = row.map(spectra::of_row).unwrap_or_default();
    html! {
        div class={"finding " (finding.level.name())} {
            p { (sentence(finding)) }
            @if rows.len() > 1 || !values.is_empty() {
                details {
                    summary { (if rows.len() == 1 { "The matrix" } else { "The matrices" }) }
                    p { @for i in rows.iter().take(MOST) { (model.link(*i)) " " }
                        @if rows.len() > MOST { "and " (notation::count((rows.len() - MOST) as u64)) " more" }
                    }
                    @if let Some(picture) = first.and_then(|i| peers::picture(model, finding, i)) { (picture) }
                    @if let Some(pictures) = row.and_then(|row| spectra::pictures(row, &values)) { (pictures) }
                }
            }
        }
    }
}

/// The level, the name and the sentence.
fn sentence(finding: &Finding) -> Markup {
    html! {
        span.level { (finding.level.name()) } " " code { (super::super::findings::title(finding)) } " "
        (text(&finding.sentence))
    }
}

/// A sentence, with what stands in backticks as code.
pub(super) fn text(sentence: &str) -> Markup {
    html! { @for (i, part) in sentence.split('`').enumerate() { @if i % 2 == 1 { code { (part) } } @else { (part) } } }
}
