//! Where a power-law tail may start: the rules of the peers beside the usual one.
//!
//! `Ks` is Clauset, Shalizi and Newman's and what `spectrum` uses. The others are those of the papers that allocate by
//! layer: `Median` fits the upper half (TempBalance), `Peak` searches for the start no higher than 1.5 times
//! the fullest bin of a histogram of log₁₀ λ (AlphaPruning, FARMS). Their code also intends a lower limit of 0.95
//! times that bin, but compares λ with the logarithm of the bound, so that nearly every small λ passes. `Peak` repeats
//! this, for numbers that compare with theirs; `PeakFixed` does what was intended.

use std::f64::consts::LOG10_2;

use crate::report::MissingReason;
use crate::spectrum::scaled;

use super::tail::{self, TailFit};

/// Which eigenvalues a tail may start at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartRule {
    /// Any: the one of smallest Kolmogorov–Smirnov distance.
    Ks,
    /// The median.
    Median,
    /// From log₁₀ of 0.95 times the peak to 1.5 times the peak: the one of smallest distance.
    Peak,
    /// From 0.95 to 1.5 times the peak: the one of smallest distance.
    PeakFixed,
}

/// Bins of the histogram.
const BINS: usize = 100;
/// Below and above the peak, as shares of it.
const BELOW: f64 = 0.95;
const ABOVE: f64 = 1.5;

/// The tail of a sample of positive values, ascending, by `rule`; the values are in units of `2^exponent`.
///
/// # Errors
/// [`MissingReason::TooFewValues`] below two values, [`MissingReason::NoTail`] where no value that the rule allows has an exponent.
pub fn fit_by(sample: &[f64], exponent: i32, rule: StartRule) -> Result<TailFit, MissingReason> {
    let n = sample.len();
    match rule {
        StartRule::Ks => tail::fit(sample),
        StartRule::Median => tail::fit_within(sample, n / 2..n / 2 + 1),
        StartRule::Peak => {
            let unit = f64::from(exponent) * LOG10_2;
            between(sample, |peak| scaled((BELOW * peak).log10() + unit, -exponent))
        }
        StartRule::PeakFixed => between(sample, |peak| BELOW * peak),
    }
}

/// The best start from `lowest` of the peak on.
fn between(sample: &[f64], lowest: impl Fn(f64) -> f64) -> Result<TailFit, MissingReason> {
    let peak = peak(sample).ok_or(MissingReason::TooFewValues)?;
    let (low, high) = (lowest(peak), ABOVE * peak);
    let first = sample.partition_point(|x| *x < low);
    let end = sample.partition_point(|x| *x <= high);
    if first < end { tail::fit_within(sample, first..end) } else { Err(MissingReason::NoTail) }
}

