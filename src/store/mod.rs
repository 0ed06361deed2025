//! Where bytes lie: on this disk, in memory, or on the Hugging Face hub, behind one trait.
//!
//! A [`Location`] is a path in a store, a [`StoredFile`] a file as it was when its header was read. Bytes come by
//! positioned reads, never through a memory map, so that a file that shrinks or a network disk that fails is an error
//! with a name and not a signal. Knows nothing of file formats.

mod address;
mod borrowed;
mod cache;
mod disk;
#[cfg(feature = "hub")]
mod hub;
pub(crate) mod input;
mod location;
mod memory;
mod room;
mod sequence;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::Error;

pub use address::Address;
pub use borrowed::borrow;
pub(crate) use borrowed::open_to_copy;
pub use cache::{Cached, named, revisions};
pub use disk::Disk;
#[cfg(feature = "hub")]
pub use hub::{Hub, Remote};
pub use input::Identity;
pub use location::{Location, StoredFile};
pub(crate) use location::{unreadable, zeros};
pub use memory::Memory;
pub use room::grant_headers;
pub(crate) use room::{Room, check_header};
pub use sequence::Sequence;

/// A place where files lie. Paths are the store's own; on a disk they are paths of this machine.
pub trait Store: fmt::Debug + Send + Sync {
    /// The kind of entry at `path`; links are followed.
    ///
    /// # Errors
    /// If the store can't find out.
    fn entry(&self, path: &Path) -> io::Result<Entry>;

    /// Names of the entries of `folder`, in no order.
    ///
    /// # Errors
    /// When it is not a folder, or cannot be listed.
    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>>;

    /// Opens the file at `path` and records its state.
    ///
    /// # Errors
    /// When it is not there, is not a file, or may not be read.
    fn open(&self, path: &Path) -> io::Result<(Box<dyn ReadAt>, Version)>;

    /// Opens the file at `path` again, which is to be as it was.
    ///
    /// # Errors
    /// When it has changed or cannot be opened; in words.
    fn reopen(&self, path: &Path, version: &Version) -> Result<Box<dyn ReadAt>, String>;

    /// The whole of the file at `path`; none if it has more than `most` bytes.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    fn whole(&self, path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
        let (file, version) = self.open(path)?;
        if version.length > most {
            return Ok(None);
        }
        let mut bytes = zeros(version.length).map_err(io::Error::other)?;
        file.read_at(&mut bytes, 0)?;
        Ok(Some(bytes))
    }

    /// The name of `path` in messages.
    fn describe(&self, path: &Path) -> PathBuf;

    /// `path`, if it is one of this machine.
    fn local<'p>(&self, _path: &'p Path) -> Option<&'p Path> {
        None
    }

    /// What tells the file at `path`, which is to be as it was, from every other one; none where that is not known.
    fn stamp(&self, _path: &Path, _version: &Version) -> Option<Stamp> {
        None
    }

    /// Whether every read costs a round trip, so that one long read is cheaper than many short ones.
    fn is_remote(&self) -> bool {
        false
    }
}

/// An open file.
pub trait ReadAt: Send + Sync {
    /// Fills `out` from position `offset`.
    ///
    /// # Errors
    /// When the file ends before `out` is full, or cannot be read.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;
}

/// The state of a file, to detect changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its bytes.
    pub length: u64,
    /// When it was last written to, where the store knows.
    pub modified: Option<SystemTime>,
}

/// What tells a file from every other one, and from itself after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Its identity and its state, in words that are digested and not kept.
    pub mark: String,
    /// Whether a change from now on would give it another mark.
    pub is_settled: bool,
}

/// The kind of entry at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file; of how many bytes, where that costs nothing to know.
    File(Option<u64>),
    /// A folder.
    Folder,
    /// Something else, in words: "a pipe".
    Special(&'static str),
    /// A link to something that is not there.
    Broken(PathBuf),
    /// Nothing.
    Absent,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Whether it is a folder, or a link to one.
    pub is_folder: bool,
}

/// Why a store gives no bytes, where it is not the operating system that says so.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The user stopped the run.
    #[error("interrupted")]
    Interrupted,
    /// In words that need nothing before them.
    #[error("{0}")]
    Because(String),
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::other(refusal)
    }
}

/// The error that `source` is about what lies at `path`, while `action` was tried.
pub(crate) fn failed(path: &Path, action: &'static str, source: io::Error) -> Error {
    match source.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>()) {
        Some(Refusal::Interrupted) => Error::Interrupted,
        Some(Refusal::Because(why)) => Error::malformed(path, why.clone()),
        None => Error::io(path, action, source),
    }
}
