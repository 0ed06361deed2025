//! `svdkit explain`: what a column or a finding means, as docs/metrics.md and docs/findings.md have it; tests keep these
//! pages and the program equal.

use clap::Args;

use super::{Status, print};
use crate::analysis::columns;
use crate::error::Error;
use crate::gate;
use crate::report::Aspect;

/// The page that defines every column.
const METRICS: &str = include_str!("../../docs/metrics.md");

/// The page that defines every finding.
const FINDINGS: &str = include_str!("../../docs/findings.md");

/// Says what a column or a finding means: formula, range, how to read it, source. Without a name it lists all of them.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The key of a column, as in `--columns`, or the name of a finding
    column: Option<String>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let text = match &arguments.column {
        None => all() + "\n",
        Some(wanted) if let Some((name, text)) = sections(FINDINGS).find(|(name, _)| name == wanted) => {
            format!("{name}\n\n{}\n", text.trim())
        }
        Some(wanted) => {
            let keys = keys();
            let names: Vec<&str> =
                keys.iter().copied().chain(sections(FINDINGS).map(|(name, _)| name)).collect();
            let meant = columns::meaning(wanted).filter(|key| key.side.is_none());
            let meant = meant.filter(|key| keys.contains(&key.metric.key));
            let key = meant.map_or_else(|| gate::nearest(wanted, &names), |key| Ok(key.metric.key))?;
            let text = sections(METRICS).find(|(found, _)| *found == key).map_or("", |(_, text)| text);
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
    sections(METRICS).map(|(key, _)| key).collect()
}

/// Every column and every finding with its first sentence.
pub(super) fn all() -> String {
    let lines = |page| {
        let width = sections(page).map(|(key, _)| key.len()).max().unwrap_or(0);
        let line = move |(key, text): (&str, &str)| {
            let sentence = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
            format!("  {key:width$}  {}\n", sentence.trim_end_matches('.').replace("**", ""))
        };
        sections(page).map(line).collect::<String>()
    };
    format!("Columns:\n{}\nFindings:\n{}\n`svdkit explain NAME` says more", lines(METRICS), lines(FINDINGS))
}

/// The text below each `` ### `key` `` heading, up to the next heading, in the order of the page.
fn sections(page: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let parts = page.split("\n### `").skip(1);
    parts.filter_map(|part| {
        let (key, text) = part.split_once("`\n")?;
        Some((key, text.split("\n## ").next().unwrap_or(text)))
    })
}
