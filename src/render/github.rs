//! Annotations of a GitHub workflow, one command a line: the ten worst rows, since GitHub shows no more of a step.

use std::io::{self, Write};

use crate::report::{Report, Severity};

use super::problem::{Problem, problems};

/// GitHub drops further annotations of one kind and step.
const MOST: usize = 10;

pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let problems = problems(report);
    for Problem { check, text, severity, .. } in problems.iter().take(MOST) {
        let command = if *severity == Severity::Warn { "warning" } else { "error" };
        writeln!(out, "::{command} title={}::{}", property(&format!("svdkit: {check}")), message(text))?;
    }
    let remarks = report.verdicts.iter().flat_map(|verdict| {
        verdict.remarks.iter().map(|remark| (format!("svdkit: {}", verdict.rule), remark))
    });
    for (title, remark) in remarks.take(MOST) {
        writeln!(out, "::notice title={}::{}", property(&title), message(remark))?;
    }
    if problems.len() > MOST {
        writeln!(out, "::notice title=svdkit::{} more problems are in the report", problems.len() - MOST)?;
    }
    Ok(())
}

fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_github_reads_as_a_command_is_escaped() {
        assert_eq!(message("a %\n::error::b"), "a %25%0A::error::b");
        assert_eq!(property("*.q: x, y"), "*.q%3A x%2C y");
    }
}
