//! Singular triplets that gross outliers do not move: rSVDdpd (Roy, Basu & Ghosh 2021).
//!
//! Each triplet is a fixed point of regressions in which an entry weighs exp(−α·r²/2), r what the triplet leaves of it. The
//! start decides which: the leading directions of the matrix with its entries clipped to median ± 3·1.4826·MAD, where the
//! authors draw one at random. Otherwise as in their code, with the entries over their interquartile range.

use crate::error::Error;
use crate::matrix::Matrix;
use crate::report::MissingReason;
use crate::solver::{self, Operator, Precision};

/// The authors' tolerance, for vectors and for what is left, and the most iterations of either loop.
const TOLERANCE: f64 = 1e-4;
const ITERATIONS: usize = 101;
/// Of a normal distribution, a standard deviation is so many median absolute deviations.
const NORMAL: f64 = 1.4826;
/// Entries are clipped beyond so many of those.
const CLIP: f64 = 3.0;

/// Robust triplets, in order of what was found first.
#[derive(Debug, Clone, Default)]
pub(super) struct Triplets {
    pub values: Vec<f64>,
    left: Vec<Vec<f64>>,
    right: Vec<Vec<f64>>,
}

/// `count` robust triplets of a finite matrix.
///
/// # Errors
/// When the decomposition of the clipped matrix does not converge; inside, that its entries have no spread.
pub(super) fn triplets(
    entries: &[f64],
    (rows, cols): (usize, usize),
    (alpha, count): (f64, usize),
) -> Result<Result<Triplets, MissingReason>, Error> {
    let mut sorted = entries.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let spread = quantile(&sorted, 0.75) - quantile(&sorted, 0.25);
    if !spread.is_normal()
        || !(sorted[0] / spread).is_finite()
        || !(sorted[sorted.len() - 1] / spread).is_finite()
    {
        return Ok(Err(MissingReason::NoEstimate));
    }
    let mut rest = Rest { entries: entries.iter().map(|x| x / spread).collect(), rows, cols };
    let middle = quantile(&sorted, 0.5) / spread;
    let mut deviations: Vec<f64> = rest.entries.iter().map(|x| (x - middle).abs()).collect();
    deviations.sort_unstable_by(f64::total_cmp);
    let most = CLIP * NORMAL * quantile(&deviations, 0.5);
    drop(deviations);
    let clipped: Vec<f64> = rest.entries.iter().map(|x| x.clamp(middle - most, middle + most)).collect();
    let count = count.min(rows).min(cols);
    let start = solver::leading(&Operator::from(&Matrix::from_f64(rows, cols, &clipped)?), count)?;
    drop(clipped);
    let mut found = Triplets::default();
    for right in start.right.columns() {
        let matrix = Matrix::from_f64(rows, cols, &rest.entries)?;
        if solver::largest(&matrix, Precision::Fast)?.value <= TOLERANCE {
            break;
        }
        drop(matrix);
        let Some((value, left, right)) = rest.triplet(alpha, right.to_vec(), &found) else { break };
        rest.deflate(value, &left, &right);
        found.values.push(value * spread);
        found.left.push(left);
        found.right.push(right);
    }
    Ok(Ok(found))
}

/// The matrix without the triplets that were found, in units of its spread.
struct Rest {
    entries: Vec<f64>,
    rows: usize,
    cols: usize,
}

/// Which way a matrix is taken.
#[derive(Clone, Copy)]
enum Way {
    Rows,
    Columns,
}

impl Rest {
    /// One triplet, from this right vector on; none where nothing is left to tell it.
    fn triplet(&self, alpha: f64, start: Vec<f64>, found: &Triplets) -> Option<(f64, Vec<f64>, Vec<f64>)> {
        let (mut left, mut right, mut value) = (vec![0.0; self.rows], start, 0.0);
        for _ in 0..ITERATIONS {
            let mut new_left = self.regressed(Way::Rows, alpha, &right);
            apart(&mut new_left, &found.left);
            normalize(&mut new_left)?;
            let mut new_right = self.regressed(Way::Columns, alpha, &new_left);
            apart(&mut new_right, &found.right);
            let new_value = normalize(&mut new_right)?;
            let is_done = (new_value - value).abs() < TOLERANCE
                && distance(&new_left, &left) < TOLERANCE
                && distance(&new_right, &right) < TOLERANCE;
            (left, right, value) = (new_left, new_right, new_value);
            if is_done {
                break;
            }
        }
        Some((value, left, right))
    }

