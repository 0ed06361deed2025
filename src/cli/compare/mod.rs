//! `svdkit compare`: what changed from one checkpoint, or saved report, to another.

mod assembly;
mod kind;
mod look;
mod odd;
mod side;
mod task;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;

use crate::analysis::columns;
use crate::analysis::compare::{self, Preserve, Settings, Vectors, Vocabulary, drifts_of};
use crate::checkpoint::Opening;
use crate::engine::{Job, Limits};
use crate::error::Error;
use crate::layer::{Filter, Layer};
use crate::notation;
use crate::render::{self, TableStyle, Unchanged};
use crate::report::{Aspect, Column};

use super::model::Model;
use super::options::{Common, PrecisionName, Reading};
use super::outputs::Outputs;
use super::plan;
use super::run;
use super::spectrum::Names;
use super::{Status, remark, rules, strict};
use look::{look_and_measure, look_at_others, measuring, read};
use odd::Odd;
use side::{Method, Side, name_and_path};
use task::{Depth, Sides, Task};

/// Columns of the table, most wanted first: with weights on both sides, and from reports.
const SHOWN: [&str; 7] = [
    "delta_frobenius_ratio",
    "spectral_norm_change",
    "effective_rank_change",
    "alignment",
    "delta_effective_rank",
    "stable_rank_change",
    "alpha_change",
];
const SHOWN_REPORTS: [&str; 6] = [
    "effective_rank_change",
    "spectral_norm_change",
    "stable_rank_change",
    "alpha_change",
    "frobenius_norm_change",
    "log_norm_change",
];
/// The same without a decomposition.
const SHOWN_BYTES: [&str; 5] =
    ["nonfinite_count", "max_abs", "max_abs_change", "zero_rows", "zero_rows_difference"];
/// Columns of each of several tuned sides.
const SHOWN_SIDES: [&str; 3] = ["delta_frobenius_ratio", "delta_effective_rank", "alignment"];

