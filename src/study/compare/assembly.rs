//! From records to the report of a comparison.

use std::sync::Arc;

use super::other_tensors::OtherTensor;
use super::standing::summary;
use super::unpaired;
use crate::analysis::compare::{Half, Retyped, Vocabulary};
use crate::engine::heap;
use crate::layer::natural;
use crate::report::{
    Column, Compared, Drawings, Drawn, Measurements, MissingReason, Numbers, Report, Resolution, Row,
    RowValues, Standing, Value,
};
use crate::study::{Failure, Found, FoundPair, Ledger, Record, RowHeader, ties};
use crate::text::Text;

/// What the records of a comparison need beside its rows.
#[derive(Debug, Clone)]
pub struct PairHeaders {
    pub(super) vocabulary: Arc<Vocabulary>,
    /// For each row, whether its type differs from the base's, on each tuned side.
    pub(super) retyped: Vec<Vec<Retyped>>,
    /// What the tasks after those of the rows are about.
    pub(super) others: Arc<Vec<OtherTensor>>,
    /// Whether numbers of unchanged matrices come from a report.
    pub(super) reused: bool,
}

/// Completes `report` by what was found.
pub(crate) fn complete(
    report: &mut Report,
    (rows, headers): (Vec<RowHeader>, &PairHeaders),
    mut ledger: Ledger,
    failure: impl Fn(&Failure) -> String,
) {
    let names: Vec<Option<String>> = match &report.tuned[..] {
        [] => vec![None],
        several => several.iter().map(|named| Some(named.name.clone())).collect(),
    };
    let copies = ties::copies(rows.iter().enumerate().map(|(i, row)| match ledger.get(i)?.result {
        Ok(Found::Pair(found)) if found.measured => key(row, &found),
        _ => None,
    }));
    let (count, columns): (usize, Arc<[_]>) = (rows.len(), report.columns.as_slice().into());
    report.rows.reserve_exact(count);
    for (i, header) in rows.into_iter().enumerate() {
        let original = copies[i].map(|original| report.rows[original].name.clone());
        let mut row = header.row();
        fill(&mut row, (headers, &headers.retyped[i], &names, &columns), ledger.take(i), original, &failure);
        report.rows.push(row);
        if i % heap::BATCH == heap::BATCH - 1 {
            heap::give_back();
        }
    }
    let mut more = vec![];
    let headers_of_others = (&*headers.vocabulary, &columns);
    for at in 0..ledger.tasks().saturating_sub(count) {
        let contents = match ledger.take(count + at).map(|record| record.result) {
            Some(Ok(Found::Parts(found))) => {
                unpaired::fill(&mut report.rows, found);
                continue;
            }
            Some(Ok(Found::Bytes(contents))) => Ok(contents),
            Some(Ok(Found::Matrix(_) | Found::Pair(_) | Found::Rows(_))) | None => continue,
            Some(Err(error)) => Err(failure(&error)),
        };
        // What cannot be read of matrices that only one side has is told of their own rows.
        let Some(other) = headers.others.get(at) else { continue };
        match other.row(&contents, headers_of_others) {
            Some(row) => more.push(row),
            None => report.unlisted.unchanged.push(other.name().to_owned()),
        }
    }
    total(report, &more, headers.reused);
    report.rows.extend(more);
    report.rows.sort_by(|a, b| natural(&a.name, &b.name));
}

/// What a row is called equal by: a digest of type, shape and bytes on all sides.
pub(super) fn key(row: &RowHeader, found: &FoundPair) -> Option<[u8; 32]> {
    let hashes: Vec<&str> = found.tuned.iter().map(|side| side.blake3.as_deref()).collect::<Option<_>>()?;
    let comparison = row.comparison.as_ref().filter(|_| found.varies)?;
    let base = (&comparison.base_shape, &comparison.base_dtype, found.base_blake3.as_deref()?);
    let key = format!("{} {:?} {base:?} {hashes:?}", row.layer.stored_type(), row.shape());
    Some(*blake3::hash(key.as_bytes()).as_bytes())
}

