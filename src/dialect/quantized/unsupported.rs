//! Quantized weights that are known by name and not read: GPTQ, AWQ, bitsandbytes.

use super::inventory::{Decoding, Inventory, is};
use crate::layer::TensorInfo;

/// `….qweight` of GPTQ and AWQ.
pub(super) fn packed(inventory: &Inventory<'_>, tensor: &TensorInfo) -> Option<Decoding> {
    let stem = tensor.name.strip_suffix("qweight").filter(|_| is(tensor, "i32"))?;
    let parts =
        inventory.parts(stem, &["qzeros", "scales", "g_idx", "perm", "workspace", "wscales", "wzeros"]);
    let method = match &inventory.quantization(tensor).method {
        Some(method) => method.to_uppercase(),
        None if inventory.get(&format!("{stem}g_idx")).is_some() => "GPTQ".to_owned(),
        None => "GPTQ or AWQ".to_owned(),
    };
    Some(Decoding::Refused(advice(&method), parts))
}

/// `….weight` of bitsandbytes: 4-bit codes in a column of bytes, or 8-bit ones with `….SCB`.
pub(super) fn bitsandbytes(inventory: &Inventory<'_>, tensor: &TensorInfo) -> Option<Decoding> {
    let name = tensor.name.as_str();
    let rows = name.strip_suffix("weight").and_then(|stem| inventory.get(&format!("{stem}SCB")));
    let four = is(tensor, "u8") && inventory.get(&format!("{name}.absmax")).is_some();
    if !(four || is(tensor, "i8") && rows.is_some()) {
        return None;
    }
    let start = format!("{name}.");
    let beside = inventory.tensors.range(start.as_str()..).take_while(|(name, _)| name.starts_with(&start));
    let parts = beside.map(|(name, _)| (*name).to_owned()).chain(rows.map(|rows| rows.name.to_string()));
    Some(Decoding::Refused(advice("bitsandbytes"), parts.collect()))
}

fn advice(method: &str) -> String {
    format!(
        "quantized with {method}, which is not unpacked: point svdkit at the model before that, or save it dequantized"
    )
}
