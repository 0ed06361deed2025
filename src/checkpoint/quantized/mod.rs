//! Quantized weights in safetensors: codes and scales as one matrix of the numbers that they stand for.
//!
//! One file a family of schemes finds the tensors that make up a weight; `scheme` computes its entries. A weight whose
//! scales are not there, or do not fit, is never read without them.

mod codebook;
mod foreign;
mod fp4;
mod fp8;
mod grid;
mod integers;
mod inventory;
mod scheme;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use self::inventory::{Found, Inventory};
use self::scheme::Scheme;
use super::catalogue::{Catalogue, LeftOut, Weight};
use super::config::Quantization;
use super::stored::Stored;
use super::weight::Expr;
use super::{Holds, MatrixSource};
use crate::error::Error;
use crate::layer::{self, Element, Filter, Layer, TensorInfo, natural};
use crate::matrix::{Dtype, Matrix};
use crate::report::SkipKind;

/// Finds the weight whose codes a tensor holds.
type Find = fn(&Inventory<'_>, &TensorInfo) -> Option<Found>;

/// The schemes, in the order they are tried.
const SCHEMES: [Find; 7] = [
    foreign::packed,
    foreign::bitsandbytes,
    fp4::blocks,
    fp4::packed,
    integers::packed,
    integers::bytes,
    fp8::find,
];

/// A weight that is decoded: its codes and what lies beside them in one checkpoint.
#[derive(Clone)]
pub(super) struct Decoded {
    stored: Arc<Stored>,
    scheme: Arc<Scheme>,
    /// Which of the tensor's rows are its own.
    first: usize,
    rows: usize,
}

impl Decoded {
    /// Rows and columns.
    pub(super) fn shape(&self) -> (usize, usize) {
        (self.rows, self.scheme.view.cols)
    }

    /// The rows `rows`, in f32.
    pub(super) fn read(&self, rows: Range<usize>) -> Result<Matrix, Error> {
        self.scheme.read(&self.stored, self.first + rows.start..self.first + rows.end.min(self.rows))
    }
}

impl PartialEq for Decoded {
    fn eq(&self, other: &Self) -> bool {
        let same = Arc::ptr_eq(&self.stored, &other.stored) && Arc::ptr_eq(&self.scheme, &other.scheme);
        same && self.first == other.first
    }
}

impl std::fmt::Debug for Decoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.scheme.name)
    }
}

/// `stored` with its quantized weights put together, if there are any.
pub(super) fn open(stored: Stored, config: &Quantization) -> Arc<dyn MatrixSource> {
    let tensors = stored.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let inventory = Inventory { stored: &stored, tensors, config };
    let (mut schemes, mut refused) = (BTreeMap::<String, Scheme>::new(), BTreeMap::new());
    // What scales which weight.
    let mut parts: BTreeMap<String, String> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for tensor in stored.tensors().iter().filter(|tensor| !is_scale(&inventory, &tensor.name)) {
        match SCHEMES.iter().find_map(|find| find(&inventory, tensor)) {
            Some(Found::Weight(scheme))
                if scheme.name != tensor.name && inventory.get(&scheme.name).is_some() =>
            {
                parts.extend(scheme.parts.into_iter().map(|part| (part, tensor.name.clone())));
                let reason = "quantized, but stored unquantized as well".to_owned();
                refused.insert(tensor.name.clone(), (SkipKind::Plain, reason));
            }
            Some(Found::Weight(scheme)) if !names.insert(scheme.name.clone()) => {
                parts.extend(scheme.parts.into_iter().map(|part| (part, tensor.name.clone())));
                let reason = "quantized, but stored quantized in another way as well".to_owned();
                refused.insert(tensor.name.clone(), (SkipKind::Refused, reason));
            }
            Some(Found::Weight(scheme)) => {
                parts.extend(scheme.parts.iter().map(|part| (part.clone(), scheme.name.clone())));
                schemes.insert(tensor.name.clone(), *scheme);
            }
            Some(Found::Refused(reason, beside)) => {
                parts.extend(beside.into_iter().map(|part| (part, tensor.name.clone())));
                refused.insert(tensor.name.clone(), (SkipKind::Refused, reason));
            }
            None => {}
        }
    }
    if schemes.is_empty() && refused.is_empty() {
        return Arc::new(stored);
    }
    let (mut weights, mut skipped) = (vec![], vec![]);
    for tensor in stored.tensors() {
        let refused = refused.get(&tensor.name).map(|(kind, reason)| tensor.skipped(*kind, reason));
        let scales = || parts.get(&tensor.name).map(|weight| tensor.scales_of(weight));
        match (refused.or_else(scales), schemes.get(&tensor.name)) {
            (Some(line), _) => skipped.push(line),
            (None, Some(Scheme { name, shape, .. })) => weights.push(TensorInfo {
                name: name.clone(),
                shape: shape.clone(),
                element: Element::Float(Dtype::F32),
                ..tensor.clone()
            }),
            (None, None) => weights.push(tensor.clone()),
        }
    }
    let by_name: BTreeMap<String, Arc<Scheme>> =
        schemes.into_values().map(|scheme| (scheme.name.clone(), Arc::new(scheme))).collect();
    let stored = Arc::new(stored);
    let whole: Arc<dyn MatrixSource> = Arc::<Stored>::clone(&stored);
    let selection = layer::select(&weights, &Filter::default());
    let weight = |layer: Layer| {
        let Some(scheme) = by_name.get(&layer.tensor) else {
            let expr = Expr::of(&whole, &layer);
            return Weight::new(layer, expr, None);
        };
        let tensor = scheme.codes.name.clone();
        let layer = Layer { tensor, encoding: Some(scheme.encoding()), ..layer };
        // Layers count their entries from the codes on, as f32.
        let first =
            (layer.offset - scheme.codes.offset) as usize / Dtype::F32.size() / scheme.view.cols.max(1);
        let (stored, scheme, rows) = (Arc::clone(&stored), Arc::clone(scheme), layer.rows);
        Weight::new(layer, Arc::new(Expr::Decoded(Decoded { stored, scheme, first, rows })), None)
    };
    let weights = selection.layers.into_iter().map(weight).collect();
    skipped.extend(selection.skipped);
    skipped.sort_by(|a, b| natural(&a.tensor, &b.tensor));
    let left_out = skipped.into_iter().map(LeftOut::tensor).collect();
    Arc::new(Catalogue::new(Arc::clone(&whole), Holds::Weights, weights, left_out))
}

/// Whether a tensor holds scales of another, so that its FP8 numbers are no weight.
fn is_scale(inventory: &Inventory<'_>, name: &str) -> bool {
    let stem = ["_scale", "_scale_inv", "_scale_2"].iter().find_map(|ending| name.strip_suffix(ending));
    stem.is_some_and(|stem| {
        ["", "_packed"].iter().any(|end| inventory.get(&format!("{stem}{end}")).is_some())
    })
}
