//! `svdkit lineage`: whether the weights of two models have a common history.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::Error;
use crate::study::{LineageRequest, ModelOpened};

use super::model::Model;
use super::options::{Common, ReadingOptions};
use super::outputs::Outputs;
use super::watched::watched;
use super::{Status, plan, rules, run};

/// Columns of the table, most wanted first.
const SHOWN: [&str; 6] = ["log10_p", "lineage_z", "mean_cosine", "null_cosine", "null_sigma", "neurons"];

/// Tests whether the weights of B come from those of A, or both from a third model: for each MLP, and for all together, how
/// likely rows as similar as these are in models that were trained independently.
///
/// Models of one architecture that were trained from different seeds give p-values that are spread evenly from 0 to 1. A
/// p-value says nothing of who copied whom, and nothing of data.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A checkpoint: a file, a folder, or a model in the Hugging Face cache (ORG/NAME or ORG/NAME@REV)
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The other checkpoint, of the same architecture
    #[arg(value_name = "B")]
    second: PathBuf,
    /// Neurons of B may stand in another order, as in a copy that was disguised: each is matched by what the gate reads, and
    /// tested by the rest. Coordinates of the residual stream are matched by the embeddings
    #[arg(long, help_heading = "Method")]
    permuted: bool,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let request = LineageRequest { permuted: arguments.permuted };
    let gate = rules::gate(common, "lineage", &request.columns())?;
    let mut outputs = Outputs::new(&common.output)?;
    let models =
        [opened(&arguments.first, &arguments.reading)?, opened(&arguments.second, &arguments.reading)?];
    outputs.ready(common)?;
    let (filter, limits) = (common.filter()?, common.limits_of_decompositions()?);
    if common.dry_run {
        return plan::write(&request.estimate(models, &filter)?, limits).map(|()| Status::Fine);
    }
    let mut report = watched(common, limits.threads, |watch| request.run(models, &filter, (limits, watch)))?;
    run::judge(&mut report, common, &gate)?;
    run::deliver(&report, common, &SHOWN, &mut outputs)
}

/// The checkpoint at `path`, with its configuration.
pub(super) fn opened(path: &Path, reading: &ReadingOptions) -> Result<ModelOpened, Error> {
    let model = Model::open(path, &reading.opening()?)?;
    ModelOpened::new(&model.location, model.source, model.origin)
}
