//! A report as bytes, one file a format. It decides nothing and writes what the report holds.

pub mod advice;
pub mod allocation;
mod cell;
mod changes;
mod clash;
mod csv_file;
mod escape;
mod findings;
mod flat;
mod fold;
mod footer;
mod github;
mod gitlab;
mod grid;
mod html;
mod inline;
pub mod inventory;
mod json;
mod junit;
mod markdown;
mod names;
#[cfg(feature = "parquet")]
mod parquet_file;
pub mod plot;
mod problem;
mod prose;
mod series;
mod style;
mod table;
mod wrap;

use std::borrow::Cow;
use std::io::{self, Write};

use crate::report::{Column, Report};
use escape::{Escaped, Style};

pub use prose::prose;
pub use style::{Experts, Formulas, Layout, Overflow, Paint, TableStyle, Unchanged};

/// The formats a report can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// A table for the terminal.
    Table,
    /// The whole report, one row a line.
    Json,
    /// One JSON object a line: rows, then skipped tensors.
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

/// Every format with its name and file extensions.
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
/// Here, and nowhere else, texts that a hostile file may have chosen become harmless: JSON and Parquet give them back
/// unchanged, all other formats make them printable, and all output passes through `Escaped`.
///
/// # Errors
/// Errors of the writer.
pub fn write(
    report: &Report,
    format: OutputFormat,
    style: &TableStyle<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    #[cfg(feature = "parquet")]
    if format == OutputFormat::Parquet {
        return parquet_file::write(report, out);
    }
    let json = matches!(format, OutputFormat::Json | OutputFormat::Jsonl);
    let out: &mut dyn Write = &mut Escaped::new(out, escaping(format, style));
    let report = if json { Cow::Borrowed(report) } else { report.printable() };
    let report = report.as_ref();
    match format {
        // With chosen columns every module is listed; with an order or a limit, below the matrix of pairs.
        OutputFormat::Table if report.command == "adapter clash" && style.overflow == Overflow::Drop => {
            clash::write(report, style, out)?;
            if style.layout == Layout::Flat || style.limit.is_some() {
                table::write(report, style, out)
            } else {
                table::write_end(report, style, out)
            }
        }
        OutputFormat::Table => table::write(report, style, out),
        OutputFormat::Json => json::write_report(report, out),
        OutputFormat::Jsonl => json::write_lines(report, out),
        OutputFormat::Csv => csv_file::write(report, style.formulas, out),
        #[cfg(feature = "parquet")]
        OutputFormat::Parquet => Ok(()),
        OutputFormat::Markdown => markdown::write(report, style, out),
        OutputFormat::Html => html::write(report, style, out),
        OutputFormat::Junit => junit::write(report, out),
        OutputFormat::Github => github::write(report, out),
        OutputFormat::Gitlab => gitlab::write(report, out),
    }
}

/// How harmful characters are written in `format`.
fn escaping(format: OutputFormat, style: &TableStyle<'_>) -> Style {
    match format {
        OutputFormat::Json | OutputFormat::Jsonl | OutputFormat::Gitlab => Style::Json,
        OutputFormat::Table => Style::Text(style.paint),
        OutputFormat::Github => Style::Commands,
        _ => Style::Text(Paint::Plain),
    }
}

/// `value` as JSON in one line, without a raw character that hides or drives a terminal.
pub fn json_line(value: &serde_json::Value) -> String {
    let mut line = vec![];
    // A vector takes everything.
    let _ = write!(Escaped::new(&mut line, Style::Json), "{value}");
    String::from_utf8_lossy(&line).into_owned()
}

/// The columns of `report` that `keys` name, in that order.
fn columns<'a>(report: &'a Report, keys: &'a [&str]) -> impl Iterator<Item = &'static Column> + use<'a> {
    keys.iter().filter_map(|key| report.columns.iter().find(|column| column.key == *key).copied())
}
