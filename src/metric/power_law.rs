//! The power-law tail of the eigenvalue density: exponent by maximum likelihood, start by the smallest KS distance.
//!
//! Every eigenvalue but the last is a candidate start `xₘ`. For a tail of `n` values the exponent is
//! `α = 1 + n / Σ ln(xⱼ/xₘ)` and the distance `max |1 − (xⱼ/xₘ)^(1−α) − k/n|` over its values, `k` being how many lie
//! below (Clauset, Shalizi & Newman 2009). The first candidate of smallest distance wins. There is no correction for
//! few values; short tails are flagged instead.

use std::cell::Cell;

use super::Metric;
use crate::report::{Column, Format, Value, Why};

/// A tail of fewer values carries the flag `low_n_tail`.
pub(super) const LOW_N: usize = 50;

/// The fitted tail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TailFit {
    /// The exponent.
    pub alpha: f64,
    /// The eigenvalue at which the tail starts.
    pub xmin: f64,
    /// How many eigenvalues it holds.
    pub count: usize,
    /// Its Kolmogorov–Smirnov distance.
    pub distance: f64,
}

impl TailFit {
    /// Standard error of the exponent.
    pub fn sigma(&self) -> f64 {
        (self.alpha - 1.0) / (self.count as f64).sqrt()
    }
}

pub(super) const ALPHA: Metric = Metric {
    column: Column {
        key: "alpha",
        label: "α",
        format: Format::Real,
        doc: "maximum-likelihood exponent of the tail of the eigenvalues λ = σ², ρ(λ) ∝ λ^−α",
        range: "(1, ∞)",
        source: "Clauset, Shalizi & Newman 2009; Martin & Mahoney 2021",
    },
    value: |subject| subject.tail(|fit| Value::real(fit.alpha)),
};

pub(super) const ALPHA_SIGMA: Metric = Metric {
    column: Column {
        key: "alpha_sigma",
        label: "± α",
        format: Format::Real,
        doc: "(α − 1)/√tail_count: standard error of alpha",
        range: "(0, ∞)",
        source: "Clauset, Shalizi & Newman 2009, eq. 3.2",
    },
    value: |subject| subject.tail(|fit| Value::real(fit.sigma())),
};

pub(super) const XMIN: Metric = Metric {
    column: Column {
        key: "xmin",
        label: "λ min",
        format: Format::Real,
        doc: "the eigenvalue at which the fitted tail starts, chosen by the smallest KS distance over all candidates",
        range: "(0, max_eigenvalue), squared units of the weights",
        source: "Clauset, Shalizi & Newman 2009, 3.3",
    },
    value: |subject| subject.tail(|fit| Value::real(fit.xmin)),
};

pub(super) const TAIL_COUNT: Metric = Metric {
    column: Column {
        key: "tail_count",
        label: "tail",
        format: Format::Count,
        doc: "how many eigenvalues the fitted tail holds, its start included",
        range: "[2, min(m, n)]",
        source: "Clauset, Shalizi & Newman 2009",
    },
    value: |subject| subject.tail(|fit| Value::count(fit.count)),
};

pub(super) const KS_DISTANCE: Metric = Metric {
    column: Column {
        key: "ks_distance",
        label: "KS D",
        format: Format::Real,
        doc: "Kolmogorov–Smirnov distance between the tail and its fit: small is a good fit",
        range: "[0, 1]",
        source: "Clauset, Shalizi & Newman 2009, 3.3",
    },
    value: |subject| subject.tail(|fit| Value::real(fit.distance)),
};

pub(super) const ALPHA_WEIGHTED: Metric = Metric {
    column: Column {
        key: "alpha_weighted",
        label: "α·log λ",
        format: Format::Real,
        doc: "α·log₁₀(max_eigenvalue): the exponent weighed by the matrix's scale",
        range: "(−∞, ∞)",
        source: "Martin & Mahoney 2021 (there α̂)",
    },
    value: |subject| {
        let largest = subject.spectrum.map_or(0.0, |spectrum| spectrum.largest());
        subject.tail(|fit| Value::real(fit.alpha * 2.0 * largest.log10()))
    },
};

