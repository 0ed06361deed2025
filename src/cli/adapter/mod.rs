//! `svdkit adapter`: what is in an adapter, and adapters made of others; a file for each of its commands.

mod canon;
mod clash;
mod extract;
mod init;
mod inspect;
mod merge;
mod verify;

use clap::{Args, Subcommand};

use super::Status;
use crate::error::Error;

/// Looks into adapters, and writes new ones.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: AdapterCommand,
}

#[derive(Debug, Subcommand)]
enum AdapterCommand {
    /// What is in an adapter: ranks, singular values, orthonormality, what made it, where it lies in its base
    Inspect(inspect::Arguments),
    /// An adapter that begins with a decomposition of the weights, and the base that it leaves
    Init(init::Arguments),
    /// Whether adapters of one model fight: cosines, joint size and angles of every pair
    Clash(clash::Arguments),
    /// An adapter out of a fine-tune, of chosen ranks, with what the cut loses
    Extract(extract::ExtractArguments),
    /// The same adapter with other ranks
    Resize(extract::ResizeArguments),
    /// The same adapter in a form that its updates alone decide, for comparing files
    Canon(canon::Arguments),
    /// Whether an adapter and its base hold what the adapter's method promises
    Verify(verify::Arguments),
    /// The base with an adapter's updates added, as a checkpoint
    Merge(merge::Arguments),
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    match &arguments.command {
        AdapterCommand::Inspect(arguments) => inspect::run(arguments),
        AdapterCommand::Init(arguments) => init::run(arguments),
        AdapterCommand::Clash(arguments) => clash::run(arguments),
        AdapterCommand::Extract(arguments) => extract::extract(arguments),
        AdapterCommand::Resize(arguments) => extract::resize(arguments),
        AdapterCommand::Canon(arguments) => canon::run(arguments),
        AdapterCommand::Verify(arguments) => verify::run(arguments),
        AdapterCommand::Merge(arguments) => merge::run(arguments),
    }
}
