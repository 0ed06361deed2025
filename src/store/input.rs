//! The files that a run reads. Each is opened here and remembered, so that no output is ever put over one of them.
//!
//! Only regular files are opened: a pipe would be waited for, and a device may have no end.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Refusal, failed};
use crate::error::Error;

/// The identity of a file, whatever path leads to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// An existing file, by device and inode.
    #[cfg(unix)]
    Node(u64, u64),
    /// A file that does not exist yet, by its resolved path; outside Unix, existing files, too.
    Path(PathBuf),
}

/// Every file that was opened.
static READ: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

impl Identity {
    /// The identity of the file that is, or would be, at `path`.
    pub fn of(path: &Path) -> Self {
        #[cfg(unix)]
        if let Ok(metadata) = fs::metadata(path) {
            return Self::of_metadata(&metadata);
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let named = || Some(folder.canonicalize().ok()?.join(path.file_name()?));
        Self::Path(path.canonicalize().ok().or_else(named).unwrap_or_else(|| path.to_owned()))
    }

    /// The identity of an existing file.
    #[cfg(unix)]
    pub fn of_metadata(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self::Node(metadata.dev(), metadata.ino())
    }

    /// Whether this process has read it.
    pub fn is_read(&self) -> bool {
        read().contains(self)
    }
}

/// Opens the file at `path` for reading.
///
/// # Errors
/// When it is not a regular file, or cannot be opened.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    try_open(path).map_err(|e| failed(path, "cannot open", e))
}

/// The same for callers with their own error message.
pub(super) fn try_open(path: &Path) -> io::Result<File> {
    let refuse = |metadata: &Metadata| match special(metadata) {
        Some(kind) => Err(Refusal::Because(format!("is {kind}, not a file"))),
        None => Ok(()),
    };
    // Before it is opened, because to open a pipe is to wait for its writer; and after, because it may be another by then.
    refuse(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    refuse(&file.metadata()?)?;
    #[cfg(unix)]
    read().insert(Identity::of_metadata(&file.metadata()?));
    #[cfg(not(unix))]
    read().insert(Identity::of(path));
    Ok(file)
}

/// Whether `path` exists, as a file or as something that will be refused.
pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The kind of anything but a regular file.
pub(super) fn special(metadata: &Metadata) -> Option<&'static str> {
    if metadata.is_file() {
        return None;
    }
    if metadata.is_dir() {
        return Some("a folder");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return Some("a pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
    }
    Some("a device")
}

fn read() -> MutexGuard<'static, BTreeSet<Identity>> {
    READ.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_by_every_path_that_leads_to_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["file", "other"] {
            fs::write(at(name), name).expect("written");
        }
        fs::hard_link(at("file"), at("hard")).expect("linked");
        std::os::unix::fs::symlink("file", at("soft")).expect("linked");
        fs::create_dir(at("folder")).expect("created");
        assert!(!Identity::of(&at("file")).is_read());
        drop(open(&at("soft")).expect("opens"));
        for path in ["file", "hard", "soft", "folder/../file"] {
            assert!(Identity::of(&at(path)).is_read(), "{path}");
        }
        assert!(!Identity::of(&at("other")).is_read());
        assert_eq!(Identity::of(&at("new")), Identity::of(&at("folder/../new")));
        assert_ne!(Identity::of(&at("new")), Identity::of(&at("folder/new")));
    }
}
