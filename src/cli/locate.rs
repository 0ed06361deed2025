//! Where a checkpoint that the user named lies: a path of this machine, or a model of the hub in the local cache (or,
//! where that is built in, on the hub itself).
//!
//! Reads the variables by which the Hugging Face libraries find their cache and the hub; nothing else does.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{self, Catalogue, Opening};
use crate::error::{Error, brief, quoted};
use crate::store::{self, Address, Cached, Location};
#[cfg(feature = "hub")]
use crate::store::{Hub, Remote};

use super::values::globs;

/// A checkpoint that was found.
pub(super) struct Located {
    /// Its file or folder.
    pub location: Location,
    /// The commit of the hub it is of, where that is known.
    pub commit: Option<String>,
    /// Its name on the hub, if it is not on this machine.
    remote: Option<Address>,
}

impl Located {
    fn new(path: PathBuf, commit: Option<String>) -> Self {
        Self { location: Location::disk(path), commit, remote: None }
    }

    /// What lies at `location` on this machine.
    pub(super) fn here(location: Location) -> Self {
        Self { location, commit: None, remote: None }
    }

    /// What lies at `location`, in its folder.
    pub(super) fn inside(&self, location: Location) -> Self {
        Self { location, commit: self.commit.clone(), remote: self.remote.clone() }
    }

    /// Opens it, reading headers alone; gives the format's name, too.
    pub(super) fn open(&self, opening: &Opening<'_>) -> Result<(&'static str, Arc<Catalogue>), Error> {
        checkpoint::open_at(&self.location, opening)
    }

    /// The path, if all of its files are on this machine.
    pub(super) fn local(self) -> Result<PathBuf, Error> {
        match &self.remote {
            Some(address) => Err(address.not_here()),
            None => Ok(self.location.path().to_owned()),
        }
    }
}

/// Locates a typed name. An existing path wins, whatever else the name could mean.
pub(super) fn locate(typed: &Path) -> Result<Located, Error> {
    let here = || Ok(Located::new(typed.to_owned(), None));
    if typed.symlink_metadata().is_ok() {
        return here();
    }
    let address = typed.to_str().map(Address::parse).transpose()?.flatten();
    // A text that only looks like an address is a path if it names a weight file.
    let file = |name: &str| {
        checkpoint::names_weights(name) || Path::new(name).extension().is_some_and(|end| end == "json")
    };
    if let (None, Some(name)) = (&address, typed.to_str()) {
        let owned = store::named(&cache(), name);
        if !owned.is_empty() {
            let what = "is not a path here, but the Hugging Face cache holds";
            return Err(Error::Remote(format!(
                "`{}` {what} {}: type it like that",
                brief(name),
                quoted(&owned)
            )));
        }
    }
    let says_so = typed.to_string_lossy().contains("://");
    let Some(address) = address.filter(|address| says_so || !file(&address.repository)) else {
        return here();
    };
    let cache = cache();
    if let Some(Cached { path, commit }) = address.find(&cache)? {
        return Ok(Located::new(path, Some(commit)));
    }
    // In a folder that exists a wrong name is more likely a slip than a model.
    if typed.iter().next().is_some_and(|first| Path::new(first).is_dir()) {
        return here();
    }
    #[cfg(feature = "hub")]
    if let Some(hub) = hub() {
        let (location, commit) = Remote::find(&address, &hub)?;
        return Ok(Located { location, commit: Some(commit), remote: Some(address) });
    }
    Err(address.absent(&cache))
}

/// The models that `ORG/NAME@REV` names where REV is a pattern: those of the Hugging Face cache, each as it may be typed.
/// Nothing where it is not a pattern, or a path.
pub(super) fn revisions(typed: &Path) -> Result<Option<Vec<PathBuf>>, Error> {
    let text = typed.to_str().filter(|_| typed.symlink_metadata().is_err());
    let Some((repository, pattern)) = text.and_then(|text| text.rsplit_once('@')) else { return Ok(None) };
    if !pattern.contains(['*', '?', '[', '{']) {
        return Ok(None);
    }
    let Some(address) = Address::parse(repository)?.filter(|address| address.revision.is_none()) else {
        return Ok(None);
    };
    let glob = globs(&[pattern.to_owned()])?;
    let cache = cache();
    let mut found = store::revisions(&cache, &address.repository);
    found.retain(|revision| glob.is_match(revision));
    if found.is_empty() {
        return Err(Error::Remote(format!(
            "the Hugging Face cache, {}, holds no revision of `{}` that `{}` fits; fetch each with `{} --revision REV`",
            brief(&cache.to_string_lossy()),
            brief(&address.repository),
            brief(pattern),
            address.download()
        )));
    }
    Ok(Some(found.into_iter().map(|revision| format!("{repository}@{revision}").into()).collect()))
}

/// A variable that is set to something.
fn set(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// How to ask the hub, unless the user wants to stay offline.
#[cfg(feature = "hub")]
fn hub() -> Option<Hub> {
    let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
    let yes = |value: String| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str());
    (!text("HF_HUB_OFFLINE").is_some_and(yes)).then(|| Hub {
        endpoint: text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
        token: text("HF_TOKEN"),
        is_interrupted: super::is_interrupted,
    })
}

/// The cache's folder, as `huggingface_hub` finds it.
fn cache() -> PathBuf {
    let set = |name: &str| set(name).map(PathBuf::from);
    let home = || set("HOME").or_else(|| set("USERPROFILE")).unwrap_or_default();
    let expanded = |path: PathBuf| path.strip_prefix("~").map_or(path.clone(), |rest| home().join(rest));
    let general = || set("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache")).join("huggingface");
    let below = || set("HF_HOME").unwrap_or_else(general).join("hub");
    expanded(set("HF_HUB_CACHE").unwrap_or_else(below))
}
