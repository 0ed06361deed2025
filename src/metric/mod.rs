//! From a spectrum to numbers. `METRICS` is the only table of metrics, `WEIGHTWATCHER` its twin for those
//! who need another tool's names and definitions.

mod bulk;
mod density;
mod factoring;
mod marchenko_pastur;
mod norm;
mod parametric;
mod places;
mod power_law;
mod randomness;
mod rank;
mod snr;
mod tail;
mod tail_start;
mod thresholds;
mod weightwatcher;

use std::cell::OnceCell;

use crate::layer::Layer;
use crate::report::{Column, Flag, Measurements, MissingReason, Value};
use crate::solver::{Entries, Largest, Needs};
use crate::spectrum::{Route, Spectrum, magnitude, scaled};

pub use bulk::Bulk;
pub use marchenko_pastur::random_effective_rank;
pub use norm::{ACCURACY_FLOOR, FROBENIUS_NORM, NONFINITE_COUNT, SPECTRAL_NORM};
pub use parametric::{Chosen, chosen, of_share};
pub use power_law::LOW_N;
pub use rank::{energy_rank, energy_shares};
pub use snr::SPECTRUM_SNR;
pub use tail::{TailFit, fit as fit_tail};
pub use tail_start::{StartRule, fit_by};
pub use thresholds::RANK_ABOVE_ROUNDING;
pub use weightwatcher::WEIGHTWATCHER;

/// A column and the function that fills it.
#[derive(Debug)]
pub struct Metric {
    /// Key, label, format and texts of the column.
    pub column: Column,
    /// What it is computed from.
    pub needs: Needs,
    /// Computes it.
    pub value: fn(&Subject<'_>) -> Value,
}

/// Every metric of a matrix, in the order of the report.
pub static METRICS: &[Metric] = &[
    norm::NONFINITE_COUNT,
    norm::ZERO_ROWS,
    norm::MAX_ABS,
    randomness::ZERO_COLUMNS,
    randomness::DUPLICATE_ROWS,
    randomness::DUPLICATE_COLUMNS,
    randomness::KURTOSIS,
    randomness::IID_Z,
    randomness::LONE_ENTRY,
    randomness::INIT_BOUND,
    randomness::INIT_BOUND_XAVIER,
    norm::SPECTRAL_NORM,
    norm::SCALED_SPECTRAL_NORM,
    norm::FROBENIUS_NORM,
    norm::NUCLEAR_NORM,
    norm::SMALLEST_SINGULAR_VALUE,
    norm::CONDITION_NUMBER,
    norm::ACCURACY_FLOOR,
    norm::BELOW_FLOOR_COUNT,
    norm::MAX_EIGENVALUE,
    rank::STABLE_RANK,
    rank::EFFECTIVE_RANK,
    rank::EFFECTIVE_RANK_ENERGY,
    rank::ENTROPY,
    rank::PARTICIPATION_RATIO,
    rank::NUMERICAL_RANK,
    rank::RANK_AT_90,
    rank::RANK_AT_95,
    rank::RANK_AT_99,
    power_law::ALPHA,
    power_law::ALPHA_SIGMA,
    power_law::XMIN,
    power_law::TAIL_COUNT,
    power_law::KS_DISTANCE,
    power_law::ALPHA_HILL,
    power_law::ALPHA_WEIGHTED,
    bulk::NOISE_SIGMA,
    bulk::BULK_EDGE,
    bulk::SPIKE_COUNT,
    randomness::MP_DISTANCE,
    randomness::MP_EDGE_Z,
    thresholds::RANK_ABOVE_ROUNDING,
];

/// The columns of `svdkit rank`, before those of [`chosen()`].
pub static RANKS: &[Metric] = &[
    norm::NONFINITE_COUNT,
    rank::NUMERICAL_RANK,
    rank::STABLE_RANK,
    rank::PARTICIPATION_RATIO,
    rank::EFFECTIVE_RANK_ENERGY,
    rank::EFFECTIVE_RANK,
    rank::RANKME,
    rank::INTRINSIC_RANK,
    rank::RANK_AT_90,
    rank::RANK_AT_95,
    rank::RANK_AT_99,
    rank::NUCLEAR_RANK_AT_90,
    rank::NUCLEAR_RANK_AT_95,
    rank::NUCLEAR_RANK_AT_99,
    factoring::BREAK_EVEN_RANK,
    factoring::SAVED_AT_90,
    factoring::SAVED_AT_95,
    factoring::SAVED_AT_99,
    thresholds::RANK_ABOVE_ROUNDING,
    bulk::BULK_EDGE,
    bulk::SPIKE_COUNT,
    thresholds::GAVISH_DONOHO_RANK,
    thresholds::LARGEST_GAP,
    thresholds::LARGEST_GAP_AT,
    snr::SPECTRUM_SNR,
];

/// What `svdkit adapter inspect` says of an update's singular values.
pub static UPDATES: &[Metric] = &[
    norm::NONFINITE_COUNT,
    norm::SPECTRAL_NORM,
    norm::FROBENIUS_NORM,
    rank::STABLE_RANK,
    rank::EFFECTIVE_RANK,
    rank::RANK_AT_90,
    rank::RANK_AT_99,
    factoring::BREAK_EVEN_RANK,
];

/// What `svdkit features` says of the singular values of a table.
pub static FEATURES: &[Metric] = &[
    norm::NONFINITE_COUNT,
    norm::SPECTRAL_NORM,
    norm::FROBENIUS_NORM,
    norm::NUCLEAR_NORM,
    norm::SMALLEST_SINGULAR_VALUE,
    norm::CONDITION_NUMBER,
    rank::STABLE_RANK,
    rank::EFFECTIVE_RANK,
    rank::EFFECTIVE_RANK_ENERGY,
    rank::PARTICIPATION_RATIO,
    rank::NUMERICAL_RANK,
    rank::RANK_AT_90,
    rank::RANK_AT_95,
    rank::RANK_AT_99,
];

/// Some metrics of a table: they live as long as the program.
pub type Metrics = &'static [&'static Metric];

