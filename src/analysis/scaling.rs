//! How the singular values of one kind of matrix grow with the width of a model: the rule of *Robust Layerwise Scaling Rules
//! by Proper Weight Decay Tuning*, 2025, held against a family of checkpoints.
//!
//! In the steady state of AdamW, σ₁ ∝ √(η/λ)·d^¾ at learning rate η, weight decay λ and width d, and the shape of a spectrum
//! does not depend on d. With η ∝ 1/d, a weight decay λ ∝ √d keeps σ₁ the same at all widths.

use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};

/// The columns of a role, in report order.
pub static SCALING: [Column; 6] = [
    Column {
        key: "width_exponent",
        label: "exponent",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "p of σ₁ ∝ d^p, least squares over the widths d, of the geometric mean of σ₁ over the blocks: 0 under the rule, ¼ if the weight decay is the same at all widths and the learning rate falls as 1/d",
        range: "(−∞, ∞)",
        source: "Robust Layerwise Scaling Rules by Proper Weight Decay Tuning, 2025",
    },
    Column {
        key: "width_exponent_sigma",
        label: "exponent ±",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "the standard error of `width_exponent`; needs three widths",
        range: "[0, ∞)",
        source: "least squares",
    },
    Column {
        key: "r_squared",
        label: "R²",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "the share of the variance of ln σ₁ that the power of the width explains",
        range: "[0, 1]",
        source: "least squares",
    },
    Column {
        key: "shape_gap",
        label: "shape gap",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "the largest difference between the curves σᵢ/σ₁ over i/k of any two widths, averaged over the blocks, at steps of 0.05: 0 where the shape does not depend on the width",
        range: "[0, 1]",
        source: "as width_exponent",
    },
    Column {
        key: "mean_spectral_norm",
        label: "mean σ₁",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "the geometric mean of σ₁ over the blocks of one model",
        range: "(0, ∞), units of the weights",
        source: "as width_exponent",
    },
    Column {
        key: "decay_constant",
        label: "c",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "`mean_spectral_norm`/(√(η/λ)·d^¾) of one model: the same at all widths if training has reached its steady state",
        range: "(0, ∞)",
        source: "as width_exponent",
    },
];

/// The largest over the smallest `decay_constant` of a role.
pub static DECAY_RATIO: Column = Column {
    key: "decay_ratio",
    label: "c max/min",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Relative),
    doc: "the largest over the smallest `decay_constant` of all widths: 1 under the rule",
    range: "[1, ∞)",
    source: "as width_exponent",
};

/// A step of the grid on which shapes are compared.
const STEP: f64 = 0.05;

/// The matrices of one role in one model.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleSpectra {
    /// The width of the model.
    pub width: f64,
    /// √(η/λ), where it is known.
    pub rate: Option<f64>,
    /// The singular values of each block, descending.
    pub values: Vec<Vec<f64>>,
}

impl RoleSpectra {
    /// The geometric mean of σ₁.
    pub fn mean_largest(&self) -> Option<f64> {
        let ln = self.values.iter().map(|values| values.first().copied().unwrap_or(0.0).ln());
        let mean = ln.sum::<f64>() / self.values.len() as f64;
        mean.is_finite().then(|| mean.exp())
    }

    /// What σ₁ is in units of the rule.
    pub fn constant(&self) -> Option<f64> {
        Some(self.mean_largest()? / (self.rate? * self.width.powf(0.75)))
    }

    /// The mean of σᵢ/σ₁ at each step of `grid`, between values where it falls between two.
    fn curve(&self, grid: &[f64]) -> Vec<f64> {
        let at = |values: &[f64], t: f64| {
            let place = t * values.len() as f64;
            let (i, rest) = (place.floor() as usize, place.fract());
            let value = |i: usize| values[i.min(values.len() - 1)] / values[0];
            value(i) + rest * (value(i + 1) - value(i))
        };
        let mean =
            |t: &f64| self.values.iter().map(|values| at(values, *t)).sum::<f64>() / self.values.len() as f64;
        grid.iter().map(mean).collect()
    }
}

/// A line through points.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Line {
    slope: f64,
    error: Option<f64>,
    r_squared: f64,
}

/// Least squares; none where all points lie above one another.
fn line(points: &[(f64, f64)]) -> Option<Line> {
    let n = points.len() as f64;
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(&|p| p.0), mean(&|p| p.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|p| of(p.0 - x, p.1 - y)).sum::<f64>();
    let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
    if xx <= 0.0 {
        return None;
    }
    let slope = xy / xx;
    let rest = sum(&|x, y| (y - slope * x).powi(2));
    let r_squared = if yy > 0.0 { 1.0 - rest / yy } else { 1.0 };
    let error = (points.len() > 2).then(|| (rest / (n - 2.0) / xx).sqrt());
    Some(Line { slope, error, r_squared })
}

