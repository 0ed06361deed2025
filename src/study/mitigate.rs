//! `--mitigate`: a copy of a fine-tune whose intruders are scaled, as a checkpoint or as an adapter of a given rank.
//!
//! It is written once everything was measured, so that a failure leaves nothing behind. LoRA and DoRA keep their form; an
//! adapter of another kind, whose form cannot hold the result, is written as plain LoRA.

mod module;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::carried::Carried;
use super::extract::{Targets, written_dtype};
use crate::analysis::extract::{Extracted, Keep, extract};
use crate::checkpoint::{Holds, Pairs};
use crate::error::{Error, quoted};
use crate::layer::{Filter, Layer};
use crate::low_rank::LowRank;
use crate::notation;
use crate::report::{Report, Row, SkipKind, Skipped, Value};
use crate::writing::{AdapterDialect, CheckpointCopy, Spool, has_place, write_adapter_with};
use module::{Module, set_ranks};

/// Where PEFT puts the settings of an adapter.
const CONFIG: &str = "adapter_config.json";

/// The copy to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Mitigation {
    /// The tuned side.
    pub from: PathBuf,
    /// Where the copy goes, as typed.
    pub out: PathBuf,
    /// The share of their strength that intruders keep.
    pub keep: f64,
    /// The rank of mitigated updates, if not the adapter's own.
    pub rank: Option<usize>,
}

/// The copy that was written.
struct Written {
    /// The share of each mitigated update's energy that was kept.
    kept: BTreeMap<String, f64>,
    /// The files that were not copied, for they are links out of the model's folder.
    left_out: Vec<String>,
    /// What else there is to say.
    told: &'static str,
}

impl Mitigation {
    /// Whether the copy can be written, changed where `filter` allows it: for the start of a long run.
    ///
    /// # Errors
    /// When the place is taken, the fine-tune is in a format that is not written, or the rank of an update is not known.
    pub fn check(&self, pairs: &Pairs, filter: &Filter) -> Result<(), Error> {
        let source = pairs.tuned();
        CheckpointCopy::check(&self.from, source, &self.out)?;
        if source.holds() != Holds::Updates || self.rank.is_some() {
            return Ok(());
        }
        let carried = Carried::of_adapter(source, &Filter::default());
        let whole = carried.names();
        let unranked = |layer: &&Arc<Layer>| layer.rank.is_none() && !whole.contains(layer.tensor.as_str());
        for layer in source.select(filter).layers.iter().filter(unranked) {
            if Module::new(source, layer)?.is_none() {
                self.rank_of(layer)?;
            }
        }
        Ok(())
    }

    /// Writes the copy of what `report` was measured on, and notes in it how. Gives the names of the files that were not
    /// copied, for they are links out of the model's folder.
    ///
    /// # Errors
    /// When the copy cannot be written.
    pub fn write(
        &self,
        report: &mut Report,
        corrections: &Spool,
        pairs: &Pairs,
    ) -> Result<Vec<String>, Error> {
        // A copy has the correction of the row that it is a copy of.
        let names = |row: &Row| {
            let known = [Some(&row.name), row.tied_to.as_ref()].into_iter().flatten();
            Some((row.name.to_string(), known.into_iter().find(|name| corrections.has(name))?.to_string()))
        };
        let names: Vec<(String, String)> = report.rows.iter().filter_map(names).collect();
        let corrected = names.iter().map(|(name, kept)| (name.as_str(), kept.as_str())).collect();
        let (count, Written { kept, left_out, told }) =
            (names.len(), self.copy(&corrected, corrections, pairs)?);
        report.notes.push(self.note(count, &kept) + told);
        for row in &mut report.rows {
            if let (Some(intruders), Some(kept)) = (&mut row.intruders, kept.get(row.name.as_str())) {
                intruders.energy_kept = Some(*kept);
            }
        }
        Ok(left_out)
    }

    fn note(&self, count: usize, kept: &BTreeMap<String, f64>) -> String {
        let mut note = format!(
            "{}: a copy whose intruders keep {} of their strength, {} changed",
            self.out.display(),
            notation::share(self.keep),
            notation::counted(count as u64, "matrix", "matrices")
        );
        if let Some(least) = kept.values().copied().min_by(f64::total_cmp) {
            note.push_str("; the updates' energy is kept to ");
            note.push_str(&notation::share(least));
            note.push_str(" or more");
        }
        note
    }

    /// Writes a copy with corrections added: to each matrix by its name the one that is kept under the other.
    fn copy(
        &self,
        corrected: &BTreeMap<&str, &str>,
        corrections: &Spool,
        pairs: &Pairs,
    ) -> Result<Written, Error> {
        let source = pairs.tuned().as_ref();
        if source.holds() == Holds::Updates {
            let module = |name: &&str| Module::new(source, &pairs.get(name)?.tuned);
            let modules = corrected.keys().map(module).collect::<Result<Option<Vec<Module>>, Error>>()?;
            return match modules {
                Some(modules) => self.in_its_form(corrected, &modules, corrections, pairs),
                None => self.as_lora(corrected, corrections, pairs),
            };
        }
        let copy = CheckpointCopy::new(&self.from, source, &self.out)?;
        for (name, key) in corrected {
            copy.add(source, &pairs.get(name)?.tuned, &kept(corrections, key)?)?;
        }
        finished(copy, BTreeMap::new())
    }

