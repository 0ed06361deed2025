//! Leading directions of a tuned weight that the base does not have.

use super::tell::{self, Line};
use super::view::{Matrix, ModelSide};
use super::{Definition, Of, Search, Searched, Unknown};
use crate::report::Level;

pub(super) const INTRUDER_DIMENSIONS: Definition = Definition {
    name: "intruder-dimensions",
    levels: &[Level::Note],
    of: Of::Updates,
    evidence: &["intruder_count", "k", "intruder_energy", "lowest_cosine"],
    search: Search::All(|side| {
        let limit = epsilon(side);
        let is_right = side.report.settings.iter().any(|(key, side)| *key == "side" && side == "right");
        let (all, small): (Vec<&Matrix<'_>>, Vec<&Matrix<'_>>) = side
            .of(Of::Updates)
            .iter()
            .filter(|matrix| matrix.number("intruder_count").is_some())
            .partition(|matrix| limit.is_none_or(|limit| chance(matrix, is_right) < limit));
        let mut found: Vec<&Matrix<'_>> = all.iter().copied().filter(|matrix| count(matrix) > 0.0).collect();
        found.sort_by(|a, b| count(b).total_cmp(&count(a)));
        let unknown = (!small.is_empty()).then(|| {
            Unknown::in_part(format!(
                "{} of {}: so short a side that random directions come as close to the base's as ε",
                tell::count(small.len()),
                tell::matrices(all.len() + small.len()),
            ))
        });
        let Some(first) = found.first() else { return Searched { line: None, unknown } };
        let sum = |key: &str| all.iter().filter_map(|matrix| matrix.number(key)).sum::<f64>() as usize;
        let (new, k) = (sum("intruder_count"), sum("k"));
        let least = limit.map_or_else(|| "small".to_owned(), |limit| format!("below {limit}"));
        let (count, are) = (tell::count(new), if new == 1 { "is" } else { "are" });
        let what = format!(
            "{count} of {} leading directions {are} new: cosines with the base's are all {least}.",
            tell::count(k)
        );
        let sentence = match (found.len(), all.len()) {
            (_, 1) => format!("{what} In {}.", first.name()),
            (a, b) if a == b => {
                format!("{what} All {} have some; {} has most.", tell::matrices(b), first.name())
            }
            (a, b) => format!(
                "{what} {} of {} have some: {}; most in {}.",
                tell::count(a),
                tell::matrices(b),
                tell::whereabouts(&found, &all),
                first.name(),
            ),
        };
        let matrices = found.iter().map(|matrix| matrix.name().to_owned()).collect();
        Searched { line: Some(Line { level: Level::Note, matrices, sentence }), unknown }
    }),
};

fn count(matrix: &Matrix<'_>) -> f64 {
    matrix.number("intruder_count").unwrap_or(0.0)
}

/// The limit below which a best cosine makes an intruder.
fn epsilon(side: &ModelSide<'_>) -> Option<f64> {
    let (_, limit) = side.report.settings.iter().find(|(key, _)| *key == "epsilon")?;
    limit.parse().ok()
}

/// About the best cosine of a random direction with so many orthogonal ones: `√(2 ln n / n)`.
fn chance(matrix: &Matrix<'_>, is_right: bool) -> f64 {
    let length = matrix.row.shape[usize::from(is_right)].max(2) as f64;
    (2.0 * length.ln() / length).sqrt()
}
