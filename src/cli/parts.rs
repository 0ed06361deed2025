//! The files of a ledger, one for each part: what they say of themselves, their records, and what is missing of them.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, printable};
use crate::study::{Identity, Ledger, Manifest, PartHeader, PartNumber, Partition, Record, Study};
use crate::writing::Journal;

use super::jobs::pictures;
use super::options::Common;
use super::words::{bare, quote, quoted};
use super::{cache, cgroup, outputs, remark};

/// What to do about a damaged part.
pub(super) const REMEDY: &str = "remove the file, and run this part again";

/// What all parts in `folder` found.
pub(super) fn collected(
    study: &Arc<dyn Study>,
    manifest: &Manifest,
    folder: &Path,
    common: &Common,
) -> Result<Ledger, Error> {
    /// So many are told one by one.
    const TOLD: usize = 10;
    check_outputs(common, folder)?;
    let (first, first_path) = headers(folder)?.swap_remove(0);
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
            Journal::read(&path, REMEDY, &mut |entry| {
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
pub(super) struct Known<'t> {
    /// The tasks of the part.
    pub tasks: &'t [usize],
    /// Those of them that did not fail.
    pub done: BTreeSet<usize>,
    /// All records.
    pub ledger: Ledger,
}

impl Known<'_> {
    /// Takes a record of the file at `path`.
    pub(super) fn take(&mut self, path: &Path, entry: &str) -> Result<(), Error> {
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

/// What the parts in `folder` say of themselves, each with its file: at least one.
pub(super) fn headers(folder: &Path) -> Result<Vec<(PartHeader, PathBuf)>, Error> {
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
    let mut headers = vec![];
    for part in &parts {
        let path = folder.join(part.file_name());
        let mut header = None;
        // What follows is looked at later.
        let stop = || Error::Interrupted;
        let read = Journal::read(&path, REMEDY, &mut |entry| {
            header = Some(read_header(&path, entry)?);
            Err(stop())
        });
        match (header, read) {
            (Some(header), _) => headers.push((header, path)),
            (None, Err(error)) => return Err(error),
            (None, Ok(())) => {}
        }
    }
    if headers.is_empty() { refuse("holds no record yet".to_owned()) } else { Ok(headers) }
}

pub(super) fn read_header(path: &Path, entry: &str) -> Result<PartHeader, Error> {
    let header: Option<PartHeader> = serde_json::from_str(entry).ok();
    header.filter(|header| header.ledger == PartHeader::layout()).ok_or_else(|| {
        Error::malformed(
            path,
            "is not a part of a ledger as this version of svdkit writes it; name another folder",
        )
    })
}

/// Refuses a part that was made otherwise than `own`.
pub(super) fn check(path: &Path, own: &PartHeader, there: Option<&PartHeader>) -> Result<(), Error> {
    let Some(difference) = there.and_then(|there| own.difference(there)) else { return Ok(()) };
    Err(Error::malformed(
        path,
        format!("was made otherwise: {difference}; name another folder, or remove the file"),
    ))
}

/// What a part of this run says of itself.
pub(super) fn header(
    study: &Arc<dyn Study>,
    manifest: &Manifest,
    part: PartNumber,
) -> Result<PartHeader, Error> {
    let words = env::args_os().skip(1).map(OsString::into_string);
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
pub(super) fn processor() -> String {
    let arch = format!("{:?}", pulp::Arch::new());
    let set = arch.split(['(', ' ']).next().unwrap_or_default();
    let caches = cgroup::caches().unwrap_or_else(cache::processor);
    format!("{} {set}, caches {caches}", env::consts::ARCH)
}

/// The parts whose files lie in `folder`, in their order; none where it is not there.
pub(super) fn parts_in(folder: &Path) -> Result<Vec<PartNumber>, Error> {
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
pub(super) fn check_outputs(common: &Common, folder: &Path) -> Result<(), Error> {
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

/// What to type for one part.
fn command_line(command: &[String], folder: &Path, part: PartNumber) -> String {
    let part = if part == PartNumber::ALL { String::new() } else { format!(" --partition {part}") };
    let folder = quote(&folder.to_string_lossy());
    format!("svdkit {} --ledger {folder} --resume{part}", quoted(command))
}
