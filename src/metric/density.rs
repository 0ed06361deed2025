//! WeightWatcher's noise bulk and its determinant rule: only what its columns of `mp_fit` and `detX` need.
//!
//! Its bulk is a least-squares fit of the Marchenko–Pastur density to a kernel density of the eigenvalues, scaled to a mean
//! of 1. The fit is repeated step by step, because its answer depends on the bandwidth, the grid and the simplex; our own
//! noise level is in `bulk`.

use std::f64::consts::PI;

use crate::report::MissingReason;

/// Bandwidth of the triangular kernel.
const BANDWIDTH: f64 = 0.1;
/// Points of the density.
const POINTS: usize = 1000;
/// Points of lower density take no part.
const LOWEST: f64 = 0.01;
/// The residual at every point where the fitted bulk does not reach the data.
const PENALTY: f64 = 1000.0;
/// Noise levels tried before the simplex.
const LEVELS: usize = 195;
/// Where the simplex stops, in the level and in the squares.
const TOLERANCE: f64 = 1e-4;

/// Beyond so many distinct eigenvalues no two parts of the density are alike to rounding.
const FEW: usize = 32;
/// Values this close count as one; rounding errors are far smaller.
const DISTINCT: f64 = 1e-9;
/// More than rounding changes of a singular value, and less than any change of the weights that anybody made.
const ROUNDING: f64 = 1e-12;
/// How far the level may move while the same part of the density is fitted.
const SAME: f64 = 1e-6;

/// The fitted bulk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Density {
    /// The noise level, of the scaled matrix.
    pub(super) sigma: f64,
    /// The factor that scales the matrix to a mean eigenvalue of 1.
    pub(super) scale: f64,
    /// The ends of the bulk, in eigenvalues of the matrix.
    pub(super) ends: (f64, f64),
    /// Upper end over the largest eigenvalue.
    pub(super) softrank: f64,
    /// Eigenvalues beyond the end and the fluctuation allowed to it.
    pub(super) spikes: usize,
}

/// Fits the bulk of a matrix with these singular values, the longer side being `aspect` times the shorter.
///
/// # Errors
/// [`MissingReason::AllZero`]; [`MissingReason::TooFewValues`] where no point of the density is kept.
pub(super) fn fit(values: &[f64], aspect: f64) -> Result<Density, MissingReason> {
    let n = values.len() as f64;
    let energy: f64 = values.iter().map(|s| s * s).sum();
    let scale = (n / energy).sqrt();
    if values.iter().all(|s| *s == 0.0) {
        return Err(MissingReason::AllZero);
    }
    if !(energy.is_normal() && scale.is_finite()) {
        return Err(MissingReason::Overflow);
    }
    let scaled: Vec<f64> = values.iter().map(|s| (s * scale).powi(2)).collect();
    let largest = scaled.iter().copied().fold(0.0, f64::max);
    // A square matrix is fitted on its singular values.
    let curve = if aspect > 1.0 {
        kernel_density(&scaled)
    } else {
        kernel_density(&scaled.iter().map(|x| x.sqrt()).collect::<Vec<_>>())
    };
    let target = Target::new(curve, aspect).ok_or(MissingReason::TooFewValues)?;
    let sigma = target.level((largest / (1.0 + 1.0 / aspect.sqrt()).powi(2)).sqrt());
    let end = |sign: f64| (sigma * (1.0 + sign / aspect.sqrt())).powi(2);
    // The root of a width is not a width; it is repeated here because the count depends on it.
    let fluctuation = (end(1.0).powf(2.0 / 3.0) * n.powf(-2.0 / 3.0) / aspect.sqrt()).sqrt();
    Ok(Density {
        sigma,
        scale,
        ends: (end(-1.0) / scale.powi(2), end(1.0) / scale.powi(2)),
        softrank: end(1.0) / largest,
        spikes: scaled.iter().filter(|x| **x > end(1.0) + fluctuation).count(),
    })
}

