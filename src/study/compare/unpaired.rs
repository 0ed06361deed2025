//! Matrices that only one side has may be made of those that only the other has: fused queries, keys and values, other
//! names. Those of one block are held against each other.

use std::collections::BTreeMap;

use super::side::Sides;
use super::tasks::MatrixTask;
use crate::analysis::compare::{HashedAs, Lines, arrangement};
use crate::analysis::hygiene;
use crate::engine::Job;
use crate::error::Error;
use crate::layer::Layer;
use crate::report::{Parts, Row};
use crate::study::FoundParts;

/// The rows of one block that only one side has, by their positions.
#[derive(Debug, Clone, Default)]
pub(super) struct Unpaired {
    base: Vec<usize>,
    tuned: Vec<usize>,
}

/// Blocks that have such rows on both sides; none where there are several tuned sides, or one has no weights.
pub(super) fn unpaired(sides: &Sides, tasks: &[MatrixTask]) -> Vec<Unpaired> {
    if sides.tuned.len() != 1 || sides.all().any(|side| side.weights().is_none()) {
        return vec![];
    }
    let mut blocks: BTreeMap<Option<u64>, Unpaired> = BTreeMap::new();
    for (i, task) in tasks.iter().enumerate() {
        match (&task.base, &task.tuned[..]) {
            (Some(base), [None]) => blocks.entry(base.block).or_default().base.push(i),
            (None, [Some(tuned)]) => blocks.entry(tuned.block).or_default().tuned.push(i),
            _ => {}
        }
    }
    blocks.into_values().filter(|block| !block.base.is_empty() && !block.tuned.is_empty()).collect()
}

impl Unpaired {
    fn layers<'t>(&self, tasks: &'t [MatrixTask]) -> impl Iterator<Item = &'t Layer> {
        self.base.iter().chain(&self.tuned).filter_map(|at| {
            let task = &tasks[*at];
            task.base.as_deref().or_else(|| task.layer())
        })
    }

    /// What it costs to read them.
    pub(super) fn cost(&self, tasks: &[MatrixTask]) -> Job {
        let entries = self.layers(tasks).map(|layer| 16.0 * layer.len() as f64).sum::<f64>();
        let bytes = self.layers(tasks).map(Lines::cost).sum::<u64>();
        Job { flops: entries * hygiene::OPERATIONS_PER_BYTE, bytes }
    }

    /// Each row that is made of rows of the other side.
    ///
    /// # Errors
    /// When a side cannot be read.
    pub(super) fn read(&self, sides: &Sides, tasks: &[MatrixTask]) -> Result<Vec<FoundParts>, Error> {
        let Some((_, tuned_side)) = sides.tuned.first() else { return Ok(vec![]) };
        let (Some(base_side), Some(tuned_side)) = (sides.base.weights(), tuned_side.weights()) else {
            return Ok(vec![]);
        };
        let mut types = self.layers(tasks).map(|layer| layer.read_as);
        let first = types.next();
        let hashed =
            if types.all(|other| Some(other) == first) { HashedAs::Stored } else { HashedAs::Double };
        let base = self.base.iter().filter_map(|at| tasks[*at].base.as_ref());
        let base = base.map(|layer| Lines::of(base_side, layer, hashed)).collect::<Result<Vec<_>, _>>()?;
        let tuned = self.tuned.iter().filter_map(|at| tasks[*at].layer());
        let tuned = tuned.map(|layer| Lines::of(tuned_side, layer, hashed)).collect::<Result<Vec<_>, _>>()?;
        let mut found = vec![];
        for (row, lines) in self.tuned.iter().zip(&tuned) {
            found.extend(arrangement(lines, &base).map(|made| FoundParts::new(*row, made, &self.base)));
        }
        for (row, lines) in self.base.iter().zip(&base) {
            // One of one is told of the tuned side's.
            let several = arrangement(lines, &tuned).filter(|made| made.parts.len() > 1);
            found.extend(several.map(|made| FoundParts::new(*row, made, &self.tuned)));
        }
        Ok(found)
    }
}

/// Puts what was found into the rows.
pub(super) fn fill(rows: &mut [Row], found: Vec<FoundParts>) {
    for FoundParts { row, parts, transposed, order } in found {
        let names = parts.into_iter().filter_map(|at| Some(rows.get(at)?.name.to_string())).collect();
        if let Some(row) = rows.get_mut(row) {
            row.places.parts = Some(Box::new(Parts { names, transposed, order }));
        }
    }
}
