//! The second step of a row: what its bytes do not decide is measured.

use super::super::estimate::total;
use super::side::{self, ComparedSide, Sides};
use super::tasks::MatrixTask;
use super::{Depth, numbers_of};
use crate::analysis::compare::{PairOutcome, Settings, SideMeasured, Vocabulary, cost, measure};
use crate::analysis::hygiene;
use crate::engine::Job;
use crate::error::Error;
use crate::layer::Layer;
use crate::report::{Measurements, Numbers, Resolution, Standing};
use crate::solver::Memo;
use crate::study::{FoundPair, FoundSide};

/// Whether anything is left to be measured of a row.
pub(super) fn is_wanted(found: &FoundPair, depth: Depth) -> bool {
    let changed = |standing| !matches!(standing, None | Some(Standing::Unchanged | Standing::Removed));
    let same = |standing| depth == Depth::Everything && standing == Some(Standing::Unchanged);
    depth != Depth::Bytes && found.tuned.iter().any(|side| changed(side.standing) || same(side.standing))
}

/// A row whose bytes told `found`, measured.
pub(super) fn measured(
    sides: &Sides,
    task: &MatrixTask,
    found: FoundPair,
    (depth, settings, vocabulary): (Depth, &Settings, &Vocabulary),
    memo: &dyn Memo,
) -> Result<FoundPair, Error> {
    let columns = vocabulary.metrics();
    let numbers = |side: &ComparedSide, layer: Option<&Layer>| {
        layer.map_or_else(Measurements::default, |layer| side.numbers(&layer.name, &columns))
    };
    let base_numbers = numbers(&sides.base, task.base.as_deref());
    let tuned_numbers: Vec<Measurements> =
        sides.tuned.iter().zip(&task.tuned).map(|((_, side), l)| numbers(side, l.as_deref())).collect();
    let base = task.base.as_ref().map(|layer| side::half(&sides.base, layer, &base_numbers));
    let tuned: Vec<_> = (0..found.tuned.len())
        .map(|i| {
            let standing = found.tuned[i].standing?;
            let skipped = standing == Standing::Unchanged && depth != Depth::Everything;
            let layer = task.tuned[i].as_ref().filter(|_| !skipped)?;
            Some((side::half(&sides.tuned[i].1, layer, &tuned_numbers[i]), standing))
        })
        .collect();
    let PairOutcome { base: of_base, tuned: of_tuned } = measure(base, &tuned, settings, memo)?;
    let base_resolution = found.base_resolution.or(of_base.as_ref().and_then(|of| of.resolution.clone()));
    let base_outline = of_base.as_ref().map(outline).unwrap_or_default();
    let (base_blake3, of_base) =
        of_base.map_or((None, None), |found| (found.blake3, Some(numbers_of(&found.values, &columns))));
    // What bytes alone tell of the base is not held against what was measured.
    let base = found.base.filter(|_| sides.base.saved().is_some()).or(of_base);
    let tuned = found.tuned.into_iter().zip(of_tuned).enumerate().map(|(i, (known, measured))| {
        let Some(measured) = measured else {
            return unmeasured(known, &sides.tuned[i].1, (base.as_ref(), base_resolution.as_ref()));
        };
        FoundSide {
            standing: known.standing,
            outline: outline(&measured.found),
            resolution: measured.found.resolution.or(known.resolution),
            blake3: measured.found.blake3.or(known.blake3),
            values: Some(numbers_of(&measured.found.values, &columns)),
            drifts: measured.drifts.map(|values| {
                let told = |at: usize| known.drifts.as_ref().and_then(|known| known.iter().nth(at).flatten());
                values.into_iter().enumerate().map(|(at, value)| told(at).or(Some(value))).collect()
            }),
            flags: measured.found.flags,
            places: if sides.tuned[i].1.saved().is_some() { known.places } else { measured.found.places },
        }
    });
    Ok(FoundPair {
        base_blake3: base_blake3.or(found.base_blake3),
        tuned: tuned.collect(),
        base,
        base_resolution,
        base_outline,
        varies: found.varies,
        measured: true,
    })
}

/// The singular values of a side with their positions, for pictures; none where they don't fit a double.
fn outline(side: &SideMeasured) -> Vec<(usize, f64)> {
    let drawn = side.spectrum.as_ref().filter(|spectrum| spectrum.fits());
    drawn.map_or_else(Vec::new, |spectrum| spectrum.outline(usize::MAX))
}

/// A side that is not measured: equal bytes have equal numbers, whichever side they were read from.
pub(super) fn unmeasured(
    known: FoundSide,
    side: &ComparedSide,
    (base, resolution): (Option<&Numbers>, Option<&Resolution>),
) -> FoundSide {
    let unchanged = known.standing == Some(Standing::Unchanged) && side.saved().is_none();
    match base.filter(|_| unchanged) {
        Some(base) => FoundSide { values: Some(base.clone()), resolution: resolution.cloned(), ..known },
        None => known,
    }
}

/// What it costs to read the bytes of a row.
pub(super) fn reading(task: &MatrixTask) -> Job {
    read(total(task.base.iter().chain(task.tuned.iter().flatten()).map(|layer| layer.bytes())))
}

/// What it costs to read so many bytes.
pub(super) fn read(bytes: u64) -> Job {
    Job { flops: bytes as f64 * hygiene::OPERATIONS_PER_BYTE, bytes: bytes.min(4 * hygiene::BLOCK as u64) }
}

/// The largest cost of measuring a row.
pub(super) fn measuring(sides: &Sides, task: &MatrixTask, settings: &Settings) -> Job {
    let none = Measurements::default();
    let base = task.base.as_ref().map(|layer| side::half(&sides.base, layer, &none));
    let tuned = sides
        .tuned
        .iter()
        .zip(&task.tuned)
        .filter_map(|((_, side), layer)| layer.as_ref().map(|layer| side::half(side, layer, &none)));
    let cost = cost(base, &tuned.collect::<Vec<_>>(), settings);
    Job { flops: cost.flops.max(1.0), bytes: cost.bytes.max(1) }
}
