//! Which two adapters a row is about, and how the spaces of their updates lie to each other.

use serde::{Deserialize, Serialize};

/// Two adapters at one module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Encounter {
    /// The module.
    pub module: String,
    /// The first adapter, as the report calls it.
    pub first: String,
    /// The second.
    pub second: String,
    /// The cosines of the principal angles between their column spaces, descending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_cosines: Vec<f64>,
    /// The same between their row spaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub right_cosines: Vec<f64>,
}
