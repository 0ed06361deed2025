//! Adapters as checkpoints: their matrices are the updates `ΔW = s·B·A` that they add to a base.
//!
//! What lies in the file are thin factors; they are read on request, scaled, and handed on as such. Only what depends
//! on the base (DoRA, whole weights saved with the adapter) or has too many directions is multiplied out, by rows.

mod config;
mod configs;
mod experts;
mod lycoris;
mod magnitude;
mod modules;
mod names;
mod recipe;
mod rest;
mod since;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::{Beyond, Holds, MatrixSource, Opening, Stage};
use crate::error::{Error, brief, printable};
use crate::layer::{self, Filter, Layer, Selection, TensorInfo, bare, natural};
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix};
use crate::pair::{self, Unpaired};
use crate::report::{self, Kind, Skipped, SourceFile};
use config::Config;
use configs::Configs;
use magnitude::Along;
use modules::{Draft, Setting};
use names::Part;
use recipe::Recipe;
use rest::{Baseless, whole_weights};
use since::Since;

/// The name that reports give adapters, whatever file holds them.
pub(super) const FORMAT: &str = "adapter";

/// The flag of updates to a base that is not the original.
const MOVED_BASE: &str = "moved_base";

/// Where PEFT puts the settings.
const CONFIG: &str = "adapter_config.json";

/// An update with its place in the model.
struct Update {
    layer: Layer,
    draft: Draft,
    /// The weight it changes, where the base is known.
    base: Option<Layer>,
    /// What was cut off that weight before training.
    cut: Option<Cut>,
}

/// An adapter whose names and shapes have been understood.
struct Adapter {
    stored: Box<dyn MatrixSource>,
    base: Option<Arc<dyn MatrixSource>>,
    /// In natural name order.
    updates: Vec<Update>,
    /// What was left out, each with the name that filters see.
    skipped: Vec<(String, Skipped)>,
    /// Position in `updates`, by the layer's name.
    positions: BTreeMap<String, usize>,
    /// A caution that holds for every update.
    caution: Option<&'static str>,
}

/// `stored` as an adapter, if it is one; whether it is. `headers` are the settings that stand in those of its files.
pub(super) fn open(
    path: &Path,
    stored: Box<dyn MatrixSource>,
    headers: &[String],
    opening: &Opening<'_>,
    stage: Stage,
) -> Result<(bool, Box<dyn MatrixSource>), Error> {
    let parts = stored.tensors().iter().filter_map(|tensor| names::parse(&tensor.name));
    let telling = parts.map(|spelling| spelling.part).any(Part::is_telling);
    let named = opening.adapter_config.map(Path::to_owned);
    let asked = if named.is_some() { Some("--adapter-config") } else { None };
    let asked = opening.adapter_init.map(|_| "--adapter-init").or(asked);
    let config = named.clone().or_else(|| beside(path));
    let whole = stored.tensors().iter().any(|tensor| tensor.name.ends_with(".base_layer.weight"));
    let by_name = stored.files().iter().any(|file| file.name.starts_with("adapter_model"));
    if let (false, Some(option)) = (telling, asked) {
        let reason = format!("holds no factors of an adapter, so `{option}` does not apply");
        return Err(Error::malformed(path, reason));
    }
    // A model whose own layers are built of factors and whole weights is a model.
    let is_adapter = if config.is_some() { telling || by_name } else { telling && !whole };
    if !is_adapter {
        return Ok((false, stored));
    }
    let configs = match config {
        Some(file) => Configs::whole(Config::read(&file)?),
        None => Configs::of_headers(path, headers)?,
    };
    configs.all().try_for_each(|config| check_base(path, config, opening, stage))?;
    let cuts = configs.all().any(Config::cuts_base);
    if cuts && opening.adapter_init.is_some() && !configs.all().all(Config::cuts_base) {
        let reason = "only some of its updates are of a base that KaSA cut, so `--adapter-init` does not apply";
        return Err(Error::malformed(path, reason));
    }
    let adapter = Box::new(Adapter::new(path, stored, &configs, opening)?);
    // Before training KaSA's updates are zero: what it took from the base is in the base alone.
    let Some(path) = opening.adapter_init.filter(|_| !cuts) else { return Ok((true, adapter)) };
    // Beside an adapter's beginning there may be no configuration: it was scaled as it is now.
    let adapter_config = if beside(path).is_some() { None } else { named.as_deref() };
    let opening = Opening { adapter_config, adapter_init: None, ..opening.clone() };
    let (_, before) = super::open_as(path, &opening, Stage::Beginning)?;
    Ok((true, Box::new(Since::new(adapter, before, path)?)))
}

