//! The drifts of a pair of weights of one shape, and whether one only looks different from the other.

use std::borrow::Cow;

use crate::error::Error;
use crate::matrix::Matrix;
use crate::metric::Subject;
use crate::report::{Flag, MissingReason, Value};
use crate::solver::unit::{self, Rescaled};
use crate::solver::{self, Entries, Factors, Precision, Triplets};
use crate::spectrum::Spectrum;

use super::directions::Directions;
use super::gains;
use super::likeness::{self, Change};
use super::subspaces::Subspaces;
use super::update::{Update, all_vectors, leading_vectors};
use super::{Both, Settings, SideMeasured, Vectors, Weight, drifts_of};

/// The values of all drifts that `settings` ask for; flags weights that only look different.
pub(super) fn drifts(
    (weight, base): (Weight<'_>, &SideMeasured),
    (tuned_weight, tuned): (Weight<'_>, &mut SideMeasured),
    settings: &Settings,
) -> Result<Vec<Value>, Error> {
    let (Some(of_base), Some(of_tuned)) = (&base.spectrum, &tuned.spectrum) else {
        return Ok(drifts_of(settings.vectors).map(|_| Value::Missing(MissingReason::NonFinite)).collect());
    };
    let unit = unit::common([of_base, of_tuned].map(unit::of_spectrum));
    let precision = weight.update(&tuned_weight, settings).precision;
    // Scaling weights from near the ends of a double's range to near one leaves ratios unchanged.
    let (weight, tuned_weight) = (weight.times(-unit), tuned_weight.times(-unit));
    let side = |weight, spectrum, triplets| Decomposed { weight, spectrum, triplets };
    let (values, flag) = if unit == 0 {
        let base = side(weight, of_base, base.triplets.as_ref());
        let tuned = side(tuned_weight, of_tuned, tuned.triplets.as_ref());
        drifts_within(&base, &tuned, (settings, precision, 0))?
    } else {
        let (of_base, of_tuned) = (of_base.rescaled(-unit)?, of_tuned.rescaled(-unit)?);
        let (base, tuned) = (side(weight, &of_base, None), side(tuned_weight, &of_tuned, None));
        drifts_within(&base, &tuned, (settings, precision, unit))?
    };
    tuned.flags.extend(flag);
    Ok(values)
}

/// A weight and what is known of it.
struct Decomposed<'a> {
    weight: Rescaled<'a>,
    spectrum: &'a Spectrum,
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
    let all = || drifts_of(settings.vectors);
    let layer = base.weight.layer;
    let update = Update::read(base.weight, tuned.weight)?;
    let spectrum = solver::singular_values(update.operator()?, precision)?;
    let [base_side, tuned_side] = update.sides();
    let subspaces = match settings.vectors {
        Vectors::None => None,
        Vectors::Leading | Vectors::All => {
            let resolved = [base.spectrum, tuned.spectrum].map(|spectrum| spectrum.resolved().len());
            let top = resolved.into_iter().fold(settings.top, usize::min);
            Some(Subspaces::new(
                &*base.leading(base_side, settings.top)?,
                &*tuned.leading(tuned_side, settings.top)?,
                top,
            )?)
        }
    };
    let directions = match settings.vectors {
        Vectors::None | Vectors::Leading => None,
        Vectors::All => {
            let (base, tuned) = (base.all(base_side)?, tuned.all(tuned_side)?);
            Some(Directions::new(&base, &tuned, &update.operator()?, settings)?)
        }
    };
    let entries = Entries::new();
    let both = Both {
        base: base.spectrum,
        tuned: tuned.spectrum,
        update: &spectrum,
        subject: Subject::new(layer, &entries, Ok(&spectrum)),
        subspaces,
        directions: directions.as_ref(),
        gains: match [base_side, tuned_side] {
            [Some(base), Some(tuned)] => gains::gains(base, tuned)?,
            _ => gains::gains(&base.weight.whole()?, &tuned.weight.whole()?)?,
        },
        exponent,
    };
    let values = all().map(|drift| (drift.value)(&both)).collect();
    if spectrum.largest() == 0.0 || base.spectrum.largest() == 0.0 {
        return Ok((values, None));
    }
    let change = Change {
        same_values: same_values(base.spectrum, tuned.spectrum),
        moved: spectrum.norm() > MOVED * base.spectrum.norm(),
    };
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
