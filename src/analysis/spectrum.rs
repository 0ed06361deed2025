//! One matrix, read once: its hygiene, its singular values, and every metric of them.

use crate::error::Error;
use crate::layer::Layer;
use crate::metric::{Metric, Rounded, Subject};
use crate::report::{Measurements, MissingReason};
use crate::solver::{self, Cost, Form, Memo, Need, Precision, Reading, Sought, Triplets};
use crate::weight::Catalogue;

use super::Measured;

/// The cost of [`measure`].
pub fn cost(layer: &Layer, precision: Precision) -> Cost {
    solver::cost(&Form::of(layer, precision), Need::Values)
}

/// Reads `layer` from `source`, unless `memo` knows it, and fills every column of `metrics`.
///
/// A weight that is not finite has no spectrum: its hygiene is measured and everything else is missing.
///
/// # Errors
/// When the layer cannot be read or its decomposition does not converge.
pub fn measure(
    source: &Catalogue,
    layer: &Layer,
    precision: Precision,
    metrics: &'static [Metric],
    memo: &dyn Memo,
) -> Result<Measured, Error> {
    let evaluate = |subject: &Subject<'_>| subject.evaluate(metrics);
    measure_with(source, layer, precision, Rounded::Itself, &evaluate, memo)
}

/// Reads `layer` from `source` and measures it with `evaluate`; `rounded` says what was rounded.
///
/// # Errors
/// When the layer cannot be read or its decomposition does not converge.
pub fn measure_with(
    source: &Catalogue,
    layer: &Layer,
    precision: Precision,
    rounded: Rounded,
    evaluate: &dyn Fn(&Subject<'_>) -> Measurements,
    memo: &dyn Memo,
) -> Result<Measured, Error> {
    let reading = solver::read(source, layer, precision, memo)?;
    Ok(measured(reading, layer, rounded, evaluate))
}

/// As [`measure`], with the triplets of a dense weight that are `sought`.
///
/// # Errors
/// As [`measure`].
pub(super) fn measure_triplets(
    source: &Catalogue,
    layer: &Layer,
    precision: Precision,
    metrics: &'static [Metric],
    sought: Sought,
) -> Result<(Measured, Option<Triplets>), Error> {
    let (reading, triplets) = solver::read_triplets(source, layer, precision, sought)?;
    Ok((measured(reading, layer, Rounded::Itself, &|subject| subject.evaluate(metrics)), triplets))
}

fn measured(
    Reading { entries, spectrum, identity }: Reading,
    layer: &Layer,
    rounded: Rounded,
    evaluate: &dyn Fn(&Subject<'_>) -> Measurements,
) -> Measured {
    let subject =
        Subject::new(layer, &entries, spectrum.as_ref().ok_or(MissingReason::NonFinite)).rounded(rounded);
    let values = evaluate(&subject);
    Measured { values, places: subject.places(), flags: subject.flags(), identity, spectrum }
}
