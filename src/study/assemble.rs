//! From records to a report: no checkpoint is opened, and the same records give the same report.

use std::sync::Arc;

use super::{
    Beside, Complete, Failure, Found, FoundMatrix, FoundRow, Manifest, MatrixHeaders, Record, RowHeaders,
    adapter, compare, intruders, spectrum, ties,
};
use crate::report::{Column, Report, Row, RowValues};

/// The report of a study whose tasks found `records`.
pub fn assemble(manifest: Manifest, records: Vec<Record>) -> Report {
    let Manifest { mut report, roots, complete } = manifest;
    let failure = |failure: &Failure| failure.text(&roots);
    match complete {
        Complete::Matrices(headers) => complete_matrices(&mut report, &headers, records, failure),
        Complete::Comparison(headers) => compare::complete(&mut report, &headers, records, failure),
        Complete::Rows(headers) => complete_rows(&mut report, &headers, records, failure),
    }
    report
}

fn complete_rows(
    report: &mut Report,
    RowHeaders { tasks }: &RowHeaders,
    records: Vec<Record>,
    failure: impl Fn(&Failure) -> String,
) {
    let columns: Arc<[_]> = report.columns.as_slice().into();
    let mut is_known = vec![false; report.rows.len()];
    for Record { task, result, .. } in records {
        match result {
            Ok(Found::Rows(rows)) => {
                for FoundRow { row: at, values, resolution, attention, drawn } in rows {
                    let Some(row) = report.rows.get_mut(at) else { continue };
                    row.values = RowValues::new(&columns, values);
                    (row.resolution, row.drawn) = (resolution, drawn);
                    row.attention = attention.or(row.attention.take());
                    is_known[at] = true;
                }
            }
            Ok(_) => {}
            Err(error) => {
                let why = failure(&error);
                for at in tasks.get(task).into_iter().flatten() {
                    report.rows[*at].failed = Some(why.clone());
                }
            }
        }
    }
    for (row, is_known) in report.rows.iter_mut().zip(&is_known) {
        if !is_known {
            row.failed.get_or_insert_with(|| "not measured".to_owned());
        }
    }
    report.totals.measured = is_known.iter().filter(|known| **known).count() as u64;
    report.totals.failed = report.failures().count() as u64;
}

fn complete_matrices(
    report: &mut Report,
    headers: &MatrixHeaders,
    records: Vec<Record>,
    failure: impl Fn(&Failure) -> String,
) {
    let MatrixHeaders { tensors, parameters, beside } = headers;
    let count = report.rows.len();
    let (mut rows, mut others) = (vec![None; count], vec![]);
    for Record { task, result, .. } in records {
        match (rows.get_mut(task), result) {
            (Some(row), Ok(Found::Matrix(found))) => *row = Some(Ok(found)),
            (Some(row), Err(failure)) => *row = Some(Err(failure)),
            (_, result) => others.push((task, result)),
        }
    }
    let copies = copies(&report.rows, &rows);
    let columns: Arc<[_]> = report.columns.as_slice().into();
    for (i, found) in rows.into_iter().enumerate() {
        let original = copies[i].map(|original| report.rows[original].name.clone());
        let row = &mut report.rows[i];
        match found {
            Some(Ok(found)) => {
                report.totals.measured += 1;
                report.totals.tied += u64::from(original.is_some());
                report.totals.parameters += if original.is_none() { parameters[i] } else { 0 };
                fill(row, *found, &columns, original);
            }
            Some(Err(error)) => row.failed = Some(failure(&error)),
            None => row.failed = Some("not measured".to_owned()),
        }
    }
    for (task, result) in others {
        let Some(at) = task.checked_sub(count).and_then(|at| tensors.get(at)) else { continue };
        report.skipped[*at].see(match result {
            Ok(Found::Bytes(contents)) => Ok(contents.into_iter().flatten().next()),
            Ok(Found::Matrix(_) | Found::Pair(_) | Found::Parts(_) | Found::Rows(_)) => Ok(None),
            Err(error) => Err(failure(&error)),
        });
    }
    report.totals.failed = report.failures().count() as u64;
    match beside {
        Beside::Nothing => {}
        Beside::Labels => {
            report.rows.iter_mut().for_each(|row| row.labels = Some(Box::new(spectrum::labels(row))));
        }
        Beside::Intruders(options) => intruders::sum_up(report, options),
        Beside::Adapter => adapter::sum_up(report),
    }
}

/// For each row the first one with the same content.
fn copies(rows: &[Row], found: &[Option<Result<Box<FoundMatrix>, Failure>>]) -> Vec<Option<usize>> {
    ties::copies(rows.iter().zip(found).map(|(row, found)| {
        let found = found.as_ref()?.as_ref().ok().filter(|found| found.varies)?;
        Some((&row.dtype, row.shape, &found.blake3, &found.base_blake3))
    }))
}

/// Puts into a row what was found of it.
fn fill(row: &mut Row, found: FoundMatrix, columns: &Arc<[&'static Column]>, original: Option<String>) {
    row.values = RowValues::new(columns, found.values);
    row.resolution = found.resolution.into_iter().collect();
    row.tied_to = original;
    row.blake3 = Some(found.blake3);
    row.flags.splice(0..0, found.flags);
    row.places = found.places;
    row.sketch = found.sketch;
    row.outline = found.outline;
    row.drawn = found.drawn;
    row.factors = found.factors;
    row.intruders = found.intruders;
}
