//! Which matrices and tensors are wanted, by their names.

use std::collections::BTreeSet;

use globset::GlobSet;

/// The user's filter: globs over matrix names.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Keep only names that match; empty keeps all.
    pub include: Option<GlobSet>,
    /// Drop names that match.
    pub exclude: GlobSet,
    /// The patterns of `include` as they were typed, for messages.
    pub included: Vec<String>,
    /// Keep only these names.
    pub names: Option<BTreeSet<String>>,
}

impl Filter {
    /// Whether a matrix or tensor of this name is wanted.
    pub fn keeps(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|globs| globs.is_match(name))
            && !self.exclude.is_match(name)
            && self.names.as_ref().is_none_or(|names| names.contains(name))
    }
}
