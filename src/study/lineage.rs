//! `lineage`: whether the weights of two models have a common history, a row an MLP.

use std::sync::Arc;

use super::each::{Watch, each};
use super::units::{ModelOpened, UnitPair, printed};
use super::{Estimate, RowHeader};
use crate::analysis::lineage::{self, LINEAGE, LineageMeasured, NeuronOrder};
use crate::analysis::units::{Lines, Which};
use crate::engine::{Job, Limits};
use crate::error::Error;
use crate::layer::{Filter, block_and_role};
use crate::report::{Column, Group, Measurements, Report, Row};

/// The options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineageRequest {
    /// Whether neurons of the second model may have changed places.
    pub permuted: bool,
}

impl LineageRequest {
    /// Every column, in report order.
    pub fn columns(self) -> Vec<&'static Column> {
        LINEAGE.iter().collect()
    }

    /// What it takes, as headers tell.
    ///
    /// # Errors
    /// When the models have no neurons in common.
    pub fn estimate(self, models: [ModelOpened; 2], filter: &Filter) -> Result<Estimate, Error> {
        let pair = UnitPair::new(models, Which::Neurons, filter)?;
        let layers: Vec<_> = pair.units.tensors.iter().map(|tensor| tensor.layer.as_ref()).collect();
        let bytes = 2 * layers.iter().map(|layer| layer.bytes()).sum::<u64>();
        let columns = self.columns().len();
        Ok(Estimate::new(&layers, jobs(&pair), bytes, (0, columns, 1)))
    }

    /// The report on `models`, the first of which may be an ancestor of the second.
    ///
    /// # Errors
    /// When the models have no neurons in common, an embedding cannot be matched, or `watch` broke. The row of an MLP fails
    /// if one of its matrices cannot be read or is not finite.
    pub fn run(
        self,
        models: [ModelOpened; 2],
        filter: &Filter,
        (limits, watch): (Limits, Watch<'_>),
    ) -> Result<Report, Error> {
        let pair = Arc::new(UnitPair::new(models, Which::Neurons, filter)?);
        let mut stream: Option<Lines> = None;
        if let Some(embedding) = pair.units.embedding.filter(|_| self.permuted) {
            let layer = &pair.units.tensors[embedding].layer;
            let flops = 2.0 * layer.len() as f64 * layer.cols as f64;
            let job = Job { flops, bytes: 32 * layer.len() as u64 };
            let known = Arc::clone(&pair);
            let work: Arc<dyn Fn(usize) -> Result<Option<Lines>, Error> + Send + Sync> =
                Arc::new(move |_| lineage::stream(known.models(), embedding));
            let found: Result<Vec<_>, Error> = each(&[job], (limits, watch), &work)?.into_iter().collect();
            stream = found?.into_iter().flatten().next();
        }
        let is_moved = stream.is_some();
        let work: Arc<dyn Fn(usize) -> Result<LineageMeasured, Error> + Send + Sync> = {
            let pair = Arc::clone(&pair);
            Arc::new(move |i| {
                let order =
                    if self.permuted { NeuronOrder::Unknown(stream.as_ref()) } else { NeuronOrder::Same };
                lineage::measure(pair.models(), &pair.units.groups[i], order)
            })
        };
        let found = each(&jobs(&pair), (limits, watch), &work)?;
        let ln: Vec<f64> = found.iter().flatten().filter_map(|(_, ln)| *ln).collect();
        let row = |(i, found): (usize, Result<LineageMeasured, Error>)| {
            let group = &pair.units.groups[i];
            let name = printed(group);
            let (block, role) = block_and_role(&name);
            let layer = &pair.units.tensors[group.members[group.roles.first].tensor].layer;
            let (failed, values) = match found {
                Ok((values, _)) => (None, LINEAGE.iter().zip(values).collect()),
                Err(error) => (Some(error.to_string()), vec![]),
            };
            Row {
                block,
                role: role.into(),
                name: name.into(),
                failed,
                values: Measurements(values).into(),
                ..RowHeader::new(layer, None).row()
            }
        };
        let rows: Vec<Row> = found.into_iter().enumerate().map(row).collect();
        let combined = Group {
            by: "all".into(),
            name: "combined".to_owned(),
            matrices: ln.len() as u64,
            values: Measurements(lineage::combined(&ln).to_vec()).into(),
        };
        let order = if self.permuted { "unknown" } else { "same" };
        let settings = vec![("neurons", order.to_owned())];
        let mut report = pair.report("lineage", settings, self.columns(), (rows, vec![combined]));
        if is_moved {
            let note = "the coordinates of the residual stream were matched by the embeddings first";
            report.notes.push(note.to_owned());
        }
        Ok(report)
    }
}

fn jobs(pair: &UnitPair) -> Vec<Job> {
    let cost = |group| {
        let cost = lineage::cost(&pair.units.tensors, group);
        Job { flops: cost.flops.max(1.0), bytes: cost.bytes.max(1) }
    };
    pair.units.groups.iter().map(cost).collect()
}