/// Whether singular values that differ by rounding have another bulk than `fitted`.
///
/// Few distinct eigenvalues make a density of separate peaks, and where two are equally high, rounding chooses the one that
/// the bulk has to reach. Every two distinct values are moved together, and apart in both directions.
pub(super) fn is_decided_by_rounding(values: &[f64], aspect: f64, fitted: Density) -> bool {
    let mut group = 0;
    let groups: Vec<usize> = (0..values.len())
        .map(|i| {
            group += usize::from(i > 0 && values[i - 1] - values[i] > DISTINCT * values[i - 1]);
            group
        })
        .collect();
    if group >= FEW {
        return false;
    }
    let bits = usize::BITS - group.leading_zeros();
    let all = std::iter::once(0).chain((0..bits).map(|bit| 1 << bit));
    let patterns = all.flat_map(|mask| [(mask, ROUNDING), (mask, -ROUNDING)]);
    patterns.into_iter().any(|(mask, step)| {
        let moved = |(s, group): (&f64, &usize)| s * (1.0 + if group & mask == 0 { step } else { -step });
        let moved: Vec<f64> = values.iter().zip(&groups).map(moved).collect();
        fit(&moved, aspect).is_ok_and(|moved| {
            (moved.sigma / fitted.sigma - 1.0).abs() > SAME || moved.spikes != fitted.spikes
        })
    })
}

/// The kernel density of `sample` at even steps from 0 to a little beyond its end.
fn kernel_density(sample: &[f64]) -> Vec<(f64, f64)> {
    let stop = sample.iter().copied().fold(0.0, f64::max) + 0.5;
    let step = stop / (POINTS - 1) as f64;
    let mut density = vec![0.0; POINTS];
    for y in sample {
        let first = ((y - BANDWIDTH) / step).max(0.0) as usize;
        let last = ((y + BANDWIDTH) / step) as usize + 1;
        for (i, density) in density.iter_mut().enumerate().take(last + 1).skip(first) {
            *density += (1.0 - (i as f64 * step - y).abs() / BANDWIDTH).max(0.0);
        }
    }
    let weight = sample.len() as f64 * BANDWIDTH;
    density.iter().enumerate().map(|(i, d)| (i as f64 * step, d / weight)).collect()
}

/// The points that a bulk is fitted to.
struct Target {
    points: Vec<(f64, f64)>,
    /// Where the density is largest.
    peak: f64,
    aspect: f64,
}

impl Target {
    fn new(curve: Vec<(f64, f64)>, aspect: f64) -> Option<Self> {
        let points: Vec<_> = curve.into_iter().filter(|(_, density)| *density > LOWEST).collect();
        let peak = points.iter().copied().reduce(|best, next| if next.1 > best.1 { next } else { best })?.0;
        Some(Self { points, peak, aspect })
    }

    /// The level of least squares: the best of even steps up to twice `guess`, refined by a simplex of two points.
    fn level(&self, guess: f64) -> f64 {
        let levels = (0..LEVELS).map(|i| 0.05 * guess + i as f64 * (0.01 * guess));
        let tried = levels.map(|level| (level, self.squares(level)));
        let start = tried.reduce(|best, next| if next.1 < best.1 { next } else { best });
        start.map_or(guess, |start| self.descend(start))
    }

    /// Nelder and Mead's simplex in one dimension, with the usual factors.
    fn descend(&self, start: (f64, f64)) -> f64 {
        let at = |level: f64| (level, self.squares(level));
        let sorted = |a: (f64, f64), b: (f64, f64)| if b.1 < a.1 { (b, a) } else { (a, b) };
        let (mut best, mut worst) = sorted(start, at(1.05 * start.0));
        for _ in 0..200 {
            if (worst.0 - best.0).abs() <= TOLERANCE && (worst.1 - best.1).abs() <= TOLERANCE {
                break;
            }
            let along = |factor: f64| at((1.0 + factor) * best.0 - factor * worst.0);
            let shrunk = || at(best.0 + 0.5 * (worst.0 - best.0));
            let reflected = along(1.0);
            worst = if reflected.1 < best.1 {
                let expanded = along(2.0);
                if expanded.1 < reflected.1 { expanded } else { reflected }
            } else if reflected.1 < worst.1 {
                let outside = along(0.5);
                if outside.1 <= reflected.1 { outside } else { shrunk() }
            } else {
                let inside = along(-0.5);
                if inside.1 < worst.1 { inside } else { shrunk() }
            };
            (best, worst) = sorted(best, worst);
        }
        best.0
    }

