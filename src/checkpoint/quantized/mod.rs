//! Quantized weights in safetensors: codes and scales as one matrix of the numbers that they stand for.
//!
//! One file a family of schemes finds the tensors that make up a weight; `recipe` computes its entries. A weight whose
//! scales are not there, or do not fit, is never read without them.

mod codebook;
mod foreign;
mod fp4;
mod fp8;
mod grid;
mod integers;
mod inventory;
mod recipe;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use self::inventory::{Found, Inventory};
use self::recipe::Recipe;
use super::MatrixSource;
use super::config::Quantization;
use super::stored::Stored;
use crate::error::Error;
use crate::layer::{self, Element, Filter, Layer, Part, Selection, TensorInfo, bare, natural};
use crate::matrix::{Dtype, Matrix};
use crate::report::{Kind, Skipped, SourceFile};

/// Finds the weight whose codes a tensor holds.
type Scheme = fn(&Inventory<'_>, &TensorInfo) -> Option<Found>;

/// The schemes, in the order they are tried.
const SCHEMES: [Scheme; 7] = [
    foreign::packed,
    foreign::bitsandbytes,
    fp4::blocks,
    fp4::packed,
    integers::packed,
    integers::bytes,
    fp8::find,
];

/// A checkpoint some of whose weights are quantized.
pub(super) struct Quantized {
    stored: Stored,
    /// What is stored as it is, and each quantized weight under its own name and shape.
    weights: Vec<TensorInfo>,
    /// By the name of the tensor that holds the codes.
    recipes: BTreeMap<String, Recipe>,
    /// Tensors that are no rows, and why.
    skipped: Vec<Skipped>,
}

/// `stored` with its quantized weights put together, if there are any.
pub(super) fn wrap(stored: Stored, config: &Quantization) -> Box<dyn MatrixSource> {
    let tensors = stored.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let inventory = Inventory { stored: &stored, tensors, config };
    let (mut recipes, mut refused) = (BTreeMap::<String, Recipe>::new(), BTreeMap::new());
    // What scales which weight.
    let mut parts: BTreeMap<String, String> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for tensor in stored.tensors().iter().filter(|tensor| !is_scale(&inventory, &tensor.name)) {
        match SCHEMES.iter().find_map(|scheme| scheme(&inventory, tensor)) {
            Some(Found::Weight(recipe))
                if recipe.name != tensor.name && inventory.get(&recipe.name).is_some() =>
            {
                parts.extend(recipe.parts.into_iter().map(|part| (part, tensor.name.clone())));
                let reason = "quantized, but stored unquantized as well".to_owned();
                refused.insert(tensor.name.clone(), (Kind::Plain, reason));
            }
            Some(Found::Weight(recipe)) if !names.insert(recipe.name.clone()) => {
                parts.extend(recipe.parts.into_iter().map(|part| (part, tensor.name.clone())));
                let reason = "quantized, but stored quantized in another way as well".to_owned();
                refused.insert(tensor.name.clone(), (Kind::Refused, reason));
            }
            Some(Found::Weight(recipe)) => {
                parts.extend(recipe.parts.iter().map(|part| (part.clone(), recipe.name.clone())));
                recipes.insert(tensor.name.clone(), *recipe);
            }
            Some(Found::Refused(reason, beside)) => {
                parts.extend(beside.into_iter().map(|part| (part, tensor.name.clone())));
                refused.insert(tensor.name.clone(), (Kind::Refused, reason));
            }
            None => {}
        }
    }
    if recipes.is_empty() && refused.is_empty() {
        return Box::new(stored);
    }
    let (mut weights, mut skipped) = (vec![], vec![]);
    for tensor in stored.tensors() {
        let refused = refused.get(&tensor.name).map(|(kind, reason)| tensor.skipped(*kind, reason));
        let scales = || parts.get(&tensor.name).map(|weight| tensor.scales_of(weight));
        match (refused.or_else(scales), recipes.get(&tensor.name)) {
            (Some(line), _) => skipped.push(line),
            (None, Some(Recipe { name, shape, .. })) => weights.push(TensorInfo {
                name: name.clone(),
                shape: shape.clone(),
                element: Element::Float(Dtype::F32),
                ..tensor.clone()
            }),
            (None, None) => weights.push(tensor.clone()),
        }
    }
    Box::new(Quantized { stored, weights, recipes, skipped })
}

/// Whether a tensor holds scales of another, so that its FP8 numbers are no weight.
fn is_scale(inventory: &Inventory<'_>, name: &str) -> bool {
    let stem = ["_scale", "_scale_inv", "_scale_2"].iter().find_map(|ending| name.strip_suffix(ending));
    stem.is_some_and(|stem| {
        ["", "_packed"].iter().any(|end| inventory.get(&format!("{stem}{end}")).is_some())
    })
}

impl MatrixSource for Quantized {
    fn tensors(&self) -> &[TensorInfo] {
        self.stored.tensors()
    }

    fn files(&self) -> Vec<SourceFile> {
        self.stored.files()
    }

    fn notes(&self) -> &[String] {
        self.stored.notes()
    }

    fn select(&self, filter: &Filter) -> Selection {
        let mut selection = layer::select(&self.weights, filter);
        let names: BTreeMap<&str, &Recipe> =
            self.recipes.values().map(|recipe| (recipe.name.as_str(), recipe)).collect();
        for layer in &mut selection.layers {
            if let Some(recipe) = names.get(layer.tensor.as_str()) {
                layer.tensor.clone_from(&recipe.codes.name);
                layer.encoding = Some(recipe.encoding());
            }
        }
        let kept = self.skipped.iter().filter(|skipped| filter.keeps(bare(&skipped.tensor)));
        let before = selection.skipped.len();
        selection.skipped.extend(kept.cloned());
        selection.filtered += self.skipped.len() - (selection.skipped.len() - before);
        selection.skipped.sort_by(|a, b| natural(&a.tensor, &b.tensor));
        selection
    }

    fn read(&self, layer: &Layer, rows: Range<usize>) -> Result<Matrix, Error> {
        match self.recipes.get(&layer.tensor).filter(|_| layer.part != Part::Bytes) {
            Some(recipe) => recipe.read(&self.stored, layer, rows),
            None => self.stored.read(layer, rows),
        }
    }

    fn window(&self, layer: &Layer, rows: Range<usize>, columns: Range<usize>) -> Result<Matrix, Error> {
        match self.recipes.get(&layer.tensor) {
            Some(recipe) => {
                super::narrowed(layer, rows, columns, |rows| recipe.read(&self.stored, layer, rows))
            }
            None => self.stored.window(layer, rows, columns),
        }
    }
}
