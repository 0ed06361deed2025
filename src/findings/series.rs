//! The steps of a run: those that repeat another one, are not complete, or are missing, and matrices that come and go.

use std::collections::BTreeMap;

use super::tell::{self, Line, and_more};
use super::view::{Matrix, ModelSide};
use super::{Definition, Of, Search, Searched};
use crate::report::{Level, MissingReason, Numbers, Step, Value};

/// The steps that were measured, with their positions.
pub(super) fn measured<'r>(side: &ModelSide<'r>) -> Vec<(usize, &'r Step)> {
    side.report.steps.iter().enumerate().filter(|(_, step)| step.failed.is_none()).collect()
}

/// A finding about steps, not about matrices.
fn about_steps(level: Level, sentence: Option<String>) -> Searched {
    Searched { line: sentence.map(|sentence| Line { level, matrices: vec![], sentence }), unknown: None }
}

/// Steps by their numbers, runs of neighbors in `all` as ranges.
fn steps(some: &[u64], all: &[u64]) -> String {
    let mut runs: Vec<(u64, u64, usize)> = vec![];
    for step in some {
        let at = all.iter().position(|known| known == step).unwrap_or(usize::MAX);
        match runs.last_mut() {
            Some((_, last, before)) if before.wrapping_add(1) == at => (*last, *before) = (*step, at),
            _ => runs.push((*step, *step, at)),
        }
    }
    let run = |(first, last, _): &(u64, u64, usize)| {
        if first == last { first.to_string() } else { format!("{first}–{last}") }
    };
    let runs: Vec<String> = runs.iter().map(run).collect();
    let word = if some.len() == 1 { "step" } else { "steps" };
    format!("{word} {}", tell::list(&runs.iter().map(String::as_str).collect::<Vec<_>>()))
}

pub(super) const INCOMPLETE_STEP: Definition = Definition {
    name: "incomplete-step",
    levels: &[Level::Caution],
    of: Of::Series,
    evidence: &[],
    search: Search::All(|side| {
        let all: Vec<u64> = side.report.steps.iter().map(|step| step.step).collect();
        let failed: Vec<&Step> = side.report.steps.iter().filter(|step| step.failed.is_some()).collect();
        let numbers: Vec<u64> = failed.iter().map(|step| step.step).collect();
        let why = failed.first().and_then(|first| first.failed.as_ref());
        let told = capital(&steps(&numbers, &all));
        let sentence = why.map(|why| match failed.len() {
            1 => format!("{told} is left out: {why}."),
            several => format!("{told} are left out, {several} of {}; the first: {why}.", all.len()),
        });
        about_steps(Level::Caution, sentence)
    }),
};

pub(super) const IDENTICAL_STEP: Definition = Definition {
    name: "identical-step",
    levels: &[Level::Caution],
    of: Of::Series,
    evidence: &[],
    search: Search::All(|side| {
        let measured = measured(side);
        let all: Vec<u64> = measured.iter().map(|(_, step)| step.step).collect();
        let mut copies: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (step, original) in measured.iter().filter_map(|(_, step)| Some((step.step, step.repeats?))) {
            copies.entry(original).or_default().push(step);
        }
        let count: usize = copies.values().map(Vec::len).sum();
        let told = |(original, copies): (&u64, &Vec<u64>)| {
            let hold = if copies.len() == 1 { "holds" } else { "hold" };
            format!("{} {hold} the weights of step {original}", steps(copies, &all))
        };
        let told: Vec<String> = copies.iter().map(told).collect();
        let listed = tell::list(&told.iter().map(String::as_str).collect::<Vec<_>>());
        let sentence = match &told[..] {
            [] => None,
            [only] => Some(format!("{}, bit by bit.", capital(only))),
            _ => Some(format!("{count} of {} steps repeat an earlier one, bit by bit: {listed}.", all.len())),
        };
        about_steps(Level::Caution, sentence)
    }),
};

