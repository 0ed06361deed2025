//! `svdkit adapter canon`: the same adapter with factors that its updates alone decide.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::checkpoint::{Factors, Opening};
use crate::error::Error;
use crate::layer::Filter;
use crate::study::{CanonRequest, check_all_there, check_complete, write_canonical};
use crate::writing::{CheckpointCopy, Spool};

use super::super::model::open_input_with;
use super::super::options::{Common, Input};
use super::super::run::{self, Finished};
use super::super::{Status, locate};
use super::merge::check_adapter;
use super::prepared;

/// Columns of the table, most wanted first.
const SHOWN: [&str; 5] = ["factor_rank", "spectral_norm", "effective_rank", "rank_at_99", "wasted_rank"];

/// Writes the same adapter in canonical form: A with orthonormal rows, B = UΣ, the largest entry of each row of A positive.
///
/// Two files of one adapter may share no number, for its factors are unique only up to an invertible matrix between them. In
/// canonical form they are equal up to rounding, so that a diff of them means something. Types, names and configuration
/// stay; the scale stays in the configuration. The table is of the updates, which stay, too.
#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    #[command(flatten)]
    input: Input,
    /// The folder for the adapter; must be empty or not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let (gate, mut outputs) = prepared("adapter canon", &CanonRequest.columns(), common)?;
    let model = &arguments.input.model;
    let opening = Opening { factors: Factors::AsTheyAre, ..arguments.input.reading.opening()? };
    let opened = open_input_with(&arguments.input, &opening)?;
    let pairs = opened.pairs.clone();
    let adapter =
        pairs.as_ref().map_or_else(|| Arc::clone(&opened.source), |pairs| Arc::clone(pairs.tuned()));
    check_adapter(model, adapter.holds())?;
    check_all_there(model, &adapter, &Filter::default(), "made canonical")?;
    let from = locate::locate(model)?.local()?;
    CheckpointCopy::check(&from, &adapter, &arguments.out)?;
    outputs.add_folder("--out", &arguments.out);
    outputs.ready(common)?;
    let source = Arc::clone(&opened.source);
    let products = Arc::new(Spool::beside(&arguments.out)?);
    let study = CanonRequest.plan((model, opened), &common.filter()?, &products)?;
    let Some(Finished { mut report, .. }) = run::report(study, source, (common, &gate))? else {
        return Ok(Status::Fine);
    };
    check_complete(&report, &arguments.out)?;
    match write_canonical(&mut report, &adapter, &products, (&from, &arguments.out)) {
        Ok(left_out) => run::tell_left_out(&arguments.out, &left_out, common),
        Err(error) => outputs.fail(&error),
    }
    run::deliver(&report, common, &SHOWN, &mut outputs)
}
