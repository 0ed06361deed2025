//! What may be set on the command line or in `svdkit.toml`: the options of both, and what is in force.
//!
//! What is typed beats the file, value by value; rules add up.

mod file;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;

use super::options::{When, size};
use crate::error::Error;

pub(super) use file::{FileRule, SettingsFile, policy};

/// The name of the file that is looked for, from the working directory upward.
pub(super) const NAME: &str = "svdkit.toml";

/// Options that the file may set, too, and where the file is.
#[derive(Debug, Clone, Args)]
pub(super) struct Shared {
    /// Only matrices whose name matches, as in '*.mlp.*'; may be repeated
    #[arg(long, value_name = "GLOB", help_heading = "What to look at")]
    pub include: Vec<String>,
    /// Leave out matrices whose name matches, as in 'lm_head'; may be repeated
    #[arg(long, value_name = "GLOB", help_heading = "What to look at")]
    pub exclude: Vec<String>,

    /// When to use color [default: auto]
    #[arg(long, value_name = "WHEN", value_enum, help_heading = "Output")]
    pub color: Option<When>,

    /// Exit with 1 when RULE holds for any matrix, as in 'stable_rank < 2'; may be repeated
    ///
    /// RULE is `[GLOB:] COLUMN OP NUMBER[%]`, or `[GLOB:] max|min|mean|sum(COLUMN) OP NUMBER[%]`, or
    /// `[GLOB:] count|share(COLUMN OP NUMBER) OP NUMBER[%]`. COLUMN is a key of the report (docs/metrics.md).
    /// Rules of `svdkit.toml` are judged, too.
    #[arg(long, value_name = "RULE", help_heading = "Gate")]
    pub fail_if: Vec<String>,
    /// A value that could not be measured does not fail a rule
    #[arg(long, help_heading = "Gate")]
    pub allow_missing: bool,

    /// Threads [default: all the machine grants]
    #[arg(short, long, value_name = "N", help_heading = "Resources")]
    pub jobs: Option<NonZeroUsize>,
    /// Memory for matrices in flight, as in 8G or 512MiB [default: half of what is free]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Resources")]
    pub memory: Option<u64>,

    /// Settings and rules from FILE [default: the nearest `svdkit.toml`, from the working directory upward]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
    /// No settings and rules but those typed here
    #[arg(long, help_heading = "Settings", conflicts_with = "config")]
    no_config: bool,

    /// What the file says, once it is read.
    #[arg(skip)]
    pub file: Option<SettingsFile>,
}

impl Shared {
    /// The file that these options are completed from, read and checked; none where there is none.
    pub(super) fn load(&self) -> Result<Option<SettingsFile>, Error> {
        match (&self.config, self.no_config) {
            (Some(path), _) => SettingsFile::read(path).map(Some),
            (None, true) => Ok(None),
            (None, false) => nearest().map(|path| SettingsFile::read(&path)).transpose(),
        }
    }

    /// The same, with what the file says where nothing was typed.
    pub(super) fn completed(&self) -> Result<Self, Error> {
        let mut shared = self.clone();
        shared.file = self.load()?;
        if let Some(file) = &shared.file {
            for (typed, filed) in [(&mut shared.include, &file.include), (&mut shared.exclude, &file.exclude)]
            {
                if typed.is_empty() {
                    typed.clone_from(filed);
                }
            }
            shared.color = shared.color.or(file.color);
            shared.jobs = shared.jobs.or(file.jobs);
            shared.memory = shared.memory.or(file.memory);
        }
        Ok(shared)
    }
}

/// The nearest file of that name: in the working directory or the closest folder above it.
fn nearest() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    let found =
        here.ancestors().map(|folder| folder.join(NAME)).find(|path| path.symlink_metadata().is_ok())?;
    // As a person would write it, where it lies here.
    Some(found.strip_prefix(&here).map_or(found.clone(), Path::to_owned))
}
