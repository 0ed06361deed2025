//! JSON: the whole report with one row a line, so that `diff` of two reports reads well; and JSON Lines.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use crate::report::Report;

/// Writes a document; arrays of objects have one element a line.
pub(super) fn write(document: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    write_with(document, &|_, _| Ok(false), out)
}

/// Writes a report in the same way, without a copy of all its rows.
pub(super) fn write_report(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let list = |key: &str, out: &mut dyn Write| match key {
        "rows" if !report.rows.is_empty() => write_list(report.rows.iter(), out).map(|()| true),
        "skipped" if !report.skipped.is_empty() => write_list(report.skipped.iter(), out).map(|()| true),
        _ => Ok(false),
    };
    write_with(&without_rows(report), &list, out)
}

/// A report without its rows and skipped tensors: of a large model they are nearly all of it.
fn without_rows(report: &Report) -> Report {
    Report {
        schema: report.schema,
        svdkit: report.svdkit.clone(),
        command: report.command.clone(),
        model: report.model.clone(),
        base: report.base.clone(),
        tuned: report.tuned.clone(),
        settings: report.settings.clone(),
        columns: report.columns.clone(),
        rows: vec![],
        skipped: vec![],
        totals: report.totals.clone(),
        groups: report.groups.clone(),
        notes: report.notes.clone(),
        summary: report.summary.clone(),
        findings: report.findings.clone(),
        findings_unchecked: report.findings_unchecked.clone(),
        verdicts: report.verdicts.clone(),
        unlisted: report.unlisted.clone(),
        steps: report.steps.clone(),
    }
}

/// Writes a document, each of whose fields `list` may write instead, and says so.
fn write_with(
    document: &impl Serialize,
    list: &dyn Fn(&str, &mut dyn Write) -> io::Result<bool>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Value::Object(fields) = serde_json::to_value(document)? else { return Ok(()) };
    out.write_all(b"{")?;
    for (i, (key, value)) in fields.iter().enumerate() {
        out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
        write!(out, "{}: ", serde_json::to_string(key)?)?;
        match value {
            _ if list(key, out)? => {}
            Value::Array(items) if items.iter().any(Value::is_object) => write_list(items.iter(), out)?,
            other => serde_json::to_writer(&mut *out, other)?,
        }
    }
    out.write_all(b"\n}\n")
}

/// Writes an array, one element a line.
fn write_list(items: impl Iterator<Item = impl Serialize>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"[")?;
    for (i, item) in items.enumerate() {
        out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, &item)?;
    }
    out.write_all(b"\n]")
}

/// Writes one object a line: the steps of a series, every row with its `status`, then every skipped tensor.
pub(super) fn write_lines(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for step in &report.steps {
        write_line("step", serde_json::to_value(step)?, out)?;
    }
    for row in &report.rows {
        write_line(row.status(), serde_json::to_value(row)?, out)?;
    }
    for skipped in &report.skipped {
        write_line("skipped", serde_json::to_value(skipped)?, out)?;
    }
    Ok(())
}

/// Writes one object a line.
pub(super) fn write_each(items: &[impl Serialize], out: &mut dyn Write) -> io::Result<()> {
    items.iter().try_for_each(|item| {
        serde_json::to_writer(&mut *out, item)?;
        out.write_all(b"\n")
    })
}

fn write_line(status: &str, content: Value, out: &mut dyn Write) -> io::Result<()> {
    let Value::Object(fields) = content else { return Ok(()) };
    let line = std::iter::once(("status".to_owned(), Value::from(status))).chain(fields);
    serde_json::to_writer(&mut *out, &Value::Object(line.collect()))?;
    out.write_all(b"\n")
}
