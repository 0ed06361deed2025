//! The power-law tail of a sample: exponent by maximum likelihood, start by the smallest Kolmogorov–Smirnov distance.
//!
//! Every value but the last is a candidate start `xₘ`. For a tail of `n` values the exponent is
//! `α = 1 + n / Σ ln(xⱼ/xₘ)` and the distance `max |1 − (xⱼ/xₘ)^(1−α) − k/n|` over its values, `k` being how many lie
//! below (Clauset, Shalizi & Newman 2009). The first candidate of smallest distance wins. There is no correction for
//! few values; short tails are flagged instead.
//!
//! The definition costs n²/2 exponentials. A candidate is abandoned as soon as one value is as far off as the best
//! candidate's worst, which changes no result, and the rest is computed in vectors.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use crate::report::MissingReason;

/// Values of a tail of `n` that lie within `n` times this are equal but for rounding of their decomposition.
const EQUAL: f64 = 8.0 * f64::EPSILON;
/// Values computed at once: two of the widest vectors.
const LANES: usize = 16;

/// The fitted tail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TailFit {
    /// The exponent.
    pub alpha: f64,
    /// The value at which the tail starts.
    pub xmin: f64,
    /// How many values it holds.
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

/// The tail of a sample of positive values, ascending.
///
/// # Errors
/// [`MissingReason::TooFewValues`] below two values, [`MissingReason::NoTail`] where all values are equal.
pub fn fit(sample: &[f64]) -> Result<TailFit, MissingReason> {
    fit_within(sample, 0..sample.len())
}

/// The same with only the values at `candidates` as starts.
///
/// # Errors
/// [`MissingReason::TooFewValues`] below two values, [`MissingReason::NoTail`] where no candidate has an exponent.
pub(super) fn fit_within(sample: &[f64], candidates: Range<usize>) -> Result<TailFit, MissingReason> {
    let [.., last] = sample else { return Err(MissingReason::TooFewValues) };
    if sample.len() < 2 {
        return Err(MissingReason::TooFewValues);
    }
    let candidates = candidates.start..candidates.end.min(sample.len() - 1);
    // In units of the largest value: a tail's sum of logarithms is then small where its terms are.
    let logs: Vec<f64> = sample.iter().map(|x| x.ln() - last.ln()).collect();
    let best = Arch::new().dispatch(Search { logs: &logs, candidates }).ok_or(MissingReason::NoTail)?;
    let Candidate { start, alpha, distance } = best;
    Ok(TailFit { alpha, xmin: sample[start], count: sample.len() - start, distance })
}

/// A start with its exponent and distance.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    start: usize,
    alpha: f64,
    distance: f64,
}

impl Candidate {
    /// Whether a candidate at `start` whose distance is at least `distance` can no longer win: of equals, the first does.
    #[inline]
    fn beats(&self, start: usize, distance: f64) -> bool {
        self.distance < distance || (self.distance <= distance && self.start < start)
    }
}

struct Search<'a> {
    logs: &'a [f64],
    candidates: Range<usize>,
}

impl WithSimd for Search<'_> {
    type Output = Option<Candidate>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Option<Candidate> {
        search(self.logs, self.candidates)
    }
}

/// The candidate of smallest distance, the first of equals. It and what it calls compile for the instruction set of whoever
/// inlines them.
#[inline(always)]
fn search(logs: &[f64], candidates: Range<usize>) -> Option<Candidate> {
    let last = *logs.last()?;
    let mut sums = logs.to_vec();
    for i in (0..sums.len() - 1).rev() {
        sums[i] += sums[i + 1];
    }
    // A coarse pass finds a good candidate early, so that the fine pass can abandon almost all others at once.
    let stride = (candidates.len() / 32).max(1);
    let first = candidates.start;
    let coarse = candidates.clone().step_by(stride);
    let fine = candidates.filter(|start| !(start - first).is_multiple_of(stride));
    let mut best: Option<Candidate> = None;
    let mut suspect = 0;
    for start in coarse.chain(fine) {
        let (tail, count) = (&logs[start..], (logs.len() - start) as f64);
        let alpha = 1.0 + count / (sums[start] - count * logs[start]);
        // All values equal has no exponent, whatever rounding makes of the sum; it can spoil an almost constant tail.
        if last - logs[start] <= EQUAL * count || !(alpha > 1.0 && alpha.is_finite()) {
            continue;
        }
        let fitted = Fitted { tail, slope: 1.0 - alpha, step: 1.0 / count };
        if let Some(distance) = fitted.distance(start, &mut suspect, best) {
            best = Some(Candidate { start, alpha, distance });
        }
    }
    best
}

/// A tail of logarithms with the law fitted to it.
struct Fitted<'a> {
    tail: &'a [f64],
    slope: f64,
    step: f64,
}

