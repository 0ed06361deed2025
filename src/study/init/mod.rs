//! `adapter init`: an adapter that begins with a decomposition of the weights, and the base that is left.
//!
//! Tasks spool the factors that they find and write what they leave of each weight into a copy of the base. Both folders
//! appear when every module is there.

mod left_out;
mod notes;
mod targets;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use globset::GlobSet;

use super::copying::Copying;
use super::extract::{has_turned_layers, of_base};
use super::matrices::{Copies, Method as Tasks};
use super::{Beside, FoundMatrix, Matrices, Opened, Spectra};
use crate::analysis::Measured;
use crate::analysis::init::{self, Initial, Method, Module, Setup};
use crate::checkpoint::{Catalogue, ContentId, DataKind, LayerData, Moments, Pairs};
use crate::error::{Error, brief};
use crate::layer::{Filter, Layer, Purpose, natural, purpose};
use crate::low_rank::LowRank;
use crate::report::{Column, Report, Row, Value};
use crate::writing::{
    AdapterDialect, AdapterModule, CheckpointCopy, ModuleKind, Spool, remove_adapter, write_adapter,
};
use left_out::LeftOut;
use targets::Target;

/// The options.
#[derive(Debug, Clone, PartialEq)]
pub struct InitRequest {
    /// What the adapter is to be.
    pub setup: Setup,
    /// The base as typed.
    pub base: PathBuf,
    /// Where it lies, if it is copied.
    pub from: PathBuf,
    /// Where the adapter goes.
    pub out: PathBuf,
    /// Where the base goes that the method leaves.
    pub base_out: Option<PathBuf>,
    /// A file with what modules get as inputs.
    pub data: Option<(DataKind, PathBuf)>,
}

/// An adapter and the base beside it, in the making.
pub struct Initializing {
    request: InitRequest,
    source: Arc<Catalogue>,
    pairs: Option<Arc<Pairs>>,
    targets: BTreeMap<String, Target>,
    left_out: LeftOut,
    data: Option<LayerData>,
    products: Spool,
    copy: Copying,
    beside: Mutex<BTreeMap<String, BesideFactors>>,
}

/// What is known of a module beside its factors.
struct BesideFactors {
    diagonal: Vec<f64>,
    /// What its inputs are called equal by.
    inputs: Option<blake3::Hash>,
}

impl InitRequest {
    /// Every column, in report order.
    pub fn columns(&self) -> Vec<&'static Column> {
        init::columns(self.setup.method)
    }

    /// The tasks over the modules of `opened` that are to be initialized.
    ///
    /// # Errors
    /// When there is none.
    pub fn plan(&self, opened: Opened, initializing: &Arc<Initializing>) -> Result<Matrices, Error> {
        let Setup { method, rank, scale, dtype, seed } = self.setup;
        let mut settings = vec![
            ("method", method.name().to_owned()),
            ("rank", rank.to_string()),
            ("alpha", (scale * rank as f64).to_string()),
            ("dtype", dtype.name().to_owned()),
        ];
        if method == Method::Kasa {
            settings.push(("seed", seed.to_string()));
        }
        let tasks = Tasks {
            command: "adapter init",
            columns: self.columns(),
            shown: self.columns(),
            parts: vec![],
            kept_by: None,
            settings,
            cost: {
                let (setup, data) = (self.setup, self.data.is_some());
                Box::new(move |layer| init::cost(&setup, layer, data))
            },
            base: initializing.pairs.clone(),
            copies: Copies::Done,
            beside: Beside::Nothing,
            measure: {
                let initializing = Arc::clone(initializing);
                Box::new(move |_, layer: &Layer, _| initializing.measure(layer))
            },
        };
        let names = initializing.targets.keys().cloned().collect();
        Matrices::new(opened, &Filter { names: Some(names), ..Filter::default() }, tasks)
    }
}