/// The settings that lie beside the weights at `path`.
fn beside(path: &Path) -> Option<PathBuf> {
    let folder = if path.is_dir() { path } else { path.parent()? };
    Some(folder.join(CONFIG)).filter(|config| config.is_file())
}

impl Adapter {
    fn new(
        path: &Path,
        stored: Box<dyn MatrixSource>,
        configs: &Configs,
        opening: &Opening<'_>,
    ) -> Result<Self, Error> {
        let base = opening.base.clone();
        let layers = base.as_ref().map_or_else(Vec::new, |base| base.select(&Filter::default()).layers);
        let setting = Setting { path, source: stored.as_ref(), configs, base: &layers };
        let (modules, rest) = modules::sorted(path, stored.tensors())?;
        let (mut drafts, mut skipped) = (vec![], vec![]);
        for module in modules.values() {
            let found = module.drafts(&setting)?;
            let left = module.tensors().filter_map(|(part, tensor)| match part {
                Part::Bias => Some(tensor.skipped(Kind::Plain, "a bias, trained with the adapter")),
                Part::Tokens => {
                    Some(tensor.skipped(Kind::Refused, "rows of an embedding that were trained alone"))
                }
                _ if found.is_empty() => Some(tensor.skipped(Kind::Plain, "no update of a matrix")),
                _ => None,
            });
            skipped.extend(left);
            drafts.extend(found);
        }
        let (whole, others) = whole_weights(&rest);
        drafts.extend(whole);
        skipped.extend(others);
        let seen = |skipped: Skipped| (bare(&pair::canonical(&skipped.tensor)).to_owned(), skipped);
        let mut skipped: Vec<(String, Skipped)> = skipped.into_iter().map(seen).collect();
        let mut updates: Vec<Update> = drafts.into_iter().map(Update::new).collect();
        if base.is_some() {
            find_bases(&mut updates, &layers);
        }
        if let Some(beyond) = opening.beyond {
            updates.iter_mut().try_for_each(|update| update.cut_base(path, beyond))?;
        }
        updates.sort_by(|a, b| natural(&a.layer.name, &b.layer.name));
        if let Some([a, b]) = updates.array_windows::<2>().find(|[a, b]| a.layer.name == b.layer.name) {
            let reason = format!("changes the same matrix as `{}`", brief(&b.layer.tensor));
            return Err(Error::tensor(path, &a.layer.tensor, reason));
        }
        let (updates, baseless): (Vec<Update>, Vec<Update>) =
            updates.into_iter().partition(|update| update.base.is_some() || !update.needs_base());
        let reasons = Baseless { configs, given: base.is_some() };
        for update in &baseless {
            let lines = reasons.skip(update, stored.tensors());
            skipped.extend(lines.into_iter().map(|line| (update.layer.name.clone(), line)));
        }
        skipped.sort_by(|(_, a), (_, b)| natural(&a.tensor, &b.tensor));
        let positions =
            updates.iter().enumerate().map(|(i, update)| (update.layer.name.clone(), i)).collect();
        let moved = |config: &Config| config.moved_base().is_some() && !(config.cuts_base() && base.is_some());
        let caution = configs.all().any(moved).then_some(MOVED_BASE);
        Ok(Self { stored, base, updates, skipped, positions, caution })
    }

    fn get(&self, layer: &Layer) -> Result<&Update, Error> {
        let missing = || Error::Usage(format!("`{}` belongs to another checkpoint", brief(&layer.name)));
        self.positions.get(&layer.name).map(|i| &self.updates[*i]).ok_or_else(missing)
    }

    /// The given rows of an update.
    fn entries(&self, update: &Update, rows: Range<usize>) -> Result<Vec<f64>, Error> {
        let (Update { draft, base, .. }, stored) = (update, self.stored.as_ref());
        let weight = self.base.as_deref().zip(base.as_ref());
        match (weight, &draft.magnitude) {
            (Some(weight), Some(magnitude)) => {
                magnitude.apply((stored, &draft.recipe, draft.scale), weight, rows)
            }
            (Some((source, weight)), None) if matches!(draft.recipe, Recipe::Replacement(_)) => {
                let mut entries = draft.recipe.dense(stored, rows.clone(), draft.scale)?;
                let weights = source.read(weight, rows)?.to_f64();
                entries.iter_mut().zip(weights).for_each(|(new, old)| *new -= old);
                Ok(entries)
            }
            (Some(weight), None) if let Some(cut) = &update.cut => {
                let mut entries = draft.recipe.dense(stored, rows.clone(), draft.scale)?;
                let cut = cut.product(weight)?.dense(rows)?.to_f64();
                entries.iter_mut().zip(cut).for_each(|(x, cut)| *x -= cut);
                Ok(entries)
            }
            _ => draft.recipe.dense(stored, rows, draft.scale),
        }
    }
}