/// Says what changed from A to B.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What was started from: a checkpoint, an adapter, or a saved JSON report
    #[arg(value_name = "A")]
    base: PathBuf,
    /// What came of it: the same, an adapter of A among them
    #[arg(value_name = "B")]
    tuned: Option<PathBuf>,
    /// Another model that came of A, side by side with the first; may be repeated. NAME=PATH gives its columns a name
    #[arg(long = "tuned", value_name = "[NAME=]PATH", help_heading = "What to look at")]
    more: Vec<PathBuf>,
    /// The checkpoint that adapters among A and B change [default: A]
    #[arg(long = "base", value_name = "BASE", help_heading = "What to look at")]
    adapted: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// Measure unchanged matrices, too, and list them
    #[arg(long, help_heading = "What to look at")]
    all: bool,
    /// Leave out what needs singular vectors: several times faster
    #[arg(long, help_heading = "Method")]
    no_vectors: bool,
    /// Decompose nothing: what was added, removed, changed or is not finite, as fast as the files can be read
    #[arg(long, help_heading = "Method", conflicts_with_all = ["all", "no_vectors", "preserve", "k", "precision", "names"])]
    no_svd: bool,
    /// Which leading directions of A count as principal: a number of them, or 'energy:SHARE' of Σσ²
    #[arg(long, help_heading = "Method", value_name = "R|energy:SHARE", value_parser = preserve, default_value = "energy:0.9")]
    preserve: Preserve,
    /// How many leading directions are compared as one subspace
    #[arg(short, help_heading = "Method", value_name = "N", default_value_t = 10, value_parser = at_least_one)]
    k: usize,
    /// How exact small singular values have to be [default: as the report was made, or fast]
    #[arg(long, help_heading = "Method", value_name = "HOW", value_enum)]
    precision: Option<PrecisionName>,
    /// Whose column names and definitions to use [default: as the report was made, or svdkit's]
    #[arg(long, help_heading = "Method", value_name = "WHOSE", value_enum)]
    names: Option<Names>,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let mut outputs = Outputs::new(&common.output)?;
    let sides = Arc::new(open(arguments)?);
    outputs.ready(common)?;
    let all: Vec<&Side> = sides.all().collect();
    kind::alike(&all)?;
    let depth = match (arguments.no_svd, arguments.all) {
        (true, _) => Depth::Bytes,
        (false, true) => Depth::Everything,
        (false, false) => Depth::Changes,
    };
    let method = match depth {
        Depth::Bytes => Method::of_bytes(&all),
        Depth::Changes | Depth::Everything => Method::of(&all, arguments.names, arguments.precision)?,
    };
    let weights = all.iter().all(|side| side.weights().is_some());
    let settings = Settings {
        metrics: method.metrics,
        precision: method.precision.into(),
        vectors: if arguments.no_vectors { Vectors::None } else { Vectors::All },
        preserve: arguments.preserve,
        top: arguments.k,
    };
    let drifts: Vec<_> =
        if weights && depth != Depth::Bytes { drifts_of(settings.vectors).collect() } else { vec![] };
    let names: Vec<&str> = sides.tuned.iter().map(|(name, _)| name.as_str()).collect();
    let vocabulary = Vocabulary::new(settings.metrics, &method.columns, &drifts, &names);
    let columns = vocabulary.columns();
    let gate = rules::gate(common, "compare", &columns).map_err(|error| hint(error, arguments, weights))?;
    let filter = common.filter()?;
    let (tasks, dropped) = sides.tasks(&filter);
    if tasks.is_empty() {
        let what = match dropped.len() {
            0 => "neither side holds a matrix".to_owned(),
            all => format!("`--include` and `--exclude` leave none of {all} matrices"),
        };
        return Err(Error::malformed(Path::new(&sides.base.origin.path), what));
    }
    let limits = common.limits();
    if common.dry_run {
        return dry_run(&sides, &tasks, &settings, (depth, limits)).map(|()| Status::Fine);
    }
    warn_of_filters(&sides, common);
    let begun = Instant::now();
    let found = look_and_measure(&sides, &tasks, &settings, (depth, common, limits), &method.columns)?;
    let (others, unchanged) = look_at_others((&sides, &tasks), &filter, &vocabulary, (common, limits))?;
    if common.verbose || (!common.quiet && super::is_watched()) {
        remark(&format!("compared in {}", notation::seconds(begun.elapsed().as_secs_f64())));
    }
    let mut report =
        assembly::report(&sides, (&tasks, dropped.len(), &filter), (&found, others), &vocabulary, columns);
    let own = assembly::settings(&settings, weights && depth != Depth::Bytes);
    let all = method.settings.into_iter().chain(own);
    report.settings = all.map(|(key, value)| (key.into(), value)).collect();
    report.unlisted.unchanged = unchanged;
    if !gate.clauses.is_empty() && report.totals.filtered > 0 {
        let others: Vec<String> = sides.odd(&Filter::default(), &tasks).iter().map(Odd::name).collect();
        let matrices = dropped.iter().map(String::as_str);
        report.unlisted.hidden = rules::hidden(common, matrices, others.iter().map(String::as_str))?;
    }
    run::judge(&mut report, common, &gate)?;
    let wanted = match (depth, weights) {
        (Depth::Bytes, _) => (&SHOWN_BYTES[..], &SHOWN_BYTES[..1]),
        (_, true) => (&SHOWN[..], &SHOWN_SIDES[..]),
        (_, false) => (&SHOWN_REPORTS[..], &SHOWN_REPORTS[..3]),
    };
    let shown = shown(&report.columns, &names, wanted);
    let keys: Vec<&str> = report.columns.iter().map(|column| column.key).collect();
    let unchanged = if arguments.all { Unchanged::Shown } else { Unchanged::Hidden };
    let look = TableStyle { unchanged, ..common.look(&shown, &keys) };
    let status = run::deliver_as(&report, &look, &mut outputs, &|look, out| {
        render::write(&report, common.format.into(), look, out)
    })?;
    if run::is_rows_alone(common) {
        run::tell_remarks(&report, common);
    }
    Ok(strict::judged(status, common, sides.skipped(&filter)))
}

/// The sides as typed.
fn open(arguments: &Arguments) -> Result<Sides, Error> {
    let typed = arguments.tuned.iter().chain(&arguments.more);
    let mut tuned: Vec<(String, PathBuf)> = typed.map(|path| name_and_path(path)).collect();
    if tuned.is_empty() {
        let what = "nothing to compare with; name a second model, as in `svdkit compare A B`";
        return Err(Error::Usage(what.to_owned()));
    }
    for i in 1..tuned.len() {
        let (before, here) = tuned.split_at_mut(i);
        let name = here[0].0.clone();
        let twice = before.iter().filter(|(other, _)| other.split('#').next() == Some(&name)).count();
        if twice > 0 {
            here[0].0 = format!("{name}#{}", twice + 1);
        }
    }
    let opening = arguments.reading.opening();
    let plain = |path| Model::open(path, &opening.of_base());
    let named = arguments.adapted.as_deref().map(plain).transpose()?.map(|model| model.source);
    let base = Side::open(&arguments.base, Opening { base: named.clone(), ..opening.of_base() })?;
    let changed = named.or(base.weights().cloned());
    let tuned = tuned.into_iter().map(|(name, path)| {
        Ok((name, Side::open(&path, Opening { base: changed.clone(), ..opening.clone() })?))
    });
    Ok(Sides { base, tuned: tuned.collect::<Result<_, Error>>()? }.alike())
}

