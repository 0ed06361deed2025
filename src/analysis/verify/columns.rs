//! The columns of `svdkit adapter verify`; docs/metrics.md defines each.

use super::super::adapter::columns::{DEFECT_A, DEFECT_B, FACTOR_RANK};
use super::super::init::{ADAPTER_NORM, PRESERVATION_ERROR};
use crate::report::{Accuracy, Column, Format, Quantity};

/// Every column, in report order.
pub static VERIFIED: [Column; 13] = [
    FACTOR_RANK,
    BROKEN,
    ADAPTER_NORM,
    DEFECT_A,
    DEFECT_B,
    SLANT_A,
    SLANT_B,
    LEFT_OVERLAP,
    RIGHT_OVERLAP,
    TRUNCATED_RANK,
    LOWEST_RATIO,
    HIGHEST_RATIO,
    PRESERVATION_ERROR,
];

const BROKEN: Column = Column {
    key: "broken",
    label: "broken",
    format: Format::Count,
    quantity: Quantity::Pair(Accuracy::Exact),
    doc: "how many invariants of the method the module breaks: of `--method`, else of the one that most modules hold",
    range: "[0, 8]",
    source: "definition",
};

const SLANT_A: Column = Column {
    key: "slant_a",
    label: "slant A",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Exact),
    doc: "‖G − I‖_F of the inner products of the rows of A, each brought to length 1: 0 if they are orthogonal",
    range: "[0, √(r(r − 1))]",
    source: "definition",
};

const SLANT_B: Column = Column {
    key: "slant_b",
    label: "slant B",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Exact),
    doc: "‖G − I‖_F of the inner products of the columns of B, each brought to length 1: 0 if they are orthogonal",
    range: "[0, √(r(r − 1))]",
    source: "definition",
};

const LEFT_OVERLAP: Column = Column {
    key: "left_overlap",
    label: "‖BᵀW‖",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "‖BᵀW_base‖_F/(‖B‖_F‖W_base‖_F): 0 if the base has nothing in the directions of B",
    range: "[0, 1]",
    source: "PiSSA, Meng et al. 2024",
};

const RIGHT_OVERLAP: Column = Column {
    key: "right_overlap",
    label: "‖WAᵀ‖",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "‖W_base·Aᵀ‖_F/(‖A‖_F‖W_base‖_F): 0 if the base has nothing in the directions of A",
    range: "[0, 1]",
    source: "PiSSA, Meng et al. 2024",
};

const TRUNCATED_RANK: Column = Column {
    key: "truncated_rank",
    label: "cut",
    format: Format::Count,
    quantity: Quantity::Matrix(Accuracy::Exact),
    doc: "how many singular values of the base are rounding alone: up to 2·(√m + √n)·(ε/2)·rms/√3 or the accuracy floor, and ε·σ₁(s·BA) for that of the factors, ε of these at least 16 times that of f32",
    range: "[0, min(m, n)]",
    source: "KaSA, Wang et al. 2024; Bai & Yin 1993",
};

const LOWEST_RATIO: Column = Column {
    key: "lowest_ratio",
    label: "σ_r/σ₁",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "the smallest singular value of s·BA over the base's largest: 1 or more if the adapter holds the leading directions",
    range: "[0, ∞)",
    source: "PiSSA, Meng et al. 2024",
};

const HIGHEST_RATIO: Column = Column {
    key: "highest_ratio",
    label: "σ₁/σ_k",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "the largest singular value of s·BA over the base's smallest that is not cut: 1 or less if the adapter holds the last directions",
    range: "[0, ∞)",
    source: "SoMA, Yun et al. 2025",
};