    /// The sum of squared residuals of a bulk of this level.
    fn squares(&self, sigma: f64) -> f64 {
        let variance = sigma * sigma;
        let law: &dyn Fn(f64) -> f64 = if self.aspect > 1.0 {
            let end = |sign: f64| (sigma * (1.0 + sign / self.aspect.sqrt())).powi(2);
            let (low, high) = (end(-1.0), end(1.0));
            let reach = self.points.last().map_or(0.0, |(x, _)| *x);
            if high < self.peak || high > reach || low > self.peak {
                return self.points.len() as f64 * PENALTY * PENALTY;
            }
            &move |x| self.aspect / (2.0 * PI * variance * x) * ((high - x) * (x - low)).sqrt()
        } else {
            // The support of the square law does not move with its level.
            &move |x| (4.0 - x * x).sqrt() / (PI * variance)
        };
        let residual = |(x, density): &(f64, f64)| {
            let expected = law(*x);
            (if expected.is_nan() { 0.0 } else { expected } - density).powi(2)
        };
        self.points.iter().map(residual).sum()
    }
}

/// The determinant rule: how many of the largest eigenvalues, scaled to a mean of 1, have a product of at least 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Determinant {
    /// How many eigenvalues, the one that brings the product below 1 included.
    pub(super) count: usize,
    /// That one, in units of the matrix and scaled.
    pub(super) value: (f64, f64),
}

/// The determinant rule on singular values in descending order.
///
/// # Errors
/// [`MissingReason::NoTail`] where all are equal, [`MissingReason::TooFewValues`] below two.
pub(super) fn determinant(values: &[f64]) -> Result<Determinant, MissingReason> {
    let [first, .., last] = values else { return Err(MissingReason::TooFewValues) };
    if last >= first {
        return Err(MissingReason::NoTail);
    }
    let mean = values.iter().map(|s| s * s).sum::<f64>() / values.len() as f64;
    let mut product = 0.0;
    // The smallest never takes part.
    let short = values.iter().take(values.len() - 1).position(|s| {
        product += (s * s / mean).ln();
        product < 0.0
    });
    // Where the product never falls below 1 it counts all, and still reports the second smallest.
    let (count, at) = short.map_or((values.len(), values.len() - 2), |i| (i + 1, i));
    let value = values[at] * values[at];
    if value.is_finite() && mean.is_finite() && mean > 0.0 {
        Ok(Determinant { count, value: (value, value / mean) })
    } else {
        Err(MissingReason::Overflow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_density_integrates_to_one_and_peaks_at_the_data() {
        let curve = kernel_density(&[1.0; 5]);
        let step = curve[1].0;
        let mass: f64 = curve.iter().map(|(_, density)| density * step).sum();
        assert!((mass - 1.0).abs() < 1e-3, "{mass}");
        let top = curve.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
        assert!(top.is_some_and(|(x, density)| (x - 1.0).abs() <= step && density > 9.8), "{top:?}");
    }

    #[test]
    fn a_bulk_between_peaks_of_equal_height_is_decided_by_rounding() {
        // λ = 6, 2, 1: over their mean 2, 2/3 and 1/3, whose places between the points of the density are alike.
        let values = |step: f64| [6f64.sqrt() * (1.0 + step), 2f64.sqrt(), 1.0 - step];
        let found: Vec<Density> =
            [-1e-15, 0.0, 1e-15].map(|step| fit(&values(step), 2.0).expect("a bulk")).to_vec();
        assert!(found.iter().any(|other| other.spikes != found[0].spikes), "{found:?}");
        for (step, fitted) in [-1e-15, 0.0, 1e-15].into_iter().zip(&found) {
            assert!(is_decided_by_rounding(&values(step), 2.0, *fitted), "{step:e}");
        }
        let plain = [3.0, 1.7, 1.0];
        assert!(!is_decided_by_rounding(&plain, 2.0, fit(&plain, 2.0).expect("a bulk")));
    }

    #[test]
    fn what_no_bulk_can_be_fitted_to_says_so() {
        assert_eq!(fit(&[0.0; 4], 2.0), Err(MissingReason::AllZero));
        assert_eq!(fit(&[1e200, 1e200], 2.0), Err(MissingReason::Overflow));
        assert_eq!(fit(&[1e-200, 1e-200], 2.0), Err(MissingReason::Overflow));
        assert_eq!(determinant(&[1.0]), Err(MissingReason::TooFewValues));
        assert_eq!(determinant(&[1.0; 3]), Err(MissingReason::NoTail));
        assert!(fit(&[1.0], 1.0).is_ok());
    }

    #[test]
    fn the_determinant_rule_by_hand() {
        let values = [5.0f64.sqrt(), 1.0, 1.0, 1.0];
        // Mean 2: 2.5, 1.25, 0.625.
        let rule = determinant(&values);
        assert_eq!(rule.map(|rule| rule.count), Ok(3));
    }
}