    /// The adapter with the same tensors.
    fn in_its_form(
        &self,
        corrected: &BTreeMap<&str, &str>,
        modules: &[Module],
        corrections: &Spool,
        pairs: &Pairs,
    ) -> Result<Written, Error> {
        let copy = CheckpointCopy::new(&self.from, pairs.tuned(), &self.out)?;
        let factors = Spool::beside(&self.out)?;
        let (mut shares, mut tensors, mut ranks) = (BTreeMap::new(), BTreeMap::new(), vec![]);
        for ((name, key), module) in corrected.iter().zip(modules) {
            let rank = self.rank.unwrap_or(module.rank());
            let correction = (*name, &kept(corrections, key)?);
            let (new, share) = module.corrected(correction, rank, (pairs, pairs.get(name)?), &factors)?;
            shares.insert((*name).to_owned(), share);
            if rank != module.rank() {
                ranks.push((module.name()?, rank, module.scale));
            }
            tensors.extend(new);
        }
        let shapes = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.axes())).collect();
        copy.replace(&shapes, &|name| tensors[name].read(&factors))?;
        if !ranks.is_empty() {
            copy.configure(CONFIG, |fields| set_ranks(fields, &ranks))?;
        }
        finished(copy, shares)
    }

    /// The adapter as plain LoRA, every update of it.
    fn as_lora(
        &self,
        corrected: &BTreeMap<&str, &str>,
        corrections: &Spool,
        pairs: &Pairs,
    ) -> Result<Written, Error> {
        CheckpointCopy::check(&self.from, pairs.tuned(), &self.out)?;
        let carried = Carried::of_adapter(pairs.tuned(), &Filter::default());
        let (source, whole) = (pairs.tuned().as_ref(), carried.names());
        let mut layers = source.select(&Filter::default()).layers;
        if let Some(layer) = layers.iter().find(|layer| {
            whole.contains(layer.tensor.as_str()) && corrected.contains_key(layer.name.as_str())
        }) {
            let reason = "has intruders, and is saved whole: leave it out with `--exclude`";
            return Err(Error::tensor(&self.from, &layer.tensor, reason));
        }
        layers.retain(|layer| !whole.contains(layer.tensor.as_str()));
        let unfit: Vec<&str> =
            layers.iter().map(|layer| layer.name.as_str()).filter(|name| pairs.get(name).is_err()).collect();
        if !unfit.is_empty() {
            let reason = format!("cannot be written as LoRA: the base has no {}", quoted(&unfit));
            return Err(Error::malformed(&self.from, reason));
        }
        let refused =
            |line: &Skipped| line.kind == SkipKind::Refused && !whole.contains(line.tensor.as_str());
        let skipped = source.select(&Filter::default()).skipped;
        if let Some(line) = skipped.iter().find(|line| refused(line)) {
            let reason = format!("cannot be written as plain LoRA: {}", line.reason);
            return Err(Error::tensor(&self.from, &line.tensor, reason));
        }
        let targets = Targets::new(&self.from, (&layers, source, Some(pairs)), &AdapterDialect::Peft)?;
        if !targets.left_out.is_empty() {
            let reason = format!("has updates that LoRA has no module for: {}", quoted(&targets.left_out));
            return Err(Error::malformed(&self.from, reason));
        }
        let (products, dtype) = (Spool::beside(&self.out)?, written_dtype(&layers, true));
        let (mut shares, mut modules) = (BTreeMap::new(), vec![]);
        for layer in &layers {
            let key = corrected.get(layer.name.as_str());
            let rank = self.rank_of(layer)?;
            let Extracted { measured, factors } = match key {
                Some(key) => {
                    let (sum, layer) = source.plus(layer, kept(corrections, key)?)?;
                    extract((&sum, None), &layer, Keep::Rank(rank), dtype)?
                }
                None => extract((source, None), layer, Keep::Rank(rank), dtype)?,
            };
            products.put(&layer.name, &factors)?;
            modules.extend(targets.module(&layer.name, factors.rank()));
            if let Some(share) = key.and_then(|_| measured.values.get("kept_energy")).and_then(Value::number)
            {
                shares.insert(layer.name.to_string(), share);
            }
        }
        let mut tensors = carried.tensors;
        tensors.retain(|tensor| has_place(tensor, &modules));
        let types = (dtype, None);
        write_adapter_with(&self.out, (&modules, &products), &tensors, &AdapterDialect::Peft, types)?;
        let told = "; written as plain LoRA, for its own form cannot hold it";
        Ok(Written { kept: shares, left_out: vec![], told })
    }

    /// The rank of an update as plain LoRA.
    fn rank_of(&self, layer: &Layer) -> Result<usize, Error> {
        let reason = "is written as plain LoRA, and has no rank of its own there; give `--rank`";
        self.rank.or(layer.rank).ok_or_else(|| Error::tensor(&self.from, &layer.tensor, reason))
    }
}

/// The correction that is kept under `key`.
fn kept(corrections: &Spool, key: &str) -> Result<LowRank, Error> {
    corrections.get(key)?.ok_or_else(|| Error::Contract(format!("`{key}`: no correction")))
}

fn finished(copy: CheckpointCopy, kept: BTreeMap<String, f64>) -> Result<Written, Error> {
    let left_out = copy.left_out().to_vec();
    copy.finish()?;
    Ok(Written { kept, left_out, told: "" })
}
