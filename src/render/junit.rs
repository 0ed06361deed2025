//! JUnit XML: a test case a rule, and one for each matrix that could not be measured. GitLab, Jenkins and Azure show it.

use std::io::{self, Write};

use maud::{Markup, PreEscaped, html};

use crate::error::printable;
use crate::report::{Outcome, Report};

use super::problem::told;

pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let failed: Vec<_> = report.rows.iter().filter(|row| row.failed.is_some()).collect();
    let broken = report.verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Fail).count();
    let suite = format!("svdkit {}", report.command);
    let tests = report.verdicts.len() + failed.len();
    let cases: Markup = html! {
        testsuites {
            testsuite name=(suite) tests=(tests) failures=(broken) errors=(failed.len()) {
                @for verdict in &report.verdicts {
                    testcase classname=(suite) name=(printable(&verdict.rule)) {
                        @if verdict.outcome == Outcome::Fail { failure message=(told(verdict)) {} }
                    }
                }
                @for row in failed {
                    testcase classname=(suite) name=(printable(&row.name)) {
                        error message=(printable(row.failed.as_deref().unwrap_or_default())) {}
                    }
                }
            }
        }
    };
    // XML is close enough to HTML for maud to write it: nothing here is an element that HTML leaves open.
    let page = html! { (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")) (cases) };
    writeln!(out, "{}", page.into_string())
}
