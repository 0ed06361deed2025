//! The files of a checkpoint that is copied, and the folder that the copy goes to.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::format::{listing, names_weights};
use crate::store::{Location, input, open_to_copy};
use crate::weight::Catalogue;

/// The folders that hold the files of a model: its own and, of a snapshot in a download cache, the blobs of its repository.
pub(super) struct Bounds(Vec<PathBuf>);

impl Bounds {
    pub(super) fn of(home: &Path) -> Self {
        let Ok(home) = fs::canonicalize(home) else { return Self(vec![]) };
        let snapshots = home.ancestors().find(|folder| folder.ends_with("snapshots"));
        let named =
            |folder: &&Path| folder.file_name().is_some_and(|n| n.to_string_lossy().starts_with("models--"));
        let blobs = snapshots.and_then(Path::parent).filter(named).map(|repository| repository.join("blobs"));
        Self(std::iter::once(home.clone()).chain(blobs).collect())
    }

    /// Whether `path` lies in one of them, however many links it goes through.
    pub(super) fn hold(&self, path: &Path) -> bool {
        fs::canonicalize(path).is_ok_and(|path| self.0.iter().any(|folder| path.starts_with(folder)))
    }
}

/// The files of a copy of a checkpoint.
pub(super) struct Contents<'a> {
    pub(super) home: &'a Path,
    pub(super) weights: Vec<String>,
    pub(super) settings: Vec<String>,
    /// Links beside the weights that leave the folder.
    pub(super) left_out: Vec<String>,
}

impl<'a> Contents<'a> {
    pub(super) fn of(from: &'a Path, source: &Catalogue) -> Result<Self, Error> {
        let home = or_here(if from.is_dir() { from } else { from.parent().unwrap_or(Path::new("")) });
        let weights = source.files().into_iter().map(|file| file.name).collect();
        let is_single = !from.is_dir() && !from.to_string_lossy().ends_with(".index.json");
        let mut beside = if is_single { vec![] } else { listing(&Location::disk(home))? };
        beside.retain(|name| !names_weights(name));
        let bounds = Bounds::of(home);
        let (settings, left_out) = beside.into_iter().partition(|name| bounds.hold(&home.join(name)));
        Ok(Self { home, weights, settings, left_out })
    }
}

/// An existing folder by its own path: a link or `.` cannot be replaced.
pub(super) fn followed(out: &Path) -> PathBuf {
    Some(out)
        .filter(|out| out.is_dir())
        .and_then(|out| out.canonicalize().ok())
        .unwrap_or_else(|| out.to_owned())
}

/// `folder`, or the working directory, whose path as a parent is empty.
pub(super) fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Copies the contents alone, without those bytes: a copy of a file that is read-only, or a link into a cache, can be
/// written to. Messages call the copy by `out`, where it will be.
pub(super) fn copy(
    from: &Path,
    (to, out): (&Path, &Path),
    mut without: Vec<Range<u64>>,
) -> Result<(), Error> {
    without.sort_by_key(|range| range.start);
    let mut reader = open_to_copy(from)?;
    let mut write = || -> io::Result<()> {
        let (mut writer, mut at, length) = (File::create(to)?, 0, reader.metadata()?.len());
        writer.set_len(length)?;
        for Range { start, end } in without.iter().cloned().chain(std::iter::once(length..length)) {
            reader.seek(SeekFrom::Start(at))?;
            writer.seek(SeekFrom::Start(at))?;
            io::copy(&mut (&reader).take(start.saturating_sub(at)), &mut writer)?;
            at = end.max(at);
        }
        Ok(())
    };
    write().map_err(|e| Error::io(out, "cannot write", e))
}

/// Whether `place`, which need not exist, would lie in `folder`, or be it.
pub(super) fn lies_in(place: &Path, folder: &Path) -> bool {
    let Ok(folder) = fs::canonicalize(folder) else { return false };
    let there = place.ancestors().map(or_here).find_map(|above| fs::canonicalize(above).ok());
    there.is_some_and(|there| there.starts_with(folder))
}

/// Whether `out` lies in none of the folders that are read.
///
/// # Errors
/// When it does.
pub fn check_outside(out: &Path, inputs: &[&Path]) -> Result<(), Error> {
    if inputs.iter().any(|input| input.is_dir() && lies_in(out, input)) {
        return Err(Error::malformed(out, "lies in a folder that is read; name a place outside of it"));
    }
    Ok(())
}

/// Whether nothing is at `out` yet, or an empty folder.
///
/// # Errors
/// When it holds something already.
pub(super) fn check_place(out: &Path) -> Result<(), Error> {
    let empty = || fs::read_dir(out).is_ok_and(|mut all| all.next().is_none());
    let taken = input::exists(out) && !(out.is_dir() && empty());
    if taken {
        return Err(Error::malformed(out, "is not an empty folder; name one that is, or a new one"));
    }
    Ok(())
}
