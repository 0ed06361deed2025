//! What a report says in sentences, with the evidence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Word;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// True and worth knowing, often harmless.
    Note,
    /// To be looked at.
    Caution,
    /// Broken or untrained for certain.
    Problem,
}

impl Level {
    /// Every level, the worst first.
    pub const ALL: [Self; 3] = [Self::Problem, Self::Caution, Self::Note];

    /// The word in reports and rules.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Caution => "caution",
            Self::Problem => "problem",
        }
    }
}

/// One sentence about a model, or one side of a comparison, with what shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Its name in docs/findings.md.
    pub name: Word,
    /// How much it matters: that of the worst matrix.
    pub level: Level,
    /// The tuned side it is about, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<String>,
    /// The rows it is about, the clearest first; none where it is about the model.
    pub matrices: Vec<String>,
    /// What was found.
    pub sentence: String,
    /// The numbers behind it, of the first matrix, by column.
    pub evidence: BTreeMap<String, f64>,
}

/// A finding that was not looked for everywhere: not looked for is not fine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unchecked {
    /// Its name.
    pub name: Word,
    /// The tuned side it is about, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<String>,
    /// What it was not looked for in, and why.
    pub reason: String,
    /// Whether it was looked for in no matrix at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everywhere: bool,
}
