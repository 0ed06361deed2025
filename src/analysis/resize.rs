//! The rank to which kohya's `resize_lora.py` would cut a matrix, repeated with its peculiarities.

use std::fmt;

use crate::spectrum::{magnitude, scaled};

/// How that script reads its parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Keep σ above σ₁/p.
    Ratio,
    /// Keep the share p of the Frobenius norm.
    Frobenius,
    /// Keep the share p of Σσ.
    Cumulative,
}

impl Method {
    /// Every method, by the script's name for it.
    pub const ALL: [(Self, &str); 3] =
        [(Self::Ratio, "sv_ratio"), (Self::Frobenius, "sv_fro"), (Self::Cumulative, "sv_cumulative")];
}

/// A method with its parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// The method.
    pub method: Method,
    /// Its parameter: a ratio above 1, or a share.
    pub parameter: f64,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Method::ALL.iter().find(|(method, _)| *method == self.method).map_or("", |(_, name)| name);
        write!(f, "{name}={}", self.parameter)
    }
}

/// The result of the script for one matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resized {
    /// The rank it writes: one more than the rule asks for.
    pub rank: usize,
    /// Σσ of the kept values over Σσ.
    pub sum_retained: f64,
    /// ‖·‖F of the kept values over ‖·‖F: a ratio of norms, not of energies.
    pub frobenius_retained: f64,
    /// σ₁ over the last σ kept; none when that is 0.
    pub ratio: Option<f64>,
}

/// σ₁ up to which the script takes a matrix for empty.
const EMPTY: f64 = 1e-6;

/// Applies `rule` to all min(m, n) singular values of a matrix, descending.
///
/// The script counts the values that the rule asks for (a cumulative rule's last one included), moves that into
/// `[1, min(m, n) − 1]`, and keeps one more. The script's limit is not applied.
pub fn resize(values: &[f64], rule: Rule) -> Option<Resized> {
    let first = *values.first()?;
    // Over a power of two near the largest: no square or sum overflows, and no bit changes.
    let unit = magnitude(first);
    let near = || values.iter().map(|s| scaled(*s, -unit));
    let rank = if first <= EMPTY {
        1
    } else {
        let count = match rule.method {
            Method::Ratio => values.iter().filter(|s| **s > first / rule.parameter).count(),
            Method::Frobenius => reached(near().map(|s| s * s), rule.parameter * rule.parameter) + 1,
            Method::Cumulative => reached(near(), rule.parameter) + 1,
        };
        // A matrix with one value would ask for two.
        (count.min(values.len() - 1).max(1) + 1).min(values.len())
    };
    let share = |x: fn(f64) -> f64| {
        let total: f64 = near().map(x).sum();
        if total > 0.0 { near().take(rank).map(x).sum::<f64>() / total } else { 1.0 }
    };
    let last = values[rank - 1];
    Some(Resized {
        rank,
        sum_retained: share(|s| s),
        frobenius_retained: share(|s| s * s).sqrt(),
        ratio: (last > 0.0).then(|| first / last),
    })
}

/// How many running sums of `terms` lie below `share` of the whole.
fn reached(terms: impl Iterator<Item = f64> + Clone, share: f64) -> usize {
    let total: f64 = terms.clone().sum();
    let sums = terms.scan(0.0, |sum, x| {
        *sum += x;
        Some(*sum)
    });
    sums.take_while(|sum| sum / total < share).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_indices_with_one_added() {
        // σ of the product of two small factors of rank 4, in a 32 × 24 matrix.
        let mut values = vec![
            3.236_041_813_973_786_8,
            2.317_105_861_199_466_6,
            1.944_740_249_723_471,
            1.710_462_053_764_593_6,
        ];
        values.resize(24, 0.0);
        let cases = [
            (Method::Ratio, 2.0, 5),
            (Method::Ratio, 1.5, 3),
            (Method::Cumulative, 0.5, 3),
            (Method::Cumulative, 0.9, 5),
            (Method::Frobenius, 0.9, 4),
            (Method::Frobenius, 0.5, 2),
        ];
        for (method, parameter, expected) in cases {
            let rule = Rule { method, parameter };
            assert_eq!(resize(&values, rule).map(|resized| resized.rank), Some(expected), "{rule}");
        }
    }

    #[test]
    fn what_is_retained_is_a_ratio_of_norms() {
        let rule = Rule { method: Method::Ratio, parameter: 1.1 };
        let resized = resize(&[4.0, 3.0, 0.0], rule).expect("values");
        assert_eq!(
            resized,
            Resized { rank: 2, sum_retained: 1.0, frobenius_retained: 1.0, ratio: Some(4.0 / 3.0) }
        );
        let resized = resize(&[1e-7, 0.0], rule).expect("values");
        assert_eq!((resized.rank, resized.ratio), (1, Some(1.0)));
        assert_eq!(resize(&[0.0], rule).map(|resized| resized.rank), Some(1));
        assert_eq!(resize(&[5.0], rule).map(|resized| resized.rank), Some(1));
        assert_eq!(resize(&[], rule), None);
    }
}
