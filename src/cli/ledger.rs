//! `--ledger`, `--resume` and `--partition`: records on disk as they are found, in as many files as there are parts.
//!
//! A run of a part, a resumed run and `svdkit collect` all read the same files, so none of them knows of the others.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::engine::Limits;
use crate::error::{Error, printable};
use crate::notation;
use crate::study::{Begun, Identity, Ledger, Manifest, PartHeader, PartNumber, Partition, Record, Study};
use crate::writing::Journal;

use super::jobs::{check_report, pictures, run_study, run_tasks};
use super::options::Common;
use super::partitions::{self, Plan};
use super::{cache, cgroup, complain, outputs, remark};

/// Where records go, and which part of the work is done.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Long runs")]
pub(super) struct LedgerOptions {
    /// Write each record into a file in DIR as it is found, so that a run which ends early can be resumed
    #[arg(long, value_name = "DIR")]
    pub ledger: Option<PathBuf>,
    /// Do only what the records in DIR lack; a matrix that failed is tried again
    #[arg(long, requires = "ledger")]
    pub resume: bool,
    /// Do only part K of N, from 1 to N; `svdkit collect DIR` makes the report of all of them
    #[arg(long, value_name = "K/N", requires = "ledger", conflicts_with = "dry_run")]
    pub partition: Option<PartNumber>,
    /// What is done with the command.
    #[arg(skip)]
    pub errand: Errand,
}

/// What is done with a command.
#[derive(Debug, Clone, Default)]
pub(super) enum Errand {
    /// It is run.
    #[default]
    Run,
    /// Its parts are told.
    Plan(Plan),
    /// Its report is made of what was found before.
    Collect,
}

impl LedgerOptions {
    /// Whether records are written, or parts are told.
    pub(super) fn is_asked(&self) -> bool {
        self.ledger.is_some() || self.reads_headers()
    }

    /// Whether nothing is measured here.
    pub(super) fn reads_headers(&self) -> bool {
        !matches!(self.errand, Errand::Run)
    }

    /// Whether there is no report in the end.
    pub(super) fn has_no_report(&self) -> bool {
        matches!(self.errand, Errand::Plan(_)) || self.partition.is_some()
    }
}

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
    if partition.is_none() {
        check_report(study.report_bytes(), limits)?;
    }
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
            let journal = Journal::resume(&path, &mut |entry| {
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

/// What all parts in `folder` found.
fn collected(
    study: &Arc<dyn Study>,
    manifest: &Manifest,
    folder: &Path,
    common: &Common,
) -> Result<Ledger, Error> {
    check_outputs(common, folder)?;
    let (first, first_path) = first_header(folder)?;
    let count = first.part.of;
    // Where the report is made decides no number.
    let own = PartHeader { processor: first.processor.clone(), ..header(study, manifest, first.part)? };
    let mut ledger = Ledger::new(pictures(common), own.tasks);
    let mut missing = vec![];
    for (at, tasks) in Partition::new(study.as_ref(), count).parts.iter().enumerate() {
        let part = PartNumber { number: at + 1, of: count };
        let path = folder.join(part.file_name());
        let mut known = Known { tasks, done: BTreeSet::new(), ledger };
        let mut there: Option<PartHeader> = None;
        if path.try_exists().unwrap_or(true) {
            Journal::read(&path, &mut |entry| {
                if there.is_some() {
                    return known.take(&path, entry);
                }
                let found = read_header(&path, entry)?;
                if found.processor != own.processor {
                    let (here, other) = (&found.processor, &own.processor);
                    let first = first_path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    let reason = format!(
                        "was made on another kind of processor (`{here}`) than {first} (`{other}`), where sums are rounded otherwise; run one of them again on the other kind"
                    );
                    return Err(Error::malformed(&path, reason));
                }
                check(&path, &PartHeader { part, ..own.clone() }, Some(&found))?;
                there = Some(found);
                Ok(())
            })?;
        }
        ledger = known.ledger;
        let lacking: Vec<usize> = tasks.iter().copied().filter(|task| !ledger.has(*task)).collect();
        if let Some(task) = lacking.first() {
            missing.push((part, lacking.len(), tasks.len(), *task));
        }
    }
    if missing.is_empty() {
        return Ok(ledger);
    }
    /// So many are told one by one.
    const TOLD: usize = 10;
    for (part, lacking, all, task) in missing.iter().take(TOLD) {
        let name =
            manifest.name(*task).map_or_else(String::new, |name| format!(", {} first", printable(name)));
        let command = command_line(&first.command, folder, *part);
        remark(&format!("part {part} lacks {lacking} of {all} tasks{name}; to make it: {command}"));
    }
    if missing.len() > TOLD {
        remark(&format!("… and {} more parts", missing.len() - TOLD));
    }
    let (lacking, noun) = (missing.len(), if count == 1 { "part is" } else { "parts are" });
    Err(Error::malformed(folder, format!("{lacking} of {count} {noun} incomplete")))
}

/// Records as they are read again.
struct Known<'t> {
    /// The tasks of the part.
    tasks: &'t [usize],
    /// Those of them that did not fail.
    done: BTreeSet<usize>,
    ledger: Ledger,
}

impl Known<'_> {
    fn take(&mut self, path: &Path, entry: &str) -> Result<(), Error> {
        let refuse = |what: String| Err(Error::malformed(path, what));
        let record: Record = match serde_json::from_str(entry) {
            Ok(record) => record,
            Err(error) => {
                return refuse(format!(
                    "holds something that is not a record: {error}; remove the file, and run this part again"
                ));
            }
        };
        let task = record.task;
        if self.tasks.binary_search(&task).is_err() {
            return refuse(format!(
                "holds task {task}, which is one of another part; remove the file, and run this part again"
            ));
        }
        if self.done.contains(&task) {
            return refuse(format!("holds task {task} twice; remove the file, and run this part again"));
        }
        if record.result.is_ok() {
            self.done.insert(task);
        }
        self.ledger.write(record);
        Ok(())
    }
}

