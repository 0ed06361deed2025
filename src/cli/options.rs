//! The options that every command shares: the same word everywhere.

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sysinfo::System;

use crate::checkpoint::{Choice, Factors, Opening, QueriesKeysValues};
use crate::engine::{Limits, OWN};
use crate::error::{Error, printable};
use crate::gate;
use crate::layer::{Filter, Folding};
use crate::render::{Experts, Formulas, Layout, OutputFormat, Overflow, Paint, TableStyle, Unchanged};
use crate::report::Column;
use crate::solver::{self, Precision};
use crate::store;
use crate::study::Modules;

use super::recording::LedgerOptions;
use super::settings::Shared;
use super::values::{When, filter, globs, one_or_more};
use super::{cgroup, remark};

/// The input options of a command on one model.
#[derive(Debug, Args)]
pub(super) struct Input {
    /// A checkpoint or an adapter: a file, a folder, or a model in the Hugging Face cache (ORG/NAME or ORG/NAME@REV)
    pub model: PathBuf,
    /// Measure the update MODEL − BASE instead of the weights: what a fine-tune of BASE changed
    #[arg(long, value_name = "BASE", help_heading = "Input")]
    pub base: Option<PathBuf>,
    #[command(flatten)]
    pub reading: ReadingOptions,
}

/// How a checkpoint is read: which files, an adapter's configuration, and splitting of fused tensors.
#[derive(Debug, Args)]
pub(super) struct ReadingOptions {
    /// Read this variant from a folder: 'fp16' for model.fp16.safetensors
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    variant: Option<String>,
    /// Only this component of a Diffusers pipeline, as in 'unet'; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    component: Vec<String>,
    /// The configuration of an adapter, if it is not beside the weights
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    adapter_config: Option<PathBuf>,
    /// The adapter as it was before training, for initializations that change the base (PiSSA, OLoRA, CorDA)
    #[arg(long, value_name = "ADAPTER", help_heading = "Input")]
    adapter_init: Option<PathBuf>,
    /// Split fused attention into queries, keys and values (GPT-2, GPT-NeoX, BLOOM, Phi-3, MPT)
    #[arg(long, help_heading = "Input")]
    split_qkv: bool,
    /// Read the factors of an adapter as weights of their own, not as the updates that they make
    #[arg(long, conflicts_with_all = ["adapter_config", "adapter_init"], help_heading = "Input")]
    as_weights: bool,
    /// Tensors of three axes to take for kernels of convolutions (out × in × k), where names and shapes mislead
    #[arg(long, value_name = "GLOB", help_heading = "Input")]
    as_conv: Vec<String>,
    /// Tensors of three axes to take for stacks of matrices
    #[arg(long, value_name = "GLOB", help_heading = "Input")]
    as_stack: Vec<String>,
}

impl ReadingOptions {
    /// The same as options for opening; the base comes from the command.
    pub(super) fn opening(&self) -> Result<Opening<'_>, Error> {
        Ok(Opening {
            choice: Choice { variant: self.variant.as_deref(), components: &self.component },
            adapter_config: self.adapter_config.as_deref(),
            adapter_init: self.adapter_init.as_deref(),
            base: None,
            beyond: Some(|matrix, count| solver::all_vectors(matrix)?.beyond(count)),
            attention: if self.split_qkv { QueriesKeysValues::Split } else { QueriesKeysValues::Together },
            factors: if self.as_weights { Factors::Weights } else { Factors::OfUpdates },
            folding: Folding {
                kernels: globs(&self.as_conv)?,
                stacks: globs(&self.as_stack)?,
                experts: None,
            },
        })
    }
}

/// Shared options, grouped as the help shows them.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch the user may type")]
#[derive(Debug, Clone, Args)]
pub(super) struct Common {
    #[command(flatten)]
    pub shared: Shared,

