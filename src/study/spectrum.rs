//! `spectrum`: every metric of each matrix, or what its bytes say alone.

use super::matrices::{Copies, Method};
use super::{Asked, Beside, FoundMatrix, Further, Matrices, Opened, Search, Spectra};
use crate::analysis::spectrum;
use crate::error::Error;
use crate::layer::{Filter, Layer, bare};
use crate::metric::{METRICS, Metric, WEIGHTWATCHER};
use crate::report::{Column, Labels, Row, Value};
use crate::solver::{Needs, Precision};

/// The options.
#[derive(Debug, Clone)]
pub struct SpectrumRequest {
    /// What may be measured.
    pub measures: Measures,
    /// What of it is.
    pub asked: Asked,
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
    /// The table of metrics.
    pub(super) fn table(self) -> &'static [Metric] {
        match self {
            Self::Bytes => METRICS,
            Self::Values(names, _) => names.metrics(),
        }
    }

    /// The most that a metric may need.
    fn most(self) -> Needs {
        if self == Self::Bytes { Needs::Entries } else { Needs::Values }
    }

    /// How exact singular values are.
    fn precision(self) -> Precision {
        if let Self::Values(_, precision) = self { precision } else { Precision::Fast }
    }

    /// What decides numbers that `needs` so much, as reports say it.
    pub fn settings(self, needs: Needs) -> Vec<(&'static str, String)> {
        let (names, precision) = match self {
            Self::Values(names, precision) if needs > Needs::Entries => (names, precision),
            Self::Bytes | Self::Values(..) => return vec![("svd", "none".to_owned())],
        };
        let mut settings =
            vec![("names", names.word().to_owned()), ("precision", precision_word(precision).to_owned())];
        settings.extend(match needs {
            Needs::Largest => vec![("svd", LARGEST.to_owned())],
            _ => vec![("noise", "median".to_owned()), ("xmin", "ks".to_owned())],
        });
        settings
    }
}

/// The setting `svd` of a report whose matrices were decomposed no further than to σ₁.
pub(super) const LARGEST: &str = "largest";

impl SpectrumRequest {
    /// Every column that there may be, in report order.
    pub fn columns(&self) -> Vec<&'static Column> {
        let most = self.measures.most();
        self.measures.table().iter().filter(|m| m.needs <= most).map(|metric| &metric.column).collect()
    }

    /// The tasks over the matrices of `opened` that `filter` keeps.
    ///
    /// # Errors
    /// When there is none.
    pub fn plan(self, opened: Opened, filter: &Filter) -> Result<Matrices, Error> {
        self.plan_with(Further::default(), opened, filter)
    }

    /// The same with what is asked `further`.
    ///
    /// # Errors
    /// When there is none.
    pub fn plan_with(self, further: Further, opened: Opened, filter: &Filter) -> Result<Matrices, Error> {
        let Self { measures, mut asked, spectra } = self;
        let opened = further.opened(opened);
        let is_theirs = matches!(measures, Measures::Values(Names::Weightwatcher, _));
        if is_theirs {
            // Findings are not looked for by these names; the text columns take these two.
            asked.findings = Search::Off;
            asked.evidence.extend(["alpha", "num_evals"].map(|key| (key, "`--names`".to_owned())));
        }
        let least = if spectra == Spectra::Kept { Needs::Values } else { Needs::Entries };
        let mut taken = asked.of_table(measures.table(), (least, measures.most()));
        let (needs, metrics, precision) = (taken.needs, taken.metrics, measures.precision());
        let mut parts = taken.parts(&asked, precision);
        parts.extend(further.parts(&asked));
        let of_further = further.columns();
        taken.shown.extend(asked.shown(&of_further, &of_further));
        let mut settings = measures.settings(needs);
        settings.extend(further.settings());
        let (costly, beside) = (further.clone(), further.beside(&opened.source, &opened.origin.path));
        let method = Method {
            command: "spectrum",
            columns: metrics.iter().map(|metric| &metric.column).chain(of_further).collect(),
            parts,
            shown: taken.shown,
            kept_by: None,
            settings,
            cost: Box::new(move |layer| costly.cost_with(layer, spectrum::cost(layer, precision, needs))),
            measure: Box::new(move |source, layer: &Layer, memo| {
                let mut measured = spectrum::measure_some(source, layer, (precision, needs), metrics, memo)?;
                let (values, lists) = further.measure(source, layer, &beside)?;
                measured.values.0.extend(values.0);
                Ok(FoundMatrix { lists, ..FoundMatrix::new(measured, layer, spectra) })
            }),
            base: None,
            copies: Copies::Recalled,
            beside: if is_theirs { Beside::Labels } else { Beside::Nothing },
        };
        Ok(Matrices::new(opened, filter, method)?.holding(spectra))
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
