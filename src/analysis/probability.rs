//! Tails of two distributions, as logarithms: a double holds no probability below 1e-308.

use std::f64::consts::PI;

/// `ln P(Z > z)` of a standard normal Z.
pub(super) fn ln_normal_tail(z: f64) -> f64 {
    let ln_density = |z: f64| -z * z / 2.0 - (2.0 * PI).ln() / 2.0;
    if z < 0.0 {
        return (-ln_normal_tail(-z).exp()).ln_1p();
    }
    if z < 3.0 {
        // 1/2 − φ(z)(z + z³/3 + z⁵/15 + …), all terms positive.
        let (mut term, mut sum, mut odd) = (z, 0.0, 1.0);
        while term > 1e-18 * sum {
            sum += term;
            odd += 2.0;
            term *= z * z / odd;
        }
        return (0.5 - ln_density(z).exp() * sum).ln();
    }
    // Mills' ratio as a continued fraction (Abramowitz & Stegun 26.2.14), from its far end.
    let fraction = (1..=200).rev().fold(z, |rest, k| z + f64::from(k) / rest);
    ln_density(z) - fraction.ln()
}

/// Fisher's method: `ln P` of independent probabilities, given as logarithms: −2Σ ln p has a χ² law of 2n degrees of freedom.
pub(super) fn ln_combined(ln: &[f64]) -> f64 {
    let half = -ln.iter().sum::<f64>();
    // exp(−h) Σ_{k<n} hᵏ/k!, with the largest term taken out.
    let terms: Vec<f64> = (0..ln.len())
        .scan(0.0, |sum, k| {
            if k > 0 {
                *sum += half.ln() - (k as f64).ln();
            }
            Some(*sum)
        })
        .collect();
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (most + terms.iter().map(|term| (term - most).exp()).sum::<f64>().ln() - half).min(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_of_the_normal_law() {
        // scipy.stats.norm.logsf
        let known = [
            (-2.0, -0.023_012_909_328_963_476),
            (0.0, -std::f64::consts::LN_2),
            (1.0, -1.841_021_645_009_263_6),
            (2.9, -6.284_058_234_947_419),
            (3.1, -6.940_688_458_421_228),
            (10.0, -53.231_285_150_512_48),
            (40.0, -804.608_442_013_753_9),
        ];
        for (z, expected) in known {
            let found = ln_normal_tail(z);
            assert!((found - expected).abs() < 1e-12 * expected.abs().max(1.0), "{z}: {found}");
        }
    }

    #[test]
    fn fisher_s_method_by_hand() {
        assert!((ln_combined(&[0.2f64.ln()]) - 0.2f64.ln()).abs() < 1e-14);
        // p₁p₂(1 − ln p₁p₂)
        let product: f64 = 0.3 * 0.05;
        let expected = (product * (1.0 - product.ln())).ln();
        assert!((ln_combined(&[0.3f64.ln(), 0.05f64.ln()]) - expected).abs() < 1e-14);
        assert!((ln_combined(&[-5000.0, -3.0]) - (-5003.0 + 5004.0f64.ln())).abs() < 1e-9);
        assert!(ln_combined(&[0.0, 0.0]).abs() <= 0.0);
    }
}
