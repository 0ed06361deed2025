//! A parsed rule and its findings.

use crate::layer::Filter;
use crate::report::{Offender, Severity};

use super::Rule;
use super::missing::{Gap, MissingPolicy};

/// A rule with its settings.
#[derive(Debug, Clone)]
pub struct Clause {
    /// The failing condition.
    pub rule: Rule,
    /// What breaking it means.
    pub severity: Severity,
    /// The rows it is about, beside the rule's own glob.
    pub filter: Filter,
    /// Which values that could not be measured it passes over.
    pub missing: MissingPolicy,
}

/// A finding, its distance beyond the limit, and the reason if it has no value.
pub(super) struct Breach {
    pub(super) excess: f64,
    pub(super) gap: Option<Gap>,
    pub(super) finding: Offender,
}
