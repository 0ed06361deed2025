//! Updates of adapters, and weights beside those that they came from.

use std::collections::BTreeSet;

use super::tell::{self, Line};
use super::view::{Matrix, ModelSide};
use super::{Definition, Of, Search, Searched, Unknown};
use crate::report::{Level, Standing};

pub(super) const UNTRAINED: Definition = Definition {
    name: "untrained",
    levels: &[Level::Caution, Level::Problem],
    of: Of::Anything,
    evidence: &["spectral_norm"],
    search: Search::All(|side| {
        let of_adapters: Vec<&Matrix<'_>> = side.rows().filter(|matrix| is_of_adapter(matrix)).collect();
        let (a, b) = (of_adapters.iter().filter(|matrix| is_zero(matrix)).count(), of_adapters.len());
        if b > 0 && side.of(Of::Pairs).is_empty() && !side.has_column("spectral_norm") {
            return Searched {
                line: None,
                unknown: Some(Unknown::everywhere("the report has no column `spectral_norm`".to_owned())),
            };
        }
        if a == 0 {
            return Searched { line: None, unknown: None };
        }
        let zero = of_adapters.iter().filter(|matrix| is_zero(matrix));
        let zero = zero.map(|matrix| matrix.name().to_owned()).collect();
        let level = if a == b { Level::Problem } else { Level::Caution };
        let sentence = format!(
            "{} of {} updates {} exactly zero: this adapter changes nothing there.",
            tell::count(a),
            tell::count(b),
            if a == 1 { "is" } else { "are" },
        );
        Searched { line: Some(Line { level, matrices: zero, sentence }), unknown: None }
    }),
};

