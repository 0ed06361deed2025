//! A path in a store, and a file that was found there.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, Entry, Listed, ReadAt, Stamp, Store, Version, failed};
use crate::error::Error;

/// Where a file or folder lies, whether or not it is there.
#[derive(Debug, Clone)]
pub struct Location {
    store: Arc<dyn Store>,
    path: PathBuf,
}

impl Location {
    /// `path` in `store`.
    pub fn new(store: Arc<dyn Store>, path: impl Into<PathBuf>) -> Self {
        Self { store, path: path.into() }
    }

    /// `path` on this machine.
    pub fn disk(path: impl Into<PathBuf>) -> Self {
        Self::new(Arc::new(Disk), path)
    }

    /// The path in its store.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How messages call it.
    pub fn describe(&self) -> PathBuf {
        self.store.describe(&self.path)
    }

    /// Its path, if it is one of this machine.
    pub fn local(&self) -> Option<&Path> {
        self.store.local(&self.path)
    }

    /// Whether every read of it costs a round trip.
    pub fn is_remote(&self) -> bool {
        self.store.is_remote()
    }

    /// Its name without the folder.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The entry `name` in this folder.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> Self {
        Self { store: Arc::clone(&self.store), path: self.path.join(name) }
    }

    /// The entry `name` beside this file.
    #[must_use]
    pub fn beside(&self, name: impl AsRef<Path>) -> Self {
        Self { store: Arc::clone(&self.store), path: self.path.with_file_name(name.as_ref()) }
    }

    /// The folder that this is in; nothing is above the root.
    pub fn parent(&self) -> Option<Self> {
        let path = self.path.parent()?.to_owned();
        Some(Self { store: Arc::clone(&self.store), path })
    }

    /// This folder, or the folder that this file is in.
    #[must_use]
    pub fn folder(&self) -> Self {
        if self.is_folder() { self.clone() } else { self.parent().unwrap_or_else(|| self.clone()) }
    }

    /// The kind of entry at this location.
    ///
    /// # Errors
    /// If the store can't find out.
    pub fn entry(&self) -> Result<Entry, Error> {
        self.store.entry(&self.path).map_err(|e| self.failed("cannot open", e))
    }

    /// Whether a folder is there.
    pub fn is_folder(&self) -> bool {
        matches!(self.store.entry(&self.path), Ok(Entry::Folder))
    }

    /// Whether it exists, as a file or as something that will be refused.
    pub fn is_named(&self) -> bool {
        !matches!(self.store.entry(&self.path), Ok(Entry::Absent))
    }

    /// Whether anything is there.
    pub fn exists(&self) -> bool {
        matches!(self.store.entry(&self.path), Ok(Entry::File(_) | Entry::Folder | Entry::Special(_)))
    }

    /// Whether a file is there.
    pub fn is_file(&self) -> bool {
        matches!(self.store.entry(&self.path), Ok(Entry::File(_)))
    }

    /// Names of the entries of this folder, in no order.
    ///
    /// # Errors
    /// When it is not a folder, or cannot be listed.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        self.store.list(&self.path).map_err(|e| self.failed("cannot list", e))
    }

    /// Opens the file that is there.
    ///
    /// # Errors
    /// When there is none, or it may not be read.
    pub fn open(&self) -> Result<(Box<dyn ReadAt>, StoredFile), Error> {
        let (bytes, version) = self.store.open(&self.path).map_err(|e| self.failed("cannot open", e))?;
        Ok((bytes, StoredFile { location: self.clone(), version, shown: self.describe() }))
    }

    /// The first bytes of the file, at most `most`.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn head(&self, most: usize) -> Result<Vec<u8>, Error> {
        let (bytes, file) = self.open()?;
        let mut head = vec![0; most.min(usize::try_from(file.length()).unwrap_or(most))];
        bytes.read_at(&mut head, 0).map_err(|e| self.failed("cannot read", e))?;
        Ok(head)
    }

    /// The whole of a text file, such as settings or an index: `what`, as in "an index", of at most `most` bytes.
    ///
    /// # Errors
    /// When it is not a file, cannot be read, or is longer.
    pub fn text(&self, what: &str, most: u64) -> Result<Vec<u8>, Error> {
        match self.entry()? {
            Entry::Special(kind) => return Err(self.malformed(format!("is {kind}, not a file"))),
            Entry::Folder => return Err(self.malformed("is a folder, not a file")),
            Entry::File(_) | Entry::Broken(_) | Entry::Absent => {}
        }
        let text = self.store.whole(&self.path, most).map_err(|e| self.failed("cannot open", e))?;
        text.ok_or_else(|| self.malformed(format!("{what} of more than {most} bytes is not read")))
    }

    /// An error about this location.
    pub fn malformed(&self, reason: impl Into<String>) -> Error {
        Error::malformed(&self.describe(), reason)
    }

    /// An error about a tensor in the file.
    pub fn tensor(&self, name: &str, reason: impl Into<String>) -> Error {
        Error::tensor(&self.describe(), name, reason)
    }

    /// The error that `source` is here, while `action` was tried.
    pub fn failed(&self, action: &'static str, source: io::Error) -> Error {
        failed(&self.describe(), action, source)
    }
}

