//! The drifts of a pair of weights of one shape, and whether one only looks different from the other.

use std::borrow::Cow;

use crate::error::Error;
use crate::matrix::Matrix;
use crate::report::{Flag, MissingReason, Value};
use crate::solver::unit::{self, Rescaled};
use crate::solver::{Factors, Precision, Triplets};
use crate::spectrum::{Spectrum, magnitude, scaled};

use super::directions::Directions;
use super::gains;
use super::likeness::{self, Change};
use super::subspaces::Subspaces;
use super::update::{Update, all_vectors, leading_vectors};
use super::{Both, GainFit, Settings, Side, SideMeasured, Vectors, Weight};
use crate::analysis::delta::UpdateNumbers;

/// The values of all drifts that `settings` ask for; flags weights that only look different.
pub(super) fn drifts(
    (weight, base): (Weight<'_>, &SideMeasured),
    (tuned_weight, tuned): (Weight<'_>, &mut SideMeasured),
    settings: &Settings,
) -> Result<Vec<Value>, Error> {
    if !base.is_finite() || !tuned.is_finite() {
        return Ok(settings.drifts.iter().map(|_| Value::Missing(MissingReason::NonFinite)).collect());
    }
    let unit = unit::common([exponent(base), exponent(tuned)]);
    let precision = weight.update(&tuned_weight, settings).precision;
    // Scaling weights from near the ends of a double's range to near one leaves ratios unchanged.
    let (weight, tuned_weight) = (weight.times(-unit), tuned_weight.times(-unit));
    let rescaled = |of: &SideMeasured| {
        let near = of.spectrum.as_ref().filter(|_| unit != 0);
        near.map(|spectrum| spectrum.rescaled(-unit)).transpose()
    };
    let near = [rescaled(base)?, rescaled(tuned)?];
    let (of_base, of_tuned) = (side(base, near[0].as_ref(), unit), side(tuned, near[1].as_ref(), unit));
    let base = Decomposed { weight, side: of_base, triplets: base.triplets.as_ref().filter(|_| unit == 0) };
    let triplets = tuned.triplets.as_ref().filter(|_| unit == 0);
    let known = Decomposed { weight: tuned_weight, side: of_tuned, triplets };
    let (values, flag) = drifts_within(&base, &known, (settings, precision, unit))?;
    tuned.flags.extend(flag);
    Ok(values)
}

/// The exponent of the size of a side; none of zeros.
fn exponent(of: &SideMeasured) -> Option<i32> {
    match (&of.spectrum, of.energy) {
        (Some(spectrum), _) => unit::of_spectrum(spectrum),
        (None, Ok(energy)) if energy > 0.0 => Some(magnitude(energy.sqrt())),
        (None, _) => None,
    }
}

/// What is known of a side in units of `2^unit`; `near` is its spectrum in these units, where they are not one.
fn side<'a>(of: &'a SideMeasured, near: Option<&'a Spectrum>, unit: i32) -> Side<'a> {
    let spectrum = near.or(of.spectrum.as_ref());
    Side {
        spectrum,
        largest: spectrum.map(Spectrum::largest).or_else(|| of.largest().map(|s| scaled(s, -unit))),
        norm: match (of.energy, spectrum) {
            (Ok(energy), _) if unit == 0 => Ok(energy.sqrt()),
            (_, Some(spectrum)) => Ok(spectrum.norm()),
            (Ok(energy), None) => Ok(scaled(energy.sqrt(), -unit)),
            (Err(why), None) => Err(why),
        },
    }
}

/// A weight and what is known of it.
struct Decomposed<'a> {
    weight: Rescaled<'a>,
    side: Side<'a>,
    triplets: Option<&'a Triplets>,
}

impl Decomposed<'_> {
    /// Its `k` leading triplets; `matrix` is the weight, where it is in memory.
    fn leading(&self, matrix: Option<&Matrix>, k: usize) -> Result<Cow<'_, Factors>, Error> {
        match self.triplets {
            Some(known) => Ok(Cow::Borrowed(&known.leading)),
            None => leading_vectors(matrix, self.weight, k).map(Cow::Owned),
        }
    }

    /// All of them.
    fn all(&self, matrix: Option<&Matrix>) -> Result<Cow<'_, Factors>, Error> {
        match self.triplets.and_then(|known| known.all.as_ref()) {
            Some(known) => Ok(Cow::Borrowed(known)),
            None => all_vectors(matrix, self.weight).map(Cow::Owned),
        }
    }
}

/// The same of weights over a power of two, whose squares all fit a double.
fn drifts_within(
    base: &Decomposed<'_>,
    tuned: &Decomposed<'_>,
    (settings, precision, exponent): (&Settings, Precision, i32),
) -> Result<(Vec<Value>, Option<Flag>), Error> {
    let needs = settings.needs;
    let is_read = needs.update.is_some() || needs.gains == GainFit::Sought;
    let update = is_read.then(|| Update::read(base.weight, tuned.weight)).transpose()?;
    let [base_side, tuned_side] = update.as_ref().map_or([None; 2], Update::sides);
    let numbers = match (&update, needs.update) {
        (Some(update), Some(needs)) => Some(UpdateNumbers::new(&update.operator()?, precision, needs)?),
        _ => None,
    };
    let subspaces = match (needs.vectors, base.side.spectrum, tuned.side.spectrum) {
        (Vectors::Leading | Vectors::All, Some(of_base), Some(of_tuned)) => {
            let resolved = [of_base, of_tuned].map(|spectrum| spectrum.resolved().len());
            let top = resolved.into_iter().fold(settings.top, usize::min);
            Some(Subspaces::new(
                &*base.leading(base_side, settings.top)?,
                &*tuned.leading(tuned_side, settings.top)?,
                top,
            )?)
        }
        _ => None,
    };
    let directions = match (needs.vectors, &update) {
        (Vectors::All, Some(update)) => {
            let (base, tuned) = (base.all(base_side)?, tuned.all(tuned_side)?);
            Some(Directions::new(&base, &tuned, &update.operator()?, settings)?)
        }
        _ => None,
    };
    let both = Both {
        base: base.side,
        tuned: tuned.side,
        update: numbers,
        layer: base.weight.layer,
        subspaces,
        directions: directions.as_ref(),
        gains: match (needs.gains, base_side, tuned_side) {
            (GainFit::Unsought, ..) => None,
            (GainFit::Sought, Some(base), Some(tuned)) => gains::gains(base, tuned)?,
            (GainFit::Sought, ..) => gains::gains(&base.weight.whole()?, &tuned.weight.whole()?)?,
        },
        exponent,
    };
    let values = settings.drifts.iter().map(|drift| (drift.value)(&both)).collect();
    let (Some((of_base, of_tuned)), Some(update)) = (both.values(), &both.update) else {
        return Ok((values, None));
    };
    if update.norm == 0.0 || of_base.largest() == 0.0 {
        return Ok((values, None));
    }
    let change =
        Change { same_values: same_values(of_base, of_tuned), moved: update.norm > MOVED * of_base.norm() };
    Ok((values, likeness::flag(base.weight, tuned.weight, change)?))
}

/// Two spectra closer than this, relative to σ₁, are equal: far above rounding, far below what training does.
const SAME: f64 = 1e-5;

/// A smaller update, relative to the base, may leave the values where they are by itself.
const MOVED: f64 = 0.01;

pub(super) fn same_values(base: &Spectrum, tuned: &Spectrum) -> bool {
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= SAME * base.largest();
    base.largest() > 0.0
        && base.exponent() == tuned.exponent()
        && base.values().iter().zip(tuned.values()).all(close)
}
