//! How small a number a spectrum resolves: what the gate needs to know of a value's error, whatever columns are shown.

use serde::{Deserialize, Serialize};

use super::{Aspect, ColumnKey};

/// The accuracy of the spectrum that one side of a row was measured by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resolution {
    /// Whether it is the base's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub base: bool,
    /// Which tuned side's it is, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<String>,
    /// σ₁.
    pub spectral_norm: f64,
    /// Values below it are rounding.
    pub accuracy_floor: f64,
}

impl Resolution {
    /// Whether a value of `key`, of one side alone, was measured by this spectrum.
    pub fn is_of(&self, key: ColumnKey<'_>) -> bool {
        self.base == (key.aspect == Aspect::Base) && (self.base || self.side.as_deref() == key.side)
    }
}
