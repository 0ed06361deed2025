//! Sizes of a matrix: norms, extreme singular values and their ratio.

use super::Metric;
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::Needs;

/// The column `spectral_norm`.
pub const SPECTRAL_NORM: Metric = Metric {
    column: Column {
        key: "spectral_norm",
        label: "σ₁",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "σ₁: the most by which the matrix stretches a vector",
        range: "[0, ∞), units of the weights",
        source: "Golub & Van Loan 2013, 2.3",
    },
    needs: Needs::Largest,
    value: |subject| subject.largest(Value::real),
};

pub(super) const SCALED_SPECTRAL_NORM: Metric = Metric {
    column: Column {
        key: "scaled_spectral_norm",
        label: "σ₁√(in/out)",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "σ₁·√(n/m): by how much the matrix stretches the root mean square of a vector at most",
        range: "[0, ∞), units of the weights",
        source: "Yang, Simon & Bernstein 2023, arXiv 2310.17813",
    },
    needs: Needs::Largest,
    value: |subject| {
        let layer = subject.layer;
        let ratio = (layer.cols as f64 / layer.rows as f64).sqrt();
        subject.largest(|sigma| Value::real(sigma * ratio))
    },
};

/// `√Σσ²`.
pub const FROBENIUS_NORM: Metric = Metric {
    column: Column {
        key: "frobenius_norm",
        label: "‖W‖F",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "√Σσ²: the root of the sum of all squared entries",
        range: "[σ₁, √min(m, n)·σ₁], units of the weights",
        source: "Golub & Van Loan 2013, 2.3",
    },
    needs: Needs::Entries,
    value: |subject| match subject.energy() {
        Ok(energy) => Value::real(energy.sqrt()),
        Err(MissingReason::NonFinite) => Value::Missing(MissingReason::NonFinite),
        Err(_) => subject.measure(|spectrum| Value::real(spectrum.sized(spectrum.norm()))),
    },
};

pub(super) const NUCLEAR_NORM: Metric = Metric {
    column: Column {
        key: "nuclear_norm",
        label: "‖W‖*",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "Σσ: the convex stand-in for rank",
        range: "[σ₁, √min(m, n)·‖W‖F], units of the weights",
        source: "Fazel 2002",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.measure(|spectrum| {
            // A thousand values that are rounding add up to something that is not there.
            Value::real(spectrum.sized(spectrum.resolved().iter().sum()))
        })
    },
};

pub(super) const SMALLEST_SINGULAR_VALUE: Metric = Metric {
    column: Column {
        key: "smallest_singular_value",
        label: "σ min",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Floor),
        doc: "the last of the min(m, n) singular values; missing where it lies below what the decomposition resolves",
        range: "[0, σ₁], units of the weights",
        source: "Golub & Van Loan 2013, 2.4",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.measure(|spectrum| match spectrum.values().last() {
            _ if spectrum.largest() == 0.0 => Value::Real(0.0),
            Some(last) if *last > spectrum.floor() => Value::real(spectrum.sized(*last)),
            _ => Value::Missing(subject.unresolved()),
        })
    },
};

pub(super) const CONDITION_NUMBER: Metric = Metric {
    column: Column {
        key: "condition_number",
        label: "condition",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::OverFloor),
        doc: "σ₁ over the smallest singular value; missing where that lies below what the decomposition resolves",
        range: "[1, ∞)",
        source: "Golub & Van Loan 2013, 2.6",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.measure(|spectrum| match spectrum.values().last() {
            _ if spectrum.largest() == 0.0 => Value::Missing(MissingReason::AllZero),
            Some(last) if *last > spectrum.floor() => Value::real(spectrum.largest() / last),
            _ => Value::Missing(subject.unresolved()),
        })
    },
};

/// The column `accuracy_floor`.
pub const ACCURACY_FLOOR: Metric = Metric {
    column: Column {
        key: "accuracy_floor",
        label: "floor",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "the smallest singular value that the decomposition resolves; what lies below is rounding",
        range: "[0, ∞), units of the weights",
        source: "docs/numerics.md",
    },
    needs: Needs::Values,
    value: |subject| subject.known(|spectrum| Value::real(spectrum.sized(spectrum.floor()))),
};

