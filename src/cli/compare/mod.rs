//! `svdkit compare`: what changed between two checkpoints or saved reports.

mod across;
mod compensate;
mod open;
mod permute;
mod shown;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueEnum};

use crate::analysis::columns;
use crate::analysis::compare::{self, Preserve, Vectors};
use crate::engine::{Limits, heap};
use crate::error::Error;
use crate::gate;
use crate::notation;
use crate::render::{self, TableStyle, Unchanged};
use crate::report::{Column, Skipped};
use crate::study::{self, CompareRequest, Comparison, Depth, Draft, Sides, Study};

use super::ledger;
use super::options::{Common, PrecisionName, ReadingOptions};
use super::outputs::Outputs;
use super::plan;
use super::recording::LedgerOptions;
use super::run;
use super::spectrum::Names;
use super::{Status, remark, rules, strict};
use across::AcrossName;
use open::open;
pub(super) use open::open_side;
use permute::PermuteOptions;

/// Shows what changed from A to B.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The original: a checkpoint, an adapter, or a saved JSON report
    #[arg(value_name = "A")]
    base: PathBuf,
    /// The changed version: a checkpoint, a saved report, or an adapter trained on A
    #[arg(value_name = "B")]
    tuned: Option<PathBuf>,
    /// Another fine-tune of A, side by side with the first; may be repeated. NAME=PATH names its columns
    #[arg(long = "tuned", value_name = "[NAME=]PATH", help_heading = "Input")]
    more: Vec<PathBuf>,
    /// The base of adapters among A and B [default: A]
    #[arg(long = "base", value_name = "BASE", help_heading = "Input")]
    adapted: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingOptions,
    /// Also measure and list unchanged matrices
    #[arg(long, help_heading = "Input")]
    all: bool,
    /// Which singular vectors to compare [default: leading, or all for a rule or column that needs them]
    #[arg(long, help_heading = "Method", value_name = "WHICH", value_enum)]
    vectors: Option<VectorsName>,
    /// The same as `--vectors none`
    #[arg(long, help_heading = "Method", conflicts_with = "vectors")]
    no_vectors: bool,
    /// Decompose nothing: only added, removed, changed and non-finite tensors, as fast as the files can be read
    #[arg(long, help_heading = "Method", conflicts_with_all = ["all", "vectors", "no_vectors", "preserve", "k", "precision", "names"])]
    no_svd: bool,
    /// Which leading directions of A count as principal: a number of them, or 'energy:SHARE' of Σσ²
    /// [default: energy:0.9]
    #[arg(long, help_heading = "Method", value_name = "R|energy:SHARE", value_parser = preserve)]
    preserve: Option<Preserve>,
    /// Number of leading directions in the compared subspace
    #[arg(short, help_heading = "Method", value_name = "N", default_value_t = 10, value_parser = at_least_one)]
    k: usize,
    /// How exact small singular values are [default: as in the report, or fast]
    #[arg(long, help_heading = "Method", value_name = "HOW", value_enum)]
    precision: Option<PrecisionName>,
    /// Whose column names and definitions to use [default: as in the report, or svdkit's]
    #[arg(long, help_heading = "Method", value_name = "WHOSE", value_enum)]
    names: Option<Names>,
    /// Instead of two models: hold matrices of one kind in A against each other, by their leading directions
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        help_heading = "Method",
        conflicts_with_all = ["tuned", "more", "adapted", "all", "vectors", "no_vectors", "no_svd", "preserve", "precision", "names", "permute"]
    )]
    across: Option<AcrossName>,
    #[command(flatten)]
    permute: PermuteOptions,
    #[command(flatten)]
    compensation: compensate::Compensation,
    #[command(flatten)]
    pub ledger: LedgerOptions,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VectorsName {
    /// None: values alone
    None,
    /// The `-k` leading ones of both sides: their spaces
    Leading,
    /// All: alignment, drift, and where the update lies in A's basis, too; several times the cost
    All,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    if !arguments.compensation.compensate.is_empty() {
        arguments.ledger.check_without("`--compensate`")?;
        return compensate::run(arguments);
    }
    let common = &arguments.common.recorded(&arguments.ledger)?;
    if let Some(across) = arguments.across {
        arguments.ledger.check_without("`--across`")?;
        return across::run(arguments, across, common);
    }
    if arguments.permute.is_asked() {
        arguments.ledger.check_without("`--permute`")?;
        return permute::run(arguments, common);
    }
    let mut outputs = Outputs::new(&common.output)?;
    rules::check_syntax(common)?;
    let sides = open(arguments)?;
    outputs.ready(common)?;
    let draft = request(arguments).over(sides)?;
    let weights = draft.has_weights();
    // A rule or a column brings the vectors that it needs, unless it was said which are compared.
    let columns = draft.columns(arguments.vectors().unwrap_or(Vectors::All));
    let gate = rules::gate(common, "compare", &columns).map_err(|error| hint(error, arguments, &draft))?;
    let question = draft.asked(rules::asked(common, &gate, &columns, &[]));
    let depth = question.depth();
    let filter = common.filter()?;
    let study = Arc::new(question.plan(filter.clone())?);
    let limits = if depth == Depth::Bytes { common.limits() } else { common.limits_of_decompositions()? };
    if common.dry_run {
        let named = !common.columns.is_empty();
        return dry_run(&study, limits, named).map(|()| Status::Fine);
    }
    let sides = study.question().sides();
    warn_of_filters(sides, common);
    let begun = Instant::now();
    heap::give_back();
    let manifest = study.manifest();
    let tasks: Arc<dyn Study> = Arc::clone(&study) as _;
    let Some(ledger) = ledger::measured(&tasks, &manifest, (common, limits))? else {
        return Ok(Status::Fine);
    };
    drop(tasks);
    if common.verbose || (!common.quiet && super::is_watched()) {
        remark(&format!("compared in {}", notation::seconds(begun.elapsed().as_secs_f64())));
    }
    let hides = !gate.clauses.is_empty() && manifest.report.totals.filtered > 0;
    let left_out = hides.then(|| study.left_out()).map(|(matrices, others)| (matrices.to_vec(), others));
    let kept = study.question().shown().to_vec();
    let names: Vec<String> = study.question().names().into_iter().map(str::to_owned).collect();
    let made_by = sides.all().filter(|_| !weights).find_map(|side| Some(side.saved()?.command.clone()));
    let skipped: Vec<Skipped> =
        if common.strict { sides.skipped(&filter).cloned().collect() } else { vec![] };
    // A report of many rows needs the room.
    drop(study);
    heap::give_back();
    let mut report = study::assemble(manifest, ledger);
    heap::give_back();
    if let Some((matrices, others)) = left_out {
        let matrices = matrices.iter().map(String::as_str);
        report.unlisted.hidden = rules::hidden(common, matrices, others.iter().map(String::as_str))?;
    }
    run::find(&mut report, common);
    run::judge(&mut report, common, &gate)?;
    report.keep(&kept);
    let shown = shown::columns(&report.columns, &names, shown::wanted(depth, made_by.as_deref()));
    let shown = run::judged_first(&report, &shown);
    let unchanged = if arguments.all { Unchanged::Shown } else { Unchanged::Hidden };
    let style = TableStyle { unchanged, ..common.table_style(&shown, &report.columns) };
    let status = run::deliver_as(&report, &style, &mut outputs, &|style, out| {
        render::write(&report, common.format.into(), style, out)
    })?;
    if run::is_rows_alone(common) {
        run::tell_remarks(&report, common);
    }
    Ok(strict::judged(status, common, &skipped))
}