impl MatrixSource for Adapter {
    fn tensors(&self) -> &[TensorInfo] {
        self.stored.tensors()
    }

    fn files(&self) -> Vec<SourceFile> {
        self.stored.files()
    }

    fn notes(&self) -> &[String] {
        self.stored.notes()
    }

    fn holds(&self) -> Holds {
        Holds::Updates
    }

    fn select(&self, filter: &Filter) -> Selection {
        let layers = self.updates.iter().map(|update| &update.layer);
        let layers: Vec<Layer> = layers.filter(|layer| filter.keeps(&layer.name)).cloned().collect();
        let skipped = self.skipped.iter().filter(|(name, _)| filter.keeps(name));
        let skipped: Vec<Skipped> = skipped.map(|(_, skipped)| skipped.clone()).collect();
        let all = self.updates.len() + self.skipped.len();
        Selection { filtered: all - layers.len() - skipped.len(), layers, skipped }
    }

    fn update(&self, layer: &Layer) -> Option<report::Update> {
        let Update { layer, draft, .. } = self.get(layer).ok()?;
        Some(report::Update {
            kind: draft.kind,
            scale: (!matches!(draft.recipe, Recipe::Replacement(_))).then_some(draft.scale),
            rank: layer.rank.map(|rank| rank as u64),
            tensors: draft.tensors.clone(),
            flags: draft.flags.iter().copied().chain(self.caution).collect(),
        })
    }

    fn factors(&self, layer: &Layer) -> Result<LowRank, Error> {
        let Update { layer, draft, base, cut } = self.get(layer)?;
        if layer.rank.is_none() {
            return Err(Error::Usage(format!("`{}` is not stored as a product", layer.name)));
        }
        let product = draft.recipe.factors(self.stored.as_ref(), draft.scale)?;
        match (cut, self.base.as_deref().zip(base.as_ref())) {
            (Some(cut), Some(weight)) => product.minus(cut.product(weight)?),
            _ => Ok(product),
        }
    }

    fn read(&self, layer: &Layer, rows: Range<usize>) -> Result<Matrix, Error> {
        let update = self.get(layer)?;
        let layer = &update.layer;
        if rows.start > rows.end || rows.end > layer.rows {
            let reason = format!("rows {}..{} of {}", rows.start, rows.end, layer.rows);
            return Err(Error::Usage(format!("`{}`: {reason}", layer.name)));
        }
        let mut bytes = super::space(rows.len(), layer.cols)?;
        for block in super::blocks(rows.clone(), layer.cols) {
            let entries = self.entries(update, block)?;
            bytes.extend(entries.iter().flat_map(|x| x.to_le_bytes()));
        }
        Matrix::new(rows.len(), layer.cols, Dtype::F64, bytes)
    }
}

impl Update {
    fn new(draft: Draft) -> Self {
        let (rows, cols) = draft.recipe.shape();
        let name = printable(&draft.name);
        let (block, role) = layer::place(&name);
        let rank = if draft.magnitude.is_some() { None } else { draft.recipe.rank() };
        let layer = Layer {
            tensor: draft.tensors.first().cloned().unwrap_or_default(),
            name,
            stored_shape: vec![rows, cols],
            rows,
            cols,
            dtype: draft.dtype,
            encoding: None,
            part: layer::Part::default(),
            read_as: Dtype::F64,
            file: 0,
            offset: 0,
            rank,
            order: 0,
            block,
            role,
        };
        Self { layer, draft, base: None, cut: None }
    }

    /// Notes what KaSA cut off the weight that it changes: as many directions as the update has, the smallest.
    fn cut_base(&mut self, path: &Path, beyond: Beyond) -> Result<(), Error> {
        let Some(base) = self.base.as_ref().filter(|_| self.draft.kind == "kasa") else { return Ok(()) };
        if base.stored_shape.len() != 2 {
            let reason = "is of a convolution, whose base KaSA cuts in a way that is not known";
            return Err(Error::tensor(path, &self.layer.tensor, reason));
        }
        let (short, rank) = (base.rows.min(base.cols), self.draft.recipe.rank());
        let keep = short.saturating_sub(rank.unwrap_or(short));
        self.layer.rank = rank.map(|rank| rank + short - keep).filter(|rank| *rank < short);
        self.cut = Some(Cut { keep, beyond, product: OnceLock::new() });
        Ok(())
    }

