//! Weight matching (Git Re-Basin, 2022): in which order the units of one model are most like those of another.
//!
//! Coordinate descent over the groups in a fixed order: with all others in place, the best order of one group is a linear
//! assignment. It ends with the first sweep in which none gains.

mod assignment;
mod columns;
mod measure;

use std::collections::BTreeSet;
use std::mem;

use super::units::{Axis, Lines, Member, Models, Panel, Span, UnitGroup, UnitTensor, lines, panel};
use crate::error::Error;
use crate::solver::{self, Cost};

pub use assignment::assignment;
pub use columns::{PERMUTED, PERMUTED_UNITS};
pub use measure::{Alignments, Distances, TensorMeasured, alignment_cost, measure};

/// Most sweeps.
const SWEEPS: usize = 100;
/// A sweep gains if the inner products grow by more than this, relative to their size where that is above one.
const GAIN: f64 = 1e-12;
/// Numbers of a panel: 32 MiB of each model.
const PANEL: usize = 1 << 22;

/// The order of a group: unit `units[i]` of the second model takes the place of unit `i`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Of the units.
    pub units: Vec<u32>,
    /// Of the query heads, where units have some.
    pub queries: Option<Vec<u32>>,
}

impl Order {
    fn identity(group: &UnitGroup) -> Self {
        let count = group.count as u32;
        let queries = group.queries.as_ref().map(|queries| (0..count * queries.each as u32).collect());
        Self { units: (0..count).collect(), queries }
    }

    /// How many units come from another place.
    pub fn moved(&self) -> usize {
        self.units.iter().enumerate().filter(|(i, from)| *i as u32 != **from).count()
    }
}

/// Orders of some groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matching {
    /// In the order of the groups.
    pub orders: Vec<Order>,
    /// How often they were matched in turn.
    pub sweeps: usize,
}

/// The order of `groups` in which the second model is most like the first.
///
/// # Errors
/// When a tensor cannot be read or is not finite.
pub fn matching(models: Models<'_>, groups: &[&UnitGroup]) -> Result<Matching, Error> {
    let mut orders: Vec<Order> = groups.iter().map(|group| Order::identity(group)).collect();
    let mut stale = vec![true; groups.len()];
    let mut sweeps = 0;
    let mut moves = true;
    while moves && sweeps < SWEEPS {
        (moves, sweeps) = (false, sweeps + 1);
        for at in 0..groups.len() {
            // Nothing it depends on has moved since.
            if !mem::replace(&mut stale[at], false) {
                continue;
            }
            if let Some(better) = better(models, groups, &orders, at)? {
                (orders[at], moves) = (better, true);
                for (other, stale) in stale.iter_mut().enumerate() {
                    *stale |= other != at && meet(groups[at], groups[other]);
                }
            }
        }
    }
    Ok(Matching { orders, sweeps })
}

/// Whether two groups lie on the two sides of one tensor.
pub fn meet(one: &UnitGroup, other: &UnitGroup) -> bool {
    let tensors: BTreeSet<usize> = one.tensors().collect();
    other.tensors().any(|tensor| tensors.contains(&tensor))
}

/// The lines of one side of a tensor, by the orders of all groups that lie there; none where all stay.
pub fn lines_of(
    (tensor, side, length): (usize, Axis, usize),
    groups: &[&UnitGroup],
    orders: &[Order],
) -> Option<Lines> {
    let mut spans: Vec<(Span, &[u32])> = vec![];
    for (group, order) in groups.iter().zip(orders) {
        let is_here = |member: &&Member| (member.tensor, member.side) == (tensor, side);
        let units = group.members.iter().filter(is_here);
        spans.extend(units.map(|member| (member.span, order.units.as_slice())));
        if let (Some(queries), Some(order)) = (&group.queries, &order.queries) {
            let heads = queries.members.iter().filter(is_here);
            spans.extend(heads.map(|member| (member.span, order.as_slice())));
        }
    }
    let lines = lines(length, spans);
    lines.iter().enumerate().any(|(i, from)| i as u32 != *from).then_some(lines)
}

