//! From what was found to the report of a comparison.

use std::sync::Arc;

use crate::analysis::compare::{Half, Outcome, Preserve, Settings, Vectors, Vocabulary};
use crate::checkpoint::of_base;
use crate::error::printable;
use crate::layer::{Filter, Layer};
use crate::report::{
    self, Column, Compared, Comparison, Flag, Measurements, Named, Report, Row, Skipped, Standing, Totals,
    Unlisted,
};

use super::super::run::row_of;
use super::task::{Seen, Sides, Task};

/// What was found of one row.
pub(super) struct Found {
    /// What its bytes say, or why they could not be read.
    pub(super) seen: Result<Seen, String>,
    /// What was measured, if anything had to be.
    pub(super) outcome: Option<Result<Arc<Outcome>, String>>,
    /// The row that has the same bytes on all sides.
    pub(super) tied_to: Option<String>,
}

/// The settings that only a comparison has.
pub(super) fn settings(settings: &Settings, weights: bool) -> Vec<(&'static str, String)> {
    if !weights {
        return vec![];
    }
    let preserve = match settings.preserve {
        Preserve::Rank(rank) => rank.to_string(),
        Preserve::Energy(share) => format!("energy:{share}"),
    };
    match settings.vectors {
        Vectors::None => vec![("vectors", "none".to_owned())],
        Vectors::All => {
            vec![("vectors", "all".to_owned()), ("k", settings.top.to_string()), ("preserve", preserve)]
        }
    }
}

/// The report, its rules not yet judged and its settings not yet told.
pub(super) fn report(
    sides: &Sides,
    (tasks, dropped, filter): (&[Task], usize, &Filter),
    (found, others): (&[Found], Vec<Row>),
    vocabulary: &Vocabulary,
    columns: Vec<&'static Column>,
) -> Report {
    let mut rows: Vec<Row> =
        tasks.iter().zip(found).filter_map(|(task, found)| row(sides, task, found, vocabulary)).collect();
    let all: Vec<&Skipped> = sides.tuned.iter().take(1).flat_map(|(_, side)| &side.skipped).collect();
    let skipped: Vec<Skipped> = all
        .iter()
        .copied()
        .filter(|skipped| filter.keeps(crate::layer::bare(&skipped.tensor)))
        // What failed has a row that says so.
        .map(|skipped| Skipped { failed: None, ..skipped.clone() })
        .collect();
    let totals = totals(&rows, sides, (&skipped, dropped + all.len() - skipped.len()), &others);
    rows.extend(others);
    rows.sort_by(|a, b| crate::layer::natural(&a.name, &b.name));
    let mut origins = sides.tuned.iter().map(|(name, side)| (name, &side.origin));
    let (first, several) = (origins.clone().next(), sides.tuned.len() > 1);
    Report {
        schema: report::SCHEMA,
        svdkit: env!("CARGO_PKG_VERSION").into(),
        command: "compare".into(),
        model: first.map_or_else(|| sides.base.origin.clone(), |(_, origin)| origin.clone()),
        base: Some(sides.base.origin.clone()),
        tuned: origins
            .by_ref()
            .filter(|_| several)
            .map(|(name, source)| Named { name: name.clone(), source: source.clone() })
            .collect(),
        settings: vec![],
        columns,
        rows,
        skipped,
        totals,
        groups: vec![],
        notes: notes(sides),
        verdicts: vec![],
        unlisted: Unlisted::default(),
    }
}

