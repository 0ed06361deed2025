//! `--ledger`, `--resume` and `--partition` as they are typed, and what is done with a command that has them.

use std::path::PathBuf;

use clap::Args;

use crate::error::Error;
use crate::study::PartNumber;

/// Where records go, and which part of the work is done.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Long runs")]
pub(super) struct LedgerOptions {
    /// Write each record into a file in DIR as it is found, so that a run which ends early can be resumed
    #[arg(long, value_name = "DIR")]
    pub ledger: Option<PathBuf>,
    /// Do only what the records in DIR lack; a matrix that failed is tried again
    #[arg(long, requires = "ledger")]
    pub resume: bool,
    /// Do only part K of N, from 1 to N; `svdkit collect DIR` makes the report of all of them
    #[arg(long, value_name = "K/N", requires = "ledger", conflicts_with = "dry_run")]
    pub partition: Option<PartNumber>,
    /// What is done with the command.
    #[arg(skip)]
    pub errand: Errand,
}

/// What is done with a command.
#[derive(Debug, Clone, Default)]
pub(super) enum Errand {
    /// It is run.
    #[default]
    Run,
    /// Its parts are told.
    Plan(Plan),
    /// Its report is made of what was found before.
    Collect,
}

impl LedgerOptions {
    /// Whether records are written, or parts are told.
    pub(super) fn is_asked(&self) -> bool {
        self.ledger.is_some() || self.reads_headers()
    }

    /// Refuses a ledger, or parts, beside `what`, with which they are not kept.
    pub(super) fn check_without(&self, what: &str) -> Result<(), Error> {
        if !self.is_asked() {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "with {what} no records are kept, and there are no parts; leave one of them out"
        )))
    }

    /// Whether nothing is measured here.
    pub(super) fn reads_headers(&self) -> bool {
        !matches!(self.errand, Errand::Run)
    }

    /// Whether there is no report in the end.
    pub(super) fn has_no_report(&self) -> bool {
        matches!(self.errand, Errand::Plan(_)) || self.partition.is_some()
    }
}

/// What is told of the parts of a command.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// How many parts.
    pub count: Option<usize>,
    /// The words of the command, where a script is wanted.
    pub script: Option<Vec<String>>,
}
