//! Files and folders in the making: put in place complete, or removed, also where a signal ends the process.
//!
//! All are made, put in place and removed under one lock. [`remove_all`] keeps it, so that nothing new can appear after.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{NamedTempFile, TempDir};

/// Prefix of their names. A file with this prefix that belongs to no running process was left by a killed one.
const PREFIX: &str = ".svdkit-";

/// Where they are.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A file in the making.
#[derive(Debug)]
pub struct TemporaryFile(Option<NamedTempFile>);

/// A folder in the making.
#[derive(Debug)]
pub struct TemporaryFolder(TempDir);

impl TemporaryFile {
    /// Creates one in `folder`, with the rights of an ordinary file: as far as the user's mask allows.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new_in(folder: &Path) -> io::Result<Self> {
        let mut unfinished = lock();
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder).map_err(|error| {
            // Without the name of the temporary file, which is of no use to the reader.
            let text = error.to_string();
            io::Error::new(error.kind(), text.split(" at path ").next().unwrap_or_default())
        })?;
        unfinished.insert(file.path().to_owned());
        Ok(Self(Some(file)))
    }

    /// Puts what `content` writes at `path`, complete.
    ///
    /// # Errors
    /// When it cannot be written or put there; nothing is left then.
    pub fn write(
        mut self,
        path: &Path,
        content: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if let Some(file) = &mut self.0 {
            let mut out = io::BufWriter::new(file.as_file_mut());
            content(&mut out).and_then(|()| io::Write::flush(&mut out))?;
        }
        let mut unfinished = lock();
        let Some(file) = self.0.take() else { return Ok(()) };
        unfinished.remove(file.path());
        file.persist(path).map(drop).map_err(|e| e.error)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let mut unfinished = lock();
        if let Some(file) = self.0.take() {
            unfinished.remove(file.path());
        }
    }
}

impl TemporaryFolder {
    /// Creates one in `folder`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new_in(folder: &Path) -> io::Result<Self> {
        let mut unfinished = lock();
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        // With the rights of an ordinary folder: as far as the user's mask allows.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let made = builder.tempdir_in(folder)?;
        unfinished.insert(made.path().to_owned());
        Ok(Self(made))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Renames it to `path`, in the place of an empty folder if there is one, whose rights it takes over.
    ///
    /// # Errors
    /// When that has been taken meanwhile.
    pub fn put(mut self, path: &Path) -> io::Result<()> {
        let _unfinished = lock();
        if path.is_dir() {
            fs::set_permissions(self.path(), fs::metadata(path)?.permissions())?;
            fs::remove_dir(path)?;
        }
        fs::rename(self.path(), path)?;
        self.0.disable_cleanup(true);
        Ok(())
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // A folder that was put in place is not at this path any more.
        let mut unfinished = lock();
        if unfinished.remove(self.0.path()) {
            let _ = remove(self.0.path());
        }
    }
}

/// Removes all of them when a process ends; creating or renaming one waits until it has ended.
pub fn remove_all() {
    /// Another thread may still be filling a folder; it cannot once the folder is gone.
    const ATTEMPTS: usize = 10;
    let unfinished = lock();
    for path in unfinished.iter() {
        let _ = (0..ATTEMPTS).any(|_| remove(path).is_ok());
    }
    std::mem::forget(unfinished);
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// No code panics under the lock, so the set is never half changed.
fn lock() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}
