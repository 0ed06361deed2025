//! What one of several tuned sides did that the others did not.

use super::tell::{self, Line};
use super::view::{Matrix, ModelSide};
use super::{Definition, Of, Search, Searched, Unknown};
use crate::report::Level;

/// So many matrices have to be changed on all sides before their medians are compared.
const FEWEST: usize = 4;

/// A median this many times the others' is news.
const TIMES: f64 = 2.0;

/// A subspace that lost less of the base's leading directions keeps them.
const TURNED: f64 = 0.15;

pub(super) const CHANGED_ALONE: Definition = Definition {
    name: "changed-alone",
    levels: &[Level::Note],
    of: Of::Sides,
    evidence: &["changed"],
    search: Search::Beside(|side, others| {
        let known: Vec<&Matrix<'_>> =
            side.of(Of::Pairs).iter().filter(|matrix| matrix.number("changed").is_some()).collect();
        // All sides have the same rows.
        let kept =
            |at: usize| others.iter().all(|other| other.of(Of::Pairs)[at].number("changed") == Some(0.0));
        let alone = side.of(Of::Pairs).iter().enumerate();
        let alone = alone.filter(|(at, matrix)| matrix.number("changed") == Some(1.0) && kept(*at));
        let alone: Vec<&Matrix<'_>> = alone.map(|(_, matrix)| matrix).collect();
        if alone.is_empty() {
            return Searched { line: None, unknown: None };
        }
        let sentence = format!(
            "{} of {} matrices changed here and not in {}: {}.",
            tell::count(alone.len()),
            tell::count(known.len()),
            names(others, "or"),
            tell::whereabouts(&alone, &known),
        );
        let matrices = alone.iter().map(|matrix| matrix.name().to_owned()).collect();
        Searched { line: Some(Line { level: Level::Note, matrices, sentence }), unknown: None }
    }),
};

pub(super) const LARGER_CHANGE: Definition = Definition {
    name: "larger-change",
    levels: &[Level::Note],
    of: Of::Sides,
    evidence: &["delta_frobenius_ratio"],
    search: Search::Beside(|side, others| {
        medians(side, others, "delta_frobenius_ratio", |medians| {
            (medians.own >= TIMES * medians.most()).then(|| {
                format!(
                    "Weights moved by {} of their norm (median of {}), {}.",
                    tell::percent(medians.own),
                    tell::matrices(medians.matrices),
                    medians.others(tell::percent),
                )
            })
        })
    }),
};

pub(super) const HIGHER_RANK_CHANGE: Definition = Definition {
    name: "higher-rank-change",
    levels: &[Level::Note],
    of: Of::Sides,
    evidence: &["delta_rank_at_90"],
    search: Search::Beside(|side, others| {
        medians(side, others, "delta_rank_at_90", |medians| {
            (medians.own >= TIMES * medians.most()).then(|| {
                format!(
                    "It takes {} directions to hold 90 % of the change (median of {}), {}.",
                    directions(medians.own),
                    tell::matrices(medians.matrices),
                    medians.others(directions),
                )
            })
        })
    }),
};

pub(super) const NEW_DIRECTIONS: Definition = Definition {
    name: "new-directions",
    levels: &[Level::Note],
    of: Of::Sides,
    evidence: &["subspace_overlap"],
    search: Search::Beside(|side, others| {
        medians(side, others, "subspace_overlap", |medians| {
            let lost = 1.0 - medians.own;
            (lost >= TURNED && lost >= TIMES * (1.0 - medians.least())).then(|| {
                format!(
                    "The leading{} directions share {} with the base's (median of {}), {}. `svdkit intruders` counts the new ones.",
                    leading(side),
                    tell::percent(medians.own),
                    tell::matrices(medians.matrices),
                    medians.others(tell::percent),
                )
            })
        })
    }),
};

/// Medians of a column over the matrices that all sides changed.
struct Medians<'s> {
    matrices: usize,
    own: f64,
    others: Vec<(&'s str, f64)>,
}

impl Medians<'_> {
    fn most(&self) -> f64 {
        self.others.iter().fold(f64::NEG_INFINITY, |most, (_, median)| most.max(*median))
    }

    fn least(&self) -> f64 {
        self.others.iter().fold(f64::INFINITY, |least, (_, median)| least.min(*median))
    }

    fn others(&self, number: impl Fn(f64) -> String) -> String {
        let told = self.others.iter().map(|(name, median)| format!("{} in {name}", number(*median)));
        told.collect::<Vec<_>>().join(", ")
    }
}

/// What `tell` says of the medians of `key`.
fn medians(
    side: &ModelSide<'_>,
    others: &[&ModelSide<'_>],
    key: &str,
    tell: impl Fn(&Medians<'_>) -> Option<String>,
) -> Searched {
    // All sides have the same rows.
    let changed = |side: &ModelSide<'_>, at: usize| {
        let matrix = &side.of(Of::Pairs)[at];
        matrix.number(key).filter(|_| matrix.number("changed") == Some(1.0))
    };
    let mut numbers: Vec<(&str, Vec<f64>)> = vec![];
    for (at, matrix) in side.of(Of::Pairs).iter().enumerate() {
        let sides = std::iter::once(side).chain(others.iter().copied());
        let row: Option<Vec<f64>> = sides.map(|side| changed(side, at)).collect();
        numbers.extend(row.map(|row| (matrix.name(), row)));
    }
    if numbers.len() < FEWEST {
        let reason = format!("fewer than {FEWEST} matrices changed on all sides and have `{key}`");
        return Searched { line: None, unknown: Some(Unknown::everywhere(reason)) };
    }
    let median = |at: usize| {
        let mut values: Vec<f64> = numbers.iter().map(|(_, row)| row[at]).collect();
        values.sort_by(f64::total_cmp);
        f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
    };
    let of_others = others.iter().enumerate().map(|(i, other)| (other.name(), median(i + 1)));
    let medians = Medians { matrices: numbers.len(), own: median(0), others: of_others.collect() };
    let line = tell(&medians).map(|sentence| Line {
        level: Level::Note,
        matrices: numbers.iter().map(|(name, _)| (*name).to_owned()).collect(),
        sentence,
    });
    Searched { line, unknown: None }
}

/// How many directions count as leading.
fn leading(side: &ModelSide<'_>) -> String {
    let k = side.report.settings.iter().find(|(key, _)| *key == "k");
    k.map_or_else(String::new, |(_, k)| format!(" {k}"))
}

/// A median of counts: a half where it lies between two.
fn directions(median: f64) -> String {
    if median.fract() == 0.0 { tell::count(median as usize) } else { format!("{median:.1}") }
}

fn names(sides: &[&ModelSide<'_>], last: &str) -> String {
    match sides {
        [] => String::new(),
        [only] => only.name().to_owned(),
        [first @ .., end] => {
            let first = first.iter().map(|side| side.name()).collect::<Vec<_>>().join(", ");
            format!("{first} {last} {}", end.name())
        }
    }
}
