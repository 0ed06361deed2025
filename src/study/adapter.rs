//! `adapter inspect`: what is in an adapter, a row a module.

use std::collections::BTreeMap;

use super::matrices::{Copies, Method};
use super::{Beside, FoundMatrix, Matrices, Opened, Spectra};
use crate::analysis::adapter::{self, ModuleMeasured, columns::columns};
use crate::error::Error;
use crate::layer::{Filter, Layer};
use crate::notation;
use crate::report::{Column, Origin, Report, Row, Value};

/// The options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdapterRequest {
    /// Whether there is a base.
    pub base: bool,
    /// Whether an output needs whole spectra.
    pub spectra: Spectra,
}

impl AdapterRequest {
    /// Every column, in report order.
    pub fn columns(&self) -> Vec<&'static Column> {
        columns(self.base)
    }

    /// The tasks over the updates of `opened` that `filter` keeps.
    ///
    /// # Errors
    /// When there is none.
    pub fn plan(self, opened: Opened, filter: &Filter) -> Result<Matrices, Error> {
        let pairs = opened.pairs.clone();
        let method = Method {
            command: "adapter inspect",
            columns: self.columns(),
            shown: self.columns(),
            parts: vec![],
            kept_by: (self.spectra == Spectra::Dropped).then(String::new),
            settings: vec![],
            cost: {
                let pairs = pairs.clone();
                Box::new(move |layer| adapter::cost(pairs.as_deref(), layer))
            },
            copies: if self.spectra == Spectra::Dropped { Copies::Recalled } else { Copies::Spared },
            beside: Beside::Adapter,
            base: pairs.clone(),
            measure: Box::new(move |source, layer: &Layer, _| {
                let ModuleMeasured { measured, base, detail } =
                    adapter::measure(source, pairs.as_deref(), layer)?;
                Ok(FoundMatrix {
                    base_blake3: base.map(|base| base.hex()),
                    factors: Some(Box::new(detail)),
                    ..FoundMatrix::new(measured, layer, self.spectra)
                })
            }),
        };
        Matrices::new(opened, filter, method)
    }
}

/// Adds what all modules say together: what made them, and the losses of SORSA and KaSA.
pub(super) fn sum_up(report: &mut Report) {
    let mut notes = made_by(&report.rows);
    notes.extend(losses(&report.rows));
    report.notes.splice(0..0, notes);
}

fn made_by(rows: &[Row]) -> Vec<String> {
    let mut counts: BTreeMap<Origin, usize> = BTreeMap::new();
    let measured: Vec<&Row> = rows.iter().filter(|row| row.factors.is_some()).collect();
    for origin in measured.iter().filter_map(|row| row.factors.as_ref()).flat_map(|detail| &detail.made_by) {
        *counts.entry(*origin).or_default() += 1;
    }
    let line = |(origin, count): (Origin, usize)| {
        let (all, modules) = (measured.len(), if measured.len() == 1 { "module" } else { "modules" });
        format!("{} of {} {modules}: {origin}", notation::count(count as u64), notation::count(all as u64))
    };
    counts.into_iter().map(line).collect()
}

/// The regularizers that SORSA and KaSA train with, as they would be now.
fn losses(rows: &[Row]) -> Option<String> {
    let number = |row: &Row, key: &str| row.values.get(key).and_then(Value::number);
    let defects: Vec<f64> = rows
        .iter()
        .filter_map(|row| Some([number(row, "defect_a")?, number(row, "defect_b")?]))
        .flatten()
        .collect();
    if defects.is_empty() {
        return None;
    }
    let sum: f64 = defects.iter().sum();
    let diagonals = rows.iter().filter_map(|row| row.factors.as_ref()).flat_map(|detail| &detail.diagonal);
    let squares: f64 = diagonals.map(|d| d * d).sum();
    let kasa = if squares > 0.0 {
        format!("; KaSA's, β = 1e-4 and γ = 1e-3: {}", notation::real(1e-4 * squares + 1e-3 * sum))
    } else {
        String::new()
    };
    Some(format!(
        "SORSA's loss, the mean defect of all A and B: {}{kasa}",
        notation::real(sum / defects.len() as f64)
    ))
}
