//! What `series` and `watch` share on the command line, and the columns of their table.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use crate::analysis::columns::{self, Words};
use crate::cli::options::{Common, PrecisionName, ReadingOptions};
use crate::cli::outputs::{Outputs, Slot};
use crate::error::Error;
use crate::report::Column;
use crate::study::{Asked, Measures, Names, Spectra, SpectrumRequest};
use crate::writing;

/// Columns of the table, most wanted first.
const SHOWN: [&str; 11] = [
    "spectral_norm",
    "spectral_norm_max_step_change",
    "spectral_norm_max_step_change_at",
    "effective_rank",
    "effective_rank_max_step_change",
    "effective_rank_max_step_change_at",
    "stable_rank",
    "stable_rank_max_step_change",
    "stable_rank_max_step_change_at",
    "alpha",
    "spike_count",
];
/// The same with `--base`.
const SHOWN_DRIFT: [&str; 8] = [
    "delta_frobenius_ratio",
    "spectral_norm",
    "spectral_norm_max_step_change",
    "spectral_norm_max_step_change_at",
    "delta_effective_rank",
    "effective_rank",
    "effective_rank_max_step_change",
    "effective_rank_max_step_change_at",
];
/// The same with `--no-svd`.
const SHOWN_BYTES: [&str; 5] =
    ["nonfinite_count", "max_abs", "max_abs_max_step_change", "max_abs_max_step_change_at", "zero_rows"];

/// What is measured of each step, and what is written of all.
#[derive(Debug, Args)]
pub(in crate::cli) struct StepOptions {
    /// Also measure how far each step is from BASE, such as the first checkpoint: size, rank and spectrum of the change
    #[arg(long, value_name = "BASE", help_heading = "Input")]
    pub(in crate::cli) base: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) reading: ReadingOptions,
    /// How exact small singular values are
    #[arg(long, value_name = "HOW", value_enum, default_value_t = PrecisionName::Fast)]
    pub(in crate::cli) precision: PrecisionName,
    /// Decompose nothing: only hashes, NaN and infinities, zero rows and largest entries
    #[arg(long, conflicts_with_all = ["precision", "base"])]
    pub(in crate::cli) no_svd: bool,
    /// Also write the values of the table's columns to DIR, as an event file for TensorBoard
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(in crate::cli) tensorboard: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

impl StepOptions {
    /// Every metric that there may be.
    pub(in crate::cli) fn metrics(&self) -> Vec<&'static Column> {
        if self.base.is_none() {
            self.spectrum(Asked::own()).columns()
        } else {
            columns::metrics("series", Words::Svdkit)
        }
    }

    /// Columns of the table, most wanted first.
    pub(in crate::cli) fn shown(&self) -> &'static [&'static str] {
        match (self.no_svd, &self.base) {
            (true, _) => &SHOWN_BYTES,
            (false, Some(_)) => &SHOWN_DRIFT,
            (false, None) => &SHOWN,
        }
    }

    /// The request of one step.
    pub(super) fn spectrum(&self, asked: Asked) -> SpectrumRequest {
        let values = Measures::Values(Names::Svdkit, self.precision.into());
        let measures = if self.no_svd { Measures::Bytes } else { values };
        SpectrumRequest { measures, asked, spectra: Spectra::Dropped }
    }

    /// The event file, in a folder that is made if it is not there.
    pub(in crate::cli) fn events(
        &self,
        common: &Common,
        outputs: &mut Outputs,
    ) -> Result<Option<Slot>, Error> {
        let Some(folder) = &self.tensorboard else { return Ok(None) };
        if folder.exists() && !folder.is_dir() {
            return Err(Error::malformed(
                folder,
                "is not a folder; `--tensorboard` names one for its event file",
            ));
        }
        if !common.dry_run {
            fs::create_dir_all(folder).map_err(|e| Error::io(folder, "cannot create", e))?;
        } else if !folder.exists() {
            return Ok(None);
        }
        outputs.add("--tensorboard", Some(&folder.join(writing::EVENT_FILE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ColumnKey;

    #[test]
    fn every_column_of_the_table_is_one_of_the_series() {
        let metrics = columns::metrics_of("series");
        for key in SHOWN.iter().chain(&SHOWN_DRIFT).chain(&SHOWN_BYTES) {
            assert!(ColumnKey::parse(key, metrics.iter().copied()).is_some(), "{key}");
        }
    }
}
