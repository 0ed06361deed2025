//! `compare MODEL --across`: blocks or experts of one model against each other.

use clap::ValueEnum;

use crate::error::Error;
use crate::study::{Across, AcrossRequest};

use super::super::model::Model;
use super::super::options::Common;
use super::super::outputs::Outputs;
use super::super::watched::watched;
use super::super::{Status, plan, rules, run};
use super::Arguments;

/// Columns of the table, most wanted first.
const SHOWN: [&str; 8] = [
    "mean_overlap",
    "next_overlap",
    "highest_overlap",
    "chance_overlap",
    "right_mean_overlap",
    "right_next_overlap",
    "right_highest_overlap",
    "right_chance_overlap",
];

/// What matrices of one kind differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum AcrossName {
    /// The number of the block
    Layers,
    /// The number of the expert, block by block
    Experts,
}

/// Runs the comparison of `arguments`.
pub(super) fn run(arguments: &Arguments, across: AcrossName, common: &Common) -> Result<Status, Error> {
    let across = if across == AcrossName::Layers { Across::Layers } else { Across::Experts };
    let request = AcrossRequest { across, top: arguments.k };
    let gate = rules::gate(common, "compare", &request.columns())?;
    let mut outputs = Outputs::new(&common.output)?;
    let Model { source, origin, .. } = Model::open(&arguments.base, &arguments.reading.opening()?)?;
    outputs.ready(common)?;
    let (filter, limits) = (common.filter()?, common.limits_of_decompositions()?);
    if common.dry_run {
        let estimate = request.estimate(&source, &origin, &filter)?;
        return plan::write(&estimate, limits).map(|()| Status::Fine);
    }
    let mut report =
        watched(common, limits.threads, |watch| request.run((source, origin), &filter, (limits, watch)))?;
    run::judge(&mut report, common, &gate)?;
    run::deliver(&report, common, &SHOWN, &mut outputs)
}
