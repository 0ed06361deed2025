//! What the report says in sentences, first on the page, each with the spectrum of its clearest matrix.

use maud::{Markup, html};

use super::spectra;
use super::standout::unmeasured;
use super::views::Model;
use crate::notation;
use crate::report::Finding;

/// So many matrices that could not be measured are told before the others are counted, and so many of a finding.
const MOST: usize = 12;

pub(super) fn findings(model: Model<'_>) -> Markup {
    let report = model.report;
    let failed: Vec<(usize, String)> =
        report.rows.iter().enumerate().filter_map(|(i, row)| Some((i, unmeasured(row)?))).collect();
    html! {
        @for (i, why) in failed.iter().take(MOST) {
            p { (model.link(*i)) " " span.bad { "could not be measured" } ": " (why) }
        }
        @if failed.len() > MOST { p.note { (notation::count((failed.len() - MOST) as u64)) " more could not be measured." } }
        @if report.findings.is_empty() { p { "Nothing stands out." } }
        @for finding in &report.findings { (finding_of(model, finding)) }
        @if !report.findings_unchecked.is_empty() {
            details {
                summary { "Not looked for everywhere" }
                ul { @for unchecked in &report.findings_unchecked {
                    li { code { (unchecked.name) } @if let Some(side) = &unchecked.side { " of " (side) } ": " (unchecked.reason) }
                } }
            }
        }
    }
}

fn finding_of(model: Model<'_>, finding: &Finding) -> Markup {
    let row = |name: &String| model.report.rows.iter().position(|row| row.name == *name);
    let rows: Vec<usize> = finding.matrices.iter().filter_map(row).collect();
    let first = rows.first().map(|i| &model.report.rows[*i]);
    let values = first.map(|row| spectra::values(&row.outline)).unwrap_or_default();
    html! {
        div class={"finding " (finding.level.name())} {
            p {
                span.level { (finding.level.name()) } " " code { (super::super::findings::title(finding)) } " "
                (finding.sentence)
            }
            @if rows.len() > 1 || !values.is_empty() {
                details {
                    summary { (if rows.len() == 1 { "The matrix" } else { "The matrices" }) }
                    p { @for i in rows.iter().take(MOST) { (model.link(*i)) " " }
                        @if rows.len() > MOST { "and " (notation::count((rows.len() - MOST) as u64)) " more" }
                    }
                    @if let Some(pictures) = first.and_then(|row| spectra::pictures(row, &values)) { (pictures) }
                }
            }
        }
    }
}
