//! `svdkit series`: what happened along a run: every number against step, and where it changed most.

pub(super) mod measure;
pub(super) mod open;
pub(super) mod options;
mod told;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use crate::error::Error;
use crate::notation;
use crate::report::Hidden;
use crate::study::{Series, StepOrder};

use super::outputs::{self, Outputs};
use super::{Status, remark};
use measure::Run;
use open::{Passed, is_passed_over};
use options::StepOptions;

/// Shows what happened along a run: every metric at every step, where it changed most, and steps that repeat another.
///
/// Checkpoints are measured one after another, in the memory of one. Matrices that did not change since the step before are
/// not decomposed again.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder of a run, or its checkpoints: folders, files, or ORG/NAME@REV of the Hugging Face cache, where REV may be
    /// a pattern, as in 'step*'
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Take the checkpoints in the order given, numbered from 1, not by the steps that their names or `trainer_state.json`
    /// tell
    #[arg(long, help_heading = "Input")]
    as_given: bool,
    #[command(flatten)]
    options: StepOptions,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let options = &arguments.options;
    let common = &options.common.in_force()?;
    let mut run = Run::new(options, common)?;
    let mut outputs = Outputs::new(&common.output)?;
    let places = open::places(&arguments.runs, arguments.as_given)?;
    // Later steps are opened when reports have been begun.
    for path in outputs::reports(common).chain(options.tensorboard.as_deref()) {
        places.iter().try_for_each(|place| place.check_outside(path))?;
    }
    let events = options.events(common, &mut outputs)?;
    run.open_base()?;
    if common.dry_run {
        return run.dry_run(&places).map(|()| Status::Fine);
    }
    let begun = Instant::now();
    let mut series = Series::default();
    let mut created = false;
    let mut hidden = Hidden::default();
    let mut passed = Passed::default();
    for place in &places {
        // An output that cannot be written costs no work; what is read has to be known before.
        let mut ready = || if created { Ok(()) } else { outputs.ready(common).map(|()| created = true) };
        match run.measure(place, &mut ready) {
            Ok((report, by)) => {
                passed.tell(common);
                hidden = by;
                series.add(place.step, &place.typed(), report);
            }
            Err(error) if is_passed_over(&error) => {
                passed.add(place, &error);
                series.skip(place.step, &place.typed(), &error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    if series.measured() > 0 {
        passed.end(common);
    }
    run.end();
    let order = if arguments.as_given { StepOrder::AsGiven } else { StepOrder::ByNumber };
    let report = run.judged(&series, (order, &hidden), common);
    if common.verbose || (!common.quiet && super::is_watched()) {
        let steps = notation::counted(series.measured() as u64, "step", "steps");
        remark(&format!("measured {steps} in {}", notation::seconds(begun.elapsed().as_secs_f64())));
    }
    run.deliver((&series, &report?), events, &mut outputs)
}
