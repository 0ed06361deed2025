//! The work of a comparison: bytes are looked at, and what they do not decide is measured.

use std::sync::Arc;

use crate::analysis::compare::{Outcome, Settings, Vocabulary, cost, measure};
use crate::analysis::hygiene;
use crate::cli::jobs::{Work, run_jobs};
use crate::cli::options::Common;
use crate::engine::{Job, Limits};
use crate::error::Error;
use crate::layer::{Filter, Layer};
use crate::report::{Column, Measurements, Row, Standing};

use super::assembly::Found;
use super::odd::{Odd, SeenOdd};
use super::side::{self, Side};
use super::task::{self, Depth, Seen, Sides, Task};

/// Looks at the bytes of every row, then measures those that changed.
pub(super) fn look_and_measure(
    sides: &Arc<Sides>,
    tasks: &[Task],
    settings: &Settings,
    (depth, common, limits): (Depth, &Common, Limits),
    columns: &[&'static Column],
) -> Result<Vec<Found>, Error> {
    let shared: Arc<Vec<Task>> = Arc::new(tasks.to_vec());
    let jobs: Vec<Job> = tasks.iter().map(reading).collect();
    let work: Work<Seen> = {
        let (sides, tasks) = (Arc::clone(sides), Arc::clone(&shared));
        Arc::new(move |i| task::see(&sides, &tasks[i], depth))
    };
    let seen = run_jobs(&jobs, &work, (common, limits))?;
    let wanted = |seen: &Seen| {
        let changed = |standing| !matches!(standing, None | Some(Standing::Unchanged | Standing::Removed));
        let same = |standing| depth == Depth::Everything && standing == Some(Standing::Unchanged);
        depth != Depth::Bytes && seen.tuned.iter().any(|side| changed(side.standing) || same(side.standing))
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
            outcome(&sides, &tasks[at], &standings[at], depth, &settings, &columns)
        })
    };
    let outcomes = run_jobs(&jobs, &work, (common, limits))?;
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

/// Looks at the tensors that are no matrices: rows of those that something is to be said of, names of those that are the
/// same on all sides.
pub(super) fn look_at_others(
    (sides, tasks): (&Arc<Sides>, &[Task]),
    filter: &Filter,
    vocabulary: &Vocabulary,
    (common, limits): (&Common, Limits),
) -> Result<(Vec<Row>, Vec<String>), Error> {
    let odd = Arc::new(sides.odd(filter, tasks));
    let jobs: Vec<Job> = odd.iter().map(|odd| read(odd.bytes())).collect();
    let work: Work<_> = {
        let (sides, odd) = (Arc::clone(sides), Arc::clone(&odd));
        Arc::new(move |i| odd[i].see(&sides))
    };
    let seen = run_jobs(&jobs, &work, (common, limits))?;
    let pairs = || odd.iter().zip(&seen);
    let same = |(_, seen): &(&Odd, &Result<SeenOdd, String>)| seen.as_ref().is_ok_and(SeenOdd::is_unchanged);
    let unchanged = pairs().filter(same).map(|(odd, _)| odd.name()).collect();
    Ok((pairs().filter_map(|(odd, seen)| odd.row(seen, vocabulary)).collect(), unchanged))
}

/// Measures one row.
fn outcome(
    sides: &Sides,
    task: &Task,
    standings: &[Option<Standing>],
    depth: Depth,
    settings: &Settings,
    columns: &[&'static Column],
) -> Result<Outcome, Error> {
    let numbers = |side: &Side, layer: &Option<Arc<Layer>>| match layer {
        Some(layer) => side.numbers(&layer.name, columns),
        None => Measurements::default(),
    };
    let base_numbers = numbers(&sides.base, &task.base);
    let tuned_numbers: Vec<Measurements> =
        sides.tuned.iter().zip(&task.tuned).map(|((_, side), layer)| numbers(side, layer)).collect();
    let base = task.base.as_ref().map(|layer| side::half(&sides.base, layer, &base_numbers));
    let tuned: Vec<_> = (0..standings.len())
        .map(|i| {
            let standing = standings[i]?;
            let skipped = standing == Standing::Unchanged && depth != Depth::Everything;
            let layer = task.tuned[i].as_ref().filter(|_| !skipped)?;
            Some((side::half(&sides.tuned[i].1, layer, &tuned_numbers[i]), standing))
        })
        .collect();
    measure(base, &tuned, settings)
}

/// What it costs to look at the bytes of a row.
fn reading(task: &Task) -> Job {
    read(task.base.iter().chain(task.tuned.iter().flatten()).map(|layer| layer.bytes()).sum())
}

/// What it costs to look at so many bytes.
pub(super) fn read(bytes: u64) -> Job {
    Job { flops: bytes as f64 * hygiene::OPERATIONS_PER_BYTE, bytes: bytes.min(4 * hygiene::BLOCK as u64) }
}

/// What it costs to measure a row at most.
pub(super) fn measuring(sides: &Sides, task: &Task, settings: &Settings) -> Job {
    let none = Measurements::default();
    let base = task.base.as_ref().map(|layer| side::half(&sides.base, layer, &none));
    let tuned = sides
        .tuned
        .iter()
        .zip(&task.tuned)
        .filter_map(|((_, side), layer)| layer.as_ref().map(|layer| side::half(side, layer, &none)));
    let cost = cost(base, &tuned.collect::<Vec<_>>(), settings);
    Job { flops: cost.flops.max(1.0), bytes: cost.bytes.max(1) }
}

/// For each row the first earlier one with the same bytes on all sides, type and shape; as in `checkpoint::tied`, what
/// is one number throughout on every side is nobody's copy.
fn copies(tasks: &[Task], found: &[Found]) -> Vec<Option<usize>> {
    let mut first = std::collections::BTreeMap::new();
    (0..tasks.len())
        .map(|i| {
            let layer = tasks[i].layer()?;
            let seen = found[i].seen.as_ref().ok().filter(|seen| seen.varies)?;
            let hashes: Vec<&String> =
                seen.tuned.iter().map(|side| side.blake3.as_ref()).collect::<Option<_>>()?;
            let key = (seen.base.as_ref()?, hashes, layer.rows, layer.cols, layer.stored_type());
            let original = *first.entry(key).or_insert(i);
            (original != i).then_some(original)
        })
        .collect()
}