pub(super) const ALPHA_HILL: Metric = Metric {
    column: Column {
        key: "alpha_hill",
        label: "α Hill",
        format: Format::Real,
        doc: "maximum-likelihood exponent of the upper half of the eigenvalues: no search for a start, so less noise and more bias than alpha",
        range: "(1, ∞)",
        source: "Hill 1975; the median rule of Zhou et al. 2023 (TempBalance)",
    },
    value: |subject| {
        subject.eigenvalues(|ascending| {
            let logs: Vec<f64> = ascending.iter().map(|x| x.ln()).collect();
            let start = logs.len() / 2;
            let sum: f64 = logs[start..].iter().map(|x| x - logs[start]).sum();
            if sum > 0.0 {
                Value::real(1.0 + (logs.len() - start) as f64 / sum)
            } else {
                Value::Missing(Why::NoTail)
            }
        })
    },
};

/// The tail of the positive, ascending `eigenvalues`.
///
/// # Errors
/// [`Why::TooFewValues`] below two values, [`Why::NoTail`] where all candidates' values are equal.
pub fn fit(eigenvalues: &[f64]) -> Result<TailFit, Why> {
    let scan = Scan::new(eigenvalues);
    let n = eigenvalues.len();
    if n < 2 {
        return Err(Why::TooFewValues);
    }
    // A coarse pass finds a good candidate early, so that the fine pass can abandon almost all others at once.
    let stride = (n / 32).max(1);
    let coarse = (0..n - 1).step_by(stride);
    let fine = (0..n - 1).filter(|start| !start.is_multiple_of(stride));
    let mut best: Option<Candidate> = None;
    for start in coarse.chain(fine) {
        best = scan.better(start, best);
    }
    let best = best.ok_or(Why::NoTail)?;
    Ok(TailFit {
        alpha: best.alpha,
        xmin: eigenvalues[best.start],
        count: n - best.start,
        distance: best.distance,
    })
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    start: usize,
    alpha: f64,
    distance: f64,
}

impl Candidate {
    /// Whether a candidate at `start` with this distance, or more, can no longer win: of equals, the first does.
    fn beats(&self, start: usize, distance: f64) -> bool {
        self.distance < distance || (self.distance <= distance && self.start < start)
    }
}

struct Scan {
    logs: Vec<f64>,
    /// `Σ_{j ≥ i} ln xⱼ`.
    sums: Vec<f64>,
    /// Where the last candidate's distance was largest: the next one's is likely there, too.
    suspect: Cell<usize>,
}

impl Scan {
    fn new(eigenvalues: &[f64]) -> Self {
        let logs: Vec<f64> = eigenvalues.iter().map(|x| x.ln()).collect();
        let mut sums = logs.clone();
        for i in (0..sums.len().saturating_sub(1)).rev() {
            sums[i] += sums[i + 1];
        }
        Self { logs, sums, suspect: Cell::new(0) }
    }

