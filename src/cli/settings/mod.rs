//! Settings of the command line and of `svdkit.toml`: the options of both, and the values that apply.
//!
//! The command line wins, value by value; rules add up.

mod file;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;

use super::values::{When, filter, one_or_more, size};
use crate::error::{Error, printable};
use crate::gate::{self, MissingPolicy};
use crate::layer::Filter;
use crate::report::MissingReason;

pub(super) use file::{AllowedFinding, FileRule, SettingsFile};

/// The file name that is searched, from the working directory upward.
pub(super) const NAME: &str = "svdkit.toml";

/// Options that the file may set, too, and where the file is.
#[derive(Debug, Clone, Args)]
pub(super) struct Shared {
    /// Only matrices whose name matches, as in '*.mlp.*'; may be repeated
    #[arg(long, value_name = "GLOB", help_heading = "Input")]
    pub include: Vec<String>,
    /// Leave out matrices whose name matches, as in 'lm_head'; may be repeated
    #[arg(long, value_name = "GLOB", help_heading = "Input")]
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
    /// Ignore missing values in rules: those that the base lacks, too, or those missing for a reason in CODE
    ///
    /// Without CODE: in a comparison, values that the base lacks, too; in a report on one model, every missing value,
    /// unless all are missing. CODEs, separated by commas, are those of `missing` in the report, such as nonfinite,
    /// zero_matrix, below_floor, too_few_values, absent and unpaired (docs/cli.md has all).
    #[arg(
        long,
        value_name = "CODE",
        help_heading = "Gate",
        num_args = 0..,
        require_equals = true,
        value_delimiter = ',',
        default_missing_value = LACKING,
        value_parser = allowance
    )]
    pub allow_missing: Vec<Allowance>,

    /// Threads [default: all the machine grants]
    #[arg(short, long, value_name = "N", help_heading = "Resources", value_parser = one_or_more)]
    pub jobs: Option<NonZeroUsize>,
    /// Memory for matrices in flight, as in 8G or 512MiB [default: half of the free memory]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Resources")]
    pub memory: Option<u64>,

    /// Keep what is found in DIR, and take from there what is known [default: see `svdkit cache`]
    #[arg(long, value_name = "DIR", help_heading = "Resources")]
    pub cache: Option<PathBuf>,
    /// Neither keep what is found for later runs nor take what earlier ones kept
    #[arg(long, help_heading = "Resources", conflicts_with = "cache")]
    pub no_cache: bool,

    /// Settings and rules from FILE [default: the nearest `svdkit.toml`, from the working directory upward]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
    /// Ignore `svdkit.toml`: use only the settings and rules of the command line
    #[arg(long, help_heading = "Settings", conflicts_with = "config")]
    no_config: bool,

    /// The file's settings, once it is read.
    #[arg(skip)]
    pub file: Option<SettingsFile>,
    /// Which globs come from the file, for `--include` and for `--exclude`.
    #[arg(skip)]
    filed: [bool; 2],
}

/// Which missing values `--allow-missing` lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowance {
    /// Values that the base lacks, too.
    Lacking,
    /// Those of a reason.
    Reason(MissingReason),
}

/// `--allow-missing` without a code, as in the settings file.
const LACKING: &str = "true";

fn allowance(text: &str) -> Result<Allowance, String> {
    if text == LACKING { Ok(Allowance::Lacking) } else { gate::reason(text).map(Allowance::Reason) }
}

impl Shared {
    /// The typed option on missing values, if there is one.
    pub(super) fn typed_missing(&self) -> Option<MissingPolicy> {
        let reason = |allowance: &Allowance| match allowance {
            Allowance::Lacking => None,
            Allowance::Reason(why) => Some(*why),
        };
        let typed = &self.allow_missing;
        (!typed.is_empty()).then(|| MissingPolicy {
            lacking: typed.contains(&Allowance::Lacking),
            reasons: typed.iter().filter_map(reason).collect(),
        })
    }

    /// The file's globs, the typed ones, and the file's setting in words; none where the file decides nothing.
    pub(super) fn filed_filter(&self) -> Result<Option<(Filter, Filter, String)>, Error> {
        let words = match self.filed {
            [false, false] => return Ok(None),
            [true, false] => "`include`",
            [false, true] => "`exclude`",
            [true, true] => "`include` or `exclude`",
        };
        let of = |is: bool| {
            let globs = |filed: bool, globs: &[String]| if filed == is { globs.to_vec() } else { vec![] };
            let [include, exclude] = self.filed;
            filter(&globs(include, &self.include), &globs(exclude, &self.exclude))
        };
        let path = self.file.as_ref().map_or_else(String::new, |file| file.path.display().to_string());
        Ok(Some((of(true)?, of(false)?, format!("{words} of {}", printable(&path)))))
    }

    /// The file, where it was found in a folder above the working directory.
    pub(super) fn found_above(&self) -> Option<&Path> {
        let path = &self.file.as_ref()?.path;
        (self.config.is_none() && path.is_absolute()).then_some(path)
    }

    /// The settings file that completes these options, read and checked, if there is one.
    pub(super) fn load(&self) -> Result<Option<SettingsFile>, Error> {
        match (&self.config, self.no_config) {
            (Some(path), _) => SettingsFile::read(path).map(Some),
            (None, true) => Ok(None),
            (None, false) => nearest().map(|path| SettingsFile::read(&path)).transpose(),
        }
    }

    /// The same, completed from the file.
    pub(super) fn completed(&self) -> Result<Self, Error> {
        let mut shared = self.clone();
        shared.file = self.load()?;
        if let Some(file) = &shared.file {
            let globs = [(&mut shared.include, &file.include), (&mut shared.exclude, &file.exclude)];
            for (i, (typed, filed)) in globs.into_iter().enumerate() {
                if typed.is_empty() {
                    typed.clone_from(filed);
                    shared.filed[i] = !filed.is_empty();
                }
            }
            shared.color = shared.color.or(file.color);
            shared.jobs = shared.jobs.or(file.jobs);
            shared.memory = shared.memory.or(file.memory);
            shared.no_cache |= shared.cache.is_none() && file.cache == Some(false);
        }
        Ok(shared)
    }
}

/// The nearest file of that name: in the working directory or the closest folder above it, up to the root of the
/// repository or the home folder. Files of another owner are ignored.
fn nearest() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    let owner = owner(&here);
    let home = std::env::home_dir().and_then(|home| home.canonicalize().ok());
    for folder in here.ancestors() {
        let path = folder.join(NAME);
        let is_own = |path: &Path| folder == here || self::owner(path) == owner;
        if !is_own(folder) {
            return None;
        }
        // Of any kind: reading refuses anything but a file by name.
        if path.symlink_metadata().is_ok() {
            // As a person would write it, where it lies here.
            let short = path.strip_prefix(&here).map_or(path.clone(), Path::to_owned);
            return is_own(&path).then_some(short);
        }
        if folder.join(".git").exists() || home.as_deref() == Some(folder) {
            return None;
        }
    }
    None
}

/// The owner of `path` (of a link itself); none if the system has no owners.
#[cfg(unix)]
fn owner(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|data| data.uid())
}

#[cfg(not(unix))]
fn owner(_: &Path) -> Option<u32> {
    None
}
