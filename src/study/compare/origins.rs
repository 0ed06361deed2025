//! What the numbers of a comparison depend on, and where its tasks read.

use super::Question;
use super::tasks::MatrixTask;
use crate::analysis::compare::Settings;
use crate::checkpoint::Derivations;
use crate::study::{Basis, Reads};

/// What the numbers depend on beside the settings of the report.
pub(super) fn basis(question: &Question, tasks: &[MatrixTask]) -> Basis {
    let Question { sides, depth, settings, .. } = question;
    let (mut derivations, mut reports) = (Derivations::default(), vec![]);
    for (i, side) in sides.all().enumerate() {
        side.origins(&mut derivations, &mut reports);
        let Some(source) = side.weights() else { continue };
        let layer = |task: &MatrixTask| if i == 0 { task.base.clone() } else { task.tuned[i - 1].clone() };
        tasks.iter().filter_map(layer).for_each(|layer| derivations.add(source, &layer));
    }
    let Settings { precision, needs, preserve, top, .. } = settings;
    let options = format!("{:?}", (depth, precision, needs, preserve, top));
    Basis { options: vec![("the options", options)], derivations, reports }
}

/// Where a task begins to read.
pub(super) fn reads(task: &MatrixTask) -> Reads {
    let bytes = task.base.iter().chain(task.tuned.iter().flatten()).map(|layer| layer.bytes());
    let bytes = bytes.fold(0, u64::saturating_add);
    match task.layer() {
        Some(layer) => Reads { file: layer.file, offset: layer.offset, bytes },
        None => nowhere(bytes),
    }
}

/// So many bytes in no certain place.
pub(super) fn nowhere(bytes: u64) -> Reads {
    Reads { file: usize::MAX, offset: 0, bytes }
}
