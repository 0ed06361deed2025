//! The columns of `spectrum --robust`.

use crate::report::{Accuracy, Column, Format, Quantity};

const DPD: &str = "rSVDdpd: Roy, Basu & Ghosh 2021, arXiv 2109.10680";

/// What gross outliers do to a matrix, in report order.
pub static ROBUST: [Column; 7] = [
    Column::real(
        "robust_spectral_norm",
        "robust σ₁",
        "σ₁ by rSVDdpd: of the direction that minimizes the density power divergence, in which entries far from it weigh little",
        "[0, ∞), units of the weights",
        DPD,
    ),
    Column::real(
        "robust_ratio",
        "σ₁/robust",
        "spectral_norm over robust_spectral_norm: far above 1 where a few entries make σ₁",
        "(0, ∞)",
        DPD,
    ),
    Column {
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        ..Column::real(
            "robust_rank",
            "robust k",
            "the number of robust directions that minimizes DICMR, the divergence information criterion, of as many as are looked for",
            "[1, k]",
            DPD,
        )
    },
    Column::real(
        "left_localization",
        "IPR u₁",
        "inverse participation ratio Σu⁴ of the first left singular vector: 1 where it is one row, 1/m where it is all",
        "[1/m, 1]",
        "Edwards & Thouless 1972",
    ),
    Column::real(
        "right_localization",
        "IPR v₁",
        "the same of the first right one: 1 where it is one column, 1/n where it is all",
        "[1/n, 1]",
        "Edwards & Thouless 1972",
    ),
    Column::real(
        "leading_peak",
        "max u₁v₁",
        "max|u₁|·max|v₁|: how much of the first direction its largest entry is",
        "[1/√(m·n), 1]",
        "definition",
    )
    .as_share(),
    Column::real(
        "entry_share",
        "max²/σ₁²",
        "square of the largest entry over σ₁²: 1 where that entry alone makes the first direction",
        "[0, 1]",
        "definition",
    )
    .as_share(),
];