impl Initializing {
    /// The modules of `opened` that `filter` keeps and `chosen` names: without that, those in numbered blocks.
    ///
    /// # Errors
    /// When there is none, one is too small for the rank, data of one are missing, or a copy cannot be written.
    pub fn new(
        request: InitRequest,
        opened: &Opened,
        (filter, chosen): (&Filter, Option<&GlobSet>),
    ) -> Result<Self, Error> {
        let (source, pairs) = (Arc::clone(&opened.source), opened.pairs.clone());
        let (mut targets, mut left_out) = (BTreeMap::new(), LeftOut::default());
        let turned = has_turned_layers(pairs.as_ref().map_or(&source, |pairs| pairs.tuned()));
        for layer in source.select(filter).layers {
            // The names of the original model are those that the adapter is loaded by.
            let own = match &pairs {
                Some(pairs) => Arc::clone(&pairs.get(&layer.name)?.tuned),
                None => Arc::clone(&layer),
            };
            let is_chosen = match chosen {
                Some(globs) => globs.is_match(&*layer.name),
                None => own.block.is_some() && purpose(&own.name) == Purpose::Inner,
            };
            match of_base(&own, turned) {
                Some((name, kind)) if is_chosen && kind != ModuleKind::Embedding => {
                    let target = Target { name, kind, layer: own };
                    let most = target.most(request.setup.method);
                    if chosen.is_none() && request.setup.rank > most {
                        left_out.small.push((layer.name.to_string(), most));
                    } else {
                        targets.insert(layer.name.to_string(), target);
                    }
                }
                None if is_chosen => left_out.in_parts.push(layer.name.to_string()),
                _ => left_out.others.push(layer.name.to_string()),
            }
        }
        if targets.is_empty() {
            return Err(Error::malformed(&request.base, left_out.reason(&request, pairs.is_some())));
        }
        request.check(&targets)?;
        if let Some(out) = &request.base_out {
            CheckpointCopy::check_files(&request.from, &source, out)?;
            let mut layers = targets.values().map(|target| &target.layer);
            layers.try_for_each(|layer| CheckpointCopy::check_layer(&request.from, &source, layer))?;
        }
        let data = match &request.data {
            Some((kind, path)) => {
                let inputs = |(key, target): (&String, &Target)| (key.clone(), target.shape());
                Some(LayerData::open(path, *kind, &targets.iter().map(inputs).collect::<Vec<_>>())?)
            }
            None => None,
        };
        let products = Spool::beside(&request.out)?;
        let (copy, beside) = (Copying::default(), Mutex::default());
        Ok(Self { request, source, pairs, targets, left_out, data, products, copy, beside })
    }

    /// Copies what the adapter leaves as it is, where the base moves.
    ///
    /// # Errors
    /// When the copy cannot be made.
    pub fn begin(&self) -> Result<(), Error> {
        if let Some(out) = &self.request.base_out {
            let later: Vec<&Layer> = self.targets.values().map(|target| target.layer.as_ref()).collect();
            self.copy.begin(CheckpointCopy::without(&self.request.from, &self.source, out, &later)?);
        }
        Ok(())
    }

    /// Removes what was written so far.
    pub fn abandon(&self) {
        self.copy.abandon();
    }

    fn measure(&self, layer: &Layer) -> Result<FoundMatrix, Error> {
        let target = &self.targets[layer.name.as_str()];
        let whole = |catalogue: &Catalogue, layer: &Layer| catalogue.read(layer, 0..layer.rows);
        let (stored, compressed) = match &self.pairs {
            Some(pairs) => {
                let pair = pairs.get(&layer.name)?;
                (whole(pairs.tuned(), &pair.tuned)?, Some(whole(pairs.base(), &pair.base)?))
            }
            None => (whole(&self.source, layer)?, None),
        };
        let identity = ContentId::of_matrix(&stored);
        let turn = |matrix: crate::matrix::Matrix| {
            if target.is_turned() { matrix.transposed() } else { matrix }
        };
        let (weight, compressed) = (turn(stored), compressed.map(turn));
        let data = match &self.data {
            Some(data) => Some((data.moments(&layer.name)?, data.path())),
            None => None,
        };
        let module = Module {
            name: &target.name,
            weight: &weight,
            compressed: compressed.as_ref(),
            stored_as: target.layer.dtype,
            moments: data.as_ref().map(|(moments, path)| (moments, *path)),
        };
        let found = init::initial(&self.request.setup, &module);
        let Initial { values, detail, factors, diagonal, residual } = found.map_err(|error| match error {
            // Rounding knows no module.
            Error::Usage(reason) => self.refuse(layer, &reason),
            other => other,
        })?;
        if let Some(residual) = residual {
            self.copy.get()?.rows(&target.layer)?.write(&turn(residual))?;
        }
        let factors = if target.is_turned() { factors.transposed()? } else { factors };
        self.products.put(&layer.name, &factors)?;
        let inputs = match &data {
            Some((Moments::Inputs(inputs), _)) => Some(blake3::hash(inputs.bytes())),
            _ => None,
        };
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        beside.insert(layer.name.to_string(), BesideFactors { diagonal, inputs });
        drop(beside);
        let measured = Measured { values, ..Measured::nothing(identity) };
        Ok(FoundMatrix {
            factors: Some(Box::new(detail)),
            ..FoundMatrix::new(measured, layer, Spectra::Dropped)
        })
    }

