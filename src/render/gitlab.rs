//! GitLab's code-quality report: an issue a broken rule or unmeasured matrix. The file named is the checkpoint, whose
//! only line is its first.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::report::Report;

use super::problem::{Problem, problems};

pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let issue = |Problem { check, text }: Problem| {
        json!({
            "description": format!("{check}: {text}"),
            "check_name": check,
            // The same rule broken by the same matrix is the same issue, whatever the number.
            "fingerprint": blake3::hash(format!("{check}\n{}", subject(&text)).as_bytes()).to_hex().as_str(),
            "severity": "major",
            "location": { "path": report.model.path, "lines": { "begin": 1 } },
        })
    };
    let issues: Vec<Value> = problems(report).into_iter().map(issue).collect();
    serde_json::to_writer_pretty(&mut *out, &issues)?;
    out.write_all(b"\n")
}

/// What a problem's text begins with: the name of the matrix.
fn subject(text: &str) -> &str {
    text.split([':', ' ']).next().unwrap_or(text)
}
