//! Runs a study, with progress shown and interrupts heeded.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::engine::Limits;
use crate::error::Error;
use crate::study::{self, Event, Ledger, Study};

use super::options::Common;
use super::progress::Progress;

/// Does all tasks of `study`.
pub(super) fn run_study(
    study: &Arc<dyn Study>,
    (common, limits): (&Common, Limits),
) -> Result<Ledger, Error> {
    let mut progress: Option<Progress> = None;
    let mut watch = |event: Event<'_>| {
        match (event, &mut progress) {
            (Event::Round(jobs), before) => {
                let next = Progress::new(jobs, common, limits.threads);
                before.replace(next).into_iter().for_each(Progress::finish);
            }
            (Event::Finished(job), Some(progress)) => progress.finished(job),
            (Event::Waiting, Some(progress)) => progress.show(),
            (Event::Finished(_) | Event::Waiting, None) => {}
        }
        if super::is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let ledger = study::run(study, limits, &mut watch);
    progress.into_iter().for_each(Progress::finish);
    ledger
}
