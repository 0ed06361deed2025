//! `svdkit compare`: what changed from one checkpoint, or saved report, to another.

mod assembly;
mod side;
mod task;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;

use crate::analysis::compare::{
    self, Outcome, Preserve, Settings, Vectors, Vocabulary, cost, drifts_of, measure,
};
use crate::checkpoint::Opening;
use crate::engine::{Job, Limits};
use crate::error::Error;
use crate::layer::Layer;
use crate::notation;
use crate::render::{self, Look, Unchanged};
use crate::report::{Column, Measurements, Standing};

use super::model::Model;
use super::options::{Adapter, Common, PrecisionName};
use super::outputs::Outputs;
use super::plan;
use super::run::{self, Work};
use super::spectrum::Names;
use super::{Status, remark, strict};
use assembly::Found;
use side::{Method, Side};
use task::{Seen, Sides, Task};

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
    adapter: Adapter,
    /// Measure unchanged matrices, too, and list them
    #[arg(long, help_heading = "What to look at")]
    all: bool,
    /// Leave out what needs singular vectors: several times faster
    #[arg(long, help_heading = "Method")]
    no_vectors: bool,
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
    let common = &arguments.common;
    common.set_color();
    let outputs = if common.dry_run { Outputs::create(&[])? } else { Outputs::create(&common.output)? };
    let sides = Arc::new(open(arguments)?);
    let all: Vec<&Side> = sides.all().collect();
    let method = Method::of(&all, arguments.names, arguments.precision)?;
    let weights = all.iter().all(|side| side.weights().is_some());
    let settings = Settings {
        metrics: method.names.metrics(),
        precision: method.precision.into(),
        vectors: if arguments.no_vectors { Vectors::None } else { Vectors::All },
        preserve: arguments.preserve,
        top: arguments.k,
    };
    let drifts: Vec<_> = if weights { drifts_of(settings.vectors).collect() } else { vec![] };
    let names: Vec<&str> = sides.tuned.iter().map(|(name, _)| name.as_str()).collect();
    let vocabulary = Vocabulary::new(settings.metrics, &method.columns, &drifts, &names);
    let columns = vocabulary.columns();
    let rules = run::rules(common, &columns).map_err(|error| hint(error, arguments, weights))?;
    let filter = common.filter()?;
    let (tasks, dropped) = sides.tasks(&filter);
    if tasks.is_empty() {
        let what = if dropped > 0 {
            format!("`--include` and `--exclude` leave none of {dropped} matrices")
        } else {
            "neither side holds a matrix".to_owned()
        };
        return Err(Error::malformed(Path::new(&sides.base.origin.path), what));
    }
    let limits = common.limits();
    if common.dry_run {
        return dry_run(&sides, &tasks, &settings, limits).map(|()| Status::Fine);
    }
    warn_of_filters(&sides, common);
    let begun = Instant::now();
    let found =
        look_and_measure(&sides, &tasks, &settings, (arguments.all, common, limits), &method.columns)?;
    if common.verbose || (!common.quiet && super::is_watched()) {
        remark(&format!("compared in {}", notation::seconds(begun.elapsed().as_secs_f64())));
    }
    let mut report = assembly::report(&sides, (&tasks, dropped, &filter), &found, &vocabulary, columns);
    report.settings = method.settings;
    report.settings.extend(assembly::settings(&settings, weights));
    run::judge(&mut report, common, &rules)?;
    let shown = shown(&report.columns, &names, weights);
    let keys: Vec<&str> = report.columns.iter().map(|column| column.key).collect();
    let unchanged = if arguments.all { Unchanged::Shown } else { Unchanged::Hidden };
    let look = Look { unchanged, ..common.look(&shown, &keys) };
    let status = run::deliver_as(&report, &look, outputs, &|look, out| {
        render::write(&report, common.format.into(), look, out)
    })?;
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
    let named = arguments.adapted.as_deref().map(Model::open).transpose()?.map(|model| model.source);
    let base = Side::open(&arguments.base, Opening { base: named.clone(), ..Opening::default() })?;
    let changed = named.or(base.weights().cloned());
    let tuned = tuned.into_iter().map(|(name, path)| {
        Ok((name, Side::open(&path, Opening { base: changed.clone(), ..arguments.adapter.opening() })?))
    });
    Ok(Sides { base, tuned: tuned.collect::<Result<_, Error>>()? })
}