/// The columns that all rows share.
type Columns = Arc<[&'static Column]>;

/// Puts into a row what was found of it.
fn fill(
    row: &mut Row,
    (headers, retyped, names, columns): (&PairHeaders, &[Retyped], &[Option<String>], &Columns),
    record: Option<Record>,
    original: Option<Text>,
    failure: &impl Fn(&Failure) -> String,
) {
    let (found, failed) = match record {
        Some(Record { result: Ok(Found::Pair(found)), .. }) => (Some(found), None),
        Some(Record { result: Err(error), before: Some(Found::Pair(found)), .. }) => {
            (Some(found), Some(failure(&error)))
        }
        Some(Record { result: Err(error), .. }) => (None, Some(failure(&error))),
        Some(Record { result: Ok(_), .. }) | None => (None, Some("not measured".to_owned())),
    };
    row.failed = failed;
    let Some(found) = found else { return };
    let found = *found;
    row.tied_to = original;
    let tuned = names
        .iter()
        .zip(&found.tuned)
        .map(|(name, side)| Drawn::new(name.as_deref().unwrap_or("tuned"), side.outline.clone()));
    let spectra = std::iter::once(Drawn::new("base", found.base_outline.clone())).chain(tuned);
    let spectra = spectra.filter(|drawn| !drawn.outline.is_empty()).collect();
    row.drawn = Drawings { spectra, directions: vec![] }.into();
    if let [side] = found.tuned.as_slice() {
        row.blake3.clone_from(&side.blake3);
        row.places = side.places.clone().into();
    }
    for flag in found.tuned.iter().flat_map(|side| &side.flags) {
        if !row.flags.contains(flag) {
            row.flags.push(*flag);
        }
    }
    if row.failed.is_none() {
        row.values = RowValues::in_columns(columns, values(&headers.vocabulary, &found, retyped));
        row.resolution = resolution(&found, names);
    }
    if let Some(comparison) = &mut row.comparison {
        if row.failed.is_none() {
            let standings: Vec<_> = found.tuned.iter().map(|side| side.standing).collect();
            comparison.status = summary(&standings);
        }
        comparison.base_blake3 = found.base_blake3;
    }
}

/// How small a number the spectra of a row resolve, the base's first.
fn resolution(found: &FoundPair, names: &[Option<String>]) -> Vec<Resolution> {
    let base = found.base_resolution.iter().map(|own| Resolution { base: true, ..own.clone() });
    let tuned = found.tuned.iter().zip(names);
    let tuned =
        tuned.filter_map(|(side, name)| Some(Resolution { side: name.clone(), ..side.resolution.clone()? }));
    base.chain(tuned).collect()
}

/// The numbers of a row in the columns of the comparison.
fn values(vocabulary: &Vocabulary, found: &FoundPair, retyped: &[Retyped]) -> Measurements {
    let columns = vocabulary.metrics();
    let measurements = |numbers: &Numbers| {
        let known = columns.iter().zip(numbers.iter());
        Measurements(known.filter_map(|(column, value)| Some((*column, value?))).collect())
    };
    let base = found.base.as_ref().map(measurements);
    let tuned: Vec<Option<Measurements>> =
        found.tuned.iter().map(|side| side.values.as_ref().map(measurements)).collect();
    let drifts: Vec<Option<Vec<Value>>> =
        found.tuned.iter().map(|side| side.drifts.as_ref().map(drifts)).collect();
    let halves: Vec<Half<'_>> = found
        .tuned
        .iter()
        .zip(retyped)
        .enumerate()
        .map(|(i, (side, retyped))| Half {
            standing: side.standing,
            retyped: *retyped,
            values: tuned[i].as_ref(),
            drifts: drifts[i].as_deref(),
        })
        .collect();
    vocabulary.values(base.as_ref(), &halves)
}

fn drifts(numbers: &Numbers) -> Vec<Value> {
    let none = Value::Missing(MissingReason::NotApplicable);
    numbers.iter().map(|value| value.unwrap_or(none)).collect()
}

/// Adds up what became of the matrices, and of the `others`.
fn total(report: &mut Report, others: &[Row], reused: bool) {
    let is = |row: &Row, which| row.comparison.as_ref().is_some_and(|comparison| comparison.status == which);
    let rows = &report.rows;
    let count = |which| rows.iter().filter(|row| is(row, which)).count() as u64;
    let both = |which| count(which) + others.iter().filter(|row| is(row, which)).count() as u64;
    let entries = rows.iter().filter(|row| !is(row, Standing::Removed) && row.failed.is_none());
    let totals = &mut report.totals;
    totals.measured = [Standing::Measured, Standing::Added, Standing::Reshaped].map(count).iter().sum();
    totals.tied = rows.iter().filter(|row| row.tied_to.is_some()).count() as u64;
    totals.failed = both(Standing::Failed);
    // A damaged report may tell of more than there can be.
    let entries = entries.map(|row| row.shape[0].saturating_mul(row.shape[1]));
    totals.parameters = entries.fold(0, u64::saturating_add);
    totals.compared = Some(Compared {
        unchanged: count(Standing::Unchanged),
        reused: if reused { count(Standing::Unchanged) } else { 0 },
        added: both(Standing::Added),
        removed: both(Standing::Removed),
        reshaped: both(Standing::Reshaped),
    });
}

/// The numbers of `values` in `columns`.
pub(super) fn numbers_of(values: &Measurements, columns: &[&'static Column]) -> Numbers {
    columns.iter().map(|column| values.get(column.key)).collect()
}
