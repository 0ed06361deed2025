//! Markdown for a pull request or a job summary: the verdict first, then the rows that rules speak of, then all rows as
//! a table, as many as fit into what such a place takes.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::report::{Column, Report, Row, Verdict};

use super::cell;
use super::problem;
use super::table::{self, Look};
use super::{changes, foot};

/// Findings of one rule that are listed.
const FINDINGS: usize = 20;
/// Rows of the table.
const ROWS: usize = 500;
/// Bytes of both tables: GitHub refuses a summary of more than 1 MiB, whatever names it consists of.
const BYTES: usize = 384 << 10;

pub(super) fn write(report: &Report, look: &Look<'_>, out: &mut dyn Write) -> io::Result<()> {
    if !report.verdicts.is_empty() {
        write_verdicts(&report.verdicts, out)?;
    }
    write_rows(report, look, out)?;
    for (name, failure) in report.failures().take(FINDINGS) {
        writeln!(out, "\n{} failed: {}", escape(name), escape(failure))?;
    }
    if report.totals.compared.is_some() {
        for note in changes::notes(report) {
            writeln!(out, "\n{}", escape(&note))?;
        }
    }
    for commit in foot::commits(report) {
        writeln!(out, "\n{}", escape(&commit))?;
    }
    writeln!(out, "\n{}", escape(&table::footer(report)))
}

fn write_verdicts(verdicts: &[Verdict], out: &mut dyn Write) -> io::Result<()> {
    let blocking = verdicts.iter().filter(|verdict| verdict.blocks()).count();
    match (blocking, verdicts.len()) {
        (0, 1) => writeln!(out, "**passed**: 1 rule\n")?,
        (0, all) => writeln!(out, "**passed**: {all} rules\n")?,
        (blocking, all) => writeln!(out, "**FAILED**: {blocking} of {all} rules\n")?,
    }
    writeln!(out, "| rule | verdict | worst |\n|---|---|---|")?;
    for verdict in verdicts {
        let word =
            if verdict.blocks() { format!("**{}**", verdict.word()) } else { verdict.word().to_owned() };
        writeln!(out, "| `{}` | {word} | {} |", code(&verdict.rule), escape(&problem::told(verdict)))?;
    }
    writeln!(out)?;
    let several: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.findings.len() > 1).collect();
    if several.is_empty() {
        return Ok(());
    }
    let mut table = Limited::new("| rule | matrix | what |\n|---|---|---|\n");
    let mut left = 0;
    for verdict in several {
        for (i, finding) in verdict.findings.iter().enumerate() {
            let matrix = finding.matrix.as_deref().unwrap_or("");
            let note = finding.note.as_ref().map_or_else(String::new, |note| format!("; {note}"));
            let line = format!(
                "| `{}` | {} | {}{} |\n",
                code(&verdict.rule),
                escape(matrix),
                escape(&finding.what),
                escape(&note)
            );
            left += usize::from(i >= FINDINGS || !table.push(&line));
        }
    }
    table.write(left, out)?;
    writeln!(out)
}

fn write_rows(report: &Report, look: &Look<'_>, out: &mut dyn Write) -> io::Result<()> {
    let columns: Vec<&Column> = super::columns(report, &look.columns).collect();
    let labels: Vec<String> = columns.iter().map(|column| escape(column.label)).collect();
    let rule = "--:|".repeat(columns.len());
    let head = line(&["matrix".to_owned(), "shape".to_owned(), "dtype".to_owned()], &labels);
    let mut table = Limited::new(&format!("{head}|---|---|---|{rule}\n"));
    let mut rows = changes::shown(report, look);
    if rows.len() > ROWS {
        rows = worst(report, rows);
    }
    let mut left = 0;
    for (i, row) in rows.into_iter().enumerate() {
        let [height, width] = row.shape;
        let first = [escape(&row.name), format!("{height} × {width}"), row.storage().to_owned()];
        let cells: Vec<String> = columns.iter().map(|column| cell::cell(row, column)).collect();
        let line = line(&first, &cells);
        left += usize::from(i >= ROWS || !table.push(&line));
    }
    table.write(left, out)
}

fn line(first: &[String], cells: &[String]) -> String {
    format!("| {} |\n", [first, cells].concat().join(" | "))
}

/// The rows that rules speak of before all others, each in report order.
fn worst<'r>(report: &Report, rows: Vec<&'r Row>) -> Vec<&'r Row> {
    let findings = report.verdicts.iter().flat_map(|verdict| &verdict.findings);
    let named: BTreeSet<&str> = findings.filter_map(|finding| finding.matrix.as_deref()).collect();
    let (first, others): (Vec<&Row>, Vec<&Row>) =
        rows.into_iter().partition(|row| named.contains(row.name.as_str()));
    first.into_iter().chain(others).collect()
}

/// A table that takes lines as long as they fit.
struct Limited {
    text: String,
}

impl Limited {
    fn new(head: &str) -> Self {
        Self { text: head.to_owned() }
    }

    /// Whether there was room for `line`.
    fn push(&mut self, line: &str) -> bool {
        let fits = self.text.len() + line.len() <= BYTES;
        if fits {
            self.text.push_str(line);
        }
        fits
    }

    /// The table, and how many lines are not in it.
    fn write(self, left: usize, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.text.as_bytes())?;
        if left > 0 {
            writeln!(out, "\n… and {left} more; the JSON report has them all")?;
        }
        Ok(())
    }
}

/// `text` in a cell; a name may not bring an element of HTML with it.
fn escape(text: &str) -> String {
    code(text).replace('<', "&lt;")
}

/// `text` in a cell, between signs that make it code.
fn code(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_cell_or_bring_a_picture() {
        assert_eq!(escape("a|b <img src=x>\n"), r"a\|b &lt;img src=x> ");
        assert_eq!(code("alpha < 2"), "alpha < 2");
    }
}
