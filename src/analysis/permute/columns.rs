//! The columns of a comparison of permuted models.

use crate::report::{Accuracy, Column, Format, Quantity};

/// Of each tensor, in report order.
pub static PERMUTED: [Column; 7] = [
    Column {
        key: "distance_before",
        label: "before",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "‖W − W₀‖F with both models as they are stored",
        range: "[0, ∞), units of the weights",
        source: "definition",
    },
    Column {
        key: "distance_after",
        label: "after",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "‖PWQᵀ − W₀‖F with the units of the second model in their matched places",
        range: "[0, ∞), units of the weights",
        source: "Git Re-Basin, 2022, weight matching",
    },
    Column {
        key: "moved_share",
        label: "moved",
        format: Format::Share,
        quantity: Quantity::Pair(Accuracy::Exact),
        doc: "the share of a tensor's rows and columns that come from another place",
        range: "[0, 1]",
        source: "definition",
    },
    Column {
        key: "alignment_before",
        label: "R before",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "`alignment` of both models as they are stored",
        range: "[−1, 1]",
        source: "Analysis of Linear Mode Connectivity via Permutation-Based Weight Matching, 2024; γ = 0",
    },
    Column {
        key: "alignment_after",
        label: "R after",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "`alignment` with the units of the second model in their matched places",
        range: "[−1, 1]",
        source: "as alignment_before",
    },
    Column {
        key: "alignment_strong_before",
        label: "R 0.3 before",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "`alignment_strong` of both models as they are stored",
        range: "[−1, 1]",
        source: "as alignment_before; γ = 0.3",
    },
    Column {
        key: "alignment_strong_after",
        label: "R 0.3 after",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "`alignment_strong` with the units of the second model in their matched places",
        range: "[−1, 1]",
        source: "as alignment_before; γ = 0.3",
    },
];

/// Of each group of units, beside the distances of all its tensors together.
pub static PERMUTED_UNITS: [Column; 3] = [
    Column {
        key: "units",
        label: "units",
        format: Format::Count,
        quantity: Quantity::Pair(Accuracy::Exact),
        doc: "how many units may change places: neurons, key and value heads, coordinates of the residual stream",
        range: "[1, ∞)",
        source: "definition",
    },
    Column {
        key: "moved_units",
        label: "moved units",
        format: Format::Count,
        quantity: Quantity::Pair(Accuracy::Exact),
        doc: "how many of them were matched with one in another place",
        range: "[0, units]",
        source: "definition",
    },
    Column {
        key: "sweeps",
        label: "sweeps",
        format: Format::Count,
        quantity: Quantity::Pair(Accuracy::Exact),
        doc: "how often all groups were matched in turn until none gained; the last time finds nothing",
        range: "[1, 100]",
        source: "Git Re-Basin, 2022, algorithm 1",
    },
];