/// The metrics of `table` that are `wanted`, in its order. Call this once a run.
pub fn select(table: &'static [Metric], wanted: impl Fn(&Metric) -> bool) -> Metrics {
    table.iter().filter(|metric| wanted(metric)).collect::<Vec<_>>().leak()
}

/// What was rounded to the storage type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rounded {
    /// The matrix itself.
    Itself,
    /// The weights that it was added to, with errors of this root mean square.
    Weights(f64),
    /// Not the matrix but factors of it.
    Factors,
    /// Codes whose rounding is not relative to their value.
    Codes,
}

/// The inputs for the metrics of one matrix. Fits that several columns share are made once.
#[derive(Debug)]
pub struct Subject<'a> {
    layer: &'a Layer,
    entries: &'a Entries,
    spectrum: Result<&'a Spectrum, MissingReason>,
    /// The largest singular value, where it is the only one.
    largest: Option<Largest>,
    rounded: Rounded,
    tail: OnceCell<Result<TailFit, MissingReason>>,
    peers_tail: OnceCell<Result<TailFit, MissingReason>>,
    bulk: OnceCell<Result<Bulk, MissingReason>>,
    peers_bulk: OnceCell<Result<density::Density, MissingReason>>,
}

impl<'a> Subject<'a> {
    /// A matrix with its singular values, or why there are none.
    pub fn new(
        layer: &'a Layer,
        entries: &'a Entries,
        spectrum: Result<&'a Spectrum, MissingReason>,
    ) -> Self {
        Self {
            layer,
            entries,
            spectrum,
            largest: None,
            rounded: Rounded::Itself,
            tail: OnceCell::new(),
            peers_tail: OnceCell::new(),
            bulk: OnceCell::new(),
            peers_bulk: OnceCell::new(),
        }
    }

    /// A matrix with its largest singular value alone.
    pub fn of_largest(layer: &'a Layer, entries: &'a Entries, largest: Largest) -> Self {
        Self { largest: Some(largest), ..Self::new(layer, entries, Err(MissingReason::NotDecomposed)) }
    }

    /// The same matrix, where something else than itself was rounded.
    #[must_use]
    pub fn rounded(self, rounded: Rounded) -> Self {
        Self { rounded, ..self }
    }

    /// The values of `metrics`, in their order.
    pub fn evaluate(&self, metrics: &'static [Metric]) -> Measurements {
        Measurements(metrics.iter().map(|metric| (&metric.column, (metric.value)(self))).collect())
    }

