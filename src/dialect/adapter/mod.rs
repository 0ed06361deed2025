//! Adapters as checkpoints: their matrices are the updates `ΔW = s·B·A` that they add to a base.
//!
//! The file holds thin factors; they are read on request, scaled, and passed on as factors. Only updates that depend
//! on the base (DoRA, whole weights saved with the adapter) or has too many directions is multiplied out, by rows.

mod config;
mod config_by_component;
mod experts;
mod factor;
pub(crate) mod factor_names;
mod lycoris;
mod module;
mod modules;
mod names;
mod thin_pairs;
mod unread;
pub(crate) mod vectors;
mod whole_weights;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, brief, printable};
use crate::layer::{self, Filter, Layer, TensorInfo, bare, natural};
use crate::matrix::Dtype;
use crate::pair::{self, Unpaired};
use crate::report::{self, Flag, SkipKind, Skipped};
use crate::store::Location;
use crate::weight::{Along, Beyond, Catalogue, Decompose, Expr, Holds, LeftOut, Tensors, Weight};
use config::AdapterConfig;
use config_by_component::ConfigByComponent;
use module::{Draft, Setting};
use names::TensorRole;
use whole_weights::{Baseless, WHOLE, whole_weights};

/// The name that reports give adapters, whatever file holds them.
pub(crate) const FORMAT: &str = "adapter";

/// Where PEFT puts the settings.
const CONFIG: &str = "adapter_config.json";

/// Why an update of a vector is left out.
const BIAS: &str = "a bias, trained with the adapter";

/// An update with its place in the model.
struct Update {
    layer: Layer,
    draft: Draft,
    /// The weight it changes, where the base is known.
    base: Option<Arc<Layer>>,
}

/// What is known of an adapter beside what its files say.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    /// Its settings, where they do not lie beside the weights.
    pub(crate) config: Option<&'a Path>,
    /// The checkpoint that it changes, fused tensors as they are stored: adapters know no others.
    pub(crate) base: Option<&'a Catalogue>,
    pub(crate) beginning: Beginning,
    /// Decomposes a matrix of the base.
    pub(crate) beyond: Option<Beyond>,
}

/// What is known of an adapter as it was before training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    Unknown,
    /// It is to be taken away.
    Known,
    /// This is it.
    Itself,
}

/// An adapter that was opened.
pub(crate) struct Opened {
    pub(crate) updates: Catalogue,
    /// Whether KaSA cut a part off the base when training began. Its updates are zero before training: what it took is
    /// in the base alone.
    pub(crate) cuts_base: bool,
}

/// `stored` as an adapter, if it is one. `headers` are the settings that stand in those of its files.
pub(crate) fn open(
    location: &Location,
    stored: &Arc<Tensors>,
    headers: &[String],
    known: Known<'_>,
) -> Result<Option<Opened>, Error> {
    let path = &location.describe();
    let mut spellings = stored.list().iter().filter_map(|tensor| unread::spelling(&tensor.name));
    let telling = spellings.any(|spelling| spelling.is_telling());
    let named = known.config.map(Location::disk);
    let asked = if named.is_some() { Some("--adapter-config") } else { None };
    let asked = if known.beginning == Beginning::Known { Some("--adapter-init") } else { asked };
    let config = named.or_else(|| beside(location));
    let whole = is_whole(stored.list());
    let by_name = stored.files().iter().any(|file| file.name.starts_with("adapter_model"));
    if let (false, Some(option)) = (telling, asked) {
        let reason = format!("holds no factors of an adapter, so `{option}` does not apply");
        return Err(Error::malformed(path, reason));
    }
    // A model whose own layers are built of factors and whole weights is a model.
    let is_adapter = if config.is_some() { telling || by_name } else { telling && !whole };
    if !is_adapter {
        if !telling && !headers.is_empty() {
            let reason = "says that it is an adapter, but none of its tensors is a factor that svdkit knows; \
                          `--as-weights` reads them as they are stored";
            return Err(Error::malformed(path, reason));
        }
        return match thin_pairs::found(stored.list()).filter(|_| !telling) {
            Some(looks) => Err(Error::malformed(path, looks)),
            None => Ok(None),
        };
    }
    let configs = match config {
        Some(file) => ConfigByComponent::whole(AdapterConfig::read(&file)?),
        None => ConfigByComponent::of_headers(path, headers)?,
    };
    configs.all().try_for_each(|config| check_base(path, config, known))?;
    let cuts_base = configs.all().any(AdapterConfig::cuts_base);
    if cuts_base && known.beginning == Beginning::Known && !configs.all().all(AdapterConfig::cuts_base) {
        let reason =
            "only some of its updates are of a base that KaSA cut, so `--adapter-init` does not apply";
        return Err(Error::malformed(path, reason));
    }
    Ok(Some(Opened { updates: catalogue(path, stored, &configs, known)?, cuts_base }))
}

