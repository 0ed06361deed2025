//! FP4, two a byte: MXFP4 with a power of two for 32 entries (gpt-oss, compressed-tensors, ModelOpt), and NVFP4 with an
//! FP8 scale for 16 and a scale for the whole matrix, without which every number is wrong by a factor of thousands.

use super::inventory::{Decoding, Inventory, NO_FIT, NO_SCALES, is, scaled};
use crate::layer::{Element, TensorInfo};
use crate::matrix::Dtype;
use crate::weight::{Book, Number, Overall, Scheme, Use};

/// A way to scale FP4: its name, entries under one scale, and the type of that.
type Fp4Scaling = (&'static str, usize, Number);

const MX: Fp4Scaling = ("mxfp4", 32, Number::Power);
const NV: Fp4Scaling = ("nvfp4", 16, Number::Float(Dtype::F8E4M3));

/// Endings of the names of a weight's parts.
const PARTS: [&str; 5] = ["_scale", "_scale_2", "_global_scale", "_zero_point", "_shape"];

/// gpt-oss: `…_blocks` of […, rows, blocks, 16 bytes] and `…_scales` of […, rows, blocks].
pub(super) fn blocks(inventory: &Inventory<'_>, tensor: &TensorInfo) -> Option<Decoding> {
    let stem = tensor.name.strip_suffix("_blocks").filter(|_| is(tensor, "u8"))?;
    let [outer @ .., count, bytes] = tensor.shape.as_slice() else { return None };
    let Some(scales) = inventory.first(stem, &["_scales"]) else {
        return Some(Decoding::Refused(NO_SCALES.to_owned(), vec![]));
    };
    let shape = [outer, &[count * bytes * 2]].concat();
    let scheme = scaled(stem.to_owned(), shape, (tensor, Book::E2m1), scales, None);
    Some(finish(scheme, MX, vec![scales.name.to_string()]))
}

/// ModelOpt and compressed-tensors: `….weight` or `….weight_packed` of [rows, columns / 2] bytes.
pub(super) fn packed(inventory: &Inventory<'_>, tensor: &TensorInfo) -> Option<Decoding> {
    if !is(tensor, "u8") || tensor.shape.len() < 2 {
        return None;
    }
    let packed = tensor.name.strip_suffix("_packed");
    let stem = packed.unwrap_or(&tensor.name);
    let parts = inventory.parts(stem, &PARTS);
    let Some(scales) = inventory.first(stem, &["_scale"]) else {
        // Bytes of another kind, unless their name says that they are packed.
        return packed.map(|_| Decoding::Refused(NO_SCALES.to_owned(), parts));
    };
    let [outer @ .., bytes] = tensor.shape.as_slice() else { return None };
    let shape = [outer, &[bytes * 2]].concat();
    let scheme = scaled(stem.to_owned(), shape, (tensor, Book::E2m1), scales, None);
    if scales.element != Element::Float(Dtype::F8E4M3) {
        return Some(finish(scheme, MX, parts));
    }
    let multiply = inventory.first(stem, &["_scale_2"]).map(|tensor| (tensor, Use::Multiply));
    let divide = || inventory.first(stem, &["_global_scale"]).map(|tensor| (tensor, Use::Divide));
    let Some((overall, use_)) = multiply.or_else(divide) else {
        return Some(Decoding::Refused(NO_SCALES.to_owned(), parts));
    };
    let scheme = scheme.and_then(|scheme| {
        let count: usize = overall.shape.iter().product();
        let number = Number::of(&overall.element).filter(|_| count == 1 || count == scheme.view.slices);
        let number = number.ok_or_else(|| NO_FIT.to_owned())?;
        Ok(Scheme { overall: Some(Overall { tensor: overall.clone(), number, use_ }), ..scheme })
    });
    Some(finish(scheme, NV, parts))
}

/// The weight under its scheme's name, if its scales lie as that has them.
fn finish(
    scheme: Result<Scheme, String>,
    (label, group, number): Fp4Scaling,
    parts: Vec<String>,
) -> Decoding {
    let fits = |scheme: &Scheme| {
        scheme.view.cols.is_multiple_of(group)
            && scheme.scales.as_ref().is_some_and(|scales| {
                scales.number == number
                    && (scales.grid.rows, scales.grid.cols) == (scheme.view.rows, scheme.view.cols / group)
            })
    };
    match scheme {
        Ok(scheme) if fits(&scheme) => {
            Decoding::Weight(Box::new(Scheme { label: label.to_owned(), parts, ..scheme }))
        }
        Ok(_) => Decoding::Refused(NO_FIT.to_owned(), parts),
        Err(reason) => Decoding::Refused(reason, parts),
    }
}
