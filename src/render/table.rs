//! The table a person reads: fits the width by choosing columns, groups matrices by block, ends with the skipped
//! tensors.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use unicode_width::UnicodeWidthStr;

use super::cell::{SHORT_TAILS, UNSURE, ranges};
use super::fold::{self, Bunch};
use super::style::{Layout, Overflow, TableStyle};
use super::{changes, findings, footer, problem};
use crate::notation;
use crate::report::{Column, Flag, MissingReason, Report, Row, SkipKind, SkippedContent, Value, Verdict};

const SPARK: usize = 12;
/// Reasons that the footer lists separately.
const REASONS: usize = 4;
/// Columns of words, not of numbers.
const LEFT: [&str; 4] = ["dtype", "status", "log σ", WHICH];
const SHORTEST_NAME: usize = 24;

pub(super) fn write(report: &Report, look: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    let rows = changes::shown(report, look);
    if !rows.is_empty() {
        write_rows(report, &fold::bunches(&rows, look), look, out)?;
    }
    footer::write(report, out)?;
    for note in fold::notes(report, &rows, look).into_iter().chain(notes(report, look)) {
        writeln!(out, " {note}")?;
    }
    findings::write(report, look, out)?;
    for line in findings::summary(report, look) {
        writeln!(out, " {}", look.paint.wrap("2", &line))?;
    }
    writeln!(out, " {}", look.paint.wrap("2", &footer(report)))?;
    write_verdicts(report, look, out)
}

/// One line of the table: a heading or a row's cells.
enum Line {
    Heading(String),
    Row(String),
}

