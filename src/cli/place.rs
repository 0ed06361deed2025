//! Where a checkpoint that the user named lies: a path of this machine, or a model of the hub in the local cache.
//!
//! Reads the variables by which the Hugging Face libraries find their cache; nothing else does.

use std::env;
use std::path::{Path, PathBuf};

use crate::checkpoint::{Address, Cached};
use crate::error::Error;

/// A checkpoint on this machine.
pub(super) struct Place {
    /// Its file or folder.
    pub path: PathBuf,
    /// The commit of the hub it is of, where that is known.
    pub commit: Option<String>,
}

/// Finds what was typed. A path that exists is that path, whatever else it may spell.
pub(super) fn locate(typed: &Path) -> Result<Place, Error> {
    let here = || Ok(Place { path: typed.to_owned(), commit: None });
    if typed.symlink_metadata().is_ok() {
        return here();
    }
    let Some(address) = typed.to_str().map(Address::parse).transpose()?.flatten() else { return here() };
    let cache = cache();
    if let Some(Cached { path, commit }) = address.find(&cache)? {
        return Ok(Place { path, commit: Some(commit) });
    }
    // In a folder that exists a wrong name is more likely a slip than a model.
    if typed.iter().next().is_some_and(|first| Path::new(first).is_dir()) {
        here()
    } else {
        Err(address.absent(&cache))
    }
}

/// The cache's folder, as `huggingface_hub` finds it.
fn cache() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || set("HOME").or_else(|| set("USERPROFILE")).unwrap_or_default();
    let expanded = |path: PathBuf| path.strip_prefix("~").map_or(path.clone(), |rest| home().join(rest));
    let general = || set("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache")).join("huggingface");
    let below = || set("HF_HOME").unwrap_or_else(general).join("hub");
    expanded(set("HF_HUB_CACHE").unwrap_or_else(below))
}
