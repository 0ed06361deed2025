//! From a spectrum to numbers. `METRICS` is the one table of what can be measured.

use crate::report::{Column, Value, Why};
use crate::spectrum::Spectrum;

/// What is known of one matrix when its metrics are computed.
pub struct Subject<'a> {
    /// The singular values, or why there are none.
    pub spectrum: Result<&'a Spectrum, Why>,
}

/// A column and the function that fills it.
pub struct Metric {
    /// What the program says about the number.
    pub column: Column,
    /// Computes it.
    pub value: fn(&Subject<'_>) -> Value,
}
