//! FP8: a float a byte, with a scale for the tensor, each row or each block (DeepSeek, FBGEMM, ComfyUI, ModelOpt,
//! compressed-tensors, MXFP8). Without scales and without a configuration that promises some it is a plain weight.

use super::inventory::{Decoding, Inventory, NO_SCALES, scaled};
use crate::layer::{Element, TensorInfo};
use crate::matrix::Dtype;
use crate::weight::{Book, Scheme, View};

/// Endings of the names of a weight's scales.
const SCALES: [&str; 2] = ["_scale_inv", "_scale"];

/// The codebooks by stored type, and the name of the scheme.
const TYPES: [(&str, Book, &str); 4] = [
    ("f8_e4m3", Book::Float(Dtype::F8E4M3), "fp8"),
    ("f8_e5m2", Book::Float(Dtype::F8E5M2), "fp8 e5m2"),
    ("f8_e4m3fnuz", Book::E4m3Fnuz, "fp8 fnuz"),
    ("f8_e5m2fnuz", Book::E5m2Fnuz, "fp8 e5m2fnuz"),
];

/// The FP8 weight that `tensor` is, if its entries are not plainly those stored.
pub(super) fn find(inventory: &Inventory<'_>, tensor: &TensorInfo) -> Option<Decoding> {
    let (_, book, label) = *TYPES.iter().find(|(name, ..)| *name == tensor.element.name())?;
    if tensor.shape.len() < 2 {
        return None;
    }
    let name = tensor.name.as_str();
    let beside = inventory.first(name, &SCALES);
    // ComfyUI puts the word before.
    let before = || inventory.get(&format!("{}.scale_weight", name.strip_suffix(".weight")?));
    let Some(scales) = beside.or_else(before) else { return alone(inventory, tensor, (book, label)) };
    let block = inventory.quantization(tensor).block;
    let scheme = scaled(name.to_owned(), tensor.shape.clone(), (tensor, book), scales, block);
    Some(match scheme {
        Ok(scheme) => {
            let label = format!("{label} {}", scheme.label);
            Decoding::Weight(Box::new(Scheme { label, ..scheme }))
        }
        Err(reason) => Decoding::Refused(reason, vec![scales.name.to_string()]),
    })
}

/// A weight without scales: plain, unless the configuration says that there should be some.
fn alone(inventory: &Inventory<'_>, tensor: &TensorInfo, (book, label): (Book, &str)) -> Option<Decoding> {
    if inventory.quantization(tensor).method.is_some() {
        return Some(Decoding::Refused(NO_SCALES.to_owned(), vec![]));
    }
    match tensor.element {
        Element::Float(_) | Element::Coded(..) => None,
        Element::Other(_) => Some(Decoding::Weight(Box::new(Scheme {
            name: tensor.name.to_string(),
            shape: tensor.shape.clone(),
            view: View::of(&tensor.shape)?,
            label: label.to_owned(),
            codes: tensor.clone(),
            book,
            scales: None,
            overall: None,
            zeros: None,
            groups: None,
            parts: vec![],
        }))),
    }
}