/// An error about a column that this comparison does not have says why.
fn hint(error: Error, arguments: &Arguments, weights: bool) -> Error {
    if arguments.no_svd {
        return rules::without_svd(error);
    }
    let Error::Column { at, key, problem } = error else { return error };
    let metric = columns::meaning(&key).map(|key| key.metric);
    let is_of = |drifts: &[compare::Drift]| drifts.iter().any(|drift| Some(&drift.column) == metric);
    let why = match (weights, arguments.no_vectors) {
        (false, _) if is_of(compare::DRIFTS) || is_of(compare::TURNS) => {
            "it needs weights on both sides, not a report"
        }
        (true, true) if is_of(compare::TURNS) => "it needs singular vectors; leave `--no-vectors` out",
        _ => return Error::Column { at, key, problem },
    };
    let problem = format!("no column is called `{key}`; {why}");
    Error::Column { at, key, problem }
}

/// A report that left matrices out makes them look new.
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

/// `--dry-run`: the most that may have to be done, for headers do not tell what changed.
fn dry_run(
    sides: &Sides,
    tasks: &[Task],
    settings: &Settings,
    (depth, limits): (Depth, Limits),
) -> Result<(), Error> {
    let layers: Vec<&Layer> = tasks.iter().filter_map(Task::layer).collect();
    let weights =
        |(side, layer): (&Side, &Arc<Layer>)| if side.weights().is_some() { layer.bytes() } else { 0 };
    let bytes = |task: &Task| {
        let base = task.base.as_ref().map(|layer| (&sides.base, layer));
        let tuned =
            sides.tuned.iter().zip(&task.tuned).filter_map(|((_, side), l)| Some((side, l.as_ref()?)));
        base.into_iter().chain(tuned).map(weights).sum::<u64>()
    };
    let jobs: Vec<Job> = match depth {
        Depth::Bytes => tasks.iter().map(|task| read(bytes(task))).collect(),
        Depth::Changes | Depth::Everything => {
            tasks.iter().map(|task| measuring(sides, task, settings)).collect()
        }
    };
    let skipped = sides.tuned.first().map_or(0, |(_, side)| side.skipped.len());
    let reading = plan::Reading { bytes: tasks.iter().map(bytes).sum(), skipped };
    let mut lines = plan::lines(&layers, &jobs, limits, &reading);
    if depth == Depth::Bytes {
        return plan::print(&lines);
    }
    if settings.vectors == Vectors::All && sides.base.weights().is_some() {
        let values = Settings { vectors: Vectors::None, ..*settings };
        let jobs: Vec<Job> = tasks.iter().map(|task| measuring(sides, task, &values)).collect();
        lines.push(("", format!("{} with `--no-vectors`", plan::time(plan::flops(&jobs), limits))));
    }
    lines.push(("", "if every matrix changed; unchanged ones are only read".to_owned()));
    plan::print(&lines)
}

/// The table's columns: of those that are there, most wanted first; `wanted` for one tuned side and for each of several.
fn shown(
    columns: &[&'static Column],
    names: &[&str],
    (wanted, of_each): (&[&str], &[&str]),
) -> Vec<&'static str> {
    if let [_] = names {
        let there = |key: &&str| columns.iter().map(|column| column.key).find(|known| known == key);
        return wanted.iter().filter_map(there).collect();
    }
    // As many of each as the line has room for.
    let each = match names.len() {
        ..=2 => 3,
        3 => 2,
        _ => 1,
    };
    let sides = names.iter().flat_map(|name| of_each.iter().take(each).map(move |key| (*name, *key)));
    let there = |(side, metric)| {
        let is = |column: &&&'static Column| {
            let key = column.means();
            (key.metric.key, key.aspect, key.side) == (metric, Aspect::Value, Some(side))
        };
        columns.iter().find(is).map(|column| column.key)
    };
    sides.filter_map(there).collect()
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
