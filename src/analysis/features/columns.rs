//! The columns that `svdkit features` has beside those of singular values.

use super::subject::{TableSubject, Work};
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};

/// A column, what it takes, and the function that fills it.
#[derive(Debug)]
pub struct FeatureMetric {
    /// Key, label, format and texts of the column.
    pub column: Column,
    /// What is computed for it.
    pub work: Work,
    /// Computes it.
    pub value: fn(&TableSubject<'_>) -> Result<f64, MissingReason>,
}

const MNN: &str = "Li et al. 2024, arXiv 2410.10672";

/// Of a table, in report order.
pub static TABLES: [FeatureMetric; 11] = [
    FeatureMetric {
        column: Column::real(
            "column_norm_sum",
            "Σ‖column‖",
            "sum of the lengths of the columns: never below nuclear_norm",
            "[0, ∞), units of the table",
            MNN,
        ),
        work: Work::Norms,
        value: |table| Ok(table.norms().columns),
    },
    FeatureMetric {
        column: Column::real(
            "row_norm_sum",
            "Σ‖row‖",
            "sum of the lengths of the rows: never below nuclear_norm",
            "[0, ∞), units of the table",
            MNN,
        ),
        work: Work::Norms,
        value: |table| Ok(table.norms().rows),
    },
    FeatureMetric {
        column: Column::real(
            "nuclear_bound",
            "‖·‖* ≤",
            "the smaller of column_norm_sum and row_norm_sum: a bound of nuclear_norm that takes no decomposition",
            "[nuclear_norm, ∞), units of the table",
            MNN,
        ),
        work: Work::Norms,
        value: |table| Ok(table.norms().columns.min(table.norms().rows)),
    },
    FeatureMetric {
        column: Column::real(
            "matrix_nuclear_norm",
            "MNN",
            "Σ of the min(L, d) longest columns of Z over L: Z is the table with its columns centered, then each of its L rows divided by its length",
            "(0, √d]",
            MNN,
        ),
        work: Work::Normalized,
        value: |table| table.normalized().map(|normalized| normalized.longest_columns),
    },
    FeatureMetric {
        column: Column::real(
            "normalized_nuclear_norm",
            "‖Z‖*/L",
            "nuclear norm of Z over L: what matrix_nuclear_norm estimates",
            "(0, √d]",
            MNN,
        ),
        work: Work::NormalizedValues,
        value: |table| table.normalized_values().map(|values| values.nuclear),
    },
    FeatureMetric {
        column: Column::real(
            "matrix_entropy",
            "entropy",
            "−Σ p ln p over ln d, p the eigenvalues of ZᵀZ over their sum",
            "[0, 1]",
            "Wei et al. 2024, arXiv 2401.17139, as in arXiv 2410.10672",
        ),
        work: Work::NormalizedValues,
        value: |table| table.normalized_values().map(|values| values.entropy),
    },
    FeatureMetric {
        column: Column::real(
            "two_nn_dimension",
            "TwoNN",
            "dimension by the two nearest neighbors of each row: slope of −ln(1 − F) over ln μ, μ the ratio of their distances, without the largest tenth",
            "(0, ∞)",
            "Facco et al. 2017, Scientific Reports 7:12140",
        ),
        work: Work::Neighbors,
        value: |table| table.neighbors().map(|found| found.two_nn),
    },
    FeatureMetric {
        column: Column::real(
            "two_nn_likelihood",
            "TwoNN ML",
            "the same by maximum likelihood: (N − 1)/Σ ln μ",
            "(0, ∞)",
            "Facco et al. 2017; Denti et al. 2022",
        ),
        work: Work::Neighbors,
        value: |table| table.neighbors().map(|found| found.two_nn_ml),
    },
    FeatureMetric {
        column: Column::real(
            "mle_dimension",
            "MLE",
            "dimension by the ten nearest neighbors of each row, by maximum likelihood; the mean is over inverses",
            "(0, ∞)",
            "Levina & Bickel 2004; MacKay & Ghahramani 2005",
        ),
        work: Work::Neighbors,
        value: |table| table.neighbors().map(|found| found.likelihood),
    },
    FeatureMetric {
        column: Column::real(
            "ph_dimension",
            "PH",
            "1/(1 − slope), by how the length of the shortest tree through n rows grows with n, ln over ln, for samples of 50, 90 and more rows",
            "(0, ∞)",
            "Tulchinskii et al. 2023, arXiv 2306.04723",
        ),
        work: Work::Trees,
        value: |table| table.tree_dimension(),
    },
    FeatureMetric {
        column: Column::real(
            "tree_length",
            "tree",
            "length of the shortest tree that connects the rows, at most 512 of them",
            "(0, ∞), units of the table",
            "Prim 1957",
        ),
        work: Work::Tree,
        value: |table| table.tree_length(),
    },
];

/// Of a gradient beside the others of its sample, in report order.
pub static COSINES: [Column; 3] = [
    Column {
        key: "samples",
        label: "samples",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "number of files that hold the matrix; every other number is the mean over them",
        range: "[1, ∞)",
        source: "definition",
    },
    Column::real(
        "partner_cosine",
        "cos q·o, k·v",
        "cosine of the gradients of queries and output, or of keys and values, of one block: both as long vectors",
        "[−1, 1]",
        "Li et al. 2025, arXiv 2504.10766",
    ),
    Column::real(
        "next_cosine",
        "cos next",
        "cosine with the gradient of the same role in the next block: both as long vectors",
        "[−1, 1]",
        "Li et al. 2025, arXiv 2504.10766",
    ),
];

/// What a function found, as a value.
pub(super) fn value(found: Result<f64, MissingReason>) -> Value {
    found.map_or_else(Value::Missing, Value::real)
}