/// `NAME=PATH`, or a path whose last part is its name; characters that rules use are replaced.
fn name_and_path(typed: &Path) -> (String, PathBuf) {
    let text = typed.to_string_lossy();
    let (name, path) = match text.split_once('=') {
        Some((name, path)) if !typed.exists() && !name.is_empty() && !name.contains("://") => {
            (name.to_owned(), PathBuf::from(path))
        }
        _ => {
            let name = typed.file_stem().filter(|_| typed.is_file()).or_else(|| typed.file_name());
            (
                name.map_or_else(|| "tuned".to_owned(), |name| name.to_string_lossy().into_owned()),
                typed.into(),
            )
        }
    };
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    (name.chars().map(plain).collect(), path)
}

/// An error about a column that this comparison does not have says why.
fn hint(error: Error, arguments: &Arguments, weights: bool) -> Error {
    let text = error.to_string();
    let names = |drifts: &[compare::Drift]| {
        drifts.iter().any(|drift| text.contains(&format!("`{}`", drift.column.key)))
    };
    let why = match (weights, arguments.no_vectors) {
        (false, _) if names(compare::DRIFTS) || names(compare::TURNS) => {
            "it needs weights on both sides, not a report"
        }
        (true, true) if names(compare::TURNS) => "it needs singular vectors; leave `--no-vectors` out",
        _ => return error,
    };
    Error::Usage(format!("{}; {why}", text.split(';').next().unwrap_or_default()))
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

/// Looks at the bytes of every row, then measures those that changed.
fn look_and_measure(
    sides: &Arc<Sides>,
    tasks: &[Task],
    settings: &Settings,
    (everything, common, limits): (bool, &Common, Limits),
    columns: &[&'static Column],
) -> Result<Vec<Found>, Error> {
    let shared: Arc<Vec<Task>> = Arc::new(tasks.to_vec());
    let jobs: Vec<Job> = tasks.iter().map(reading).collect();
    let work: Work<Seen> = {
        let (sides, tasks) = (Arc::clone(sides), Arc::clone(&shared));
        Arc::new(move |i| task::see(&sides, &tasks[i]))
    };
    let seen = run::all(&jobs, &work, (common, limits))?;
    let wanted = |seen: &Seen| {
        let changed = |standing| !matches!(standing, None | Some(Standing::Unchanged | Standing::Removed));
        seen.tuned
            .iter()
            .any(|side| changed(side.standing) || (everything && side.standing == Some(Standing::Unchanged)))
    };
    let mut found: Vec<Found> =
        seen.into_iter().map(|seen| Found { seen, outcome: None, tied_to: None }).collect();
    let copies = copies(tasks, &found);
    let all = (0..tasks.len()).filter(|i| found[*i].seen.as_ref().is_ok_and(wanted));
    let originals: Arc<Vec<usize>> = Arc::new(all.filter(|i| copies[*i].is_none()).collect());
    let jobs: Vec<Job> = originals.iter().map(|i| measuring(sides, &tasks[*i], settings)).collect();
    let work: Work<Outcome> = {
        let (sides, tasks, originals) = (Arc::clone(sides), Arc::clone(&shared), Arc::clone(&originals));
        let standings: Vec<Vec<Option<Standing>>> = found
            .iter()
            .map(|found| found.seen.iter().flat_map(|seen| &seen.tuned).map(|side| side.standing).collect())
            .collect();
        let (settings, columns) = (*settings, columns.to_vec());
        Arc::new(move |i| {
            let at = originals[i];
            outcome(&sides, &tasks[at], &standings[at], everything, &settings, &columns)
        })
    };
    let outcomes = run::all(&jobs, &work, (common, limits))?;
    for (at, outcome) in originals.iter().zip(outcomes) {
        found[*at].outcome = Some(outcome.map(Arc::new));
    }
    for (i, original) in copies.into_iter().enumerate() {
        let Some(original) = original else { continue };
        let Some(outcome) = found[original].outcome.clone() else { continue };
        found[i].outcome = Some(outcome);
        found[i].tied_to = Some(tasks[original].name.clone());
    }
    Ok(found)
}

/// Measures one row.
fn outcome(
    sides: &Sides,
    task: &Task,
    standings: &[Option<Standing>],
    everything: bool,
    settings: &Settings,
    columns: &[&'static Column],
) -> Result<Outcome, Error> {
    let numbers = |side: &Side, layer: &Option<Layer>| match layer {
        Some(layer) => side.numbers(&layer.name, columns),
        None => Measurements::default(),
    };
    let base_numbers = numbers(&sides.base, &task.base);
    let tuned_numbers: Vec<Measurements> =
        sides.tuned.iter().zip(&task.tuned).map(|((_, side), layer)| numbers(side, layer)).collect();
    let base = task.base.as_ref().map(|layer| side::half(&sides.base, layer, &base_numbers, &sides.base));
    let tuned: Vec<_> = (0..standings.len())
        .map(|i| {
            let standing = standings[i]?;
            let skipped = standing == Standing::Unchanged && !everything;
            let layer = task.tuned[i].as_ref().filter(|_| !skipped)?;
            Some((side::half(&sides.tuned[i].1, layer, &tuned_numbers[i], &sides.base), standing))
        })
        .collect();
    measure(base, &tuned, settings)
}

/// What it costs to look at the bytes of a row.
fn reading(task: &Task) -> Job {
    let bytes = task.base.iter().chain(task.tuned.iter().flatten()).map(Layer::bytes).sum::<u64>();
    Job { flops: bytes as f64, bytes: bytes.min(32 << 20) }
}

/// What it costs to measure a row at most.
fn measuring(sides: &Sides, task: &Task, settings: &Settings) -> Job {
    let weights = |side: &Side| side.weights().is_some();
    let tuned: Vec<&Layer> = sides
        .tuned
        .iter()
        .zip(&task.tuned)
        .filter_map(|((_, side), layer)| layer.as_ref().filter(|_| weights(side)))
        .collect();
    let Some(base) = task.base.as_ref().filter(|_| weights(&sides.base)).or(tuned.first().copied()) else {
        return Job { flops: 1.0, bytes: 1 };
    };
    let alone = Settings { vectors: Vectors::None, ..*settings };
    let pair = task.base.is_some() && weights(&sides.base);
    let cost = cost(base, if pair { &tuned } else { &[] }, if pair { settings } else { &alone });
    Job { flops: cost.flops, bytes: cost.bytes }
}

/// For each row the first earlier one with the same bytes on all sides, type and shape.
fn copies(tasks: &[Task], found: &[Found]) -> Vec<Option<usize>> {
    let mut first = std::collections::BTreeMap::new();
    (0..tasks.len())
        .map(|i| {
            let (seen, layer) = (found[i].seen.as_ref().ok()?, tasks[i].layer()?);
            let hashes: Vec<&String> =
                seen.tuned.iter().map(|side| side.blake3.as_ref()).collect::<Option<_>>()?;
            let key = (seen.base.as_ref()?, hashes, layer.rows, layer.cols, layer.dtype.name());
            let original = *first.entry(key).or_insert(i);
            (original != i).then_some(original)
        })
        .collect()
}

/// `--dry-run`: the most that may have to be done, for headers do not tell what changed.
fn dry_run(sides: &Sides, tasks: &[Task], settings: &Settings, limits: Limits) -> Result<(), Error> {
    let jobs: Vec<Job> = tasks.iter().map(|task| measuring(sides, task, settings)).collect();
    let layers: Vec<&Layer> = tasks.iter().filter_map(Task::layer).collect();
    let weights = |(side, layer): (&Side, &Layer)| if side.weights().is_some() { layer.bytes() } else { 0 };
    let base = tasks.iter().filter_map(|task| Some((&sides.base, task.base.as_ref()?)));
    let tuned = tasks
        .iter()
        .flat_map(|task| sides.tuned.iter().zip(&task.tuned))
        .filter_map(|((_, side), layer)| Some((side, layer.as_ref()?)));
    let bytes = base.chain(tuned).map(weights).sum();
    let skipped = sides.tuned.first().map_or(0, |(_, side)| side.skipped.len());
    let mut lines = plan::lines(&layers, &jobs, limits, &plan::Reading { bytes, skipped });
    if settings.vectors == Vectors::All && sides.base.weights().is_some() {
        let values = Settings { vectors: Vectors::None, ..*settings };
        let jobs: Vec<Job> = tasks.iter().map(|task| measuring(sides, task, &values)).collect();
        lines.push(("", format!("{} with `--no-vectors`", plan::time(plan::flops(&jobs), limits))));
    }
    lines.push(("", "if every matrix changed; unchanged ones are only read".to_owned()));
    plan::print(&lines)
}

/// The table's columns: of those that are there, most wanted first.
fn shown(columns: &[&'static Column], names: &[&str], weights: bool) -> Vec<&'static str> {
    let there = |key: String| columns.iter().map(|column| column.key).find(|known| *known == key);
    match (names, weights) {
        ([_], true) => SHOWN.iter().filter_map(|key| there((*key).to_owned())).collect(),
        ([_], false) => SHOWN_REPORTS.iter().filter_map(|key| there((*key).to_owned())).collect(),
        _ => {
            let wanted = if weights { &SHOWN_SIDES } else { &SHOWN_REPORTS[..3] };
            // As many of each as the line has room for.
            let each = match names.len() {
                ..=2 => 3,
                3 => 2,
                _ => 1,
            };
            let wanted = &wanted[..each];
            let sides = names.iter().flat_map(|name| wanted.iter().map(move |key| format!("{key}@{name}")));
            sides.filter_map(there).collect()
        }
    }
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
