//! `svdkit adapter verify`: whether an adapter and its base hold what the adapter's method promises.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::analysis::init::Method;
use crate::checkpoint::{Factors, Opening};
use crate::error::Error;
use crate::study::{Originals, VerifyRequest};

use super::super::model::{Model, open_pair};
use super::super::options::{Common, ReadingOptions};
use super::super::outputs::Outputs;
use super::super::run::{self, Finished};
use super::super::{Status, rules};
use super::init::MethodName;
use super::merge::check_adapter;

/// Columns of the table, most wanted first.
const SHOWN: [&str; 10] = [
    "factor_rank",
    "broken",
    "truncated_rank",
    "left_overlap",
    "right_overlap",
    "slant_a",
    "slant_b",
    "defect_a",
    "defect_b",
    "preservation_error",
];

/// Checks whether a saved adapter, with its base, holds what its method promises at the start of training: orthonormal
/// factors, a base without the directions that they hold, the original weights. `--fail-if 'broken > 0'` makes it a rule.
#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// The adapter
    adapter: PathBuf,
    /// The base that it applies to: of PiSSA and the like the residual one
    #[arg(long, value_name = "BASE", help_heading = "Input")]
    base: PathBuf,
    /// The model before the adapter began, to see whether base and adapter still add up to it
    #[arg(long, value_name = "MODEL", help_heading = "Input")]
    original: Option<PathBuf>,
    /// The method that it should hold to [default: the one that most modules do]
    #[arg(long, value_name = "METHOD", value_enum)]
    method: Option<MethodName>,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let request = VerifyRequest { method: arguments.method.map(Method::from) };
    let gate = rules::gate(common, "adapter verify", &request.columns())?;
    let mut outputs = Outputs::new(&common.output)?;
    // Factors alone matter here, whatever they apply to.
    let opening = Opening { factors: Factors::AsTheyAre, ..arguments.reading.opening()? };
    let (opened, pairs) = open_pair(&arguments.base, &arguments.adapter, &opening)?;
    check_adapter(&arguments.adapter, pairs.tuned().holds())?;
    let filter = common.filter()?;
    let originals = match &arguments.original {
        Some(path) => {
            let model = Model::open(path, &opening.of_base())?;
            Some(Originals::new(path, model.source, &pairs, &filter)?)
        }
        None => None,
    };
    let source = Arc::clone(&opened.source);
    let study = request.plan(&arguments.adapter, opened, &filter, originals)?;
    outputs.ready(common)?;
    let Some(Finished { report, .. }) = run::report(study, source, (common, &gate))? else {
        return Ok(Status::Fine);
    };
    run::deliver(&report, common, &SHOWN, &mut outputs)
}
