//! The Hugging Face cache on this disk, by its published layout: `models--ORG--NAME/{refs,snapshots,blobs}`.
//!
//! Only read, never written. Its files come from a download and are trusted no more than any other file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Address, Location};
use crate::error::{Error, brief};

/// A checkpoint that was found in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// The file or folder of the snapshot.
    pub path: PathBuf,
    /// The commit it is of.
    pub commit: String,
}

/// The shortest start of a commit that names it.
const SHORTEST: usize = 4;
/// The digits of a commit.
const LONGEST: usize = 40;

impl Address {
    /// Where it lies below `cache`; none if it was not downloaded.
    ///
    /// # Errors
    /// When the cache cannot be read, names no commit where one is to be, or the revision is the start of several.
    pub fn find(&self, cache: &Path) -> Result<Option<Cached>, Error> {
        let repository = cache.join(format!("models--{}", self.repository.replace('/', "--")));
        let Some(commit) = self.commit(&repository)? else { return Ok(None) };
        let mut path = repository.join("snapshots").join(&commit);
        if !path.is_dir() {
            return Ok(None);
        }
        if let Some(inside) = &self.path {
            path.push(inside);
            // A link to a missing blob counts as existing; opening it gives the error.
            if fs::symlink_metadata(&path).is_err() {
                return Ok(None);
            }
        }
        Ok(Some(Cached { path, commit }))
    }

    /// An error for a model that is not in `cache`, with the command that downloads it.
    pub fn absent(&self, cache: &Path) -> Error {
        let what = [Some(self.repository.as_str()), self.path.as_deref()];
        let what = what.into_iter().flatten().collect::<Vec<_>>().join("/");
        let at = self.revision.as_deref().map_or_else(String::new, |revision| format!("@{revision}"));
        Error::Remote(format!(
            "`{}{at}` is neither here nor in the Hugging Face cache, {}; fetch it with `{}`",
            brief(&what),
            brief(&cache.to_string_lossy()),
            self.download()
        ))
    }

    /// The commit of the revision in the cache of `repository`.
    fn commit(&self, repository: &Path) -> Result<Option<String>, Error> {
        let revision = self.revision.as_deref().unwrap_or("main");
        // The parts of a revision are names, so this stays inside.
        let reference = repository.join("refs").join(revision);
        if reference.is_file() {
            return read_commit(&reference).map(Some);
        }
        let hexadecimal = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !(SHORTEST..=LONGEST).contains(&revision.len()) || !hexadecimal(revision) {
            return Ok(None);
        }
        let snapshots = repository.join("snapshots");
        let listing = match fs::read_dir(&snapshots) {
            Ok(listing) => listing,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&snapshots, "cannot list", e)),
        };
        let names = listing.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut found: Vec<String> =
            names.filter(|name| name.starts_with(revision) && hexadecimal(name)).collect();
        found.sort();
        match &found[..] {
            [] => Ok(None),
            [commit] => Ok(Some(commit.clone())),
            [first, second, ..] => {
                let reason =
                    format!("`{revision}` begins several commits, {first} and {second}; name more digits");
                Err(Error::malformed(&snapshots, reason))
            }
        }
    }
}

/// The models in `cache` that are called `name`, whoever owns them, as `ORG/NAME`.
pub fn named(cache: &Path, name: &str) -> Vec<String> {
    let listing = fs::read_dir(cache).into_iter().flatten();
    let folders = listing.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let owned = folders.filter_map(|folder| {
        let (owner, model) = folder.strip_prefix("models--")?.split_once("--")?;
        (model == name).then(|| format!("{owner}/{model}"))
    });
    let mut found: Vec<String> = owned.collect();
    found.sort();
    found
}

/// The branches and tags of `repository` that `cache` knows, by name.
pub fn revisions(cache: &Path, repository: &str) -> Vec<String> {
    let refs = cache.join(format!("models--{}", repository.replace('/', "--"))).join("refs");
    let listing = fs::read_dir(refs).into_iter().flatten().filter_map(Result::ok);
    let files = listing.filter(|entry| entry.path().is_file());
    let mut found: Vec<String> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    found.sort();
    found
}

/// The commit in a file of `refs`: so many hexadecimal digits and nothing that could lead out of the cache.
fn read_commit(reference: &Path) -> Result<String, Error> {
    let text = Location::disk(reference).text("a reference", 256)?;
    let commit = str::from_utf8(&text).unwrap_or_default().trim();
    if commit.len() != LONGEST || !commit.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Error::malformed(reference, "names no commit; download the model again"));
    }
    Ok(commit.to_owned())
}
