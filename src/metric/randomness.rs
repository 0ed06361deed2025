//! How far a weight is from independent random numbers, and lines of it that are zero or repeated. All of it comes from
//! the one pass over the entries and the singular values; rows and columns of zeros are left out of every test.
//!
//! Below, m × n is what is left, k = min(m, n), N = max(m, n), s² the mean of w², λ = σ².

use super::{Metric, Subject, marchenko_pastur};
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::{Needs, Oddities, Texture};

pub(super) const ZERO_COLUMNS: Metric = Metric {
    column: Column {
        key: "zero_columns",
        label: "zero cols",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "how many columns (inputs) hold nothing but zeros",
        range: "[0, n]",
        source: "definition",
    },
    needs: Needs::Entries,
    value: |subject| subject.oddities(|oddities| Value::count(oddities.zero_columns.len())),
};

pub(super) const DUPLICATE_ROWS: Metric = Metric {
    column: Column {
        key: "duplicate_rows",
        label: "same rows",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "how many rows equal an earlier row that is not zero, entry by entry, by a 64-bit hash and two sums; 0 where rows have fewer than 4 entries",
        range: "[0, m]",
        source: "definition",
    },
    needs: Needs::Entries,
    value: |subject| subject.oddities(|oddities| Value::count(oddities.duplicate_rows.len())),
};

pub(super) const DUPLICATE_COLUMNS: Metric = Metric {
    column: Column {
        key: "duplicate_columns",
        label: "same cols",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "how many columns equal an earlier column that is not zero, as duplicate_rows counts rows",
        range: "[0, n]",
        source: "definition",
    },
    needs: Needs::Entries,
    value: |subject| subject.oddities(|oddities| Value::count(oddities.duplicate_columns.len())),
};

pub(super) const KURTOSIS: Metric = Metric {
    column: Column {
        key: "kurtosis",
        label: "kurtosis",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "mean of w⁴ over s⁴, s² the mean of w², all-zero rows and columns left out: 3 for a normal distribution, 1.8 for a uniform one",
        range: "[1, m·n]",
        source: "Pearson 1905",
    },
    needs: Needs::Entries,
    value: |subject| subject.texture(|texture| Value::within(texture.kurtosis, 1.0, f64::MAX)),
};

pub(super) const IID_Z: Metric = Metric {
    column: Column {
        key: "iid_z",
        label: "uneven",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "the largest of five |z|: how far energies and means of rows and columns differ, and how far the mean of all entries is from 0, in standard deviations of independent entries of the same kurtosis",
        range: "[0, ∞)",
        source: "definition; docs/findings.md",
    },
    needs: Needs::Entries,
    value: |subject| subject.texture(|texture| Value::real(texture.unevenness())),
};

pub(super) const LONE_ENTRY: Metric = Metric {
    column: Column {
        key: "lone_entry",
        label: "lone entry",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "max |w|/(s·(m·n)^¼): from 1 on, one entry makes a singular direction of its own in noise of the matrix's size",
        range: "(0, ∞)",
        source: "Benaych-Georges & Nadakuditi 2012",
    },
    needs: Needs::Entries,
    value: |subject| {
        subject.texture(|texture| {
            let entries = (texture.rows * texture.columns) as f64;
            Value::real(subject.entries.max_abs() / (texture.mean_square.sqrt() * entries.powf(0.25)))
        })
    },
};

pub(super) const INIT_BOUND: Metric = Metric {
    column: Column {
        key: "init_bound",
        label: "max·√in",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "max |w|·√(columns): 1 where the largest entry is the bound of a uniform initialization by inputs",
        range: "[0, ∞)",
        source: "He et al. 2015; the default of torch.nn.Linear",
    },
    needs: Needs::Entries,
    value: |subject| {
        subject.texture(|_| Value::real(subject.entries.max_abs() * (subject.layer.cols as f64).sqrt()))
    },
};

pub(super) const INIT_BOUND_XAVIER: Metric = Metric {
    column: Column {
        key: "init_bound_xavier",
        label: "max/Xavier",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "max |w|/√(6/(rows + columns)): 1 where the largest entry is the bound of a Xavier-uniform initialization",
        range: "[0, ∞)",
        source: "Glorot & Bengio 2010, eq. 16",
    },
    needs: Needs::Entries,
    value: |subject| {
        subject.texture(|_| {
            let sides = (subject.layer.rows + subject.layer.cols) as f64;
            Value::real(subject.entries.max_abs() / (6.0 / sides).sqrt())
        })
    },
};

pub(super) const MP_DISTANCE: Metric = Metric {
    column: Column {
        key: "mp_distance",
        label: "MP dist",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "largest distance between the distribution of λ/(N·s²) and the Marchenko–Pastur law of ratio k/N: about 1/k·√(ln k) for random numbers",
        range: "[0, 1]",
        source: "Marchenko & Pastur 1967; Kolmogorov 1933",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.scaled_spectrum(|texture, values| {
            let (short, long) =
                (texture.rows.min(texture.columns) as f64, texture.rows.max(texture.columns) as f64);
            let scale = long * texture.mean_square;
            let eigenvalues = values.iter().map(|s| s * s / scale);
            Value::within(marchenko_pastur::distance(eigenvalues, short / long), 0.0, 1.0)
        })
    },
};

pub(super) const MP_EDGE_Z: Metric = Metric {
    column: Column {
        key: "mp_edge_z",
        label: "edge z",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "(λ₁/s² − (a+b)²)/((a+b)·(1/a+1/b)^⅓), a = √(m−½), b = √(n−½): how far σ₁ lies beyond the edge of random numbers, in Tracy–Widom units",
        range: "(−∞, ∞)",
        source: "Johnstone 2001; Ma 2012",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.scaled_spectrum(|texture, values| {
            let side = |n: usize| (n as f64 - 0.5).sqrt();
            let (a, b) = (side(texture.rows), side(texture.columns));
            let first = values.first().map_or(0.0, |s| s * s / texture.mean_square);
            let spread = (a + b) * (1.0 / a + 1.0 / b).cbrt();
            Value::real((first - (a + b).powi(2)) / spread)
        })
    },
};

impl Subject<'_> {
    /// A value of how even the entries are.
    fn texture(&self, value: impl FnOnce(&Texture) -> Value) -> Value {
        let Some(lines) = self.entries.lines() else {
            return Value::Missing(MissingReason::NotApplicable);
        };
        if self.entries.nonfinite_count() > 0 {
            return Value::Missing(MissingReason::NonFinite);
        }
        match &lines.texture {
            Some(texture) => value(texture),
            None if self.entries.max_abs() == 0.0 => Value::Missing(MissingReason::AllZero),
            None => Value::Missing(MissingReason::Overflow),
        }
    }

    /// The same with the singular values that rows and columns of zeros leave.
    fn scaled_spectrum(&self, value: impl FnOnce(&Texture, &[f64]) -> Value) -> Value {
        self.nonzero(|spectrum| {
            self.texture(|texture| {
                if !spectrum.fits() {
                    return Value::Missing(MissingReason::Overflow);
                }
                let left = texture.rows.min(texture.columns).min(spectrum.values().len());
                value(texture, &spectrum.values()[..left])
            })
        })
    }

    /// A value of lines that are zero or repeated.
    fn oddities(&self, value: impl FnOnce(&Oddities) -> Value) -> Value {
        let Some(lines) = self.entries.lines() else {
            return Value::Missing(MissingReason::NotApplicable);
        };
        value(&lines.oddities)
    }
}
