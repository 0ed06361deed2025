//! `svdkit adapter clash`: whether adapters of one model fight.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::checkpoint::Opening;
use crate::error::Error;
use crate::layer::Filter;
use crate::study::{ClashRequest, Clashing, Event, check_all_there};

use super::super::model::{Model, open_base};
use super::super::options::{Common, ReadingOptions};
use super::super::plan;
use super::super::progress::Progress;
use super::super::run;
use super::super::{Status, is_interrupted};
use super::merge::check_adapter;
use super::prepared;

/// Columns of the table of modules, most wanted first.
const SHOWN: [&str; 8] = [
    "update_cosine",
    "joint_ratio",
    "left_cosine",
    "left_overlap",
    "right_cosine",
    "right_overlap",
    "first_norm",
    "second_norm",
];

/// Says whether adapters of one model fight: for every pair and module the cosine of their updates, what is left of both
/// together, and the principal angles of their spaces, from the factors alone.
///
/// The terminal shows a matrix of pairs; `--sort` and `--limit` list modules below it, `--columns` lists them instead.
/// -o clash.html has heat maps.
#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// Two or more adapters of one model, as PATH or NAME=PATH
    #[arg(required = true, num_args = 2.., value_name = "ADAPTER")]
    adapters: Vec<PathBuf>,
    /// Their base: for adapters that need it, such as DoRA, and for names in different dialects
    #[arg(long, value_name = "BASE", help_heading = "Input")]
    base: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let (gate, mut outputs) = prepared("adapter clash", &ClashRequest.columns(), common)?;
    let opening = arguments.reading.opening()?;
    let base = arguments.base.as_deref().map(|base| open_base(base, &opening)).transpose()?;
    let opening = Opening { base: base.as_ref().map(|base| base.source.clone()), ..opening };
    let (mut adapters, filter) = (vec![], common.filter()?);
    for (name, path) in named(&arguments.adapters) {
        let Model { source, origin, .. } = Model::open(&path, &opening)?;
        check_adapter(&path, source.holds())?;
        if base.is_none() {
            check_all_there(&path, &source, &filter, "compared")?;
        }
        if source.select(&Filter::default()).layers.is_empty() {
            return Err(Error::malformed(&path, "holds no update that could be compared"));
        }
        adapters.push(Clashing { name, origin, updates: source });
    }
    outputs.ready(common)?;
    let limits = common.limits();
    if common.dry_run {
        plan::write(&ClashRequest.estimate(&adapters, &filter)?, limits)?;
        return Ok(Status::Fine);
    }
    let mut progress: Option<Progress> = None;
    let mut watch = |event: Event<'_>| {
        match (event, &mut progress) {
            (Event::Round(jobs), before) => *before = Some(Progress::new(jobs, common, limits.threads)),
            (Event::Finished(job), Some(progress)) => progress.finished(job),
            (Event::Waiting, Some(progress)) => progress.show(),
            (Event::Recorded(_), _) | (Event::Finished(_) | Event::Waiting, None) => {}
        }
        if is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let base = base.map(|base| base.origin);
    let report = ClashRequest.run(adapters, base, &filter, (limits, &mut watch));
    progress.into_iter().for_each(Progress::finish);
    let mut report = report?;
    run::judge(&mut report, common, &gate)?;
    run::deliver(&report, common, &SHOWN, &mut outputs)
}

/// The adapters with their names: as typed before `=`, else the last part of the path, or all of it where two share that, with
/// a number where one is given again.
fn named(typed: &[PathBuf]) -> Vec<(String, PathBuf)> {
    let split = |path: &PathBuf| -> (Option<String>, PathBuf) {
        let text = path.to_string_lossy();
        match text.split_once('=') {
            Some((name, rest)) if !name.is_empty() && !path.exists() => (Some(name.to_owned()), rest.into()),
            _ => (None, path.clone()),
        }
    };
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let all: Vec<(Option<String>, PathBuf)> = typed.iter().map(split).collect();
    let short =
        |(name, path): &(Option<String>, PathBuf)| name.clone().or_else(|| last(path)).unwrap_or_default();
    let shorts: Vec<String> = all.iter().map(short).collect();
    let mut taken = BTreeSet::new();
    all.into_iter()
        .enumerate()
        .map(|(i, (typed_name, path))| {
            let twice = shorts.iter().filter(|other| **other == shorts[i]).count() > 1;
            let name =
                if twice && typed_name.is_none() { path.display().to_string() } else { shorts[i].clone() };
            let numbered = (2..).map(|n| format!("{name}#{n}"));
            let free = std::iter::once(name.clone()).chain(numbered).find(|name| taken.insert(name.clone()));
            (free.unwrap_or(name), path)
        })
        .collect()
}
