//! The Marchenko–Pastur bulk: how far pure noise of the matrix's own level would reach, and the values above it.
//!
//! For an m × n matrix of independent entries with variance v² the singular values fill `v(√n ± √m)`. The level v is not
//! known; it is taken from the median singular value, which a few strong directions do not move (Gavish & Donoho 2014):
//! `v = median(σ)/√(max(m,n)·μ_β)` with `μ_β` the median of the Marchenko–Pastur law of aspect ratio `β = min/max`.

use std::f64::consts::{FRAC_PI_2, PI};

use super::Metric;
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::Needs;
use crate::spectrum::Spectrum;

/// The fewest singular values whose median says anything about noise.
const FEWEST: usize = 8;

/// The noise level of a matrix and where noise ends, in the units of its spectrum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bulk {
    /// Standard deviation of the entries of the noise.
    pub noise: f64,
    /// The largest singular value that noise alone would have.
    pub edge: f64,
}

pub(super) const NOISE_SIGMA: Metric = Metric {
    column: Column {
        key: "noise_sigma",
        label: "noise",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "median(σ)/√(max(m, n)·μ): standard deviation of the entries of noise that has the matrix's median singular value, μ the median of the Marchenko–Pastur law",
        range: "(0, ∞), units of the weights",
        source: "Gavish & Donoho 2014, eq. 9",
    },
    needs: Needs::Values,
    value: |subject| subject.bulk(|spectrum, bulk| Value::real(spectrum.sized(bulk.noise))),
};

pub(super) const BULK_EDGE: Metric = Metric {
    column: Column {
        key: "bulk_edge",
        label: "edge",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "noise_sigma·(√m + √n): the largest singular value that noise of that level would have",
        range: "(0, ∞), units of the weights",
        source: "Marchenko & Pastur 1967; Gavish & Donoho 2014",
    },
    needs: Needs::Values,
    value: |subject| subject.bulk(|spectrum, bulk| Value::real(spectrum.sized(bulk.edge))),
};

pub(super) const SPIKE_COUNT: Metric = Metric {
    column: Column {
        key: "spike_count",
        label: "spikes",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "how many singular values exceed bulk_edge",
        range: "[0, min(m, n)/2]",
        source: "Marchenko & Pastur 1967; Baik, Ben Arous & Péché 2005",
    },
    needs: Needs::Values,
    value: |subject| {
        subject
            .bulk(|spectrum, bulk| Value::count(spectrum.values().iter().filter(|s| **s > bulk.edge).count()))
    },
};

/// The noise level by the median singular value.
///
/// # Errors
/// If there are too few values, or half of them are below the floor.
pub(super) fn fit(spectrum: &Spectrum) -> Result<Bulk, MissingReason> {
    let n = spectrum.values().len();
    if n < FEWEST {
        return Err(MissingReason::TooFewValues);
    }
    let values = spectrum.values();
    let median = f64::midpoint(values[(n - 1) / 2], values[n / 2]);
    if values[n / 2] <= spectrum.floor() {
        return Err(MissingReason::BelowFloor);
    }
    let (short, long) = (n as f64, spectrum.rows().max(spectrum.cols()) as f64);
    let noise = median / (long * median_of_law(short / long)).sqrt();
    Ok(Bulk { noise, edge: noise * (short.sqrt() + long.sqrt()) })
}

/// Where to cut the singular values of an m × n matrix whose noise has standard deviation 1, over √max(m, n), so that the
/// rest is the best estimate of the signal below the noise (Gavish & Donoho 2014, eq. 3): 4/√3 for a square matrix.
pub(super) fn optimal_cut(beta: f64) -> f64 {
    let root = (beta * beta + 14.0 * beta + 1.0).sqrt();
    (2.0 * (beta + 1.0) + 8.0 * beta / (beta + 1.0 + root)).sqrt()
}

