//! Markdown: verdicts first, then the rows as a pipe table, for a pull request or a job summary.

use std::io::{self, Write};

use crate::report::{Column, Outcome, Report};

use super::cell;
use super::table::{self, Look};
use super::{changes, foot};

pub(super) fn write(report: &Report, look: &Look<'_>, out: &mut dyn Write) -> io::Result<()> {
    if !report.verdicts.is_empty() {
        writeln!(out, "| rule | verdict | worst |\n|---|---|---|")?;
        for verdict in &report.verdicts {
            let word = if verdict.outcome == Outcome::Fail { "**FAIL**" } else { "pass" };
            let worst = verdict.worst.as_deref().unwrap_or("");
            writeln!(out, "| `{}` | {word} | {} |", escape(&verdict.rule), escape(worst))?;
        }
        writeln!(out)?;
    }
    let columns: Vec<&Column> = super::columns(report, &look.columns).collect();
    write!(out, "| matrix | shape | dtype |")?;
    for column in &columns {
        write!(out, " {} |", escape(column.label))?;
    }
    writeln!(out, "\n|---|---|---|{}", "--:|".repeat(columns.len()))?;
    for row in changes::shown(report, look) {
        write!(out, "| {} | {} × {} | {} |", escape(&row.name), row.shape[0], row.shape[1], row.dtype)?;
        for column in &columns {
            write!(out, " {} |", cell::cell(row, column))?;
        }
        writeln!(out)?;
    }
    for row in &report.rows {
        if let Some(failure) = &row.failed {
            writeln!(out, "\n{} failed: {}", escape(&row.name), escape(failure))?;
        }
    }
    if report.totals.compared.is_some() {
        for note in changes::notes(report) {
            writeln!(out, "\n{}", escape(&note))?;
        }
    }
    for commit in foot::commits(report) {
        writeln!(out, "\n{}", escape(&commit))?;
    }
    writeln!(out, "\n{}", table::footer(report))
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
