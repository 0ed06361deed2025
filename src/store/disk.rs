//! Files of this machine.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::input::Identity;
use super::{Entry, Listed, ReadAt, Stamp, Store, Version, borrowed, input};

/// No file system that weights lie on counts in longer steps. A file that was written to within the last one may be written
/// to again without a later time.
const TICK: Duration = Duration::from_secs(2);

/// The file system.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl Store for Disk {
    fn entry(&self, path: &Path) -> io::Result<Entry> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Entry::Folder),
            Ok(metadata) => {
                Ok(input::special(&metadata).map_or(Entry::File(Some(metadata.len())), Entry::Special))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Ok(fs::read_link(path).map_or(Entry::Absent, Entry::Broken))
            }
            Err(e) => Err(e),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>> {
        // The path of the folder one is in may be written as nothing at all.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let listed = |entry: fs::DirEntry| {
            // The files of a download cache are links; only those are followed, for a folder may hold very many files.
            let kind = entry.file_type()?;
            let is_folder = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
            Ok(Listed { name: entry.file_name().to_string_lossy().into_owned(), is_folder })
        };
        fs::read_dir(folder)?.map(|entry| entry.and_then(listed)).collect()
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn ReadAt>, Version)> {
        let file = input::try_open(path)?;
        let version = version(&file.metadata()?);
        Ok((borrowed::reader(path, file), version))
    }

    fn reopen(&self, path: &Path, before: &Version) -> Result<Box<dyn ReadAt>, String> {
        let file = input::try_open(path).map_err(|e| match e.get_ref() {
            Some(what) => format!("the file changed while it was read: it {what}"),
            None => format!("cannot open the file again: {e}"),
        })?;
        let now = file.metadata().map_err(|e| format!("cannot read the file again: {e}"))?;
        let now = version(&now);
        if now.length != before.length {
            return Err(format!(
                "the file changed while it was read: it had {} bytes and now has {}",
                before.length, now.length
            ));
        }
        if now != *before {
            return Err("the file changed while it was read: it was written to".to_owned());
        }
        Ok(borrowed::reader(path, file))
    }

    fn stamp(&self, path: &Path, before: &Version) -> Option<Stamp> {
        // The clock first: what is written after it is looked at is later.
        let now = SystemTime::now();
        let metadata = fs::metadata(path).ok().filter(Metadata::is_file)?;
        if version(&metadata) != *before {
            return None;
        }
        let (written, changed) = (metadata.modified().ok()?, changed(&metadata)?);
        let mark = format!("{:?} {} {written:?} {changed:?}", Identity::of(path), metadata.len());
        let is_settled = written.max(changed) + TICK < now;
        Some(Stamp { mark, is_settled })
    }

    fn describe(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn local<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        Some(path)
    }
}

/// When anything of a file was changed last, its times included, where the system knows.
#[cfg(unix)]
fn changed(metadata: &Metadata) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    let (seconds, rest) = (u64::try_from(metadata.ctime()).ok()?, u32::try_from(metadata.ctime_nsec()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, rest))
}

#[cfg(not(unix))]
fn changed(metadata: &Metadata) -> Option<SystemTime> {
    metadata.created().ok()
}

fn version(metadata: &Metadata) -> Version {
    Version { length: metadata.len(), modified: metadata.modified().ok() }
}

impl ReadAt for File {
    #[cfg(unix)]
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, out, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !out.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(self, out, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    out = &mut out[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
