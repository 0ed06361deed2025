//! Markdown for a pull request or a job summary: the verdict first, then the rows that rules speak of, then all rows as
//! a table, as many as the size limit of a job summary allows.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::report::{Aspect, Column, Report, Row, Verdict};

use super::cell;
use super::clash;
use super::footer::{self, Sums};
use super::inline::{TextPlace, code, inline};
use super::problem;
use super::series::{self, OverSteps};
use super::style::TableStyle;
use super::table;
use super::{changes, findings};

/// Findings of one rule that are listed.
const FINDINGS: usize = 20;
/// Rows of the table.
const ROWS: usize = 500;
/// Bytes of both tables: GitHub refuses a summary of more than 1 MiB, whatever names it consists of.
const BYTES: usize = 384 << 10;

pub(super) fn write(report: &Report, style: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    if !report.verdicts.is_empty() {
        write_verdicts(&report.verdicts, out)?;
    }
    findings::write_markdown(report, out)?;
    if report.command == "adapter clash" {
        clash::write_markdown(report, out)?;
    }
    write_rows(report, style, out)?;
    for Sums { head, rows } in footer::sums(report) {
        let cells = |cells: &[String]| cells.iter().map(|cell| cell_of(cell)).collect::<Vec<_>>();
        let head = cells(&head);
        let rule = "--:|".repeat(head.len() - 1);
        let mut table = Limited::new(&format!("\n{}|---|{rule}\n", line(&head, &[])));
        let left = rows.iter().filter(|row| !table.push(&line(&cells(row), &[]))).count();
        table.write(left, out)?;
    }
    for (name, failure) in report.failures().take(FINDINGS) {
        writeln!(out, "\n{} failed: {}", line_of(name), line_of(failure))?;
    }
    if report.totals.compared.is_some() {
        for note in changes::notes(report) {
            writeln!(out, "\n{}", line_of(&note))?;
        }
    }
    let mut columns = super::columns(report, &style.columns);
    let changes = columns.any(|column| column.means().aspect == Aspect::StepChange);
    for note in series::notes(report, OverSteps { lines: false, changes }) {
        writeln!(out, "\n{}", line_of(&note))?;
    }
    for commit in footer::commits(report) {
        writeln!(out, "\n{}", line_of(&commit))?;
    }
    writeln!(out, "\n{}", line_of(&table::footer(report)))
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
        writeln!(
            out,
            "| {} | {word} | {} |",
            code(&verdict.rule, TextPlace::Cell),
            cell_of(&problem::told(verdict))
        )?;
    }
    writeln!(out)?;
    let several: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.offenders.len() > 1).collect();
    if several.is_empty() {
        return Ok(());
    }
    let mut table = Limited::new("| rule | matrix | what |\n|---|---|---|\n");
    let mut left = 0;
    for verdict in several {
        for (i, finding) in verdict.offenders.iter().enumerate() {
            let matrix = finding.matrix.as_deref().unwrap_or("");
            let note = finding.note.as_ref().map_or_else(String::new, |note| format!("; {note}"));
            let line = format!(
                "| {} | {} | {} |\n",
                code(&verdict.rule, TextPlace::Cell),
                cell_of(matrix),
                cell_of(&format!("{}{note}", finding.what))
            );
            left += usize::from(i >= FINDINGS || !table.push(&line));
        }
    }
    table.write(left, out)?;
    writeln!(out)
}

fn write_rows(report: &Report, style: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    let columns: Vec<&Column> = super::columns(report, &style.columns).collect();
    let labels: Vec<String> = columns.iter().map(|column| cell_of(column.label)).collect();
    let rule = "--:|".repeat(columns.len());
    let head = line(&["matrix".to_owned(), "shape".to_owned(), "dtype".to_owned()], &labels);
    let mut table = Limited::new(&format!("{head}|---|---|---|{rule}\n"));
    let mut rows = changes::shown(report, style);
    if rows.len() > ROWS {
        rows = worst(report, rows);
    }
    let mut left = 0;
    for (i, row) in rows.into_iter().enumerate() {
        let [height, width] = row.shape;
        let first = [cell_of(&row.name), format!("{height} × {width}"), cell_of(row.storage())];
        let cells: Vec<String> = columns.iter().map(|column| cell::cell(row, column)).collect();
        let line = line(&first, &cells);
        left += usize::from(i >= ROWS || !table.push(&line));
    }
    table.write(left, out)
}

fn line(first: &[String], cells: &[String]) -> String {
    format!("| {} |\n", [first, cells].concat().join(" | "))
}

fn cell_of(text: &str) -> String {
    inline(text, TextPlace::Cell)
}

fn line_of(text: &str) -> String {
    inline(text, TextPlace::Line)
}

/// The rows that rules speak of before all others, each in report order.
fn worst<'r>(report: &Report, rows: Vec<&'r Row>) -> Vec<&'r Row> {
    let offenders = report.verdicts.iter().flat_map(|verdict| &verdict.offenders);
    let named: BTreeSet<&str> = offenders.filter_map(|offender| offender.matrix.as_deref()).collect();
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
