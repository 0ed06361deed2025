//! `compare --permute`: two models before and after the units of one are put into the order of the other, a row a tensor.

mod written;

use std::sync::Arc;

use super::each::{Watch, each};
use super::units::{ModelOpened, UnitPair, printed};
use super::{Estimate, RowHeader};
use crate::analysis::permute::{
    self, Alignments, Distances, Matching, Order, PERMUTED, PERMUTED_UNITS, TensorMeasured, meet, members,
};
use crate::analysis::units::{UnitGroup, Which};
use crate::engine::{Job, Limits};
use crate::error::Error;
use crate::layer::{Filter, block_and_role, natural};
use crate::report::{Column, Group, Measurements, Report, Row, Value};

/// The options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PermuteRequest {
    /// Which units change places.
    pub which: Which,
    /// Of which matrices `alignment` is measured.
    pub alignments: Alignments,
}

/// Two models whose units are to be matched.
pub struct Permuting {
    request: PermuteRequest,
    pair: Arc<UnitPair>,
    /// Groups that depend on each other, by their positions.
    parts: Arc<Vec<Vec<usize>>>,
}

/// The orders that were found.
pub struct Permutation {
    pair: Arc<UnitPair>,
    /// In the order of the groups.
    orders: Vec<Order>,
}

/// What a part found: orders of its groups, and its tensors.
type Found = (Matching, Vec<(usize, TensorMeasured)>);

impl PermuteRequest {
    /// Every column, in report order.
    pub fn columns(self) -> Vec<&'static Column> {
        PERMUTED.iter().collect()
    }

    /// The request over two models, the first of which stays as it is; of the groups that `filter` keeps.
    ///
    /// # Errors
    /// When they have no units in common.
    pub fn over(self, models: [ModelOpened; 2], filter: &Filter) -> Result<Permuting, Error> {
        let pair = UnitPair::new(models, self.which, filter)?;
        let parts = parts(&pair.units.groups);
        Ok(Permuting { request: self, pair: Arc::new(pair), parts: Arc::new(parts) })
    }
}

/// Groups that meet in a tensor on both of its sides, directly or over others.
fn parts(groups: &[UnitGroup]) -> Vec<Vec<usize>> {
    let mut parts: Vec<Vec<usize>> = vec![];
    for (at, group) in groups.iter().enumerate() {
        let (with, mut others): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| part.iter().any(|known| meet(&groups[*known], group)));
        let mut part: Vec<usize> = with.into_iter().flatten().chain([at]).collect();
        part.sort_unstable();
        others.push(part);
        parts = others;
    }
    parts.sort();
    parts
}

/// The tensors that some groups lie in, each once.
fn tensors(groups: &[&UnitGroup]) -> Vec<usize> {
    let mut tensors: Vec<usize> =
        groups.iter().flat_map(|group| members(group)).map(|of| of.tensor).collect();
    tensors.sort_unstable();
    tensors.dedup();
    tensors
}

impl Permuting {
    fn groups(&self, part: &[usize]) -> Vec<&UnitGroup> {
        part.iter().map(|at| &self.pair.units.groups[*at]).collect()
    }

    fn jobs(&self) -> Vec<Job> {
        let of_part = |part: &Vec<usize>| {
            let groups = self.groups(part);
            let mut cost = permute::cost(&self.pair.units.tensors, &groups);
            // Groups that depend on each other are matched several times.
            cost.flops *= if groups.len() > 1 { 4.0 } else { 1.0 };
            for tensor in tensors(&groups) {
                let one = permute::alignment_cost(&self.pair.units.tensors[tensor], self.request.alignments);
                cost.flops += one.flops;
                cost.bytes = cost.bytes.max(one.bytes);
            }
            Job { flops: cost.flops.max(1.0), bytes: cost.bytes.max(1) }
        };
        self.parts.iter().map(of_part).collect()
    }

    /// What it takes, as headers tell.
    pub fn estimate(&self) -> Estimate {
        let layers: Vec<_> = self.pair.units.tensors.iter().map(|tensor| tensor.layer.as_ref()).collect();
        let bytes = 2 * layers.iter().map(|layer| layer.bytes()).sum::<u64>();
        Estimate::new(&layers, self.jobs(), bytes, (0, PERMUTED.len(), 1))
    }