fn write_rows(
    report: &Report,
    shown: &[Bunch<'_>],
    look: &TableStyle<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let lines = lines(shown, look.layout);
    let mut columns: Vec<&Column> = super::columns(report, &look.columns).collect();
    // The name takes the remaining width, but never less than it needs to be distinct from its neighbors.
    let longest = lines.iter().map(|line| match line {
        Line::Heading(text) | Line::Row(text) => text.width(),
    });
    let longest = longest.max().unwrap_or(0).max("matrix".len());
    let mut others = cells(shown, &columns);
    if look.overflow == Overflow::Drop {
        while columns.len() > 1 && total(&others) + longest.min(SHORTEST_NAME) > look.width {
            columns.pop();
            others = cells(shown, &columns);
        }
    }
    let room = match look.overflow {
        Overflow::Drop => look.width.saturating_sub(total(&others)).max(SHORTEST_NAME),
        Overflow::Keep => longest,
    };
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(std::iter::once("matrix").chain(others.iter().map(|(header, _)| header.as_str())));
    let mut rows = 0..shown.len();
    for line in &lines {
        match line {
            Line::Heading(text) => table.add_row([shorten(text, room)]),
            Line::Row(name) => {
                let at = rows.next();
                let row = others.iter().filter_map(|(_, cells)| Some(cells[at?].clone()));
                table.add_row(std::iter::once(shorten(name, room)).chain(row))
            }
        };
    }
    for (i, column) in table.column_iter_mut().enumerate() {
        let right = i > 0 && others.get(i - 1).is_some_and(|(header, _)| !LEFT.contains(&header.as_str()));
        column.set_cell_alignment(if right { CellAlignment::Right } else { CellAlignment::Left });
        column.set_padding((1, u16::from(i == 0)));
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    let height = others.iter().map(|(header, _)| header.lines().count()).max().unwrap_or(1);
    for (i, line) in table.lines().enumerate() {
        let line = line.trim_end();
        let heading = i < height || matches!(lines.get(i - height), Some(Line::Heading(_)));
        writeln!(out, "{}", if heading { look.paint.wrap("1", line) } else { line.to_owned() })?;
    }
    Ok(())
}

/// Every column but the name: header and cells, in row order.
fn cells(shown: &[Bunch<'_>], columns: &[&Column]) -> Vec<(String, Vec<String>)> {
    let each = |header: &str, cell: &dyn Fn(&Row) -> String| {
        (header.to_owned(), shown.iter().map(|bunch| bunch.text(cell)).collect())
    };
    let mut all = vec![
        each("shape", &|row| format!("{} × {}", row.shape[0], row.shape[1])),
        each("dtype", &|row| row.storage().to_owned()),
    ];
    if shown.iter().any(|bunch| changes::need_status(&bunch.rows)) {
        all.push(each("status", &|row| row.status().to_owned()));
    }
    for column in columns {
        all.push((column.label.to_owned(), shown.iter().map(|bunch| bunch.cell(column)).collect()));
        if column.key == "intruder_count" {
            all.push(each(WHICH, &|row| {
                row.intruders.as_ref().map_or_else(String::new, |i| ranges(&i.indices))
            }));
        }
    }
    // The spectrum of one expert would say nothing of the others.
    let single = |bunch: &&Bunch<'_>| bunch.rows.len() == 1;
    if shown.iter().filter(single).any(|bunch| !bunch.first().sketch.is_empty()) {
        let spark = |bunch: &Bunch<'_>| match bunch.rows[..] {
            [row] => notation::spark(&row.sketch, SPARK),
            _ => String::new(),
        };
        all.push(("log σ".to_owned(), shown.iter().map(spark).collect()));
    }
    all
}

/// Width of the columns with the gaps before them.
fn total(columns: &[(String, Vec<String>)]) -> usize {
    let widest = |(header, cells): &(String, Vec<String>)| {
        cells.iter().map(String::as_str).chain(header.lines()).map(UnicodeWidthStr::width).max().unwrap_or(0)
    };
    columns.iter().map(|column| widest(column) + 1).sum::<usize>() + 2
}

/// Header of the column that says which directions are intruders.
const WHICH: &str = "which";

/// The rows under a heading for each block, where a block has a common prefix and more than one matrix.
fn lines(shown: &[Bunch<'_>], layout: Layout) -> Vec<Line> {
    let mut lines = vec![];
    let mut current = None;
    for bunch in shown {
        let group = match layout {
            Layout::Grouped => bunch.block(),
            Layout::Flat => None,
        };
        if group != current {
            lines.extend(group.map(|name| Line::Heading(name.to_owned())));
            current = group;
        }
        let name = &bunch.name;
        let name = group.map_or_else(|| name.clone(), |group| format!("  {}", &name[group.len() + 1..]));
        lines.push(Line::Row(name + &bunch.count()));
    }
    lines
}

/// `text` cut in the middle to `width` characters, because both ends distinguish names.
pub(super) fn shorten(text: &str, width: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= width {
        return text.to_owned();
    }
    let tail = width.saturating_sub(1) * 2 / 3;
    let head = width.saturating_sub(1) - tail;
    let (start, end) = (&characters[..head], &characters[characters.len() - tail..]);
    start.iter().chain(['…'].iter()).chain(end).collect()
}

/// Flags that are listed with the number of their rows.
const CAUTIONS: [Flag; 5] = [
    Flag::OrientationUnknown,
    Flag::ScaleAssumed,
    Flag::RankNotAsConfigured,
    Flag::MovedBase,
    Flag::BulkByRounding,
];

/// Notes that a reader must know.
fn notes(report: &Report, look: &TableStyle<'_>) -> Vec<String> {
    let mut notes = vec![];
    match report.totals.compared {
        Some(_) => notes.extend(changes::notes(report)),
        None => notes.extend(update_note(report).filter(|_| report.command != "intruders")),
    }
    let told = report.findings.iter().any(|finding| finding.name == "non-finite");
    for row in &report.rows {
        if let Some(failure) = &row.failed {
            notes.push(format!("! {}: {failure}", row.name));
        }
        if let Some(Value::Count(n @ 1..)) = row.values.get("nonfinite_count").filter(|_| !told) {
            let what = if n == 1 { "entry is" } else { "entries are" };
            notes.push(format!(
                "! {}: {} {what} NaN or infinite, so it has no spectrum",
                row.name,
                notation::count(n)
            ));
        }
        if let Some((column, _)) =
            row.values.0.iter().find(|(_, value)| *value == Value::Missing(MissingReason::Overflow))
        {
            notes.push(format!("! {}: {} is {}", row.name, column.key, MissingReason::Overflow));
        }
        if let Some(original) = &row.tied_to {
            notes.push(format!("= {} is byte-identical to {original} and was computed once", row.name));
        }
    }
    for skipped in &report.skipped {
        let name = &skipped.tensor;
        notes.extend(skipped.failed.iter().map(|failure| format!("! {name}: {failure}")));
        if let Some(SkippedContent { nonfinite_count: Some(n @ 1..), .. }) = skipped.content {
            notes.push(format!("! {name}: {} of its entries NaN or infinite", notation::count(n)));
        }
    }
    notes.extend(unseen(report));
    notes.extend(report.notes.iter().cloned());
    notes.extend(footer::commits(report));
    if report.rows.iter().any(|row| row.flags.contains(&Flag::CosineBounds)) {
        notes.push("≤ bounds that decide; `--exact` gives the cosines themselves".to_owned());
    }
    for flag in CAUTIONS {
        let count = report.rows.iter().filter(|row| row.flags.contains(&flag)).count();
        if count > 0 {
            notes.push(format!("? {flag} ({count} of {} rows)", report.rows.len()));
        }
    }
    let short = |row: &Row| SHORT_TAILS.iter().any(|(_, flag)| row.flags.contains(flag));
    let marked = report.totals.compared.is_none() || look.columns.contains(&"alpha");
    if marked && report.rows.iter().any(short) {
        let error = report.columns.iter().any(|column| column.key == "alpha_sigma");
        let error = if error { ": read it with its error, `alpha_sigma`" } else { "" };
        notes.push(format!("{UNSURE} fitted on fewer than 50 values{error}"));
    }
    notes
}

/// What is unknown about tensors that are not matrices, by the first of them.
fn unseen(report: &Report) -> Option<String> {
    let mut unseen = report.skipped.iter().filter_map(|skipped| Some((skipped, skipped.unseen.as_ref()?)));
    let (first, why) = unseen.next()?;
    let more = match unseen.count() {
        0 => String::new(),
        more => format!(" (and {} more)", notation::count(more as u64)),
    };
    Some(format!("! {}: {why}{more}", first.tensor))
}

/// Says that numbers are of an update, where they are, and how an adapter's was scaled.
fn update_note(report: &Report) -> Option<String> {
    let path = &report.model.path;
    let updates: Vec<_> = report.rows.iter().filter_map(|row| row.update.as_ref()).collect();
    let base = report.base.as_ref().map(|base| base.path.as_str());
    if updates.is_empty() {
        return base.map(|base| format!("Δ every number is of the update: {path} − {base}"));
    }
    let scales = updates.iter().filter_map(|update| update.scale);
    let (least, most) = scales.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), s| (a.min(s), b.max(s)));
    let scale = match () {
        () if least > most => String::new(),
        () if least.total_cmp(&most).is_eq() => format!(", scaled by {}", short(least)),
        () => format!(", scaled by {} to {}", short(least), short(most)),
    };
    Some(format!("Δ every number is of what {path} adds to {}{scale}", base.unwrap_or("its base")))
}

/// A number without zeros that say nothing.
fn short(x: f64) -> String {
    let text = notation::real(x);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Counts of everything, so that nothing is left out silently.
pub(super) fn footer(report: &Report) -> String {
    let totals = &report.totals;
    let matrices = if totals.measured == 1 { "matrix" } else { "matrices" };
    let mut parts = match totals.compared {
        Some(compared) => changes::counts(report, compared),
        None => vec![format!("{} {matrices} measured", notation::count(totals.measured))],
    };
    if totals.failed > 0 {
        parts.push(format!("{} failed", notation::count(totals.failed)));
    }
    if totals.skipped > 0 {
        let mut reasons: Vec<(&str, usize)> = vec![];
        for skipped in &report.skipped {
            // What to do about it is in the report.
            let brief = skipped.reason.split([':', ';']).next().unwrap_or_default();
            match reasons.iter_mut().find(|(reason, _)| *reason == brief) {
                Some((_, n)) => *n += 1,
                None => reasons.push((brief, 1)),
            }
        }
        reasons.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        let others: usize = reasons.iter().skip(REASONS).map(|(_, n)| n).sum();
        let mut reasons: Vec<String> = match reasons[..] {
            [(reason, _)] => vec![reason.to_owned()],
            _ => reasons.iter().take(REASONS).map(|(reason, n)| format!("{n} {reason}")).collect(),
        };
        reasons.extend((others > 0).then(|| format!("{others} for other reasons")));
        parts.push(format!("{} skipped ({})", notation::count(totals.skipped), reasons.join(", ")));
    }
    let refused = report.skipped.iter().filter(|skipped| skipped.kind == SkipKind::Refused).count();
    if refused > 0 {
        parts.push(format!("{} of them refused", notation::count(refused as u64)));
    }
    if totals.filtered > 0 {
        parts.push(format!("{} filtered out", notation::count(totals.filtered)));
    }
    parts.push(format!("{} parameters", notation::parameters(totals.parameters)));
    parts.join(" · ")
}

fn write_verdicts(report: &Report, look: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    if report.verdicts.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let widest = |of: &dyn Fn(&Verdict) -> usize| report.verdicts.iter().map(of).max().unwrap_or(0);
    let (rules, words) = (widest(&|verdict| verdict.rule.width()), widest(&|verdict| verdict.word().len()));
    for verdict in &report.verdicts {
        let pad = |width: usize, taken: usize| " ".repeat(width - taken);
        let color = match verdict.word() {
            "pass" => "32",
            "FAIL" => "1;31",
            _ => "33",
        };
        let word = look.paint.wrap(color, verdict.word());
        let text = &verdict.rule;
        let (rule, after) = (pad(rules, text.width()), pad(words, verdict.word().len()));
        let line = format!(" {text}{rule}  {word}{after}  {}", problem::told(verdict));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_in_the_middle() {
        assert_eq!(shorten("model.layers.0.self_attn.q_proj", 16), "model…ttn.q_proj");
        assert_eq!(shorten("short", 16), "short");
    }
}
