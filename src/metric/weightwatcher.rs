//! WeightWatcher's columns with WeightWatcher's definitions (0.7.7), for notebooks that expect them.
//!
//! The words differ from ours: its `norm` is Σσ², its `spectral_norm` σ₁². Its fit drops eigenvalues up to 1e-5 and, below
//! 20 values, corrects the exponent's bias; both are repeated here. A fit that fails is missing, where WeightWatcher
//! writes −1. It measures the kernels of a 2-D convolution position by position, which has no counterpart here: their
//! rows are missing.

use super::density::{self, Density, Determinant};
use super::tail::{self, TailFit};
use super::{Metric, Subject};
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::Needs;
use crate::spectrum::{magnitude, scaled};

/// Eigenvalues up to this take no part in the fit.
const CUT: f64 = 1e-5;
/// Fewer eigenvalues take the fit for small samples.
const SMALL: usize = 20;
/// The shortest tail of that fit.
const SHORTEST: usize = 8;

macro_rules! columns {
    ($($key:literal $format:ident $doc:literal $value:expr;)*) => {
        /// WeightWatcher's columns, in its order.
        pub static WEIGHTWATCHER: &[Metric] = &[$(Metric {
            column: Column {
                key: $key,
                label: $key,
                format: Format::$format,
                quantity: Quantity::Matrix(accuracy(Format::$format)),
                doc: $doc,
                range: "as in WeightWatcher",
                source: "WeightWatcher 0.7.7",
            },
            needs: Needs::Values,
            value: $value,
        }),*];
    };
}

/// Its report has no floors, so only counts are exact.
const fn accuracy(format: Format) -> Accuracy {
    if matches!(format, Format::Count) { Accuracy::Exact } else { Accuracy::Relative }
}

