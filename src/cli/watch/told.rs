//! What a watch says on stderr: a line a step.

use std::collections::BTreeSet;

use crate::cli::{complain, remark};
use crate::error::{Error, printable};
use crate::notation;
use crate::report::{Report, Row};

/// What was told so far.
#[derive(Default)]
pub(super) struct Told {
    findings: BTreeSet<String>,
    /// What went wrong after the step before.
    trouble: Option<String>,
    /// Whether it was said that nothing could be measured.
    pub(super) is_warned: bool,
}

impl Told {
    /// The findings of `report` are not told again.
    pub(super) fn known(&mut self, report: &Report) {
        self.findings.extend(report.findings.iter().map(|finding| finding.name.to_string()));
    }

    /// Says what goes wrong after a step, unless the same did after the step before.
    pub(super) fn trouble(&mut self, error: Option<&Error>) {
        let trouble = error.map(ToString::to_string);
        if let Some(trouble) = trouble.as_ref().filter(|_| trouble != self.trouble) {
            complain(trouble);
        }
        self.trouble = trouble;
    }

    /// What became of `step`: which number changed most since the step before, and what is found for the first time. The
    /// number is that of the first of `shown` that was measured.
    pub(super) fn line(&mut self, report: Option<&Report>, step: u64, shown: &[&str]) -> String {
        let Some(report) = report else { return format!("step {step}: measured") };
        let mut parts = vec![change(report, step, shown)];
        let new = report.findings.iter().filter(|finding| !self.findings.contains(&*finding.name));
        let new: Vec<&str> = new.map(|finding| &*finding.name).collect();
        if !new.is_empty() {
            parts.push(format!("new: {}", new.join(", ")));
        }
        self.known(report);
        printable(&format!("step {step}: {}", parts.join("; ")))
    }
}

/// Says which steps never became complete.
pub(super) fn left_out(report: &Result<Report, Error>) {
    let Ok(report) = report else { return };
    let left_out: Vec<_> = report.steps.iter().filter(|step| step.failed.is_some()).collect();
    let Some(first) = left_out.first() else { return };
    let why = first.failed.as_deref().unwrap_or_default();
    remark(&match left_out.len() {
        1 => format!("step {} never became complete: {why}", first.step),
        several => {
            let steps: Vec<String> = left_out.iter().map(|step| step.step.to_string()).collect();
            format!("{several} steps never became complete: {}; the first: {why}", steps.join(", "))
        }
    });
}

/// The number that changed most since the step before.
fn change(report: &Report, step: u64, shown: &[&str]) -> String {
    let measured: Vec<usize> =
        report.steps.iter().enumerate().filter(|(_, step)| step.failed.is_none()).map(|(at, _)| at).collect();
    let at = measured.iter().position(|at| report.steps[*at].step == step);
    let Some((before, at)) = at.and_then(|at| Some((measured[at.checked_sub(1)?], measured[at]))) else {
        return "measured".to_owned();
    };
    if let Some(repeats) = report.steps[at].repeats {
        return format!("repeats step {repeats}");
    }
    let since = report.steps[before].step;
    // A change from 0 is larger than any number.
    let course = |row: &Row, key: &str| {
        let numbers = row.course.as_ref()?.numbers(key)?;
        let (from, to) = (numbers[before]?, numbers[at]?);
        Some(match to - from {
            0.0 => 0.0,
            moved => moved / from.abs(),
        })
    };
    let is_there = |key: &&&str| report.rows.iter().any(|row| course(row, key).is_some());
    let own = report.columns.iter().map(|column| column.key);
    let Some(key) = shown.iter().find(is_there).copied().or_else(|| own.clone().find(|key| is_there(&key)))
    else {
        return "measured".to_owned();
    };
    let changes = report.rows.iter().filter_map(|row| Some((row, course(row, key)?)));
    let most = changes.max_by(|(_, a), (_, b)| a.abs().total_cmp(&b.abs()));
    match most {
        Some((row, change)) if change.is_infinite() => {
            format!("{} {key} is no longer 0 since step {since}", row.name)
        }
        Some((row, change)) if change != 0.0 => {
            format!("{} {key} {} since step {since}", row.name, notation::change(change))
        }
        _ => format!("no {key} changed since step {since}"),
    }
}
