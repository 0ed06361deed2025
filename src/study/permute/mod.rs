//! `compare --permute`: two models before and after the units of one are put into the order of the other, a row a tensor.

mod written;

use std::sync::Arc;

use super::each::{Watch, each};
use super::units::{ModelOpened, UnitPair, printed};
use super::{Estimate, RowHeader};
use crate::analysis::permute::{
    self, Alignments, Distances, Matching, Order, PERMUTED, PERMUTED_UNITS, TensorMeasured, meet,
};
use crate::analysis::units::{UnitGroup, Which};
use crate::engine::{Job, Limits};
use crate::error::Error;
use crate::layer::{Filter, block_and_role, natural};
use crate::report::{Column, Group, Measurements, MissingReason, Report, Row, Value};

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
    /// In the order of the groups; none where a tensor cannot be read or is not finite.
    orders: Vec<Option<Order>>,
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
    let mut tensors: Vec<usize> = groups.iter().flat_map(|group| group.tensors()).collect();
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

    /// Matches the units. Gives the report on both models and the orders that were found. Where a tensor cannot be read or is
    /// not finite, the rows of all fail whose order depends on it.
    ///
    /// # Errors
    /// When `watch` broke.
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
        let mut failed: Vec<Option<String>> = vec![None; pair.units.tensors.len()];
        for (part, found) in parts.iter().zip(found) {
            match found {
                Ok((matching, tensors)) => {
                    for (at, order) in part.iter().zip(matching.orders) {
                        orders[*at] = Some((order, matching.sweeps));
                    }
                    for (tensor, one) in tensors {
                        measured[tensor] = Some(one);
                    }
                }
                Err(error) => {
                    let tensors = part.iter().flat_map(|at| pair.units.groups[*at].tensors());
                    tensors.for_each(|tensor| failed[tensor] = Some(error.to_string()));
                }
            }
        }
        let groups = summed(&pair, &orders, &measured);
        let found = measured.into_iter().zip(failed).enumerate();
        let found = found.filter(|(_, (one, why))| one.is_some() || why.is_some());
        let mut rows: Vec<Row> = found.map(|(at, (one, why))| row(&pair, at, (one, why))).collect();
        rows.sort_by(|a, b| natural(&a.name, &b.name));
        let which = if request.which == Which::All { "all" } else { "inner" };
        let settings = vec![("permute", which.to_owned())];
        let report = pair.report("compare", settings, request.columns(), (rows, groups));
        let orders = orders.into_iter().map(|order| order.map(|(order, _)| order)).collect();
        Ok((report, Permutation { pair, orders }))
    }
}

/// The row of a tensor that was measured, or why it was not.
fn row(pair: &UnitPair, at: usize, (found, failed): (Option<TensorMeasured>, Option<String>)) -> Row {
    let header = RowHeader::new(&pair.units.tensors[at].layer, None).row();
    let (block, role) = block_and_role(&header.name);
    let values = found.map(|found| PERMUTED.iter().zip(found.values).collect()).unwrap_or_default();
    Row { block, role: role.into(), failed, values: Measurements(values).into(), ..header }
}

/// Each group with the distances of its tensors, then all together.
fn summed(
    pair: &UnitPair,
    orders: &[Option<(Order, usize)>],
    measured: &[Option<TensorMeasured>],
) -> Vec<Group> {
    let [units, moved_units, sweeps] = &PERMUTED_UNITS;
    let [before, after, _, aligned_before, aligned_after, ..] = &PERMUTED;
    let sum = |tensors: &[usize]| {
        let known = tensors.iter().filter_map(|at| measured[*at].as_ref());
        known.fold(Distances::default(), |sum, one| Distances {
            before: sum.before + one.distances.before,
            after: sum.after + one.distances.after,
        })
    };
    let group = |by: &'static str, name: String, tensors: &[usize], counts: Option<[usize; 3]>| {
        let distances = sum(tensors);
        let failed = Value::Missing(MissingReason::Failed);
        let number = |x: f64| if counts.is_some() { Value::real(x) } else { failed };
        // Of the matrices whose alignment was measured.
        let mean = |column: usize| {
            let known = tensors.iter().filter_map(|at| measured[*at].as_ref()?.values[column].number());
            let known: Vec<f64> = known.collect();
            match (counts, known.len()) {
                (None, _) => failed,
                (Some(_), 0) => Value::Missing(MissingReason::NotSought),
                (Some(_), n) => Value::within(known.iter().sum::<f64>() / n as f64, -1.0, 1.0),
            }
        };
        let count = |i: usize| counts.map_or(failed, |counts: [usize; 3]| Value::count(counts[i]));
        let values = [
            (units, count(0)),
            (moved_units, count(1)),
            (sweeps, count(2)),
            (before, number(distances.before.sqrt())),
            (after, number(distances.after.sqrt())),
            (aligned_before, mean(3)),
            (aligned_after, mean(4)),
        ];
        let values = values.into_iter().collect();
        let matrices = tensors.iter().filter(|at| measured[**at].is_some()).count();
        Group { by: by.into(), name, matrices: matrices as u64, values: Measurements(values).into() }
    };
    let mut groups = vec![];
    let mut all = None;
    for (of, order) in pair.units.groups.iter().zip(orders) {
        let counts = order.as_ref().map(|(order, sweeps)| [of.count, order.moved(), *sweeps]);
        if let Some([count, moved, sweeps]) = counts {
            let [a, b, c] = all.unwrap_or([0; 3]);
            all = Some([a + count, b + moved, c.max(sweeps)]);
        }
        groups.push(group(of.kind.name(), printed(of), &tensors(&[of]), counts));
    }
    let every: Vec<usize> = (0..measured.len()).collect();
    groups.push(group("all", "all tensors with units".to_owned(), &every, all));
    groups
}
