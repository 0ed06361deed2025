//! The problems for a build server: each row that does not pass a rule, and each matrix that could not be measured.

use crate::report::{Finding, Level, Offender, Outcome, Report, Severity, Verdict};

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    /// The rule, or the failure.
    pub check: String,
    /// The matrix; none where a sum is judged.
    pub matrix: Option<String>,
    /// The value or the reason, with the matrix's name.
    pub text: String,
    /// How bad it is.
    pub severity: Severity,
}

/// The worst row of each rule, then the second of each, and so on: rows of different rules have no common scale.
/// Errors come before warnings; accepted rows are not problems.
pub(super) fn problems(report: &Report) -> Vec<Problem> {
    let mut lists: Vec<Vec<Problem>> = report.verdicts.iter().map(of_rule).collect();
    lists.push(unmeasured(report));
    lists.push(findings(report));
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    let turn = |i: usize| lists.iter().filter_map(move |list| list.get(i).cloned());
    let mut problems: Vec<Problem> = (0..longest).flat_map(turn).collect();
    problems.sort_by_key(|problem| problem.severity == Severity::Warn);
    problems
}

fn of_rule(verdict: &Verdict) -> Vec<Problem> {
    let counts = |finding: &&Offender| matches!(finding.outcome, Outcome::Fail | Outcome::Inconclusive);
    let problem = |finding: &Offender| Problem {
        check: verdict.rule.clone(),
        matrix: finding.matrix.clone(),
        text: finding.told(),
        severity: verdict.severity,
    };
    verdict.offenders.iter().filter(counts).map(problem).collect()
}

/// Findings that are more than a note: problems as errors, cautions as warnings.
fn findings(report: &Report) -> Vec<Problem> {
    let told = report.findings.iter().filter(|finding| finding.level > Level::Note);
    let problem = |finding: &Finding| Problem {
        check: finding.name.to_string(),
        matrix: finding.matrices.first().cloned(),
        text: finding.sentence.clone(),
        severity: if finding.level == Level::Problem { Severity::Error } else { Severity::Warn },
    };
    told.map(problem).collect()
}

/// Matrices and other tensors that could not be read or decomposed.
pub(super) fn unmeasured(report: &Report) -> Vec<Problem> {
    report
        .failures()
        .map(|(name, why)| Problem {
            check: "could not be measured".to_owned(),
            matrix: Some(name.to_owned()),
            text: format!("{name}: {why}"),
            severity: Severity::Error,
        })
        .collect()
}

/// The worst row of a rule, the number of others, and the remarks.
pub(super) fn told(verdict: &Verdict) -> String {
    let alike = |finding: &&Offender| finding.outcome == verdict.outcome;
    let rows = verdict.offenders.iter().filter(alike).count();
    let more = if rows > 1 { format!(" (and {} more)", rows - 1) } else { String::new() };
    let worst = verdict.worst.iter().map(|worst| format!("{worst}{more}"));
    worst.chain(verdict.remarks.iter().cloned()).collect::<Vec<_>>().join("; ")
}