    /// What stdout gets
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = FormatName::Table, help_heading = "Output")]
    pub format: FormatName,
    /// Also write the report to FILE, in the format of its extension (json, jsonl, csv, md, html, xml, txt); may be
    /// repeated
    ///
    /// FORMAT=FILE names the format, as in gitlab=quality.json.
    /// Files are created before the work starts and appear complete or not at all.
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub output: Vec<PathBuf>,
    /// Only these columns, separated by commas, or 'all'; rules, `--sort` and outputs add theirs
    ///
    /// A run does no more than its columns need: `spectral_norm,stable_rank,frobenius_norm` take no whole decomposition.
    /// `--dry-run` shows what each need costs. `svdkit heads` and `svdkit adapter` measure all columns, and show these in the table.
    #[arg(long, value_name = "KEYS", value_delimiter = ',', help_heading = "Output")]
    pub columns: Vec<String>,
    /// Sort rows by a column, lowest first; '-COLUMN' for highest first. Rows without a value come last
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true, help_heading = "Output")]
    pub sort: Option<String>,
    /// Only the first N lines of the table; with `--sort`, the most extreme matrices. Machine formats have all
    #[arg(long, value_name = "N", help_heading = "Output", value_parser = one_or_more)]
    pub limit: Option<NonZeroUsize>,
    /// The width of the table [default: the terminal's; in a pipe COLUMNS, or 100]
    #[arg(long, value_name = "CHARACTERS", help_heading = "Output", value_parser = clap::value_parser!(u16).range(40..))]
    pub width: Option<u16>,
    /// How the table shows eight or more experts
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = ExpertRows::Fold, help_heading = "Output")]
    pub experts: ExpertRows,
    /// Numbers alone, without the sentences on what stands out in them
    #[arg(long, help_heading = "Output")]
    pub no_findings: bool,
    /// Don't put ' before CSV text that a spreadsheet would take for a formula
    #[arg(long, help_heading = "Output")]
    pub csv_raw: bool,
    /// No progress and no notes on stderr; errors are still shown
    #[arg(short, long, help_heading = "Output", conflicts_with = "verbose")]
    pub quiet: bool,
    /// More on stderr: the plan, each skipped tensor, the time taken
    #[arg(short, long, help_heading = "Output")]
    pub verbose: bool,

    /// Also exit with 2 if a tensor that may be a weight was left out
    ///
    /// Vectors, numbers and masks don't count. Neither do scales of other tensors, filtered tensors, and tensors
    /// without a partner in the base.
    #[arg(long, help_heading = "Gate")]
    pub strict: bool,

    /// Only show the plan: matrices, work, memory, time. Reads headers only
    #[arg(long, help_heading = "Resources")]
    pub dry_run: bool,

    /// Where records go, for commands that can be done in parts.
    #[arg(skip)]
    pub recording: LedgerOptions,
}

/// The formats by the names users type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatName {
    /// A table for the terminal
    #[value(alias = "txt")]
    Table,
    /// The whole report, one row a line
    Json,
    /// One JSON object a line
    #[value(alias = "ndjson")]
    Jsonl,
    /// One line a matrix
    Csv,
    /// For a pull request or a job summary
    #[value(alias = "md")]
    Markdown,
    /// One page for a browser, with plots; needs no network
    Html,
    /// JUnit XML for build servers: a suite for each rule
    #[value(alias = "xml")]
    Junit,
    /// GitHub annotations: the ten worst rows
    Github,
    /// GitLab's code-quality report
    Gitlab,
}

impl From<FormatName> for OutputFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Table => Self::Table,
            FormatName::Json => Self::Json,
            FormatName::Jsonl => Self::Jsonl,
            FormatName::Csv => Self::Csv,
            FormatName::Markdown => Self::Markdown,
            FormatName::Html => Self::Html,
            FormatName::Junit => Self::Junit,
            FormatName::Github => Self::Github,
            FormatName::Gitlab => Self::Gitlab,
        }
    }
}

/// How the table shows experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ExpertRows {
    /// One line for each projection and block; machine formats have every row
    Fold,
    /// One line for each expert
    All,
}

/// How exact small singular values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PrecisionName {
    /// Fast; marks values too small to resolve (f64 weights are always exact)
    Fast,
    /// Every value to rounding of the largest; several times slower
    Exact,
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::Fast => Self::Fast,
            PrecisionName::Exact => Self::Exact,
        }
    }
}

/// Which modules get a rank, a sparsity or a learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ModulesName {
    /// Those inside of the model: no embeddings, positions, norms stored as matrices, output heads
    Inner,
    /// All
    All,
}

impl From<ModulesName> for Modules {
    fn from(name: ModulesName) -> Self {
        match name {
            ModulesName::Inner => Self::Inner,
            ModulesName::All => Self::All,
        }
    }
}