fn depth(arguments: &Arguments) -> Depth {
    match (arguments.no_svd, arguments.all) {
        (true, _) => Depth::Bytes,
        (false, true) => Depth::Everything,
        (false, false) => Depth::Changes,
    }
}

fn request(arguments: &Arguments) -> CompareRequest {
    CompareRequest {
        depth: depth(arguments),
        names: arguments.names.map(Into::into),
        precision: arguments.precision.map(Into::into),
        vectors: arguments.vectors().unwrap_or(Vectors::Leading),
        preserve: arguments.preserve.unwrap_or(Preserve::Energy(0.9)),
        top: arguments.k,
    }
}

impl Arguments {
    /// The vectors that were asked for.
    fn vectors(&self) -> Option<Vectors> {
        let named = self.vectors.map(|vectors| match vectors {
            VectorsName::None => Vectors::None,
            VectorsName::Leading => Vectors::Leading,
            VectorsName::All => Vectors::All,
        });
        match (named, self.no_vectors, self.preserve) {
            (None, true, _) => Some(Vectors::None),
            (None, false, Some(_)) => Some(Vectors::All),
            (named, ..) => named,
        }
    }
}

/// Whether `key` is one of these columns, in any aspect and of any side.
fn is_of(columns: &'static [compare::Drift], key: &str) -> bool {
    let metric = columns::meaning(key).map(|key| key.metric);
    let known: Vec<&'static Column> = columns.iter().map(|drift| &drift.column).collect();
    known.iter().any(|column| Some(*column) == metric) || gate::column(key, &known).is_ok()
}

