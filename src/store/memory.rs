//! Files that are bytes of this process: a checkpoint that was built, received or made by a test.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Entry, Listed, ReadAt, Store, Version};

/// Files by their paths, with `/` between folders.
#[derive(Debug, Clone)]
pub struct Memory {
    name: PathBuf,
    files: BTreeMap<PathBuf, Arc<[u8]>>,
}

impl Memory {
    /// A store that messages call `name`.
    pub fn new<P: Into<PathBuf>, B: Into<Arc<[u8]>>>(
        name: impl Into<PathBuf>,
        files: impl IntoIterator<Item = (P, B)>,
    ) -> Self {
        let files = files.into_iter().map(|(path, bytes)| (path.into(), bytes.into()));
        Self { name: name.into(), files: files.collect() }
    }
}

impl Store for Memory {
    fn entry(&self, path: &Path) -> io::Result<Entry> {
        Ok(match self.files.get(path) {
            Some(bytes) => Entry::File(Some(bytes.len() as u64)),
            None if self.files.keys().any(|file| file.starts_with(path)) => Entry::Folder,
            None => Entry::Absent,
        })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>> {
        Ok(below(self.files.keys(), folder))
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn ReadAt>, Version)> {
        let bytes = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        let version = Version { length: bytes.len() as u64, modified: None };
        Ok((Box::new(Arc::clone(bytes)), version))
    }

    fn reopen(&self, path: &Path, _: &Version) -> Result<Box<dyn ReadAt>, String> {
        self.open(path).map(|(bytes, _)| bytes).map_err(|e| e.to_string())
    }

    fn describe(&self, path: &Path) -> PathBuf {
        // To join nothing would add a slash.
        if path.as_os_str().is_empty() { self.name.clone() } else { self.name.join(path) }
    }
}

/// The entries of `folder`, given all `files`.
pub(super) fn below<'f>(files: impl Iterator<Item = &'f PathBuf>, folder: &Path) -> Vec<Listed> {
    let inside = files.filter_map(|file| file.strip_prefix(folder).ok()).filter_map(|rest| {
        let mut parts = rest.components();
        let name = parts.next()?.as_os_str().to_string_lossy().into_owned();
        Some((name, parts.next().is_some()))
    });
    let names: BTreeSet<(String, bool)> = inside.collect();
    names.into_iter().map(|(name, is_folder)| Listed { name, is_folder }).collect()
}

impl ReadAt for Arc<[u8]> {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let end = start.and_then(|start| start.checked_add(out.len()));
        let part = start.zip(end).and_then(|(start, end)| self.get(start..end));
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
