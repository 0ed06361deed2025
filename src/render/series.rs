//! The steps of a series for people: which they are, and a number over all of them in a line.

use super::fold::ExpertGroup;
use crate::notation;
use crate::report::{Column, Report, Step};

/// What a table of a series shows beside numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OverSteps {
    pub(super) lines: bool,
    pub(super) changes: bool,
}

/// What a reader of a table has to know about the steps: which one its numbers are of.
pub(super) fn notes(report: &Report, has: OverSteps) -> Vec<String> {
    let [first, .., last] = &report.steps[..] else { return vec![] };
    let Some(shown) = report.steps.iter().rfind(|step| step.failed.is_none()) else { return vec![] };
    let base = report
        .base
        .as_ref()
        .map_or_else(String::new, |base| format!("; `delta` columns are against {}", base.path));
    let (first, last) = (first.step, last.step);
    let lines = if has.lines {
        format!(", lines of steps {first} to {last}, each from its least to its greatest")
    } else {
        format!(", the last of {first} to {last}")
    };
    let changes = if has.changes { "; max Δ is the largest change from one step to the next" } else { "" };
    vec![format!("numbers are of step {}{lines}{changes}{base}", shown.step)]
}

/// The steps in a footer; nothing where there is no series.
pub(super) fn count(report: &Report) -> Vec<String> {
    let of = |is: fn(&Step) -> bool| report.steps.iter().filter(|step| is(step)).count() as u64;
    let told = [
        (of(|step| step.failed.is_none()), ["step", "steps"]),
        (of(|step| step.failed.is_some()), ["step left out", "steps left out"]),
        (of(|step| step.repeats.is_some()), ["repeats another", "repeat another"]),
    ];
    told.into_iter().filter(|(n, _)| *n > 0).map(|(n, [one, many])| notation::counted(n, one, many)).collect()
}

/// A metric of a row over all steps; nothing of several rows.
pub(super) fn line(group: &ExpertGroup<'_>, column: &Column, width: usize) -> String {
    let [row] = group.rows[..] else { return String::new() };
    let numbers = row.course.as_ref().and_then(|course| course.numbers(column.key));
    numbers.map_or_else(String::new, |numbers| notation::course(&numbers, width))
}
