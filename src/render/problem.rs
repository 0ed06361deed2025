//! What a build server is told of a report: each broken rule and each matrix that could not be measured.

use crate::error::printable;
use crate::report::{Outcome, Report, Verdict};

/// One thing that is wrong.
pub(super) struct Problem {
    /// The rule, or what could not be done.
    pub check: String,
    /// The worst offender or the reason.
    pub text: String,
}

/// Broken rules first, in the order given, then what could not be measured.
pub(super) fn problems(report: &Report) -> Vec<Problem> {
    let rules = report.verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Fail);
    let rules = rules.map(|verdict| Problem { check: printable(&verdict.rule), text: told(verdict) });
    let failed = report.rows.iter().filter_map(|row| {
        let why = row.failed.as_deref()?;
        Some(Problem {
            check: "could not be measured".to_owned(),
            text: printable(&format!("{}: {why}", row.name)),
        })
    });
    rules.chain(failed).collect()
}

/// The worst offender of a rule and how many there are.
pub(super) fn told(verdict: &Verdict) -> String {
    let worst = verdict.worst.as_deref().unwrap_or_default();
    let more = if verdict.broken > 1 { format!(" (and {} more)", verdict.broken - 1) } else { String::new() };
    printable(&format!("{worst}{more}"))
}
