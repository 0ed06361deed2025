//! From records to a report: no checkpoint is opened, and the same records give the same report.

use std::sync::Arc;

use super::modules::DataModules;
use super::{
    Beside, Complete, Failure, Found, FoundMatrix, FoundRow, Ledger, Manifest, MatrixHeaders, RowHeader,
    TaskRows, adapter, compare, compensate, intruders, spectrum, ties, verify,
};
use crate::engine::heap;
use crate::report::{Column, Report, Row, RowValues};
use crate::spectrum::Spectrum;
use crate::text::Text;

impl Ledger {
    /// Takes out the spectra that were kept, with the names of their rows, in natural name order.
    pub fn take_spectra(&mut self, manifest: &Manifest) -> Vec<(Text, Spectrum)> {
        let named = |(task, spectrum)| Some((manifest.name(task)?.clone(), spectrum));
        self.spectra().into_iter().filter_map(named).collect()
    }
}

/// The report of a study whose tasks found the records of `ledger`.
pub fn assemble(manifest: Manifest, ledger: Ledger) -> Report {
    let Manifest { mut report, rows, roots, complete } = manifest;
    let failure = |failure: &Failure| failure.text(&roots);
    match complete {
        Complete::Matrices(headers) => {
            complete_matrices(&mut report, (rows, &headers), ledger, failure);
        }
        Complete::Comparison(headers) => {
            compare::complete(&mut report, (rows, &headers), ledger, failure);
        }
        Complete::Rows(tasks) => complete_rows(&mut report, &tasks, ledger, failure),
    }
    report
}

fn complete_rows(
    report: &mut Report,
    TaskRows { tasks }: &TaskRows,
    mut ledger: Ledger,
    failure: impl Fn(&Failure) -> String,
) {
    let columns: Arc<[_]> = report.columns.as_slice().into();
    let mut is_known = vec![false; report.rows.len()];
    for task in 0..ledger.tasks() {
        let Some(record) = ledger.take(task) else { continue };
        match record.result {
            Ok(Found::Rows(rows)) => {
                for FoundRow { row: at, values, resolution, attention, drawn } in rows {
                    let Some(row) = report.rows.get_mut(at) else { continue };
                    row.values = RowValues::new(&columns, values);
                    (row.resolution, *row.drawn) = (resolution, drawn);
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
    (rows, headers): (Vec<RowHeader>, &MatrixHeaders),
    mut ledger: Ledger,
    failure: impl Fn(&Failure) -> String,
) {
    let MatrixHeaders { tensors, parameters, beside } = headers;
    let (copies, count) = (copies(&rows, &ledger), rows.len());
    let columns: Arc<[_]> = report.columns.as_slice().into();
    report.rows.reserve_exact(count);
    for (i, header) in rows.into_iter().enumerate() {
        let original = copies[i].map(|original| report.rows[original].name.clone());
        let mut row = header.row();
        match ledger.take(i).map(|record| record.result) {
            Some(Ok(Found::Matrix(found))) => {
                report.totals.measured += 1;
                report.totals.tied += u64::from(original.is_some());
                report.totals.parameters += if original.is_none() { parameters[i] } else { 0 };
                fill(&mut row, *found, &columns, original);
            }
            Some(Err(error)) => row.failed = Some(failure(&error)),
            Some(Ok(_)) | None => row.failed = Some("not measured".to_owned()),
        }
        report.rows.push(row);
        if i % heap::BATCH == heap::BATCH - 1 {
            heap::give_back();
        }
    }
    let others = (count..ledger.tasks()).filter_map(|task| Some((task, ledger.take(task)?.result)));
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
        Beside::Verified(method) => verify::sum_up(report, *method),
        Beside::LeftOut(names) => report.notes.extend(DataModules::note(names)),
        Beside::Compensated(options) => compensate::sum_up(report, options),
    }
}

/// For each row the first one with the same content.
fn copies(rows: &[RowHeader], ledger: &Ledger) -> Vec<Option<usize>> {
    ties::copies(rows.iter().enumerate().map(|(i, row)| {
        let Ok(Found::Matrix(found)) = ledger.get(i)?.result else { return None };
        let FoundMatrix { blake3, base_blake3, .. } = found.varies.then_some(*found)?;
        // A digest takes less than the texts of all rows.
        let key = format!("{} {:?} {blake3} {base_blake3:?}", row.layer.stored_type(), row.shape());
        Some(*blake3::hash(key.as_bytes()).as_bytes())
    }))
}

/// Puts into a row what was found of it.
fn fill(row: &mut Row, found: FoundMatrix, columns: &Arc<[&'static Column]>, original: Option<Text>) {
    row.values = RowValues::new(columns, found.values);
    row.resolution = found.resolution.into_iter().collect();
    row.tied_to = original;
    row.blake3 = Some(found.blake3);
    row.flags.splice(0..0, found.flags);
    row.places = found.places.into();
    row.sketch = found.sketch;
    row.outline = found.outline;
    row.drawn = found.drawn.into();
    row.factors = found.factors;
    row.lists = found.lists.into();
    row.intruders = found.intruders;
}
