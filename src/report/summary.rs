//! A model in one line: what the matrices of a report say together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Sums over the measured weights of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Summary {
    /// In our names.
    Own {
        /// Entries of all measured matrices, tied ones counted once.
        parameters: u64,
        /// Fits of the tail exponent on 50 values or more.
        alpha_fits: u64,
        /// Their median.
        #[serde(skip_serializing_if = "Option::is_none")]
        median_alpha: Option<f64>,
        /// The share of them from 2 to 6.
        #[serde(skip_serializing_if = "Option::is_none")]
        alpha_within_2_to_6: Option<f64>,
        /// Median stable rank by role.
        median_stable_rank: BTreeMap<String, f64>,
    },
    /// WeightWatcher's `get_summary`: plain means by its names.
    Weightwatcher(BTreeMap<String, f64>),
}
