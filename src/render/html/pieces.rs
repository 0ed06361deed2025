//! The body of a page, piece by piece: a large one is never in memory whole.

use std::io;

use maud::{Markup, html};

use super::super::{clash, table};
use super::views::Model;
use super::{chooser, circuits, courses, detail, found, overlaps, sums, tables, views};
use crate::notation;
use crate::report::{Column, Report};

/// Most rows of the table; of more, those with findings before the others.
const LISTED: usize = 1500;

/// The model, or the names of several.
pub(super) fn measured(report: &Report) -> String {
    let sides: Vec<&str> = report.tuned.iter().map(|side| side.name.as_str()).collect();
    if sides.len() > 1 { sides.join(", ") } else { report.model.path.clone() }
}

/// The body of a page, piece by piece.
pub(super) struct Pieces<'a> {
    pub(super) model: Model<'a>,
    pub(super) shown: &'a [&'static Column],
    pub(super) drawn: &'a [&'static Column],
    pub(super) notes: &'a [String],
}

impl Pieces<'_> {
    /// Shows each piece in turn.
    pub(super) fn each(&self, take: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let Self { model, shown, drawn, notes } = *self;
        let report = model.report;
        let listed = model.marks.foremost(LISTED);
        take("<body>")?;
        take(&top(report, notes).into_string())?;
        take("<main>")?;
        take(&summary(model).into_string())?;
        courses::sections(model, shown, take)?;
        if !drawn.is_empty() {
            take(r#"<section class="views" id="depth">"#)?;
            let chooser = chooser::chooser(report, drawn, first(model, drawn, shown));
            take(&html! { h2 { "Across the model" (chooser) } }.into_string())?;
            for (i, column) in drawn.iter().enumerate() {
                take(&views::view(model, i, column).into_string())?;
            }
            take("</section>")?;
        }
        take(&matrices(model, &listed, shown).into_string())?;
        take(r#"<section id="details">"#)?;
        details(model, take)?;
        take("</section>")?;
        take(&rest(report).into_string())?;
        take("</main>")?;
        take(&html! { div #tip role="status" {} }.into_string())?;
        take("</body>")
    }
}

fn top(report: &Report, notes: &[String]) -> Markup {
    html! {
        header {
            div {
                p.brand { "svdkit " (report.command) }
                h1 { (measured(report)) }
                @if let Some(base) = &report.base { p { "against " (base.path) } }
                p.note { (table::footer(report)) }
                @for note in notes.iter().chain(&report.notes) { p.note { (note) } }
            }
            button #theme type="button" { "Theme" }
        }
    }
}

fn summary(model: Model<'_>) -> Markup {
    let report = model.report;
    html! {
        @if !report.verdicts.is_empty() { section #verdicts { h2 { "Verdict" } (verdicts(report)) } }
        @if report.command == "adapter clash" { (clash::heat_maps(report)) }
        (circuits::heat_maps(report))
        (overlaps::heat_maps(report))
        (sums::section(report))
        section #worst { h2 { "Findings" } (found::findings(model)) }
    }
}

fn matrices(model: Model<'_>, listed: &[usize], shown: &[&'static Column]) -> Markup {
    html! {
        section #kinds { h2 { "Module types" } p.note { "Median (min–max)." } (tables::kinds(model, shown)) }
        section.listing #matrices {
            h2 { "Matrices" }
            (tools(model, listed.len()))
            (tables::matrices(model, listed, shown))
        }
    }
}

fn rest(report: &Report) -> Markup {
    html! {
        @if !report.skipped.is_empty() { section #skipped { h2 { "Skipped" } details open[report.skipped.len() <= 20] {
            summary { (report.skipped.len()) " tensors that are not matrices" }
            (tables::skipped(report))
        } } }
        section #columns { h2 { "Columns" } details { summary { "What each one means" } (tables::columns(report)) } }
        section #origin { h2 { "How it was measured" } (tables::origin(report)) }
    }
}

fn verdicts(report: &Report) -> Markup {
    html! {
        div.wide { table.verdicts {
            thead { tr { th { "rule" } th { "verdict" } th { "worst" } th.n { "broken by" } th.n { "no value" } } }
            tbody { @for verdict in &report.verdicts {
                tr {
                    th { code { (verdict.rule) } }
                    @if verdict.blocks() { td.bad { (verdict.word()) } } @else { td.good { (verdict.word()) } }
                    td {
                        (verdict.worst.as_deref().unwrap_or(""))
                        @for remark in &verdict.remarks { div.note { (remark) } }
                    }
                    td.n { (verdict.broken) } td.n { (verdict.missing) }
                }
            } }
        } }
    }
}

fn tools(model: Model<'_>, listed: usize) -> Markup {
    let all = model.rows.len();
    html! {
        @if listed < all { p.note { (notation::count(listed as u64)) " of " (notation::count(all as u64)) ", those with findings first; JSON and CSV hold all." } }
        div.tools {
            label.live { "Name " input #name type="search" placeholder="*.mlp.*" autocomplete="off"; }
            label.live { "Type " select #kind {
                option value="" { "all" }
                @for (i, name) in model.kinds.names.iter().enumerate() { option value=(i) { (name) } }
            } }
            label.live { input #news type="checkbox"; " only what stands out" }
            label { input #all type="checkbox"; " all columns" }
            span.live #count {}
        }
    }
}

fn details(model: Model<'_>, take: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    let rows: Vec<usize> = (0..model.rows.len()).filter(|i| model.detailed[*i]).collect();
    let head = html! {
        h2 { "Per matrix" }
        @if rows.len() < model.rows.len() {
            p.note { (rows.len()) " of " (notation::count(model.rows.len() as u64)) " matrices, those with findings first." }
        }
    };
    take(&head.into_string())?;
    rows.into_iter().try_for_each(|i| take(&detail::section(model, i).into_string()))
}

/// The column shown first: that of a broken rule, else one of the `shown` that is evidence of the worst finding, else the
/// one that the command is about.
fn first(model: Model<'_>, drawn: &[&'static Column], shown: &[&Column]) -> &'static str {
    let Report { findings, verdicts, .. } = model.report;
    let is_drawn = |key: &str| drawn.iter().find(|column| column.key == key);
    let broken =
        verdicts.iter().filter(|verdict| verdict.blocks()).find_map(|verdict| is_drawn(&verdict.key));
    let shown = |key: &&String| shown.iter().any(|column| column.key == **key);
    let mut evidence = findings.iter().flat_map(|finding| finding.evidence.keys()).filter(shown);
    broken
        .or_else(|| evidence.find_map(|key| is_drawn(key)))
        .or(drawn.first())
        .map_or("", |column| column.key)
}