pub(super) const UNUSED_RANK: Definition = Definition {
    name: "unused-rank",
    levels: &[Level::Note],
    of: Of::Updates,
    evidence: &["rank_at_99"],
    search: Search::All(|side| {
        const LEAST: u64 = 4;
        let of_adapters = adapters(side);
        let rank = |matrix: &Matrix<'_>| matrix.row.update.as_ref().and_then(|update| update.rank);
        let ranked: Vec<(&Matrix<'_>, u64, f64)> = of_adapters
            .into_iter()
            .filter_map(|matrix| {
                Some((matrix, rank(matrix).filter(|r| *r >= LEAST)?, matrix.number("rank_at_99")?))
            })
            .collect();
        let half: Vec<&(&Matrix<'_>, u64, f64)> =
            ranked.iter().filter(|(_, rank, used)| *used <= *rank as f64 / 2.0).collect();
        let Some((_, rank, _)) = half.first().copied().filter(|_| 2 * half.len() >= ranked.len()) else {
            return Searched { line: None, unknown: None };
        };
        let most = half.iter().map(|(_, _, used)| *used as u64).max().unwrap_or(0);
        let matrices = half.iter().map(|(matrix, _, _)| matrix.name().to_owned()).collect();
        let one = half.iter().all(|(_, other, _)| other == rank);
        let of = if one { format!("of {rank}") } else { "of theirs".to_owned() };
        let directions = if most == 1 { "direction" } else { "directions" };
        let sentence = format!(
            "In {} of {} updates {}{most} {directions} {of} hold 99 % of the energy.",
            tell::count(half.len()),
            tell::count(ranked.len()),
            if half.len() > 1 { "up to " } else { "" },
        );
        Searched { line: Some(Line { level: Level::Note, matrices, sentence }), unknown: None }
    }),
};

pub(super) const UPDATE_DOMINATES: Definition = Definition {
    name: "update-dominates",
    levels: &[Level::Note],
    of: Of::Pairs,
    evidence: &["delta_spectral_ratio"],
    search: Search::All(|side| {
        let mut pairs: Vec<(&Matrix<'_>, f64)> = side
            .of(Of::Pairs)
            .iter()
            .filter_map(|matrix| Some((matrix, matrix.number("delta_spectral_ratio")?)))
            .collect();
        pairs.retain(|(matrix, _)| matrix.standing() == Some(Standing::Measured) && matrix.is_weight());
        let all = pairs.len();
        pairs.retain(|(_, ratio)| *ratio > 1.0);
        pairs.sort_by(|a, b| b.1.total_cmp(&a.1));
        let Some((first, ratio)) = pairs.first() else { return Searched { line: None, unknown: None } };
        let sentence = format!(
            "In {} of {} changed matrices the update is stronger than the weight it changes; most in {}, {ratio:.1} times.",
            tell::count(pairs.len()),
            tell::count(all),
            first.name(),
        );
        let matrices = pairs.iter().map(|(matrix, _)| matrix.name().to_owned()).collect();
        Searched { line: Some(Line { level: Level::Note, matrices, sentence }), unknown: None }
    }),
};

pub(super) const UNRELATED: Definition = Definition {
    name: "unrelated",
    levels: &[Level::Caution],
    of: Of::Pairs,
    evidence: &["frobenius_norm", "frobenius_norm_base", "delta_frobenius_ratio"],
    search: Search::All(|side| {
        const ENTRIES: u64 = 1024;
        let pairs = side.of(Of::Pairs).iter().filter(|matrix| {
            let [rows, columns] = matrix.row.shape;
            rows.saturating_mul(columns) >= ENTRIES
        });
        // What is only in another order has the base's numbers.
        let pairs = pairs.filter(|matrix| matrix.is_weight() && matrix.row.places.reordering.is_none());
        let likeness = |matrix: &Matrix<'_>| match matrix.standing() {
            Some(Standing::Unchanged) => Some(1.0),
            Some(Standing::Measured) => cosine(matrix),
            _ => None,
        };
        let mut cosines: Vec<f64> = pairs.filter_map(likeness).collect();
        cosines.sort_by(f64::total_cmp);
        let Some(median) = cosines.get(cosines.len() / 2).copied().filter(|median| *median < 0.2) else {
            return Searched { line: None, unknown: None };
        };
        let sentence = format!(
            "Not a fine-tune of this base: the weights have nothing in common (median cosine of {}: {median:.2}).",
            tell::matrices(cosines.len()),
        );
        Searched { line: Some(Line { level: Level::Caution, matrices: vec![], sentence }), unknown: None }
    }),
};

pub(super) const IDENTICAL: Definition = Definition {
    name: "identical",
    levels: &[Level::Note],
    of: Of::Pairs,
    evidence: &[],
    search: Search::All(|side| {
        let pairs = side.of(Of::Pairs).iter();
        let both: Vec<(&Matrix<'_>, bool)> = pairs
            .filter_map(|matrix| Some((matrix, matrix.number("changed")? == 0.0)))
            .filter(|(matrix, _)| !matches!(matrix.standing(), Some(Standing::Added | Standing::Removed)))
            .collect();
        let same: Vec<String> =
            both.iter().filter(|(_, same)| *same).map(|(matrix, _)| matrix.name().to_owned()).collect();
        if same.is_empty() {
            return Searched { line: None, unknown: None };
        }
        let sentence = format!(
            "{} of {} matrices are bit for bit the base's.",
            tell::count(same.len()),
            tell::count(both.len()),
        );
        Searched { line: Some(Line { level: Level::Note, matrices: same, sentence }), unknown: None }
    }),
};

pub(super) const RESCALED: Definition = Definition {
    name: "rescaled",
    levels: &[Level::Note],
    of: Of::Pairs,
    evidence: &["gain_alignment", "row_gain_ratio", "column_gain_ratio"],
    search: Search::All(|side| {
        let found: Vec<(&Matrix<'_>, String)> =
            side.of(Of::Pairs).iter().filter_map(|matrix| Some((matrix, rescaled(matrix)?))).collect();
        if found.is_empty() {
            return Searched { line: None, unknown: None };
        }
        let kinds: BTreeSet<&str> = found.iter().map(|(_, kind)| kind.as_str()).collect();
        let names: Vec<&str> = found.iter().map(|(matrix, _)| matrix.name()).collect();
        let sentence = format!(
            "{} {} the base's except for {}: {}.",
            tell::matrices(found.len()),
            if found.len() == 1 { "equals" } else { "equal" },
            kinds.into_iter().collect::<Vec<_>>().join(" or "),
            tell::list(&names),
        );
        let matrices = names.into_iter().map(str::to_owned).collect();
        Searched { line: Some(Line { level: Level::Note, matrices, sentence }), unknown: None }
    }),
};

/// How a changed matrix differs from its base, where gains explain it to within rounding.
fn rescaled(matrix: &Matrix<'_>) -> Option<String> {
    // Gains of rows and columns explain any change of a single one.
    if matrix.row.shape.iter().any(|n| *n < 2) {
        return None;
    }
    if matrix.standing() != Some(Standing::Measured) || matrix.number("delta_frobenius_ratio")? == 0.0 {
        return None;
    }
    let comparison = matrix.row.comparison.as_ref();
    let base = comparison.and_then(|comparison| comparison.base_dtype.as_deref());
    let limit = [Some(matrix.row.storage()), base].into_iter().flatten().map(unexplained);
    let limit = limit.collect::<Option<Vec<f64>>>()?.into_iter().fold(0.0, f64::max);
    if 1.0 - matrix.number("gain_alignment")? >= limit {
        return None;
    }
    // What rounding leaves of equal gains.
    let spread = 1.0 + 8.0 * limit.sqrt();
    let varies = |key: &str| matrix.number(key).is_some_and(|ratio| ratio > spread);
    let size = matrix.number("frobenius_norm")? / matrix.number("frobenius_norm_base")?;
    Some(match (varies("row_gain_ratio"), varies("column_gain_ratio")) {
        (true, true) => "gains of rows and columns".to_owned(),
        (true, false) => "gains of rows".to_owned(),
        (false, true) => "gains of columns".to_owned(),
        (false, false) if (size - 1.0).abs() > limit.sqrt() => "one factor".to_owned(),
        (false, false) => {
            let stored = matrix.row.storage();
            let coarser = base.filter(|base| unexplained(base) > unexplained(stored));
            format!("rounding to {}", coarser.unwrap_or(stored))
        }
    })
}

/// How much of a weight rounding to that type leaves unexplained by gains; none of types that cannot be told from noise.
fn unexplained(dtype: &str) -> Option<f64> {
    match dtype {
        "f64" | "f32" => Some(1e-10),
        "f16" => Some(1e-7),
        "bf16" => Some(5e-6),
        _ => None,
    }
}

/// Updates that an adapter holds as factors.
fn adapters<'v, 'r>(side: &'v ModelSide<'r>) -> Vec<&'v Matrix<'r>> {
    side.of(Of::Updates).iter().filter(|matrix| is_of_adapter(matrix)).collect()
}

fn is_of_adapter(matrix: &Matrix<'_>) -> bool {
    let kind = matrix.row.update.as_ref().map(|update| update.kind.as_ref());
    kind.is_some_and(|kind| !matches!(kind, "difference" | "replacement"))
}

/// Whether an update is exactly zero; a comparison measures what it makes of the base.
fn is_zero(matrix: &Matrix<'_>) -> bool {
    match matrix.standing() {
        Some(standing) => standing == Standing::Unchanged,
        None => matrix.number("spectral_norm") == Some(0.0),
    }
}

/// `⟨W, W₀⟩/(‖W‖‖W₀‖)` from the norms of both and of their difference.
fn cosine(matrix: &Matrix<'_>) -> Option<f64> {
    let (tuned, base) = (matrix.number("frobenius_norm")?, matrix.number("frobenius_norm_base")?);
    let update = matrix.number("delta_frobenius_ratio")? * base;
    let cosine = (tuned * tuned + base * base - update * update) / (2.0 * tuned * base);
    cosine.is_finite().then_some(cosine)
}
