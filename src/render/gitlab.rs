//! GitLab's code-quality report: an issue for each row that a rule does not pass and each matrix that could not be
//! measured. The file named is the checkpoint, whose only line is its first.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::report::{Report, Severity};

use super::problem::{Problem, problems};

/// More issues than a person reads, and few enough for any server.
const MOST: usize = 500;

pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let issue = |check: &str, matrix: &str, text: &str, severity: &str| {
        json!({
            "description": text,
            "check_name": check,
            // The same rule broken by the same matrix is the same issue, whatever the number.
            "fingerprint": blake3::hash(format!("{check}\n{matrix}").as_bytes()).to_hex().as_str(),
            "severity": severity,
            "location": { "path": report.model.path, "lines": { "begin": 1 } },
        })
    };
    let all = problems(report);
    let each = |Problem { check, matrix, text, severity }: &Problem| {
        let severity = if *severity == Severity::Warn { "minor" } else { "major" };
        issue(check, matrix.as_deref().unwrap_or_default(), &format!("{check}: {text}"), severity)
    };
    let mut issues: Vec<Value> = all.iter().take(MOST).map(each).collect();
    for verdict in &report.verdicts {
        let check = &verdict.rule;
        let remark = |text: &String| issue(check, "not judged", &format!("{check}: {text}"), "info");
        // One issue a rule, whatever the numbers in it.
        issues.extend((!verdict.remarks.is_empty()).then(|| remark(&verdict.remarks.join("; "))));
    }
    if all.len() > MOST {
        let more = format!("{} more problems are in the report", all.len() - MOST);
        issues.push(issue("svdkit", "more", &more, "info"));
    }
    serde_json::to_writer_pretty(&mut *out, &issues)?;
    out.write_all(b"\n")
}
