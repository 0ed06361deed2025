//! Leading directions in a report: which are intruders, at which limits, and sums over groups of rows.

use serde::{Deserialize, Serialize};

use super::{RowValues, Word};

/// Which leading directions of a tuned matrix are intruders, counted from 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Intruders {
    /// The intruders, ascending.
    #[serde(rename = "intruders")]
    pub indices: Vec<u64>,
    /// Other limits, and how many there are at each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweep: Vec<(f64, u64)>,
    /// Every direction that was checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directions: Vec<Direction>,
    /// The share of the mitigated update's energy that the adapter's rank keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_kept: Option<f64>,
}

/// One leading direction of a tuned matrix, held against all singular vectors of the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Direction {
    /// `left` or `right`.
    pub side: Word,
    /// Position among the singular values of the tuned matrix, from 1.
    pub index: u64,
    /// Its singular value.
    pub singular_value: f64,
    /// Between which bounds the best cosine lies.
    pub best_cosine: [f64; 2],
    /// The base's singular vector that comes closest, from 1, where it is known.
    pub base_index: Option<u64>,
    /// Whether the best cosine is below the limit.
    pub intruder: bool,
}

/// Sums over rows that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// What they have in common: `role`, `block`, or `pair` of adapters.
    pub by: Word,
    /// Which role, block or pair.
    pub name: String,
    /// How many matrices.
    pub matrices: u64,
    /// Of roles and blocks, counts are summed, everything else is averaged over the rows that have it; of pairs, all
    /// matrices are taken as one.
    #[serde(flatten, skip_deserializing)]
    pub values: RowValues,
}
