//! Sentences: one a finding, however many matrices it is about.

use std::collections::BTreeMap;

use super::Hit;
use crate::notation;
use crate::report::Level;

/// A finding before it is told whose it is.
pub(super) struct Line {
    pub(super) level: Level,
    pub(super) matrices: Vec<String>,
    pub(super) sentence: String,
}

/// So many matrices are named in a sentence.
const NAMED: usize = 3;

/// The sentence of the first matrix, and after it how many others there are.
pub(super) fn first_and_more(hits: &[Hit<'_>], sentence: &str) -> String {
    let others: Vec<&str> = hits.iter().skip(1).map(|hit| hit.matrix.name()).collect();
    match others[..] {
        [] => sentence.to_owned(),
        [only] => format!("{sentence} So it is with {only}."),
        _ => format!("{sentence} So it is with {} more: {}.", count(others.len()), list(&others)),
    }
}

/// The names of a few, and how many more there are.
pub(super) fn list(names: &[&str]) -> String {
    let shown = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMED);
    if more > 0 { format!("{shown} and {} more", count(more)) } else { shown }
}

/// What a finding was not looked for in.
pub(super) fn unknown(reasons: &BTreeMap<&'static str, usize>, all: usize) -> Option<String> {
    let told = reasons.iter().map(|(why, n)| {
        let matrices = if all == 1 { "matrix" } else { "matrices" };
        format!("{} of {} {matrices}: {why}", count(*n), count(all))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

pub(super) fn count(n: usize) -> String {
    notation::count(n as u64)
}

/// A share as a whole percentage.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// A number of matrices with its noun.
pub(super) fn matrices(n: usize) -> String {
    if n == 1 { "1 matrix".to_owned() } else { format!("{} matrices", count(n)) }
}
