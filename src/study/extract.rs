//! `adapter extract` and `adapter resize`: updates cut to a few directions, written as an adapter of plain LoRA.
//!
//! Tasks spool the factors that they find; the folder is written when all of them are there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::matrices::{Copies, Method};
use super::{Beside, FoundMatrix, Matrices, Opened, Spectra};
use crate::analysis::extract::{self, EXTRACTED, Extracted, Keep};
use crate::checkpoint::{Catalogue, FactorNames, Pairs, factor_names};
use crate::error::{Error, quoted};
use crate::layer::{Filter, Layer, Part, Purpose, TensorInfo, purpose};
use crate::matrix::Dtype;
use crate::pair;
use crate::report::{Column, Report, SkipKind, Skipped, Value};
use crate::writing::{AdapterDialect, AdapterModule, ModuleKind, Spool, write_adapter};

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

    /// Writes the adapter that `report` tells of, and notes in it what it does not hold.
    ///
    /// # Errors
    /// When a matrix could not be cut, nothing has changed, or something cannot be written.
    pub fn write(
        &self,
        report: &mut Report,
        out: &Path,
        products: &Spool,
        dialect: &AdapterDialect,
        (dtype, base): (Dtype, Option<&str>),
    ) -> Result<(), Error> {
        if let Some(row) = report.rows.iter().find(|row| row.failed.is_some()) {
            let reason = format!("nothing was written: `{}` could not be cut", row.name);
            return Err(Error::malformed(out, reason));
        }
        let kept = report.rows.iter().map(|row| {
            let rank = row.values.get("kept_rank").and_then(Value::number).unwrap_or(0.0) as usize;
            (row.name.as_str(), rank)
        });
        let kept: Vec<(&str, usize)> = kept.collect();
        let module = |(key, rank): &(&str, usize)| {
            let (name, kind, shape) = self.modules.get(*key).filter(|_| *rank > 0)?;
            let (name, kind, shape) = (name.clone(), kind.clone(), *shape);
            Some(AdapterModule { name, kind, key: (*key).to_owned(), rank: *rank, shape })
        };
        let modules: Vec<AdapterModule> = kept.iter().filter_map(module).collect();
        if modules.is_empty() {
            let reason = "nothing was written: no matrix that an adapter can hold was changed";
            return Err(Error::malformed(out, reason));
        }
        write_adapter(out, (&modules, products), dialect, (dtype, base))?;
        let empty = kept.iter().filter(|(_, rank)| *rank == 0).count();
        report.notes.push(format!(
            "{}: {} of {} matrices, of rank {} in all{}",
            out.display(),
            modules.len(),
            kept.len(),
            modules.iter().map(|module| module.rank).sum::<usize>(),
            if empty > 0 { format!("; {empty} have no direction to keep") } else { String::new() },
        ));
        if !self.left_out.is_empty() {
            let what = "not in the adapter, for no module of their own holds them";
            report.notes.push(format!("! {what}: {}", quoted(&self.left_out)));
        }
        Ok(())
    }
}

/// Whether linear layers are stored inputs × outputs, as GPT-2's `Conv1D` does: its `c_fc` widens, so that it has more
/// columns than rows.
fn has_turned_layers(base: &Catalogue) -> bool {
    let layers = base.select(&Filter::default()).layers;
    layers.iter().any(|layer| layer.name.ends_with("mlp.c_fc") && layer.rows < layer.cols)
}

/// The module that a matrix of the base is the weight of.
fn of_base(layer: &Layer, turned: bool) -> Option<(String, ModuleKind)> {
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

/// The vectors that an adapter holds beside its updates: no product of factors holds them.
pub fn saved_vectors(adapter: &Catalogue) -> Vec<String> {
    let skipped = adapter.select(&Filter::default()).skipped;
    let is_vector = |line: &Skipped| line.kind == SkipKind::Plain && line.shape.len() == 1;
    skipped.into_iter().filter(is_vector).map(|line| line.tensor.to_string()).collect()
}

/// The vectors of a fine-tune whose bytes are not the base's.
///
/// # Errors
/// When one cannot be read.
pub fn changed_vectors(pairs: &Pairs) -> Result<Vec<String>, Error> {
    let base: BTreeMap<String, &TensorInfo> =
        pairs.base().tensors().iter().map(|tensor| (pair::canonical(&tensor.name), tensor)).collect();
    let mut changed = vec![];
    for tensor in pairs.tuned().tensors().iter().filter(|tensor| tensor.shape.len() < 2) {
        let Some(before) = base.get(&pair::canonical(&tensor.name)) else { continue };
        let (Some(ours), Some(theirs)) = (tensor.bytes, before.bytes) else { continue };
        let read = |catalogue: &Catalogue, tensor, length| catalogue.stored().bytes(tensor, 0, length);
        let (ours, theirs) = (read(pairs.tuned(), tensor, ours)?, read(pairs.base(), before, theirs)?);
        if ours != theirs {
            changed.push(tensor.name.to_string());
        }
    }
    Ok(changed)
}
