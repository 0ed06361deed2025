//! The columns of `svdkit intruders`; docs/metrics.md defines each.

use crate::report::{Column, Format};

/// The columns, those of the right side aside, in the order of the report.
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

/// What `--side both` adds.
pub static RIGHT: [Column; 3] = [RIGHT_INTRUDER_COUNT, RIGHT_INTRUDER_ENERGY, RIGHT_LOWEST_COSINE];

pub(super) const INTRUDER_COUNT: Column = Column {
    key: "intruder_count",
    label: "intruders",
    format: Format::Count,
    doc: "how many of the k leading directions have a best cosine below ε with the base's singular vectors",
    range: "[0, k]",
    source: "Shuttleworth et al. 2024, arXiv 2410.21228",
};

pub(super) const K: Column = Column {
    key: "k",
    label: "of",
    format: Format::Count,
    doc: "how many leading directions there were to look at: `-k`, or all above rounding where there are fewer",
    range: "[0, `-k`]",
    source: "Shuttleworth et al. 2024",
};

pub(super) const INTRUDER_ENERGY: Column = Column {
    key: "intruder_energy",
    label: "energy",
    format: Format::Share,
    doc: "Σσ² over the intruders / Σσ² over the k leading directions: how much of them is intruders",
    range: "[0, 1]",
    source: "definition",
};

pub(super) const LOWEST_COSINE: Column = Column {
    key: "lowest_cosine",
    label: "lowest cosine",
    format: Format::Real,
    doc: "the smallest best cosine among the k leading directions; a bound from above unless `--exact`",
    range: "[0, 1]",
    source: "Shuttleworth et al. 2024",
};

pub(super) const SUBSPACE_OVERLAP: Column = Column {
    key: "subspace_overlap",
    label: "overlap",
    format: Format::Real,
    doc: "‖U₀ᵀU‖²_F / k over the k leading vectors of both sides: what share of one space lies in the other",
    range: "[0, 1]",
    source: "Hu et al. 2021, arXiv 2106.09685, 7.2",
};

pub(super) const DELTA_SPECTRAL_RATIO: Column = Column {
    key: "delta_spectral_ratio",
    label: "σ₁(ΔW)/σ₁(W₀)",
    format: Format::Real,
    doc: "σ₁(ΔW)/σ₁(W₀): the update's strongest direction against the base's",
    range: "[0, ∞)",
    source: "definition",
};

pub(super) const DELTA_FROBENIUS_RATIO: Column = Column {
    key: "delta_frobenius_ratio",
    label: "‖ΔW‖/‖W₀‖",
    format: Format::Real,
    doc: "‖ΔW‖_F/‖W₀‖_F: the size of the update against the base's",
    range: "[0, ∞)",
    source: "definition",
};

pub(super) const DELTA_EFFECTIVE_RANK: Column = Column {
    key: "delta_effective_rank",
    label: "eff. rank ΔW",
    format: Format::Real,
    doc: "effective_rank of the update ΔW",
    range: "[1, rank]",
    source: "Roy & Vetterli 2007; Shuttleworth et al. 2024",
};

pub(super) const DELTA_STABLE_RANK: Column = Column {
    key: "delta_stable_rank",
    label: "stable ΔW",
    format: Format::Real,
    doc: "stable_rank of the update ΔW",
    range: "[1, rank]",
    source: "Rudelson & Vershynin 2007",
};

pub(super) const RIGHT_INTRUDER_COUNT: Column = Column {
    key: "right_intruder_count",
    label: "right intruders",
    format: Format::Count,
    doc: "intruder_count of the right singular vectors, with `--side both`",
    range: "[0, k]",
    source: "Shuttleworth et al. 2024, on the side of the inputs",
};

pub(super) const RIGHT_INTRUDER_ENERGY: Column = Column {
    key: "right_intruder_energy",
    label: "right energy",
    format: Format::Share,
    doc: "intruder_energy of the right singular vectors, with `--side both`",
    range: "[0, 1]",
    source: "definition",
};

pub(super) const RIGHT_LOWEST_COSINE: Column = Column {
    key: "right_lowest_cosine",
    label: "right lowest",
    format: Format::Real,
    doc: "lowest_cosine of the right singular vectors, with `--side both`",
    range: "[0, 1]",
    source: "Shuttleworth et al. 2024, on the side of the inputs",
};
