//! A base and thin updates of it: one reduction for all.

use std::sync::Arc;

use super::choice::{BLOCK_BYTES, Form, Need, Precision, procedure};
use super::entries::Entries;
use super::held::Held;
use super::memo::agrees;
use super::reading::{Reading, Sought, Triplets, finite, read_triplets, scanned, triplets_where_they_fit};
use crate::error::Error;
use crate::layer::Layer;
use crate::linalg::{self, Cost, Reference, Vectors};
use crate::low_rank::LowRank;
use crate::spectrum::Route;
use crate::weight::{Catalogue, ContentId};

/// A matrix of a checkpoint.
pub type Stored<'a> = (&'a Catalogue, &'a Layer);

/// A reading and the triplets that were sought.
pub type WithTriplets = (Reading, Option<Triplets>);

/// Reads a base, the same as [`read_triplets`], and each of `tuned` that is the base and a thin update of it: its values
/// and leading triplets follow from the base's reduction. None for the others, and for updates that are too thick for
/// that.
///
/// # Errors
/// As [`read_triplets`].
pub fn read_with_updates(
    (source, layer): Stored<'_>,
    tuned: &[Option<Stored<'_>>],
    precision: Precision,
    sought: Sought,
) -> Result<(WithTriplets, Vec<Option<WithTriplets>>), Error> {
    let updates: Vec<_> =
        tuned.iter().map(|tuned| tuned.and_then(|of| update((source, layer), of, precision))).collect();
    let reads_alone = sought.all || updates.iter().all(Option::is_none);
    let held = if reads_alone { None } else { Some(Held::read(source, layer)?) };
    let Some(Held::Dense(matrix)) = &held else {
        return Ok((read_triplets(source, layer, precision, sought)?, vec![]));
    };
    let reading = Reading::new(Entries::of(matrix), ContentId::of_matrix(matrix));
    if !finite(&reading.entries) {
        return Ok(((reading, None), vec![]));
    }
    let route = procedure(&Form::of(layer, precision), Need::Values).route();
    let reference = Reference::new(matrix, Vectors::Right, route)?;
    let of_updates = tuned.iter().zip(updates).map(|(tuned, update)| {
        let (Some(tuned), Some((source, layer))) = (tuned, update) else { return Ok(None) };
        match Held::read(&source, &layer)? {
            Held::Thin(update) => updated(*tuned, &reference, &update, sought),
            Held::Dense(_) => Ok(None),
        }
    });
    let of_updates = of_updates.collect::<Result<Vec<_>, Error>>()?;
    let spectrum = Some(reference.spectrum().clone());
    let found = triplets_where_they_fit(reference, sought)?;
    Ok(((Reading { spectrum, ..reading }, found), of_updates))
}

/// The cost of the values and leading triplets of a weight after an update of this rank, read for these alone, where they
/// follow from those of the weight before.
pub fn update_cost(form: &Form, rank: usize) -> Option<Cost> {
    let squared = procedure(form, Need::Values).route() == Route::Gram;
    let Cost { flops, bytes } = linalg::update_cost(form.rows, form.cols, rank).filter(|_| squared)?;
    Some(Cost { flops, bytes: bytes + BLOCK_BYTES as u64 })
}

/// The update that makes `tuned` of `base`, where its values may come from the base's: by the same route as its own.
fn update(
    base: Stored<'_>,
    (source, layer): Stored<'_>,
    precision: Precision,
) -> Option<(Catalogue, Arc<Layer>)> {
    let squared = |layer| procedure(&Form::of(layer, precision), Need::Values).route() == Route::Gram;
    let found = source.added(layer, base).filter(|_| squared(base.1) && squared(layer))?;
    update_cost(&Form::of(layer, precision), found.1.rank.filter(|rank| *rank > 0)?)?;
    Some(found)
}

fn updated(
    (source, layer): Stored<'_>,
    reference: &Reference<'_>,
    update: &LowRank,
    sought: Sought,
) -> Result<Option<WithTriplets>, Error> {
    let (updated, reading) = reference.updated_beside(update, || scanned(source, layer, |_| {}));
    let (Some(updated), reading) = (updated, reading?) else { return Ok(None) };
    // What the update made of each entry is a second opinion on its spectrum.
    if !finite(&reading.entries) || !agrees(&reading.entries, updated.spectrum()) {
        return Ok(None);
    }
    let leading = updated.leading_to(sought.k, sought.tolerance)?;
    let spectrum = Some(updated.spectrum().clone());
    Ok(Some((Reading { spectrum, ..reading }, Some(Triplets { leading, all: None }))))
}
