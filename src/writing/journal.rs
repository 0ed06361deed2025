//! Lines that are on disk as soon as they are known: a file that only grows, one checked entry a line.
//!
//! A process that is killed loses no line that was written; a machine that loses power, those of the last second. A line that
//! was cut short is the last one and is dropped. Any other damage is an error, and so is a line of a file that begins
//! otherwise: checks are of the first line, too. Nothing here knows what an entry says.

use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Error;

/// After so long what was written is put on disk.
const PATIENCE: Duration = Duration::from_millis(900);

/// What stands before, between and after the check and the entry of a line: each line is JSON.
const BEFORE: &str = "{\"blake3\":\"";
const BETWEEN: &str = "\",\"entry\":";
const AFTER: &str = "}";
/// Characters of a check.
const CHECK: usize = 32;

/// A file of lines that one process writes.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// Since when something is written that may not be on disk.
    since: Option<Instant>,
    /// The check of the first line; nothing before there is one.
    first: String,
}

impl Journal {
    /// Begins the file at `path`, in a folder that is made if it is not there.
    ///
    /// # Errors
    /// When there is such a file, or it cannot be made.
    pub fn begin(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::io(folder, "cannot create", e))?;
        }
        let file = File::options().read(true).append(true).create_new(true).open(path);
        let journal = Self::locked(file.map_err(|e| Error::io(path, "cannot create", e))?, path)?;
        // The file itself has to outlive a power cut, too; not every system can say so of a folder.
        let _ = path.parent().map(File::open).and_then(Result::ok).map(|folder| folder.sync_all());
        Ok(journal)
    }

    /// Goes on with the file at `path`, after `each` has seen its entries. `remedy` is what to do about a damaged one.
    ///
    /// # Errors
    /// When it cannot be read or written, another process writes it, or it is damaged; what `each` says.
    pub fn resume(
        path: &Path,
        remedy: &str,
        each: &mut dyn FnMut(&str) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let file = File::options().read(true).append(true).open(path);
        let mut journal = Self::locked(file.map_err(|e| Error::io(path, "cannot open", e))?, path)?;
        let (sound, first) = entries(&mut BufReader::new(&journal.file), (path, remedy), each)?;
        journal.first = first;
        let cut = journal.file.set_len(sound).and_then(|()| journal.file.seek(SeekFrom::End(0)));
        cut.map_err(|e| Error::io(path, "cannot write", e))?;
        Ok(journal)
    }

    fn locked(file: File, path: &Path) -> Result<Self, Error> {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let reason = "is being written by another run; wait for it, or stop it";
                Err(Error::malformed(path, reason))
            }
            // A disk that knows no locks is used without them.
            Ok(()) | Err(TryLockError::Error(_)) => {
                Ok(Self { file, path: path.to_owned(), since: None, first: String::new() })
            }
        }
    }

    /// Shows the entries of the file at `path`, which another process may be writing. `remedy` is what to do about a damaged
    /// one.
    ///
    /// # Errors
    /// When it cannot be read or is damaged; what `each` says.
    pub fn read(
        path: &Path,
        remedy: &str,
        each: &mut dyn FnMut(&str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let file = File::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
        entries(&mut BufReader::new(file), (path, remedy), each).map(drop)
    }

    /// Writes an entry, which is JSON without line ends.
    ///
    /// # Errors
    /// When the disk takes no more.
    pub fn append(&mut self, entry: &str) -> Result<(), Error> {
        let check = check(&self.first, entry);
        let line = format!("{BEFORE}{check}{BETWEEN}{entry}{AFTER}\n");
        self.file.write_all(line.as_bytes()).map_err(|e| Error::io(&self.path, "cannot write", e))?;
        if self.first.is_empty() {
            self.first = check;
        }
        self.since.get_or_insert_with(Instant::now);
        self.settle()
    }

    /// Puts on disk what was written some time ago; to be called now and then.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn settle(&mut self) -> Result<(), Error> {
        if self.since.is_some_and(|since| since.elapsed() >= PATIENCE) { self.sync() } else { Ok(()) }
    }

    /// Puts on disk what was written.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn sync(&mut self) -> Result<(), Error> {
        self.since = None;
        self.file.sync_data().map_err(|e| Error::io(&self.path, "cannot write", e))
    }
}

/// The check of `entry`, in a file whose first line has the check `first`.
fn check(first: &str, entry: &str) -> String {
    blake3::hash([first, entry].concat().as_bytes()).to_hex()[..CHECK].to_owned()
}

