//! Progress of tasks whose results are needed together.

use std::ops::ControlFlow;

use super::is_interrupted;
use super::options::Common;
use super::progress::Progress;
use crate::study::{Event, Watch};

/// Does `work`, which tells what happens, on so many `threads`; shows how far it is.
pub(super) fn watched<R>(common: &Common, threads: usize, work: impl FnOnce(Watch<'_>) -> R) -> R {
    let mut progress: Option<Progress> = None;
    let mut watch = |event: Event<'_>| {
        match (event, &mut progress) {
            (Event::Round(jobs), before) => *before = Some(Progress::new(jobs, common, threads)),
            (Event::Finished(job), Some(progress)) => progress.finished(job),
            (Event::Waiting, Some(progress)) => progress.show(),
            (Event::Recorded(_), _) | (Event::Finished(_) | Event::Waiting, None) => {}
        }
        if is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let result = work(&mut watch);
    progress.into_iter().for_each(Progress::finish);
    result
}
