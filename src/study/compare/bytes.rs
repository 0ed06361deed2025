//! The first step of a row: what the bytes of its sides say, and whether that decides what became of it.

use std::sync::Arc;

use super::side::{ComparedSide, Sides};
use super::tasks::MatrixTask;
use super::{Depth, numbers_of};
use crate::analysis::compare::{BYTE_COLUMNS, Content, Drift, Drifts, Vocabulary, changed_share, equal};
use crate::error::Error;
use crate::layer::Layer;
use crate::report::{Numbers, Places, Resolution, Standing};
use crate::solver::Memo;
use crate::study::{FoundPair, FoundSide};

/// Reads the bytes of a row, as far as they decide whether it changed or are all that is asked.
///
/// # Errors
/// When a side cannot be read, or could not be when its report was written.
pub(super) fn compare_bytes(
    sides: &Sides,
    task: &MatrixTask,
    (depth, vocabulary, drifts): (Depth, &Vocabulary, Drifts),
    memo: &dyn Memo,
) -> Result<FoundPair, Error> {
    let layers = std::iter::once(task.base.as_ref()).chain(task.tuned.iter().map(Option::as_ref));
    for (side, layer) in sides.all().zip(layers.clone()) {
        let row = layer.and_then(|layer| side.row(&layer.name));
        if let Some(failure) = row.and_then(|row| row.failed.as_ref()) {
            return Err(side.failed(failure));
        }
    }
    let headers: Vec<_> = (0..sides.tuned.len()).map(|i| task.standing(i)).collect();
    let undecided = headers.iter().any(|(standing, _)| *standing == Some(Standing::Unchanged));
    let mut base = KnownBytes::known(&sides.base, task.base.as_ref(), vocabulary);
    if let Some(layer) =
        task.base.as_ref().filter(|_| depth == Depth::Bytes || (undecided && base.blake3.is_none()))
    {
        base.read(&sides.base, layer, vocabulary, memo)?;
    }
    let mut varies = base.varies;
    let mut tuned = vec![];
    for (i, (_, side)) in sides.tuned.iter().enumerate() {
        let (mut standing, _) = headers[i];
        let mut bytes = KnownBytes::known(side, task.tuned[i].as_ref(), vocabulary);
        let decides = standing == Some(Standing::Unchanged);
        if let Some(layer) = task.tuned[i].as_ref().filter(|_| decides || depth == Depth::Bytes) {
            bytes.read(side, layer, vocabulary, memo)?;
        }
        if let (true, Some(of_base), Some(of_tuned)) = (decides, &task.base, &task.tuned[i]) {
            let same = match (sides.base.weights(), side.weights()) {
                // A stored weight and one that is computed have other bytes for the same numbers.
                (Some(source), Some(other)) if of_base.read_as != of_tuned.read_as => {
                    equal((source.as_ref(), of_base), (other.as_ref(), of_tuned))?
                }
                _ => base.blake3.is_some() && base.blake3 == bytes.blake3,
            };
            if !same {
                standing = Some(Standing::Measured);
            }
        }
        let told = match (standing, sides.base.weights(), side.weights(), &task.base, &task.tuned[i]) {
            (Some(Standing::Measured), Some(source), Some(other), Some(of_base), Some(of_tuned))
                if drifts.iter().any(|drift| is_of_bytes(drift)) =>
            {
                let share = changed_share((source.as_ref(), of_base), (other.as_ref(), of_tuned), memo)?;
                Some(drifts.iter().map(|drift| is_of_bytes(drift).then_some(share)).collect())
            }
            _ => None,
        };
        varies = varies || bytes.varies;
        let KnownBytes { blake3, values, resolution, places, .. } = bytes;
        tuned.push(FoundSide {
            outline: vec![],
            standing,
            blake3,
            values,
            resolution,
            drifts: told,
            flags: vec![],
            places,
        });
    }
    let mut copied = sides.all().zip(layers).filter_map(|(side, layer)| Some(side.has_copies(layer?)));
    Ok(FoundPair {
        base_outline: vec![],
        base_blake3: base.blake3,
        base: base.values,
        base_resolution: base.resolution,
        tuned,
        varies: varies || copied.any(|copied| copied),
        measured: false,
    })
}

/// Whether a number of a pair is found here.
pub(super) fn is_of_bytes(drift: &Drift) -> bool {
    BYTE_COLUMNS.iter().any(|known| known.column == drift.column)
}

/// What is known of one side without a decomposition.
struct KnownBytes {
    blake3: Option<String>,
    values: Option<Numbers>,
    resolution: Option<Resolution>,
    places: Places,
    varies: bool,
}

impl KnownBytes {
    /// As a report has it.
    fn known(side: &ComparedSide, layer: Option<&Arc<Layer>>, vocabulary: &Vocabulary) -> Self {
        let row = layer.and_then(|layer| side.row(&layer.name));
        let columns = vocabulary.metrics();
        Self {
            blake3: row.and_then(|row| row.blake3.clone()),
            values: row.map(|row| numbers_of(&side.numbers(&row.layer.name, &columns), &columns)),
            resolution: row.and_then(|row| row.resolution.clone()),
            places: row.map(|row| row.places.clone()).unwrap_or_default(),
            varies: false,
        }
    }

    /// Reads it, if it has weights.
    fn read(
        &mut self,
        side: &ComparedSide,
        layer: &Layer,
        vocabulary: &Vocabulary,
        memo: &dyn Memo,
    ) -> Result<(), Error> {
        let Some(source) = side.weights() else { return Ok(()) };
        let content = Content::of(source, layer, memo)?;
        let values = content.measurements(layer, vocabulary.table());
        self.blake3 = Some(content.identity.hex());
        self.values = Some(numbers_of(&values, &vocabulary.metrics()));
        self.places = content.places(layer);
        self.varies = content.identity.varies;
        Ok(())
    }
}
