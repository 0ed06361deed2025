//! The verdicts of the rules on a report, row by row.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MissingReason;

/// The outcome of a rule, for a row or for the whole report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing crosses the line.
    Pass,
    /// Rows that cross the limit were accepted, with a reason.
    Accepted,
    /// A value is too close to the limit for its accuracy, or there is no value at all.
    Inconclusive,
    /// Something crosses the line, or could not be measured.
    Fail,
}

/// What a broken rule means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The run ends with exit code 1.
    Error,
    /// It is reported and does not fail the run.
    Warn,
}

/// The judgement of one rule over the whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The rule as the user wrote it.
    pub rule: String,
    /// The column, the finding or the level that it is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// What breaking it means.
    pub severity: Severity,
    /// Its outcome: the worst of its offenders.
    pub outcome: Outcome,
    /// How many rows (or sums) crossed the line and are not accepted.
    pub broken: u64,
    /// How many rows had no value to judge.
    pub missing: u64,
    /// Why, by code, with the number of rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing_reasons: BTreeMap<String, u64>,
    /// How many lie too close to the line.
    pub inconclusive: u64,
    /// How many were accepted.
    pub accepted: u64,
    /// How many rows the settings file hides from it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hidden: u64,
    /// What the outcome does not show: allowed missing values, hidden rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// The worst offender, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<String>,
    /// Every row that the rule does not simply pass, worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offenders: Vec<Offender>,
}

/// One rule's finding on a row, or on a sum over rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offender {
    /// The row; none of a sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix: Option<String>,
    /// The outcome for it; never a pass.
    pub outcome: Outcome,
    /// The value that crossed the limit, or why it is missing.
    pub what: String,
    /// The reason, if the value is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<MissingReason>,
    /// Why it was accepted, or until when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// In a series, the first step whose value crosses the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Verdict {
    /// Whether the run must fail: the rule is broken or inconclusive, and is not a warning.
    pub fn blocks(&self) -> bool {
        self.severity == Severity::Error && matches!(self.outcome, Outcome::Fail | Outcome::Inconclusive)
    }

    /// The verdict in a word.
    pub fn word(&self) -> &'static str {
        match (self.outcome, self.severity) {
            (Outcome::Pass, _) => "pass",
            (Outcome::Accepted, _) => "accepted",
            (Outcome::Inconclusive, _) => "inconclusive",
            (Outcome::Fail, Severity::Warn) => "warn",
            (Outcome::Fail, Severity::Error) => "FAIL",
        }
    }
}

impl Offender {
    /// The offender in words. A finding is a whole sentence, which often names the matrix itself.
    pub fn told(&self) -> String {
        let names_itself = |name: &str| self.what.ends_with('.') && self.what.contains(name);
        let name = self.matrix.as_ref().filter(|name| !names_itself(name));
        let name = name.map_or_else(String::new, |name| format!("{name}: "));
        let note = self.note.as_ref().map_or_else(String::new, |note| format!("; {note}"));
        format!("{name}{}{note}", self.what)
    }
}