    /// Whether it means nothing without the weight it changes.
    fn needs_base(&self) -> bool {
        self.draft.magnitude.is_some() || matches!(self.draft.recipe, Recipe::Replacement(_))
    }

    /// Turns the update of a linear layer, to be stored the other way round.
    fn turn(&mut self) {
        let Recipe::Product(product) = &mut self.draft.recipe else { return };
        product.transposed = !product.transposed;
        if let Some(magnitude) = &mut self.draft.magnitude {
            magnitude.along = match magnitude.along {
                Along::Rows => Along::Columns(1),
                Along::Columns(_) => Along::Rows,
            };
        }
        std::mem::swap(&mut self.layer.rows, &mut self.layer.cols);
        self.layer.stored_shape.reverse();
    }

    /// Whether it is of a linear layer, of which only the configuration says how it is stored.
    fn is_linear(&self) -> bool {
        let Recipe::Product(product) = &self.draft.recipe else { return false };
        product.down.shape().len() == 2
            && product.slice.is_none()
            && !product.down.name().contains("embedding")
    }
}

/// The directions that were cut off a weight before training: all but the first `keep`.
struct Cut {
    keep: usize,
    beyond: Beyond,
    product: OnceLock<LowRank>,
}

impl Cut {
    /// What was cut off. A decomposition, so it is done once.
    fn product(&self, (source, weight): (&dyn MatrixSource, &Layer)) -> Result<&LowRank, Error> {
        if let Some(product) = self.product.get() {
            return Ok(product);
        }
        let product = (self.beyond)(&source.read(weight, 0..weight.rows)?, self.keep)?;
        Ok(self.product.get_or_init(|| product))
    }
}

/// Refuses what cannot be said of the original weights.
fn check_base(path: &Path, config: &Config, opening: &Opening<'_>, stage: Stage) -> Result<(), Error> {
    if opening.base.is_none() {
        if config.cuts_base() && opening.adapter_init.is_some() {
            let reason = "KaSA cut the smallest directions off the base before training, which `--adapter-init` does \
                          not tell; give the base itself with `--base`";
            return Err(Error::malformed(path, reason));
        }
        return Ok(());
    }
    if config.cuts_base() && config.is_dora() {
        let reason = "`use_dora` rescales a base that KaSA cut, which svdkit does not read";
        return Err(Error::malformed(path, reason));
    }
    let is_known = opening.adapter_init.is_some()
        || stage == Stage::Beginning
        || config.cuts_base() && opening.beyond.is_some();
    if let Some(init) = config.moved_base().filter(|_| !is_known) {
        let reason = format!(
            "`{}` took a part out of the base before training, so the update is not one to the original weights; give \
             the adapter as it was before training with `--adapter-init`, or leave out the base to see what the \
             factors hold",
            brief(init)
        );
        return Err(Error::malformed(path, reason));
    }
    if config.repeats_layers() {
        let reason = "`layer_replication` numbers the layers anew, so they cannot be told from the base's";
        return Err(Error::malformed(path, reason));
    }
    Ok(())
}

/// Gives each update the weight it changes. Underscored names become the base's, turned layers are turned.
fn find_bases(updates: &mut [Update], base: &[Layer]) {
    let layers: Vec<Layer> = updates.iter().map(|update| update.layer.clone()).collect();
    let positions: BTreeMap<&str, usize> =
        layers.iter().enumerate().map(|(i, layer)| (layer.name.as_str(), i)).collect();
    let (pairs, unpaired) = pair::pairs(base, &layers);
    let reshaped = unpaired.into_iter().filter_map(|unpaired| match unpaired {
        Unpaired::Reshaped(pair) => Some(pair),
        _ => None,
    });
    for pair in pairs.into_iter().chain(reshaped) {
        let Some(update) = positions.get(pair.tuned.name.as_str()).map(|i| &mut updates[*i]) else {
            continue;
        };
        let (ours, theirs) = ((update.layer.rows, update.layer.cols), (pair.base.rows, pair.base.cols));
        if ours != theirs && (ours.1, ours.0) == theirs && update.is_linear() {
            update.turn();
        }
        if pair::is_underscored(&update.layer.name) {
            update.layer.name = pair::canonical(&pair.base.name);
            (update.layer.block, update.layer.role) = layer::place(&update.layer.name);
        }
        if (update.layer.rows, update.layer.cols) == theirs {
            update.base = Some(pair.base);
        }
    }
}

/// Whether `name` is `end` with something before it: `model.layers.0.up` ends in `layers.0.up`.
fn ends_in(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|start| start.ends_with('.'))
}
