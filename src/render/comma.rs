//! CSV: one line a matrix and one a skipped tensor; what is missing is an empty cell, its reason is in the JSON.

use std::io::{self, Write};

use crate::error::printable;
use crate::report::{Report, Value};

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
