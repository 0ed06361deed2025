//! JUnit XML: a suite a rule with a case for each row that it does not pass, and one for matrices that could not be
//! measured. GitLab, Jenkins and Azure show it.

use std::io::{self, Write};

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use crate::report::{Offender, Outcome, Report, Severity, Verdict};

use super::problem::{told, unmeasured};

/// More cases of one rule than a person reads, and few enough for any server.
const MOST: usize = 500;

pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut junit = quick_junit::Report::new(format!("svdkit {}", report.command));
    junit.add_test_suites(report.verdicts.iter().map(suite));
    let failures = unmeasured(report);
    if let Some(first) = failures.first() {
        let mut suite = TestSuite::new(first.check.clone());
        suite.add_test_cases(failures.iter().take(MOST).map(|problem| {
            let name = problem.matrix.clone().unwrap_or_default();
            case(&problem.check, name, bad(NonSuccessKind::Error, problem.text.clone()))
        }));
        junit.add_test_suite(suite);
    }
    junit.serialize(&mut *out).map_err(io::Error::other)?;
    out.write_all(b"\n")
}

/// A rule: one passed case if no row has a finding, and a skipped one for values that it could not judge.
fn suite(verdict: &Verdict) -> TestSuite {
    let rule = &verdict.rule;
    let mut suite = TestSuite::new(rule.clone());
    if verdict.offenders.is_empty() {
        suite.add_test_case(case(rule, "every matrix".to_owned(), TestCaseStatus::success()));
    }
    let of = |finding: &Offender| {
        let name = finding.matrix.clone().unwrap_or_else(|| "every matrix".to_owned());
        let counts = verdict.severity == Severity::Error && finding.outcome != Outcome::Accepted;
        let mut skipped = TestCaseStatus::skipped();
        skipped.set_message(finding.told());
        let status = if counts { bad(NonSuccessKind::Failure, finding.told()) } else { skipped };
        case(rule, name, status)
    };
    suite.add_test_cases(verdict.offenders.iter().take(MOST).map(of));
    for remark in &verdict.remarks {
        let mut status = TestCaseStatus::skipped();
        status.set_message(remark.as_str());
        suite.add_test_case(case(rule, "not judged".to_owned(), status));
    }
    if let left @ 1.. = verdict.offenders.len().saturating_sub(MOST) {
        let mut status = TestCaseStatus::skipped();
        status.set_message(format!("{left} more rows are in the report; {}", told(verdict)));
        suite.add_test_case(case(rule, "more".to_owned(), status));
    }
    suite
}

fn bad(kind: NonSuccessKind, message: String) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message);
    status
}

fn case(class: &str, name: String, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(class);
    case
}
