//! A report as bytes, one file a format. Nothing here decides what is true; it only writes what the report holds.

pub mod advice;
pub mod allocation;
mod cell;
mod changes;
#[cfg(feature = "parquet")]
mod columnar;
mod comma;
mod flat;
mod fold;
mod foot;
mod github;
mod gitlab;
mod html;
pub mod inventory;
mod json;
mod junit;
mod markdown;
pub mod plot;
mod problem;
mod table;

use std::io::{self, Write};

use crate::report::{Column, Report};

pub use fold::Experts;
pub use table::{Layout, Look, Overflow, Paint, Unchanged};

/// The formats a report can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// For a person at a terminal.
    Table,
    /// The whole report, one row a line.
    Json,
    /// One JSON object a line: rows, then what was skipped.
    Jsonl,
    /// One line a matrix, with a header.
    Csv,
    /// The lines of the CSV with types, for notebooks; always a file.
    #[cfg(feature = "parquet")]
    Parquet,
    /// For a pull request or a job summary.
    Markdown,
    /// One page for a browser, with pictures.
    Html,
    /// Rules as test cases, for build servers.
    Junit,
    /// Annotations of a GitHub workflow.
    Github,
    /// GitLab's code-quality report.
    Gitlab,
}

/// Every format with its name and the file extensions that stand for it.
pub const OUTPUT_FORMATS: &[(OutputFormat, &str, &[&str])] = &[
    (OutputFormat::Table, "table", &["txt"]),
    (OutputFormat::Json, "json", &["json"]),
    (OutputFormat::Jsonl, "jsonl", &["jsonl", "ndjson"]),
    (OutputFormat::Csv, "csv", &["csv"]),
    #[cfg(feature = "parquet")]
    (OutputFormat::Parquet, "parquet", &["parquet"]),
    (OutputFormat::Markdown, "markdown", &["md", "markdown"]),
    (OutputFormat::Html, "html", &["html", "htm"]),
    (OutputFormat::Junit, "junit", &["xml"]),
    (OutputFormat::Github, "github", &[]),
    (OutputFormat::Gitlab, "gitlab", &[]),
];

/// Writes `report` as `format`. `chosen` are the columns a person wants to see, most wanted first; machine formats
/// carry all columns, and so do people's when the user named them.
///
/// # Errors
/// What the writer says.
pub fn write(report: &Report, format: OutputFormat, look: &Look<'_>, out: &mut dyn Write) -> io::Result<()> {
    match format {
        OutputFormat::Table => table::write(report, look, out),
        OutputFormat::Json => json::write(report, out),
        OutputFormat::Jsonl => json::write_lines(report, out),
        OutputFormat::Csv => comma::write(report, out),
        #[cfg(feature = "parquet")]
        OutputFormat::Parquet => columnar::write(report, out),
        OutputFormat::Markdown => markdown::write(report, look, out),
        OutputFormat::Html => html::write(report, look, out),
        OutputFormat::Junit => junit::write(report, out),
        OutputFormat::Github => github::write(report, out),
        OutputFormat::Gitlab => gitlab::write(report, out),
    }
}

/// The columns of `report` that `keys` name, in that order.
fn columns<'a>(report: &'a Report, keys: &'a [&str]) -> impl Iterator<Item = &'static Column> + use<'a> {
    keys.iter().filter_map(|key| report.columns.iter().find(|column| column.key == *key).copied())
}
