//! From a spectrum to numbers. `METRICS` is the one table of what can be measured.
use crate::layer::Layer;
use crate::matrix::Matrix;
use crate::report::{Column, Format, Measurements, Value, Why};
use crate::spectrum::Spectrum;
pub struct Subject<'a> {
    pub spectrum: Result<&'a Spectrum, Why>,
}
impl<'a> Subject<'a> {
    pub fn new(_: &Layer, _: &Entries, spectrum: Result<&'a Spectrum, Why>) -> Self {
        Self { spectrum }
    }
    pub fn flags(&self) -> Vec<&'static str> {
        vec!["low_n_tail"]
    }
}
pub struct Entries;
impl Entries {
    pub fn new(_: usize) -> Self {
        Self
    }
    pub fn push(&mut self, _: &Matrix) {}
    pub fn nonfinite_count(&self) -> usize {
        0
    }
}
pub struct Metric {
    pub column: Column,
    pub value: fn(&Subject<'_>) -> Value,
}
const fn c(key: &'static str, label: &'static str) -> Column {
    Column { key, label, format: Format::Real, doc: "", range: "", source: "" }
}
pub static METRICS: &[Metric] = &[
    Metric {
        column: c("spectral_norm", "σ₁"),
        value: |s| s.spectrum.map_or_else(Value::Missing, |s| Value::real(s.largest())),
    },
    Metric {
        column: c("stable_rank", "stable"),
        value: |s| {
            s.spectrum.map_or_else(Value::Missing, |s| {
                Value::real(s.values().iter().map(|x| x * x).sum::<f64>() / s.largest().powi(2))
            })
        },
    },
    Metric {
        column: c("alpha", "α"),
        value: |s| s.spectrum.map_or_else(Value::Missing, |s| Value::real(s.floor())),
    },
];
pub static WEIGHTWATCHER: &[Metric] = METRICS;
pub fn evaluate(s: &Subject<'_>, m: &'static [Metric]) -> Measurements {
    Measurements(m.iter().map(|m| (&m.column, (m.value)(s))).collect())
}