impl Fitted<'_> {
    /// The distance, or nothing where `best` wins. `suspect` is the index, in the sample, of the value that was furthest
    /// off in the last candidate that lost: it is likely to settle this one, too.
    #[inline(always)]
    fn distance(&self, start: usize, suspect: &mut usize, best: Option<Candidate>) -> Option<f64> {
        let lost = |distance: f64| best.is_some_and(|best| best.beats(start, distance));
        let count = self.tail.len();
        let mut probes = [0; LANES];
        for (i, probe) in probes.iter_mut().enumerate() {
            *probe = i * count / LANES;
        }
        probes[0] = suspect.saturating_sub(start);
        let mut logs = [0.0; LANES];
        let mut ranks = [0.0; LANES];
        for i in 0..LANES {
            logs[i] = self.tail[probes[i]];
            ranks[i] = probes[i] as f64;
        }
        let mut worst = [0.0; LANES];
        self.widen(&mut worst, &logs, &ranks);
        if lost(largest(&worst)) {
            return None;
        }
        let mut worst = [0.0; LANES];
        let mut ranks: [f64; LANES] = std::array::from_fn(|i| i as f64);
        let (blocks, rest) = self.tail.as_chunks::<LANES>();
        for (i, block) in blocks.iter().enumerate() {
            self.widen(&mut worst, block, &ranks);
            for rank in &mut ranks {
                *rank += LANES as f64;
            }
            // Asking costs about as much as a block.
            if i % 4 == 3 && lost(largest(&worst)) {
                *suspect = start + (i - 1) * LANES;
                return None;
            }
        }
        for (log, rank) in rest.iter().zip(ranks) {
            worst[0] = f64::max(worst[0], self.deviation(*log, rank));
        }
        let distance = largest(&worst);
        if lost(distance) { None } else { Some(distance) }
    }

    /// Raises `worst` to the deviations of one block.
    #[inline(always)]
    fn widen(&self, worst: &mut [f64; LANES], logs: &[f64; LANES], ranks: &[f64; LANES]) {
        for i in 0..LANES {
            let here = self.deviation(logs[i], ranks[i]);
            worst[i] = if here > worst[i] { here } else { worst[i] };
        }
    }

    /// How far the law lies from the sample at the value of this logarithm and rank.
    #[inline(always)]
    fn deviation(&self, log: f64, rank: f64) -> f64 {
        (1.0 - exp_of_negative(self.slope * (log - self.tail[0])) - rank * self.step).abs()
    }
}

#[inline(always)]
fn largest(values: &[f64; LANES]) -> f64 {
    values.iter().fold(0.0, |a, b| if *b > a { *b } else { a })
}

/// `exp(x)` for `x ≤ 0`, within 2 units in the last place; at least 1e-307.
///
/// Only sums, products and shifts, never fused: it compiles to vectors, and their width changes no bit.
#[inline(always)]
fn exp_of_negative(x: f64) -> f64 {
    use std::f64::consts::LOG2_E;
    /// Adding it leaves the nearest whole number in the lowest bits.
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    /// ln 2 in two parts, the first short enough that its products with exponents are exact.
    const LN_2: [f64; 2] = [f64::from_bits(0x3fe6_2e42_fee0_0000), f64::from_bits(0x3dea_39ef_3579_3c76)];
    /// 1/13!, 1/12!, …, 1/0!: the next term is below 5e-18 of the sum for |r| ≤ ln 2 / 2.
    const TAYLOR: [f64; 14] = {
        let mut terms = [1.0; 14];
        let mut i = 13;
        let mut factorial = 1.0;
        let mut k = 0.0;
        while i > 0 {
            i -= 1;
            k += 1.0;
            factorial *= k;
            terms[i] = 1.0 / factorial;
        }
        terms
    };
    let x = if x > -706.0 { x } else { -706.0 };
    let shifted = x * LOG2_E + SHIFT;
    let whole = shifted - SHIFT;
    let r = (x - whole * LN_2[0]) - whole * LN_2[1];
    let mut sum = TAYLOR[0];
    for term in &TAYLOR[1..] {
        sum = sum * r + term;
    }
    sum * f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52)
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
            let sum: f64 = tail.iter().map(|y| (y / tail[0]).ln()).sum();
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
                let same = fast.count == slow.count && (fast.alpha / slow.alpha - 1.0).abs() < 1e-12;
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
        assert_eq!(fit(&[]), Err(MissingReason::TooFewValues));
        assert_eq!(fit(&[1.0]), Err(MissingReason::TooFewValues));
        assert_eq!(fit(&[2.0; 30]), Err(MissingReason::NoTail));
        // Equal but for rounding of their decomposition.
        let near: Vec<f64> = (0..30).map(|i| 2.0 + f64::from(i % 5) * 4.0 * f64::EPSILON).collect();
        assert_eq!(fit(&near), Err(MissingReason::NoTail));
    }

    #[test]
    fn the_vector_exponential_agrees_with_the_librarys() {
        let mut uniform = uniform(5);
        for _ in 0..200_000 {
            let x = -uniform().powi(4) * 700.0;
            let (found, expected) = (exp_of_negative(x), x.exp());
            assert!((found / expected - 1.0).abs() <= 2.0 * f64::EPSILON, "{x}: {found:e}, {expected:e}");
        }
        assert_eq!(exp_of_negative(0.0).to_bits(), 1f64.to_bits());
        assert!(exp_of_negative(-1e300) < 1e-306 && exp_of_negative(f64::NEG_INFINITY) < 1e-306);
    }
}
