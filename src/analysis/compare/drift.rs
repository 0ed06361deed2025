//! How far a weight has come from its base: numbers of a pair, from entries and singular values alone.

use super::super::delta;
use super::Both;
use super::needs::{NOTHING, PairNeeds, VALUES};
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::Needs;
use crate::spectrum::{Spectrum, scaled};

/// A column of a pair and the function that fills it.
#[derive(Debug)]
pub struct Drift {
    /// Key, label, format and texts of the column.
    pub column: Column,
    /// What it is computed from.
    pub needs: PairNeeds,
    /// Its value where not a byte has changed.
    pub unchanged: Value,
    /// Computes it.
    pub value: fn(&Both<'_>) -> Value,
}

/// The value of what nobody asked for.
const NONE: Value = Value::Missing(MissingReason::NotDecomposed);

/// Columns of a pair from the bytes of both sides.
pub static BYTE_COLUMNS: &[Drift] = &[CHANGED_SHARE];

/// Found where bytes are compared: nothing else reads stored entries.
pub(super) const CHANGED_SHARE: Drift = Drift {
    column: delta::CHANGED_SHARE,
    needs: NOTHING,
    unchanged: Value::Real(0.0),
    value: |_| Value::Missing(MissingReason::NotApplicable),
};

pub(super) const DELTA_FROBENIUS_RATIO: Drift = Drift {
    column: delta::DELTA_FROBENIUS_RATIO,
    needs: PairNeeds { update: Some(Needs::Entries), ..NOTHING },
    unchanged: Value::Real(0.0),
    value: |both| match (&both.update, both.base.norm) {
        (Some(update), Ok(base)) => update.frobenius_ratio(base),
        (_, Err(why)) => Value::Missing(why),
        (None, _) => NONE,
    },
};

pub(super) const NMSE: Drift = Drift {
    column: delta::NMSE,
    needs: PairNeeds { update: Some(Needs::Entries), ..NOTHING },
    unchanged: Value::Real(0.0),
    value: |both| match (&both.update, both.base.norm) {
        (Some(update), Ok(base)) => delta::nmse(update.norm, base),
        (_, Err(why)) => Value::Missing(why),
        (None, _) => NONE,
    },
};

pub(super) const LOG_SIGMA_DISTANCE: Drift = Drift {
    column: Column {
        key: "log_sigma_distance",
        label: "W₁ ln σ",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "Wasserstein-1 distance between the distributions of ln σ above the floor: the mean of |ln σᵢ − ln σ₀ᵢ| where both have as many",
        range: "[0, ∞)",
        source: "Villani 2003, 2.2",
    },
    needs: VALUES,
    unchanged: Value::Real(0.0),
    value: |both| {
        let logarithms =
            |spectrum: &Spectrum| -> Vec<f64> { spectrum.resolved().iter().map(|s| s.ln()).collect() };
        let Some((base, tuned)) = both.values() else { return NONE };
        let (base, tuned) = (logarithms(base), logarithms(tuned));
        if base.is_empty() || tuned.is_empty() {
            return Value::Missing(MissingReason::AllZero);
        }
        Value::real(distance(&base, &tuned))
    },
};

pub(super) const SIGMA_DRIFT: Drift = Drift {
    column: Column {
        key: "sigma_drift",
        label: "ΔΣ",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "mean of |σᵢ − σ₀ᵢ|: how far the singular values have moved",
        range: "[0, ∞), units of the weights",
        source: "SORSA, 2024",
    },
    needs: VALUES,
    unchanged: Value::Real(0.0),
    value: |both| {
        let Some((base, tuned)) = both.values() else { return NONE };
        let pairs = tuned.values().iter().zip(base.values());
        let n = base.values().len() as f64;
        let moved = pairs.map(|(tuned, base)| (tuned - base).abs() / n).sum();
        Value::real(scaled(moved, both.exponent))
    },
};

pub(super) const DELTA_SPECTRAL_RATIO: Drift = Drift {
    column: delta::DELTA_SPECTRAL_RATIO,
    needs: PairNeeds { base: Needs::Largest, update: Some(Needs::Largest), ..NOTHING },
    unchanged: Value::Real(0.0),
    value: |both| match (&both.update, both.base.largest) {
        (Some(update), Some(base)) => update.spectral_ratio(base),
        _ => NONE,
    },
};

pub(super) const DELTA_STABLE_RANK: Drift = Drift {
    column: delta::DELTA_STABLE_RANK,
    needs: PairNeeds { update: Some(Needs::Largest), ..NOTHING },
    unchanged: Value::Missing(MissingReason::NoUpdate),
    value: |both| both.of_update("stable_rank"),
};

pub(super) const DELTA_TOP1_SHARE: Drift = Drift {
    column: Column {
        key: "delta_top1_share",
        label: "top-1 ΔW",
        format: Format::Share,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "σ₁(ΔW)²/‖ΔW‖F²: how much of the update is its strongest direction; 1 for an update of rank one",
        range: "[1/min(m, n), 1]",
        source: "definition",
    },
    needs: PairNeeds { update: Some(Needs::Largest), ..NOTHING },
    unchanged: Value::Missing(MissingReason::NoUpdate),
    value: |both| both.update.as_ref().map_or(NONE, |update| update.top_share(both.layer)),
};

pub(super) const DELTA_EFFECTIVE_RANK: Drift = Drift {
    column: delta::DELTA_EFFECTIVE_RANK,
    needs: PairNeeds { update: Some(Needs::Values), ..NOTHING },
    unchanged: Value::Missing(MissingReason::NoUpdate),
    value: |both| both.of_update("effective_rank"),
};

pub(super) const DELTA_RANK_AT_90: Drift = Drift {
    column: Column {
        key: "delta_rank_at_90",
        label: "k 90% ΔW",
        format: Format::Count,
        quantity: Quantity::Pair(Accuracy::Exact),
        doc: "rank_at_90 of the update ΔW",
        range: "[1, min(m, n)]",
        source: "Jolliffe 2002, 6.1",
    },
    needs: PairNeeds { update: Some(Needs::Values), ..NOTHING },
    unchanged: Value::Missing(MissingReason::NoUpdate),
    value: |both| both.of_update("rank_at_90"),
};

/// `∫|F⁻¹(t) − G⁻¹(t)|dt` of two samples, both sorted the same way and neither empty.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let (mut i, mut j, mut at, mut sum) = (0, 0, 0.0, 0.0);
    while i < a.len() && j < b.len() {
        // The quantile functions are steps; the next one is where either sample moves on. Products decide equality exactly.
        let (ends, other) = ((i + 1) * b.len(), (j + 1) * a.len());
        let next = ends.min(other) as f64 / (a.len() * b.len()) as f64;
        sum += (next - at) * (a[i] - b[j]).abs();
        at = next;
        i += usize::from(ends <= other);
        j += usize::from(other <= ends);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_samples_by_hand() {
        assert_eq!(distance(&[3.0, 1.0], &[2.0, 1.0]).to_bits(), 0.5f64.to_bits());
        assert_eq!(distance(&[1.0], &[3.0, 0.0]).to_bits(), 1.5f64.to_bits());
        // Quantiles: 4 4 1 1 against 3 3 3 0 on sixths of 1/3 and 1/2.
        let expected = 1.0 / 3.0 + (1.0 / 6.0) + (1.0 / 6.0) * 2.0 + 1.0 / 3.0;
        assert!((distance(&[4.0, 1.0], &[3.0, 3.0, 0.0]) - expected).abs() < 1e-15);
    }

    #[test]
    fn equal_samples_are_at_no_distance() {
        let sample = [5.0, 2.0, 2.0, -1.0];
        assert!(distance(&sample, &sample).abs() <= 0.0);
    }
}
