//! CSV: one line a matrix and one a skipped tensor; what is missing is an empty cell, its reason is in the JSON.

use std::borrow::Cow;
use std::io::{self, Write};

use super::flat::{self, Cell};
use crate::report::{Kind, Pattern, Report};

pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(flat::columns(report).map(|(name, _)| name))?;
    for line in flat::lines(report) {
        writer.write_record(
            line.into_iter()
                .map(|cell| match cell {
                    Cell::Empty => Cow::Borrowed(""),
                    Cell::Text(text) => text,
                    Cell::Count(n) => n.to_string().into(),
                    Cell::Real(x) => serde_json::to_string(&x).unwrap_or_default().into(),
                })
                .map(Cow::into_owned),
        )?;
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