    /// For each line the best multiple of `other`, by weighted regression until the weights stay.
    fn regressed(&self, way: Way, alpha: f64, other: &[f64]) -> Vec<f64> {
        let count = if matches!(way, Way::Rows) { self.rows } else { self.cols };
        let mut found = vec![1.0; count];
        for _ in 0..ITERATIONS {
            let next = self.step(way, alpha, (&found, other));
            let is_done = distance(&next, &found) < TOLERANCE;
            found = next;
            if is_done {
                break;
            }
        }
        found
    }

    /// Σ w·x·b/Σ w·b² of each line, w = exp(−α(x − c·b)²/2). The largest weight of a line is made 1, which no ratio sees: in a
    /// line of outliers alone, all would be 0.
    fn step(&self, way: Way, alpha: f64, (found, other): (&[f64], &[f64])) -> Vec<f64> {
        let exponent = |x: f64, c: f64, b: f64| -0.5 * alpha * (x - c * b) * (x - c * b);
        let ratio = |above: f64, below: f64| if below > 0.0 { above / below } else { 0.0 };
        match way {
            Way::Rows => {
                let line = |(row, c): (&[f64], &f64)| {
                    let pairs = || row.iter().zip(other);
                    let most = pairs().map(|(x, b)| exponent(*x, *c, *b)).fold(f64::NEG_INFINITY, f64::max);
                    let (mut above, mut below) = (0.0, 0.0);
                    for (x, b) in pairs() {
                        let w = (exponent(*x, *c, *b) - most).exp();
                        above += w * x * b;
                        below += w * b * b;
                    }
                    ratio(above, below)
                };
                self.entries.chunks_exact(self.cols).zip(found).map(line).collect()
            }
            Way::Columns => {
                let mut most = vec![f64::NEG_INFINITY; self.cols];
                for (row, b) in self.entries.chunks_exact(self.cols).zip(other) {
                    let all = row.iter().zip(found).map(|(x, c)| exponent(*x, *c, *b));
                    most.iter_mut().zip(all).for_each(|(most, own)| *most = most.max(own));
                }
                let (mut above, mut below) = (vec![0.0; self.cols], vec![0.0; self.cols]);
                for (row, b) in self.entries.chunks_exact(self.cols).zip(other) {
                    for (j, (x, c)) in row.iter().zip(found).enumerate() {
                        let w = (exponent(*x, *c, *b) - most[j]).exp();
                        above[j] += w * x * b;
                        below[j] += w * b * b;
                    }
                }
                above.into_iter().zip(below).map(|(above, below)| ratio(above, below)).collect()
            }
        }
    }

    fn deflate(&mut self, value: f64, left: &[f64], right: &[f64]) {
        for (row, u) in self.entries.chunks_exact_mut(self.cols).zip(left) {
            row.iter_mut().zip(right).for_each(|(x, v)| *x -= value * u * v);
        }
    }
}