    /// The better of `best` and the candidate at `start`.
    fn better(&self, start: usize, best: Option<Candidate>) -> Option<Candidate> {
        let count = self.logs.len() - start;
        let first = self.logs[start];
        // All values equal: no exponent, whatever rounding makes of the sum.
        if self.logs[self.logs.len() - 1] <= first {
            return best;
        }
        let alpha = 1.0 + count as f64 / (self.sums[start] - count as f64 * first);
        // Rounding can spoil a tail that is constant but for its last digits.
        if !(alpha > 1.0 && alpha.is_finite()) {
            return best;
        }
        let distance_at = |j: usize| {
            (1.0 - ((1.0 - alpha) * (self.logs[j] - first)).exp() - (j - start) as f64 / count as f64).abs()
        };
        let lost = |distance| best.is_some_and(|best| best.beats(start, distance));
        // A few probes settle most candidates.
        let probes = (1..8).map(|i| start + i * count / 8);
        let suspect = self.suspect.get();
        if std::iter::once(suspect.max(start)).chain(probes).any(|j| lost(distance_at(j))) {
            return best;
        }
        let mut distance = 0.0;
        for j in start..self.logs.len() {
            let here = distance_at(j);
            if here > distance {
                distance = here;
                if lost(distance) {
                    self.suspect.set(j);
                    return best;
                }
            }
        }
        Some(Candidate { start, alpha, distance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The naive twin: every candidate in full.
    fn naive(x: &[f64]) -> Option<TailFit> {
        let n = x.len();
        let mut best: Option<TailFit> = None;
        for start in 0..n.saturating_sub(1) {
            let tail = &x[start..];
            let count = tail.len();
            let sum: f64 = tail.iter().map(|y| y.ln()).rev().sum::<f64>() - count as f64 * tail[0].ln();
            let alpha = 1.0 + count as f64 / sum;
            if tail[0] >= tail[count - 1] || !(alpha > 1.0 && alpha.is_finite()) {
                continue;
            }
            let at = |k: usize| 1.0 - (tail[k] / tail[0]).powf(1.0 - alpha) - k as f64 / count as f64;
            let distance = (0..count).map(|k| at(k).abs()).fold(0.0, f64::max);
            if best.is_none_or(|best| distance < best.distance) {
                best = Some(TailFit { alpha, xmin: x[start], count, distance });
            }
        }
        best
    }

    /// A seeded stream of numbers in (0, 1).
    fn uniform(seed: u32) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (f64::from(state >> 8) + 0.5) / f64::from(1 << 24)
        }
    }

    fn sample(n: usize, seed: u32, value: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut uniform = uniform(seed);
        let mut sample: Vec<f64> = (0..n).map(|_| value(uniform())).collect();
        sample.sort_by(f64::total_cmp);
        sample
    }

    #[test]
    fn the_scan_finds_what_the_naive_scan_finds() {
        for seed in 0..60 {
            let n = 2 + (seed as usize * 37) % 400;
            let shapes: [fn(f64) -> f64; 4] = [|u| u.powf(-0.5), |u| -u.ln(), |u| u, |u| (u * 20.0).ceil()];
            for (i, shape) in shapes.into_iter().enumerate() {
                let x = sample(n, seed, shape);
                let (Ok(fast), Some(slow)) = (fit(&x), naive(&x)) else { panic!("{n} {seed} {i}") };
                assert!((fast.distance - slow.distance).abs() < 1e-12, "{n} {seed} {i}: {fast:?} {slow:?}");
                let same = fast.count == slow.count && (fast.alpha / slow.alpha - 1.0).abs() < 1e-9;
                assert!(same, "{n} {seed} {i}: {fast:?} {slow:?}");
            }
        }
    }

    #[test]
    fn a_planted_pareto_tail_returns_its_exponent() {
        for alpha in [1.5f64, 2.5, 4.5] {
            let x = sample(20_000, 7, |u| u.powf(-1.0 / (alpha - 1.0)));
            let fit = fit(&x).expect("a sound tail");
            assert!((fit.alpha - alpha).abs() < 4.0 * fit.sigma(), "{fit:?}");
        }
    }

    #[test]
    fn scaling_moves_the_start_and_nothing_else() {
        let x = sample(300, 3, |u| u.powf(-0.7));
        let scaled: Vec<f64> = x.iter().map(|y| y * 1024.0).collect();
        let (a, b) = (fit(&x).expect("sound"), fit(&scaled).expect("sound"));
        assert!(
            (a.alpha - b.alpha).abs() < 1e-9 && (b.xmin / a.xmin - 1024.0).abs() < 1e-9 && a.count == b.count
        );
    }

    #[test]
    fn power_law_quantiles_agree_with_the_powerlaw_package() {
        // powerlaw 1.5 on 40 quantiles of exponent 2.5 and 4.5.
        let quantiles = |a: f64| -> Vec<f64> {
            (0..40).map(|i| 0.3 * (1.0 - (f64::from(i) + 0.5) / 40.0).powf(-1.0 / (a - 1.0))).collect()
        };
        let fitted = fit(&quantiles(2.5)).expect("sound");
        assert!((fitted.alpha - 2.532_515_506_002_281).abs() < 1e-12, "{fitted:?}");
        assert!((fitted.distance - 0.016_858_151_963_458_412).abs() < 1e-12);
        assert!((fitted.sigma() - 0.242_311_977_424_632_65).abs() < 1e-12);
        assert!((fit(&quantiles(4.5)).expect("sound").alpha - 4.575_869_514_005_321).abs() < 1e-12);
    }

    #[test]
    fn what_has_no_tail_says_so() {
        assert_eq!(fit(&[]), Err(Why::TooFewValues));
        assert_eq!(fit(&[1.0]), Err(Why::TooFewValues));
        assert_eq!(fit(&[2.0; 30]), Err(Why::NoTail));
    }
}