/// Whether `tensors` are a model whose own layers are built of factors and the weights that they change: every changed
/// weight is there, and others are. PEFT stores a weight that an adapter changes only of embeddings.
fn is_whole(tensors: &[TensorInfo]) -> bool {
    const BASE: &str = ".base_layer.weight";
    let weights: BTreeSet<&str> =
        tensors.iter().filter_map(|tensor| tensor.name.strip_suffix(BASE)).collect();
    if weights.is_empty() {
        return false;
    }
    let (mut changed, mut others) = (BTreeSet::new(), false);
    for tensor in tensors {
        match unread::spelling(&tensor.name) {
            Some(spelling) if spelling.part.method().is_some() => drop(changed.insert(spelling.module)),
            Some(_) => {}
            None => others |= !tensor.name.contains(".base_layer."),
        }
    }
    others && changed.iter().all(|module| weights.contains(module.as_str()))
}

/// What to tell of a model that holds factors of adapters beside the weights that they change.
pub(crate) fn built_in(tensors: &[TensorInfo]) -> Option<String> {
    let is_factor = |tensor: &&TensorInfo| {
        unread::spelling(&tensor.name).is_some_and(|spelling| spelling.part.method().is_some())
    };
    if !is_whole(tensors) {
        return None;
    }
    let mut factors = tensors.iter().filter(is_factor);
    let first = factors.next()?;
    let more = factors.count();
    Some(format!(
        "! `{}` and {more} more are factors of an adapter, stored with the weights that they change; they are measured as \
         weights of their own. To measure the weights with their updates, merge them before saving (`merge_and_unload`)",
        brief(&first.name)
    ))
}

/// The update that training made of the adapter at `path`, opened as `before`: what it is now, less what it was. Where the
/// initialization took a part out of the base (PiSSA, OLoRA, CorDA) this is the update to the original weights,
/// s·(B·A − B₀·A₀), of at most twice the rank.
pub(crate) fn trained_delta(updates: Catalogue, path: &Path, before: &Catalogue) -> Result<Catalogue, Error> {
    if before.holds() != Holds::Updates {
        return Err(Error::malformed(path, "is no adapter, so `--adapter-init` does not apply"));
    }
    let missing = |layer: &Layer| {
        let reason = format!("has no update of `{}` ({} × {})", brief(&layer.name), layer.rows, layer.cols);
        Error::malformed(path, reason)
    };
    updates.less(before, missing)
}

/// Whether settings lie beside the weights at `location`.
pub(crate) fn has_config(location: &Location) -> bool {
    beside(location).is_some()
}

/// The settings that lie beside the weights at `location`.
fn beside(location: &Location) -> Option<Location> {
    Some(location.folder().join(CONFIG)).filter(Location::is_named)
}

/// The updates in `stored`, and its other tensors.
fn catalogue(
    path: &Path,
    stored: &Arc<Tensors>,
    configs: &ConfigByComponent,
    known: Known<'_>,
) -> Result<Catalogue, Error> {
    let base = known.base;
    let layers = base.map_or_else(Vec::new, |base| base.select(&Filter::default()).layers);
    let (modules, rest) = modules::sorted(path, stored.list())?;
    let has_conv1d = modules.keys().any(|name| modules::is_conv1d(name));
    let setting = Setting { path, source: stored, configs, base: &layers, has_conv1d };
    let (mut drafts, mut skipped) = (vec![], vec![]);
    for module in modules.values() {
        let found = module.drafts(&setting)?;
        let left = module.tensors().filter_map(|(part, tensor)| match part {
            TensorRole::Bias => Some(tensor.skipped(SkipKind::Plain, BIAS)),
            TensorRole::Tokens => {
                Some(tensor.skipped(SkipKind::Refused, "rows of an embedding that were trained alone"))
            }
            _ if found.is_empty() => Some(tensor.skipped(SkipKind::Plain, "no update of a matrix")),
            _ => None,
        });
        skipped.extend(left);
        skipped.extend(module.biases.iter().map(|tensor| tensor.skipped(SkipKind::Plain, BIAS)));
        let unknown = "a part of an update, of a kind that svdkit does not know";
        skipped.extend(module.unknown.iter().map(|tensor| tensor.skipped(SkipKind::Refused, unknown)));
        drafts.extend(found);
    }
    let (whole, others) = whole_weights(&setting, &rest);
    drafts.extend(whole);
    skipped.extend(others);
    let named = |line: Arc<Skipped>| LeftOut { name: bare(&pair::canonical(&line.tensor)).into(), line };
    let mut left_out: Vec<LeftOut> = skipped.into_iter().map(Arc::new).map(named).collect();
    let mut updates: Vec<Update> = drafts.into_iter().map(Update::new).collect();
    if base.is_some() {
        find_bases(&mut updates, &layers);
    }
    updates.sort_by(|a, b| natural(&a.layer.name, &b.layer.name));
    if let Some([a, b]) = updates.array_windows::<2>().find(|[a, b]| a.layer.name == b.layer.name) {
        let reason = format!("changes the same matrix as `{}`", brief(&b.layer.tensor));
        return Err(Error::tensor(path, &a.layer.tensor, reason));
    }
    let (updates, baseless): (Vec<Update>, Vec<Update>) =
        updates.into_iter().partition(|update| update.base.is_some() || !update.needs_base());
    let reasons = Baseless { configs, given: base.is_some() };
    for Update { layer, draft, .. } in &baseless {
        let lines = reasons.skip(draft, stored.list()).into_iter().map(Arc::new);
        left_out.extend(lines.map(|line| LeftOut { name: layer.name.clone(), line }));
    }
    left_out.sort_by(|a, b| natural(&a.line.tensor, &b.line.tensor));
    let moved =
        |config: &AdapterConfig| config.moved_base().is_some() && !(config.cuts_base() && base.is_some());
    let caution =
        (known.beginning != Beginning::Known && configs.all().any(moved)).then_some(Flag::MovedBase);
    let weights = updates.into_iter().map(|update| update.weight(path, known, caution));
    let weights = weights.collect::<Result<_, Error>>()?;
    Ok(Catalogue::new(Arc::clone(stored), Holds::Updates, weights, left_out))
}

