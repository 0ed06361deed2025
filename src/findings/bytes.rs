//! What entries say by themselves: not finite, zero, repeated.

use super::tell::{self, Line, first_and_more};
use super::view::Matrix;
use super::{Definition, Hit, Of, Search, Searched, Seen};
use crate::report::{Level, Places};

pub(super) const NON_FINITE: Definition = Definition {
    name: "non-finite",
    levels: &[Level::Problem],
    of: Of::Anything,
    evidence: &["nonfinite_count"],
    search: Search::All(|side| {
        let count = |matrix: &Matrix<'_>| matrix.number("nonfinite_count").filter(|n| *n > 0.0);
        // Masks hold −∞ where nothing may be attended to.
        let is_mask = |name: &str| name.to_ascii_lowercase().contains("mask");
        let rows = side.rows().filter_map(|matrix| Some((matrix.name(), count(matrix)? as u64)));
        let others = side.report.skipped.iter().filter_map(|skipped| {
            let count = skipped.content.as_ref()?.nonfinite_count.filter(|n| *n > 0)?;
            Some((skipped.tensor.as_str(), count))
        });
        let found: Vec<(&str, u64)> = rows.chain(others).filter(|(name, _)| !is_mask(name)).collect();
        let Some((first, n)) = found.first() else { return Searched { line: None, unknown: None } };
        let (entries, are) = if *n == 1 { ("entry", "is") } else { ("entries", "are") };
        let names: Vec<&str> = found.iter().skip(1).map(|(name, _)| *name).collect();
        let more = if names.is_empty() { String::new() } else { format!("; also in {}", tell::list(&names)) };
        let count = tell::count(usize::try_from(*n).unwrap_or(usize::MAX));
        let sentence = format!("{first}: {count} {entries} {are} NaN or infinite{more}.");
        let matrices = found.iter().map(|(name, _)| (*name).to_owned()).collect();
        Searched { line: Some(Line { level: Level::Problem, matrices, sentence }), unknown: None }
    }),
};

pub(super) const ALL_ZERO: Definition = Definition {
    name: "all-zero",
    levels: &[Level::Caution],
    of: Of::Weights,
    evidence: &["max_abs"],
    search: Search::Each {
        see: |matrix| match matrix.number("max_abs") {
            Some(0.0) if matrix.is_weight() && matrix.number("nonfinite_count") == Some(0.0) => {
                Seen::Yes(Level::Caution, 0.0)
            }
            _ => Seen::No,
        },
        tell: |hits| {
            if let [only] = hits {
                return format!("Every entry of {} is zero.", only.matrix.name());
            }
            let names: Vec<&str> = hits.iter().map(|hit| hit.matrix.name()).collect();
            format!("Every entry is zero in {}: {}.", tell::matrices(hits.len()), tell::list(&names))
        },
    },
};

pub(super) const DEAD_ROWS: Definition = Definition {
    name: "dead-rows",
    levels: &[Level::Note, Level::Caution],
    of: Of::Weights,
    evidence: &["zero_rows"],
    search: Search::Each {
        see: |matrix| {
            // One zero row of an embedding is that of padding.
            let padding = f64::from(u8::from(matrix.is_embedding()));
            lines(matrix, ("zero_rows", padding), 0)
        },
        tell: |hits| dead(hits, "rows", 0, "zero_rows", |places| &places.zero_rows),
    },
};

pub(super) const DEAD_COLUMNS: Definition = Definition {
    name: "dead-columns",
    levels: &[Level::Note, Level::Caution],
    of: Of::Weights,
    evidence: &["zero_columns"],
    search: Search::Each {
        see: |matrix| lines(matrix, ("zero_columns", 0.0), 1),
        tell: |hits| dead(hits, "columns", 1, "zero_columns", |places| &places.zero_columns),
    },
};

pub(super) const DUPLICATE_ROWS: Definition = Definition {
    name: "duplicate-rows",
    levels: &[Level::Note, Level::Caution],
    of: Of::Weights,
    evidence: &["duplicate_rows"],
    search: Search::Each {
        see: |matrix| lines(matrix, ("duplicate_rows", 0.0), 0),
        tell: |hits| duplicate(hits, "row", 0, "duplicate_rows", |places| places.duplicate_rows.as_deref()),
    },
};

pub(super) const DUPLICATE_COLUMNS: Definition = Definition {
    name: "duplicate-columns",
    levels: &[Level::Note, Level::Caution],
    of: Of::Weights,
    evidence: &["duplicate_columns"],
    search: Search::Each {
        see: |matrix| lines(matrix, ("duplicate_columns", 0.0), 1),
        tell: |hits| {
            duplicate(hits, "column", 1, "duplicate_columns", |places| places.duplicate_columns.as_deref())
        },
    },
};

/// Matrices of fewer rows or columns have lines of zeros for reasons of their own.
const FEWEST: u64 = 8;

/// More than `usual` lines of a kind: a caution from 1 % of them on.
fn lines(matrix: &Matrix<'_>, (key, usual): (&str, f64), axis: usize) -> Seen {
    let all = matrix.row.shape[axis];
    if !matrix.is_weight() || matrix.row.shape.iter().any(|side| *side < FEWEST) {
        return Seen::No;
    }
    if matrix.number("max_abs") == Some(0.0) {
        return Seen::No;
    }
    let count = match matrix.needed(key) {
        Ok(count) => count,
        Err(why) => return Seen::Unknown(why),
    };
    let level = if count >= 2.0 && count >= 0.01 * all as f64 { Level::Caution } else { Level::Note };
    if count > usual { Seen::Yes(level, count / all as f64) } else { Seen::No }
}

fn dead(hits: &[Hit<'_>], lines: &str, axis: usize, key: &str, at: fn(&Places) -> &Vec<u64>) -> String {
    let matrix = hits[0].matrix;
    let count = matrix.number(key).unwrap_or_default() as usize;
    let first = at(&matrix.row.places);
    let shown = first.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let more = if count > first.len() { ", …" } else { "" };
    let first = if shown.is_empty() { String::new() } else { format!(" (first: {shown}{more})") };
    let all = tell::count(matrix.row.shape[axis] as usize);
    let are = if count == 1 { "is" } else { "are" };
    let sentence = format!("{} of {all} {lines} of {} {are} zero{first}.", tell::count(count), matrix.name());
    first_and_more(hits, &sentence)
}

fn duplicate(
    hits: &[Hit<'_>],
    line: &str,
    axis: usize,
    key: &str,
    at: fn(&Places) -> Option<&[u64; 2]>,
) -> String {
    let matrix = hits[0].matrix;
    let count = matrix.number(key).unwrap_or_default() as usize;
    let all = tell::count(matrix.row.shape[axis] as usize);
    let pair = at(&matrix.row.places);
    let name = matrix.name();
    let sentence = match pair {
        Some([i, j]) if count == 1 => format!("{line} {i} and {line} {j} of {name} are equal."),
        Some([i, j]) => format!(
            "{} of {all} {line}s of {name} repeat an earlier one (first: {i} and {j}).",
            tell::count(count)
        ),
        None => format!("{} of {all} {line}s of {name} repeat an earlier one.", tell::count(count)),
    };
    let mut letters = sentence.chars();
    let sentence = letters.next().map_or_else(String::new, |first| first.to_uppercase().to_string());
    first_and_more(hits, &(sentence + letters.as_str()))
}
