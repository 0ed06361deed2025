//! The command line: options, and one file for each subcommand.

mod adapter;
mod allocate;
mod borrowed;
mod cache;
mod cgroup;
mod collect;
mod compare;
mod completions;
mod config;
mod emit;
mod explain;
mod farms;
mod features;
mod further;
mod heads;
mod inspect;
mod intruders;
mod jobs;
mod ledger;
mod lineage;
mod locate;
mod man;
mod model;
mod options;
mod outputs;
mod partitions;
mod parts;
mod plan;
mod previews;
mod priority;
mod progress;
mod python;
mod rank;
mod recording;
mod rules;
mod run;
mod scaling;
mod series;
mod settings;
mod signal;
mod slurm;
mod spectrum;
mod stdout;
mod strict;
mod values;
mod watch;
mod watched;
mod words;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

use crate::error::{Error, printable};
use crate::store;
use options::Common;
use recording::LedgerOptions;
use signal::is_interrupted;
use stdout::print;

/// Spectral diagnostics for model weights: find noisy, collapsed or outlier layers, and what a fine-tune changed.
///
/// Reads safetensors, GGUF, NumPy and PyTorch files, sharded folders, Diffusers pipelines and adapters. Needs no GPU
/// and no Python, never builds the model, and keeps only a few matrices in memory.
#[derive(Debug, Parser)]
#[command(name = "svdkit", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Arguments {
    /// Tensors in the memory of the program that started this one
    #[arg(long, value_name = "LIST", hide = true)]
    borrowed: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  svdkit spectrum model.safetensors
  svdkit spectrum MODEL_FOLDER --sort -alpha -o report.json
  svdkit spectrum MODEL_FOLDER --fail-if 'nonfinite_count > 0'
  svdkit farms MODEL_FOLDER --allocate sparsity=prune.json
  svdkit compare report.json MODEL_FOLDER --fail-if 'effective_rank_change < -10%'

Exit codes: 0 fine · 1 a rule was broken · 2 error: bad usage or unreadable input · 130 interrupted";

#[derive(Debug, Subcommand)]
enum Command {
    /// Norms, ranks, tail exponent, noise edge and spikes of each matrix
    Spectrum(spectrum::Arguments),
    /// What changed between two checkpoints or saved reports
    ///
    /// Shows every metric on both sides, how far entries, singular values and directions have moved, and which tensors
    /// were added or removed. Unchanged matrices are not decomposed. A report saved by `svdkit spectrum` is a baseline
    /// for CI: unchanged matrices keep its numbers, the others are measured with its settings.
    Compare(compare::Arguments),
    /// What happened along a run: every number against step, and where it changed
    Series(series::Arguments),
    /// What `series` shows, while the run goes on: each checkpoint is measured once it is complete
    Watch(watch::Arguments),
    /// Leading directions of a fine-tune that its base does not have
    Intruders(intruders::Arguments),
    /// How many directions each matrix, or its update, uses, and what rank to keep
    Rank(Box<rank::Arguments>),
    /// Tail exponent free of aspect-ratio bias; pruning ratios and learning rates from it
    Farms(farms::Arguments),
    /// What attention heads read and write, which compose, and how large their logits can become
    Heads(heads::Arguments),
    /// Tables of activations, embeddings or gradients: directions, dimension, cosines
    Features(features::Arguments),
    /// Whether the weights of two models have a common history: a p-value for each MLP, and for all together
    Lineage(lineage::Arguments),
    /// How singular values grow with the width of a model, by role: the rule for weight decay
    Scaling(scaling::Arguments),
    /// The parts of a run on many machines: work, balance, time; a script for Slurm
    Plan(partitions::Arguments),
    /// The report of all parts of a run
    Collect(collect::Arguments),
    /// What is in an adapter, and adapters made of others
    Adapter(adapter::Arguments),
    /// What is in a checkpoint: tensors by pattern, sizes, files, settings; reads headers only
    Inspect(inspect::Arguments),
    /// Which settings apply, and where each comes from: the command line, `svdkit.toml` or a default
    Config(config::Arguments),
    /// Where values are kept for later runs, and how to remove them
    Cache(cache::Arguments),
    /// What a column means: formula, range, how to read it, source
    #[command(visible_alias = "metrics", after_long_help = explain::all())]
    Explain(explain::Arguments),
    /// A completion script for your shell
    Completions(completions::Arguments),
    /// Write man pages into a folder
    #[command(hide = true)]
    Man(man::Arguments),
    /// Write the options of the Python package
    #[command(hide = true)]
    PythonOptions,
}

/// The status of a run without an error, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    /// Everything was measured, no rule was broken.
    Fine,
    /// A rule was broken.
    Broken,
    /// Something could not be measured.
    Incomplete,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        match status {
            Status::Fine => Self::SUCCESS,
            Status::Broken => Self::from(1),
            Status::Incomplete => Self::from(2),
        }
    }
}

/// Runs the program as typed and says how to exit.
pub fn main() -> ExitCode {
    signal::listen();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => return refuse(&message),
    };
    store::grant_headers(cgroup::free_memory().unwrap_or(u64::MAX));
    match borrowed::accept(arguments.borrowed.as_deref()).and_then(|()| run_command(&arguments.command)) {
        _ if is_interrupted() => signal::end(),
        Ok(status) => status.into(),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(2)
        }
    }
}

