//! What runs keep for later ones: singular values, what entries say, and how pairs differ, on disk.
//!
//! Every key is that of this program on this machine. A cache that cannot be written is as good as none.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use blake3::Hash;

use crate::solver::Memo;
use crate::writing::{Shelf, Usage};

/// The most that a cache takes on disk.
pub const CACHE_SIZE: u64 = 1 << 30;

/// A cache in a folder.
pub struct Cache {
    shelf: Shelf,
    /// What numbers depend on beside what they are computed of.
    numerics: Hash,
    has_written: AtomicBool,
    trouble: Mutex<Option<String>>,
}

impl Cache {
    /// The cache in `folder`, for a machine with this `processor`.
    pub fn new(folder: &Path, processor: &str) -> Self {
        let (version, sources) = (env!("CARGO_PKG_VERSION"), env!("SVDKIT_SOURCES"));
        let numerics = format!("{version} {sources} {:?} {processor}", pulp::Arch::new());
        Self {
            shelf: Shelf::new(folder),
            numerics: blake3::hash(numerics.as_bytes()),
            has_written: AtomicBool::new(false),
            trouble: Mutex::default(),
        }
    }

    /// What it holds.
    pub fn usage(&self) -> Usage {
        self.shelf.usage()
    }

    /// Removes all of it, and says what was there.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self) -> std::io::Result<Usage> {
        self.shelf.clear()
    }

    /// Keeps it small after a run, and says why nothing could be kept, if that is so.
    pub fn finish(&self) -> Option<String> {
        if self.has_written.load(Ordering::Relaxed) {
            self.shelf.trim(CACHE_SIZE);
        }
        self.trouble().clone()
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self, key: &Hash) -> Hash {
        blake3::Hasher::new().update(self.numerics.as_bytes()).update(key.as_bytes()).finalize()
    }
}

impl Memo for Cache {
    fn recall(&self, key: &Hash) -> Option<Vec<u8>> {
        self.shelf.get(&self.own(key))
    }

    fn keep(&self, key: &Hash, what: &[u8]) {
        // A disk that is full or may not be written stays so: it is asked once.
        if self.trouble().is_some() {
            return;
        }
        match self.shelf.put(&self.own(key), what) {
            Ok(()) => self.has_written.store(true, Ordering::Relaxed),
            Err(error) => *self.trouble() = Some(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_finds_nothing_and_a_folder_that_cannot_be_made_is_told_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (key, cache) = (blake3::hash(b"k"), Cache::new(folder.path(), "one"));
        cache.keep(&key, b"found");
        assert_eq!(cache.recall(&key).as_deref(), Some(&b"found"[..]));
        assert_eq!(Cache::new(folder.path(), "other").recall(&key), None);
        assert_eq!(cache.finish(), None);
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("written");
        let blocked = Cache::new(&file, "one");
        blocked.keep(&key, b"found");
        assert!(blocked.recall(&key).is_none() && blocked.finish().is_some());
    }
}
