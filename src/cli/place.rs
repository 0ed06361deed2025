//! Where a checkpoint that the user named lies: a path of this machine, or a model of the hub in the local cache (or,
//! where that is built in, on the hub itself).
//!
//! Reads the variables by which the Hugging Face libraries find their cache and the hub; nothing else does.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{self, Address, Cached, MatrixSource, Opening};
use crate::error::Error;

/// A checkpoint that was found.
pub(super) struct Place {
    /// Its file or folder.
    pub path: PathBuf,
    /// The commit of the hub it is of, where that is known.
    pub commit: Option<String>,
    /// The hub's, if only headers lie at `path`.
    #[cfg(feature = "hub")]
    remote: Option<Arc<checkpoint::Remote>>,
}

impl Place {
    fn new(path: PathBuf, commit: Option<String>) -> Self {
        Self {
            path,
            commit,
            #[cfg(feature = "hub")]
            remote: None,
        }
    }

    /// Opens it, reading headers alone; gives the format's name, too.
    pub(super) fn open(&self, opening: &Opening<'_>) -> Result<(&'static str, Arc<dyn MatrixSource>), Error> {
        #[cfg(feature = "hub")]
        if let Some(remote) = &self.remote {
            return remote.open(opening);
        }
        checkpoint::open_with(&self.path, opening)
    }

    /// The path, if all of its files are on this machine.
    #[cfg_attr(not(feature = "hub"), expect(clippy::unnecessary_wraps, reason = "with the hub it can fail"))]
    pub(super) fn local(self) -> Result<PathBuf, Error> {
        #[cfg(feature = "hub")]
        if let Some(remote) = &self.remote {
            return Err(remote.not_here());
        }
        Ok(self.path)
    }
}

/// Finds what was typed. A path that exists is that path, whatever else it may spell.
pub(super) fn locate(typed: &Path) -> Result<Place, Error> {
    let here = || Ok(Place::new(typed.to_owned(), None));
    if typed.symlink_metadata().is_ok() {
        return here();
    }
    let Some(address) = typed.to_str().map(Address::parse).transpose()?.flatten() else { return here() };
    let cache = cache();
    if let Some(Cached { path, commit }) = address.find(&cache)? {
        return Ok(Place::new(path, Some(commit)));
    }
    // In a folder that exists a wrong name is more likely a slip than a model.
    if typed.iter().next().is_some_and(|first| Path::new(first).is_dir()) {
        return here();
    }
    #[cfg(feature = "hub")]
    if let Some(hub) = hub() {
        let remote = Arc::new(checkpoint::Remote::find(&address, &hub)?);
        let (path, commit) = (remote.path(), Some(remote.commit().to_owned()));
        return Ok(Place { path, commit, remote: Some(remote) });
    }
    Err(address.absent(&cache))
}

/// A variable that is set to something.
fn set(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// How to ask the hub, unless the user wants to stay offline.
#[cfg(feature = "hub")]
fn hub() -> Option<checkpoint::Hub> {
    let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
    let yes = |value: String| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str());
    (!text("HF_HUB_OFFLINE").is_some_and(yes)).then(|| checkpoint::Hub {
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
