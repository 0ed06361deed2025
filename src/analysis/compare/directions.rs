//! How far singular vectors have turned, and where in the base's basis an update lives.
//!
//! Vectors of equal or unresolved singular values are arbitrary; each number says how it deals with that.

use super::super::delta;
use super::drift::Drift;
use super::needs::DIRECTIONS;
use super::{Both, Preserve, Settings};
use crate::error::Error;
use crate::metric::energy_rank;
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::{Basis, Core, Factors, Operator};
use crate::spectrum::Spectrum;

/// The two sides' singular vectors against each other, and the update in the base's basis.
pub(super) struct Directions {
    /// `U₀ᵀU` and `V₀ᵀV`.
    left: Basis,
    right: Basis,
    base: Spectrum,
    tuned: Spectrum,
    /// How many of the base's leading directions count as principal.
    principal: usize,
    core: Core,
}

impl Directions {
    /// The columns from `base` and `tuned`, decompositions of both sides, and their difference `update`.
    ///
    /// # Errors
    /// [`Error::NotConverged`].
    pub(super) fn new(
        base: &Factors,
        tuned: &Factors,
        update: &Operator<'_>,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let (base_values, tuned_values) = (base.spectrum()?, tuned.spectrum()?);
        let principal = settings.preserve.rank(&base_values);
        Ok(Self {
            left: base.left.cosines(&tuned.left),
            right: base.right.cosines(&tuned.right),
            principal,
            core: base.core(update, principal),
            base: base_values,
            tuned: tuned_values,
        })
    }

    fn alignment(&self, share: f64) -> Value {
        alignment((&self.left, &self.right), (&self.base, &self.tuned), share)
    }

    /// One less the mean cosine of the tuned side's vectors, each matched by `cosine`.
    fn drift(&self, determined: &[usize], cosine: impl Fn(&[f64], usize) -> f64) -> Value {
        if determined.is_empty() {
            return Value::Missing(MissingReason::Degenerate);
        }
        let both = |j: &usize| cosine(self.left.column(*j), *j) + cosine(self.right.column(*j), *j);
        let mean = determined.iter().map(both).sum::<f64>() / (2 * determined.len()) as f64;
        Value::within(1.0 - mean, 0.0, 1.0)
    }
}

/// `Σᵢⱼ (u₀ᵢ·uⱼ)(v₀ᵢ·vⱼ)` over the directions of at least `share` of their σ₁, over the smaller number of them; the cosines
/// are those of the left vectors and of the right ones.
pub fn alignment(
    (left, right): (&Basis, &Basis),
    (base, tuned): (&Spectrum, &Spectrum),
    share: f64,
) -> Value {
    let kept = |spectrum: &Spectrum| {
        spectrum.resolved().iter().take_while(|s| **s >= share * spectrum.largest()).count()
    };
    let (base, tuned) = (kept(base), kept(tuned));
    if base.min(tuned) == 0 {
        return Value::Missing(MissingReason::AllZero);
    }
    let column = |j: usize| left.column(j)[..base].iter().zip(&right.column(j)[..base]);
    let sum: f64 = (0..tuned).flat_map(column).map(|(u, v)| u * v).sum();
    Value::within(sum / base.min(tuned) as f64, -1.0, 1.0)
}

/// Indices whose vectors are determined: the value is resolved and apart from its neighbors, by the same measure.
fn determined(spectrum: &Spectrum) -> impl Iterator<Item = usize> {
    let (values, floor) = (spectrum.values(), spectrum.floor());
    let apart = move |i: usize| values[i] - values[i + 1] > floor;
    (0..values.len()).filter(move |i| {
        values[*i] > floor && (*i == 0 || apart(i - 1)) && (i + 1 == values.len() || apart(*i))
    })
}

impl Preserve {
    /// How many leading directions of `base` count as principal.
    fn rank(self, base: &Spectrum) -> usize {
        match self {
            Self::Rank(rank) => rank.min(base.values().len()),
            Self::Energy(share) => energy_rank(base, share),
        }
    }
}

/// A number of the directions, where they were asked for.
fn directed(both: &Both<'_>, value: impl FnOnce(&Directions) -> Value) -> Value {
    both.directions.map_or(Value::Missing(MissingReason::NotApplicable), value)
}

/// A share of the update's energy.
fn share(both: &Both<'_>, energy: impl FnOnce(&Directions) -> f64) -> Value {
    match both.update.as_ref().map_or(0.0, |update| update.norm) {
        0.0 => Value::Missing(MissingReason::NoUpdate),
        norm => directed(both, |directions| Value::within(energy(directions) / (norm * norm), 0.0, 1.0)),
    }
}

pub(super) const ALIGNMENT: Drift = Drift {
    column: Column {
        key: "alignment",
        label: "alignment",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "Σᵢⱼ (u₀ᵢ·uⱼ)(v₀ᵢ·vⱼ)/k over all k resolved directions: whether both sides send the same inputs to the same outputs",
        range: "[−1, 1]",
        source: "Analysis of Linear Mode Connectivity via Permutation-Based Weight Matching, 2024; γ = 0",
    },
    needs: DIRECTIONS,
    unchanged: Value::Real(1.0),
    value: |both| directed(both, |directions| directions.alignment(0.0)),
};

