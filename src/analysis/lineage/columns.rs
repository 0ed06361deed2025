//! The columns of `lineage`.

use crate::report::{Accuracy, Column, Format, Quantity};

/// The columns, in report order.
pub static LINEAGE: [Column; 7] = [
    Column {
        key: "neurons",
        label: "neurons",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "how many neurons were held against those of the other model",
        range: "[2, ∞)",
        source: "definition",
    },
    Column {
        key: "mean_cosine",
        label: "cosine",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "mean cosine of the rows that belong together: of the same place, or with `--permuted` of matched neurons",
        range: "[−1, 1]",
        source: "Independence Tests for Language Models, 2025, arXiv 2502.12292",
    },
    Column {
        key: "null_cosine",
        label: "chance",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "what `mean_cosine` is on average if the models were trained independently",
        range: "[−1, 1]",
        source: "Hoeffding 1951",
    },
    Column {
        key: "null_sigma",
        label: "±chance",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "the standard deviation of `mean_cosine` if the models were trained independently",
        range: "(0, 1]",
        source: "Hoeffding 1951",
    },
    Column {
        key: "lineage_z",
        label: "z",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "(mean_cosine − null_cosine)/null_sigma",
        range: "(−∞, ∞)",
        source: "definition",
    },
    Column {
        key: "p_value",
        label: "p",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "how likely so large a `mean_cosine` is if the models were trained independently; below 2.2e-308 only `log10_p` has it",
        range: "(0, 1]",
        source: "Independence Tests for Language Models, 2025, arXiv 2502.12292",
    },
    Column {
        key: "log10_p",
        label: "log₁₀ p",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "the logarithm of `p_value`: p < 1e-10 is −10 or less",
        range: "(−∞, 0]",
        source: "as p_value",
    },
];
