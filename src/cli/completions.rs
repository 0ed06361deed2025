//! `svdkit completions`: scripts that complete commands and options, from the same definitions as the help.

use clap::{Args, Command, ValueEnum};
use clap_complete::{Generator, Shell, generate};
use clap_complete_nushell::Nushell;

use super::{Status, print};
use crate::error::Error;

/// Writes a completion script for a shell to stdout.
///
/// bash: `svdkit completions bash > ~/.local/share/bash-completion/completions/svdkit`;
/// zsh: `svdkit completions zsh > ~/.zfunc/_svdkit`, with `~/.zfunc` in `fpath`;
/// fish: `svdkit completions fish > ~/.config/fish/completions/svdkit.fish`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Elvish,
    Nushell,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments, command: Command) -> Result<Status, Error> {
    let script = match arguments.shell {
        Name::Bash => script(Shell::Bash, command),
        Name::Zsh => script(Shell::Zsh, command),
        Name::Fish => script(Shell::Fish, command),
        Name::Powershell => script(Shell::PowerShell, command),
        Name::Elvish => script(Shell::Elvish, command),
        Name::Nushell => script(Nushell, command),
    };
    print(&script).map(|()| Status::Fine)
}

fn script(shell: impl Generator, mut command: Command) -> Vec<u8> {
    let mut script = vec![];
    generate(shell, &mut command, "svdkit", &mut script);
    script
}
