//! The columns of `svdkit adapter inspect`; docs/metrics.md defines each.

use super::super::delta::{DELTA_FROBENIUS_RATIO, DELTA_SPECTRAL_RATIO, MINOR_SHARE, PRINCIPAL_SHARE};
use crate::metric::UPDATES;
use crate::report::{Accuracy, Column, Format, Quantity};

/// Every column, in report order; those that need the base only where there is one.
pub fn columns(base: bool) -> Vec<&'static Column> {
    let own = UPDATES.iter().map(|metric| &metric.column).chain(&FACTORS);
    own.chain(BASED.iter().filter(|_| base)).collect()
}

/// Of the factors.
pub(super) static FACTORS: [Column; 4] = [FACTOR_RANK, WASTED_RANK, DEFECT_A, DEFECT_B];

/// Of the update in the base's singular basis.
pub(super) static BASED: [Column; 10] = [
    DELTA_SPECTRAL_RATIO,
    DELTA_FROBENIUS_RATIO,
    LEFT_CENTROID,
    RIGHT_CENTROID,
    LEFT_OUTSIDE,
    RIGHT_OUTSIDE,
    PRINCIPAL_SHARE,
    MINOR_SHARE,
    LEADING_COSINE,
    TRAILING_COSINE,
];

pub(in crate::analysis) const FACTOR_RANK: Column = Column {
    key: "factor_rank",
    label: "r",
    format: Format::Count,
    quantity: Quantity::Matrix(Accuracy::Exact),
    doc: "the directions that the factors have room for: rows of A, columns of B",
    range: "[1, ∞)",
    source: "LoRA, Hu et al. 2021",
};

const WASTED_RANK: Column = Column {
    key: "wasted_rank",
    label: "wasted",
    format: Format::Count,
    quantity: Quantity::Matrix(Accuracy::Exact),
    doc: "how many of the r singular values that the factors can have lie below σ₁/100",
    range: "[0, r − 1]",
    source: "FedSVD, 2025",
};

pub(in crate::analysis) const DEFECT_A: Column = Column {
    key: "defect_a",
    label: "‖AAᵀ−I‖",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Exact),
    doc: "‖AAᵀ − I‖_F of the r × r inner products of the rows of A, as stored: 0 if they are orthonormal",
    range: "[0, ∞)",
    source: "the regularizer of SORSA, 2024, and of KaSA, 2024",
};

pub(in crate::analysis) const DEFECT_B: Column = Column {
    key: "defect_b",
    label: "‖BᵀB−I‖",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Exact),
    doc: "‖BᵀB − I‖_F of the r × r inner products of the columns of B, as stored: 0 if they are orthonormal",
    range: "[0, ∞)",
    source: "the regularizer of SORSA, 2024, and of KaSA, 2024",
};

const LEFT_CENTROID: Column = Column {
    key: "left_centroid",
    label: "centroid",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "Σ i·wᵢ/((k−1)·Σ wᵢ) with wᵢ = Σⱼ (u₀ᵢᵀbⱼ)² over all k left singular vectors of the base, i from 0: where the left factor lies between its first (0) and last (1) directions",
    range: "[0, 1]",
    source: "SoMA, 2024",
};

const RIGHT_CENTROID: Column = Column {
    key: "right_centroid",
    label: "right centroid",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "left_centroid of the right factor among the right singular vectors",
    range: "[0, 1]",
    source: "SoMA, 2024",
};

const LEFT_OUTSIDE: Column = Column {
    key: "left_outside",
    label: "outside",
    format: Format::Share,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "the share of ‖B‖² outside of the span of the base's left singular vectors",
    range: "[0, 1]",
    source: "definition",
};

const RIGHT_OUTSIDE: Column = Column {
    key: "right_outside",
    label: "right outside",
    format: Format::Share,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "the share of ‖A‖² outside of the span of the base's right singular vectors",
    range: "[0, 1]",
    source: "definition",
};

const LEADING_COSINE: Column = Column {
    key: "leading_cosine",
    label: "cos W_r",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "⟨ΔW, W_r⟩/(‖ΔW‖‖W_r‖) with the sum W_r of the base's r leading triplets: 1 as PiSSA begins",
    range: "[−1, 1]",
    source: "PiSSA, 2024",
};

const TRAILING_COSINE: Column = Column {
    key: "trailing_cosine",
    label: "cos tail",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "⟨ΔW, T_r⟩/(‖ΔW‖‖T_r‖) with the sum T_r of the base's r last triplets: 1 as SoMA begins",
    range: "[−1, 1]",
    source: "SoMA, 2024",
};
