//! `svdkit collect`: the report of all parts of a run, as a single run would have written it.

use std::env;
use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, printable};
use crate::study::PartHeader;

use super::options::{Common, FormatName};
use super::parts::headers;
use super::recording::Errand;
use super::{Status, parts_of, remark};

/// Makes the report of all parts of a run, byte for byte that of a single run: its outputs, its rules, its exit code.
///
/// The command is that of the parts. Headers of the checkpoint are read again, no weights. Parts that are missing,
/// incomplete, or made otherwise (another checkpoint, other options, another version, another kind of processor) are
/// named.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder of `--ledger`
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// What stdout gets [default: as in the command of the parts]
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<FormatName>,
    /// Write the report to FILE, in the format of its extension; may be repeated [default: as in the command of the parts]
    #[arg(short, long, value_name = "FILE")]
    output: Vec<PathBuf>,
    /// No notes on stderr; errors are still shown
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let folder = &arguments.folder;
    if !folder.is_dir() {
        return Err(Error::malformed(folder, "is not a folder; name the one of `--ledger`"));
    }
    let parts = headers(folder)?;
    let (PartHeader { svdkit, command, folder: made_in, .. }, path) = &parts[0];
    let here = PartHeader::program();
    if *svdkit != here {
        let reason =
            format!("was made by svdkit {svdkit}, and this is {here}; use that one, or run the parts again");
        return Err(Error::malformed(path, reason));
    }
    let mut command = super::parse(command)?;
    let Some((common, ledger)) = parts_of(&mut command) else {
        return Err(Error::malformed(path, "is of a command that is not done in parts"));
    };
    for (other, _) in &parts[1..] {
        if let Some((other, _)) = parts_of(&mut super::parse(&other.command)?) {
            add_rules(common, other);
        }
    }
    common.format = arguments.format.unwrap_or(common.format);
    if !arguments.output.is_empty() {
        common.output.clone_from(&arguments.output);
    }
    common.quiet |= arguments.quiet;
    common.verbose &= !arguments.quiet;
    ledger.ledger = Some(folder.clone());
    ledger.errand = Errand::Collect;
    let done = super::run_command(&command);
    let is_elsewhere = env::current_dir().is_ok_and(|folder| folder.to_string_lossy() != *made_in);
    if is_elsewhere && !arguments.quiet {
        remark(&format!(
            "the command of the parts was typed in {}; its paths, and `svdkit.toml`, are those of this folder now",
            printable(made_in)
        ));
    }
    done
}

/// Parts may have been run with other rules: all of them count, and only what all of them allow.
fn add_rules(common: &mut Common, other: &Common) {
    let new = |rule: &&String| !common.shared.fail_if.contains(*rule);
    let new: Vec<String> = other.shared.fail_if.iter().filter(new).cloned().collect();
    common.shared.fail_if.extend(new);
    common.shared.allow_missing.retain(|allowed| other.shared.allow_missing.contains(allowed));
    common.strict |= other.strict;
}
