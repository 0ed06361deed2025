//! Runs a study, with progress shown and interrupts heeded.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::engine::Limits;
use crate::error::Error;
use crate::solver::{Memo, NoMemo};
use crate::study::{self, Event, Ledger, Pictures, Study};

use super::cache;
use super::options::Common;
use super::outputs::draws;
use super::progress::Progress;
use super::remark;

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
    let pictures = if draws(common) { Pictures::Kept } else { Pictures::Dropped };
    let cache = cache::open(&common.shared).map(Arc::new);
    let memo: Arc<dyn Memo> = match &cache {
        Some(cache) => Arc::clone(cache) as _,
        None => Arc::new(NoMemo),
    };
    let ledger = study::run(study, limits, (&memo, pictures), &mut watch)?;
    progress.into_iter().for_each(Progress::finish);
    if let Some(trouble) = cache.and_then(|cache| cache.finish()).filter(|_| !common.quiet) {
        remark(&format!("nothing is kept for later runs: {trouble}; `--no-cache` does not try to"));
    }
    Ok(ledger)
}