impl Update {
    fn new(draft: Draft) -> Self {
        let (rows, cols) = draft.expr.shape();
        let name = printable(&draft.name).into();
        let (block, role) = layer::place_of(&name);
        let layer = Layer {
            tensor: draft.tensors.first().map(|name| name.as_str().into()).unwrap_or_default(),
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
            rank: None,
            operands: None,
            order: 0,
            block,
            role,
        };
        Self { layer, draft, base: None }
    }

    /// Whether it means nothing without the weight it changes.
    fn needs_base(&self) -> bool {
        self.draft.magnitude.is_some() || self.draft.kind == WHOLE
    }

    /// The update to the base.
    fn weight(self, path: &Path, known: Known<'_>, caution: Option<Flag>) -> Result<Weight, Error> {
        let Self { layer, draft, base } = self;
        let weight = known.base.zip(base);
        let weight = weight.and_then(|(source, base)| Some((Arc::clone(&source.get(&base)?.expr), base)));
        let expr = match (weight, draft.magnitude) {
            (Some((weight, _)), Some((lengths, along))) => {
                let of = draft.expr.plus(Arc::clone(&weight));
                Arc::new(Expr::Rescaled { of, lengths, along }).minus(weight)
            }
            (Some((weight, _)), None) if draft.kind == WHOLE => draft.expr.minus(weight),
            (Some((weight, base)), None) if draft.kind == "kasa" => {
                let Some(by) = known.beyond else { return Err(undecomposed(path)) };
                if base.stored_shape.len() != 2 {
                    let reason = "is of a convolution, whose base KaSA cuts in a way that is not known";
                    return Err(Error::tensor(path, &layer.tensor, reason));
                }
                // As many directions as the update has were cut off, the smallest.
                let short = base.rows.min(base.cols);
                let keep = short - draft.expr.directions().unwrap_or(short).min(short);
                draft.expr.minus(Arc::new(Expr::Beyond { of: weight, keep, by: Decompose(by) }))
            }
            _ => draft.expr,
        };
        let update = report::Update {
            kind: draft.kind.into(),
            scale: draft.scale,
            rank: expr.thin_rank().map(|rank| rank as u64),
            tensors: draft.tensors,
            flags: draft.flags.into_iter().chain(caution).collect(),
        };
        Ok(Weight::new(layer, expr, Some(Box::new(update))))
    }

    /// Turns the update of a linear layer, to be stored the other way round.
    fn turn(&mut self) {
        self.draft.expr = Arc::clone(&self.draft.expr).transposed();
        if let Some((_, along)) = &mut self.draft.magnitude {
            *along = match along {
                Along::Rows => Along::Columns(1),
                Along::Columns(_) => Along::Rows,
            };
        }
        std::mem::swap(&mut self.layer.rows, &mut self.layer.cols);
        self.layer.stored_shape.reverse();
    }
}

/// The error if nothing decomposes the base.
fn undecomposed(path: &Path) -> Error {
    let reason = "`kasa` cut a part off the base before training, which takes a decomposition to tell";
    Error::malformed(path, reason)
}

/// Refuses adapters whose update to the original weights is unknown.
fn check_base(path: &Path, config: &AdapterConfig, known: Known<'_>) -> Result<(), Error> {
    if known.base.is_none() {
        if config.cuts_base() && known.beginning == Beginning::Known {
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
    let is_known = known.beginning != Beginning::Unknown || config.cuts_base() && known.beyond.is_some();
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
fn find_bases(updates: &mut [Update], base: &[Arc<Layer>]) {
    let layers: Vec<Arc<Layer>> = updates.iter().map(|update| Arc::new(update.layer.clone())).collect();
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
        if ours != theirs && (ours.1, ours.0) == theirs && update.draft.linear {
            update.turn();
        }
        if pair::is_underscored(&update.layer.name) {
            update.layer.name = pair::canonical(&pair.base.name).into();
            (update.layer.block, update.layer.role) = layer::place_of(&update.layer.name);
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
