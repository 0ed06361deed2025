//! The columns of `spectrum --eig`.

use crate::report::{Accuracy, Column, Format, Quantity};

const S4D: &str = "Gu et al. 2022, arXiv 2206.11893";
const PTD: &str = "Yu et al. 2023, arXiv 2310.01698";
const BOOK: &str = "Trefethen & Embree 2005";

/// Of a square matrix, or of a stored diagonal of a state space; in report order.
pub static EIGENVALUES: [Column; 12] = [
    Column::real(
        "spectral_abscissa",
        "max Re λ",
        "largest real part of an eigenvalue: below 0, x' = Ax dies out in the end",
        "(−∞, ∞), units of the weights",
        S4D,
    ),
    Column::real(
        "spectral_radius",
        "max |λ|",
        "largest magnitude of an eigenvalue: below 1, x ← Ax dies out in the end",
        "[0, spectral_norm]",
        BOOK,
    ),
    Column::real(
        "numerical_abscissa",
        "ω",
        "largest eigenvalue of (A + Aᵀ)/2: how fast x' = Ax can grow at once; above max Re λ where A is not normal",
        "[max Re λ, ∞)",
        BOOK,
    ),
    Column::real(
        "eigenvector_condition",
        "κ(V)",
        "condition number of the matrix of eigenvectors of length one: how much diagonalizing loses; 1 where A is normal",
        "[1, ∞)",
        PTD,
    ),
    Column::real(
        "henrici_departure",
        "departure",
        "√(‖A‖F² − Σ|λ|²)/‖A‖F: the part of A that is not normal",
        "[0, 1]",
        "Henrici 1962",
    )
    .as_share(),
    Column {
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        ..Column::real(
            "unstable_count",
            "Re ≥ 0",
            "number of eigenvalues whose real part is not below 0",
            "[0, n]",
            S4D,
        )
    },
    Column::real(
        "slowest_time",
        "slowest",
        "1/min |Re λ| over eigenvalues with Re λ < 0: how long the longest memory lasts, in steps over Δ",
        "(0, ∞)",
        S4D,
    ),
    Column::real(
        "fastest_time",
        "fastest",
        "1/max |Re λ| over eigenvalues with Re λ < 0: how long the shortest memory lasts, in steps over Δ",
        "(0, ∞)",
        S4D,
    ),
    Column::real(
        "real_distance",
        "from Real",
        "distance of the stored eigenvalues from the initialization S4D-Real, −(n + 1), relative to its length: 0 at the start of training",
        "[0, ∞)",
        S4D,
    ),
    Column::real("lin_distance", "from Lin", "the same from S4D-Lin, −½ + iπn", "[0, ∞)", S4D),
    Column::real(
        "inv_distance",
        "from Inv",
        "the same from S4D-Inv, −½ + i(N/π)(N/(2n + 1) − 1)",
        "[0, ∞)",
        S4D,
    ),
    Column::real(
        "legs_distance",
        "from LegS",
        "the same from S4D-LegS, the eigenvalues of the normal part of HiPPO-LegS",
        "[0, ∞)",
        S4D,
    ),
];
