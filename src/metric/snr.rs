//! Spectrum's ratio of signal to noise, by which that package chooses what to train.

use super::Metric;
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::Needs;
use crate::spectrum::{magnitude, scaled};

/// The column `spectrum_snr`.
pub const SPECTRUM_SNR: Metric = Metric {
    column: Column {
        key: "spectrum_snr",
        label: "SNR",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "Σσ above a line over Σσ below it, divided by σ₁; the line is IQR(σ)/1.349·(1 + √β), β = min/max of m and n",
        range: "[0, ∞), 1/units of the weights",
        source: "Hartford et al. 2024 (Spectrum), spectrum.py",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.nonzero(|spectrum| {
            let values = spectrum.values();
            let (short, long) = (values.len() as f64, spectrum.rows().max(spectrum.cols()) as f64);
            let spread = (quantile(values, 0.75) - quantile(values, 0.25)) / NORMAL_IQR;
            let line = spread * (1.0 + (short / long).sqrt());
            let split = values.partition_point(|s| *s > line);
            // Over a power of two near the largest, so that no sum overflows and no bit changes.
            let unit = magnitude(spectrum.largest());
            let sum = |values: &mut dyn Iterator<Item = &f64>| values.map(|s| scaled(*s, -unit)).sum::<f64>();
            let signal = sum(&mut values[..split].iter());
            // A sum of values that are rounding would make any ratio.
            let noise = sum(&mut values[split..].iter().filter(|s| **s > spectrum.floor()));
            if noise > 0.0 {
                Value::real(scaled(signal / noise / spectrum.largest(), -spectrum.exponent()))
            } else {
                Value::Missing(MissingReason::NoNoise)
            }
        })
    },
};

/// The interquartile range of the standard normal law, as Spectrum rounds it.
const NORMAL_IQR: f64 = 1.349;

/// The value below which a share `p` of descending `values` lies, between neighbors in a straight line.
fn quantile(values: &[f64], p: f64) -> f64 {
    let position = (values.len() - 1) as f64 * (1.0 - p);
    let (low, high) = (position.floor() as usize, position.ceil() as usize);
    values[low] + (values[high] - values[low]) * (position - position.floor())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, missing};
    use super::*;

    #[test]
    fn quantiles_lie_on_straight_lines_between_values() {
        for (p, expected) in [(0.0, 3.0), (0.25, 4.0), (0.5, 5.0), (1.0, 9.0)] {
            assert!((quantile(&[9.0, 5.0, 3.0], p) - expected).abs() < 1e-15, "{p}");
        }
        assert!((quantile(&[7.0], 0.25) - 7.0).abs() < 1e-15);
    }

    #[test]
    fn a_ratio_by_hand() {
        // Quartiles 4 and 2: the line is 2/1.349·2 = 2.965.
        check(&SPECTRUM_SNR, &[5.0, 4.0, 3.0, 2.0, 1.0], 12.0 / 3.0 / 5.0);
    }

    #[test]
    fn without_noise_there_is_no_ratio() {
        missing(&SPECTRUM_SNR, &[2.0, 2.0], MissingReason::NoNoise);
        missing(&SPECTRUM_SNR, &[5.0, 1e-18, 1e-19], MissingReason::NoNoise);
        missing(&SPECTRUM_SNR, &[0.0], MissingReason::AllZero);
    }
}