columns! {
    "layer_id" Count "position among the tensors called `….weight`, in the order they are stored" |s| Value::count(s.layer.order);
    "N" Count "the longer side" |s| dense(s, |s| Value::count(s.layer.rows.max(s.layer.cols)));
    "M" Count "the shorter side" |s| dense(s, |s| Value::count(s.layer.rows.min(s.layer.cols)));
    "rf" Count "receptive field: 1 for a matrix" |s| dense(s, |_| Value::Count(1));
    "Q" Real "N/M" |s| dense(s, |s| Value::real(long(s) / s.layer.rows.min(s.layer.cols) as f64));
    "num_evals" Count "number of eigenvalues" |s| dense(s, |s| Value::count(s.layer.rows.min(s.layer.cols)));
    "sv_max" Real "σ₁" |s| of(s, |v| Value::real(v[0]));
    "sv_min" Real "the last σ" |s| of(s, |v| Value::real(v[v.len() - 1]));
    "rank_loss" Count "how many σ do not exceed N·ε·σ₁, ε of f64" |s| ratio(s, |v| Value::count(v.len() - above(s, v)));
    "weak_rank_loss" Count "how many eigenvalues are below 1e-6" |s| of(s, |v| Value::count(v.iter().filter(|x| *x * *x < 1e-6).count()));
    "lambda_max" Real "σ₁²" |s| of(s, |v| square(v, v[0] * v[0]));
    "alpha" Real "exponent of the fitted tail" |s| tail(s, |fit| Value::real(fit.alpha));
    "xmin" Real "start of the tail" |s| tail(s, |fit| Value::real(fit.xmin));
    "xmax" Real "the largest eigenvalue" |s| tail(s, |_| of(s, |v| square(v, v[0] * v[0])));
    "D" Real "KS distance of the tail" |s| tail(s, |fit| Value::real(fit.distance));
    "sigma" Real "(alpha − 1)/√n of the tail" |s| tail(s, |fit| Value::real(fit.sigma()));
    "num_pl_spikes" Count "number of eigenvalues in the tail" |s| tail(s, |fit| Value::count(fit.count));
    "num_spikes" Count "eigenvalues beyond the fitted noise bulk" |s| bulk(s, |fit| Value::count(fit.spikes));
    "sigma_mp" Real "noise level of the fitted bulk, of the matrix scaled by W_scale" |s| bulk(s, |fit| Value::real(fit.sigma));
    "mp_softrank" Real "bulk_max/λ max" |s| bulk(s, |fit| Value::real(fit.softrank));
    "W_scale" Real "√(M/Σσ²): scales the matrix to a mean eigenvalue of 1" |s| bulk(s, |fit| Value::real(fit.scale));
    "bulk_max" Real "upper end of the fitted bulk" |s| bulk(s, |fit| Value::real(fit.ends.1));
    "bulk_min" Real "lower end of the fitted bulk" |s| bulk(s, |fit| Value::real(fit.ends.0));
    "detX_num" Count "how many of the largest eigenvalues, scaled to a mean of 1, bring the product below 1" |s| determinant(s, |rule| Value::count(rule.count));
    "num_ERG_spikes" Count "detX_num" |s| determinant(s, |rule| Value::count(rule.count));
    "ERG_gap" Real "detX_num − num_pl_spikes" |s| determinant(s, |rule| tail(s, |fit| Value::real(rule.count as f64 - fit.count as f64)));
    "detX_val" Real "the eigenvalue at detX_num" |s| determinant(s, |rule| Value::real(rule.value.0));
    "detX_val_unrescaled" Real "the same, scaled to a mean of 1 (the name says the opposite)" |s| determinant(s, |rule| Value::real(rule.value.1));
    "norm" Real "Σσ²" |s| of(s, |v| square(v, energy(v)));
    "log_norm" Real "log₁₀ of norm" |s| of(s, |v| log10(v, energy(v)));
    "spectral_norm" Real "σ₁²" |s| of(s, |v| square(v, v[0] * v[0]));
    "log_spectral_norm" Real "log₁₀ of spectral_norm" |s| of(s, |v| log10(v, v[0] * v[0]));
    "alpha_weighted" Real "alpha·log₁₀ σ₁²" |s| tail(s, |fit| of(s, |v| Value::real(fit.alpha * (v[0] * v[0]).log10())));
    "log_alpha_norm" Real "log₁₀ Σλ^alpha over all eigenvalues" |s| tail(s, |fit| of(s, |v| Value::real(log_alpha_norm(v, fit.alpha))));
    "stable_rank" Real "Σσ²/σ₁²" |s| nonzero(s, |v| Value::real(energy(v) / (v[0] * v[0])));
    "matrix_rank" Count "how many σ exceed N·ε·σ₁, ε of f64" |s| ratio(s, |v| Value::count(above(s, v)));
    "entropy" Real "−Σ p ln p / ln(matrix_rank) with p = σ²/Σσ² + 1e-10" |s| nonzero(s, |v| Value::real(entropy(v, above(s, v))));
}

/// A value that a kernel of a 2-D convolution does not have here.
fn dense(subject: &Subject<'_>, value: impl FnOnce(&Subject<'_>) -> Value) -> Value {
    if subject.layer.stored_shape.len() == 4 {
        Value::Missing(MissingReason::NotApplicable)
    } else {
        value(subject)
    }
}

/// A value of the singular values, descending; there is at least one.
fn of(subject: &Subject<'_>, value: impl FnOnce(&[f64]) -> Value) -> Value {
    dense(subject, |subject| {
        subject.measure(|spectrum| match spectrum.values() {
            [] => Value::Missing(MissingReason::TooFewValues),
            _ if !spectrum.fits() => Value::Missing(MissingReason::Overflow),
            values => value(values),
        })
    })
}

/// A value of the ratios of singular values, descending: they come over a power of two, so that no square overflows.
fn ratio(subject: &Subject<'_>, value: impl FnOnce(&[f64]) -> Value) -> Value {
    dense(subject, |subject| {
        subject.measure(|spectrum| {
            let unit = magnitude(spectrum.largest());
            let values: Vec<f64> = spectrum.values().iter().map(|s| scaled(*s, -unit)).collect();
            if values.is_empty() { Value::Missing(MissingReason::TooFewValues) } else { value(&values) }
        })
    })
}

fn nonzero(subject: &Subject<'_>, value: impl FnOnce(&[f64]) -> Value) -> Value {
    ratio(subject, |v| if v[0] > 0.0 { value(v) } else { Value::Missing(MissingReason::AllZero) })
}

