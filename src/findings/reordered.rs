//! Weights that hold the base's entries in another order: proven when they were read, named here.

use std::collections::{BTreeMap, BTreeSet};

use super::tell::{self, Line};
use super::view::{Matrix, ModelSide};
use super::{Definition, Of, Search, Searched, Unknown};
use crate::report::{Level, Parts, Reordering, Standing};

/// Entries are compared one by one where singular values agree and the entries do not, so where these were measured.
pub(super) const PROVEN_WITH: [&str; 2] = ["log_sigma_distance", "delta_frobenius_ratio"];

pub(super) const REORDERED: Definition = Definition {
    name: "reordered",
    levels: &[Level::Note],
    of: Of::Pairs,
    evidence: &[],
    search: Search::All(|side| {
        let pairs = side.of(Of::Pairs);
        let unknown = not_compared(side).map(|reason| Unknown::in_part(reason.to_owned()));
        let orders: Vec<(&Matrix<'_>, String)> =
            pairs.iter().filter_map(|matrix| Some((matrix, order(matrix)?))).collect();
        let moved = moved(pairs);
        let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (matrix, words) in &orders {
            kinds.entry(words.as_str()).or_default().push(matrix.name());
        }
        let mut parts: Vec<String> = kinds
            .iter()
            .map(|(words, names)| {
                format!("{words} in {} ({})", tell::matrices(names.len()), tell::list(names))
            })
            .collect();
        let made: Vec<(&Matrix<'_>, &Parts)> =
            pairs.iter().filter_map(|matrix| Some((matrix, matrix.row.places.parts.as_deref()?))).collect();
        parts.extend(composed(&made));
        if let Some((name, original)) = moved.first() {
            let more = moved.len() - 1;
            let more = if more > 0 { format!(" and {} more", tell::count(more)) } else { String::new() };
            parts.push(format!("{name} is the base's {original}{more}"));
        }
        if parts.is_empty() {
            return Searched { line: None, unknown };
        }
        let renumbered = hidden_units(&orders);
        let same = if renumbered.is_empty() {
            String::new()
        } else {
            format!(
                " Rows and columns of {} have one order: hidden units are renumbered.",
                tell::list(&renumbered)
            )
        };
        let sentence = format!(
            "The base's entries stand in another order, proven one by one: {}.{same}",
            parts.join("; ")
        );
        let names = orders.iter().map(|(matrix, _)| matrix.name()).chain(moved.iter().map(|(name, _)| *name));
        let matrices = names.chain(made.iter().map(|(matrix, _)| matrix.name())).map(str::to_owned).collect();
        Searched { line: Some(Line { level: Level::Note, matrices, sentence }), unknown }
    }),
};

/// Why entries were not compared one by one.
fn not_compared(side: &ModelSide<'_>) -> Option<&'static str> {
    if side.is_saved() {
        return Some(
            "a saved report has no entries: only matrices that moved as a whole are known by their hashes",
        );
    }
    if side.is_one_of_several() {
        return Some("several tuned sides: orders are proven for one at a time");
    }
    let lacks = PROVEN_WITH.iter().any(|key| !side.has_column(key));
    lacks.then_some("only matrices that moved as a whole: singular values were not compared")
}

/// Matrices that only one side has, by what they are made of.
fn composed(made: &[(&Matrix<'_>, &Parts)]) -> Vec<String> {
    let mut kinds: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (matrix, parts) in made {
        kinds.entry(composition(matrix, parts)).or_default().push(matrix.name());
    }
    let told = |(words, names): (String, Vec<&str>)| {
        format!("{words} in {} ({})", tell::matrices(names.len()), tell::list(&names))
    };
    kinds.into_iter().map(told).collect()
}

/// How a matrix that only one side has is made of those of the other.
fn composition(matrix: &Matrix<'_>, Parts { names, transposed, order }: &Parts) -> String {
    let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let listed = names.iter().map(|name| last(name)).collect::<Vec<_>>().join(", ");
    let what = match (&names[..], matrix.standing()) {
        ([only], _) => format!("{} renamed {}", last(only), last(matrix.name())),
        (_, Some(Standing::Removed)) => format!("{} cut into {listed}", last(matrix.name())),
        _ => format!("{listed} fused"),
    };
    let turned = if *transposed { " and transposed" } else { "" };
    let order = order.as_ref().map_or_else(String::new, |order| format!(", rows {order},"));
    format!("{what}{turned}{order}")
}

/// In what order a matrix holds its base's entries.
fn order(matrix: &Matrix<'_>) -> Option<String> {
    let Reordering { transposed, rows, columns } = matrix.row.places.reordering.as_deref()?;
    let rows = rows.as_ref().map(|order| format!("rows {}", order.words));
    let columns = columns.as_ref().map(|order| format!("columns {}", order.words));
    let parts = transposed.then(|| "transposed".to_owned()).into_iter().chain(rows).chain(columns);
    Some(parts.collect::<Vec<_>>().join(" and "))
}

/// Matrices whose bytes are those of another matrix of the base: experts renumbered, tensors renamed.
fn moved<'v>(pairs: &'v [Matrix<'_>]) -> Vec<(&'v str, &'v str)> {
    let mut originals: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for matrix in pairs {
        let hash = matrix.row.comparison.as_ref().and_then(|comparison| comparison.base_blake3.as_deref());
        // What two matrices of the base hold tells neither.
        hash.into_iter().for_each(|hash| {
            originals.entry(hash).and_modify(|name| *name = None).or_insert(Some(matrix.name()));
        });
    }
    let changed = pairs.iter().filter(|matrix| {
        matches!(matrix.standing(), Some(Standing::Measured | Standing::Added))
            && matrix.number("max_abs").is_some_and(|size| size > 0.0)
            && matrix.row.places.parts.is_none()
    });
    let original = |matrix: &'v Matrix<'_>| {
        let name = (*originals.get(matrix.row.blake3.as_deref()?)?)?;
        (name != matrix.name()).then(|| (matrix.name(), name))
    };
    changed.filter_map(original).collect()
}

/// Modules whose hidden units are renumbered: rows of some matrices and the columns of the others have one order.
fn hidden_units<'v>(orders: &'v [(&Matrix<'_>, String)]) -> Vec<&'v str> {
    let mut modules: BTreeMap<&str, Vec<&Reordering>> = BTreeMap::new();
    for (matrix, _) in orders {
        let module = matrix.name().rsplit_once('.').map_or("", |(module, _)| module);
        modules.entry(module).or_default().extend(matrix.row.places.reordering.as_deref());
    }
    let is_renumbered = |parts: &[&Reordering]| {
        let rows: BTreeSet<&str> =
            parts.iter().filter_map(|part| Some(part.rows.as_ref()?.digest.as_str())).collect();
        let columns: BTreeSet<&str> =
            parts.iter().filter_map(|part| Some(part.columns.as_ref()?.digest.as_str())).collect();
        let one_side =
            |part: &&Reordering| !part.transposed && (part.rows.is_some() != part.columns.is_some());
        rows.len() == 1 && rows == columns && parts.iter().all(one_side)
    };
    modules.into_iter().filter(|(_, parts)| is_renumbered(parts)).map(|(module, _)| module).collect()
}