/// What a reader should know of how the files of all sides were chosen, each note once.
fn notes(sides: &Sides) -> Vec<String> {
    let mut notes: Vec<String> = vec![];
    let several = sides.tuned.len() > 1;
    let tuned = sides.tuned.iter().flat_map(|(name, side)| {
        side.notes().into_iter().map(move |note| if several { format!("{name}: {note}") } else { note })
    });
    for note in tuned.chain(sides.base.notes().iter().map(|note| of_base(note))) {
        let note = printable(&note);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

fn row(sides: &Sides, task: &Task, found: &Found, vocabulary: &Vocabulary) -> Option<Row> {
    let layer = task.layer()?;
    let failure = match (&found.seen, &found.outcome) {
        (Err(failure), _) | (_, Some(Err(failure))) => Some(failure.clone()),
        _ => None,
    };
    let seen = found.seen.as_ref().ok();
    let outcome = found.outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
    let measured_base = outcome.and_then(|outcome| outcome.base.as_ref());
    let base_layer = task.base.as_ref();
    let differs = base_layer.filter(|base| (base.rows, base.cols) != (layer.rows, layer.cols));
    let retyped = base_layer.filter(|base| base.storage() != layer.storage());
    let hash = |side: usize| {
        let measured = outcome.and_then(|outcome| outcome.tuned.get(side)?.as_ref()?.found.blake3.clone());
        measured.or_else(|| seen.and_then(|seen| seen.tuned.get(side)?.blake3.clone()))
    };
    let standings: Vec<Option<Standing>> =
        seen.map_or_else(Vec::new, |seen| seen.tuned.iter().map(|side| side.standing).collect());
    let mut flags: Vec<Flag> = layer.flag().into_iter().collect();
    let adapters = sides.tuned.iter().zip(&task.tuned).filter_map(|((_, side), l)| update(side, l.as_ref()?));
    for flag in adapters.flat_map(|update| update.flags) {
        if !flags.contains(&flag) {
            flags.push(flag);
        }
    }
    for flag in outcome.iter().flat_map(|outcome| outcome.tuned.iter().flatten()).flat_map(|t| &t.found.flags)
    {
        if !flags.contains(flag) {
            flags.push(*flag);
        }
    }
    Some(Row {
        name: task.name.clone(),
        update: if sides.tuned.len() == 1 { update(&sides.tuned[0].1, layer) } else { None },
        blake3: if sides.tuned.len() == 1 { hash(0) } else { None },
        tied_to: found.tied_to.clone(),
        comparison: Some(Comparison {
            status: if failure.is_some() { Standing::Failed } else { summary(&standings) },
            base_shape: differs.map(|base| [base.rows as u64, base.cols as u64]),
            base_dtype: retyped.map(|base| base.storage().to_owned()),
            base_blake3: measured_base
                .and_then(|base| base.blake3.clone())
                .or_else(|| seen.and_then(|seen| seen.base.clone())),
        }),
        flags,
        values: match (&failure, seen) {
            (None, Some(seen)) => values(sides, task, seen, outcome.map(AsRef::as_ref), vocabulary),
            _ => Measurements::default(),
        },
        failed: failure,
        ..row_of(layer)
    })
}

/// How an adapter stores what it added to a matrix.
fn update(side: &super::side::Side, layer: &Layer) -> Option<report::Update> {
    side.weights()?.update(layer)
}

/// The numbers of a row, wherever they come from: measured now, saved, or told by the entries alone.
fn values(
    sides: &Sides,
    task: &Task,
    seen: &Seen,
    outcome: Option<&Outcome>,
    vocabulary: &Vocabulary,
) -> Measurements {
    let columns = vocabulary.metrics();
    let saved = |side: &super::side::Side, layer: Option<&Layer>| {
        layer.filter(|_| side.saved().is_some()).map(|layer| side.numbers(&layer.name, &columns))
    };
    let base_saved = saved(&sides.base, task.base.as_deref());
    let measured = outcome.and_then(|outcome| outcome.base.as_ref()).map(|found| &found.values);
    let read = seen.base_content.as_ref().zip(task.base.as_ref()).filter(|_| outcome.is_none());
    let read = read.map(|(content, layer)| content.measurements(layer, vocabulary.table()));
    let base = base_saved.as_ref().or(measured).or(read.as_ref());
    let others: Vec<Option<Measurements>> = (0..seen.tuned.len())
        .map(|i| {
            let ((_, side), layer) = (&sides.tuned[i], task.tuned[i].as_ref());
            let unchanged = base.filter(|_| seen.tuned[i].standing == Some(Standing::Unchanged)).cloned();
            let entries = || Some(seen.tuned[i].content.as_ref()?.measurements(layer?, vocabulary.table()));
            saved(side, layer.map(AsRef::as_ref)).or(unchanged).or_else(entries)
        })
        .collect();
    let halves: Vec<Half<'_>> = (0..seen.tuned.len())
        .map(|i| {
            let tuned = outcome.and_then(|outcome| outcome.tuned.get(i)?.as_ref());
            Half {
                standing: seen.tuned[i].standing,
                retyped: seen.tuned[i].retyped,
                values: tuned.map(|tuned| &tuned.found.values).or(others[i].as_ref()),
                drifts: tuned.and_then(|tuned| tuned.drifts.as_deref()),
            }
        })
        .collect();
    vocabulary.values(base, &halves)
}

/// One word for how a matrix stands on all sides.
pub(super) fn summary(standings: &[Option<Standing>]) -> Standing {
    let all = |which: Standing| standings.iter().flatten().all(|standing| *standing == which);
    let same = [Standing::Unchanged, Standing::Added, Standing::Removed, Standing::Reshaped];
    same.into_iter().find(|standing| all(*standing)).unwrap_or(Standing::Measured)
}

fn totals(rows: &[Row], sides: &Sides, (skipped, filtered): (&[Skipped], usize), others: &[Row]) -> Totals {
    let is = |row: &Row, which| row.comparison.as_ref().is_some_and(|comparison| comparison.status == which);
    let count = |which| rows.iter().filter(|row| is(row, which)).count() as u64;
    let other = |which| others.iter().filter(|row| is(row, which)).count() as u64;
    let reused = sides.base.saved().is_some() && sides.tuned.iter().any(|(_, side)| side.weights().is_some());
    let entries = rows.iter().filter(|row| !is(row, Standing::Removed) && row.failed.is_none());
    Totals {
        measured: [Standing::Measured, Standing::Added, Standing::Reshaped].map(count).iter().sum(),
        tied: rows.iter().filter(|row| row.tied_to.is_some()).count() as u64,
        failed: count(Standing::Failed) + other(Standing::Failed),
        skipped: skipped.len() as u64,
        filtered: filtered as u64,
        parameters: entries.map(|row| row.shape[0] * row.shape[1]).sum(),
        compared: Some(Compared {
            unchanged: count(Standing::Unchanged),
            reused: if reused { count(Standing::Unchanged) } else { 0 },
            added: count(Standing::Added) + other(Standing::Added),
            removed: count(Standing::Removed) + other(Standing::Removed),
            reshaped: count(Standing::Reshaped) + other(Standing::Reshaped),
        }),
    }
}
