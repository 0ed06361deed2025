//! Quantized weights in safetensors: codes and scales as one matrix of their values.
//!
//! One file a family of schemes finds the tensors that make up a weight; `scheme` computes its entries. A weight whose
//! scales are not there, or do not fit, is never read without them.

mod fp4;
mod fp8;
mod integers;
mod inventory;
mod unsupported;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::inventory::{Decoding, Inventory};
use crate::format::Quantization;
use crate::layer::{Element, Layer, Selection, TensorInfo, natural};
use crate::matrix::Dtype;
use crate::report::SkipKind;
use crate::weight::{Catalogue, Decoded, Expr, Holds, LeftOut, Scheme, Tensors, Weight};

/// Finds the weight whose codes a tensor holds.
type Find = fn(&Inventory<'_>, &TensorInfo) -> Option<Decoding>;

/// The schemes, in the order they are tried.
const SCHEMES: [Find; 7] = [
    unsupported::packed,
    unsupported::bitsandbytes,
    fp4::blocks,
    fp4::packed,
    integers::packed,
    integers::bytes,
    fp8::find,
];

/// The matrices of `stored`, quantized ones put together.
pub(crate) fn open(stored: &Arc<Tensors>, config: &Quantization) -> Catalogue {
    let tensors = stored.list().iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let inventory = Inventory { stored, tensors, config };
    let (mut schemes, mut refused) = (BTreeMap::<String, Scheme>::new(), BTreeMap::new());
    // Which tensor scales which weight.
    let mut parts: BTreeMap<String, String> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for tensor in stored.list().iter().filter(|tensor| !is_scale(&inventory, &tensor.name)) {
        match SCHEMES.iter().find_map(|find| find(&inventory, tensor)) {
            Some(Decoding::Weight(scheme))
                if tensor.name != scheme.name && inventory.get(&scheme.name).is_some() =>
            {
                parts.extend(scheme.parts.into_iter().map(|part| (part, tensor.name.to_string())));
                let reason = "quantized, but stored unquantized as well".to_owned();
                refused.insert(tensor.name.clone(), (SkipKind::Plain, reason));
            }
            Some(Decoding::Weight(scheme)) if !names.insert(scheme.name.clone()) => {
                parts.extend(scheme.parts.into_iter().map(|part| (part, tensor.name.to_string())));
                let reason = "quantized, but stored quantized in another way as well".to_owned();
                refused.insert(tensor.name.clone(), (SkipKind::Refused, reason));
            }
            Some(Decoding::Weight(scheme)) => {
                parts.extend(scheme.parts.iter().map(|part| (part.clone(), scheme.name.clone())));
                schemes.insert(tensor.name.to_string(), *scheme);
            }
            Some(Decoding::Refused(reason, beside)) => {
                parts.extend(beside.into_iter().map(|part| (part, tensor.name.to_string())));
                refused.insert(tensor.name.clone(), (SkipKind::Refused, reason));
            }
            None => {}
        }
    }
    if schemes.is_empty() && refused.is_empty() {
        return plain(stored);
    }
    let (mut weights, mut skipped) = (vec![], vec![]);
    for tensor in stored.list() {
        let refused =
            refused.get(tensor.name.as_str()).map(|(kind, reason)| tensor.skipped(*kind, reason.as_str()));
        let scales = || parts.get(tensor.name.as_str()).map(|weight| tensor.scales_of(weight));
        match (refused.or_else(scales), schemes.get(tensor.name.as_str())) {
            (Some(line), _) => skipped.push(Arc::new(line)),
            (None, Some(Scheme { name, shape, .. })) => weights.push(TensorInfo {
                name: name.as_str().into(),
                shape: shape.clone(),
                element: Element::Float(Dtype::F32),
                ..tensor.clone()
            }),
            (None, None) => weights.push(tensor.clone()),
        }
    }
    let by_name: BTreeMap<String, Arc<Scheme>> =
        schemes.into_values().map(|scheme| (scheme.name.clone(), Arc::new(scheme))).collect();
    let Selection { layers, skipped: others, .. } = stored.select(&weights);
    let weight = |layer: Arc<Layer>| {
        let Some(scheme) = by_name.get(layer.tensor.as_str()) else { return Weight::stored(stored, layer) };
        let tensor = scheme.codes.name.clone();
        let layer = Layer { tensor, encoding: Some(Box::new(scheme.encoding())), ..(*layer).clone() };
        // Layers count their entries from the codes on, as f32.
        let first =
            (layer.offset - scheme.codes.offset) as usize / Dtype::F32.size() / scheme.view.cols.max(1);
        let (tensors, scheme, rows) = (Arc::clone(stored), Arc::clone(scheme), layer.rows);
        Weight::new(layer, Arc::new(Expr::Decoded(Decoded::Scaled { tensors, scheme, first, rows })), None)
    };
    let weights = layers.into_iter().map(weight).collect();
    skipped.extend(others);
    skipped.sort_by(|a, b| natural(&a.tensor, &b.tensor));
    let left_out = skipped.into_iter().map(LeftOut::tensor).collect();
    Catalogue::new(Arc::clone(stored), Holds::Weights, weights, left_out)
}

/// The matrices of `stored` as they are stored.
fn plain(stored: &Arc<Tensors>) -> Catalogue {
    let Selection { layers, skipped, .. } = stored.select(stored.list());
    let weights = layers.into_iter().map(|layer| Weight::stored(stored, layer)).collect();
    let left_out = skipped.into_iter().map(LeftOut::tensor).collect();
    Catalogue::new(Arc::clone(stored), Holds::Weights, weights, left_out)
}

/// Whether a tensor holds scales of another, so its FP8 numbers are not a weight.
fn is_scale(inventory: &Inventory<'_>, name: &str) -> bool {
    let stem = ["_scale", "_scale_inv", "_scale_2"].iter().find_map(|ending| name.strip_suffix(ending));
    stem.is_some_and(|stem| {
        ["", "_packed"].iter().any(|end| inventory.get(&format!("{stem}{end}")).is_some())
    })
}
