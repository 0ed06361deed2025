//! Columns of an update that several commands share.

use crate::report::{Accuracy, Column, Format, Quantity};

pub(super) const SUBSPACE_OVERLAP: Column = Column {
    key: "subspace_overlap",
    label: "overlap",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "‖U₀ᵀU‖²_F / k over the k leading vectors of both sides: what share of one space lies in the other",
    range: "[0, 1]",
    source: "Hu et al. 2021, arXiv 2106.09685, 7.2",
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
