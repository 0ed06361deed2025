//! One page for a browser: no network, no file beside it, readable with scripts off.
//!
//! All pictures are drawn here, as SVG. The script only adds what a mouse can do: it filters, sorts, opens and tells what
//! is under the pointer. Whatever comes from a checkpoint is text, never markup: maud escapes it.

mod axis;
mod chooser;
mod circuits;
mod compensation;
mod cosines;
mod courses;
mod detail;
mod found;
mod frame;
mod marks;
mod module_grid;
mod overlaps;
mod overlay;
mod peers;
mod pieces;
mod spectra;
mod sums;
mod tables;
mod views;

use std::io::{self, Write};

use maud::{DOCTYPE, PreEscaped, html};

use crate::report::{Column, Report, Row};

use super::changes;
use super::style::TableStyle;
use marks::Marks;
use module_grid::Kinds;
use pieces::{Pieces, measured};
use views::Model;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Most matrices with a section of their own; of more, those with findings before the others.
const DETAILED: usize = 400;
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
    let rows: Vec<&Row> = report.rows.iter().filter(|row| !vectors.contains(row.name.as_str())).collect();
    let shown: Vec<&'static Column> = super::columns(report, &style.columns).collect();
    let kinds = Kinds::new(&rows);
    let marks = Marks::new(report, &rows);
    let mut detailed = vec![false; rows.len()];
    for i in marks.foremost(DETAILED) {
        detailed[i] = true;
    }
    let model = Model { report, rows: &rows, kinds: &kinds, marks: &marks, detailed: &detailed };
    let drawn = drawn(model, &shown);
    let pieces = Pieces { model, shown: &shown, drawn: &drawn, notes: &notes };
    // Nobody who writes a tensor's name can know this word, which depends on the whole page. A large page is made twice and
    // never held: each piece is hashed, then written.
    let mut hash = blake3::Hasher::new();
    pieces.each(&mut |piece| {
        hash.update(piece.as_bytes());
        Ok(())
    })?;
    let nonce = hash.finalize().to_hex();
    let title = format!("{} · svdkit {}", measured(report), report.command);
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'"
    );
    let head = html! {
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(policy);
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) }
            style nonce=(nonce) { (PreEscaped(STYLE)) (PreEscaped(chooser::choices(drawn.len()))) }
        }
    };
    let script = html! { script nonce=(nonce) { (PreEscaped(SCRIPT)) } };
    out.write_all(format!("{}<html lang=\"en\">{}", DOCTYPE.into_string(), head.into_string()).as_bytes())?;
    pieces.each(&mut |piece| out.write_all(piece.as_bytes()))?;
    out.write_all(format!("{}</html>", script.into_string()).as_bytes())
}

/// The columns that can be plotted over the model, shown ones first: all of them, if the model is not too large.
fn drawn(model: Model<'_>, shown: &[&'static Column]) -> Vec<&'static Column> {
    let rest = model.report.columns.iter().filter(|column| !shown.iter().any(|s| s.key == column.key));
    let all = shown.iter().chain(rest).copied();
    let most = (CELLS / model.kinds.cells.len().max(1)).clamp(VIEWS, MOST_VIEWS);
    all.filter(|column| views::is_drawn(model, column)).take(most).collect()
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
            name: (*name).into(),
            block: name.split('.').find_map(|part| part.parse().ok()),
            role: (*name).into(),
            shape: [4096, 4096],
            dtype: "bf16".into(),
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
            steps: vec![],
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
            step: None,
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
