//! `svdkit explain`: what a column means, as docs/metrics.md has it; a test keeps that page and the program equal.

use clap::Args;

use super::{Status, print};
use crate::analysis::columns;
use crate::error::Error;
use crate::gate;
use crate::report::Aspect;

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
            let keys = keys();
            let meant = columns::meaning(wanted).filter(|key| key.side.is_none());
            let meant = meant.filter(|key| keys.contains(&key.metric.key));
            let key = meant.map_or_else(|| gate::nearest(wanted, &keys), |key| Ok(key.metric.key))?;
            let text = sections().find(|(found, _)| *found == key).map_or("", |(_, text)| text);
            let compared = match meant.map(|key| key.aspect) {
                None | Some(Aspect::Value) => None,
                Some(Aspect::Base) => Some("the base's value in a comparison"),
                Some(Aspect::Difference) => Some("tuned − base in a comparison"),
                Some(Aspect::Change) => {
                    Some("(tuned − base)/|base| in a comparison; 0 where both are equal, even if both are 0,")
                }
            };
            let what = compared.map_or_else(String::new, |what| format!("{wanted}\n\n{what} of:\n\n"));
            format!("{what}{key}\n\n{}\n", text.trim())
        }
    };
    print(text.as_bytes()).map(|()| Status::Fine)
}

/// The keys of all columns on the page.
pub(super) fn keys() -> Vec<&'static str> {
    sections().map(|(key, _)| key).collect()
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