pub(super) const ALIGNMENT_STRONG: Drift = Drift {
    column: Column {
        key: "alignment_strong",
        label: "alignment 0.3",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "`alignment` over the directions with σ ≥ 0.3·σ₁ of their side, divided by the smaller number of them",
        range: "[−1, 1]",
        source: "as alignment; γ = 0.3",
    },
    needs: DIRECTIONS,
    unchanged: Value::Real(1.0),
    value: |both| directed(both, |directions| directions.alignment(0.3)),
};

pub(super) const DIRECTION_DRIFT: Drift = Drift {
    column: Column {
        key: "direction_drift",
        label: "ΔD",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "1 − mean of (|u₀ᵢ·uᵢ| + |v₀ᵢ·vᵢ|)/2 over the i whose vectors both sides determine: how far the directions of equal rank have turned",
        range: "[0, 1]",
        source: "SORSA, 2024",
    },
    needs: DIRECTIONS,
    unchanged: Value::Real(0.0),
    value: |both| {
        directed(both, |directions| {
            let base: Vec<usize> = determined(&directions.base).collect();
            let kept: Vec<usize> =
                determined(&directions.tuned).filter(|i| base.binary_search(i).is_ok()).collect();
            directions.drift(&kept, |cosines, j| cosines[j].abs())
        })
    },
};

pub(super) const DIRECTION_DRIFT_BEST: Drift = Drift {
    column: Column {
        key: "direction_drift_best",
        label: "ΔD best",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "as `direction_drift`, each tuned vector against the base vector most like it: not misled by directions that changed places",
        range: "[0, 1]",
        source: "as direction_drift, with the cosine of intruder dimensions",
    },
    needs: DIRECTIONS,
    unchanged: Value::Real(0.0),
    value: |both| {
        directed(both, |directions| {
            let kept: Vec<usize> = determined(&directions.tuned).collect();
            directions.drift(&kept, |cosines, _| {
                cosines.iter().fold(0.0, |most: f64, cosine| most.max(cosine.abs()))
            })
        })
    },
};

pub(super) const PRINCIPAL_RANK: Drift = Drift {
    column: Column {
        key: "principal_rank",
        label: "principal",
        format: Format::Count,
        quantity: Quantity::Pair(Accuracy::Exact),
        doc: "how many leading directions of the base count as principal, by `--preserve`",
        range: "[1, min(m, n)]",
        source: "setting",
    },
    needs: DIRECTIONS,
    unchanged: Value::Missing(MissingReason::NoUpdate),
    value: |both| {
        directed(both, |directions| match directions.principal {
            0 => Value::Missing(MissingReason::AllZero),
            rank => Value::count(rank),
        })
    },
};

pub(super) const PRINCIPAL_SHARE: Drift = Drift {
    column: delta::PRINCIPAL_SHARE,
    needs: DIRECTIONS,
    unchanged: Value::Missing(MissingReason::NoUpdate),
    value: |both| share(both, |directions| directions.core.principal),
};

pub(super) const MINOR_SHARE: Drift = Drift {
    column: delta::MINOR_SHARE,
    needs: DIRECTIONS,
    unchanged: Value::Missing(MissingReason::NoUpdate),
    value: |both| {
        let energy = both.update.as_ref().map_or(0.0, |update| update.norm.powi(2));
        share(both, |directions| {
            let Core { left, right, principal, .. } = directions.core;
            energy - left - right + principal
        })
    },
};

pub(super) const LEAK_LEFT: Drift = Drift {
    column: Column {
        key: "leak_left",
        label: "leak left",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "‖UᵣᵀΔ‖F/‖Δ‖F: how much of the update writes into the base's r principal output directions; 0 for methods that keep out of them",
        range: "[0, 1]",
        source: "Effort, 2024",
    },
    needs: DIRECTIONS,
    unchanged: Value::Missing(MissingReason::NoUpdate),
    value: |both| leak(share(both, |directions| directions.core.left)),
};

pub(super) const LEAK_RIGHT: Drift = Drift {
    column: Column {
        key: "leak_right",
        label: "leak right",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "‖ΔVᵣ‖F/‖Δ‖F: how much of the update reads from the base's r principal input directions",
        range: "[0, 1]",
        source: "Effort, 2024",
    },
    needs: DIRECTIONS,
    unchanged: Value::Missing(MissingReason::NoUpdate),
    value: |both| leak(share(both, |directions| directions.core.right)),
};

/// The size of a part of the update, where its share of the energy is known.
fn leak(share: Value) -> Value {
    match share {
        Value::Real(share) => Value::Real(share.sqrt()),
        missing => missing,
    }
}

pub(super) const DIAG_SHARE: Drift = Drift {
    column: Column {
        key: "diag_share",
        label: "diag",
        format: Format::Share,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "Σᵢ (u₀ᵢᵀΔv₀ᵢ)²/‖Δ‖F²: how much of the update only rescales the base's directions; 1 for methods that train singular values alone",
        range: "[0, 1]",
        source: "SVFit, 2024",
    },
    needs: DIRECTIONS,
    unchanged: Value::Missing(MissingReason::NoUpdate),
    value: |both| share(both, |directions| directions.core.diagonal),
};
