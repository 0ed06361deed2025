//! `svdkit man`: a man page for the program and one for each command, from the same definitions as the help.

use std::path::PathBuf;

use clap::{Args, Command};

use super::Status;
use crate::error::Error;

/// Writes a man page for the program and one for each command.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// An existing folder
    folder: PathBuf,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments, command: Command) -> Result<Status, Error> {
    let written = clap_mangen::generate_to(command, &arguments.folder);
    written.map_err(|source| Error::io(&arguments.folder, "cannot write", source))?;
    Ok(Status::Fine)
}
