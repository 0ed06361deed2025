//! `svdkit cache`: where values are kept for later runs, how much, and how to remove them. Commands that measure open the
//! cache here.

use std::env;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use etcetera::base_strategy::{BaseStrategy, choose_native_strategy};
use sysinfo::{CpuRefreshKind, RefreshKind, System};

use super::settings::Shared;
use super::{Status, print};
use crate::error::{Error, printable};
use crate::notation;
use crate::study::{CACHE_SIZE, Cache};

/// The name of the cache's folder among those of other programs.
const NAME: &str = "svdkit";

/// Shows where the cache is and how large, or clears it.
///
/// Every command that measures keeps what it finds there (singular values, what entries say, how pairs differ), so that an
/// unchanged matrix is neither read nor decomposed again. Reports are the same with and without it. It is off where the
/// variable CI is set, unless `--cache` names a folder.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// The folder of the cache [default: svdkit in the user's cache folder]
    #[arg(long, value_name = "DIR", global = true)]
    cache: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum What {
    /// Remove everything that is kept
    Clear,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let named = arguments.cache.is_some();
    let Some(folder) = arguments.cache.clone().or_else(usual) else {
        return Err(Error::Usage(
            "there is no home folder for a cache; name one with `--cache DIR`".to_owned(),
        ));
    };
    if folder.exists() && !folder.is_dir() {
        return Err(Error::malformed(
            &folder,
            "is not a folder; `--cache` names the one that values are kept in",
        ));
    }
    let cache = Cache::new(&folder, "");
    let place = printable(&folder.to_string_lossy());
    let text = match arguments.what {
        Some(What::Clear) => {
            let removed = cache.clear().map_err(|e| Error::io(&folder, "cannot clear the cache", e))?;
            let (entries, bytes) = (notation::count(removed.files), notation::bytes(removed.bytes));
            format!("removed {entries} entries, {bytes}, from {place}\n")
        }
        None => {
            let usage = cache.usage();
            let (bytes, most) = (notation::bytes(usage.bytes), notation::bytes(CACHE_SIZE));
            let off = if !named && is_ci() { " · not used: CI is set" } else { "" };
            let entries = notation::count(usage.files);
            format!(" place    {place}{off}\n size     {bytes} of at most {most}\n entries  {entries}\n")
        }
    };
    print(text.as_bytes()).map(|()| Status::Fine)
}

/// The folder of the cache that a run uses; none where it is off.
pub(super) fn folder(shared: &Shared) -> Option<PathBuf> {
    match &shared.cache {
        _ if shared.no_cache => None,
        Some(folder) => Some(folder.clone()),
        None if is_ci() => None,
        None => usual(),
    }
}

/// The cache of a run, unless it is off.
pub(super) fn open(shared: &Shared) -> Option<Cache> {
    folder(shared).map(|folder| Cache::new(&folder, &processor()))
}

/// Where the user's programs keep what they can make again.
fn usual() -> Option<PathBuf> {
    choose_native_strategy().ok().map(|strategy| strategy.cache_dir().join(NAME))
}

/// Whether this is a run of a build server, which starts from nothing each time.
pub(super) fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !["", "0", "false"].iter().any(|off| value == *off))
}

/// The processor's name: some sums are cut by the sizes of its caches.
pub(super) fn processor() -> String {
    let kind = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(kind).ok();
    system.and_then(|system| Some(system.cpus().first()?.brand().to_owned())).unwrap_or_default()
}
