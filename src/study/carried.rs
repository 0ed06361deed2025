//! What was trained beside the matrices of a fine-tune or an adapter, as PEFT keeps it: norms and other small modules whole,
//! biases by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::checkpoint::{Catalogue, Pairs, VectorUpdate, vector_update};
use crate::error::Error;
use crate::layer::{Element, Filter, TensorInfo, bare};
use crate::matrix::Matrix;
use crate::pair;
use crate::report::SkipKind;
use crate::weight::Tensors;
use crate::writing::{CarriedTensor, Kept, TensorBytes};

/// The prefix of names in PEFT's files.
const PREFIX: &str = "base_model.model.";

/// Tensors to carry, and the names of those that have no place.
#[derive(Default)]
pub struct Carried {
    /// Those that are written.
    pub tensors: Vec<CarriedTensor>,
    /// Vectors that were trained and are not written.
    pub left_out: Vec<String>,
}

impl Carried {
    /// What `adapter` holds beside its updates, where that is spelled as PEFT does.
    pub fn of_adapter(adapter: &Arc<Catalogue>, filter: &Filter) -> Self {
        let stored = adapter.stored();
        let wanted = |tensor: &&TensorInfo| filter.keeps(bare(&pair::canonical(&tensor.name)));
        let all: Vec<&TensorInfo> = adapter.tensors().iter().filter(wanted).collect();
        let names: BTreeSet<&str> = all.iter().map(|tensor| tensor.name.as_str()).collect();
        let mut tensors = vec![];
        for tensor in all {
            let Some(name) = tensor.name.strip_prefix(PREFIX) else { continue };
            match vector_update(&tensor.name) {
                VectorUpdate::Whole { .. } => {
                    let Some((module, last)) = name.rsplit_once('.') else { continue };
                    let own = module.strip_suffix(".base_layer");
                    if name.contains(".original_module.") || own.is_some() && last != "bias" {
                        continue;
                    }
                    let weight = format!("{PREFIX}{module}.weight");
                    let alone = last == "bias" && (own.is_some() || !names.contains(weight.as_str()));
                    let kept = if alone { Kept::Bias } else { Kept::InModule };
                    tensors.extend(carried(stored, tensor, (own.unwrap_or(module), last), kept));
                }
                VectorUpdate::Scaled { module } => {
                    let Some((own, last)) = name.split_once(".lora_B.") else { continue };
                    let layers = adapter.select(&Filter::default()).layers;
                    let scale = layers.iter().find(|layer| layer.name == module);
                    let scale = scale.and_then(|layer| adapter.update(layer)?.scale);
                    let last = last.rsplit('.').next().unwrap_or(last);
                    tensors.extend(scale.and_then(|scale| scaled(adapter, tensor, (own, last), scale)));
                }
                VectorUpdate::Added { .. } | VectorUpdate::Unknown => {}
            }
        }
        let taken: BTreeSet<&str> =
            tensors.iter().map(|tensor: &CarriedTensor| tensor.stored.as_str()).collect();
        let is_vector =
            |line: &Arc<crate::report::Skipped>| line.kind == SkipKind::Plain && line.shape.len() == 1;
        let skipped =
            adapter.select(filter).skipped.into_iter().filter(is_vector).map(|line| line.tensor.to_string());
        let left_out = skipped.filter(|name| !taken.contains(name.as_str())).collect();
        Self { tensors, left_out }
    }

    /// The vectors of a fine-tune whose bytes are not the base's.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn of_pairs(pairs: &Pairs, filter: &Filter) -> Result<Self, Error> {
        let (base, tuned) = (pairs.base().tensors(), pairs.tuned());
        let of_tuned: BTreeMap<String, &TensorInfo> =
            tuned.tensors().iter().map(|tensor| (pair::canonical(&tensor.name), tensor)).collect();
        let counterpart = |before: &TensorInfo| {
            of_tuned.get(&pair::canonical(&before.name)).copied().filter(|after| after.shape == before.shape)
        };
        let owners = modules_of(base);
        let (mut modules, mut biases, mut left_out) = (BTreeSet::new(), vec![], vec![]);
        for before in base.iter().filter(|before| before.shape.len() < 2) {
            let Some(after) = counterpart(before).filter(|after| filter.keeps(bare(&after.name))) else {
                continue;
            };
            if !differs((pairs.base(), before), (tuned, after))? {
                continue;
            }
            match before.name.rsplit_once('.') {
                Some((module, _)) if owners[module].is_small => drop(modules.insert(module)),
                Some((module, "bias")) if owners[module].is_leaf => biases.push((module, after)),
                _ => left_out.push(after.name.to_string()),
            }
        }
        let refused = matched_too(&mut modules, &owners);
        let mut tensors = vec![];
        for before in base {
            let Some((module, last)) = before.name.rsplit_once('.') else { continue };
            let Some(after) = counterpart(before).filter(|_| modules.contains(module)) else { continue };
            match carried(tuned.stored(), after, (module, last), Kept::InModule) {
                Some(tensor) => tensors.push(tensor),
                None => left_out.push(after.name.to_string()),
            }
        }
        for (module, after) in biases {
            match carried(tuned.stored(), after, (module, "bias"), Kept::Bias) {
                Some(tensor) => tensors.push(tensor),
                None => left_out.push(after.name.to_string()),
            }
        }
        left_out.extend(refused);
        Ok(Self { tensors, left_out })
    }

    /// The stored names of what is carried.
    pub fn names(&self) -> BTreeSet<String> {
        self.tensors.iter().map(|tensor| tensor.stored.clone()).collect()
    }
}

