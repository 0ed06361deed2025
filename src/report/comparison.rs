//! The parts of a report that only a comparison has: the status of each matrix.

use serde::{Deserialize, Serialize};

use super::Source;

/// The status of a matrix relative to the base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// In a word.
    pub status: Standing,
    /// Shape of the base's matrix, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_shape: Option<[u64; 2]>,
    /// Storage type of the base's matrix, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_dtype: Option<String>,
    /// BLAKE3 of the base's bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_blake3: Option<String>,
}

/// Counts by status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Both sides have it, with other bytes.
    Measured,
    /// Both sides have the same bytes of the same type.
    Unchanged,
    /// The base has no such matrix.
    Added,
    /// Only the base has it.
    Removed,
    /// Both have it, in different shapes.
    Reshaped,
    /// A side could not be read or decomposed.
    Failed,
}

impl Standing {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Unchanged => "unchanged",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Reshaped => "reshaped",
            Self::Failed => "failed",
        }
    }
}

/// One of several models that are compared with one base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// What its columns carry after `@`.
    pub name: String,
    /// Where it came from.
    #[serde(flatten)]
    pub source: Source,
}

/// How many matrices of a comparison have which [`Standing`], apart from those measured or failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// The same bytes on both sides.
    pub unchanged: u64,
    /// Of these, those whose numbers were taken from a saved report.
    pub reused: u64,
    /// Not in the base.
    pub added: u64,
    /// Only in the base.
    pub removed: u64,
    /// Of another shape than in the base.
    pub reshaped: u64,
}