fn run_command(command: &Command) -> Result<Status, Error> {
    match command {
        Command::Spectrum(arguments) => spectrum::run(arguments),
        Command::Compare(arguments) => compare::run(arguments),
        Command::Series(arguments) => series::run(arguments),
        Command::Watch(arguments) => watch::run(arguments),
        Command::Intruders(arguments) => intruders::run(arguments),
        Command::Rank(arguments) => rank::run(arguments),
        Command::Farms(arguments) => farms::run(arguments),
        Command::Heads(arguments) => heads::run(arguments),
        Command::Features(arguments) => features::run(arguments),
        Command::Lineage(arguments) => lineage::run(arguments),
        Command::Scaling(arguments) => scaling::run(arguments),
        Command::Plan(arguments) => partitions::run(arguments),
        Command::Collect(arguments) => collect::run(arguments),
        Command::Adapter(arguments) => adapter::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Config(arguments) => config::run(arguments),
        Command::Cache(arguments) => cache::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Completions(arguments) => completions::run(arguments, Arguments::command()),
        Command::Man(arguments) => man::run(arguments, Arguments::command()),
        Command::PythonOptions => python::run(Arguments::command()),
    }
}

/// The command that `words` are, without the program.
fn parse(words: &[String]) -> Result<Command, Error> {
    let words = std::iter::once("svdkit").chain(words.iter().map(String::as_str));
    let parsed = Arguments::try_parse_from(words).map_err(|message| {
        let text = message.to_string();
        let first = text.lines().next().unwrap_or_default();
        Error::Usage(format!("the command: {}", first.trim_start_matches("error: ")))
    });
    parsed.map(|arguments| arguments.command)
}

/// The options of a command that can be done in parts; none of another.
fn parts_of(command: &mut Command) -> Option<(&mut Common, &mut LedgerOptions)> {
    match command {
        Command::Spectrum(own) => Some((&mut own.common, &mut own.ledger)),
        Command::Compare(own) => Some((&mut own.common, &mut own.ledger)),
        Command::Intruders(own) => Some((&mut own.common, &mut own.ledger)),
        Command::Rank(own) => Some((&mut own.common, &mut own.ledger)),
        Command::Farms(own) => Some((&mut own.common, &mut own.ledger)),
        Command::Heads(own) => Some((&mut own.common, &mut own.ledger)),
        _ => None,
    }
}

/// Prints help, or the error about the arguments. A path in it may come from anywhere, so the message is made from the
/// arguments in printable form.
fn refuse(message: &clap::Error) -> ExitCode {
    if !message.use_stderr() {
        // A closed pipe while printing help is not an error.
        let _ = message.print();
        return ExitCode::SUCCESS;
    }
    if let Some(tip) = tip(message) {
        complain(&tip);
        return ExitCode::from(2);
    }
    let typed = std::env::args_os().map(|word| printable(&word.to_string_lossy()));
    match Arguments::try_parse_from(typed) {
        Err(message) if message.use_stderr() => drop(message.print()),
        // In printable form, the wrong argument is valid.
        _ => complain("an argument holds control characters or is not UTF-8"),
    }
    ExitCode::from(2)
}

/// What to type instead, for two slips: a model without a command, and a third model.
fn tip(message: &clap::Error) -> Option<String> {
    let word = |kind| match message.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let command = std::env::args_os().nth(1)?.into_string().ok()?;
    match message.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = word(ContextKind::InvalidSubcommand)?;
            let help = "`svdkit --help` lists the commands";
            match () {
                () if Path::new(word).exists() => {
                    Some(format!("`{word}` is not a command; to measure a model: `svdkit spectrum {word}`"))
                }
                () if word.starts_with(['/', '.']) => {
                    Some(format!("`{word}` is not a command, and there is no such file; {help}"))
                }
                () if word.contains(['/', '.']) => Some(format!(
                    "`{word}` is neither a command nor a file here; if it is a model of the hub: `svdkit spectrum {word}`; {help}"
                )),
                () => None,
            }
        }
        ErrorKind::UnknownArgument if ["compare", "intruders"].contains(&command.as_str()) => {
            let word = word(ContextKind::InvalidArg).filter(|word| !word.starts_with('-'))?;
            Some(format!("`{command}` takes a base and a fine-tune; for another fine-tune: `--tuned {word}`"))
        }
        _ => None,
    }
}

/// Whether `path` is a sound settings file, without anything being done with it.
///
/// # Errors
/// If it can't be read, is not TOML, or has an invalid value.
pub fn check_settings(path: &Path) -> Result<(), Error> {
    settings::SettingsFile::read(path).map(drop)
}

/// One line on stderr about the error; none after an interrupt.
fn complain(message: &str) {
    if is_interrupted() {
        return;
    }
    let mut stderr = anstream::stderr().lock();
    // Nothing is left to do when stderr is closed.
    let _ = writeln!(stderr, "\x1b[1;31merror\x1b[0m: {}", printable(message));
}

/// One line on stderr that a person may want to know.
fn remark(message: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{}", printable(message));
}

/// Whether a person watches stderr.
fn is_watched() -> bool {
    io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