/// The lower end of the fullest of equal bins of log₁₀ between the smallest and the largest value; the first of equals.
fn peak(sample: &[f64]) -> Option<f64> {
    let (low, high) = (sample.first()?.log10(), sample.last()?.log10());
    let mut counts = [0usize; BINS];
    for x in sample {
        let bin = (x.log10() - low) / (high - low) * BINS as f64;
        counts[(bin as usize).min(BINS - 1)] += 1;
    }
    let fullest = (0..BINS).rev().max_by_key(|bin| counts[*bin])?;
    Some(10f64.powf(low + (high - low) * fullest as f64 / BINS as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Matrix;
    use crate::solver::{Precision, singular_values};

    #[track_caller]
    fn check(sample: &[f64], rule: StartRule, xmin: f64) {
        let fit = fit_by(sample, 0, rule).expect("a tail");
        assert!((fit.xmin - xmin).abs() < 1e-12, "{rule:?}: {fit:?}");
    }

    /// The golden matrix, 48 × 32 of seed 1: the peers' fits from the N/1.5-th, the N/2-th and the N/3-th eigenvalue, and
    /// the peak of its histogram.
    #[test]
    fn fixed_starts_and_the_peak_of_the_golden_matrix_are_the_peers() {
        let mut state = 1u32;
        let entry = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.5
        };
        let entries: Vec<f64> = (0..48 * 32).map(entry).collect();
        let matrix = Matrix::from_f64(48, 32, &entries).expect("sizes agree");
        let spectrum = singular_values(&matrix, Precision::Exact).expect("converges");
        let sample = super::super::eigenvalues(&spectrum).values;
        let alpha = |start: usize| tail::fit_within(&sample, start..start + 1).expect("a tail").alpha;
        let miss = [
            alpha(21) - 3.596_251_098_567_786,
            alpha(16) - 2.554_405_641_049_611,
            alpha(10) - 1.923_284_377_694_634,
            peak(&sample).expect("values") - 0.138_934_712_054_799_68,
        ];
        assert!(miss.iter().all(|miss| miss.abs() < 1e-12), "{miss:?}");
    }

    #[test]
    fn each_rule_looks_where_it_says() {
        // Forty values crowd just above 2 and a Pareto tail of exponent 3 starts at 10.
        let crowd = (0..40).map(|i| 2.0 + 0.001 * f64::from(i));
        let tail = (0..40).map(|i| 10.0 * (1.0 - (f64::from(i) + 0.5) / 40.0).powf(-0.5));
        let sample: Vec<f64> = std::iter::once(0.1).chain(crowd).chain(tail).collect();
        check(&sample, StartRule::Ks, sample[41]);
        check(&sample, StartRule::Median, sample[40]);
        // log₁₀(0.95·2) is 0.28, so all but the first value may start a tail; 1.9 was intended.
        let (peak, fixed) = (fit_by(&sample, 0, StartRule::Peak), fit_by(&sample, 0, StartRule::PeakFixed));
        assert_eq!(peak, fixed);
        assert!(peak.expect("a tail").xmin < 2.04);
    }

    #[test]
    fn the_lower_bound_of_the_peak_rule_is_a_logarithm_by_mistake() {
        // A tail from 1 on, of which all between 2 and 3 is moved to 2: the peak, and no start of a tail.
        let tail = (0..600).map(|i| (1.0 - (f64::from(i) + 0.5) / 600.0).powf(-0.5));
        let sample: Vec<f64> =
            tail.map(|x| if (2.0..3.0).contains(&x) { 2.0 + 1e-4 * (x - 2.0) } else { x }).collect();
        let (peak, fixed) = (fit_by(&sample, 0, StartRule::Peak), fit_by(&sample, 0, StartRule::PeakFixed));
        let (peak, fixed) = (peak.expect("a tail"), fixed.expect("a tail"));
        assert!(peak.xmin < 1.1 && fixed.xmin >= 1.9, "{peak:?} {fixed:?}");
    }

    #[test]
    fn a_scaled_sample_has_the_same_tail_by_every_rule_but_the_mistaken_one() {
        let sample: Vec<f64> =
            (0..300).map(|i| 0.3 * (1.0 - (f64::from(i) + 0.5) / 300.0).powf(-0.7)).collect();
        let scaled: Vec<f64> = sample.iter().map(|x| x * 64.0).collect();
        for rule in [StartRule::Ks, StartRule::Median, StartRule::PeakFixed] {
            let (plain, scaled) = (fit_by(&sample, 0, rule), fit_by(&scaled, 0, rule));
            let (plain, scaled) = (plain.expect("a tail"), scaled.expect("a tail"));
            assert!((plain.alpha - scaled.alpha).abs() < 1e-9, "{rule:?}: {plain:?} {scaled:?}");
        }
    }

    #[test]
    fn what_has_no_tail_says_so_by_every_rule() {
        for rule in [StartRule::Ks, StartRule::Median, StartRule::Peak, StartRule::PeakFixed] {
            assert_eq!(fit_by(&[], 0, rule), Err(MissingReason::TooFewValues), "{rule:?}");
            assert_eq!(fit_by(&[1.0], 0, rule), Err(MissingReason::TooFewValues), "{rule:?}");
            assert!(fit_by(&[2.0; 30], 0, rule).is_err(), "{rule:?}");
        }
    }
}