    /// The values of `metrics`, in their order.
    pub fn evaluate_each(&self, metrics: Metrics) -> Measurements {
        Measurements(metrics.iter().map(|metric| (&metric.column, (metric.value)(self))).collect())
    }

    /// The values of `metrics`, in their order.
    pub fn evaluate_chosen(&self, metrics: impl IntoIterator<Item = &'static Chosen>) -> Measurements {
        Measurements(metrics.into_iter().map(|metric| (&metric.column, metric.value(self))).collect())
    }

    /// The value of one of [`METRICS`] alone.
    pub fn value(&self, key: &str) -> Value {
        let metric = METRICS.iter().find(|metric| metric.column.key == key);
        metric.map_or(Value::Missing(MissingReason::NotApplicable), |metric| (metric.value)(self))
    }

    /// Flags for the reader of the values.
    pub fn flags(&self) -> Vec<Flag> {
        let short = |tail: &OnceCell<Result<TailFit, MissingReason>>| {
            tail.get().is_some_and(|tail| tail.is_ok_and(|tail| tail.count < power_law::LOW_N))
        };
        let rounding = || {
            let (Ok(spectrum), Some(Ok(fitted))) = (self.spectrum, self.peers_bulk.get()) else {
                return false;
            };
            let aspect = self.layer.rows.max(self.layer.cols) as f64 / spectrum.values().len() as f64;
            density::is_decided_by_rounding(spectrum.values(), aspect, *fitted)
        };
        let mut flags = vec![];
        if short(&self.tail) || short(&self.peers_tail) {
            flags.push(Flag::LowNTail);
        }
        if rounding() {
            flags.push(Flag::BulkByRounding);
        }
        flags
    }

    /// Why a value that is zero, or can't be told from zero, is missing.
    fn unresolved(&self) -> MissingReason {
        match self.layer.rank {
            Some(rank) if rank < self.layer.rows.min(self.layer.cols) => MissingReason::LowRank,
            _ if self.spectrum.is_ok_and(|spectrum| spectrum.route() == Route::Direct) => {
                MissingReason::BelowExactFloor
            }
            _ => MissingReason::BelowFloor,
        }
    }

    /// A value of σ₁, in the units of the matrix.
    fn largest(&self, value: impl FnOnce(f64) -> Value) -> Value {
        match self.largest {
            Some(largest) => value(largest.value),
            None => self.measure(|spectrum| value(spectrum.sized(spectrum.largest()))),
        }
    }

    /// The sum of all squared entries, where a double holds it, or why it is not known.
    ///
    /// # Errors
    /// That it is not.
    pub fn energy(&self) -> Result<f64, MissingReason> {
        if self.entries.nonfinite_count() > 0 {
            return Err(MissingReason::NonFinite);
        }
        // Where larger terms have cancelled each other, entries are rounding.
        if self.spectrum.is_ok_and(|spectrum| spectrum.largest() <= 0.0 && spectrum.floor() > 0.0) {
            return Err(MissingReason::BelowExactFloor);
        }
        match self.entries.lines() {
            Some(lines) if lines.energy.is_normal() => Ok(lines.energy),
            Some(_) if self.entries.max_abs() == 0.0 && self.spectrum.is_err() => Ok(0.0),
            Some(_) => Err(MissingReason::Overflow),
            None => Err(MissingReason::NotApplicable),
        }
    }

    /// The spectrum, even if no value is above its floor.
    fn known(&self, value: impl FnOnce(&Spectrum) -> Value) -> Value {
        self.spectrum.map_or_else(Value::Missing, value)
    }

    /// A value of the spectrum; none where larger terms have cancelled each other and nothing rises above the floor.
    fn measure(&self, value: impl FnOnce(&Spectrum) -> Value) -> Value {
        self.known(|spectrum| {
            let nothing_rises = spectrum.largest() <= 0.0 && spectrum.floor() > 0.0;
            if nothing_rises { Value::Missing(MissingReason::BelowExactFloor) } else { value(spectrum) }
        })
    }

    /// A value that an all-zero matrix does not have.
    fn nonzero(&self, value: impl FnOnce(&Spectrum) -> Value) -> Value {
        self.measure(|spectrum| {
            if spectrum.largest() > 0.0 { value(spectrum) } else { Value::Missing(MissingReason::AllZero) }
        })
    }

