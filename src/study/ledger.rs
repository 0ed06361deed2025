//! The records of a run, as they are found.

use super::{Found, Manifest, Record};
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

/// Records in memory, by the position of their task.
#[derive(Debug)]
pub struct Ledger {
    records: Vec<Option<Record>>,
    pictures: Pictures,
}

impl Ledger {
    /// One without records.
    pub fn new(pictures: Pictures) -> Self {
        Self { records: vec![], pictures }
    }

    /// Takes note of a record.
    pub fn write(&mut self, mut record: Record) {
        if self.pictures == Pictures::Dropped {
            match &mut record.result {
                Ok(Found::Matrix(found)) => (found.outline, found.drawn) = (vec![], Drawings::default()),
                Ok(Found::Pair(found)) => {
                    found.base_outline = vec![];
                    found.tuned.iter_mut().for_each(|side| side.outline = vec![]);
                }
                Ok(Found::Rows(rows)) => rows.iter_mut().for_each(|row| row.drawn = Drawings::default()),
                Ok(Found::Bytes(_) | Found::Parts(_)) | Err(_) => {}
            }
        }
        let task = record.task;
        if self.records.len() <= task {
            self.records.resize_with(task + 1, || None);
        }
        self.records[task] = Some(record);
    }

    /// The record of a task, if there is one.
    pub fn get(&self, task: usize) -> Option<&Record> {
        self.records.get(task)?.as_ref()
    }

    /// Takes out the spectra that were kept, with the names of their rows, in natural name order.
    pub fn take_spectra(&mut self, manifest: &Manifest) -> Vec<(String, Spectrum)> {
        let found = self.records.iter_mut().zip(&manifest.report.rows).filter_map(|(record, row)| {
            let Ok(Found::Matrix(found)) = &mut record.as_mut()?.result else { return None };
            Some((row.name.clone(), *found.spectrum.take()?))
        });
        found.collect()
    }

    /// All records, in the order of their tasks.
    pub fn into_records(self) -> Vec<Record> {
        let records = self.records.into_iter().flatten();
        // As they will come from a file: every test of the program sees that nothing is lost.
        if cfg!(debug_assertions) {
            records.map(|record| read_back(&record)).collect()
        } else {
            records.collect()
        }
    }
}

fn read_back(record: &Record) -> Record {
    let text = serde_json::to_string(record).expect("numbers, names and lists");
    serde_json::from_str(&text).expect("what was written")
}
