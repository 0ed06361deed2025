//! `svdkit completions`: scripts that complete commands, options, files, columns and findings, from the definitions of the
//! program.

use clap::builder::PossibleValuesParser;
use clap::{Args, Command, ValueEnum};
use clap_complete::{Generator, Shell, generate};
use clap_complete_nushell::Nushell;

use super::{Status, explain, print};
use crate::analysis::columns::{self, Words};
use crate::error::Error;

/// Writes a completion script for a shell to stdout. It completes commands, options, files, columns and findings.
#[derive(Debug, Args)]
#[command(after_help = PLACES)]
pub(super) struct Arguments {
    /// The shell
    shell: Name,
}

const PLACES: &str = "\
Where the script goes, then start a new shell:
  bash        svdkit completions bash > ~/.local/share/bash-completion/completions/svdkit
  zsh         svdkit completions zsh > ~/.zfunc/_svdkit    with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc
  fish        svdkit completions fish > ~/.config/fish/completions/svdkit.fish
  powershell  svdkit completions powershell >> $PROFILE
  elvish      svdkit completions elvish >> ~/.config/elvish/rc.elv
  nushell     svdkit completions nushell > ~/.config/nushell/svdkit.nu    with `use svdkit.nu *` in config.nu";

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
    let command = with_names(command);
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

/// `command`, whose options on columns know these. Only for scripts: what is typed may be written in other ways.
fn with_names(mut command: Command) -> Command {
    let own = columns::COMMANDS.iter().map(|name| (*name, *name));
    for (name, like) in own.chain([("watch", "series")]) {
        let columns = columns::metrics(like, Words::Svdkit).into_iter();
        let keys: Vec<&'static str> =
            columns.chain(explain::derived(like)).map(|column| column.key).collect();
        let sort = PossibleValuesParser::new([&keys[..], &["name"]].concat());
        let shown = PossibleValuesParser::new([&["all"], &keys[..]].concat());
        let known = |command: Command| {
            command
                .mut_arg("columns", |argument| argument.value_parser(shown))
                .mut_arg("sort", |argument| argument.value_parser(sort))
        };
        command = match name.split_once(' ') {
            Some((outer, inner)) => {
                command.mut_subcommand(outer, |command| command.mut_subcommand(inner, known))
            }
            None => command.mut_subcommand(name, known),
        };
    }
    let names = PossibleValuesParser::new(explain::names());
    command.mut_subcommand("explain", |command| command.mut_arg("name", |name| name.value_parser(names)))
}

fn script(shell: impl Generator, mut command: Command) -> Vec<u8> {
    let mut script = vec![];
    generate(shell, &mut command, "svdkit", &mut script);
    script
}
