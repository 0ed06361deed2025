//! The columns of previews; docs/metrics.md defines each.

use crate::report::{Accuracy, Column, Format, Quantity};

const fn column(
    (key, label, format): (&'static str, &'static str, Format),
    doc: &'static str,
    range: &'static str,
    source: &'static str,
) -> Column {
    let accuracy = match format {
        Format::Count => Accuracy::Exact,
        _ => Accuracy::Relative,
    };
    Column { key, label, format, quantity: Quantity::Matrix(accuracy), doc, range, source }
}

const EORA: &str = "EoRA, Liu et al. 2024";
const CORDA: &str = "CorDA, Yang et al. 2024";
const FWSVD: &str = "FWSVD, Hsu et al. 2022";
const RRQR: &str = "Gu & Eisenstat 1996, strong RRQR";
const CUR: &str = "Mahoney & Drineas 2009";
const LOST: &str = "LOST, 2025";
const SST: &str = "SST, Zhao et al. 2024";
const NF4: &str = "QPiSSA, Meng et al. 2024";
const KFAC: &str = "Bushnaq et al. 2024, by K-FAC's factors";
const ALL: &str = "[1, min(m, n)]";
const SHARE: &str = "[0, 1]";
const SIZE: &str = "[0, ∞), units of the weights";

/// With `--at`.
pub(super) static ENERGY: Column = column(
    ("energy", "energy", Format::Share),
    "Σσ² of the r leading directions/Σσ²",
    SHARE,
    "Jolliffe 2002, 6.1",
);

/// With inputs: of all, and for each rank.
pub(super) static OUTPUTS: [Column; 5] = [
    column(
        ("output_rank_at_90", "outputs 90%", Format::Count),
        "the fewest directions that hold 90 % of the energy of the layer's outputs: of σ(W·R)², R·Rᵀ = XᵀX",
        ALL,
        EORA,
    ),
    column(
        ("output_rank_at_95", "outputs 95%", Format::Count),
        "the fewest directions that hold 95 % of σ(W·R)²",
        ALL,
        EORA,
    ),
    column(
        ("output_rank_at_99", "outputs 99%", Format::Count),
        "the fewest directions that hold 99 % of σ(W·R)²",
        ALL,
        EORA,
    ),
    column(
        ("output_effective_rank", "outputs effective", Format::Real),
        "exp(−Σ p ln p) with p = σ/Σσ of W·R: how many equal directions the outputs have",
        ALL,
        "Roy & Vetterli 2007",
    ),
    column(
        ("context_rank_at_95", "context 95%", Format::Count),
        "the fewest directions that hold 95 % of σ(W·C̃)², C̃ the inputs' covariance with 1 % of its mean variance added",
        ALL,
        CORDA,
    ),
];
pub(super) static OUTPUTS_AT: [Column; 3] = [
    column(
        ("output_loss", "outputs lost", Format::Share),
        "√(1 − Σσ(W·R)² of the r leading directions/Σσ(W·R)²): what the outputs lose at rank r, at least",
        "[0, 1]",
        EORA,
    ),
    column(
        ("svd_output_loss", "outputs lost, SVD", Format::Share),
        "‖(W − W_r)Xᵀ‖_F/‖WXᵀ‖_F: what the outputs lose if the weight keeps its own r leading directions",
        "[0, 1]",
        EORA,
    ),
    column(
        ("context_energy", "context", Format::Share),
        "Σσ(W·C̃)² of the r leading directions/Σσ(W·C̃)²",
        SHARE,
        CORDA,
    ),
];

/// With Fisher weights F: of all, and for each rank.
pub(super) static FISHER: [Column; 3] = [
    column(
        ("fisher_rank_at_90", "Fisher 90%", Format::Count),
        "the fewest directions that hold 90 % of the energy of W with each column times √ΣᵢFᵢⱼ",
        ALL,
        FWSVD,
    ),
    column(
        ("fisher_rank_at_95", "Fisher 95%", Format::Count),
        "the fewest directions that hold 95 % of the energy of W with each column times √ΣᵢFᵢⱼ",
        ALL,
        FWSVD,
    ),
    column(
        ("fisher_rank_at_99", "Fisher 99%", Format::Count),
        "the fewest directions that hold 99 % of the energy of W with each column times √ΣᵢFᵢⱼ",
        ALL,
        FWSVD,
    ),
];
pub(super) static FISHER_AT: [Column; 3] = [
    column(
        ("fisher_loss", "Fisher lost", Format::Share),
        "√ΣF(W − X_r)²/√ΣFW²: what is lost, entry by entry, where X_r takes the r leading directions of W with each column times √ΣᵢFᵢⱼ",
        "[0, ∞)",
        FWSVD,
    ),
    column(
        ("svd_fisher_loss", "Fisher lost, SVD", Format::Share),
        "√ΣF(W − W_r)²/√ΣFW²: the same of the weight's own r leading directions",
        "[0, ∞)",
        FWSVD,
    ),
    column(
        ("two_sided_fisher_loss", "Fisher lost, two sides", Format::Share),
        "the same where each row is times √ΣⱼFᵢⱼ, too",
        "[0, ∞)",
        "lora_fwsvd, w_svd",
    ),
];

