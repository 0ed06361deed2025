//! `adapter extract` and `adapter resize`: updates cut to a few directions, written as an adapter of plain LoRA.
//!
//! Tasks spool the factors that they find; the folder is written when all of them are there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::carried::Carried;
use super::matrices::{Copies, Method};
use super::{Beside, FoundMatrix, Matrices, Opened, Spectra};
use crate::analysis::extract::{self, EXTRACTED, Extracted, Keep};
use crate::checkpoint::{Catalogue, FactorNames, Pairs, factor_names};
use crate::error::{Error, quoted};
use crate::layer::{Filter, Layer, Part, Purpose, purpose};
use crate::matrix::Dtype;
use crate::notation;
use crate::report::{Column, Report, Value};
use crate::writing::{
    AdapterDialect, AdapterModule, CarriedTensor, Kept, ModuleKind, Spool, has_place, write_adapter_with,
};

/// The options.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtractRequest {
    /// `adapter extract` or `adapter resize`.
    pub command: &'static str,
    /// How many directions a matrix keeps.
    pub keep: Keep,
    /// The same by the matrix's name, where they differ.
    pub ranks: Option<BTreeMap<String, usize>>,
    /// How `keep` was asked for, in words.
    pub asked: (&'static str, String),
    /// The type that factors are written in.
    pub dtype: Dtype,
}

/// Where the updates of a study go.
pub struct Targets {
    /// The module of each matrix.
    modules: BTreeMap<String, (String, ModuleKind, (usize, usize))>,
    /// Matrices that are not a module of their own.
    pub left_out: Vec<String>,
}

impl ExtractRequest {
    /// Every column, in report order.
    pub fn columns() -> Vec<&'static Column> {
        EXTRACTED.iter().collect()
    }

    /// The tasks over the updates of `opened` that `filter` keeps; `products` takes their factors.
    ///
    /// # Errors
    /// When there is none.
    pub fn plan(self, opened: Opened, filter: &Filter, products: &Arc<Spool>) -> Result<Matrices, Error> {
        let (pairs, products) = (opened.pairs.clone(), Arc::clone(products));
        let Self { keep, ranks, dtype, .. } = self.clone();
        let keep = move |layer: &Layer| match &ranks {
            Some(ranks) => Keep::Rank(ranks.get(layer.name.as_str()).copied().unwrap_or(0)),
            None => keep,
        };
        let (asked, value) = self.asked;
        let method = Method {
            command: self.command,
            columns: Self::columns(),
            shown: Self::columns(),
            parts: vec![],
            kept_by: None,
            settings: vec![(asked, value), ("dtype", dtype.name().to_owned())],
            cost: {
                let keep = keep.clone();
                Box::new(move |layer| extract::cost(layer, keep(layer)))
            },
            base: pairs.clone(),
            copies: Copies::Done,
            beside: Beside::Nothing,
            measure: Box::new(move |source, layer: &Layer, _| {
                let Extracted { measured, factors } =
                    extract::extract((source, pairs.as_deref()), layer, keep(layer), dtype)?;
                products.put(&layer.name, &factors)?;
                Ok(FoundMatrix::new(measured, layer, Spectra::Dropped))
            }),
        };
        Matrices::new(opened, filter, method)
    }
}

impl Targets {
    /// The modules that the matrices of `study` belong to.
    ///
    /// # Errors
    /// When the name of one is not known without the base.
    pub fn new(
        of: &Path,
        (layers, source, pairs): (&[Arc<Layer>], &Catalogue, Option<&Pairs>),
        dialect: &AdapterDialect,
    ) -> Result<Self, Error> {
        let (mut modules, mut left_out) = (BTreeMap::new(), vec![]);
        let turned = pairs.is_some_and(|pairs| has_turned_layers(pairs.base()));
        for layer in layers {
            let target = match pairs {
                Some(pairs) => of_base(&pairs.get(&layer.name)?.base, turned),
                None => of_adapter(of, source, layer, dialect)?,
            };
            match target {
                Some((_, ModuleKind::Embedding)) | None if *dialect != AdapterDialect::Peft => {
                    left_out.push(layer.name.to_string());
                }
                Some((name, kind)) => {
                    modules.insert(layer.name.to_string(), (name, kind, (layer.rows, layer.cols)));
                }
                None => left_out.push(layer.name.to_string()),
            }
        }
        Ok(Self { modules, left_out })
    }

    /// The module of the matrix called `key`, with so many directions.
    pub fn module(&self, key: &str, rank: usize) -> Option<AdapterModule> {
        let (name, kind, shape) = self.modules.get(key).filter(|_| rank > 0)?.clone();
        Some(AdapterModule {
            name,
            kind,
            key: key.to_owned(),
            rank,
            shape,
            alpha: rank as f64,
            diagonal: vec![],
        })
    }