    /// Matches the units. Gives the report on both models and the orders that were found.
    ///
    /// # Errors
    /// When a weight cannot be read or decomposed, or `watch` broke.
    pub fn run(self, (limits, watch): (Limits, Watch<'_>)) -> Result<(Report, Permutation), Error> {
        let jobs = self.jobs();
        let Self { request, pair, parts } = self;
        let work: Arc<dyn Fn(usize) -> Result<Found, Error> + Send + Sync> = {
            let (pair, parts) = (Arc::clone(&pair), Arc::clone(&parts));
            Arc::new(move |i| {
                let groups: Vec<&UnitGroup> = parts[i].iter().map(|at| &pair.units.groups[*at]).collect();
                let matching = permute::matching(pair.models(), &groups)?;
                let measured = tensors(&groups).into_iter().map(|tensor| {
                    let placed = (groups.as_slice(), matching.orders.as_slice());
                    Ok((tensor, permute::measure(pair.models(), tensor, placed, request.alignments)?))
                });
                let measured = measured.collect::<Result<Vec<_>, Error>>()?;
                Ok((matching, measured))
            })
        };
        let found = each(&jobs, (limits, watch), &work)?;
        let mut orders: Vec<Option<(Order, usize)>> = vec![None; pair.units.groups.len()];
        let mut measured: Vec<Option<TensorMeasured>> = vec![None; pair.units.tensors.len()];
        for (part, (matching, tensors)) in parts.iter().zip(found) {
            for (at, order) in part.iter().zip(matching.orders) {
                orders[*at] = Some((order, matching.sweeps));
            }
            for (tensor, one) in tensors {
                measured[tensor] = Some(one);
            }
        }
        let groups = summed(&pair, &orders, &measured);
        let mut rows: Vec<Row> = measured
            .into_iter()
            .enumerate()
            .filter_map(|(at, one)| Some(row(&pair, at, one?.values)))
            .collect();
        rows.sort_by(|a, b| natural(&a.name, &b.name));
        let which = if request.which == Which::All { "all" } else { "inner" };
        let settings = vec![("permute", which.to_owned())];
        let report = pair.report("compare", settings, request.columns(), (rows, groups));
        let orders = orders.into_iter().flatten().map(|(order, _)| order).collect();
        Ok((report, Permutation { pair, orders }))
    }
}

/// The row of a tensor.
fn row(pair: &UnitPair, at: usize, values: [Value; 7]) -> Row {
    let header = RowHeader::new(&pair.units.tensors[at].layer, None).row();
    let (block, role) = block_and_role(&header.name);
    Row {
        block,
        role: role.into(),
        values: Measurements(PERMUTED.iter().zip(values).collect()).into(),
        ..header
    }
}

/// Each group with the distances of its tensors, then all together.
fn summed(
    pair: &UnitPair,
    orders: &[Option<(Order, usize)>],
    measured: &[Option<TensorMeasured>],
) -> Vec<Group> {
    let [units, moved_units, sweeps] = &PERMUTED_UNITS;
    let [before, after, ..] = &PERMUTED;
    let sum = |tensors: &[usize]| {
        let known = tensors.iter().filter_map(|at| measured[*at].as_ref());
        known.fold(Distances::default(), |sum, one| Distances {
            before: sum.before + one.distances.before,
            after: sum.after + one.distances.after,
        })
    };
    let group = |by: &'static str, name: String, tensors: &[usize], counts: [usize; 3]| {
        let distances = sum(tensors);
        let values = [
            (units, Value::count(counts[0])),
            (moved_units, Value::count(counts[1])),
            (sweeps, Value::count(counts[2])),
            (before, Value::real(distances.before.sqrt())),
            (after, Value::real(distances.after.sqrt())),
        ];
        let values = values.into_iter().collect();
        Group { by: by.into(), name, matrices: tensors.len() as u64, values: Measurements(values).into() }
    };
    let mut groups = vec![];
    let mut all = [0; 3];
    for (of, order) in pair.units.groups.iter().zip(orders) {
        let Some((order, sweeps)) = order else { continue };
        let counts = [of.count, order.moved(), *sweeps];
        all = [all[0] + counts[0], all[1] + counts[1], all[2].max(counts[2])];
        groups.push(group(of.kind.name(), printed(of), &tensors(&[of]), counts));
    }
    let every: Vec<usize> = (0..measured.len()).collect();
    groups.push(group("all", "all tensors with units".to_owned(), &every, all));
    groups
}
