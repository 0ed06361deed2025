//! Runs that write down what they find, whole or in parts.
//!
//! A run of a part, a resumed run and `svdkit collect` all read the same files, so none of them knows of the others.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::engine::Limits;
use crate::error::{Error, printable};
use crate::notation;
use crate::study::{Begun, Ledger, Manifest, PartNumber, Partition, Study};
use crate::writing::Journal;

use super::jobs::{check_report, pictures, run_study, run_tasks};
use super::options::Common;
use super::parts::{Known, REMEDY, check, check_outputs, collected, header, parts_in, read_header};
use super::recording::{Errand, LedgerOptions};
use super::{complain, partitions, remark};

/// What the tasks of `study` find; nothing where a part was done, or parts were told.
pub(super) fn measured(
    study: &Arc<dyn Study>,
    manifest: &Manifest,
    (common, limits): (&Common, Limits),
) -> Result<Option<Ledger>, Error> {
    let LedgerOptions { ledger, errand, .. } = &common.recording;
    match (errand, ledger) {
        (Errand::Plan(plan), _) => partitions::tell(study.as_ref(), plan, (common, limits)).map(|()| None),
        (Errand::Collect, Some(folder)) => collected(study, manifest, folder, common).map(Some),
        (_, Some(folder)) => recorded(study, manifest, folder, (common, limits)),
        (_, None) => run_study(study, (common, limits)).map(Some),
    }
}

/// Does one part, or the whole, and writes down what it finds.
fn recorded(
    study: &Arc<dyn Study>,
    manifest: &Manifest,
    folder: &Path,
    (common, limits): (&Common, Limits),
) -> Result<Option<Ledger>, Error> {
    let LedgerOptions { resume, partition, .. } = common.recording;
    let part = partition.unwrap_or(PartNumber::ALL);
    // A part makes no report.
    let limits = if partition.is_none() { check_report(study.report_bytes(), limits)? } else { limits };
    check_outputs(common, folder)?;
    let path = folder.join(part.file_name());
    if let Some(other) = parts_in(folder)?.into_iter().find(|other| other.of != part.of) {
        return Err(Error::malformed(
            folder,
            format!("holds {}, one of {} parts; name another folder", other.file_name(), other.of),
        ));
    }
    let header = header(study, manifest, part)?;
    let tasks = Partition::new(study.as_ref(), part.of).parts.swap_remove(part.number - 1);
    let mut known =
        Known { tasks: &tasks, done: BTreeSet::new(), ledger: Ledger::new(pictures(common), header.tasks) };
    let (mut journal, begins) = match path.try_exists() {
        Ok(true) if !resume => {
            let what = "holds records of an earlier run; `--resume` goes on with it, or name another folder";
            return Err(Error::malformed(&path, what));
        }
        Ok(true) => {
            let mut there = None;
            let journal = Journal::resume(&path, REMEDY, &mut |entry| {
                if there.is_some() {
                    return known.take(&path, entry);
                }
                there = Some(read_header(&path, entry)?);
                check(&path, &header, there.as_ref())
            })?;
            (journal, there.is_none())
        }
        _ => (Journal::begin(&path)?, true),
    };
    if begins {
        journal.append(&serde_json::to_string(&header).expect("words and numbers"))?;
    }
    let Known { done, ledger, .. } = known;
    let left: Vec<usize> = tasks.iter().copied().filter(|task| !done.contains(task)).collect();
    if resume && !common.quiet {
        remark(&format!("{}: {} of {} tasks are done", path.display(), done.len(), tasks.len()));
    }
    let ledger = run_tasks(study, (common, limits), Begun { ledger, tasks: left }, Some(&mut journal))?;
    if partition.is_none() {
        return Ok(Some(ledger));
    }
    ended(manifest, (&ledger, &tasks), (part, folder), common).map(|()| None)
}

/// Says what became of a part.
fn ended(
    manifest: &Manifest,
    (ledger, tasks): (&Ledger, &[usize]),
    (part, folder): (PartNumber, &Path),
    common: &Common,
) -> Result<(), Error> {
    let failures = tasks.iter().filter_map(|task| Some((*task, ledger.get(*task)?.result.err()?)));
    let mut failed = 0;
    for (task, failure) in failures {
        failed += 1;
        let name = manifest.name(task).map_or_else(String::new, |name| format!("{}: ", printable(name)));
        complain(&format!("{name}{}", failure.text(&manifest.roots)));
    }
    let (folder, all) = (printable(&folder.to_string_lossy()), notation::count(tasks.len() as u64));
    if failed > 0 {
        return Err(Error::Usage(format!(
            "part {part}: {failed} of {all} tasks failed; `--resume` tries them again"
        )));
    }
    if !common.quiet {
        remark(&format!(
            "part {part}: {all} tasks are recorded; `svdkit collect {folder}` makes the report of all parts"
        ));
    }
    Ok(())
}
