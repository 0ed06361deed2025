//! How many directions one matrix uses, or the update it had from a base.

use crate::dialect::Pairs;
use crate::error::Error;
use crate::layer::Layer;
use crate::metric::{Chosen, Metrics, RANK_ABOVE_ROUNDING, Rounded, Subject};
use crate::report::Measurements;
use crate::solver::{BLOCK_BYTES, Memo, Needs, Precision};
use crate::weight::{Catalogue, Holds};

use super::Measured;
use super::spectrum::measure_with;

/// Reads `layer` from `source` and fills the columns of `metrics` and `chosen`, which take as much as the needs say; `pairs`
/// are the sides of an update.
///
/// # Errors
/// When the layer cannot be read or its decomposition does not converge.
pub fn measure(
    source: &Catalogue,
    pairs: Option<&Pairs>,
    layer: &Layer,
    how: (Precision, Needs),
    (metrics, chosen): (Metrics, &[&'static Chosen]),
    memo: &dyn Memo,
) -> Result<Measured, Error> {
    let rounded = match pairs {
        _ if !metrics.iter().any(|metric| metric.column == RANK_ABOVE_ROUNDING.column) => Rounded::Itself,
        None if source.holds() == Holds::Weights => Rounded::Itself,
        Some(pairs) if pairs.tuned().holds() == Holds::Weights => {
            let tuned = &pairs.get(&layer.name)?.tuned;
            match layer.epsilon() {
                Some(epsilon) => Rounded::Weights(rounding(pairs.tuned().as_ref(), tuned, epsilon)?),
                None => Rounded::Codes,
            }
        }
        _ => Rounded::Factors,
    };
    let evaluate = |subject: &Subject<'_>| {
        let Measurements(mut values) = subject.evaluate_each(metrics);
        values.extend(subject.evaluate_chosen(chosen.iter().copied()).0);
        Measurements(values)
    };
    measure_with(source, layer, how, rounded, &evaluate, memo)
}

/// The root mean square of the rounding error of a stored weight's entries, for a type with this `epsilon`: rounding
/// to nearest is uniform over the spacing at an entry, ε times the power of two below it.
fn rounding(source: &Catalogue, layer: &Layer, epsilon: f64) -> Result<f64, Error> {
    const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
    let (mut squares, mut largest) = (0f64, 0f64);
    for rows in layer.blocks(BLOCK_BYTES) {
        let entries = source.read(layer, rows)?.to_f64();
        let powers = entries.iter().map(|x| f64::from_bits(x.to_bits() & EXPONENT));
        // Relative to the largest, so that squares neither over- nor underflow.
        let before = largest;
        largest = powers.clone().fold(largest, f64::max);
        if largest > 0.0 && largest.is_finite() {
            squares *= (before / largest).powi(2);
            squares += powers.map(|power| (power / largest).powi(2)).sum::<f64>();
        }
    }
    Ok(epsilon * largest * (squares / 12.0 / layer.len() as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{Dtype, Matrix};

    #[test]
    fn rounding_goes_with_the_power_of_two_below_an_entry() {
        let matrix = Matrix::from_f64(2, 2, &[1.0, -1.9, 0.0, 3.5]).expect("four entries");
        let layer = Layer::plain("w", (2, 2), Dtype::F64);
        let source = Catalogue::given(Holds::Weights, [(layer.clone(), matrix.into())]);
        let found = rounding(&source, &layer, 0.5).expect("in memory");
        assert!((found - 0.5 * (6f64 / 4.0 / 12.0).sqrt()).abs() < 1e-15, "{found}");
    }
}
