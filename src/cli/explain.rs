//! `svdkit explain`: what a column or a finding means, as docs/metrics.md and docs/findings.md have it; tests keep these
//! pages and the program equal.

use std::borrow::Cow;

use clap::Args;

use super::options::table_style;
use super::{Status, print};
use crate::analysis::columns::{self, Words};
use crate::error::Error;
use crate::gate;
use crate::render::prose;
use crate::report::{Aspect, Column, ColumnKey, Flag, MissingReason};

/// The page that defines every column.
const METRICS: &str = include_str!("../../docs/metrics.md");

/// The page that defines every finding.
const FINDINGS: &str = include_str!("../../docs/findings.md");

/// Says what a column or a finding means: formula, range, how to read it, source. Without a name it lists all of them.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A key, a header or a mark of the table, a finding, a level, an outcome of a rule, a flag, a code, or a rule
    #[arg(value_name = "NAME", num_args = 0..)]
    name: Vec<String>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let width = table_style().width;
    let text = match arguments.name.join(" ") {
        name if name.is_empty() => listed(width),
        name => prose(&explained(&name)?, width),
    };
    let text = text.trim_end().to_owned() + "\n";
    print(text.as_bytes()).map(|()| Status::Fine)
}

/// What stands in tables and verdicts beside names and numbers.
const WORDS: [(&[&str], &str); 27] = [
    (
        &["~"],
        "before an exponent: it was fitted on fewer than 50 values, so its confidence is low. `alpha_sigma` is its standard error.",
    ),
    (
        &["–", "-"],
        "in a cell: the value could not be measured, or has no meaning for this matrix. `missing` in JSON and CSV has the reason.",
    ),
    (
        &["≤"],
        "before a cosine: a bound that decides whether the direction is an intruder. `--exact` computes the cosine itself.",
    ),
    (&["=", "tied"], "before a note: the matrix is byte-identical to another one and was computed once."),
    (&["!"], "before a note: something went wrong, or an expert stands apart from the others."),
    (&["?"], "before a note: a caution about some rows, or a likely explanation of a change."),
    (&["Δ"], "a change: tuned − base. Before a note, it says which two sides are compared."),
    (
        &["problem"],
        "the level of a finding: certainly broken or untrained. GitHub and GitLab output shows it as an error; `--fail-if 'finding(problem)'` fails on it.",
    ),
    (&["caution"], "the level of a finding: look at it. GitHub and GitLab output shows it as a warning."),
    (&["note"], "the level of a finding: true and worth knowing, often harmless."),
    (&["pass"], "the outcome of a rule: no value crosses its limit."),
    (
        &["accepted"],
        "the outcome of a rule: values cross its limit, and `svdkit.toml` accepts all of them, with a reason. The run does not fail.",
    ),
    (
        &["inconclusive"],
        "the outcome of a rule: a value is too close to the limit for its accuracy, or nothing could be judged. The run ends with exit code 1.",
    ),
    (
        &["warn"],
        "the outcome of a rule with `severity = \"warn\"`: it is broken, which is reported and does not fail the run.",
    ),
    (&["matrix"], "a header: the name of the row, which rules and `--include` know it by."),
    (&["shape"], "a header: rows × columns of the matrix, outputs × inputs of most layers."),
    (&["dtype"], "a header: the type that the entries are stored in, or the scheme of a quantized weight."),
    (
        &["status"],
        "a header: `measured`, `unchanged`, `added`, `removed`, `reshaped` or `failed`, against the base of a comparison.",
    ),
    (
        &["matrices"],
        "a header below the rows: how many matrices, or rows, a sum is of. `role`, `block` and kinds of units say what they share.",
    ),
    (&["log σ"], "a header: the singular values from the first to the last, their logarithms as bars."),
    (&["over steps"], "a header: the number left of it at each step of a series, as bars."),
    (
        &["max Δ", "max_step_change"],
        "of a number over the steps of a series: its largest change from one step to the next, relative to the earlier one and with its sign; `+∞` is a change from 0. A rule writes `max_step_change(COLUMN) > 50%`.",
    ),
    (&["+∞"], "a change from 0: larger than any number. JSON has null, with the reason `zero_base`."),
    (&["max Δ at"], "a header: the step of a series that the largest change of a number led to."),
    (
        &["slope"],
        "of a number over the steps of a series: how fast it grows, by least squares and per step. A rule writes `slope(COLUMN) > 0`.",
    ),
    (
        &["last"],
        "of a number over the steps of a series: that of the last step. A rule writes `last(COLUMN) > 30`, the same as `COLUMN > 30`.",
    ),
    (
        &["FAIL"],
        "the outcome of a rule: a value crosses its limit, or could not be measured. The run ends with exit code 1.",
    ),
];

