//! As much of an update as its columns need, and what that costs.

use crate::dialect::Pairs;
use crate::layer::Layer;
use crate::report::Column;
use crate::solver::{self, Cost, Form, Need, Needs, Operand, Precision};

/// What `columns` need of the update.
pub fn needs_of_update(columns: &[&'static Column]) -> Needs {
    let needs = |column: &&'static Column| match column.key {
        "delta_effective_rank" => Needs::Values,
        "delta_spectral_ratio" | "delta_stable_rank" => Needs::Largest,
        _ => Needs::Entries,
    };
    columns.iter().map(needs).max().unwrap_or(Needs::Entries)
}

/// The cost of what is needed of the update of `layer`, and of the directions of the pair whose tuned side has its name.
pub fn costs(pairs: &Pairs, layer: &Layer, k: usize, of_update: Needs) -> [Cost; 2] {
    let base = pairs.get(&layer.name).map_or(layer, |pair| &pair.base);
    let form = Form { operand: Operand::Whole, read_as: layer.dtype, ..Form::of(base, Precision::Fast) };
    let update = Form { operand: layer.rank.map_or(Operand::Terms, Operand::Factors), ..form };
    let update = match of_update {
        Needs::Values => solver::cost(&update, Need::Values),
        Needs::Largest => solver::cost(&update, Need::Largest),
        Needs::Entries => Cost { flops: layer.len() as f64, bytes: 0 },
    };
    let directions = solver::cost(&Form { operand: Operand::Terms, ..form }, Need::Leading(k));
    let cosines = solver::cost(&form, Need::Cosines(k));
    // The update's values take less memory than the part of the base that is kept afterwards.
    let stored = layer.len() as u64 * layer.dtype.size() as u64;
    let bytes = stored + cosines.bytes + directions.bytes;
    [update, Cost { flops: directions.flops + cosines.flops, bytes }]
}