/// The check and the entry of a line, if it is what was written.
fn entry<'l>(first: &str, line: &'l str) -> Option<(&'l str, &'l str)> {
    let rest = line.strip_prefix(BEFORE)?;
    let (said, rest) = rest.split_at_checked(CHECK)?;
    let entry = rest.strip_prefix(BETWEEN)?.strip_suffix(AFTER)?;
    (check(first, entry) == said).then_some((said, entry))
}

/// Shows all entries, and tells how many bytes are sound, and the check of the first line: a last line without an end was cut
/// short.
fn entries(
    file: &mut dyn BufRead,
    (path, remedy): (&Path, &str),
    each: &mut dyn FnMut(&str) -> Result<(), Error>,
) -> Result<(u64, String), Error> {
    let (mut sound, mut line, mut first) = (0, vec![], String::new());
    for number in 1.. {
        line.clear();
        let length = file.read_until(b'\n', &mut line).map_err(|e| Error::io(path, "cannot read", e))?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            return Ok((sound, first));
        }
        let found = std::str::from_utf8(&line).ok().and_then(|line| entry(&first, line));
        let damaged = || Error::malformed(path, format!("line {number} is not as it was written; {remedy}"));
        let (check, entry) = found.ok_or_else(damaged)?;
        each(entry)?;
        if first.is_empty() {
            check.clone_into(&mut first);
        }
        sound += length as u64;
    }
    Ok((sound, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Result<Vec<String>, Error> {
        let mut found = vec![];
        let mut each = |entry: &str| {
            found.push(entry.to_owned());
            Ok(())
        };
        Journal::read(path, "", &mut each).map(|()| found)
    }

    #[test]
    fn a_file_cut_anywhere_has_all_whole_lines_and_goes_on() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("new").join("j");
        let all = ["{\"a\":1}", "[]", "\"längst\""];
        let mut journal = Journal::begin(&path).expect("a new file");
        all.iter().for_each(|entry| journal.append(entry).expect("written"));
        journal.sync().expect("on disk");
        drop(journal);
        let whole = fs::read(&path).expect("there");
        let ends: Vec<usize> =
            whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(i, _)| i + 1).collect();
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).expect("cut");
            let left = ends.iter().filter(|end| **end <= length).count();
            assert_eq!(read(&path).expect("sound"), all[..left], "{length}");
            let mut seen = 0;
            let mut each = |_: &str| {
                seen += 1;
                Ok(())
            };
            let mut journal = Journal::resume(&path, "", &mut each).expect("sound");
            assert_eq!(seen, left);
            journal.append("7").expect("written");
            assert_eq!(read(&path).expect("sound").last().map(String::as_str), Some("7"));
        }
        assert!(Journal::begin(&path).is_err(), "nothing is overwritten");
    }

    #[test]
    fn a_changed_byte_is_found_wherever_it_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("j");
        let mut journal = Journal::begin(&path).expect("a new file");
        ["{\"a\":1}", "[2,3]"].iter().for_each(|entry| journal.append(entry).expect("written"));
        drop(journal);
        let whole = fs::read(&path).expect("there");
        for at in 0..whole.len() - 1 {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            fs::write(&path, &damaged).expect("written");
            let told = read(&path).expect_err("damaged").to_string();
            assert!(told.contains("is not as it was written"), "{at}: {told}");
        }
    }

    #[test]
    fn a_line_of_a_file_that_begins_otherwise_is_found() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let whole = ["1", "2"].map(|begin| {
            let path = folder.path().join(begin);
            let mut journal = Journal::begin(&path).expect("a new file");
            [begin, "[3]"].iter().for_each(|entry| journal.append(entry).expect("written"));
            fs::read_to_string(&path).expect("there")
        });
        let lines = whole.each_ref().map(|text| text.lines().collect::<Vec<_>>());
        let path = folder.path().join("both");
        fs::write(&path, format!("{}\n{}\n", lines[0][0], lines[1][1])).expect("written");
        assert!(read(&path).expect_err("two files").to_string().contains("line 2 is not as it was written"));
    }

    #[test]
    fn one_process_writes_at_a_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("j");
        let first = Journal::begin(&path).expect("a new file");
        let told = Journal::resume(&path, "", &mut |_| Ok(())).expect_err("locked").to_string();
        assert!(told.contains("another run"), "{told}");
        drop(first);
        assert!(Journal::resume(&path, "", &mut |_| Ok(())).is_ok());
    }
}
