//! The columns of `svdkit farms`.

use super::Pooled;
use crate::metric::TailFit;
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};

/// A column and the function that fills it.
#[derive(Debug)]
pub struct Metric {
    /// Key, label, format and texts of the column.
    pub column: Column,
    /// What it is computed from.
    pub of: Of,
    /// Computes it.
    pub value: fn(&Pooled) -> Value,
}

/// What a column is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The shape of the matrix.
    Shape,
    /// The singular values of the whole.
    Whole,
    /// Those of the windows.
    Windows,
    /// Those of the whole and of the windows.
    Both,
}

impl Of {
    /// Whether the singular values of the whole are.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Whole | Self::Both)
    }

    /// Whether those of the windows are.
    pub fn is_windows(self) -> bool {
        matches!(self, Self::Windows | Self::Both)
    }
}

/// Some of the columns: they live as long as the program.
pub type Metrics = &'static [&'static Metric];

const PAPER: &str = "Hu, Goel, Killiakov & Yang 2025 (FARMS)";

/// Every column of `svdkit farms`, in the order of the report.
pub static FARMS: &[Metric] = &[
    Metric {
        column: Column {
            key: "farms_alpha",
            label: "FARMS α",
            format: Format::Real,
            quantity: Quantity::Matrix(Accuracy::Relative),
            doc: "exponent of the tail of the pooled eigenvalues of all windows",
            range: "(1, ∞)",
            source: PAPER,
        },
        of: Of::Windows,
        value: |pooled| mean(pooled, |tail| tail.alpha),
    },
    Metric {
        column: Column {
            key: "whole_alpha",
            label: "whole α",
            format: Format::Real,
            quantity: Quantity::Matrix(Accuracy::Relative),
            doc: "exponent of the tail of the whole matrix's eigenvalues, its start chosen by the same rule",
            range: "(1, ∞)",
            source: "by `--xmin ks` the same as `alpha`; by peak AlphaPruning's",
        },
        of: Of::Whole,
        value: |pooled| pooled.whole.map_or_else(Value::Missing, |tail| Value::real(tail.alpha)),
    },
    Metric {
        column: Column {
            key: "alpha_shift",
            label: "shift",
            format: Format::Real,
            quantity: Quantity::Matrix(Accuracy::Relative),
            doc: "farms_alpha − whole_alpha: what the shape of the matrix did to its exponent",
            range: "(−∞, ∞)",
            source: "definition",
        },
        of: Of::Both,
        value: |pooled| match (mean(pooled, |tail| tail.alpha), pooled.whole) {
            (Value::Real(farms), Ok(whole)) => Value::real(farms - whole.alpha),
            (missing @ Value::Missing(_), _) => missing,
            (_, Err(why)) => Value::Missing(why),
            (Value::Count(_), _) => Value::Missing(MissingReason::NotApplicable),
        },
    },
    Metric {
        column: Column {
            key: "farms_ks_distance",
            label: "KS D",
            format: Format::Real,
            quantity: Quantity::Matrix(Accuracy::Relative),
            doc: "Kolmogorov–Smirnov distance between the pooled tail and its fit: small is a good fit",
            range: "[0, 1]",
            source: PAPER,
        },
        of: Of::Windows,
        value: |pooled| mean(pooled, |tail| tail.distance),
    },
    Metric {
        column: Column {
            key: "farms_xmin",
            label: "λ min",
            format: Format::Real,
            quantity: Quantity::Matrix(Accuracy::Relative),
            doc: "the eigenvalue at which the pooled tail starts",
            range: "(0, ∞), squared units of the weights",
            source: PAPER,
        },
        of: Of::Windows,
        value: |pooled| single(pooled, |tail| Value::positive(tail.xmin)),
    },
    Metric {
        column: Column {
            key: "farms_tail_count",
            label: "tail",
            format: Format::Count,
            quantity: Quantity::Matrix(Accuracy::Exact),
            doc: "how many pooled eigenvalues the tail holds, its start included",
            range: "[2, windows · min(window_rows, window_cols)]",
            source: PAPER,
        },
        of: Of::Windows,
        value: |pooled| single(pooled, |tail| Value::count(tail.count)),
    },
    Metric {
        column: Column {
            key: "windows",
            label: "windows",
            format: Format::Count,
            quantity: Quantity::Matrix(Accuracy::Exact),
            doc: "how many windows were pooled",
            range: "[1, windows-per-dim²]",
            source: PAPER,
        },
        of: Of::Shape,
        value: |pooled| Value::count(pooled.windows),
    },
    Metric {
        column: Column {
            key: "window_rows",
            label: "rows",
            format: Format::Count,
            quantity: Quantity::Matrix(Accuracy::Exact),
            doc: "rows of a window",
            range: "[1, min(m, n, window)]",
            source: PAPER,
        },
        of: Of::Shape,
        value: |pooled| Value::count(pooled.shape.0),
    },
    Metric {
        column: Column {
            key: "window_cols",
            label: "cols",
            format: Format::Count,
            quantity: Quantity::Matrix(Accuracy::Exact),
            doc: "columns of a window: ⌊window_rows · aspect⌋",
            range: "[1, n]",
            source: PAPER,
        },
        of: Of::Shape,
        value: |pooled| Value::count(pooled.shape.1),
    },
    Metric {
        column: Column {
            key: "window_coverage",
            label: "covered",
            format: Format::Share,
            quantity: Quantity::Matrix(Accuracy::Relative),
            doc: "share of the entries that lie in at least one window",
            range: "(0, 1]",
            source: "definition",
        },
        of: Of::Shape,
        value: |pooled| Value::real(pooled.covered as f64 / pooled.entries as f64),
    },
];

/// The mean over all tails: of one, itself.
fn mean(pooled: &Pooled, value: impl Fn(&TailFit) -> f64) -> Value {
    match &pooled.tails {
        Ok(tails) => Value::real(tails.iter().map(value).sum::<f64>() / tails.len() as f64),
        Err(why) => Value::Missing(*why),
    }
}

/// A value of the tail where there is one; the mean of several starts or counts means nothing.
fn single(pooled: &Pooled, value: impl Fn(&TailFit) -> Value) -> Value {
    match pooled.tails.as_deref() {
        Ok([tail]) => value(tail),
        Ok(_) => Value::Missing(MissingReason::NotApplicable),
        Err(why) => Value::Missing(*why),
    }
}