/// What a module holds.
#[derive(Debug, Clone, Copy)]
struct Module {
    /// Whether it has no modules of its own.
    is_leaf: bool,
    /// Whether, besides, all its tensors are vectors.
    is_small: bool,
}

/// The modules that `tensors` belong to, by name.
fn modules_of(tensors: &[TensorInfo]) -> BTreeMap<&str, Module> {
    let mut modules: BTreeMap<&str, Module> = BTreeMap::new();
    for tensor in tensors {
        let mut name = tensor.name.as_str();
        while let Some((owner, _)) = name.rsplit_once('.') {
            let is_own = name.len() == tensor.name.len();
            let module = modules.entry(owner).or_insert(Module { is_leaf: true, is_small: true });
            module.is_leaf &= is_own;
            module.is_small &= is_own && tensor.shape.len() < 2;
            name = owner;
        }
    }
    modules
}

/// PEFT saves every module whose name ends in one of `saved`, and asks for all of their tensors: those that are as small
/// are added, and a name that others end in is taken out. Gives the names that were.
fn matched_too<'t>(saved: &mut BTreeSet<&'t str>, owners: &BTreeMap<&'t str, Module>) -> Vec<String> {
    let also = |wanted: &str| -> Vec<(&'t str, Module)> {
        owners
            .iter()
            .filter(|(name, _)| name.ends_with(wanted))
            .map(|(name, module)| (*name, *module))
            .collect()
    };
    let mut refused = vec![];
    loop {
        let is_wrong = |wanted: &&str| also(wanted).iter().any(|(_, module)| !module.is_small);
        let wrong: Vec<&str> = saved.iter().copied().filter(is_wrong).collect();
        if wrong.is_empty() {
            let more: Vec<&str> = saved.iter().flat_map(|name| also(name)).map(|(name, _)| name).collect();
            saved.extend(more);
            return refused;
        }
        for name in wrong {
            saved.remove(name);
            refused.push(name.to_owned());
        }
    }
}

/// Whether the bytes of two tensors differ; not of those whose places are unknown.
fn differs(
    before: (&Arc<Catalogue>, &TensorInfo),
    after: (&Arc<Catalogue>, &TensorInfo),
) -> Result<bool, Error> {
    let read = |(catalogue, tensor): (&Arc<Catalogue>, &TensorInfo)| {
        tensor.bytes.map(|length| catalogue.stored().bytes(tensor, 0, length)).transpose()
    };
    let (before, after) = (read(before)?, read(after)?);
    Ok(before.is_some() && after.is_some() && before != after)
}

/// `tensor` as it is stored; none where it does not lie as rows of numbers.
fn carried(
    stored: &Arc<Tensors>,
    tensor: &TensorInfo,
    (module, name): (&str, &str),
    kept: Kept,
) -> Option<CarriedTensor> {
    let length = tensor.bytes.filter(|_| stored.layout(&tensor.name).is_none())?;
    let is_plain = match &tensor.element {
        Element::Float(_) => true,
        Element::Other(name) => ["i64", "i32", "bool", "u8"].contains(&name.as_str()),
        Element::Coded(..) => false,
    };
    let bytes: TensorBytes = {
        let (stored, tensor) = (Arc::clone(stored), tensor.clone());
        Box::new(move || stored.bytes(&tensor, 0, length))
    };
    is_plain.then(|| CarriedTensor {
        stored: tensor.name.to_string(),
        module: module.to_owned(),
        name: name.to_owned(),
        kept,
        dtype: tensor.element.name().to_owned(),
        shape: tensor.shape.iter().map(|n| *n as u64).collect(),
        length,
        bytes,
    })
}

/// A bias of factors times their scale, for factors of scale 1.
fn scaled(
    adapter: &Arc<Catalogue>,
    tensor: &TensorInfo,
    (module, name): (&str, &str),
    scale: f64,
) -> Option<CarriedTensor> {
    let Element::Float(dtype) = tensor.element else { return None };
    let count: usize = tensor.shape.iter().product();
    let bytes: TensorBytes = {
        let row = tensor.as_matrix((1, count), dtype);
        let alone = adapter.alone(row.clone());
        Box::new(move || {
            let entries: Vec<f64> = alone.read(&row, 0..1)?.to_f64().iter().map(|x| x * scale).collect();
            Ok(Matrix::rounded(1, count, dtype, &entries)?.bytes().to_vec())
        })
    };
    let plain = carried(adapter.stored(), tensor, (module, name), Kept::FactorBias)?;
    Some(CarriedTensor { bytes, length: (count * dtype.size()) as u64, ..plain })
}
