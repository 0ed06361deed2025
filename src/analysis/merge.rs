//! One weight with an adapter's update added, rounded once to the type of the weight, and what that made of it.

mod step;
mod tile;

use std::sync::Arc;

use crate::dialect::Pairs;
use crate::error::Error;
use crate::layer::Layer;
use crate::matrix::Matrix;
use crate::report::{Accuracy, Column, Format, Measurements, MissingReason, Quantity, Value};
use crate::solver::Cost;
use crate::weight::{Catalogue, Fingerprint};

use super::Measured;
use super::delta::{CHANGED_SHARE, DELTA_FROBENIUS_RATIO};
use step::{Change, Sums};
use tile::{Panels, ROWS};

/// How much of a weight is in memory at once, as doubles.
const BLOCK: usize = 1 << 20;

/// The columns, in report order.
pub static MERGED: [Column; 3] = [DELTA_FROBENIUS_RATIO, CHANGED_SHARE, ROUNDING_LOSS];

const ROUNDING_LOSS: Column = Column {
    key: "rounding_loss",
    label: "rounded off",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "‖W − (W₀ + ΔW)‖_F/‖ΔW‖_F of the weight W as it is written: what rounding to its type adds to the update or takes from it",
    range: "[0, ∞)",
    source: "definition",
};

/// What is added.
enum Added {
    Product(Panels),
    Rows(Catalogue, Arc<Layer>),
    /// The merged weight is not base plus update: it was rescaled, or saved whole.
    Whole,
}

/// What it takes to merge the update `layer`.
pub fn cost(layer: &Layer) -> Cost {
    let directions = layer.rank.unwrap_or(layer.rows.min(layer.cols).min(64));
    let factors = 16 * (layer.rows + layer.cols) * directions;
    Cost {
        flops: 2.0 * layer.len() as f64 * (directions + 8) as f64,
        bytes: (4 * BLOCK + factors).max(BLOCK) as u64,
    }
}

/// Merges the update called `name` into its weight; `merged` are the `pairs` added up. `write` takes the rows in order.
///
/// # Errors
/// When something cannot be read or written, an entry is not finite, or a sum does not fit the weight's type.
pub fn merge(
    (pairs, merged): (&Pairs, &Catalogue),
    name: &str,
    write: &mut dyn FnMut(&Matrix) -> Result<(), Error>,
) -> Result<Measured, Error> {
    let pair = pairs.get(name)?;
    let (base, layer) = (pairs.base().as_ref(), pair.base.as_ref());
    let added = match merged.added(layer, (base, layer)) {
        Some((source, update)) if update.rank.is_some_and(|rank| rank > 0) => {
            Added::Product(Panels::of(&source.factors(&update)?))
        }
        Some((source, update)) => Added::Rows(source, update),
        None => Added::Whole,
    };
    let (mut sums, mut content, mut room) = (Sums::default(), Fingerprint::default(), vec![]);
    let (line, entries) = (layer.cols * layer.read_as.size(), BLOCK / size_of::<f64>());
    let height = (entries / layer.cols.max(1)).next_multiple_of(ROWS);
    for rows in layer.blocks(height * line) {
        let stored = base.read(layer, rows.clone())?;
        let rounded = match &added {
            Added::Product(panels) => sums.take(&stored, &Change::Product(panels, rows.start), room)?,
            Added::Rows(source, update) => {
                sums.take(&stored, &Change::Entries(&source.read(update, rows)?.to_f64()), room)?
            }
            Added::Whole => {
                sums.take(&stored, &Change::Instead(&merged.read(layer, rows)?.to_f64()), room)?
            }
        };
        content.push(&rounded);
        write(&rounded)?;
        room = rounded.into_bytes();
    }
    let values = MERGED.iter().zip(sums.values(layer.len())).collect();
    Ok(Measured { values: Measurements(values), ..Measured::nothing(content.finish()) })
}

impl Sums {
    fn values(&self, entries: usize) -> [Value; 3] {
        let ratio = |part: f64, whole: f64, none: MissingReason| match (part, whole) {
            (0.0, 0.0) if none == MissingReason::ZeroBase => Value::Real(0.0),
            (_, 0.0) => Value::Missing(none),
            (part, whole) => Value::real((part / whole).sqrt()),
        };
        [
            ratio(self.update, self.base, MissingReason::ZeroBase),
            Value::real(self.changed as f64 / entries.max(1) as f64),
            ratio(self.lost, self.update, MissingReason::NoUpdate),
        ]
    }
}