/// With inputs and gradients.
pub(super) static PARAMETERS: [Column; 7] = [
    column(
        ("input_rank", "inputs", Format::Count),
        "r_a: eigenvalues of the inputs' covariance above 1e-6 of the largest",
        "[0, n]",
        KFAC,
    ),
    column(
        ("input_rank_absolute", "inputs > 1e-5", Format::Count),
        "eigenvalues of the inputs' covariance above 1e-5, whatever its scale",
        "[0, n]",
        "rib, Apollo Research",
    ),
    column(
        ("gradient_rank", "gradients", Format::Count),
        "r_g: eigenvalues of the gradients' covariance above 1e-6 of the largest",
        "[0, m]",
        KFAC,
    ),
    column(
        ("effective_parameters", "N_eff", Format::Count),
        "r_a·r_g: the parameters that change what the layer does; along the others the loss is flat",
        "[0, m·n]",
        KFAC,
    ),
    column(("effective_parameter_share", "N_eff/mn", Format::Share), "r_a·r_g/(m·n)", SHARE, KFAC),
    column(
        ("input_effective_rank", "inputs effective", Format::Real),
        "exp(−Σ p ln p) with p = λ/Σλ of the inputs' covariance",
        "[1, n]",
        "Roy & Vetterli 2007",
    ),
    column(
        ("gradient_effective_rank", "gradients effective", Format::Real),
        "exp(−Σ p ln p) with p = λ/Σλ of the gradients' covariance",
        "[1, m]",
        "Roy & Vetterli 2007",
    ),
];

/// With `--select-columns`.
pub(super) static SUBSET: [Column; 9] = [
    column(
        ("column_error", "error, columns", Format::Share),
        "‖W − W_J·W_J⁺·W‖_F/‖W‖_F of the K columns J that strong RRQR chooses",
        SHARE,
        RRQR,
    ),
    column(
        ("column_error_pivoted", "error, pivoted", Format::Share),
        "the same of the K columns that pivoted QR chooses",
        SHARE,
        "Businger & Golub 1965",
    ),
    column(
        ("column_error_svd", "error, SVD", Format::Share),
        "‖W − W_K‖_F/‖W‖_F of the K leading directions: no K columns do better",
        SHARE,
        "Eckart & Young 1936",
    ),
    column(
        ("column_coefficient", "coefficient", Format::Real),
        "the largest |V_J⁻¹·V_rest| of the K leading right vectors: at most f with strong RRQR",
        "[0, f]",
        RRQR,
    ),
    column(
        ("column_coefficient_pivoted", "coefficient, pivoted", Format::Real),
        "the same of the columns that pivoted QR chooses",
        "[0, ∞)",
        RRQR,
    ),
    column(
        ("column_volume", "volume", Format::Real),
        "|det V_J|; its square is the probability of J under the projection DPP of the K leading directions",
        SHARE,
        RRQR,
    ),
    column(
        ("column_volume_pivoted", "volume, pivoted", Format::Real),
        "the same of the columns that pivoted QR chooses",
        SHARE,
        RRQR,
    ),
    column(
        ("column_coherence", "coherence", Format::Real),
        "n/K times the largest leverage Σ_{i≤K}Vᵢⱼ² of a column: 1 if all matter alike, n/K if one is a direction by itself",
        "[1, n/K]",
        CUR,
    ),
    column(
        ("row_coherence", "coherence, rows", Format::Real),
        "m/K times the largest leverage Σ_{i≤K}Uⱼᵢ² of a row",
        "[1, m/K]",
        CUR,
    ),
];