/// A file as it was when it was opened first.
#[derive(Clone)]
pub struct StoredFile {
    location: Location,
    version: Version,
    shown: PathBuf,
}

impl StoredFile {
    /// Where it lies.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Its bytes.
    pub fn length(&self) -> u64 {
        self.version.length
    }

    /// What tells it from every other file, and from itself after a change; none where it has changed already.
    pub fn stamp(&self) -> Option<Stamp> {
        self.location.store.stamp(&self.location.path, &self.version)
    }

    /// How messages call it.
    pub fn describe(&self) -> &Path {
        &self.shown
    }

    /// Opens it again, for several reads. No handle is kept between matrices: a checkpoint may have more shards than
    /// a process may have open files, and an open costs microseconds where a matrix costs milliseconds.
    ///
    /// # Errors
    /// When it has changed or cannot be opened; in words.
    pub fn reopen(&self) -> Result<Box<dyn ReadAt>, String> {
        self.location.store.reopen(&self.location.path, &self.version)
    }

    /// Fills `out` from position `offset`.
    ///
    /// # Errors
    /// When it has changed, is too short, or cannot be read; in words.
    pub fn read_at(&self, out: &mut [u8], offset: u64) -> Result<(), String> {
        let length = out.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > self.length()) {
            return Err(format!("{length} bytes at {offset} are not in the file"));
        }
        self.reopen()?.read_at(out, offset).map_err(|e| unreadable(&e, length, offset))
    }

    /// `length` bytes from position `offset`.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at); also when they do not fit into memory.
    pub fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, String> {
        // Before anything is allocated: a damaged header may claim any length.
        if offset.checked_add(length).is_none_or(|end| end > self.length()) {
            return Err(format!("{length} bytes at {offset} are not in the file"));
        }
        let mut bytes = zeros(length)?;
        self.read_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

impl fmt::Debug for StoredFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.shown.display(), self.version.length)
    }
}

/// This many zero bytes, or an error: a server may claim more than fits into memory.
pub(crate) fn zeros(length: u64) -> Result<Vec<u8>, String> {
    let fits = usize::try_from(length).is_ok_and(|n| Vec::<u8>::new().try_reserve_exact(n).is_ok());
    if fits { Ok(vec![0; length as usize]) } else { Err(format!("{length} bytes do not fit into memory")) }
}

/// Why `length` bytes at `offset` of an open file cannot be read.
pub(crate) fn unreadable(error: &io::Error, length: u64, offset: u64) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the file was cut short while it was read".to_owned(),
        _ => format!("cannot read {length} bytes at {offset}: {error}"),
    }
}