    fn refuse(&self, layer: &Layer, reason: &str) -> Error {
        Error::tensor(&self.request.base, &layer.tensor, reason)
    }

    /// Writes the adapter that `report` tells of, puts the base beside it in its place, and notes both. Gives the names of
    /// files that were not copied, for they are links out of the model's folder.
    ///
    /// # Errors
    /// When a module could not be initialized, or something cannot be written.
    pub fn finish(&self, report: &mut Report) -> Result<Vec<String>, Error> {
        let InitRequest { setup, base, out, base_out, .. } = &self.request;
        if let Some(row) = report.rows.iter().find(|row| row.failed.is_some()) {
            let reason = format!("nothing was written: `{}` could not be initialized", row.name);
            return Err(Error::malformed(out, reason));
        }
        let spool;
        let (ranks, products) = if setup.method == Method::Eva {
            spool = Spool::beside(out)?;
            (self.redistribute(report, &spool)?, &spool)
        } else {
            (report.rows.iter().map(|row| (row.name.to_string(), setup.rank)).collect(), &self.products)
        };
        let beside = std::mem::take(&mut *self.beside.lock().unwrap_or_else(PoisonError::into_inner));
        let module = |(key, rank): (&String, &usize)| {
            let Target { name, kind, layer } = &self.targets[key];
            AdapterModule {
                name: name.clone(),
                kind: kind.clone(),
                key: key.clone(),
                rank: *rank,
                shape: (layer.rows, layer.cols),
                alpha: setup.scale * *rank as f64,
                diagonal: beside.get(key).map_or_else(Vec::new, |beside| beside.diagonal.clone()),
            }
        };
        let modules: Vec<AdapterModule> = ranks.iter().filter(|(_, rank)| **rank > 0).map(module).collect();
        let place = base_out.as_ref().unwrap_or(base).display().to_string();
        write_adapter(out, (&modules, products), &AdapterDialect::Peft, (setup.dtype, Some(&place)))?;
        let left_out = match base_out.as_ref().map(|_| self.copy.finish()) {
            Some(Ok(left_out)) => left_out,
            Some(Err(error)) => {
                // Without its base it is worth nothing.
                remove_adapter(out);
                return Err(error);
            }
            None => vec![],
        };
        self.note(report, &modules);
        Ok(left_out)
    }

    /// EVA's ranks; each module's directions are cut to its own.
    fn redistribute(&self, report: &mut Report, cut: &Spool) -> Result<BTreeMap<String, usize>, Error> {
        let rank = self.request.setup.rank;
        // Rows may have been sorted by a column; equal shares go to the module that comes first by its name.
        let mut rows: Vec<&mut Row> = report.rows.iter_mut().collect();
        rows.sort_by(|a, b| natural(&a.name, &b.name));
        let names: Vec<String> = rows.iter().map(|row| row.name.to_string()).collect();
        let explained =
            |row: &&mut Row| row.factors.as_ref().map_or_else(Vec::new, |detail| detail.importance.clone());
        let explained: Vec<Vec<f64>> = rows.iter().map(explained).collect();
        let shares_with: Vec<Option<usize>> = {
            let beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
            let inputs = |name: &String| beside.get(name).and_then(|beside| beside.inputs);
            let first = |i: usize| names[..i].iter().position(|name| inputs(name) == inputs(&names[i]));
            (0..names.len()).map(first).collect()
        };
        let ranks = init::redistributed(&explained, &shares_with, rank);
        for ((row, rank), shares) in rows.iter_mut().zip(&ranks).zip(&explained) {
            row.values.set("adapter_rank", Value::count(*rank));
            let kept = shares.iter().take(*rank).sum();
            row.values.set("explained_variance", Value::within(kept, 0.0, 1.0));
            let missing = || Error::Contract(format!("`{}`: no factors", brief(&row.name)));
            let product: LowRank = self.products.get(&row.name)?.ok_or_else(missing)?;
            cut.put(&row.name, &product.truncated(*rank)?)?;
        }
        Ok(names.into_iter().zip(ranks).collect())
    }
}
