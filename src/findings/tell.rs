//! Sentences: one a finding, however many matrices it is about.

use std::collections::{BTreeMap, BTreeSet};

use super::view::Matrix;
use super::{Hit, Unknown};
use crate::layer::natural;
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
    and_more(sentence, &others)
}

/// `sentence`, and after it the others that it is true of, too.
pub(super) fn and_more(sentence: &str, others: &[&str]) -> String {
    match others {
        [] => sentence.to_owned(),
        [only] => format!("{sentence} Also {only}."),
        _ => format!("{sentence} Also {} more: {}.", count(others.len()), list(others)),
    }
}

/// The names of a few, and how many more there are.
pub(super) fn list(names: &[&str]) -> String {
    let shown = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMED);
    if more > 0 { format!("{shown} and {} more", count(more)) } else { shown }
}

/// What a finding was not looked for in.
pub(super) fn unknown(reasons: &BTreeMap<&'static str, usize>, all: usize) -> Option<Unknown> {
    let told = reasons.iter().map(|(why, n)| {
        let matrices = if all == 1 { "matrix" } else { "matrices" };
        format!("{} of {} {matrices}: {why}", count(*n), count(all))
    });
    let told: Vec<String> = told.collect();
    let everywhere = reasons.values().sum::<usize>() >= all;
    (!told.is_empty()).then(|| Unknown { reason: told.join("; "), everywhere })
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

/// Where in the model `some` of `all` are: modules that have them throughout, else roles, the most first; and which blocks,
/// if not every one has any.
pub(super) fn whereabouts(some: &[&Matrix<'_>], all: &[&Matrix<'_>]) -> String {
    let module = |matrix: &Matrix<'_>| {
        let role = &matrix.row.role;
        role.rsplit_once('.')
            .filter(|_| matrix.row.block.is_some())
            .map_or(role.as_str(), |(module, _)| module)
            .to_owned()
    };
    let mut modules: BTreeMap<String, [Vec<&Matrix<'_>>; 2]> = BTreeMap::new();
    for (i, matrices) in [some, all].into_iter().enumerate() {
        for matrix in matrices {
            modules.entry(module(matrix)).or_default()[i].push(matrix);
        }
    }
    let mut parts: Vec<(usize, String)> = vec![];
    for (module, [some, all]) in modules.iter().filter(|(_, [some, _])| !some.is_empty()) {
        if some.len() == all.len() {
            parts.push((some.len(), part(some.len(), all.len(), module)));
            continue;
        }
        let mut roles: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        for (i, matrices) in [some, all].into_iter().enumerate() {
            matrices.iter().for_each(|matrix| roles.entry(&matrix.row.role).or_default()[i] += 1);
        }
        let told = roles.into_iter().filter(|(_, [some, _])| *some > 0);
        parts.extend(told.map(|(role, [some, all])| (some, part(some, all, role))));
    }
    parts.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| natural(&a.1, &b.1)));
    let parts: Vec<&str> = parts.iter().map(|(_, part)| part.as_str()).collect();
    let blocks = |matrices: &[&Matrix<'_>]| -> BTreeSet<u64> {
        matrices.iter().filter_map(|matrix| matrix.row.block).collect()
    };
    let (here, there) = (blocks(some), blocks(all));
    let of_blocks =
        if here.is_empty() || here == there { String::new() } else { format!(", in {}", ranges(&here)) };
    list(&parts) + &of_blocks
}

fn part(some: usize, all: usize, name: &str) -> String {
    match (some, all) {
        (1, 1) => name.to_owned(),
        _ if some == all => format!("all {} of {name}", count(all)),
        _ => format!("{} of {} {name}", count(some), count(all)),
    }
}

/// Numbers of blocks, runs of them as ranges.
fn ranges(blocks: &BTreeSet<u64>) -> String {
    let mut runs: Vec<(u64, u64)> = vec![];
    for block in blocks {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *block => *last = *block,
            _ => runs.push((*block, *block)),
        }
    }
    let run = |(first, last): &(u64, u64)| {
        if first == last { first.to_string() } else { format!("{first}–{last}") }
    };
    let runs: Vec<String> = runs.iter().map(run).collect();
    let word = if blocks.len() == 1 { "block" } else { "blocks" };
    format!("{word} {}", list(&runs.iter().map(String::as_str).collect::<Vec<_>>()))
}
