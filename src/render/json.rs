//! JSON: the whole report with one row a line, so that `diff` of two reports reads well; and JSON Lines.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use crate::report::Report;

/// Writes the report as one JSON document; arrays of objects have one element a line.
pub(super) fn write(report: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let Value::Object(fields) = serde_json::to_value(report)? else { return Ok(()) };
    out.write_all(b"{")?;
    for (i, (key, value)) in fields.iter().enumerate() {
        out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
        write!(out, "{}: ", serde_json::to_string(key)?)?;
        match value {
            Value::Array(items) if items.iter().any(Value::is_object) => {
                out.write_all(b"[")?;
                for (i, item) in items.iter().enumerate() {
                    out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
                    serde_json::to_writer(&mut *out, item)?;
                }
                out.write_all(b"\n]")?;
            }
            other => serde_json::to_writer(&mut *out, other)?,
        }
    }
    out.write_all(b"\n}\n")
}

/// Writes one object a line: every row with its `status`, then every skipped tensor.
pub(super) fn write_lines(report: &Report, out: &mut dyn Write) -> io::Result<()> {
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
