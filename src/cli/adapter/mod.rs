//! `svdkit adapter`: what is in an adapter, and adapters made of others; a file for each of its commands.

mod canon;
mod clash;
mod extract;
mod init;
mod inspect;
mod merge;
mod verify;

use clap::{Arg, Args, Subcommand};

use super::options::Common;
use super::outputs::Outputs;
use super::{Status, rules};
use crate::error::Error;
use crate::gate::Gate;
use crate::report::Column;

/// Looks into adapters, and writes new ones.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: AdapterCommand,
}

#[derive(Debug, Subcommand)]
enum AdapterCommand {
    /// What is in an adapter: ranks, singular values, orthonormality, what made it, where it lies in its base
    #[command(mut_arg("cache", hidden), mut_arg("no_cache", hidden))]
    Inspect(inspect::Arguments),
    /// An adapter that begins with a decomposition of the weights, and the base that it leaves
    Init(init::Arguments),
    /// Whether adapters of one model fight: cosines, joint size and angles of every pair
    #[command(mut_arg("cache", hidden), mut_arg("no_cache", hidden))]
    Clash(clash::Arguments),
    /// An adapter out of a fine-tune, of chosen ranks, with what the cut loses
    #[command(mut_arg("cache", hidden), mut_arg("no_cache", hidden))]
    Extract(extract::ExtractArguments),
    /// The same adapter with other ranks
    #[command(mut_arg("cache", hidden), mut_arg("no_cache", hidden))]
    Resize(extract::ResizeArguments),
    /// The same adapter in a form that its updates alone decide, for comparing files
    #[command(mut_arg("cache", hidden), mut_arg("no_cache", hidden))]
    Canon(canon::Arguments),
    /// Whether an adapter and its base hold what the adapter's method promises
    Verify(verify::Arguments),
    /// The base with an adapter's updates added, as a checkpoint
    #[command(mut_arg("cache", hidden), mut_arg("no_cache", hidden))]
    Merge(merge::Arguments),
}

/// What can be refused before anything is opened: the rules and the files of a report with these `columns`.
fn prepared(command: &str, columns: &[&'static Column], common: &Common) -> Result<(Gate, Outputs), Error> {
    Ok((rules::gate(common, command, columns)?, Outputs::new(&common.output)?))
}

/// Nothing of an adapter is kept for later runs, so its commands don't offer that.
fn hidden(option: Arg) -> Arg {
    option.hide(true)
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