/// A choice as the user types it.
pub(super) fn word(choice: &impl ValueEnum) -> String {
    choice.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Width of a table that goes into a file or a pipe.
const PLAIN_WIDTH: usize = 100;
/// A wider table is not easier to read: more columns come only up to here.
const WIDEST: usize = 160;
/// So many rows are listed below a rule; `--verbose` lists all.
const OFFENDERS: usize = 10;
/// No table fits into less.
const NARROWEST: usize = 40;

impl Common {
    /// The same completed from `svdkit.toml`; its color applies to everything printed from now on.
    pub(super) fn in_force(&self) -> Result<Self, Error> {
        set_color(self.shared.color);
        let common = Self { shared: self.shared.completed()?, ..self.clone() };
        set_color(common.shared.color);
        store::grant_headers(common.limits().of_report());
        if let Some(path) = common.shared.found_above().filter(|_| !common.quiet) {
            let path = printable(&path.to_string_lossy());
            remark(&format!("settings and rules are those of {path}; `--no-config` leaves them out"));
        }
        Ok(common)
    }

    /// The same of a command that can be done in parts.
    pub(super) fn recorded(&self, ledger: &LedgerOptions) -> Result<Self, Error> {
        Ok(Self { recording: ledger.clone(), ..self.in_force()? })
    }

    /// The filter of `--include` and `--exclude`.
    pub(super) fn filter(&self) -> Result<Filter, Error> {
        filter(&self.shared.include, &self.shared.exclude)
    }

    /// Threads and memory of this run.
    pub(super) fn limits(&self) -> Limits {
        limits(&self.shared)
    }

    /// The same of a run that decomposes matrices.
    ///
    /// # Errors
    /// When this process has no room for that.
    pub(super) fn limits_of_decompositions(&self) -> Result<Limits, Error> {
        if self.recording.reads_headers() { Ok(self.limits()) } else { cgroup::fitted(self.limits()) }
    }

    /// The table's style on stdout. The column that rows are sorted by is shown first.
    pub(super) fn table_style<'a>(&self, shown: &[&'a str], all: &[&'static Column]) -> TableStyle<'a> {
        let width = self.width.map(usize::from).or_else(width);
        let key = |word: &str| gate::column(word, all).ok().map(|column| column.key);
        TableStyle {
            columns: match self.columns.as_slice() {
                [] => {
                    let first =
                        self.sort.as_deref().and_then(|sort| key(sort.strip_prefix('-').unwrap_or(sort)));
                    let rest = shown.iter().copied().filter(|key| Some(*key) != first);
                    first.into_iter().chain(rest).collect()
                }
                [word] if word == "all" => all.iter().map(|column| column.key).collect(),
                words => words.iter().filter_map(|word| key(word)).collect(),
            },
            overflow: match (self.columns.is_empty(), width) {
                (true, _) => Overflow::Drop,
                (false, Some(_)) => Overflow::Split,
                (false, None) => Overflow::Keep,
            },
            layout: if self.sort.is_some() { Layout::Flat } else { Layout::Grouped },
            limit: self.limit.map(NonZeroUsize::get),
            offenders: if self.verbose { usize::MAX } else { OFFENDERS },
            experts: match self.experts {
                ExpertRows::Fold => Experts::Folded,
                ExpertRows::All => Experts::Apart,
            },
            formulas: formulas(self.csv_raw),
            width: width.unwrap_or(PLAIN_WIDTH),
            ..table_style()
        }
    }
}

/// What `--csv-raw` asks for.
pub(super) fn formulas(raw: bool) -> Formulas {
    if raw { Formulas::Kept } else { Formulas::Defused }
}

/// The width of the terminal, or the one that COLUMNS names for a pipe.
fn width() -> Option<usize> {
    let stdout = std::io::stdout();
    match terminal_size::terminal_size_of(&stdout).filter(|_| stdout.is_terminal()) {
        Some((width, _)) => Some(usize::from(width.0).min(WIDEST)),
        None => std::env::var("COLUMNS").ok()?.parse().ok().filter(|width| *width >= NARROWEST),
    }
}

/// How stdout likes to be written to, whatever it gets.
pub(super) fn table_style() -> TableStyle<'static> {
    let painted = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
    TableStyle {
        width: width().unwrap_or(PLAIN_WIDTH),
        columns: vec![],
        overflow: Overflow::Drop,
        limit: None,
        offenders: OFFENDERS,
        layout: Layout::Grouped,
        paint: if painted { Paint::Color } else { Paint::Plain },
        unchanged: Unchanged::Shown,
        experts: Experts::Folded,
        formulas: Formulas::Defused,
    }
}

/// Makes `choice` hold for everything printed from now on.
pub(super) fn set_color(choice: Option<When>) {
    let choice = match choice.unwrap_or(When::Auto) {
        When::Auto => anstream::ColorChoice::Auto,
        When::Always => anstream::ColorChoice::Always,
        When::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// Idle threads search each other for work, so more threads than cores only cost time.
const MOST_THREADS: usize = 256;

/// Threads and memory: as chosen, or as the machine grants.
pub(super) fn limits(shared: &Shared) -> Limits {
    let granted = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let most = MOST_THREADS.max(granted());
    Limits {
        threads: shared.jobs.map_or_else(granted, NonZeroUsize::get).min(most),
        memory: shared.memory.unwrap_or_else(half_of_free),
        granted: granted_memory().saturating_sub(OWN),
    }
}

/// Half of the memory that this process may still take, its control group's limit included.
fn half_of_free() -> u64 {
    // If the system does not say, a size that any machine with a model has.
    const UNKNOWN: u64 = 4 << 30;
    let Some((free, _)) = machine_memory() else { return UNKNOWN / 2 };
    cgroup::free_memory().map_or(free, |granted| granted.min(free)) / 2
}

/// What this process would be ended for taking more of: what its machine has left, with its disk, or its control group.
fn granted_memory() -> u64 {
    let machine = machine_memory().map_or(u64::MAX, |(free, on_disk)| free.saturating_add(on_disk));
    cgroup::free_memory().map_or(machine, |granted| granted.min(machine))
}

/// The memory that this machine has left, and on disk beside it; none if the system does not say.
fn machine_memory() -> Option<(u64, u64)> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    Some((system.available_memory(), system.free_swap())).filter(|(free, _)| *free > 0)
}
