//! The records of a run, as they are found.
//!
//! A large model has a hundred thousand of them, so each is kept in a few hundred bytes and read back when its turn comes.

use std::collections::BTreeMap;

use super::{Found, Record};
use crate::report::Drawings;
use crate::spectrum::Spectrum;

/// Whether an output draws what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pictures {
    /// One does.
    Kept,
    /// None does: what pictures alone are drawn from is dropped as it comes.
    Dropped,
}

/// Points of outlines that are kept of all matrices together.
const POINTS: usize = 2_000_000;
/// With fewer points for each matrix its sketch is drawn; those of a comparison have none.
const FEWEST_POINTS: usize = 32;

/// Records in memory, by the position of their task.
#[derive(Debug)]
pub struct Ledger {
    records: Vec<Option<Box<[u8]>>>,
    /// Whole spectra, where outputs need them.
    spectra: BTreeMap<usize, Spectrum>,
    pictures: Pictures,
}

impl Ledger {
    /// One without records, for so many tasks.
    pub fn new(pictures: Pictures, tasks: usize) -> Self {
        Self { records: vec![None; tasks], spectra: BTreeMap::new(), pictures }
    }

    /// Takes note of a record.
    ///
    /// # Panics
    /// Never: a record is plain data.
    pub fn write(&mut self, mut record: Record) {
        let (is_kept, each) = (self.pictures == Pictures::Kept, POINTS / self.records.len().max(1));
        let most = if is_kept && each >= FEWEST_POINTS { each } else { 0 };
        let task = record.task;
        match &mut record.result {
            Ok(Found::Matrix(found)) => {
                thin(&mut found.outline, most);
                found.drawn.spectra.iter_mut().for_each(|drawn| thin(&mut drawn.outline, most));
                if !is_kept {
                    found.drawn = Drawings::default();
                }
                self.spectra.extend(found.spectrum.take().map(|spectrum| (task, *spectrum)));
            }
            Ok(Found::Pair(found)) => {
                let all = 1 + found.tuned.len();
                let most = if is_kept { each.max(FEWEST_POINTS) } else { 0 };
                thin(&mut found.base_outline, most / all);
                found.tuned.iter_mut().for_each(|side| thin(&mut side.outline, most / all));
            }
            Ok(Found::Rows(rows)) if !is_kept => {
                rows.iter_mut().for_each(|row| row.drawn = Drawings::default());
            }
            Ok(Found::Rows(_) | Found::Bytes(_) | Found::Parts(_)) | Err(_) => {}
        }
        let bytes = postcard::to_stdvec(&record).expect("numbers, names and lists");
        if self.records.len() <= task {
            self.records.resize(task + 1, None);
        }
        self.records[task] = Some(bytes.into());
    }

    /// The record of a task, if there is one.
    ///
    /// # Panics
    /// Never: it reads back as it was written.
    pub fn get(&self, task: usize) -> Option<Record> {
        let bytes = self.records.get(task)?.as_ref()?;
        Some(postcard::from_bytes(bytes).expect("what was written"))
    }

    /// Whether there is a record of a task.
    pub fn has(&self, task: usize) -> bool {
        self.records.get(task).is_some_and(Option::is_some)
    }

    /// Takes out the record of a task, if there is one.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    pub fn take(&mut self, task: usize) -> Option<Record> {
        let record = self.get(task)?;
        self.records[task] = None;
        // As it would come from a file: every test of the program sees that nothing is lost.
        if cfg!(debug_assertions) {
            let text = serde_json::to_string(&record).expect("numbers, names and lists");
            return Some(serde_json::from_str(&text).expect("what was written"));
        }
        Some(record)
    }

    /// How many tasks it is for.
    pub fn tasks(&self) -> usize {
        self.records.len()
    }

    /// Takes out the spectra that were kept, by their tasks.
    pub(super) fn spectra(&mut self) -> BTreeMap<usize, Spectrum> {
        std::mem::take(&mut self.spectra)
    }

    /// All records, in the order of their tasks, without the spectra that were kept.
    pub fn into_records(mut self) -> Vec<Record> {
        (0..self.records.len()).filter_map(|task| self.take(task)).collect()
    }
}

impl FromIterator<Record> for Ledger {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        let mut ledger = Self::new(Pictures::Kept, 0);
        records.into_iter().for_each(|record| ledger.write(record));
        ledger
    }
}

/// Leaves at most so many of `points`: the first and the last, and between them ever fewer, as pictures of spectra need them.
fn thin(points: &mut Vec<(usize, f64)>, most: usize) {
    let all = points.len();
    if all <= most {
        return;
    }
    let place = |i: usize| {
        let share = i as f64 / most.saturating_sub(1).max(1) as f64;
        ((all as f64).powf(share).round() as usize).clamp(1, all) - 1
    };
    let mut places: Vec<usize> = (0..most).map(place).collect();
    places.dedup();
    *points = places.into_iter().map(|place| points[place]).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_outline_has_its_ends_and_most_of_its_start() {
        let outline: Vec<(usize, f64)> = (0..200).map(|i| (i, 1.0 / (1 + i) as f64)).collect();
        let mut thinned = outline.clone();
        thin(&mut thinned, 20);
        assert!(thinned.len() <= 20 && thinned.windows(2).all(|pair| pair[0].0 < pair[1].0), "{thinned:?}");
        assert_eq!(thinned[..4], outline[..4]);
        assert_eq!(thinned.last(), outline.last());
        thin(&mut thinned, 0);
        assert_eq!(thinned, []);
    }
}
