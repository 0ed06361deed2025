//! What matrices do along a run: jump, grow at every step, lose their rank.
//!
//! A matrix is held against its own earlier steps, and against what its peers do at the same time.

use std::collections::BTreeMap;

use super::randomness::SHORTEST;
use super::series::measured;
use super::tell::{self, Line, and_more};
use super::view::Matrix;
use super::{Definition, Of, Search, Searched, Unknown};
use crate::layer::without_block;
use crate::notation::{change, real};
use crate::report::{Level, MissingReason, Value};

/// So many changes before one make it possible to say that it is larger than usual; with fewer, all others have to.
const BEFORE: usize = 3;
/// A jump is so many times the largest change before it.
const TIMES: f64 = 3.0;

/// Columns that may jump, each with the least ratio from one step to the next.
const JUMPING: [(&str, f64, &str); 4] = [
    ("spectral_norm", 1.25, "spectral norm"),
    ("frobenius_norm", 1.25, "Frobenius norm"),
    ("effective_rank", 1.25, "effective rank"),
    ("stable_rank", 1.5, "stable rank"),
];

pub(super) const JUMP: Definition = Definition {
    name: "jump",
    levels: &[Level::Caution],
    of: Of::Series,
    evidence: &[
        "spectral_norm",
        "spectral_norm_max_step_change",
        "spectral_norm_max_step_change_at",
        "effective_rank_max_step_change",
        "effective_rank_max_step_change_at",
    ],
    search: Search::All(|side| {
        if measured(side).len() < BEFORE + 2 {
            return few(BEFORE + 2);
        }
        let mut found: Vec<(f64, &Matrix<'_>, String)> = vec![];
        for matrix in side.rows() {
            let jumps = JUMPING.iter().filter_map(|(key, least, words)| {
                let jump = jump(&course(matrix, key), *least)?;
                let Jump { from, to, step, before, .. } = jump;
                let sentence = format!(
                    "{}: {words} {} → {} from step {before} to step {step} ({}).",
                    matrix.name(),
                    real(from),
                    real(to),
                    change(to / from - 1.0),
                );
                Some((step, (jump.size(), matrix, sentence)))
            });
            // The first step at which anything did.
            found.extend(jumps.min_by_key(|(step, _)| *step).map(|(_, found)| found));
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        Searched { line: worst(Level::Caution, &found), unknown: None }
    }),
};

/// The line on the first of `found`, which names the others.
fn worst(level: Level, found: &[(f64, &Matrix<'_>, String)]) -> Option<Line> {
    let others: Vec<&str> = found.iter().skip(1).map(|(_, matrix, _)| matrix.name()).collect();
    found.first().map(|(_, _, sentence)| Line {
        level,
        matrices: found.iter().map(|(_, matrix, _)| matrix.name().to_owned()).collect(),
        sentence: and_more(sentence, &others),
    })
}

fn few(least: usize) -> Searched {
    let reason = format!("it takes {least} measured steps");
    Searched { line: None, unknown: Some(Unknown::everywhere(reason)) }
}

/// The numbers of a column with their steps: 0 where every entry is.
fn course(matrix: &Matrix<'_>, key: &str) -> Vec<(u64, f64)> {
    let Some(course) = &matrix.row.course else { return vec![] };
    let number = |(step, value): (&f64, Value)| match value {
        Value::Missing(MissingReason::AllZero) => Some((*step as u64, 0.0)),
        value => value.number().filter(|x| *x >= 0.0).map(|x| (*step as u64, x)),
    };
    course.steps.iter().zip(course.of(key).unwrap_or_default()).filter_map(number).collect()
}

/// A change from one step to the next that is apart from the others.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Jump {
    from: f64,
    to: f64,
    /// The step before, and the one with the new value.
    before: u64,
    step: u64,
}

impl Jump {
    /// |ln(to/from)|. A fall to nothing is larger than any other; a start from nothing, as that of an adapter, has no size.
    fn size(self) -> f64 {
        if self.from > 0.0 { (self.to.ln() - self.from.ln()).abs() } else { 0.0 }
    }
}

/// The first change by the ratio `least` or more that is [`TIMES`] as large, on a logarithmic scale, as every change before
/// it; where there are fewer than [`BEFORE`] of these, as every other one.
fn jump(points: &[(u64, f64)], least: f64) -> Option<Jump> {
    let changes: Vec<Jump> = points
        .windows(2)
        .map(|pair| Jump { from: pair[0].1, to: pair[1].1, before: pair[0].0, step: pair[1].0 })
        .collect();
    let is_apart = |at: &usize| {
        let others = |range: std::ops::Range<usize>| {
            range.filter(|i| i != at).map(|i| changes[i].size()).fold(0.0, f64::max)
        };
        let usual = if *at >= BEFORE { others(0..*at) } else { others(0..changes.len()) };
        changes.len() > BEFORE && changes[*at].size() >= least.ln() && changes[*at].size() >= TIMES * usual
    };
    (0..changes.len()).find(is_apart).map(|at| changes[at])
}

/// So many steps, or half of the run if that is more, σ₁ has to have grown at.
const GROWING: usize = 5;
/// By what ratio, at least.
const GROWTH: f64 = 1.5;

pub(super) const DRIFT_UP: Definition = Definition {
    name: "drift-up",
    levels: &[Level::Caution],
    of: Of::Series,
    evidence: &["spectral_norm", "spectral_norm_slope"],
    search: Search::All(|side| {
        if measured(side).len() < 2 * GROWING {
            return few(2 * GROWING);
        }
        let mut grown: BTreeMap<_, Vec<(&Matrix<'_>, Growth)>> = BTreeMap::new();
        for matrix in side.rows() {
            if let Some(growth) = Growth::of(&course(matrix, "spectral_norm")) {
                let peers = (without_block(matrix.name()), matrix.row.shape);
                grown.entry(peers).or_default().push((matrix, growth));
            }
        }
        let mut found: Vec<(f64, &Matrix<'_>, String)> = vec![];
        for peers in grown.values() {
            for (i, (matrix, growth)) in peers.iter().enumerate() {
                let others: Vec<f64> = peers
                    .iter()
                    .enumerate()
                    .filter(|(j, _)| *j != i)
                    .map(|(_, (_, growth))| growth.size())
                    .collect();
                if !growth.steady || growth.size() < GROWTH.ln() || growth.size() < 2.0 * median(others) {
                    continue;
                }
                let Growth { from, to, first, last, .. } = growth;
                let sentence = format!(
                    "{}: the spectral norm grew at every step from {first} to {last}, {} → {}.",
                    matrix.name(),
                    real(*from),
                    real(*to),
                );
                found.push((growth.size(), matrix, sentence));
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        Searched { line: worst(Level::Caution, &found), unknown: None }
    }),
};

/// What a number does in the later half of a run.
#[derive(Debug, Clone, Copy)]
struct Growth {
    from: f64,
    to: f64,
    first: u64,
    last: u64,
    /// Whether it grew at every step.
    steady: bool,
}

impl Growth {
    fn of(points: &[(u64, f64)]) -> Option<Self> {
        // Steps that repeat another one say nothing.
        let mut later = points[points.len() / 2..].to_vec();
        later.retain(|point| point.1 > 0.0);
        later.dedup_by(|a, b| a.1.total_cmp(&b.1).is_eq());
        let ((first, from), (last, to)) = (*later.first()?, *later.last()?);
        let steady = later.len() >= GROWING && later.windows(2).all(|pair| pair[1].1 > pair[0].1);
        Some(Self { from, to, first, last, steady })
    }

    /// ln(to/from).
    fn size(&self) -> f64 {
        self.to.ln() - self.from.ln()
    }
}

/// The middle of some numbers; 0 of none.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    match numbers.len() {
        0 => 0.0,
        n => f64::midpoint(numbers[(n - 1) / 2], numbers[n / 2]),
    }
}

pub(super) const COLLAPSED_AT_STEP: Definition = Definition {
    name: "rank-collapsed-at-step",
    levels: &[Level::Problem],
    of: Of::Series,
    evidence: &["effective_rank", "effective_rank_max_step_change", "effective_rank_max_step_change_at"],
    search: Search::All(|side| {
        if measured(side).len() < 2 {
            return few(2);
        }
        let mut found: Vec<(f64, &Matrix<'_>, String)> = vec![];
        for matrix in side.rows() {
            // As it was before rows of it were zero.
            let short = matrix.row.shape.iter().copied().min().unwrap_or(0);
            let points = course(matrix, "effective_rank");
            if (short as f64) < SHORTEST {
                continue;
            }
            let Some((lowest, (step, value))) = collapse(&points) else { continue };
            let sentence = format!(
                "{} uses {} of {} directions at step {step}; before, it used {} or more.",
                matrix.name(),
                real(value),
                tell::count(short as usize),
                real(lowest),
            );
            found.push((lowest / value, matrix, sentence));
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        Searched { line: worst(Level::Problem, &found), unknown: None }
    }),
};

/// The lowest number before, and the first step whose number is half of that or less.
fn collapse(points: &[(u64, f64)]) -> Option<(f64, (u64, f64))> {
    let mut lowest = f64::INFINITY;
    for point in points {
        if lowest.is_finite() && point.1 <= 0.5 * lowest {
            return Some((lowest, *point));
        }
        // An adapter begins with nothing.
        if point.1 > 0.0 {
            lowest = lowest.min(point.1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(numbers: &[f64]) -> Vec<(u64, f64)> {
        numbers.iter().enumerate().map(|(i, x)| (10 * (i as u64 + 1), *x)).collect()
    }

    #[test]
    fn a_jump_is_larger_than_all_changes_before_it() {
        let check = |numbers: &[f64], step| {
            assert_eq!(jump(&points(numbers), 1.25).map(|jump| jump.step), step, "{numbers:?}");
        };
        check(&[1.0, 1.01, 1.02, 1.01, 1.02, 1.9, 3.5, 7.0], Some(60));
        check(&[1.0, 1.01, 1.02, 1.01, 1.02, 0.5, 0.5], Some(60));
        // Warming up is what a run does first; a change like those before is none.
        check(&[1.0, 2.0, 2.6, 2.9, 3.0, 3.05, 3.1], None);
        check(&[1.0, 1.3, 1.69, 2.2, 2.86, 3.7], None);
        check(&[1.0, 1.01, 1.02, 1.01, 1.06], None);
        check(&[1.0, 9.0, 9.0], None);
        // All entries are zero from a step on; an adapter begins with zeros.
        check(&[1.0, 1.01, 1.02, 1.01, 0.0, 0.0], Some(50));
        check(&[0.0, 1.0, 1.2, 1.3, 1.4, 1.5], None);
        // Early, but apart from all others.
        check(&[1.0, 1.01, 3.0, 3.01, 3.0, 3.02], Some(30));
    }

    #[test]
    fn growth_is_steady_in_the_later_half_of_a_run() {
        let grown = |numbers: &[f64]| Growth::of(&points(numbers)).map(|growth| growth.steady);
        assert_eq!(grown(&[5.0, 4.0, 3.0, 2.0, 1.0, 1.0, 1.2, 1.4, 1.6, 1.9]), Some(true));
        assert_eq!(grown(&[1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.5, 1.7, 1.8]), Some(false));
        assert_eq!(grown(&[]), None);
    }

    #[test]
    fn a_collapse_is_a_fall_to_half_of_the_lowest_before() {
        assert_eq!(collapse(&points(&[90.0, 80.0, 85.0, 41.0, 39.0])), None);
        assert_eq!(collapse(&points(&[90.0, 80.0, 85.0, 40.0, 39.0])), Some((80.0, (40, 40.0))));
        assert_eq!(collapse(&points(&[90.0])), None);
        assert_eq!(collapse(&points(&[0.0, 5.0, 4.0])), None);
        assert_eq!(collapse(&points(&[0.0, 5.0, 0.0])), Some((5.0, (30, 0.0))));
    }
}
