//! The inventory that `svdkit inspect` reports: tensors by pattern, files, settings.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{SkipKind, Source, Word};

/// A checkpoint as its headers describe it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inventory {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// Version of the program.
    pub svdkit: &'static str,
    /// The subcommand.
    pub command: &'static str,
    /// Where it lies.
    pub model: Source,
    /// The settings beside it, by file and key.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    /// A summary of the updates, if it is an adapter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Updates>,
    /// Tensors that differ in numbers of their names alone, in natural order of the first.
    pub patterns: Vec<Pattern>,
    /// Sums.
    pub totals: Contents,
}

/// The updates of an adapter, summed up.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Updates {
    /// How many matrices it changes.
    pub count: u64,
    /// The methods.
    pub kinds: Vec<Word>,
    /// The numbers of directions, smallest first.
    pub ranks: Vec<u64>,
    /// The scales of the updates, smallest first.
    pub scales: Vec<f64>,
    /// The modules it changes: names without block numbers.
    pub targets: Vec<String>,
}

/// Tensors of one shape, type and fate whose names differ in numbers alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pattern {
    /// The name with `#` for each number.
    pub pattern: String,
    /// The same from the first number on: their role in the block.
    pub role: String,
    /// How many tensors there are.
    pub count: u64,
    /// The stored shape of each.
    pub shape: Vec<u64>,
    /// Their storage type.
    pub dtype: String,
    /// Entries of all of them; for quantized tensors, the number of weights; for their scales, none.
    pub parameters: u64,
    /// Bytes of all of them, where their type has a known size.
    pub bytes: Option<u64>,
    /// What becomes of them.
    pub becomes: Fate,
    /// How many matrices are measured of them.
    pub matrices: u64,
    /// Why they are skipped, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What that means for the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<SkipKind>,
}

/// What becomes of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is a matrix, or several.
    Matrix,
    /// It is a part of an adapter's update.
    Update,
    /// It can't be measured as a matrix.
    Skipped,
    /// A filter left it out.
    Filtered,
}

impl Fate {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Matrix => "matrix",
            Self::Update => "update",
            Self::Skipped => "skipped",
            Self::Filtered => "filtered",
        }
    }
}

/// Sums over a checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// Stored tensors.
    pub tensors: u64,
    /// Their weights.
    pub parameters: u64,
    /// Matrices that would be measured.
    pub matrices: u64,
    /// Tensors that are skipped.
    pub skipped: u64,
    /// Of these, those that may be weights.
    pub refused: u64,
    /// Matrices and tensors that a filter left out.
    pub filtered: u64,
}
