//! The law that the singular values of independent entries follow (Marchenko & Pastur 1967), in closed form.

use std::f64::consts::PI;

/// The share of eigenvalues below `x`, for entries of variance 1 and eigenvalues over the long side; `beta` = short/long
/// in (0, 1].
pub(super) fn law(x: f64, beta: f64) -> f64 {
    let root = beta.sqrt();
    let y = x.clamp((1.0 - root).powi(2), (1.0 + root).powi(2));
    let t = ((y - 1.0 - beta) / (2.0 * root)).clamp(-1.0, 1.0).acos();
    let half = t / 2.0;
    let above = if beta < 1.0 {
        let arc = ((1.0 - root) * half.sin()).atan2((1.0 + root) * half.cos()) * 2.0 / (1.0 - beta);
        (1.0 + beta) * t / (4.0 * beta) - t.sin() / (2.0 * root) - (1.0 - beta).powi(2) / (4.0 * beta) * arc
    } else {
        (t - t.sin()) / 2.0
    };
    (1.0 - 2.0 * above / PI).clamp(0.0, 1.0)
}

/// The Kolmogorov distance of `eigenvalues`, descending and over the long side and the variance, from the law.
pub(super) fn distance(eigenvalues: impl ExactSizeIterator<Item = f64>, beta: f64) -> f64 {
    let k = eigenvalues.len() as f64;
    eigenvalues.enumerate().fold(0.0f64, |most, (i, x)| {
        let (below, above) = ((k - i as f64 - 1.0) / k, (k - i as f64) / k);
        let law = law(x, beta);
        most.max((law - below).abs()).max((law - above).abs())
    })
}

/// The effective rank of a random matrix over its short side: `E√x·exp(−E[√x ln √x]/E√x)` under the law.
pub fn random_effective_rank(beta: f64) -> f64 {
    // With x = 1 + β + 2√β cos t the density is (2/π) sin²t/x on (0, π); its ends are approached doubly exponentially
    // (Takahasi & Mori 1974), where the integrand of a square matrix has no second derivative.
    const STEP: f64 = 1.0 / 32.0;
    let root = beta.sqrt();
    let (mut mean, mut logs) = (0.0, 0.0);
    for i in -120..=120 {
        let s = f64::from(i) * STEP;
        let inner = PI / 2.0 * s.sinh();
        // t, and π − t without cancellation.
        let (t, rest) = (PI / (1.0 + (-2.0 * inner).exp()), PI / (1.0 + (2.0 * inner).exp()));
        let weight = STEP * PI / 2.0 * s.cosh() * t * rest * 2.0 / PI;
        let x = (1.0 - root).powi(2) + 4.0 * root * (rest / 2.0).sin().powi(2);
        if x <= 0.0 || weight <= 0.0 {
            continue;
        }
        let density = 2.0 / PI * t.min(rest).sin().powi(2) / x;
        let value = x.sqrt();
        mean += weight * density * value;
        logs += weight * density * value * value.ln();
    }
    mean * (-logs / mean).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_is_that_of_quadrature() {
        // From a quadrature of the density to 1e-12.
        for (beta, x, expected) in [
            (1.0, 0.1, 0.200_474_854_209),
            (1.0, 1.0, 0.608_997_781_044),
            (1.0, 3.9, 0.998_309_606),
            (0.75, 0.117_949_192_431_122_73, 0.125_089_136_084),
            (0.75, 1.0, 0.593_724_968_188),
            (0.75, 3.382_050_807_568_877, 0.997_587_919_321),
            (0.25, 0.35, 0.060_785_461_706),
            (0.25, 1.0, 0.553_390_081_275),
            (0.25, 2.15, 0.991_463_836_526),
            (0.04, 0.74, 0.103_282_450_166),
            (0.04, 1.0, 0.521_241_948_265),
            (0.04, 1.34, 0.947_718_399_346),
            (0.5, 0.0, 0.0),
            (0.5, 9.0, 1.0),
        ] {
            assert!((law(x, beta) - expected).abs() < 1e-11, "{beta} {x}: {}", law(x, beta));
        }
    }

    #[test]
    fn half_of_the_law_lies_below_its_median() {
        for beta in [0.05, 0.3, 0.9999, 1.0] {
            assert!((law(super::super::bulk::median_of_law(beta), beta) - 0.5).abs() < 1e-11, "{beta}");
        }
    }

    #[test]
    fn random_numbers_use_a_known_share_of_their_directions() {
        for (beta, expected) in [
            (1.0, 0.805_041_330_5),
            (0.75, 0.876_023_146_535),
            (0.5, 0.926_052_802_624),
            (0.25, 0.966_222_467_902),
            (0.04, 0.994_940_753_452),
        ] {
            let found = random_effective_rank(beta);
            assert!((found - expected).abs() < 1e-10, "{beta}: {found}");
        }
    }

    #[test]
    fn values_at_the_middle_of_their_steps_are_half_a_step_away() {
        // Four eigenvalues at the quantiles 1/8, 3/8, 5/8, 7/8 of the law.
        let quantile = |p: f64| {
            let (mut low, mut high) = (0.0, 4.0);
            for _ in 0..80 {
                let middle = f64::midpoint(low, high);
                if law(middle, 1.0) < p { low = middle } else { high = middle }
            }
            low
        };
        let values = [0.875, 0.625, 0.375, 0.125].map(quantile);
        assert!((distance(values.into_iter(), 1.0) - 0.125).abs() < 1e-12);
    }
}
