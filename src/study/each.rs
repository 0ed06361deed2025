//! Tasks whose results are needed together: all are done, or the first error ends them.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::Event;
use crate::engine::{self, Job, Limits};
use crate::error::Error;

/// Is told what happens; when it breaks, the call returns.
pub type Watch<'w> = &'w mut dyn FnMut(Event<'_>) -> ControlFlow<()>;

/// What each task found.
///
/// # Errors
/// The first error of a task, or when `watch` broke.
pub(super) fn each<T: Send + 'static>(
    jobs: &[Job],
    (limits, watch): (Limits, Watch<'_>),
    work: &Arc<dyn Fn(usize) -> Result<T, Error> + Send + Sync>,
) -> Result<Vec<T>, Error> {
    let mut found: Vec<Option<T>> = jobs.iter().map(|_| None).collect();
    let mut failed = None;
    if watch(Event::Round(jobs)).is_break() {
        return Err(Error::Interrupted);
    }
    engine::map(jobs, limits, work, &mut |event| match event {
        engine::Event::Started(_) => ControlFlow::Continue(()),
        engine::Event::Waiting => watch(Event::Waiting),
        engine::Event::Finished(i, result) => {
            match result {
                Some(Ok(one)) => found[i] = Some(one),
                Some(Err(error)) => failed = failed.take().or(Some(error)),
                None => failed = failed.take().or(Some(Error::Contract("a task has ended badly".to_owned()))),
            }
            watch(Event::Finished(i))
        }
    })?;
    failed.map_or_else(|| Ok(found.into_iter().flatten().collect()), Err)
}
