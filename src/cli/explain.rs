//! `svdkit explain`: what a column means, as docs/metrics.md has it; a test keeps that page and the program equal.

use clap::Args;

use super::{Status, print};
use crate::error::Error;
use crate::gate;
use crate::metric::WEIGHTWATCHER;

/// The page that defines every column.
const PAGE: &str = include_str!("../../docs/metrics.md");

/// What a comparison appends to a metric's key.
const COMPARED: [(&str, &str); 3] = [
    ("_base", "the base's value in a comparison"),
    ("_difference", "tuned − base in a comparison"),
    ("_change", "(tuned − base)/|base| in a comparison; 0 where both are equal, even if both are 0,"),
];

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
            let compared =
                COMPARED.iter().find_map(|(ending, what)| Some((wanted.strip_suffix(ending)?, what)));
            let compared = compared.filter(|(key, _)| keys.contains(key));
            let key = compared
                .map_or_else(|| gate::nearest(wanted, &keys), |(key, _)| gate::nearest(key, &keys))?;
            let text = sections().find(|(found, _)| *found == key).map_or("", |(_, text)| text);
            let what = compared.map_or_else(String::new, |(_, what)| format!("{wanted}\n\n{what} of:\n\n"));
            format!("{what}{key}\n\n{}\n", text.trim())
        }
    };
    print(text.as_bytes()).map(|()| Status::Fine)
}

/// The keys of all columns on the page.
pub(super) fn keys() -> Vec<&'static str> {
    sections().map(|(key, _)| key).collect()
}

/// Whether any command has a column of this name.
pub(super) fn is_known(key: &str) -> bool {
    let key = key.split('@').next().unwrap_or(key);
    let metric = COMPARED.iter().find_map(|(ending, _)| key.strip_suffix(ending)).unwrap_or(key);
    let peers = || WEIGHTWATCHER.iter().map(|metric| metric.column.key);
    keys().into_iter().chain(peers()).any(|known| known == key || known == metric)
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
