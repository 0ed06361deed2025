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

/// Does all tasks of `study`.
pub(super) fn run_study(
    study: &Arc<dyn Study>,
    (common, limits): (&Common, Limits),
) -> Result<Ledger, Error> {
    check_report(study.report_bytes(), limits)?;
    run_tasks(study, (common, limits), Begun::new(study.as_ref(), pictures(common)), None)
}

/// Whether what pictures are drawn from is kept until the report is written.
pub(super) fn pictures(common: &Common) -> Pictures {
    if draws(common) { Pictures::Kept } else { Pictures::Dropped }
}

/// Does what is left of `study`; each record goes to `journal` as it is found.
pub(super) fn run_tasks(
    study: &Arc<dyn Study>,
    (common, limits): (&Common, Limits),
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
    let cache = cache::open(&common.shared).map(Arc::new);
    let memo: Arc<dyn Memo> = match &cache {
        Some(cache) => Arc::clone(cache) as _,
        None => Arc::new(NoMemo),
    };
    let ledger = study::run(study, limits, &memo, begun, &mut watch);
    progress.into_iter().for_each(Progress::finish);
    if let Some(error) = trouble {
        return Err(error);
    }
    let ledger = ledger?;
    journal.map_or(Ok(()), Journal::sync)?;
    if let Some(trouble) = cache.and_then(|cache| cache.finish()).filter(|_| !common.quiet) {
        remark(&format!("nothing is kept for later runs: {trouble}; `--no-cache` does not try to"));
    }
    Ok(ledger)
}

/// A record as an entry of a journal.
fn text(record: &Record) -> String {
    serde_json::to_string(record).expect("numbers, names and lists")
}

/// What a run may take beside `--memory`: the program, and its report.
const BESIDE: u64 = 100 << 20;

/// Refuses a run whose report alone does not fit.
pub(super) fn check_report(report: u64, limits: Limits) -> Result<(), Error> {
    let needed = notation::bytes(report);
    let granted = limits.granted;
    if report > granted {
        let granted = notation::bytes(granted);
        let reason = format!(
            "its report takes about {needed} of memory; this machine, or the control group of this run, leaves {granted}"
        );
        return Err(Error::Resources(reason + "; `--include GLOB` measures fewer matrices"));
    }
    if report <= limits.memory.saturating_add(BESIDE) {
        return Ok(());
    }
    let most = (report - BESIDE).div_ceil(1 << 20);
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
        assert!(check_report(164 << 20, limits(u64::MAX)).is_ok());
        let told =
            |report, granted| check_report(report, limits(granted)).expect_err("too large").to_string();
        assert!(told(300 << 20, u64::MAX).contains("`--memory 200M` allows that"));
        assert!(told(100 << 20, 90 << 20).contains("the control group of this run, leaves 90.0 MiB"));
    }
}
