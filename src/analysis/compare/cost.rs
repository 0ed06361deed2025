//! What a comparison of a base and its fine-tunes costs, from headers.

use super::{GainFit, PairSide, Settings, Vectors, Weight};
use crate::analysis::spectrum;
use crate::solver::{self, Cost, Form, Need, Needs, Operand};

/// What a pair takes beside its decompositions, as measured on small ones: gains, distances, all metrics three times.
const BESIDE: f64 = 1e8;

/// The largest cost of measuring each of `tuned` and its change from `base`.
pub fn cost(base: Option<PairSide<'_>>, tuned: &[PairSide<'_>], settings: &Settings) -> Cost {
    let needs = settings.needs;
    let (base, tuned) = weights(base, tuned);
    let form = |of: &Weight<'_>| Form::of(of.layer, settings.precision).kept();
    let side = |side: &Weight<'_>, needs: Needs| {
        let form = form(side);
        let values = match needs {
            Needs::Values => solver::cost(&form, Need::Values),
            less => spectrum::cost(side.layer, settings.precision, less),
        };
        match settings.needs.vectors {
            Vectors::Leading | Vectors::All if base.is_some() && !tuned.is_empty() => Cost {
                flops: values.flops + solver::leading_flops(&form, settings.top),
                bytes: solver::cost(&form, Need::Cosines(settings.top)).bytes,
            },
            _ => values,
        }
    };
    // What follows from the base's reduction waits beside it.
    let follows = |tuned: &Weight<'_>| {
        let base = base.as_ref().filter(|_| needs.vectors == Vectors::Leading)?;
        let Operand::Factors(rank) = base.update(tuned, settings).operand else { return None };
        let Cost { flops, bytes } = solver::update_cost(&form(tuned), rank)?;
        Some(Cost { flops, bytes: bytes + side(base, needs.base).bytes })
    };
    let sides = base.iter().map(|of| side(of, needs.base));
    let sides = sides.chain(tuned.iter().map(|of| follows(of).unwrap_or_else(|| side(of, needs.tuned))));
    let updates = update_costs(base.as_ref(), &tuned, settings);
    let mut cost = sides.chain(updates).fold(NOTHING, and);
    let pair = base.filter(|_| !tuned.is_empty());
    if pair.is_some() && needs.is_of_pair() {
        cost.flops += BESIDE * tuned.len() as f64;
    }
    if let Some(Weight { layer, .. }) = pair.filter(|_| needs.gains == GainFit::Sought) {
        // Both weights, and the matrix of their products in doubles.
        let read_as = tuned.iter().map(|tuned| tuned.layer.read_as.size()).fold(0, usize::max);
        cost.bytes = cost.bytes.max((layer.len() * (layer.read_as.size() + read_as + 8)) as u64);
    }
    if let Some(base @ Weight { layer, .. }) = pair.filter(|_| needs.vectors == Vectors::All) {
        let (short, long) = (layer.rows.min(layer.cols) as f64, layer.rows.max(layer.cols) as f64);
        let whole = Form { operand: Operand::Whole, ..form(&base) };
        let (values, factors) = (solver::cost(&whole, Need::Values), solver::cost(&whole, Need::Vectors));
        // They begin with what the values come from.
        let beyond = (factors.flops - values.flops).max(0.0);
        // Cosines of both sides, and the update in the base's.
        let products = 2.0 * (long + short) * short * short + 4.0 * long * short * short;
        cost.flops += beyond + (beyond + products) * tuned.len() as f64;
        // The base's factors wait while the tuned side is decomposed; then both, with both weights, for their products.
        let read_as = tuned.iter().map(|tuned| tuned.layer.read_as.size()).fold(0, usize::max);
        let stored = (layer.len() * (layer.read_as.size() + read_as)) as u64;
        let basis = (8.0 * (long + short) * short) as u64;
        cost.bytes = cost.bytes.max(factors.bytes + basis + stored).max(values.bytes + 2 * basis + stored);
    }
    cost
}

const NOTHING: Cost = Cost { flops: 0.0, bytes: 0 };

/// One after the other.
fn and(sum: Cost, one: Cost) -> Cost {
    Cost { flops: sum.flops + one.flops, bytes: sum.bytes.max(one.bytes) }
}

fn weights<'a>(base: Option<PairSide<'a>>, tuned: &[PairSide<'a>]) -> (Option<Weight<'a>>, Vec<Weight<'a>>) {
    (base.and_then(PairSide::weight), tuned.iter().copied().filter_map(PairSide::weight).collect())
}

fn update_costs(
    base: Option<&Weight<'_>>,
    tuned: &[Weight<'_>],
    settings: &Settings,
) -> impl Iterator<Item = Cost> {
    let forms = base.into_iter().flat_map(|base| tuned.iter().map(|tuned| base.update(tuned, settings)));
    forms.filter_map(|form| {
        Some(match settings.needs.update? {
            Needs::Values => solver::cost(&form, Need::Values),
            Needs::Largest => solver::cost(&form, Need::Largest),
            // Both weights are held.
            Needs::Entries => Cost {
                flops: 4.0 * form.rows as f64 * form.cols as f64,
                bytes: (2 * form.read_as.size() as u64).saturating_mul(form.rows as u64 * form.cols as u64),
            },
        })
    })
}