/// An error about a column that this comparison does not have says why.
fn hint(error: Error, arguments: &Arguments, draft: &Draft) -> Error {
    if arguments.no_svd {
        return rules::without_svd(error);
    }
    let Error::Column { at, key, problem } = error else { return error };
    let of_all = is_of(compare::DIRECTION_COLUMNS, &key);
    let of_vectors = of_all || is_of(compare::SUBSPACE_COLUMNS, &key);
    if let Some(problem) = draft.lacking(&key) {
        return Error::Column { at, key, problem };
    }
    let why = match (draft.has_weights(), arguments.vectors()) {
        (false, _) if of_vectors || is_of(compare::DRIFTS, &key) || is_of(compare::BYTE_COLUMNS, &key) => {
            "it needs weights on both sides, not a report"
        }
        (true, Some(Vectors::Leading)) if of_all => "it needs `--vectors all`",
        (true, Some(Vectors::None)) if of_all => "it needs singular vectors: `--vectors all`",
        (true, Some(Vectors::None)) if of_vectors => "it needs singular vectors: `--vectors leading`",
        _ => return Error::Column { at, key, problem },
    };
    let problem = format!("no column is called `{key}`; {why}");
    Error::Column { at, key, problem }
}

/// Matrices that a report left out look added.
fn warn_of_filters(sides: &Sides, common: &Common) {
    for side in sides.all() {
        let left_out = side.saved().map_or(0, |saved| saved.filtered);
        if left_out > 0 && !common.quiet {
            remark(&format!(
                "{} left out {left_out} matrices and tensors by its filters; give the same `--include` and `--exclude`, or they count as added or removed",
                side.origin.path
            ));
        }
    }
}

/// `--dry-run`: the most that may have to be done, because headers don't show what changed.
fn dry_run(study: &Comparison, limits: Limits, named: bool) -> Result<(), Error> {
    let mut lines = plan::lines(&study.estimate(study.question().vectors()), limits);
    if study.question().depth() == Depth::Bytes {
        return plan::print(&lines);
    }
    let has_weights = study.question().has_weights();
    let others = [(Vectors::None, "none"), (Vectors::Leading, "leading"), (Vectors::All, "all")];
    let is_other = |vectors: Vectors| has_weights && !named && vectors != study.question().vectors();
    for (vectors, name) in others.into_iter().filter(|(vectors, _)| is_other(*vectors)) {
        let work = plan::flops(&study.estimate(vectors).jobs);
        lines.push(("", format!("{} with `--vectors {name}`", plan::time(work, limits))));
    }
    lines.push(("", "if every matrix changed; unchanged ones are only read".to_owned()));
    plan::print(&lines)
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|k| *k > 0).ok_or_else(|| "a whole number from 1 on".to_owned())
}

/// `16` or `energy:0.9`.
fn preserve(text: &str) -> Result<Preserve, String> {
    let found = match text.strip_prefix("energy:") {
        Some(share) => {
            share.parse().ok().filter(|x| (0.0..=1.0).contains(x) && *x > 0.0).map(Preserve::Energy)
        }
        None => text.parse().ok().filter(|rank| *rank > 0).map(Preserve::Rank),
    };
    let wrong = "give a number of directions, as in 16, or a share of the energy, as in energy:0.9";
    found.ok_or_else(|| wrong.to_owned())
}
