//! Work on many matrices at a time, with progress shown and interrupts heeded.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::engine::{self, Job, Limits};
use crate::error::Error;

use super::options::Common;
use super::progress::Progress;

/// Does one job of several, by its position.
pub(super) type Work<T> = Arc<dyn Fn(usize) -> Result<T, Error> + Send + Sync>;

/// Does all of `jobs`, with progress shown; what failed comes as words.
pub(super) fn run_jobs<T: Send + 'static>(
    jobs: &[Job],
    work: &Work<T>,
    (common, limits): (&Common, Limits),
) -> Result<Vec<Result<T, String>>, Error> {
    let mut progress = Progress::new(jobs, common.quiet);
    let mut watch = |event| {
        progress.update(event);
        if super::is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let results = engine::map(jobs, limits, work, &mut watch);
    progress.finish();
    let words = |result| match result {
        Some(Ok(found)) => Ok(found),
        Some(Err(error)) => Err(Error::to_string(&error)),
        None => Err("svdkit failed on this matrix; that is a bug worth reporting".to_owned()),
    };
    Ok(results?.into_iter().map(words).collect())
}
