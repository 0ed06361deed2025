//! A rule with all that it means, and what it may find.

use crate::layer::Filter;
use crate::report::{Offender, Severity};

use super::Rule;
use super::missing::{Gap, MissingPolicy};

/// A rule and how it is meant.
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

/// A finding with how far it lies beyond the line, and why there is no value, if there is none.
pub(super) struct Found {
    pub(super) excess: f64,
    pub(super) gap: Option<Gap>,
    pub(super) finding: Offender,
}
