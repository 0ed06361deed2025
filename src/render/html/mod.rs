//! One page for a browser: no network, no file beside it, readable with scripts off.
//!
//! All pictures are drawn here, as SVG. The script only adds what a mouse can do: it filters, sorts, opens and tells what
//! is under the pointer. Whatever comes from a checkpoint is text, never markup: maud escapes it.

mod axis;
mod chooser;
mod circuits;
mod cosines;
mod detail;
mod found;
mod frame;
mod marks;
mod module_grid;
mod overlay;
mod peers;
mod spectra;
mod tables;
mod views;

use std::borrow::Cow;
use std::io::{self, Write};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::notation;
use crate::report::{Column, Report, Row};

use super::changes;
use super::clash;
use super::style::TableStyle;
use super::table;
use marks::Marks;
use module_grid::Kinds;
use views::Model;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Most matrices with a section of their own; of more, those with findings before the others.
const DETAILED: usize = 400;
/// Most rows of the table; of more, those with findings before the others.
const LISTED: usize = 1500;
/// Columns that are plotted against depth whatever the size of the model, and the cells of all views together: each is
/// a dot, a square and a number.
const VIEWS: usize = 24;
const CELLS: usize = 6_000;
/// Most columns that are plotted against depth.
const MOST_VIEWS: usize = 160;

pub(super) fn write(report: &Report, style: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    // Changed vectors are told of in a note, as in the other formats: no number is known of them.
    let vectors = changes::vectors(report);
    let notes = if report.totals.compared.is_some() { changes::notes(report) } else { vec![] };
    let mut report = Cow::Borrowed(report);
    if !vectors.is_empty() {
        let is_matrix = |row: &Row| !vectors.contains(row.name.as_str());
        let rows = report.rows.iter().filter(|row| is_matrix(row)).cloned().collect();
        report = Cow::Owned(Report { rows, ..report.into_owned() });
    }
    let report = report.as_ref();
    let shown: Vec<&'static Column> = super::columns(report, &style.columns).collect();
    let kinds = Kinds::new(report);
    let marks = Marks::new(report);
    let mut detailed = vec![false; report.rows.len()];
    for i in marks.foremost(DETAILED) {
        detailed[i] = true;
    }
    let model = Model { report, kinds: &kinds, marks: &marks, detailed: &detailed };
    let drawn = drawn(model, &shown);
    let body = body(model, &shown, &drawn, &notes).into_string();
    // Nobody who writes a tensor's name can know this word, which depends on the whole page.
    let nonce = blake3::hash(body.as_bytes()).to_hex();
    let title = format!("{} · svdkit {}", measured(report), report.command);
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'"
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style nonce=(nonce) { (PreEscaped(STYLE)) (PreEscaped(chooser::choices(drawn.len()))) }
            }
            (PreEscaped(body))
            script nonce=(nonce) { (PreEscaped(SCRIPT)) }
        }
    };
    out.write_all(page.into_string().as_bytes())
}

/// The model, or the names of several.
fn measured(report: &Report) -> String {
    let sides: Vec<&str> = report.tuned.iter().map(|side| side.name.as_str()).collect();
    if sides.len() > 1 { sides.join(", ") } else { report.model.path.clone() }
}

fn body(model: Model<'_>, shown: &[&'static Column], drawn: &[&'static Column], notes: &[String]) -> Markup {
    let report = model.report;
    let listed = model.marks.foremost(LISTED);
    html! {
        body {
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
            main {
                @if !report.verdicts.is_empty() { section #verdicts { h2 { "Verdict" } (verdicts(report)) } }
                @if report.command == "adapter clash" { (clash::heat_maps(report)) }
                (circuits::heat_maps(report))
                section #worst { h2 { "Findings" } (found::findings(model)) }
                @if !drawn.is_empty() {
                    section.views #depth {
                        h2 { "Across the model" (chooser::chooser(report, drawn, first(model, drawn, shown))) }
                        @for (i, column) in drawn.iter().enumerate() { (views::view(model, i, column)) }
                    }
                }
                section #kinds { h2 { "Module types" } p.note { "Median (min–max)." } (tables::kinds(model, shown)) }
                section.listing #matrices {
                    h2 { "Matrices" }
                    (tools(model, listed.len()))
                    (tables::matrices(model, &listed, shown))
                }
                section #details { h2 { "Per matrix" } (details(model)) }
                @if !report.skipped.is_empty() { section #skipped { h2 { "Skipped" } details open[report.skipped.len() <= 20] {
                    summary { (report.skipped.len()) " tensors that are not matrices" }
                    (tables::skipped(report))
                } } }
                section #columns { h2 { "Columns" } details { summary { "What each one means" } (tables::columns(report)) } }
                section #origin { h2 { "How it was measured" } (tables::origin(report)) }
            }
            div #tip role="status" {}
        }
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
    let all = model.report.rows.len();
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

