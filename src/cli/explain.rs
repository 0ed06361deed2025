//! `svdkit explain`: what a column means, as docs/metrics.md has it; a test keeps that page and the program equal.

use clap::Args;

use super::{Status, print};
use crate::error::Error;
use crate::gate;

/// The page that defines every column.
const PAGE: &str = include_str!("../../docs/metrics.md");

/// Says what a column means: formula, range, how to read it, source. Without a name it lists all columns.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The key of a column, as in `--columns`
    column: Option<String>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let text = match &arguments.column {
        None => all() + "\n",
        Some(wanted) => {
            let keys: Vec<&str> = sections().map(|(key, _)| key).collect();
            let key = gate::nearest(wanted, &keys)?;
            let text = sections().find(|(found, _)| *found == key).map_or("", |(_, text)| text);
            format!("{key}\n\n{}\n", text.trim())
        }
    };
    print(text.as_bytes()).map(|()| Status::Fine)
}

/// Every column with its first sentence.
pub(super) fn all() -> String {
    let width = sections().map(|(key, _)| key.len()).max().unwrap_or(0);
    let line = |(key, text): (&str, &str)| {
        let sentence = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
        format!("  {key:width$}  {}\n", sentence.trim_end_matches('.'))
    };
    let lines: String = sections().map(line).collect();
    format!("Columns:\n{lines}\n`svdkit explain COLUMN` says more")
}

/// The text below each `` ### `key` `` heading, up to the next heading, in the order of the page.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    let parts = PAGE.split("\n### `").skip(1);
    parts.filter_map(|part| {
        let (key, text) = part.split_once("`\n")?;
        Some((key, text.split("\n## ").next().unwrap_or(text)))
    })
}
