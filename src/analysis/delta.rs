//! Columns of an update that several commands share, and the numbers that they are computed from.

use crate::error::Error;
use crate::layer::Layer;
use crate::metric::Subject;
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::{self, Entries, Needs, Operator, Precision};
use crate::spectrum::Spectrum;

/// As much of an update as is needed.
pub(super) struct UpdateNumbers {
    /// `‖ΔW‖F`.
    pub(super) norm: f64,
    /// `σ₁`, if it is needed.
    pub(super) largest: Option<f64>,
    /// All singular values, if they are.
    pub(super) values: Option<Spectrum>,
}

impl UpdateNumbers {
    /// Of `delta`, whose values are as exact as its `precision` says. Thin factors give all of them at once.
    ///
    /// # Errors
    /// As those of singular values.
    pub(super) fn new(delta: &Operator<'_>, precision: Precision, needs: Needs) -> Result<Self, Error> {
        let norm = solver::norm_of_entries(delta);
        let (largest, values) = match (needs, norm) {
            (Needs::Entries, Some(_)) => (None, None),
            (Needs::Largest, Some(_)) => (Some(solver::largest(delta.clone(), precision)?.value), None),
            (Needs::Values, _) | (_, None) => {
                let values = solver::singular_values(delta.clone(), precision)?;
                (Some(values.largest()), Some(values))
            }
        };
        let norm = norm.or(values.as_ref().map(Spectrum::norm)).unwrap_or(0.0);
        Ok(Self { norm, largest, values })
    }

    /// A metric of an update of the shape and type of `layer`.
    pub(super) fn metric(&self, key: &str, layer: &Layer) -> Value {
        let entries = Entries::new();
        match (&self.values, self.largest) {
            (Some(values), _) => Subject::new(layer, &entries, Ok(values)).value(key),
            (None, Some(0.0)) if key == STABLE_RANK => Value::Missing(MissingReason::AllZero),
            (None, Some(largest)) if key == STABLE_RANK => {
                let most = layer.rows.min(layer.cols) as f64;
                Value::within((self.norm / largest).powi(2), 1.0, most)
            }
            (None, _) => Value::Missing(MissingReason::NotDecomposed),
        }
    }

    /// `σ₁(ΔW)` over that of the base.
    pub(super) fn spectral_ratio(&self, base: f64) -> Value {
        self.largest.map_or(Value::Missing(MissingReason::NotDecomposed), |largest| ratio(largest, base))
    }

    /// `σ₁(ΔW)²/‖ΔW‖F²` of an update of the shape of `layer`.
    pub(super) fn top_share(&self, layer: &Layer) -> Value {
        match (self.norm, self.largest) {
            (0.0, _) => Value::Missing(MissingReason::NoUpdate),
            (_, None) => Value::Missing(MissingReason::NotDecomposed),
            (norm, Some(largest)) => {
                let least = 1.0 / layer.rows.min(layer.cols) as f64;
                Value::within((largest / norm).powi(2), least, 1.0)
            }
        }
    }

    /// `‖ΔW‖F` over that of the base.
    pub(super) fn frobenius_ratio(&self, base: f64) -> Value {
        ratio(self.norm, base)
    }
}

/// The metric of an update that its largest value and its size give.
const STABLE_RANK: &str = "stable_rank";

/// `(‖ΔW‖F/‖W₀‖F)²`.
pub(super) fn nmse(update: f64, base: f64) -> Value {
    match ratio(update, base) {
        Value::Real(ratio) => Value::real(ratio * ratio),
        missing => missing,
    }
}

/// The size of an update against the base's.
fn ratio(update: f64, base: f64) -> Value {
    match (update, base) {
        (0.0, _) => Value::Real(0.0),
        (_, 0.0) => Value::Missing(MissingReason::ZeroBase),
        (update, base) => Value::real(update / base),
    }
}

pub(super) const SUBSPACE_OVERLAP: Column = Column {
    key: "subspace_overlap",
    label: "overlap",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "‖U₀ᵀU‖²_F / k over the k leading vectors of both sides: what share of one space lies in the other",
    range: "[0, 1]",
    source: "Hu et al. 2021, arXiv 2106.09685, 7.2",
};

pub(super) const CHANGED_SHARE: Column = Column {
    key: "changed_share",
    label: "entries changed",
    format: Format::Share,
    quantity: Quantity::Pair(Accuracy::Exact),
    doc: "the share of the entries whose stored bits differ from the base's",
    range: "[0, 1]",
    source: "definition",
};

pub(super) const DELTA_SPECTRAL_RATIO: Column = Column {
    key: "delta_spectral_ratio",
    label: "σ₁(ΔW)/σ₁(W₀)",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "σ₁(ΔW)/σ₁(W₀): the update's strongest direction against the base's",
    range: "[0, ∞)",
    source: "definition",
};

pub(super) const DELTA_FROBENIUS_RATIO: Column = Column {
    key: "delta_frobenius_ratio",
    label: "‖ΔW‖/‖W₀‖",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "‖ΔW‖_F/‖W₀‖_F: the size of the update against the base's",
    range: "[0, ∞)",
    source: "definition",
};

pub(super) const NMSE: Column = Column {
    key: "nmse",
    label: "NMSE",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "‖ΔW‖²_F/‖W₀‖²_F: the normalized mean squared error, as quantization reports have it",
    range: "[0, ∞)",
    source: "definition",
};

pub(super) const DELTA_EFFECTIVE_RANK: Column = Column {
    key: "delta_effective_rank",
    label: "eff. rank ΔW",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "effective_rank of the update ΔW",
    range: "[1, min(m, n)]",
    source: "Roy & Vetterli 2007; Shuttleworth et al. 2024",
};

pub(super) const DELTA_STABLE_RANK: Column = Column {
    key: "delta_stable_rank",
    label: "stable ΔW",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "stable_rank of the update ΔW",
    range: "[1, min(m, n)]",
    source: "Rudelson & Vershynin 2007",
};

pub(super) const PRINCIPAL_SHARE: Column = Column {
    key: "principal_share",
    label: "principal share",
    format: Format::Share,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "‖UᵣᵀΔVᵣ‖F²/‖Δ‖F²: how much of the update stays among the base's r principal directions",
    range: "[0, 1]",
    source: "Effort, 2024",
};

pub(super) const MINOR_SHARE: Column = Column {
    key: "minor_share",
    label: "minor",
    format: Format::Share,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "‖(I − UᵣUᵣᵀ)Δ(I − VᵣVᵣᵀ)‖F²/‖Δ‖F²: how much of the update touches none of the base's r principal directions",
    range: "[0, 1]",
    source: "Effort, 2024",
};