/// What the name means, or the part of a rule that names something, or a header without the side before it: a header may
/// look like a rule.
fn explained(name: &str) -> Result<String, Error> {
    let part = gate::finding_of(name).map(Cow::Borrowed).or_else(|| gate::key_of(name));
    // The function of a rule without its comparison.
    let part = part.or_else(|| {
        let whole = name.ends_with(')').then(|| format!("{name} > 0"))?;
        Some(gate::key_of(&whole)?.into_owned().into())
    });
    let found = meaning(name).or_else(|_| meaning(part.as_deref().unwrap_or(name)));
    found.or_else(|error| {
        let header = name.split_once(' ').and_then(|(_, header)| labeled(header));
        header.map_or(Err(error), |key| Ok(told(name, key)))
    })
}

fn meaning(word: &str) -> Result<String, Error> {
    let is = |known: &&&str| known.to_lowercase() == word.to_lowercase();
    if let Some(([first, ..], text)) = WORDS.iter().find(|(names, _)| names.iter().any(|name| is(&name))) {
        return Ok(format!("{first}\n\n{text}\n"));
    }
    if let Some(text) = code(word) {
        return Ok(text);
    }
    if let Some((name, text)) = sections(FINDINGS).find(|(name, _)| *name == word) {
        return Ok(format!("{name}\n\n{}\n", levelled(text.trim())));
    }
    if let Some(key) = columns::meaning(word).or_else(|| labeled(word)) {
        return Ok(told(word, key));
    }
    let found = gate::nearest(word, &names())?;
    let text = [METRICS, FINDINGS].into_iter().flat_map(sections).find(|(name, _)| *name == found);
    Ok(text.map_or_else(String::new, |(name, text)| format!("{name}\n\n{}\n", levelled(text.trim()))))
}

/// The number that a table calls `header`.
fn labeled(header: &str) -> Option<ColumnKey<'static>> {
    let known: Vec<&'static Column> = columns::COMMANDS.into_iter().flat_map(columns::metrics_of).collect();
    let all = [known, [derived("compare"), derived("series")].concat()];
    let found = all.iter().find_map(|columns| gate::column(header, columns).ok());
    let found = found.or_else(|| columns::of_ranked_label(header));
    // What a comparison of two reports makes of it.
    found.map(Column::means).or_else(|| {
        let (aspect, header) = match (header.strip_prefix("Δ "), header.strip_suffix(" +")) {
            (Some(header), _) => (Aspect::Change, header),
            (_, Some(header)) => (Aspect::Difference, header),
            _ => (Aspect::Base, header.strip_prefix("base ")?),
        };
        let found = all.iter().find_map(|columns| gate::column(header, columns).ok());
        found.or_else(|| columns::of_ranked_label(header)).map(|column| column.means().of(aspect))
    })
}

/// What a number means, which was called `word`.
fn told(word: &str, key: ColumnKey<'_>) -> String {
    let what = ending(key.aspect).map_or_else(String::new, |ending| format!("{word}\n\n{ending} of:\n\n"));
    what + &page(key.metric)
}

/// The columns that `command` makes of its metrics.
pub(super) fn derived(command: &str) -> Vec<&'static Column> {
    let aspects = match command {
        "compare" => [Aspect::Change, Aspect::Base, Aspect::Difference],
        "series" => Aspect::OF_STEPS,
        _ => return vec![],
    };
    let metrics = columns::metrics(command, Words::Svdkit).into_iter();
    let metrics = metrics.filter(|metric| command == "series" || !metric.is_of_a_pair());
    let all = metrics.flat_map(|metric| aspects.map(|aspect| ColumnKey { metric, aspect, side: None }));
    all.map(ColumnKey::column).collect()
}

/// What the page says of a column; a column of another tool has no place there.
fn page(column: &Column) -> String {
    let Column { key, label, doc, range, source, .. } = column;
    let text = sections(METRICS).find(|(known, _)| known == key).map(|(_, text)| text.trim().to_owned());
    let text = text.unwrap_or_else(|| format!("{doc}.\n\nHeader {label}. Range {range}. Source: {source}."));
    format!("{key}\n\n{text}\n")
}

/// What an ending of a key makes of its metric.
fn ending(aspect: Aspect) -> Option<&'static str> {
    match aspect {
        Aspect::Value => None,
        Aspect::Base => Some("the base's value in a comparison"),
        Aspect::Difference => Some("tuned − base in a comparison"),
        Aspect::Change => {
            Some("(tuned − base)/|base| in a comparison; 0 where both are equal, even if both are 0,")
        }
        Aspect::Slope => Some("how fast it grows over the steps of a series, by least squares and per step,"),
        Aspect::StepChange => Some(
            "the largest change from one step of a series to the next, relative to the earlier one and with its sign,",
        ),
        Aspect::StepChangeAt => Some("the step of a series at which the largest change"),
    }
}

