//! The table a person reads: rows, then notes, findings, counts of everything that was left out, and verdicts.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::cell::UNSURE;
use super::style::{Overflow, TableStyle};
use super::wrap::indented;
use super::{changes, findings, fold, footer, grid, problem, series};
use crate::notation;
use crate::report::{
    Column, Flag, MissingReason, Offender, Report, SkipKind, SkippedContent, Value, Verdict,
};

/// Reasons that the footer lists separately.
const REASONS: usize = 4;

pub(super) fn write(report: &Report, style: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    let rows = changes::shown(report, style);
    let mut groups = fold::groups(&rows, style);
    let hidden = groups.len().saturating_sub(style.limit.unwrap_or(usize::MAX));
    groups.truncate(groups.len() - hidden);
    let (mut more, mut values, mut shown) = (vec![], fold::Values::Ranges, Shown::default());
    if !groups.is_empty() {
        let left_out = grid::write(report, &groups, style, out)?;
        values = left_out.values;
        shown = (left_out.has_unsure, left_out.has);
        if hidden > 0 {
            more.push(format!(
                "{} more {}",
                notation::count(hidden as u64),
                if hidden == 1 { "row" } else { "rows" }
            ));
        }
        if left_out.columns > 0 && style.overflow == Overflow::Drop {
            more.push(format!("{} more columns: --columns all", left_out.columns));
        }
    }
    if !more.is_empty() {
        line(&format!("… {}", more.join(" · ")), Some("2"), style, out)?;
    }
    footer::write(report, style.width, out)?;
    for note in fold::notes(report, &rows, style, values).into_iter().chain(notes(report, style, shown)) {
        line(&note, None, style, out)?;
    }
    findings::write(report, style, out)?;
    for line in findings::summary(report, style) {
        writeln!(out, " {}", style.paint.wrap("2", &line))?;
    }
    write_end(report, style, out)
}

/// The counts and the verdicts.
pub(super) fn write_end(report: &Report, style: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    line(&footer(report), Some("2"), style, out)?;
    write_verdicts(report, style, out)
}

/// A line of text, on as many lines of the width as it needs.
fn line(text: &str, color: Option<&str>, style: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    for line in indented(text, style.width.saturating_sub(1), 2).lines() {
        writeln!(out, " {}", color.map_or_else(|| line.to_owned(), |color| style.paint.wrap(color, line)))?;
    }
    Ok(())
}

/// Flags that are listed with the number of their rows.
const CAUTIONS: [Flag; 5] = [
    Flag::OrientationUnknown,
    Flag::ScaleAssumed,
    Flag::RankNotAsConfigured,
    Flag::MovedBase,
    Flag::BulkByRounding,
];

/// Whether numbers are marked as unsure, and what is shown over steps.
type Shown = (bool, series::OverSteps);

/// Notes that a reader must know.
fn notes(report: &Report, style: &TableStyle<'_>, (has_unsure, has): Shown) -> Vec<String> {
    let mut notes = series::notes(report, has);
    match report.totals.compared {
        Some(_) => notes.extend(changes::notes(report)),
        None => notes.extend(update_note(report).filter(|_| {
            !["intruders", "heads", "lineage", "series", "compare"].contains(&report.command.as_ref())
        })),
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
            row.values.iter().find(|(_, value)| *value == Value::Missing(MissingReason::Overflow))
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
    notes.extend(blank(report, style));
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
    if has_unsure {
        let error = report.columns.iter().any(|column| column.key == "alpha_sigma");
        let error = if error { ": low confidence, see `alpha_sigma`" } else { "" };
        notes.push(format!("{UNSURE} fitted on fewer than 50 values{error}"));
    }
    notes
}

/// Reasons that lie in what was asked for, or in the kind of model.
const OF_QUESTION: [MissingReason; 6] = [
    MissingReason::TooFewDirections,
    MissingReason::NoEigenvalues,
    MissingReason::NotStateSpace,
    MissingReason::NoPartner,
    MissingReason::EqualRows,
    MissingReason::TooFewWidths,
];

/// Columns of the table that no row has, for one of these reasons.
fn blank(report: &Report, style: &TableStyle<'_>) -> Vec<String> {
    let rows = || report.rows.iter().filter(|row| row.failed.is_none());
    let is_blank = |column: &&'static Column, why| {
        let mut values = rows().map(|row| row.values.get(column.key));
        rows().next().is_some() && values.all(|value| value == Some(Value::Missing(why)))
    };
    let told = |why: MissingReason| {
        let columns = super::columns(report, &style.columns).filter(|column| is_blank(column, why));
        let labels: Vec<&str> = columns.map(|column| column.label).collect();
        (!labels.is_empty()).then(|| format!("– {}: {why}", labels.join(", ")))
    };
    OF_QUESTION.into_iter().filter_map(told).collect()
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
    let [one, many] = report.noun();
    let matrices = if totals.measured == 1 { one } else { many };
    let mut parts = match totals.compared {
        Some(compared) => changes::counts(report, compared),
        None => vec![format!("{} {matrices} measured", notation::count(totals.measured))],
    };
    parts.extend(series::count(report));
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
    // Pairs of updates have none of their own.
    if totals.parameters > 0 || totals.measured == 0 {
        parts.push(format!("{} parameters", notation::parameters(totals.parameters)));
    }
    parts.join(" · ")
}

fn write_verdicts(report: &Report, style: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    if report.verdicts.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let widest = |of: &dyn Fn(&Verdict) -> usize| report.verdicts.iter().map(of).max().unwrap_or(0);
    let (rules, words) = (widest(&|verdict| verdict.rule.width()), widest(&|verdict| verdict.word().len()));
    let (indent, room) = (5 + rules + words, style.width.saturating_sub(1));
    // Where little room is left beside the rules, what is told of them stands below.
    let is_narrow = indent > style.width / 2;
    for verdict in &report.verdicts {
        let pad = |width: usize, taken: usize| " ".repeat(width - taken);
        let color = match verdict.word() {
            "pass" => "32",
            "FAIL" => "1;31",
            _ => "33",
        };
        let word = style.paint.wrap(color, verdict.word());
        let text = &verdict.rule;
        let (rule, after) = (pad(rules, text.width()), pad(words, verdict.word().len()));
        let rows = offenders(verdict);
        let told = match rows.len() {
            0 | 1 => problem::told(verdict),
            all => {
                let count = format!("{} rows", notation::count(all as u64));
                std::iter::once(count).chain(verdict.remarks.iter().cloned()).collect::<Vec<_>>().join("; ")
            }
        };
        if is_narrow {
            let indent = words + 3;
            writeln!(out, " {word}{after}  {}", indented(text, room, indent))?;
            if !told.is_empty() {
                writeln!(out, "{}{}", " ".repeat(indent), indented(&told, room, indent))?;
            }
        } else {
            let told = indented(&told, room, indent);
            writeln!(out, "{}", format!(" {text}{rule}  {word}{after}  {told}").trim_end())?;
        }
        if rows.len() > 1 {
            for row in rows.iter().take(style.offenders) {
                writeln!(out, "   {}", indented(&row.told(), style.width.saturating_sub(3), 5))?;
            }
            if rows.len() > style.offenders {
                writeln!(out, "   … and {} more; `--verbose` lists all", rows.len() - style.offenders)?;
            }
        }
    }
    Ok(())
}

/// The rows that decide a verdict, worst first; none of one that passes.
fn offenders(verdict: &Verdict) -> Vec<&Offender> {
    verdict.offenders.iter().filter(|offender| offender.outcome == verdict.outcome).collect()
}