/// A value of the tail by WeightWatcher's rules.
fn tail(subject: &Subject<'_>, value: impl FnOnce(TailFit) -> Value) -> Value {
    of(subject, |v| {
        let fit = subject.peers_tail.get_or_init(|| {
            let kept: Vec<f64> = v.iter().rev().map(|s| s * s).filter(|x| *x > CUT).collect();
            if kept.iter().any(|x| x.is_infinite()) {
                return Err(MissingReason::Overflow);
            }
            if kept.len() < SMALL { fit_small(&kept) } else { tail::fit(&kept) }
        });
        fit.map_or_else(Value::Missing, value)
    })
}

/// A value of the noise bulk by WeightWatcher's rules.
fn bulk(subject: &Subject<'_>, value: impl FnOnce(Density) -> Value) -> Value {
    of(subject, |v| {
        let fit = subject.peers_bulk.get_or_init(|| density::fit(v, long(subject) / v.len() as f64));
        fit.map_or_else(Value::Missing, value)
    })
}

fn determinant(subject: &Subject<'_>, value: impl FnOnce(Determinant) -> Value) -> Value {
    of(subject, |v| density::determinant(v).map_or_else(Value::Missing, value))
}

/// The fit below 20 values: one less in the numerator, and no tail of fewer than eight.
fn fit_small(x: &[f64]) -> Result<TailFit, MissingReason> {
    if x.len() < 2 {
        return Err(MissingReason::TooFewValues);
    }
    let candidate = |start: usize| {
        let tail = &x[start..];
        let count = tail.len();
        let sum: f64 = tail.iter().map(|y| (y / tail[0]).ln()).sum();
        let alpha = 1.0 + (count - 1) as f64 / sum;
        let at = |k: usize| (1.0 - (tail[k] / tail[0]).powf(1.0 - alpha) - k as f64 / count as f64).abs();
        let distance = (0..count).map(at).fold(0.0, f64::max);
        (sum > 1e-12).then_some(TailFit { alpha, xmin: tail[0], count, distance })
    };
    // Without room for a tail of eight the whole sample is one.
    let starts = if x.len() < SHORTEST { 0..1 } else { 0..x.len() - SHORTEST + 1 };
    let best = starts
        .filter_map(candidate)
        .reduce(|best, next| if next.distance < best.distance { next } else { best });
    best.ok_or(MissingReason::NoTail)
}

fn long(subject: &Subject<'_>) -> f64 {
    subject.layer.rows.max(subject.layer.cols) as f64
}

fn above(subject: &Subject<'_>, v: &[f64]) -> usize {
    v.iter().filter(|s| **s > v[0] * long(subject) * f64::EPSILON).count()
}

/// A sum of squares of `v`, which is 0 only where they all are.
fn square(v: &[f64], sum: f64) -> Value {
    if v[0] > 0.0 { Value::positive(sum) } else { Value::Real(0.0) }
}

fn energy(v: &[f64]) -> f64 {
    v.iter().map(|s| s * s).sum()
}

fn log10(v: &[f64], x: f64) -> Value {
    match (v[0] > 0.0, x.is_normal()) {
        (false, _) => Value::Missing(MissingReason::AllZero),
        (true, false) => Value::Missing(MissingReason::Overflow),
        (true, true) => Value::real(x.log10()),
    }
}

/// In units of the largest, where no power overflows.
fn log_alpha_norm(v: &[f64], alpha: f64) -> f64 {
    let sum: f64 = v.iter().map(|s| (s / v[0]).powf(2.0 * alpha)).sum();
    2.0 * alpha * v[0].log10() + sum.log10()
}

fn entropy(v: &[f64], rank: usize) -> f64 {
    let total = energy(v);
    let shares = v.iter().map(|s| s * s / total + 1e-10);
    -shares.map(|p| p * p.ln()).sum::<f64>() / (rank as f64 + 1e-10).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_value_has_no_tail() {
        assert_eq!(fit_small(&[1.0]), Err(MissingReason::TooFewValues));
        assert_eq!(fit_small(&[2.0; 9]), Err(MissingReason::NoTail));
    }
}
