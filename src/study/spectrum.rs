//! `spectrum`: every metric of each matrix, or what its bytes say alone.

use super::matrices::{Copies, Method};
use super::{Beside, FoundMatrix, Matrices, Opened, Spectra};
use crate::analysis::{hygiene, spectrum};
use crate::error::Error;
use crate::layer::{Filter, Layer, bare};
use crate::metric::{HYGIENE, METRICS, Metric, WEIGHTWATCHER};
use crate::report::{Column, Labels, Row, Value};
use crate::solver::{Cost, Precision};

/// The options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpectrumRequest {
    /// What is measured.
    pub measures: Measures,
    /// Whether an output needs whole spectra.
    pub spectra: Spectra,
}

/// What is measured of each matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measures {
    /// What its bytes say; nothing is decomposed.
    Bytes,
    /// The metrics that go by these names, with singular values that exact.
    Values(Names, Precision),
}

/// Whose names and definitions metrics have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Those of docs/metrics.md.
    Svdkit,
    /// WeightWatcher's.
    Weightwatcher,
}

impl Names {
    /// The metrics that go by these names.
    pub fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Svdkit => METRICS,
            Self::Weightwatcher => WEIGHTWATCHER,
        }
    }

    /// The names that settings call `word`.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Svdkit, Self::Weightwatcher].into_iter().find(|names| names.word().eq_ignore_ascii_case(word))
    }

    /// The word in settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Svdkit => "svdkit",
            Self::Weightwatcher => "weightwatcher",
        }
    }
}

/// The word of a precision in settings.
pub(super) fn precision_word(precision: Precision) -> &'static str {
    match precision {
        Precision::Fast => "fast",
        Precision::Exact => "exact",
    }
}

/// The precision that settings call `word`.
pub fn precision_of(word: &str) -> Option<Precision> {
    let is = |precision: &Precision| precision_word(*precision).eq_ignore_ascii_case(word);
    [Precision::Fast, Precision::Exact].into_iter().find(is)
}

impl Measures {
    /// The metrics.
    pub(super) fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Bytes => HYGIENE,
            Self::Values(names, _) => names.metrics(),
        }
    }

    /// What decides the numbers, as reports say it.
    pub fn settings(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Bytes => vec![("svd", "none".to_owned())],
            Self::Values(names, precision) => vec![
                ("names", names.word().to_owned()),
                ("precision", precision_word(precision).to_owned()),
                ("noise", "median".to_owned()),
                ("xmin", "ks".to_owned()),
            ],
        }
    }
}

impl SpectrumRequest {
    /// Every column, in report order.
    pub fn columns(&self) -> Vec<&'static Column> {
        self.measures.metrics().iter().map(|metric| &metric.column).collect()
    }

    /// The tasks over the matrices of `opened` that `filter` keeps.
    ///
    /// # Errors
    /// When there is none.
    pub fn plan(self, opened: Opened, filter: &Filter) -> Result<Matrices, Error> {
        let Self { measures, spectra } = self;
        let method = Method {
            command: "spectrum",
            columns: self.columns(),
            settings: measures.settings(),
            cost: Box::new(move |layer| match measures {
                Measures::Bytes => Cost {
                    flops: layer.bytes() as f64 * hygiene::OPERATIONS_PER_BYTE,
                    bytes: match layer.factor_entries() {
                        // They are read whole, and hashed in doubles.
                        Some(entries) => 24 * entries,
                        None => layer.bytes().min(hygiene::BLOCK as u64),
                    },
                },
                Measures::Values(_, precision) => spectrum::cost(layer, precision),
            }),
            measure: Box::new(move |source, layer: &Layer, memo| {
                let measured = match measures {
                    Measures::Bytes => hygiene::measure(source, layer, memo)?,
                    Measures::Values(names, precision) => {
                        spectrum::measure(source, layer, precision, names.metrics(), memo)?
                    }
                };
                Ok(FoundMatrix::new(measured, layer, spectra))
            }),
            base: None,
            copies: Copies::Recalled,
            beside: match measures {
                Measures::Values(Names::Weightwatcher, _) => Beside::Labels,
                Measures::Values(Names::Svdkit, _) | Measures::Bytes => Beside::Nothing,
            },
        };
        Matrices::new(opened, filter, method)
    }
}

/// The text columns of WeightWatcher's table, as for a file of weights.
pub(super) fn labels(row: &Row) -> Labels {
    let axes = row.stored_shape.as_ref().map_or(2, Vec::len);
    let slice = row.name.ends_with(']');
    Labels {
        longname: if row.update.is_some() || slice {
            row.name.to_string()
        } else {
            bare(&row.tensor).to_owned()
        },
        layer_type: match axes {
            2 => "dense",
            4 => "conv2d",
            _ if slice => "dense",
            _ => "unknown",
        }
        .into(),
        warning: match row.values.get("alpha").and_then(Value::number) {
            Some(alpha) if alpha < 2.0 => "over-trained",
            Some(alpha) if alpha > 6.0 => "under-trained",
            _ => "",
        }
        .into(),
        has_esd: row.failed.is_none() && row.values.get("num_evals").is_some() && !row.sketch.is_empty(),
    }
}
