//! One matrix, read once: its hygiene, its singular values, and every metric of them.

use crate::error::Error;
use crate::layer::Layer;
use crate::metric::{Metric, Metrics, Rounded, Subject};
use crate::report::{Flag, Measurements, MissingReason, Resolution};
use crate::solver::{
    self, Cost, Form, Largest, Memo, Need, Needs, Precision, Procedure, Reading, Sought, Stored, Triplets,
};
use crate::weight::Catalogue;

use super::compare::Content;
use super::{Measured, hygiene};

/// The cost of measuring what `needs` so much.
pub fn cost(layer: &Layer, precision: Precision, needs: Needs) -> Cost {
    match needs {
        Needs::Entries => hygiene::cost(layer),
        Needs::Largest => solver::cost(&Form::of(layer, precision), Need::Largest),
        Needs::Values => solver::cost(&Form::of(layer, precision), Need::Values),
    }
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
    measure_with(source, layer, (precision, Needs::Values), Rounded::Itself, &evaluate, memo)
}

/// The same of some metrics, by no more than `needs`.
///
/// # Errors
/// As [`measure`].
pub fn measure_some(
    source: &Catalogue,
    layer: &Layer,
    how: (Precision, Needs),
    metrics: Metrics,
    memo: &dyn Memo,
) -> Result<Measured, Error> {
    let evaluate = |subject: &Subject<'_>| subject.evaluate_each(metrics);
    measure_with(source, layer, how, Rounded::Itself, &evaluate, memo)
}

/// Reads `layer` from `source` and measures it with `evaluate`, which takes as much as the needs say; `rounded` says what
/// was rounded.
///
/// # Errors
/// When the layer cannot be read or its decomposition does not converge.
pub fn measure_with(
    source: &Catalogue,
    layer: &Layer,
    (precision, needs): (Precision, Needs),
    rounded: Rounded,
    evaluate: &dyn Fn(&Subject<'_>) -> Measurements,
    memo: &dyn Memo,
) -> Result<Measured, Error> {
    if needs == Needs::Entries {
        let content = Content::of(source, layer, memo)?;
        let subject = content.subject(layer);
        let (values, places, energy) = (evaluate(&subject), subject.places(), subject.energy());
        return Ok(Measured { values, places, energy, ..Measured::nothing(content.identity) });
    }
    let reading = solver::read(source, layer, (precision, needs), memo)?;
    let measured = measured(reading, layer, rounded, evaluate);
    if needs == Needs::Values {
        return Ok(measured);
    }
    // A row has a spectrum in every report or in none of these.
    let by_values = measured.spectrum.is_some() && is_sought_alone(layer, precision);
    let flags = measured.flags.into_iter().chain(by_values.then_some(Flag::LargestByValues)).collect();
    Ok(Measured { flags, spectrum: None, ..measured })
}

/// Whether the largest value of a matrix is sought by itself, as headers tell.
fn is_sought_alone(layer: &Layer, precision: Precision) -> bool {
    solver::procedure(&Form::of(layer, precision), Need::Largest) == Procedure::Products
}

/// As [`measure`], with the triplets of a dense weight that are `sought`.
///
/// # Errors
/// As [`measure`].
pub(super) fn measure_triplets(
    source: &Catalogue,
    layer: &Layer,
    precision: Precision,
    metrics: Metrics,
    sought: Sought,
) -> Result<WithTriplets, Error> {
    let (reading, triplets) = solver::read_triplets(source, layer, precision, sought)?;
    let evaluate = |subject: &Subject<'_>| subject.evaluate_each(metrics);
    Ok((measured(reading, layer, Rounded::Itself, &evaluate), triplets))
}

/// A matrix with its leading triplets, where it has any.
pub(super) type WithTriplets = (Measured, Option<Triplets>);

/// As [`measure_triplets`] for a base, and for each of `tuned` whose values follow from the base's.
///
/// # Errors
/// As [`measure`].
pub(super) fn measure_with_updates(
    base: Stored<'_>,
    tuned: &[Option<Stored<'_>>],
    (precision, metrics): (Precision, Metrics),
    sought: Sought,
) -> Result<(WithTriplets, Vec<Option<WithTriplets>>), Error> {
    let evaluate = |subject: &Subject<'_>| subject.evaluate_each(metrics);
    let all = |layer, (reading, triplets)| (measured(reading, layer, Rounded::Itself, &evaluate), triplets);
    let (of_base, of_tuned) = solver::read_with_updates(base, tuned, precision, sought)?;
    let of_tuned = of_tuned.into_iter().zip(tuned).map(|(found, of)| Some(all(of.as_ref()?.1, found?)));
    Ok((all(base.1, of_base), of_tuned.collect()))
}

fn measured(
    Reading { entries, spectrum, identity, largest }: Reading,
    layer: &Layer,
    rounded: Rounded,
    evaluate: &dyn Fn(&Subject<'_>) -> Measurements,
) -> Measured {
    let subject = match largest {
        Some(largest) => Subject::of_largest(layer, &entries, largest),
        None => Subject::new(layer, &entries, spectrum.as_ref().ok_or(MissingReason::NonFinite)),
    };
    let subject = subject.rounded(rounded);
    let values = evaluate(&subject);
    let resolution = match largest {
        Some(Largest { value, error }) => {
            Some(Resolution { base: false, side: None, spectral_norm: value, accuracy_floor: error })
        }
        None => spectrum.as_ref().and_then(super::resolution),
    };
    let (places, flags, energy) = (subject.places(), subject.flags(), subject.energy());
    Measured { values, places, flags, identity, energy, resolution, spectrum }
}
