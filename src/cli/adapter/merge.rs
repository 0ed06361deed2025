//! `svdkit adapter merge`: a base with an adapter's updates added, as a checkpoint.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::checkpoint::Holds;
use crate::error::Error;
use crate::notation;
use crate::report::{Row, Value};
use crate::study::{MergeRequest, Merging, check_complete};
use crate::writing::check_outside;

use super::super::model::open_pair;
use super::super::options::{Common, ReadingOptions};
use super::super::run::{self, Finished};
use super::super::{Status, locate};
use super::prepared;

/// Columns of the table, most wanted first.
const SHOWN: [&str; 3] = ["delta_frobenius_ratio", "changed_share", "rounding_loss"];

/// Writes BASE with the updates of ADAPTER added: every type is kept, sums are rounded once, and what the adapter does not
/// change is byte-identical. Index, configuration and tokenizer are copied. BASE has to be safetensors.
#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// The adapter: LoRA, DoRA, LoHa, LoKr, KaSA, of any dialect
    adapter: PathBuf,
    /// The checkpoint that it was trained on
    #[arg(long, value_name = "BASE", help_heading = "Input")]
    base: PathBuf,
    #[command(flatten)]
    reading: ReadingOptions,
    /// The folder for the merged checkpoint; must be empty or not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let (gate, mut outputs) = prepared("adapter merge", &MergeRequest.columns(), common)?;
    let opening = arguments.reading.opening()?;
    let (opened, pairs) = open_pair(&arguments.base, &arguments.adapter, &opening)?;
    check_adapter(&arguments.adapter, pairs.tuned().holds())?;
    check_outside(&arguments.out, &[&arguments.adapter])?;
    let from = locate::locate(&arguments.base)?.local()?;
    let places = (arguments.adapter.as_path(), from, arguments.out.clone());
    let filter = common.filter()?;
    let merging = Merging::new(places, pairs, &filter)?;
    let merging = Arc::new(merging);
    outputs.add_folder("--out", &arguments.out);
    outputs.ready(common)?;
    let source = Arc::clone(&opened.source);
    let study = MergeRequest.plan(opened, &merging, &filter)?;
    if !common.dry_run {
        merging.begin(&study)?;
    }
    let finished = run::report(study, source, (common, &gate));
    if finished.is_err() {
        merging.abandon();
    }
    let Some(Finished { mut report, .. }) = finished? else {
        return Ok(Status::Fine);
    };
    if let Err(error) = check_complete(&report, &arguments.out) {
        merging.abandon();
        return Err(error);
    }
    match merging.finish() {
        Ok((vectors, left_out)) => {
            let is_changed = |row: &&Row| {
                row.values.get("changed_share").and_then(Value::number).is_some_and(|share| share > 0.0)
            };
            let changed = report.rows.iter().filter(is_changed).count() as u64;
            let matrices = notation::counted(changed, "matrix", "matrices");
            let vectors = match vectors {
                0 => String::new(),
                vectors => format!(" and {}", notation::counted(vectors as u64, "vector", "vectors")),
            };
            let out = arguments.out.display();
            report.notes.push(format!("{out}: {matrices}{vectors} changed, the rest byte-identical"));
            run::tell_left_out(&arguments.out, &left_out, common);
        }
        Err(error) => {
            merging.abandon();
            outputs.fail(&error);
        }
    }
    run::deliver(&report, common, &SHOWN, &mut outputs)
}

/// Refuses what is not an adapter.
pub(super) fn check_adapter(path: &Path, holds: Holds) -> Result<(), Error> {
    if holds == Holds::Updates {
        return Ok(());
    }
    let reason =
        "is a checkpoint, not an adapter; `svdkit adapter extract BASE TUNED` makes one of a fine-tune";
    Err(Error::malformed(path, reason))
}