/// The median of the Marchenko–Pastur law of aspect ratio `beta` in (0, 1], for unit variance and divided by the long side.
///
/// With `t = c + h sin θ`, `c = 1 + β`, `h = 2√β`, the density integrates to
/// `[cθ + h cos θ − 2(1−β) atan((c tan(θ/2) + h)/(1−β))] / 2πβ`; the median is found by halving θ.
pub(super) fn median_of_law(beta: f64) -> f64 {
    let (c, h, gap) = (1.0 + beta, 2.0 * beta.sqrt(), 1.0 - beta);
    let primitive = |theta: f64| {
        let arc = if gap > 0.0 { ((c * (theta / 2.0).tan() + h) / gap).atan() } else { 0.0 };
        c * theta + h * theta.cos() - 2.0 * gap * arc
    };
    let below = |theta: f64| (primitive(theta) - primitive(-FRAC_PI_2)) / (2.0 * PI * beta);
    let (mut low, mut high) = (-FRAC_PI_2, FRAC_PI_2);
    // Sixty halvings of π are below rounding.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if below(middle) < 0.5 {
            low = middle;
        } else {
            high = middle;
        }
    }
    c + h * low.sin()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spectrum::Route;

    #[test]
    fn the_median_of_the_law_is_the_published_one() {
        // To 1e-13 by adaptive quadrature of the density.
        let table = [
            (0.05, 0.983_308_303_392_397_4),
            (0.1, 0.966_565_147_402_822_3),
            (0.25, 0.916_004_070_686_612_2),
            (0.5, 0.830_465_881_581_364_3),
            (0.75, 0.742_948_487_007_497_8),
            (1.0, 0.652_775_941_633_570_4),
        ];
        for (beta, expected) in table {
            let found = median_of_law(beta);
            assert!((found - expected).abs() < 1e-11, "{beta}: {found}");
        }
    }

    #[test]
    fn the_optimal_cut_is_the_published_one() {
        // Known noise, and over the root of the median for unknown noise (their ω).
        let table = [
            (0.05, 1.506_607_410_723_397, 1.519_340_959_631_147_6),
            (0.1, 1.581_648_395_319_685_2, 1.608_771_557_394_749_2),
            (0.25, 1.758_029_377_139_715_3, 1.836_865_791_119_678),
            (0.5, 1.978_599_053_753_103_5, 2.171_185_348_453_827),
            (2.0 / 3.0, 2.100_204_106_578_220_7, 2.389_720_585_664_85),
            (0.75, 2.156_093_844_179_399_5, 2.501_429_736_383_893_8),
            (1.0, 4.0 / 3f64.sqrt(), 2.858_362_424_069_533),
        ];
        for (beta, known, unknown) in table {
            let found = (optimal_cut(beta), optimal_cut(beta) / median_of_law(beta).sqrt());
            assert!((found.0 - known).abs() < 1e-12 && (found.1 - unknown).abs() < 1e-9, "{beta}: {found:?}");
        }
    }

    #[test]
    fn half_of_the_quantiles_of_the_law_lie_below_its_edge_and_none_beyond() {
        // Values spread like the law itself, 64 × 128, variance 4: the level comes back.
        let beta = 0.5;
        let values: Vec<f64> = vec![2.0 * (128.0 * median_of_law(beta)).sqrt(); 64];
        let bulk =
            fit(&Spectrum::new(values, 64, 128, Route::Direct).expect("sound")).expect("enough values");
        assert!(
            (bulk.noise - 2.0).abs() < 1e-12 && (bulk.edge - 2.0 * (8.0 + 128f64.sqrt())).abs() < 1e-11,
            "{bulk:?}"
        );
    }

    #[test]
    fn a_mostly_empty_spectrum_has_no_noise_level() {
        let mut values = vec![0.0; 10];
        values[0] = 1.0;
        assert_eq!(
            fit(&Spectrum::new(values, 10, 10, Route::Direct).expect("sound")),
            Err(MissingReason::BelowFloor)
        );
        assert_eq!(
            fit(&Spectrum::new(vec![1.0], 1, 10, Route::Direct).expect("sound")),
            Err(MissingReason::TooFewValues)
        );
    }
}
