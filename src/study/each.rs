//! Tasks whose results are needed together, and what rows of such studies share.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Event, Failure};
use crate::engine::{self, Job, Limits};
use crate::error::Error;
use crate::layer::{Layer, natural};
use crate::report::{Report, SkipKind, Skipped};

/// Is told what happens; when it breaks, the call returns.
pub type Watch<'w> = &'w mut dyn FnMut(Event<'_>) -> ControlFlow<()>;

/// What each task found, or why it failed: one that fails leaves the others alone.
///
/// # Errors
/// When `watch` broke, or the threads cannot be had.
pub(super) fn each<T: Send + 'static>(
    jobs: &[Job],
    (limits, watch): (Limits, Watch<'_>),
    work: &Arc<dyn Fn(usize) -> Result<T, Error> + Send + Sync>,
) -> Result<Vec<Result<T, Error>>, Error> {
    let mut found: Vec<Option<Result<T, Error>>> = jobs.iter().map(|_| None).collect();
    if watch(Event::Round(jobs)).is_break() {
        return Err(Error::Interrupted);
    }
    engine::map(jobs, limits, work, &mut |event| match event {
        engine::Event::Started(_) => ControlFlow::Continue(()),
        engine::Event::Waiting => watch(Event::Waiting),
        engine::Event::Finished(i, result) => {
            found[i] = result;
            watch(Event::Finished(i))
        }
    })?;
    let panicked = || Err(Error::Contract(Failure::panicked().detail));
    Ok(found.into_iter().map(|result| result.unwrap_or_else(panicked)).collect())
}

/// The entry of a matrix among skipped tensors.
pub(super) fn left_out(layer: &Layer, kind: SkipKind, reason: impl Into<String>) -> Skipped {
    Skipped {
        tensor: layer.tensor.clone(),
        shape: layer.stored_shape.iter().map(|n| *n as u64).collect(),
        dtype: layer.stored_type().to_owned().into(),
        reason: reason.into().into(),
        kind,
        ..Skipped::default()
    }
}

/// The report with `skipped` in natural name order, each tensor once, and its counts.
pub(super) fn counted(mut report: Report, mut skipped: Vec<Skipped>) -> Report {
    // A stack of experts is one tensor.
    skipped.sort_by(|a, b| natural(&a.tensor, &b.tensor).then(b.kind.cmp(&a.kind)));
    skipped.dedup_by(|a, b| a.tensor == b.tensor && a.reason == b.reason);
    report.totals.skipped = skipped.len() as u64;
    report.skipped = skipped;
    report.totals.failed = report.failures().count() as u64;
    report.totals.measured = report.rows.iter().filter(|row| row.failed.is_none()).count() as u64;
    report
}
