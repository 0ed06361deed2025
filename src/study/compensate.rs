//! `compare --compensate`: what an adapter of several ranks would give back of a compressed model, a row a matrix.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::matrices::{Copies, Method};
use super::modules::{DataModules, is_chosen};
use super::{Beside, CompensationOptions, FoundMatrix, Matrices, Opened, Spectra};
use crate::analysis::Measured;
use crate::analysis::budget::spend;
use crate::analysis::compensate::{self, Compensated, Compressed};
use crate::checkpoint::{ContentId, DataKind, LayerData, Pairs};
use crate::error::{Error, quoted};
use crate::layer::{Filter, Layer};
use crate::notation;
use crate::pair::Unpaired;
use crate::report::{Column, Report, Row, Value};

/// The options.
#[derive(Debug, Clone)]
pub struct CompensateRequest {
    /// The ranks, which ascend.
    pub ranks: Vec<usize>,
    /// A file with what modules get as inputs.
    pub data: Option<(DataKind, PathBuf)>,
}

impl CompensateRequest {
    /// Every column, in report order.
    pub fn columns(&self) -> Vec<&'static Column> {
        compensate::columns(&self.ranks, self.data.is_some())
    }

    /// The tasks over the matrices of `opened`, a compressed model beside its original, that `filter` keeps: without globs
    /// those in numbered blocks.
    ///
    /// # Errors
    /// When there is none, no original, or data of one are missing.
    pub fn plan(
        self,
        opened: Opened,
        filter: &Filter,
        columns: &[&'static Column],
    ) -> Result<Matrices, Error> {
        let missing = || Error::Contract("a compressed model without its original".to_owned());
        let pairs = opened.pairs.clone().ok_or_else(missing)?;
        let lost = lost(&pairs, filter);
        if !lost.is_empty() {
            let reason = format!(
                "lacks {} of the original, or has them in another shape: {}; `--exclude` leaves them out",
                notation::counted(lost.len() as u64, "matrix", "matrices"),
                quoted(&lost)
            );
            return Err(Error::malformed(Path::new(&opened.origin.path), reason));
        }
        let modules = DataModules::new(&opened, filter)?;
        let filter = &modules.filter(filter);
        let data = self.data.as_ref().map(|file| modules.data(file)).transpose()?;
        let origins = opened.base.iter().chain([&opened.origin]);
        let sides: Vec<String> = origins.map(|origin| origin.path.clone()).collect();
        let ranks: Vec<String> = self.ranks.iter().map(usize::to_string).collect();
        let inputs = match &self.data {
            None => "none",
            Some((DataKind::Inputs, _)) => "inputs",
            Some(_) => "covariances",
        };
        let digest = data.as_ref().map(LayerData::digest).transpose()?;
        let inputs = [Some(inputs), digest.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let options = CompensationOptions {
            ranks: self.ranks.clone(),
            has_inputs: data.is_some(),
            left_out: modules.left_out.clone(),
        };
        let method = Method {
            command: "compare",
            columns: self.columns(),
            shown: columns.to_vec(),
            parts: vec![],
            kept_by: None,
            settings: vec![("compensate", ranks.join(",")), ("data", inputs)],
            cost: {
                let (ranks, has_inputs) = (self.ranks.clone(), data.is_some());
                Box::new(move |layer| compensate::cost(layer, &ranks, has_inputs))
            },
            base: Some(Arc::clone(&pairs)),
            copies: Copies::Done,
            beside: Beside::Compensated(options),
            measure: Box::new(move |_, layer: &Layer, _| {
                let pair = pairs.get(&layer.name)?;
                let original = pairs.base().read(&pair.base, 0..pair.base.rows)?;
                let compressed = pairs.tuned().read(&pair.tuned, 0..pair.tuned.rows)?;
                for (path, layer, matrix) in
                    [(&sides[0], &pair.base, &original), (&sides[1], &pair.tuned, &compressed)]
                {
                    if !matrix.is_finite() {
                        let reason = "holds NaN or infinite entries";
                        return Err(Error::tensor(Path::new(path), &layer.tensor, reason));
                    }
                }
                let identity = ContentId::of_matrix(&compressed);
                let moments = data.as_ref().map(|data| data.moments(&layer.name)).transpose()?;
                let [original, compressed] =
                    [original, compressed].map(|matrix| modules.upright(&layer.name, matrix));
                let of = Compressed {
                    original: &original,
                    compressed: &compressed,
                    moments: moments.as_ref(),
                    layer,
                };
                let found = compensate::measure(&of, &self.ranks).map_err(|error| match (error, &data) {
                    (Error::Usage(reason), Some(data)) => Error::tensor(data.path(), &layer.name, reason),
                    (error, _) => error,
                });
                let Compensated { values, lists, spectrum } = found?;
                let measured = Measured { values, spectrum, ..Measured::nothing(identity) };
                Ok(FoundMatrix { lists, ..FoundMatrix::new(measured, layer, Spectra::Dropped) })
            }),
        };
        Matrices::new(opened, filter, method)
    }
}

/// The matrices of the original that have no counterpart of their shape, of those that are asked about.
fn lost(pairs: &Pairs, filter: &Filter) -> Vec<String> {
    let layer = |unpaired: &Unpaired| match unpaired {
        Unpaired::Removed(layer) | Unpaired::Ambiguous(layer) => Some(Arc::clone(layer)),
        Unpaired::Reshaped(pair) => Some(Arc::clone(&pair.base)),
        Unpaired::Added(_) => None,
    };
    let lost = pairs.unpaired().iter().filter_map(layer);
    let lost = lost.filter(|layer| filter.keeps(&layer.name) && is_chosen(layer, filter));
    lost.map(|layer| layer.name.to_string()).collect()
}

/// Spends the parameters of the smallest rank where they save the most, and says what each rank would do to the whole model.
pub(super) fn sum_up(report: &mut Report, options: &CompensationOptions) {
    let CompensationOptions { ranks, has_inputs, left_out } = options;
    let mut notes = vec![];
    let (before, after, what) = match has_inputs {
        true => ("output_error", ["svd_output_error", "eora_output_error"], "the outputs"),
        false => ("delta_frobenius_ratio", ["svd_error", ""], "the weights"),
    };
    let number = |row: &Row, key: &str| row.values.get(key).and_then(Value::number);
    let measured: Vec<usize> =
        (0..report.rows.len()).filter(|i| number(&report.rows[*i], before).is_some()).collect();
    let rms = |key: &str| {
        let errors = measured.iter().filter_map(|i| number(&report.rows[*i], key));
        (errors.map(|x| x * x).sum::<f64>() / measured.len() as f64).sqrt()
    };
    let sides = |i: usize| report.rows[i].shape.iter().sum::<u64>();
    let entries: u64 = measured.iter().map(|i| report.rows[*i].shape.iter().product::<u64>()).sum();
    if !measured.is_empty() {
        let mean = "the root mean square over";
        let count = notation::counted(measured.len() as u64, "matrix", "matrices");
        notes.push(format!("error of {what}, {mean} {count}: {}", notation::share(rms(before))));
    }
    for rank in ranks.iter().filter(|_| !measured.is_empty()) {
        let ways = after.iter().zip(["SVD", "EoRA"]).filter(|(family, _)| !family.is_empty());
        let told = |(family, way): (&&str, &str)| {
            format!("{} by {way}", notation::share(rms(&format!("{family}_{rank}"))))
        };
        let ways: Vec<String> = ways.map(told).collect();
        let key = format!("compensation_parameters_{rank}");
        let sum: f64 = measured.iter().filter_map(|i| number(&report.rows[*i], &key)).sum();
        notes.push(format!(
            "rank {rank} leaves {}; {} parameters, {} of those they correct",
            ways.join(", "),
            notation::count(sum as u64),
            notation::share(sum / entries as f64)
        ));
    }
    let gains: Vec<Vec<f64>> = measured.iter().map(|i| gains(&report.rows[*i], before, ranks)).collect();
    let costs: Vec<u64> = measured.iter().map(|i| sides(*i)).collect();
    let smallest = ranks.first().copied().unwrap_or(0);
    let short = |i: usize| report.rows[i].shape.iter().min().copied().unwrap_or(0);
    let budget = measured.iter().map(|i| (smallest as u64).min(short(*i)) * sides(*i)).sum();
    let best = spend(&gains, &costs, budget);
    let left = measured.iter().zip(&gains).zip(&best).map(|((i, gains), rank)| {
        let error = number(&report.rows[*i], before).unwrap_or(0.0);
        (error * error - gains[..*rank].iter().sum::<f64>()).max(0.0)
    });
    let left = (left.sum::<f64>() / measured.len() as f64).sqrt();
    if let (Some(least), Some(most)) = (best.iter().min(), best.iter().max()) {
        let name = |rank| measured[best.iter().position(|r| r == rank).unwrap_or(0)];
        let (low, high) = (&report.rows[name(least)].name, &report.rows[name(most)].name);
        notes.push(format!(
            "the parameters of rank {smallest}, spent where they take most away, leave {}: ranks from {least} ({low}) to {most} ({high}) in `best_rank`",
            notation::share(left)
        ));
    }
    for ((i, rank), cost) in measured.iter().zip(&best).zip(&costs) {
        report.rows[*i].values.set("best_rank", Value::count(*rank));
        report.rows[*i].values.set("best_parameters", Value::Count(*rank as u64 * cost));
    }
    notes.extend(DataModules::note(left_out));
    report.notes.splice(0..0, notes);
}

/// What each direction takes of the square of the error, against the size of the weight or its outputs.
fn gains(row: &Row, before: &str, ranks: &[usize]) -> Vec<f64> {
    let number = |key: &str| row.values.get(key).and_then(Value::number).unwrap_or(0.0);
    let (list, norm) = match before {
        "output_error" => ("output_error_spectrum", "output_error_norm"),
        _ => ("error_spectrum", "error_norm"),
    };
    let (ratio, norm) = (number(before), number(norm));
    let most = ranks.last().map_or(0, |most| compensate::RHO * most);
    let share = |s: f64| if norm > 0.0 { (s / norm * ratio).powi(2) } else { 0.0 };
    row.lists.get(list).into_iter().take(most).map(share).collect()
}
