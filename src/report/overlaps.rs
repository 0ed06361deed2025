//! How the leading directions of several matrices lie to each other, pair by pair.

use serde::{Deserialize, Serialize};

/// The overlaps of all pairs of some matrices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Overlaps {
    /// What tells the matrices apart: numbers of blocks or experts.
    pub labels: Vec<String>,
    /// Their names.
    pub names: Vec<String>,
    /// Overlaps of left singular vectors, a row a matrix; null where one has no direction.
    pub left: Vec<Vec<Option<f64>>>,
    /// The same of right singular vectors.
    pub right: Vec<Vec<Option<f64>>>,
}