/// The first part in `folder` that says something of itself, and its file.
pub(super) fn first_header(folder: &Path) -> Result<(PartHeader, PathBuf), Error> {
    let parts = parts_in(folder)?;
    let refuse = |what: String| Err(Error::malformed(folder, what));
    let Some(first) = parts.first() else {
        return refuse("holds no part of a ledger, which `--ledger` writes".to_owned());
    };
    if let Some(other) = parts.iter().find(|part| part.of != first.of) {
        return refuse(format!(
            "holds {} and {}: parts of two plans; remove those of one",
            first.file_name(),
            other.file_name()
        ));
    }
    for part in &parts {
        let path = folder.join(part.file_name());
        let mut header = None;
        // What follows is looked at later.
        let stop = || Error::Interrupted;
        let read = Journal::read(&path, &mut |entry| {
            header = Some(read_header(&path, entry)?);
            Err(stop())
        });
        match (header, read) {
            (Some(header), _) => return Ok((header, path)),
            (None, Err(error)) => return Err(error),
            (None, Ok(())) => {}
        }
    }
    refuse("holds no record yet".to_owned())
}

fn read_header(path: &Path, entry: &str) -> Result<PartHeader, Error> {
    let header: Option<PartHeader> = serde_json::from_str(entry).ok();
    header.filter(|header| header.ledger == PartHeader::layout()).ok_or_else(|| {
        Error::malformed(
            path,
            "is not a part of a ledger as this version of svdkit writes it; name another folder",
        )
    })
}

/// Refuses a part that was made otherwise than `own`.
fn check(path: &Path, own: &PartHeader, there: Option<&PartHeader>) -> Result<(), Error> {
    let Some(difference) = there.and_then(|there| own.difference(there)) else { return Ok(()) };
    Err(Error::malformed(
        path,
        format!("was made otherwise: {difference}; name another folder, or remove the file"),
    ))
}

/// What a part of this run says of itself.
fn header(study: &Arc<dyn Study>, manifest: &Manifest, part: PartNumber) -> Result<PartHeader, Error> {
    let words = env::args_os().skip(1).map(|word| word.into_string());
    let words: Vec<String> = words.collect::<Result<_, _>>().map_err(|word| {
        let word = printable(&word.to_string_lossy());
        Error::Usage(format!("`{word}` is not UTF-8, which a ledger cannot hold; leave out `--ledger`"))
    })?;
    Ok(PartHeader {
        ledger: PartHeader::layout(),
        svdkit: PartHeader::program(),
        processor: processor(),
        part,
        tasks: study.costs().len(),
        identity: Identity::new(study.as_ref(), manifest)?,
        command: bare(&words),
        folder: env::current_dir().map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default(),
    })
}

/// What sums are rounded by: the instruction set, and the caches that long sums are cut for.
fn processor() -> String {
    let arch = format!("{:?}", pulp::Arch::new());
    let set = arch.split(['(', ' ']).next().unwrap_or_default();
    let caches = cgroup::caches().unwrap_or_else(cache::processor);
    format!("{} {set}, caches {caches}", env::consts::ARCH)
}

/// The parts whose files lie in `folder`, in their order; none where it is not there.
fn parts_in(folder: &Path) -> Result<Vec<PartNumber>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(|e| Error::io(folder, "cannot list", e))?,
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut parts: Vec<PartNumber> = names.filter_map(|name| PartNumber::of_file(name.to_str()?)).collect();
    parts.sort_unstable();
    Ok(parts)
}

/// Refuses an output that is a part of the ledger.
fn check_outputs(common: &Common, folder: &Path) -> Result<(), Error> {
    let is_part = |path: &&Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let same = || Some(beside.canonicalize().ok()? == folder.canonicalize().ok()?);
        name.and_then(PartNumber::of_file).is_some() && same() == Some(true)
    };
    let found = outputs::reports(common).find(is_part);
    found.map_or(Ok(()), |path| {
        Err(Error::malformed(path, "is a part of `--ledger`; name another file for `-o`"))
    })
}

/// The words of a command without the options of the ledger.
pub(super) fn bare(words: &[String]) -> Vec<String> {
    let mut kept = vec![];
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--ledger" | "--partition" => drop(rest.next()),
            "--resume" => {}
            word if word.starts_with("--ledger=") || word.starts_with("--partition=") => {}
            word => kept.push(word.to_owned()),
        }
    }
    kept
}

/// What to type for one part.
fn command_line(command: &[String], folder: &Path, part: PartNumber) -> String {
    let mut line =
        format!("svdkit {} --ledger {} --resume", quoted(command), quote(&folder.to_string_lossy()));
    if part != PartNumber::ALL {
        line += &format!(" --partition {part}");
    }
    line
}

/// Words as a shell takes them.
pub(super) fn quoted(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it.
pub(super) fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_kept_without_the_options_of_the_ledger() {
        let words =
            ["spectrum", "M", "--ledger", "a", "-j", "2", "--resume", "--partition=1/2", "--ledger=b"];
        let words: Vec<String> = words.map(str::to_owned).to_vec();
        assert_eq!(bare(&words), ["spectrum", "M", "-j", "2"]);
    }

    #[test]
    fn a_shell_takes_words_as_they_are() {
        for (word, expected) in
            [("model-1.bin", "model-1.bin"), ("*.mlp.*", "'*.mlp.*'"), ("it's", r"'it'\''s'"), ("", "''")]
        {
            assert_eq!(quote(word), expected);
        }
    }
}