/// What a code of the JSON report means.
fn code(word: &str) -> Option<String> {
    let flag = Flag::of_code(word).map(|flag| format!("a flag of a row: {flag}"));
    let missing = || MissingReason::of_code(word).map(|why| format!("why a value is missing: {why}"));
    flag.or_else(missing).map(|text| format!("{word}\n\n{text}.\n"))
}

/// The keys of all columns on the page.
pub(super) fn keys() -> Vec<&'static str> {
    sections(METRICS).map(|(key, _)| key).collect()
}

/// The names of all columns and findings on the pages.
pub(super) fn names() -> Vec<&'static str> {
    keys().into_iter().chain(sections(FINDINGS).map(|(name, _)| name)).collect()
}

/// Every column and every finding with its first sentence, for the long help.
pub(super) fn all() -> String {
    listed(100)
}

/// The same in lines of `width`.
fn listed(width: usize) -> String {
    let lines = |page| {
        let longest = sections(page).map(|(key, _)| key.len()).max().unwrap_or(0);
        let line = move |(key, text): (&str, &str)| {
            let sentence = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
            let sentence =
                prose(levelled(sentence).trim_end_matches('.'), width.saturating_sub(longest + 4).max(24));
            let indent = format!("\n{}", " ".repeat(longest + 4));
            format!("  {key:longest$}  {}\n", sentence.replace('\n', &indent))
        };
        sections(page).map(line).collect::<String>()
    };
    let words: Vec<&str> = WORDS.iter().map(|(names, _)| names[0]).collect();
    let words = prose(&words.join(" · "), width.saturating_sub(2)).replace('\n', "\n  ");
    format!(
        "Columns:\n{}\nFindings:\n{}\nMarks, levels and outcomes:\n  {}\n\n`svdkit explain NAME` says more",
        lines(METRICS),
        lines(FINDINGS),
        words
    )
}

/// The text of a finding, with a colon after its level where a sentence follows.
fn levelled(text: &str) -> String {
    let follows = |rest: &str| rest.starts_with(char::is_uppercase);
    match text.split_once("** ") {
        Some((level, rest)) if level.starts_with("**") && follows(rest) => format!("{level}:** {rest}"),
        _ => text.to_owned(),
    }
}

/// The text below each `` ### `key` `` heading, up to the next heading, in the order of the page.
fn sections(page: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let parts = page.split("\n### `").skip(1);
    parts.filter_map(|part| {
        let (key, text) = part.split_once("`\n")?;
        Some((key, text.split("\n## ").next().unwrap_or(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_printed_is_explained() {
        let check = |name: &str, start: &str| {
            let text = explained(name).unwrap_or_else(|error| error.to_string());
            assert!(text.starts_with(start), "{name}: {text}");
        };
        check("α", "alpha\n");
        check("KS D", "ks_distance\n");
        check("σ₁", "spectral_norm\n");
        check("Stable Rank", "stable_rank\n");
        check("num_pl_spikes", "num_pl_spikes\n");
        check("low_n_tail", "low_n_tail\n\na flag of a row");
        check("no_tail", "no_tail\n\nwhy a value is missing");
        check("random-like", "random-like\n");
        check("*.mlp.*: stable_rank_change < -10%", "stable_rank_change\n\n(tuned − base)/|base|");
        check("Δ σ₁", "Δ σ₁\n\n(tuned − base)/|base|");
        check("max(alpha) > 6", "alpha\n");
        check("slope(alpha) > 6", "alpha_slope\n\nhow fast it grows");
        check("σ₁ max Δ at", "σ₁ max Δ at\n\nthe step of a series");
        check("max Δ", "max Δ\n\nof a number over the steps of a series: its largest change");
        check("max_step_change", "max Δ\n\nof a number over the steps");
        check("+∞", "+∞\n\na change from 0");
        check("max Δ at", "max Δ at\n\na header");
        check("slope", "slope\n\nof a number over the steps of a series: how fast it grows");
        check("last", "last\n\nof a number over the steps of a series: that of the last step");
        check("slope(alpha)", "alpha_slope\n\nhow fast it grows");
        check("finding(dead-rows) > 0", "dead-rows\n");
        check("~", "~\n\nbefore an exponent");
        check("finding(problem)", "problem\n\nthe level of a finding");
        check("fail", "FAIL\n\nthe outcome of a rule");
        check("overtrained", "nothing is called `overtrained`; related: `alpha`");
    }

    #[test]
    fn words_lead_to_names_that_exist() {
        for (word, names) in gate::ABOUT {
            for name in names {
                assert!(explained(name).is_ok_and(|text| text.starts_with(name)), "{word}: {name}");
            }
        }
    }

    #[test]
    fn every_column_and_header_has_an_explanation() {
        for column in columns::metrics_of("compare").into_iter().chain(columns::metrics_of("rank")) {
            for name in [column.key, column.label] {
                assert!(explained(name).is_ok(), "{name}");
            }
        }
    }
}
