//! Whole numbers of compressed-tensors: a byte each (`int-quantized`), or packed into words of 32 bits
//! (`pack-quantized`), with a scale and perhaps a zero point for each row or group.

use super::inventory::{Decoding, Inventory, NO_FIT, NO_SCALES, is, scaled};
use crate::layer::TensorInfo;
use crate::weight::{Book, Scheme, Tensors, ZeroCodes, Zeros};

/// Endings of the names of a weight's parts.
const PARTS: [&str; 4] = ["_scale", "_zero_point", "_shape", "_g_idx"];

/// Widths of codes that words of 32 bits hold without one that lies across two; the usual first.
const WIDTHS: [u32; 4] = [4, 8, 2, 1];

/// `….weight` of signed bytes with `….weight_scale`.
pub(super) fn bytes(inventory: &Inventory<'_>, tensor: &TensorInfo) -> Option<Decoding> {
    if !is(tensor, "i8") || tensor.shape.len() < 2 {
        return None;
    }
    let name = tensor.name.as_str();
    let scales = inventory.first(name, &["_scale"])?;
    let parts = inventory.parts(name, &PARTS);
    let scheme = scaled(name.to_owned(), tensor.shape.clone(), (tensor, Book::Signed), scales, None);
    let scheme = scheme.and_then(|scheme| match inventory.first(name, &["_zero_point"]) {
        Some(zeros) if is(zeros, "i8") && zeros.shape == scales.shape => {
            Ok(Scheme { zeros: Some(Zeros { tensor: zeros.clone(), stored: ZeroCodes::Bytes }), ..scheme })
        }
        Some(_) => Err(NO_FIT.to_owned()),
        None => Ok(scheme),
    });
    Some(finish(scheme, parts))
}

/// `….weight_packed` of words with `….weight_scale` and `….weight_shape`.
pub(super) fn packed(inventory: &Inventory<'_>, tensor: &TensorInfo) -> Option<Decoding> {
    let stem = tensor.name.strip_suffix("_packed").filter(|_| is(tensor, "i32"))?;
    let parts = inventory.parts(stem, &PARTS);
    let (Some(scales), Some(shape)) =
        (inventory.first(stem, &["_scale"]), inventory.first(stem, &["_shape"]))
    else {
        return Some(Decoding::Refused(NO_SCALES.to_owned(), parts));
    };
    Some(finish(unpacked(inventory, stem, tensor, scales, shape), parts))
}

fn unpacked(
    inventory: &Inventory<'_>,
    stem: &str,
    codes: &TensorInfo,
    scales: &TensorInfo,
    shape: &TensorInfo,
) -> Result<Scheme, String> {
    let no_fit = || NO_FIT.to_owned();
    let shape = axes(inventory.stored, shape).ok_or_else(no_fit)?;
    let ([outer @ .., cols], [stored @ .., words]) = (shape.as_slice(), codes.shape.as_slice()) else {
        return Err(no_fit());
    };
    let fits = |bits: &u32| cols.checked_mul(*bits as usize).is_some_and(|all| all.div_ceil(32) == *words);
    let configured = inventory.quantization(codes).bits.filter(fits);
    let bits = configured.or_else(|| WIDTHS.into_iter().find(fits)).filter(|bits| WIDTHS.contains(bits));
    let Some(bits) = bits.filter(|_| outer == stored && (2..4).contains(&shape.len())) else {
        return Err("packed integers of a width that is not unpacked; save the model in bf16".to_owned());
    };
    let book = Book::Offset(bits);
    let mut scheme = scaled(stem.to_owned(), shape.clone(), (codes, book), scales, None)?;
    let Some(grid) = scheme.scales.as_ref().map(|scales| scales.grid) else { return Err(no_fit()) };
    if let Some(zeros) = inventory.first(stem, &["_zero_point"]) {
        let down = (grid.rows * bits as usize).div_ceil(32);
        let own = if scheme.view.slices > 1 { vec![scheme.view.slices, down] } else { vec![down] };
        if !is(zeros, "i32") || zeros.shape != [own, vec![grid.cols]].concat() {
            return Err(no_fit());
        }
        scheme.zeros = Some(Zeros { tensor: zeros.clone(), stored: ZeroCodes::PackedDown });
    }
    if let Some(groups) = inventory.first(stem, &["_g_idx"]) {
        if !is(groups, "i32") || groups.shape != [scheme.view.cols] {
            return Err(no_fit());
        }
        scheme.groups = Some(groups.clone());
    }
    Ok(scheme)
}

/// The axes that a `weight_shape` names, if their product is a number of this machine.
fn axes(stored: &Tensors, tensor: &TensorInfo) -> Option<Vec<usize>> {
    let ([count @ 2..4], size) = (&tensor.shape[..], if is(tensor, "i64") { 8 } else { 4 }) else {
        return None;
    };
    if !is(tensor, "i64") && !is(tensor, "i32") {
        return None;
    }
    let bytes = stored.bytes(tensor, 0, (count * size) as u64).ok()?;
    let axis = |bytes: &[u8]| {
        bytes.iter().rev().try_fold(0usize, |n, byte| n.checked_mul(256)?.checked_add(usize::from(*byte)))
    };
    let axes: Vec<usize> = bytes.chunks_exact(size).map(axis).collect::<Option<_>>()?;
    axes.iter().try_fold(4usize, |product, n| product.checked_mul(*n))?;
    Some(axes)
}

/// The weight under its scheme's name.
fn finish(scheme: Result<Scheme, String>, parts: Vec<String>) -> Decoding {
    match scheme {
        Ok(scheme) => {
            let sign = if scheme.zeros.is_some() { " zp" } else { "" };
            let label = format!("int{} {}{sign}", scheme.book.bits(), scheme.label);
            Decoding::Weight(Box::new(Scheme { label, parts, ..scheme }))
        }
        Err(reason) => Decoding::Refused(reason, parts),
    }
}