    /// A value of the ratios of the eigenvalues `λ = σ²` that the decomposition resolves, ascending.
    fn eigenvalues(&self, value: impl FnOnce(&[f64]) -> Value) -> Value {
        self.nonzero(|spectrum| {
            let Eigenvalues { values: resolved, .. } = eigenvalues(spectrum);
            if resolved.len() < 2 { Value::Missing(MissingReason::TooFewValues) } else { value(&resolved) }
        })
    }

    /// A value of the fitted tail.
    fn tail(&self, value: impl FnOnce(TailFit) -> Value) -> Value {
        self.nonzero(|spectrum| {
            let tail = self.tail.get_or_init(|| {
                let Eigenvalues { values, exponent } = eigenvalues(spectrum);
                let fit = tail::fit(&values)?;
                Ok(TailFit { xmin: scaled(fit.xmin, exponent), ..fit })
            });
            tail.map_or_else(Value::Missing, value)
        })
    }

    /// A value of the noise bulk.
    fn bulk(&self, value: impl FnOnce(&Spectrum, Bulk) -> Value) -> Value {
        self.nonzero(|spectrum| {
            let bulk = self.bulk.get_or_init(|| bulk::fit(spectrum));
            match *bulk {
                Ok(bulk) => value(spectrum, bulk),
                Err(MissingReason::BelowFloor) => Value::Missing(self.unresolved()),
                Err(why) => Value::Missing(why),
            }
        })
    }
}

/// Eigenvalues in units of a power of two.
#[derive(Debug, Clone, PartialEq)]
pub struct Eigenvalues {
    /// Ascending.
    pub values: Vec<f64>,
    /// The power: 0 wherever their squares fit a double.
    pub exponent: i32,
}

/// The eigenvalues `λ = σ²` above the accuracy floor, ascending; values below it are rounding and would distort
/// logarithms.
pub fn eigenvalues(spectrum: &Spectrum) -> Eigenvalues {
    let resolved = spectrum.resolved();
    let fit = resolved.iter().all(|s| (s * s).is_normal());
    let unit = if fit { 0 } else { magnitude(spectrum.largest()) };
    Eigenvalues {
        values: resolved.iter().rev().map(|s| scaled(*s, -unit).powi(2)).collect(),
        exponent: 2 * (unit + spectrum.exponent()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Dtype;

    pub(super) fn value(metric: &Metric, values: &[f64]) -> Value {
        value_in_units(metric, values, 0)
    }

    /// The same of values in units of a power of two.
    fn value_in_units(metric: &Metric, values: &[f64], exponent: i32) -> Value {
        let side = values.len();
        let layer = Layer::plain("w", (side, side), Dtype::F64);
        let spectrum = Spectrum::in_units(values.to_vec(), (side, side), Route::Direct, exponent);
        let spectrum = spectrum.expect("a sound spectrum");
        (metric.value)(&Subject::new(&layer, &Entries::new(), Ok(&spectrum)))
    }

    #[track_caller]
    pub(super) fn check(metric: &Metric, values: &[f64], expected: f64) {
        let found = value(metric, values).number().expect("a number");
        let close = (found - expected).abs() <= 1e-12 * expected.abs();
        assert!(close, "{} of {values:?} is {found}, not {expected}", metric.column.key);
    }

    #[track_caller]
    pub(super) fn missing(metric: &Metric, values: &[f64], why: MissingReason) {
        assert_eq!(value(metric, values), Value::Missing(why), "{}", metric.column.key);
    }

    #[test]
    fn a_key_stands_once_in_a_table() {
        for table in [METRICS, RANKS, WEIGHTWATCHER] {
            let mut keys: Vec<_> = table.iter().map(|metric| metric.column.key).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), table.len());
        }
    }

    #[test]
    fn no_metric_of_any_spectrum_is_a_sentinel_or_not_a_number() {
        let spectra: [&[f64]; 8] = [
            &[0.0],
            &[0.0; 9],
            &[1.0],
            &[1.0; 9],
            &[1e-300; 9],
            &[1e300; 9],
            &[1.0, 1e-17],
            &[1e308, 1e-308],
        ];
        for values in spectra {
            for metric in METRICS.iter().chain(RANKS).chain(WEIGHTWATCHER) {
                if let Some(x) = value(metric, values).number() {
                    assert!(x.is_finite(), "{} of {values:?} is {x}", metric.column.key);
                }
            }
        }
    }
}
