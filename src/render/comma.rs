//! CSV: one line a matrix and one a skipped tensor; what is missing is an empty cell, its reason is in the JSON.

use std::io::{self, Write};

use crate::error::printable;
use crate::report::{Kind, Pattern, Report, Value};

pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    let fixed = ["name", "tensor", "block", "role", "rows", "cols", "dtype", "status", "reason", "tied_to"];
    writer.write_record(fixed.iter().copied().chain(report.columns.iter().map(|column| column.key)))?;
    for row in &report.rows {
        let [rows, cols] = row.shape;
        let block = row.block.map_or_else(String::new, |n| n.to_string());
        let (rows, cols) = (rows.to_string(), cols.to_string());
        let (reason, tied) = (row.failed.as_deref().unwrap_or(""), row.tied_to.as_deref().unwrap_or(""));
        let fixed =
            [&row.name, &row.tensor, &block, &row.role, &rows, &cols, &row.dtype, row.status(), reason, tied];
        let values = report.columns.iter().map(|column| match row.values.get(column.key) {
            Some(Value::Count(n)) => n.to_string(),
            Some(Value::Real(x)) => serde_json::to_string(&x).unwrap_or_default(),
            Some(Value::Missing(_)) | None => String::new(),
        });
        writer.write_record(fixed.iter().map(|s| (*s).to_owned()).chain(values))?;
    }
    for skipped in &report.skipped {
        let fixed =
            ["", &printable(&skipped.tensor), "", "", "", "", &skipped.dtype, "skipped", &skipped.reason, ""];
        writer.write_record(fixed.iter().copied().chain(report.columns.iter().map(|_| "")))?;
    }
    writer.flush()
}

/// One line a pattern of tensors.
pub(super) fn write_patterns(patterns: &[Pattern], out: &mut dyn Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record([
        "pattern",
        "role",
        "count",
        "shape",
        "dtype",
        "parameters",
        "bytes",
        "becomes",
        "matrices",
        "kind",
        "reason",
    ])?;
    for pattern in patterns {
        let shape: Vec<String> = pattern.shape.iter().map(u64::to_string).collect();
        let bytes = pattern.bytes.map_or_else(String::new, |bytes| bytes.to_string());
        writer.write_record([
            pattern.pattern.as_str(),
            &pattern.role,
            &pattern.count.to_string(),
            &shape.join("x"),
            &pattern.dtype,
            &pattern.parameters.to_string(),
            &bytes,
            pattern.becomes.name(),
            &pattern.matrices.to_string(),
            pattern.kind.map_or("", Kind::name),
            pattern.reason.as_deref().unwrap_or_default(),
        ])?;
    }
    writer.flush()
}
