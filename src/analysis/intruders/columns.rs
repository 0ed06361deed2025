//! The columns of `svdkit intruders`; docs/metrics.md defines each.

use super::super::delta::{
    DELTA_EFFECTIVE_RANK, DELTA_FROBENIUS_RATIO, DELTA_SPECTRAL_RATIO, DELTA_STABLE_RANK, SUBSPACE_OVERLAP,
};
use crate::report::{Accuracy, Column, Format, Quantity};

/// The columns without the right side's, in report order.
pub static COLUMNS: [Column; 9] = [
    INTRUDER_COUNT,
    K,
    INTRUDER_ENERGY,
    LOWEST_COSINE,
    SUBSPACE_OVERLAP,
    DELTA_SPECTRAL_RATIO,
    DELTA_FROBENIUS_RATIO,
    DELTA_EFFECTIVE_RANK,
    DELTA_STABLE_RANK,
];

/// The columns that `--side both` adds.
pub static RIGHT: [Column; 3] = [RIGHT_INTRUDER_COUNT, RIGHT_INTRUDER_ENERGY, RIGHT_LOWEST_COSINE];

pub(super) const INTRUDER_COUNT: Column = Column {
    key: "intruder_count",
    label: "intruders",
    format: Format::Count,
    quantity: Quantity::Pair(Accuracy::Exact),
    doc: "how many of the k leading directions have a best cosine below ε with the base's singular vectors",
    range: "[0, k]",
    source: "Shuttleworth et al. 2024, arXiv 2410.21228",
};

pub(super) const K: Column = Column {
    key: "k",
    label: "k",
    format: Format::Count,
    quantity: Quantity::Pair(Accuracy::Exact),
    doc: "how many leading directions there were to look at: `-k`, or all above rounding where there are fewer",
    range: "[0, `-k`]",
    source: "Shuttleworth et al. 2024",
};

pub(super) const INTRUDER_ENERGY: Column = Column {
    key: "intruder_energy",
    label: "energy",
    format: Format::Share,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "Σσ² over the intruders / Σσ² over the k leading directions: how much of them is intruders",
    range: "[0, 1]",
    source: "definition",
};

pub(super) const LOWEST_COSINE: Column = Column {
    key: "lowest_cosine",
    label: "lowest cosine",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "the smallest best cosine among the k leading directions; a bound from above unless `--exact`",
    range: "[0, 1]",
    source: "Shuttleworth et al. 2024",
};

pub(super) const RIGHT_INTRUDER_COUNT: Column = Column {
    key: "right_intruder_count",
    label: "right intruders",
    format: Format::Count,
    quantity: Quantity::Pair(Accuracy::Exact),
    doc: "intruder_count of the right singular vectors, with `--side both`",
    range: "[0, k]",
    source: "Shuttleworth et al. 2024, on the side of the inputs",
};

pub(super) const RIGHT_INTRUDER_ENERGY: Column = Column {
    key: "right_intruder_energy",
    label: "right energy",
    format: Format::Share,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "intruder_energy of the right singular vectors, with `--side both`",
    range: "[0, 1]",
    source: "definition",
};

pub(super) const RIGHT_LOWEST_COSINE: Column = Column {
    key: "right_lowest_cosine",
    label: "right lowest",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "lowest_cosine of the right singular vectors, with `--side both`",
    range: "[0, 1]",
    source: "Shuttleworth et al. 2024, on the side of the inputs",
};
