//! Runs a study, with progress shown and interrupts heeded.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::engine::{Limits, heap};
use crate::error::Error;
use crate::notation;
use crate::solver::{Memo, NoMemo};
use crate::study::{self, Begun, Event, Ledger, Pictures, Record, Study};
use crate::writing::Journal;

use super::cache;
use super::options::Common;
use super::outputs::draws;
use super::progress::Progress;
use super::remark;

/// Does all tasks of `study`, with what earlier runs have kept.
pub(super) fn run_study(
    study: &Arc<dyn Study>,
    (common, limits): (&Common, Limits),
) -> Result<Ledger, Error> {
    let limits = check_report(study.report_bytes(), limits)?;
    run_tasks(study, (common, limits), Begun::new(study.as_ref(), pictures(common)), None)
}

/// Does all tasks of `study`, but for what `memo` knows.
pub(super) fn run_study_with(
    study: &Arc<dyn Study>,
    (common, limits): (&Common, Limits),
    memo: &Arc<dyn Memo>,
) -> Result<Ledger, Error> {
    let limits = check_report(study.report_bytes(), limits)?;
    let begun = Begun::new(study.as_ref(), pictures(common));
    run_with(study, (common, limits), memo, begun, None)
}

/// Whether what pictures are drawn from is kept until the report is written.
pub(super) fn pictures(common: &Common) -> Pictures {
    if draws(common) { Pictures::Kept } else { Pictures::Dropped }
}

/// Does what is left of `study`, with what earlier runs have kept; each record goes to `journal` as it is found.
pub(super) fn run_tasks(
    study: &Arc<dyn Study>,
    (common, limits): (&Common, Limits),
    begun: Begun,
    journal: Option<&mut Journal>,
) -> Result<Ledger, Error> {
    let cache = cache::open(&common.shared).map(Arc::new);
    let memo: Arc<dyn Memo> = match &cache {
        Some(cache) => Arc::clone(cache) as _,
        None => Arc::new(NoMemo),
    };
    let ledger = run_with(study, (common, limits), &memo, begun, journal)?;
    if let Some(trouble) = cache.and_then(|cache| cache.finish()).filter(|_| !common.quiet) {
        remark(&format!("nothing is kept for later runs: {trouble}; `--no-cache` does not try to"));
    }
    Ok(ledger)
}

fn run_with(
    study: &Arc<dyn Study>,
    (common, limits): (&Common, Limits),
    memo: &Arc<dyn Memo>,
    begun: Begun,
    mut journal: Option<&mut Journal>,
) -> Result<Ledger, Error> {
    heap::share(limits.threads);
    let mut progress: Option<Progress> = None;
    let mut trouble = None;
    let mut watch = |event: Event<'_>| {
        let written = match (event, &mut journal) {
            (Event::Recorded(record), Some(journal)) => journal.append(&text(record)),
            (Event::Waiting, Some(journal)) => journal.settle(),
            _ => Ok(()),
        };
        if let Err(error) = written {
            trouble = Some(error);
            return ControlFlow::Break(());
        }
        match (event, &mut progress) {
            (Event::Round(jobs), before) => {
                let next = Progress::new(jobs, common, limits.threads);
                before.replace(next).into_iter().for_each(Progress::finish);
            }
            (Event::Finished(job), Some(progress)) => progress.finished(job),
            (Event::Waiting, Some(progress)) => progress.show(),
            (Event::Recorded(_), _) | (Event::Finished(_) | Event::Waiting, None) => {}
        }
        if super::is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let ledger = study::run(study, limits, memo, begun, &mut watch);
    progress.into_iter().for_each(Progress::finish);
    if let Some(error) = trouble {
        return Err(error);
    }
    let ledger = ledger?;
    journal.map_or(Ok(()), Journal::sync)?;
    Ok(ledger)
}

/// A record as an entry of a journal.
fn text(record: &Record) -> String {
    serde_json::to_string(record).expect("numbers, names and lists")
}

/// The limits of the tasks beside a report of so many bytes.
///
/// # Errors
/// When the report alone does not fit.
pub(super) fn check_report(report: u64, limits: Limits) -> Result<Limits, Error> {
    let needed = notation::bytes(report);
    let granted = limits.granted;
    if report > granted {
        let granted = notation::bytes(granted);
        let reason = format!(
            "its report takes about {needed} of memory; this machine, or the control group of this run, leaves {granted}"
        );
        return Err(Error::Resources(reason + "; `--include GLOB` measures fewer matrices"));
    }
    if report <= limits.of_report() {
        return Ok(limits.beside(report));
    }
    let most = (limits.memory + report - limits.of_report()).div_ceil(1 << 20);
    Err(Error::Resources(format!(
        "its report takes about {needed} of memory; `--memory {most}M` allows that, and `--include GLOB` measures fewer \
         matrices"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_does_not_fit_is_refused_and_what_it_takes_is_told() {
        let limits = |granted| Limits { threads: 1, memory: 64 << 20, granted };
        assert!(check_report(148 << 20, limits(u64::MAX)).is_ok());
        let told =
            |report, granted| check_report(report, limits(granted)).expect_err("too large").to_string();
        assert!(told(300 << 20, u64::MAX).contains("`--memory 216M` allows that"));
        assert!(told(100 << 20, 90 << 20).contains("the control group of this run, leaves 90.0 MiB"));
    }
}