/// The first four values of [`SCALING`], and that of [`DECAY_RATIO`], of one role in several models.
pub fn measure(models: &[RoleSpectra]) -> ([Value; 4], Value) {
    let few = Value::Missing(MissingReason::TooFewWidths);
    let points: Option<Vec<(f64, f64)>> =
        models.iter().map(|model| Some((model.width.ln(), model.mean_largest()?.ln()))).collect();
    let Some(points) = points else {
        return ([Value::Missing(MissingReason::AllZero); 4], Value::Missing(MissingReason::AllZero));
    };
    let constants: Option<Vec<f64>> = models.iter().map(RoleSpectra::constant).collect();
    let ratio = constants.map_or(Value::Missing(MissingReason::NotApplicable), |constants| {
        let most = constants.iter().copied().fold(0.0, f64::max);
        Value::real(most / constants.iter().copied().fold(f64::INFINITY, f64::min))
    });
    let Some(Line { slope, error, r_squared }) = line(&points) else {
        return ([few, few, few, gap(models)], ratio);
    };
    let error = error.map_or(few, Value::real);
    ([Value::real(slope), error, Value::within(r_squared, 0.0, 1.0), gap(models)], ratio)
}

/// How far the shapes of any two models differ.
fn gap(models: &[RoleSpectra]) -> Value {
    let fewest = models.iter().flat_map(|model| &model.values).map(Vec::len).min().unwrap_or(0);
    if fewest == 0 || models.len() < 2 {
        return Value::Missing(MissingReason::TooFewWidths);
    }
    let end = (fewest - 1) as f64 / fewest as f64;
    // The last step must not be lost to rounding.
    let grid: Vec<f64> = (0..20u32).map(|i| f64::from(i) * STEP).take_while(|t| *t <= end + 1e-12).collect();
    let curves: Vec<Vec<f64>> = models.iter().map(|model| model.curve(&grid)).collect();
    let mut most = 0.0f64;
    for (i, one) in curves.iter().enumerate() {
        for other in &curves[i + 1..] {
            let apart = one.iter().zip(other).map(|(a, b)| (a - b).abs());
            most = apart.fold(most, f64::max);
        }
    }
    Value::within(most, 0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(exponent: f64, noise: &[f64]) -> Vec<RoleSpectra> {
        let widths = [64.0f64, 128.0, 256.0, 512.0];
        let of = |(width, noise): (&f64, &f64)| RoleSpectra {
            width: *width,
            rate: Some(width.powf(-0.5)),
            values: vec![
                (0..*width as usize)
                    .map(|i| width.powf(exponent) * noise.exp() * (1.0 - i as f64 / (2.0 * width)))
                    .collect(),
            ],
        };
        widths.iter().zip(noise).map(of).collect()
    }

    #[test]
    fn a_planted_exponent_is_found_with_its_error() {
        let ([exponent, error, r_squared, gap], ratio) = measure(&models(0.25, &[0.0; 4]));
        let near = |value: Value, expected: f64| (value.number().expect("measured") - expected).abs() < 1e-12;
        assert!(near(exponent, 0.25) && near(error, 0.0) && near(r_squared, 1.0) && near(gap, 0.0));
        // √(η/λ)·d^¾ = d^¼.
        assert!(near(ratio, 1.0));
        let noisy = models(0.25, &[0.01, -0.01, -0.01, 0.01]);
        let ([exponent, error, ..], _) = measure(&noisy);
        // x is −1.5, −0.5, 0.5, 1.5 times ln 2, and the noise is orthogonal to it.
        let expected = (4e-4f64 / 2.0 / 5.0).sqrt() / 2.0f64.ln();
        assert!(near(exponent, 0.25) && near(error, expected), "{error:?}");
    }

    #[test]
    fn what_cannot_be_fitted_says_so() {
        let two = &models(0.25, &[0.0; 4])[..2];
        assert_eq!(measure(two).0[1], Value::Missing(MissingReason::TooFewWidths));
        assert_eq!(measure(&two[..1]).0[0], Value::Missing(MissingReason::TooFewWidths));
        let zero = RoleSpectra { values: vec![vec![0.0; 4]], ..two[0].clone() };
        assert_eq!(measure(&[zero]).0[0], Value::Missing(MissingReason::AllZero));
    }
}