fn details(model: Model<'_>) -> Markup {
    let rows: Vec<usize> = (0..model.report.rows.len()).filter(|i| model.detailed[*i]).collect();
    html! {
        @if rows.len() < model.report.rows.len() {
            p.note { (rows.len()) " of " (notation::count(model.report.rows.len() as u64)) " matrices, those with findings first." }
        }
        @for i in rows { (detail::section(model, i)) }
    }
}

/// The columns that can be plotted over the model, shown ones first: all of them, if the model is not too large.
fn drawn(model: Model<'_>, shown: &[&'static Column]) -> Vec<&'static Column> {
    let rest = model.report.columns.iter().filter(|column| !shown.iter().any(|s| s.key == column.key));
    let all = shown.iter().chain(rest).copied();
    let most = (CELLS / model.kinds.cells.len().max(1)).clamp(VIEWS, MOST_VIEWS);
    all.filter(|column| views::is_drawn(model, column)).take(most).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::METRICS;
    use crate::render::{Layout, Overflow, Paint, Unchanged};
    use crate::report::{
        Accuracy, Format, Measurements, MissingReason, Offender, Outcome, Quantity, Severity, Source, Totals,
        Value, Verdict,
    };

    pub(super) static REAL: Column = Column {
        key: "real",
        label: "real",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "",
        range: "",
        source: "",
    };
    pub(super) static COUNT: Column = Column {
        key: "count",
        label: "count",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "",
        range: "",
        source: "",
    };

    /// A report on matrices of these names, without numbers.
    pub(super) fn report(names: &[&str]) -> Report {
        let row = |name: &&str| Row {
            name: (*name).to_owned(),
            block: name.split('.').find_map(|part| part.parse().ok()),
            role: (*name).to_owned(),
            shape: [4096, 4096],
            dtype: "bf16".to_owned(),
            ..Row::default()
        };
        Report {
            schema: crate::report::SCHEMA,
            svdkit: "0".into(),
            command: "spectrum".into(),
            model: Source { path: "m".to_owned(), format: "safetensors".into(), commit: None, files: vec![] },
            base: None,
            tuned: vec![],
            settings: vec![],
            columns: vec![&REAL, &COUNT],
            rows: names.iter().map(row).collect(),
            skipped: vec![],
            totals: Totals::default(),
            groups: vec![],
            notes: vec![],
            summary: None,
            findings: vec![],
            findings_unchecked: vec![],
            verdicts: vec![],
            unlisted: crate::report::Unlisted::default(),
        }
    }

    /// Gives row `i` a number.
    pub(super) fn set(report: &mut Report, i: usize, column: &'static Column, value: Value) {
        let row = &mut report.rows[i];
        row.values = Measurements(row.values.iter().chain([(column, value)]).collect()).into();
    }

    fn page(report: &Report) -> String {
        let style = TableStyle {
            experts: crate::render::Experts::Folded,
            width: 100,
            columns: report.columns.iter().map(|column| column.key).take(6).collect(),
            overflow: Overflow::Drop,
            limit: None,
            offenders: 10,
            layout: Layout::Flat,
            paint: Paint::Plain,
            unchanged: Unchanged::Shown,
            formulas: crate::render::Formulas::Defused,
        };
        let mut page = vec![];
        write(report, &style, &mut page).expect("a vector takes everything");
        String::from_utf8(page).expect("pages are text")
    }

    /// A report with every metric and a full outline for each of `names`, no two the same.
    fn full(names: &[String]) -> Report {
        let mut report = report(&names.iter().map(String::as_str).collect::<Vec<_>>());
        report.columns = METRICS.iter().map(|metric| &metric.column).collect();
        for (i, row) in report.rows.iter_mut().enumerate() {
            let wave = |k: usize| 1.0 + 0.3 * ((i * 7 + k * 13) as f64).sin();
            let value = |(k, column): (usize, &&'static Column)| match column.format {
                Format::Count => (*column, Value::Count((1000.0 * wave(k)) as u64)),
                _ => (*column, Value::Real((k + 1) as f64 * wave(k) / 7.0)),
            };
            row.values = Measurements(report.columns.iter().enumerate().map(value).collect()).into();
            let sigma = |k: usize| 9.0 * wave(0) * (1.0 + k as f64).powf(-0.6) * (1.0 - k as f64 / 4100.0);
            row.outline = (0..200).map(|k| k * 4095 / 199).map(|k| (k, sigma(k))).collect();
        }
        report
    }

    #[test]
    fn a_model_of_226_matrices_stays_under_3_megabytes() {
        let roles = ["mlp.down", "mlp.gate", "mlp.up", "attn.k", "attn.o", "attn.q", "attn.v"];
        let inner =
            (0..32).flat_map(|i| roles.iter().map(move |role| format!("model.layers.{i}.{role}_proj")));
        let names: Vec<String> =
            inner.chain(["lm_head".to_owned(), "model.embed_tokens".to_owned()]).collect();
        let page = page(&full(&names));
        assert!(page.len() < 3_000_000, "{}", page.len());
        for name in &names {
            assert!(page.contains(&format!("<code>{name}</code>")), "{name}");
        }
    }

    #[test]
    fn a_model_of_18_000_experts_stays_under_10_megabytes() {
        let experts = |i| (0..375).map(move |j| format!("model.layers.{i}.mlp.experts.{j}.up_proj"));
        let page = page(&full(&(0..48).flat_map(experts).collect::<Vec<_>>()));
        assert!(page.len() < 10_000_000, "{}", page.len());
    }

    #[test]
    fn what_is_missing_is_said_with_its_reason() {
        let mut report = report(&["l.0.q", "l.1.q", "l.2.q"]);
        for i in 0..3 {
            set(&mut report, i, &REAL, Value::Missing(MissingReason::NonFinite));
        }
        report.rows[2].failed = Some("the disk is gone".to_owned());
        let page = page(&report);
        assert!(page.contains("could not be measured</span>: the weight holds NaN"));
        assert!(page.contains("could not be measured</span>: the disk is gone"));
    }

    #[test]
    fn what_breaks_a_rule_is_marked_and_its_column_shown_first() {
        let mut report = full(&["l.0.q", "l.1.q", "l.2.q"].map(str::to_owned));
        let offender = Offender {
            matrix: Some("l.1.q".to_owned()),
            outcome: Outcome::Fail,
            what: "alpha = 9".to_owned(),
            missing: None,
            note: None,
        };
        report.verdicts = vec![Verdict {
            rule: "alpha > 6".to_owned(),
            key: "alpha".to_owned(),
            severity: Severity::Error,
            outcome: Outcome::Fail,
            broken: 1,
            missing: 0,
            missing_reasons: [].into(),
            inconclusive: 0,
            accepted: 0,
            hidden: 0,
            remarks: vec![],
            worst: Some(offender.told()),
            offenders: vec![offender],
        }];
        let page = page(&report);
        assert!(
            page.contains("<tr class=\"broken\" data-row=\"1\"")
                && !page.contains("<tr class=\"broken\" data-row=\"0\"")
        );
        let chosen = page.split("<option").find(|option| option.contains(" selected"));
        assert!(chosen.is_some_and(|option| option.contains("value=\"alpha\"")), "{chosen:?}");
    }

    #[test]
    fn any_numbers_make_a_page() {
        let extremes = [0.0, -1.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 1e-320, 1.0, 3.0];
        let names: Vec<String> = (0..extremes.len()).map(|i| format!("l.{i}.q")).collect();
        let mut report = full(&names);
        for (i, x) in extremes.iter().enumerate() {
            let values = report.rows[i].values.iter().map(|(column, _)| (column, Value::Real(*x)));
            report.rows[i].values = Measurements(values.collect()).into();
            report.rows[i].outline = (0..4).map(|k| (k * k, x.abs() / (1 + k) as f64)).collect();
        }
        let page = page(&report);
        for path in page.split(" d=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(path.chars().all(|c| c.is_ascii_digit() || "MLHVhvz .-".contains(c)), "{path}");
        }
    }
}