/// With `--lowrank-plus-columns`.
pub(super) static SPARSE: [Column; 7] = [
    column(
        ("complement_captured", "captured", Format::Share),
        "the share of ‖W − W_r‖²_F that its strongest columns hold",
        SHARE,
        LOST,
    ),
    column(
        ("lowrank_error", "error, low rank", Format::Share),
        "‖W − W_r‖_F/‖W‖_F",
        SHARE,
        "Eckart & Young 1936",
    ),
    column(
        ("lowrank_columns_error", "error, + columns", Format::Share),
        "‖W − W_r − (W − W_r)_J‖_F/‖W‖_F with the strongest columns J of the complement",
        SHARE,
        LOST,
    ),
    column(
        ("lowrank_columns_parameters", "parameters", Format::Count),
        "r(m + n) + m·|J|: of the factors and the columns",
        "[1, ∞)",
        LOST,
    ),
    column(
        ("equal_budget_rank", "equal r", Format::Count),
        "the rank whose factors take as many parameters",
        "[0, min(m, n)]",
        LOST,
    ),
    column(
        ("equal_budget_error", "error, equal r", Format::Share),
        "‖W − W_k‖_F/‖W‖_F at that rank: above `lowrank_columns_error` if the columns pay",
        SHARE,
        LOST,
    ),
    column(
        ("lowrank_part_rank", "low rank", Format::Count),
        "r: the directions beside the columns, as asked for or a quarter of min(m, n)",
        ALL,
        LOST,
    ),
];

/// With `--sst`.
pub(super) static SAMPLING: [Column; 3] = [
    column(
        ("sampling_entropy", "sampling entropy", Format::Real),
        "−Σ p ln p of the probabilities pᵢ = (1/k + σᵢ/Σσ)/2 with which SST samples directions",
        "[0, ln min(m, n)]",
        SST,
    ),
    column(
        ("sampling_top_hits", "top hits", Format::Real),
        "Σ_{i≤R}(1 − (1 − min(1, R·pᵢ))²⁰): how many of the R leading directions 20 rounds visit, at most",
        "[0, R]",
        SST,
    ),
    column(
        ("orthonormality_defect", "defect", Format::Real),
        "‖WᵀW − I‖_F on the shorter side, √Σ(σ² − 1)²: 0 if rows or columns are orthonormal",
        "[0, ∞)",
        SST,
    ),
];

/// With `--nf4`.
pub(super) static QUANTIZED: [Column; 6] = [
    column(
        ("nf4_norm", "NF4 error", Format::Real),
        "‖W − NF4(W)‖_F, in blocks of 64 entries along the rows, by their largest magnitude",
        SIZE,
        "QLoRA, Dettmers et al. 2023",
    ),
    column(
        ("nf4_error", "NF4 error/‖W‖", Format::Share),
        "‖W − NF4(W)‖_F/‖W‖_F",
        "[0, ∞)",
        "QLoRA, Dettmers et al. 2023",
    ),
    column(("nf4_nuclear", "NF4 nuclear", Format::Real), "Σσ of W − NF4(W)", SIZE, NF4),
    column(
        ("loftq_saved", "saved, LoftQ", Format::Share),
        "1 − Σσ of the error of NF4(W) without its R leading directions/Σσ of that error: the weight is rounded first",
        SHARE,
        "LoftQ, Li et al. 2023; QVGen, 2025",
    ),
    column(
        ("qpissa_saved", "saved, QPiSSA", Format::Share),
        "the same where NF4 rounds what R leading directions leave, once",
        "(−∞, 1]",
        NF4,
    ),
    column(
        ("qpissa_saved_at_5", "saved, QPiSSA ×5", Format::Share),
        "the same after five rounds of both",
        "(−∞, 1]",
        NF4,
    ),
];

/// The columns that there are for each rank.
pub static FAMILIES: [Column; 7] =
    [ENERGY, OUTPUTS_AT[0], OUTPUTS_AT[1], OUTPUTS_AT[2], FISHER_AT[0], FISHER_AT[1], FISHER_AT[2]];

/// The others, in report order.
pub fn fixed() -> impl Iterator<Item = &'static Column> {
    let all: [&'static [Column]; 7] =
        [&OUTPUTS, &FISHER, &PARAMETERS, &SUBSET, &SPARSE, &SAMPLING, &QUANTIZED];
    all.into_iter().flatten()
}