/// The best order of one group, if it gains on the present one.
fn better(
    models: Models<'_>,
    groups: &[&UnitGroup],
    orders: &[Order],
    at: usize,
) -> Result<Option<Order>, Error> {
    let group = groups[at];
    let n = group.count;
    let mut gains = inner_products(models, (&group.members, n), groups, orders)?;
    let total = |gains: &[f64], n: usize, order: &[u32]| -> f64 {
        order.iter().enumerate().map(|(i, j)| gains[i * n + *j as usize]).sum()
    };
    let (new, before, after) = match &group.queries {
        None => {
            let units = assignment(&gains, n);
            let (before, after) = (total(&gains, n, &orders[at].units), total(&gains, n, &units));
            (Order { units, queries: None }, before, after)
        }
        Some(queries) => {
            let (each, heads) = (queries.each, n * queries.each);
            let of_heads = inner_products(models, (&queries.members, heads), groups, orders)?;
            let now = orders[at].queries.as_deref().unwrap_or_default();
            let before = total(&gains, n, &orders[at].units) + total(&of_heads, heads, now);
            // The best a unit can have with another is that of both, with query heads in their own best order.
            let mut inner: Vec<Vec<u32>> = vec![];
            for at in 0..n * n {
                let (i, j) = (at / n, at % n);
                let row = |a: usize| (i * each + a) * heads + j * each;
                let block: Vec<f64> =
                    (0..each).flat_map(|a| of_heads[row(a)..row(a) + each].to_vec()).collect();
                let order = assignment(&block, each);
                gains[at] += total(&block, each, &order);
                inner.push(order);
            }
            let units = assignment(&gains, n);
            let after = total(&gains, n, &units);
            let heads_of = |(i, j): (usize, &u32)| {
                let first = *j * each as u32;
                inner[i * n + *j as usize].iter().map(move |a| first + a).collect::<Vec<_>>()
            };
            let queries = units.iter().enumerate().flat_map(heads_of).collect();
            (Order { units, queries: Some(queries) }, before, after)
        }
    };
    Ok((after > before + GAIN * after.abs().max(1.0)).then_some(new))
}

/// The inner products of the units of the first model with those of the second, over all tensors that they lie in; other
/// groups in their present order.
fn inner_products(
    models: Models<'_>,
    (members, count): (&[Member], usize),
    groups: &[&UnitGroup],
    orders: &[Order],
) -> Result<Vec<f64>, Error> {
    let mut gains = vec![0.0; count * count];
    for member in members {
        let [first, second] = models.read(member.tensor)?;
        let side = member.side.other();
        let length = side.length((first.rows(), first.cols()));
        let others = lines_of((member.tensor, side, length), groups, orders);
        let step = (PANEL / (count * member.span.count).max(1)).clamp(1, length.max(1));
        let of = |matrix, others| Panel { matrix, member: *member, units: count, others };
        for start in (0..length).step_by(step) {
            let range = start..length.min(start + step);
            let width = member.span.count * range.len();
            let ours = panel(&of(&first, None), range.clone());
            let theirs = panel(&of(&second, others.as_deref()), range);
            solver::add_inner_products(&mut gains, &ours, &theirs, width);
        }
    }
    Ok(gains)
}

/// What it takes to match some groups of these tensors once or twice.
pub fn cost(tensors: &[UnitTensor], groups: &[&UnitGroup]) -> Cost {
    let mut cost = Cost { flops: 0.0, bytes: 0 };
    for group in groups {
        let mut largest = 0;
        for (member, count) in group.members.iter().map(|member| (member, group.count)).chain(
            group.queries.iter().flat_map(|q| q.members.iter().map(|member| (member, group.count * q.each))),
        ) {
            let layer = &tensors[member.tensor].layer;
            let length = member.side.other().length((layer.rows, layer.cols));
            cost.flops += 2.0 * (count * count) as f64 * (length * member.span.count) as f64;
            largest = largest.max(2 * layer.len() * layer.read_as.size());
        }
        // The assignment reads its matrix some fifty times.
        cost.flops += 100.0 * (group.count * group.count) as f64;
        let units = group.count * group.queries.as_ref().map_or(1, |queries| queries.each);
        cost.bytes = cost.bytes.max((8 * units * units + largest + 4 * 8 * PANEL) as u64);
    }
    cost
}
