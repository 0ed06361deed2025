//! Diagonal state spaces as checkpoints store them, and how far they are from where they began.

use std::f64::consts::PI;

use crate::error::Error;
use crate::matrix::Matrix;
use crate::solver::{self, Complex, Precision};

/// How a tensor says what the eigenvalues of a state space are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// ln of minus real eigenvalues: a row a channel (Mamba), or one for each head (Mamba-2).
    ALog,
    /// ln of minus their real parts, whose imaginary parts are in `A_imag` beside it (S4D).
    LogAReal,
    /// The imaginary parts.
    AImag,
}

impl Parameter {
    /// What the name of a tensor says.
    pub fn of(name: &str) -> Option<Self> {
        match name.rsplit('.').next()? {
            "A_log" => Some(Self::ALog),
            "log_A_real" => Some(Self::LogAReal),
            "A_imag" => Some(Self::AImag),
            _ => None,
        }
    }

    /// The name of the tensor with the imaginary parts, where the real ones are called `name`.
    pub fn beside(name: &str) -> Option<String> {
        name.strip_suffix("log_A_real").map(|rest| format!("{rest}A_imag"))
    }
}

/// The distances of the eigenvalues of each channel from initializations: Real, and where they are complex Lin, Inv, LegS.
/// Relative to the length of the initialization, the root of the mean square over channels.
///
/// # Errors
/// When a decomposition does not converge.
pub(super) fn distances(channels: &[Vec<Complex>], is_complex: bool) -> Result<Vec<Option<f64>>, Error> {
    let count = channels.first().map_or(0, Vec::len);
    let real = (0..count).map(|k| (-(k as f64 + 1.0), 0.0)).collect();
    let mut found = vec![Some(distance(channels, real))];
    for imaginary in [lin(count), inv(count), legs(count)?] {
        let start = imaginary.into_iter().map(|im| (-0.5, im)).collect();
        found.push(is_complex.then(|| distance(channels, start)));
    }
    Ok(found)
}

/// S4D-Lin: π·n.
fn lin(count: usize) -> Vec<f64> {
    (0..count).map(|k| PI * k as f64).collect()
}

/// S4D-Inv: (N/π)(N/(2n + 1) − 1), N twice as many as are stored.
fn inv(count: usize) -> Vec<f64> {
    let n = 2.0 * count as f64;
    (0..count).map(|k| n / PI * (n / (2.0 * k as f64 + 1.0) - 1.0)).collect()
}

/// S4D-LegS: the positive imaginary parts of the eigenvalues of A + PPᵀ + ½, A that of HiPPO-LegS, which is skew.
fn legs(count: usize) -> Result<Vec<f64>, Error> {
    let n = 2 * count;
    let entry = |i: usize, j: usize| {
        let size = ((i as f64 + 0.5) * (j as f64 + 0.5)).sqrt();
        match i.cmp(&j) {
            std::cmp::Ordering::Less => size,
            std::cmp::Ordering::Equal => 0.0,
            std::cmp::Ordering::Greater => -size,
        }
    };
    let entries: Vec<f64> = (0..n * n).map(|k| entry(k / n, k % n)).collect();
    let spectrum = solver::singular_values(&Matrix::from_f64(n, n, &entries)?, Precision::Exact)?;
    // They come in pairs ±, of one singular value each.
    Ok(spectrum.values().iter().step_by(2).copied().collect())
}

/// By order of imaginary parts, then of real ones: training keeps no other.
fn distance(channels: &[Vec<Complex>], start: Vec<Complex>) -> f64 {
    let sorted = |mut values: Vec<Complex>| {
        values.sort_unstable_by(|a, b| a.1.total_cmp(&b.1).then(b.0.total_cmp(&a.0)));
        values
    };
    let start = sorted(start);
    let size: f64 = start.iter().map(|a| a.0 * a.0 + a.1 * a.1).sum();
    let square = |channel: &Vec<Complex>| -> f64 {
        let pairs = sorted(channel.clone()).into_iter().zip(&start);
        pairs.map(|(a, b)| (a.0 - b.0).powi(2) + (a.1 - b.1).powi(2)).sum()
    };
    let all: f64 = channels.iter().map(square).sum();
    (all / channels.len() as f64 / size).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_stored() {
        assert_eq!(Parameter::of("backbone.layers.0.mixer.A_log"), Some(Parameter::ALog));
        assert_eq!(Parameter::of("A_log_b"), None);
        assert_eq!(Parameter::beside("kernel.log_A_real").as_deref(), Some("kernel.A_imag"));
    }

    #[test]
    fn a_state_space_that_did_not_train_is_where_it_began() {
        for (at, imaginary) in [lin(4), inv(4), legs(4).expect("converges")].into_iter().enumerate() {
            // Stored in any order.
            let channel: Vec<Complex> = imaginary.into_iter().rev().map(|im| (-0.5, im)).collect();
            let found = distances(&[channel.clone(), channel], true).expect("converges");
            for (i, distance) in found.into_iter().enumerate() {
                let distance = distance.expect("complex");
                assert_eq!(distance < 1e-12, i == at + 1, "{i} of {at}: {distance}");
            }
        }
    }
}