    /// Writes the adapter that `report` tells of with what is `carried`, and notes in it what it does not hold.
    ///
    /// # Errors
    /// When nothing has changed, or something cannot be written.
    pub fn write(
        &self,
        report: &mut Report,
        (out, dialect): (&Path, &AdapterDialect),
        products: &Spool,
        carried: Carried,
        (dtype, base): (Dtype, Option<&str>),
    ) -> Result<(), Error> {
        let kept = report.rows.iter().map(|row| {
            let rank = row.values.get("kept_rank").and_then(Value::number).unwrap_or(0.0) as usize;
            (row.name.as_str(), rank)
        });
        let kept: Vec<(&str, usize)> = kept.collect();
        let modules: Vec<AdapterModule> =
            kept.iter().filter_map(|(key, rank)| self.module(key, *rank)).collect();
        if modules.is_empty() {
            let reason = "nothing was written: no matrix that an adapter can hold was changed";
            return Err(Error::malformed(out, reason));
        }
        let is_kept =
            |tensor: &CarriedTensor| *dialect == AdapterDialect::Peft && has_place(tensor, &modules);
        let (tensors, without): (Vec<_>, Vec<_>) = carried.tensors.into_iter().partition(is_kept);
        write_adapter_with(out, (&modules, products), &tensors, dialect, (dtype, base))?;
        let empty = kept.iter().filter(|(_, rank)| *rank == 0).count();
        report.notes.push(format!(
            "{}: {} of {}, of rank {} in all{}{}",
            out.display(),
            modules.len(),
            notation::counted(kept.len() as u64, "matrix", "matrices"),
            modules.iter().map(|module| module.rank).sum::<usize>(),
            if empty > 0 { format!("; {empty} without a direction to keep") } else { String::new() },
            told(&tensors),
        ));
        let vectors: Vec<String> =
            without.into_iter().map(|tensor| tensor.stored).chain(carried.left_out).collect();
        if !vectors.is_empty() {
            let count = notation::counted(vectors.len() as u64, "tensor was", "tensors were");
            report.notes.push(format!("! {count} trained, too, and not written: {}", quoted(&vectors)));
        }
        if !self.left_out.is_empty() {
            let what = "not in the adapter, for no module of their own holds them";
            report.notes.push(format!("! {what}: {}", quoted(&self.left_out)));
        }
        Ok(())
    }
}

/// The type that all factors of an adapter have; f32 where they differ, or of a fine-tune that is not in doubles.
pub fn written_dtype(layers: &[Arc<Layer>], of_factors: bool) -> Dtype {
    let first = layers.first().map_or(Dtype::F32, |layer| layer.dtype);
    let all = layers.iter().all(|layer| layer.dtype == first);
    let is_kept = of_factors && matches!(first, Dtype::F16 | Dtype::Bf16) || first == Dtype::F64;
    if all && is_kept { first } else { Dtype::F32 }
}

/// Whether linear layers are stored inputs × outputs, as GPT-2's `Conv1D` does: its `c_fc` widens, so that it has more
/// columns than rows.
pub(super) fn has_turned_layers(base: &Catalogue) -> bool {
    let layers = base.select(&Filter::default()).layers;
    layers.iter().any(|layer| layer.name.ends_with("mlp.c_fc") && layer.rows < layer.cols)
}

/// The module that a matrix of the base is the weight of.
pub(super) fn of_base(layer: &Layer, turned: bool) -> Option<(String, ModuleKind)> {
    const TURNED: [&str; 4] = ["c_attn", "c_proj", "c_fc", "q_attn"];
    let name = layer.tensor.strip_suffix(".weight")?;
    let whole = layer.part == Part::Whole && layer.stored_shape.iter().product::<usize>() == layer.len();
    let last = name.rsplit('.').next().unwrap_or_default();
    let kind = match &layer.stored_shape[..] {
        _ if !whole => return None,
        [_, _] if purpose(&layer.name) == Purpose::Norm => return None,
        [_, _] if purpose(&layer.name) == Purpose::Table => ModuleKind::Embedding,
        [_, _] if turned && TURNED.contains(&last) => ModuleKind::Turned,
        [_, _] => ModuleKind::Linear,
        [outputs, axes @ ..] if *outputs == layer.rows => {
            ModuleKind::Kernel(axes.iter().map(|n| *n as u64).collect())
        }
        _ => return None,
    };
    Some((name.to_owned(), kind))
}

/// The module that an update is of, as the adapter names it.
fn of_adapter(
    of: &Path,
    source: &Catalogue,
    layer: &Layer,
    dialect: &AdapterDialect,
) -> Result<Option<(String, ModuleKind)>, Error> {
    let needs = |reason: &str| Err(Error::tensor(of, &layer.tensor, format!("{reason}; give `--base`")));
    let Some(update) = source.update(layer) else { return Ok(None) };
    let Some(FactorNames { module, down, embedding, foreign, .. }) = factor_names(&update.tensors) else {
        return needs("tells its module's kind of layer only beside the base");
    };
    if foreign && *dialect == AdapterDialect::Peft {
        return needs("tells its module's name in the model only beside the base");
    }
    let shape = source.tensors().iter().find(|tensor| tensor.name == down).map(|tensor| tensor.shape.clone());
    let kind = match shape.as_deref() {
        Some([_, axes @ ..]) if axes.len() > 1 => {
            ModuleKind::Kernel(axes.iter().map(|n| *n as u64).collect())
        }
        _ if embedding => ModuleKind::Embedding,
        _ if source.stored_factors(layer)?.is_some_and(|factors| factors.transposed) => ModuleKind::Turned,
        _ => ModuleKind::Linear,
    };
    Ok(Some((module, kind)))
}

/// What lies beside the factors, in words.
fn told(carried: &[CarriedTensor]) -> String {
    let is_whole = |tensor: &&CarriedTensor| tensor.kept == Kept::InModule;
    let whole: BTreeSet<&str> =
        carried.iter().filter(is_whole).map(|tensor| tensor.module.as_str()).collect();
    let biases = carried.iter().filter(|tensor| !is_whole(tensor)).count();
    let parts = [(whole.len(), "module saved whole", "modules saved whole"), (biases, "bias", "biases")];
    let parts = parts.iter().filter(|(count, ..)| *count > 0);
    let words: Vec<String> =
        parts.map(|(count, one, many)| notation::counted(*count as u64, one, many)).collect();
    if words.is_empty() { String::new() } else { format!("; with {}", words.join(" and ")) }
}