/// DICMR for 1, 2, … of the triplets: C((1 + α)^−½ − (1 + 1/α)·mean exp(−αe²/s²)) + C((1 + α)/(1 + 2α))^(3/2)·k(1/m + 1/n), e what
/// they leave, s = 1.4826·median|e|, C = (2π)^(−α/2)·s^−α. None where α is 0, or nothing is left.
pub(super) fn criteria(
    entries: &[f64],
    (rows, cols): (usize, usize),
    alpha: f64,
    triplets: &Triplets,
) -> Option<Vec<f64>> {
    let mut rest = Rest { entries: entries.to_vec(), rows, cols };
    let mut found = vec![];
    for (k, value) in triplets.values.iter().enumerate() {
        rest.deflate(*value, &triplets.left[k], &triplets.right[k]);
        let mut sizes: Vec<f64> = rest.entries.iter().map(|x| x.abs()).collect();
        sizes.sort_unstable_by(f64::total_cmp);
        let s = NORMAL * quantile(&sizes, 0.5);
        let mean = sizes.iter().map(|e| (-alpha * e * e / (s * s)).exp()).sum::<f64>() / sizes.len() as f64;
        let c = (2.0 * std::f64::consts::PI).powf(-alpha / 2.0) * s.powf(-alpha);
        let fit = (1.0 + alpha).powf(-0.5) - (1.0 + 1.0 / alpha) * mean;
        let penalty = ((1.0 + alpha) / (1.0 + 2.0 * alpha)).powf(1.5) * (k + 1) as f64;
        found.push(c * fit + c * penalty * (1.0 / rows as f64 + 1.0 / cols as f64));
    }
    found.iter().all(|x| x.is_finite()).then_some(found)
}

/// The quantile of sorted numbers as armadillo has it: at position n·p + ½, between neighbors in proportion (Hyndman & Fan 1996,
/// definition 5).
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let n = sorted.len();
    let position = (p * n as f64 + 0.5).clamp(1.0, n as f64);
    let below = position as usize;
    let (low, high) = (sorted[below - 1], sorted[below.min(n - 1)]);
    low + (position - below as f64) * (high - low)
}

/// Takes the parts along `others` off.
fn apart(vector: &mut [f64], others: &[Vec<f64>]) {
    let parts: Vec<f64> =
        others.iter().map(|other| other.iter().zip(&*vector).map(|(a, b)| a * b).sum()).collect();
    for (other, part) in others.iter().zip(parts) {
        vector.iter_mut().zip(other).for_each(|(x, y)| *x -= part * y);
    }
}

/// Makes a vector one of length one, and says how long it was; none where it is zero.
fn normalize(vector: &mut [f64]) -> Option<f64> {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    (length.is_finite() && length > 0.0).then(|| {
        vector.iter_mut().for_each(|x| *x /= length);
        length
    })
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the package's README: published with 53.5599, 2.3589 and 0.1492.
    #[test]
    fn an_entry_of_a_hundred_does_not_move_the_first_value() {
        let mut entries: Vec<f64> = (0..20).map(|k| f64::from(k % 5 * 4 + k / 5 + 1)).collect();
        entries[5 + 2] = 100.0;
        let found = triplets(&entries, (4, 5), (0.3, 4)).expect("converges").expect("entries differ");
        for (found, published) in found.values.iter().zip([53.5599, 2.3589, 0.1492]) {
            assert!((found - published).abs() < 1e-4, "{found} is not {published}");
        }
    }

    #[test]
    fn without_robustness_values_are_singular_values() {
        let entries = [3.0, 0.0, 0.0, 2.0, 1.0, 0.5];
        let found = triplets(&entries, (3, 2), (0.0, 2)).expect("converges").expect("entries differ");
        let matrix = Matrix::from_f64(3, 2, &entries).expect("sizes agree");
        let exact = solver::singular_values(&matrix, Precision::Exact).expect("converges");
        for (found, exact) in found.values.iter().zip(exact.values()) {
            assert!((found - exact).abs() < 1e-3 * exact, "{found} is not {exact}");
        }
    }

    #[test]
    fn quartiles_lie_at_half_positions() {
        assert!((quantile(&[1.0, 2.0, 3.0, 4.0], 0.25) - 1.5).abs() < 1e-15);
        assert!((quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.75) - 4.25).abs() < 1e-15);
    }

    #[test]
    fn entries_without_spread_have_no_robust_values() {
        let found = triplets(&[1.0, 1.0, 1.0, 1.0, 1.0, 9.0], (3, 2), (0.3, 1)).expect("converges");
        assert_eq!(found.err(), Some(MissingReason::NoEstimate));
    }
}
