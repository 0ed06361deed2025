//! The columns of `svdkit adapter init`; docs/metrics.md defines each.

use super::Method;
use crate::metric::FROBENIUS_NORM;
use crate::report::{Accuracy, Column, Format, Quantity};

/// Every column, in report order.
pub static INITIALIZED: [Column; 11] = [
    FROBENIUS_NORM.column,
    ADAPTER_RANK,
    CHOSEN_ENERGY,
    EXPLAINED_VARIANCE,
    TAIL_GAP,
    ADAPTER_NORM,
    RESIDUAL_NORM,
    WEIGHTED_NORM,
    PLAIN_ERROR,
    WEIGHTED_ERROR,
    PRESERVATION_ERROR,
];

/// The columns that a method has.
pub fn columns(method: Method) -> Vec<&'static Column> {
    let lacks: &[&str] = match method {
        Method::Pissa | Method::Sorsa => {
            &["explained_variance", "tail_gap", "weighted_norm", "plain_error", "weighted_error"]
        }
        Method::Minor => &["explained_variance", "weighted_norm", "plain_error", "weighted_error"],
        Method::Kasa => {
            &["explained_variance", "adapter_norm", "weighted_norm", "plain_error", "weighted_error"]
        }
        Method::CordaIpm => &["explained_variance", "tail_gap", "plain_error"],
        Method::CordaKpm => &["explained_variance", "plain_error"],
        Method::Olora => &[
            "chosen_energy",
            "explained_variance",
            "tail_gap",
            "weighted_norm",
            "plain_error",
            "weighted_error",
        ],
        Method::Eora => &["explained_variance", "tail_gap"],
        Method::Eva => &[
            "frobenius_norm",
            "chosen_energy",
            "tail_gap",
            "adapter_norm",
            "residual_norm",
            "weighted_norm",
            "plain_error",
            "weighted_error",
            "preservation_error",
        ],
    };
    INITIALIZED.iter().filter(|column| !lacks.contains(&column.key)).collect()
}

const ADAPTER_RANK: Column = Column {
    key: "adapter_rank",
    label: "r",
    format: Format::Count,
    quantity: Quantity::Matrix(Accuracy::Exact),
    doc: "the directions that the adapter has room for: `--rank`, or what EVA gives the module",
    range: "[0, 2·rank]",
    source: "setting",
};

const CHOSEN_ENERGY: Column = Column {
    key: "chosen_energy",
    label: "energy",
    format: Format::Share,
    quantity: Quantity::Matrix(Accuracy::Relative),
    doc: "Σσ² over the r directions that the method takes / Σσ², of W, of W·C̃ (CorDA) or of the weighted error (EoRA)",
    range: "[0, 1]",
    source: "Jolliffe 2002, 6.1",
};

const EXPLAINED_VARIANCE: Column = Column {
    key: "explained_variance",
    label: "explained",
    format: Format::Share,
    quantity: Quantity::Matrix(Accuracy::Relative),
    doc: "Σσ² over the r first directions of the centered inputs / Σσ²: how much of their variance A keeps",
    range: "[0, 1]",
    source: "EVA, Paischer et al. 2024",
};

const TAIL_GAP: Column = Column {
    key: "tail_gap",
    label: "gap",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Relative),
    doc: "σ_{k−r}/σ_{k−r+1}: how far the r last directions stand apart from the others; near 1 their choice is arbitrary",
    range: "[1, ∞)",
    source: "KaSA, Wang et al. 2024",
};

pub(in crate::analysis) const ADAPTER_NORM: Column = Column {
    key: "adapter_norm",
    label: "‖s·BA‖",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Relative),
    doc: "‖s·BA‖_F of the initial factors",
    range: "[0, ∞), units of the weights",
    source: "definition",
};

const RESIDUAL_NORM: Column = Column {
    key: "residual_norm",
    label: "‖W_res‖",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Relative),
    doc: "‖W − s·BA‖_F before anything is rounded: of the residual base, of KaSA's cut base, or of the error that EoRA leaves",
    range: "[0, ∞), units of the weights",
    source: "PiSSA, Meng et al. 2024",
};

const WEIGHTED_NORM: Column = Column {
    key: "weighted_norm",
    label: "‖W·R‖",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Relative),
    doc: "‖W·R‖_F: with EoRA the error of the compressed layer's outputs, R·Rᵀ = XᵀX; with CorDA R = C̃",
    range: "[0, ∞)",
    source: "EoRA, Liu et al. 2024; CorDA, Yang et al. 2024",
};

const PLAIN_ERROR: Column = Column {
    key: "plain_error",
    label: "by SVD",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Relative),
    doc: "‖(W − W_r)·R‖_F of the plain SVD's W_r: what the same rank leaves of the outputs' error without the data",
    range: "[0, ∞)",
    source: "EoRA, Liu et al. 2024",
};

const WEIGHTED_ERROR: Column = Column {
    key: "weighted_error",
    label: "‖(W−BA)R‖",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Relative),
    doc: "‖(W − s·BA)·R‖_F of the factors as they are written; of the leading directions √Σσ² over the others of W·R",
    range: "[0, ∞)",
    source: "EoRA, Liu et al. 2024",
};

pub(in crate::analysis) const PRESERVATION_ERROR: Column = Column {
    key: "preservation_error",
    label: "error",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "‖W − (W_base + s·BA)‖_F/‖W‖_F of base and adapter as they are written: what rounding costs, what EoRA leaves; of KaSA's base against the cut weight",
    range: "[0, ∞)",
    source: "definition",
};