pub(super) const BELOW_FLOOR_COUNT: Metric = Metric {
    column: Column {
        key: "below_floor_count",
        label: "below floor",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "how many singular values do not rise above the floor: the last ones of a saved spectrum",
        range: "[0, min(m, n)]",
        source: "docs/numerics.md",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.known(|spectrum| Value::count(spectrum.values().len() - spectrum.resolved().len()))
    },
};

pub(super) const MAX_EIGENVALUE: Metric = Metric {
    column: Column {
        key: "max_eigenvalue",
        label: "λ max",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "σ₁²: the largest eigenvalue of WᵀW, not divided by anything",
        range: "[0, ∞), squared units of the weights",
        source: "WeightWatcher calls this spectral_norm",
    },
    needs: Needs::Largest,
    value: |subject| {
        subject.largest(|first| match first {
            0.0 => Value::Real(0.0),
            first => Value::positive(first.powi(2)),
        })
    },
};

/// The column `nonfinite_count`.
pub const NONFINITE_COUNT: Metric = Metric {
    column: Column {
        key: "nonfinite_count",
        label: "NaN/Inf",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "how many entries are NaN or infinite; a weight with any has no spectrum",
        range: "[0, m·n]",
        source: "IEEE 754",
    },
    needs: Needs::Entries,
    value: |subject| Value::count(subject.entries.nonfinite_count()),
};

pub(super) const ZERO_ROWS: Metric = Metric {
    column: Column {
        key: "zero_rows",
        label: "zero rows",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "how many rows (outputs) hold nothing but zeros: dead or never trained",
        range: "[0, m]",
        source: "definition",
    },
    needs: Needs::Entries,
    value: |subject| Value::count(subject.entries.zero_rows()),
};

pub(super) const MAX_ABS: Metric = Metric {
    column: Column {
        key: "max_abs",
        label: "max |w|",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "the largest magnitude among the finite entries",
        range: "[0, ∞), units of the weights",
        source: "definition",
    },
    needs: Needs::Entries,
    value: |subject| match subject.layer.rank {
        // Its entries were never computed, but for those of a product whose largest is that of two matrices.
        Some(_) if subject.entries.largest().is_none() => Value::Missing(MissingReason::NotApplicable),
        _ => Value::real(subject.entries.max_abs()),
    },
};

#[cfg(test)]
mod tests {
    use super::super::tests::{check, missing};
    use super::*;

    #[test]
    fn norms_of_a_known_spectrum() {
        check(&SPECTRAL_NORM, &[4.0, 3.0], 4.0);
        check(&FROBENIUS_NORM, &[4.0, 3.0], 5.0);
        check(&NUCLEAR_NORM, &[4.0, 3.0], 7.0);
        check(&SMALLEST_SINGULAR_VALUE, &[4.0, 3.0], 3.0);
        check(&CONDITION_NUMBER, &[4.0, 2.0], 2.0);
        check(&MAX_EIGENVALUE, &[4.0, 2.0], 16.0);
    }

    #[test]
    fn squares_of_extreme_weights_do_not_overflow() {
        check(&FROBENIUS_NORM, &[4e200, 3e200], 5e200);
        check(&FROBENIUS_NORM, &[4e-200, 3e-200], 5e-200);
    }

    #[test]
    fn what_the_route_cannot_resolve_is_missing() {
        missing(&CONDITION_NUMBER, &[1.0, 0.0], MissingReason::BelowExactFloor);
        missing(&SMALLEST_SINGULAR_VALUE, &[1.0, 1e-17], MissingReason::BelowExactFloor);
        check(&BELOW_FLOOR_COUNT, &[1.0, 0.5, 1e-17, 0.0], 2.0);
        check(&ACCURACY_FLOOR, &[2.0, 0.5, 1e-17, 0.0], 8.0 * f64::EPSILON);
        missing(&CONDITION_NUMBER, &[0.0, 0.0], MissingReason::AllZero);
        check(&SPECTRAL_NORM, &[0.0, 0.0], 0.0);
        check(&FROBENIUS_NORM, &[0.0, 0.0], 0.0);
    }
}
