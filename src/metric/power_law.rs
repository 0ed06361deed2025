//! The columns of the power-law tail of the eigenvalue density. How the tail is found is in `tail`.

use std::f64::consts::LOG10_2;

use super::Metric;
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::Needs;

/// A tail of fewer values carries the flag `low_n_tail`.
pub const LOW_N: usize = 50;

pub(super) const ALPHA: Metric = Metric {
    column: Column {
        key: "alpha",
        label: "α",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "maximum-likelihood exponent of the tail of the eigenvalues λ = σ², ρ(λ) ∝ λ^−α",
        range: "(1, ∞)",
        source: "Clauset, Shalizi & Newman 2009; Martin & Mahoney 2021",
    },
    needs: Needs::Values,
    value: |subject| subject.tail(|fit| Value::real(fit.alpha)),
};

pub(super) const ALPHA_SIGMA: Metric = Metric {
    column: Column {
        key: "alpha_sigma",
        label: "± α",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "(α − 1)/√tail_count: standard error of alpha",
        range: "(0, ∞)",
        source: "Clauset, Shalizi & Newman 2009, eq. 3.2",
    },
    needs: Needs::Values,
    value: |subject| subject.tail(|fit| Value::real(fit.sigma())),
};

pub(super) const XMIN: Metric = Metric {
    column: Column {
        key: "xmin",
        label: "λ min",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "the eigenvalue at which the fitted tail starts, chosen by the smallest KS distance over all candidates",
        range: "(0, max_eigenvalue), squared units of the weights",
        source: "Clauset, Shalizi & Newman 2009, 3.3",
    },
    needs: Needs::Values,
    value: |subject| subject.tail(|fit| Value::positive(fit.xmin)),
};

pub(super) const TAIL_COUNT: Metric = Metric {
    column: Column {
        key: "tail_count",
        label: "tail",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "how many eigenvalues the fitted tail holds, its start included",
        range: "[2, min(m, n)]",
        source: "Clauset, Shalizi & Newman 2009",
    },
    needs: Needs::Values,
    value: |subject| subject.tail(|fit| Value::count(fit.count)),
};

pub(super) const KS_DISTANCE: Metric = Metric {
    column: Column {
        key: "ks_distance",
        label: "KS D",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "Kolmogorov–Smirnov distance between the tail and its fit: small is a good fit",
        range: "[0, 1]",
        source: "Clauset, Shalizi & Newman 2009, 3.3",
    },
    needs: Needs::Values,
    value: |subject| subject.tail(|fit| Value::real(fit.distance)),
};

pub(super) const ALPHA_WEIGHTED: Metric = Metric {
    column: Column {
        key: "alpha_weighted",
        label: "α·log λ",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "α·log₁₀(max_eigenvalue): the exponent weighed by the matrix's scale",
        range: "(−∞, ∞)",
        source: "Martin & Mahoney 2021 (there α̂)",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.tail(|fit| {
            subject.measure(|spectrum| {
                let exponent = f64::from(spectrum.exponent()) * LOG10_2;
                Value::real(fit.alpha * 2.0 * (spectrum.largest().log10() + exponent))
            })
        })
    },
};

pub(super) const ALPHA_HILL: Metric = Metric {
    column: Column {
        key: "alpha_hill",
        label: "α Hill",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "maximum-likelihood exponent of the upper half of the eigenvalues: no search for a start, so less noise and more bias than alpha",
        range: "(1, ∞)",
        source: "Hill 1975; the median rule of Zhou et al. 2023 (TempBalance)",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.eigenvalues(|ascending| {
            let logs: Vec<f64> = ascending.iter().map(|x| x.ln()).collect();
            let start = logs.len() / 2;
            let sum: f64 = logs[start..].iter().map(|x| x - logs[start]).sum();
            if sum > 0.0 {
                Value::real(1.0 + (logs.len() - start) as f64 / sum)
            } else {
                Value::Missing(MissingReason::NoTail)
            }
        })
    },
};