pub(super) const NON_FINITE_AT_STEP: Definition = Definition {
    name: "non-finite-at-step",
    levels: &[Level::Problem],
    of: Of::Series,
    evidence: &["nonfinite_count"],
    search: Search::All(|side| {
        let measured = measured(side);
        let all: Vec<u64> = measured.iter().map(|(_, step)| step.step).collect();
        let mut found: Vec<(&Matrix<'_>, Vec<u64>)> = vec![];
        // Masks hold −∞ where nothing may be attended to.
        for matrix in side.rows().filter(|matrix| !matrix.name().to_ascii_lowercase().contains("mask")) {
            let counts = matrix.row.course.as_ref().and_then(|course| course.numbers("nonfinite_count"));
            let counts = counts.unwrap_or_default();
            let holds = |at: usize| counts.get(at).copied().flatten().is_some_and(|count| count > 0.0);
            let steps = measured.iter().filter(|(at, _)| holds(*at)).map(|(_, step)| step.step);
            let steps: Vec<u64> = steps.collect();
            // Of the last step alone, `non-finite` tells.
            if steps.first().is_some_and(|first| Some(first) != all.last()) {
                found.push((matrix, steps));
            }
        }
        found.sort_by_key(|(_, steps)| steps[0]);
        let others: Vec<&str> = found.iter().skip(1).map(|(matrix, _)| matrix.name()).collect();
        let line = found.first().map(|(first, holding)| Line {
            level: Level::Problem,
            matrices: found.iter().map(|(matrix, _)| matrix.name().to_owned()).collect(),
            sentence: and_more(
                &format!("{} holds NaN or infinite entries at {}.", first.name(), steps(holding, &all)),
                &others,
            ),
        });
        Searched { line, unknown: None }
    }),
};

pub(super) const GAP: Definition = Definition {
    name: "gap",
    levels: &[Level::Note, Level::Caution],
    of: Of::Series,
    evidence: &[],
    search: Search::All(|side| {
        if let Some(line) = come_and_go(side) {
            return Searched { line: Some(line), unknown: None };
        }
        about_steps(Level::Note, missing_steps(side))
    }),
};

/// Matrices that some steps lack.
fn come_and_go(side: &ModelSide<'_>) -> Option<Line> {
    let measured = measured(side);
    let all: Vec<u64> = measured.iter().map(|(_, step)| step.step).collect();
    let mut found: Vec<(&Matrix<'_>, Vec<u64>)> = vec![];
    for matrix in side.rows() {
        let Some(course) = &matrix.row.course else { continue };
        let is_absent = |at: &usize| course.values.get(*at).is_some_and(is_absent);
        let lacking: Vec<u64> =
            measured.iter().filter(|(at, _)| is_absent(at)).map(|(_, step)| step.step).collect();
        if !lacking.is_empty() {
            found.push((matrix, lacking));
        }
    }
    let (first, lacking) = found.first()?;
    let others: Vec<&str> = found.iter().skip(1).map(|(matrix, _)| matrix.name()).collect();
    Some(Line {
        level: Level::Caution,
        matrices: found.iter().map(|(matrix, _)| matrix.name().to_owned()).collect(),
        sentence: and_more(&format!("{} is not in {}.", first.name(), steps(lacking, &all)), &others),
    })
}

fn is_absent(numbers: &Numbers) -> bool {
    !numbers.is_empty() && numbers.iter().all(|value| value == Some(Value::Missing(MissingReason::Absent)))
}

/// The steps that a regular series lacks: where three of four distances, or more, are the same.
fn missing_steps(side: &ModelSide<'_>) -> Option<String> {
    let all: Vec<u64> = side.report.steps.iter().map(|step| step.step).collect();
    let given = side.report.settings.iter().any(|(key, value)| *key == "order" && value == "given");
    let distances: Vec<u64> = all.windows(2).map(|pair| pair[1].abs_diff(pair[0])).collect();
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    distances.iter().for_each(|distance| *counts.entry(*distance).or_default() += 1);
    let (usual, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    if given || distances.len() < 4 || 4 * count < 3 * distances.len() || usual == 0 {
        return None;
    }
    let lacking = |pair: &[u64]| match pair[1].abs_diff(pair[0]) {
        distance if distance.is_multiple_of(usual) => (distance / usual).saturating_sub(1),
        _ => 0,
    };
    let pairs: Vec<&[u64]> = all.windows(2).filter(|pair| lacking(pair) > 0).collect();
    let number: u64 = pairs.iter().map(|pair| lacking(pair)).sum();
    let first = pairs.first()?;
    let (are, word) = if number == 1 { ("is", "step") } else { ("are", "steps") };
    let between = if pairs.len() == 1 { "" } else { "the first " };
    Some(format!(
        "Steps are {usual} apart, and {number} {word} {are} missing, {between}between {} and {}.",
        first[0], first[1]
    ))
}

/// With a capital letter.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbors_are_told_as_ranges() {
        let all = [10, 20, 30, 40, 50];
        assert_eq!(steps(&[20], &all), "step 20");
        assert_eq!(steps(&[20, 30, 50], &all), "steps 20–30, 50");
    }
}
