//! SVDQuant as Nunchaku stores it: 4-bit codes in tiles, and the factors of what they leave out.
//!
//! W = codes · scales / smooth + up · down: inputs are divided by `smooth` before they meet the codes, not before the
//! factors. DeepCompressor writes `smooth`, `lora_down` and `lora_up`; Nunchaku since 1.0 `smooth_factor`, `proj_down` and
//! `proj_up`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::parts::{Inventory, Refusal, Whole};
use crate::error::brief;
use crate::layer::{Element, Encoding, Layer, TensorInfo};
use crate::matrix::Dtype;
use crate::weight::{
    Book, Codes, Decoded, Expr, FACTOR_TILE, Number, PackedFactor, TILE_COLUMNS, TILE_ROWS, Tiles,
};

/// Tensors beside the codes that a weight is computed from, but for factors.
const NUMBERS: [&str; 5] = ["wscales", "wcscales", "wtscale", "smooth", "smooth_factor"];
/// Those that say again what another says.
const BESIDE: [&str; 2] = ["smooth_orig", "smooth_factor_orig"];
/// The factors, by both names.
const DOWN: [&str; 2] = ["lora_down", "proj_down"];
const UP: [&str; 2] = ["lora_up", "proj_up"];

/// Whether some of `tensors` are codes with their scales: the factors beside them are no adapter's.
pub(crate) fn is_svdquant(tensors: &[TensorInfo]) -> bool {
    let names: BTreeSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let scales = |stem: &str| format!("{stem}wscales");
    tensors.iter().filter(|tensor| is_bytes(tensor)).any(|tensor| {
        tensor.name.strip_suffix("qweight").is_some_and(|stem| names.contains(scales(stem).as_str()))
    })
}

/// The weight whose codes are `name.qweight`; none where these are of another kind.
pub(super) fn whole(inventory: &Inventory<'_>, name: &str) -> Option<Result<Whole, Refusal>> {
    let codes =
        *inventory.tensors.get(format!("{name}.qweight").as_str()).filter(|tensor| is_bytes(tensor))?;
    let scales = inventory.tensors.get(format!("{name}.wscales").as_str())?;
    Some(assembled(inventory, name, codes, scales))
}

/// Whether `tensor` is a part of the weight called `name`.
pub(super) fn is_part_of(tensor: &str, name: &str) -> bool {
    let ending = tensor.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
    let mut endings = NUMBERS.into_iter().chain(BESIDE).chain(DOWN).chain(UP).chain(["qweight"]);
    ending.is_some_and(|ending| endings.any(|known| known == ending))
}

/// Whether a tensor is of signed bytes.
fn is_bytes(tensor: &TensorInfo) -> bool {
    matches!(&tensor.element, Element::Other(name) if name == "i8") && tensor.shape.len() == 2
}

fn assembled(
    inventory: &Inventory<'_>,
    name: &str,
    codes: &TensorInfo,
    scales: &TensorInfo,
) -> Result<Whole, Refusal> {
    let part = |ending: &str| inventory.tensors.get(format!("{name}.{ending}").as_str()).copied();
    let either = |endings: [&str; 2]| endings.iter().find_map(|ending| part(ending));
    let no_fit = |tensor: &TensorInfo| {
        let shape = &tensor.shape;
        format!("`{}` {shape:?} does not fit `{}` {:?}", brief(&tensor.name), brief(&codes.name), codes.shape)
    };
    let (rows, cols) = (codes.shape[0], codes.shape[1].checked_mul(2).ok_or_else(|| no_fit(codes))?);
    if rows == 0 || cols == 0 || !rows.is_multiple_of(TILE_ROWS) || !cols.is_multiple_of(TILE_COLUMNS) {
        return Err(format!("`{}` {:?} is not whole tiles of codes", brief(&codes.name), codes.shape));
    }
    let (book, group, label) = match &scales.element {
        Element::Float(Dtype::F8E4M3) => (Book::E2m1, 16, "fp4"),
        Element::Float(Dtype::F16 | Dtype::Bf16) => (Book::TwosComplement, 64, "int4"),
        _ => return Err(format!("`{}` is of {}", brief(&scales.name), scales.element.name())),
    };
    let Some(number) = Number::of(&scales.element).filter(|_| scales.shape == [cols / group, rows]) else {
        return Err(no_fit(scales));
    };
    let vector = |tensor: Option<&TensorInfo>, length: usize| match tensor {
        Some(tensor)
            if tensor.shape.iter().product::<usize>() != length || Number::of(&tensor.element).is_none() =>
        {
            Err(no_fit(tensor))
        }
        tensor => Ok(tensor.cloned()),
    };
    let codes_alone = Codes {
        book,
        packed: codes.clone(),
        scales: (scales.clone(), number),
        of_rows: vector(part("wcscales"), rows)?,
        overall: vector(part("wtscale"), 1)?,
        smooth: vector(either(["smooth", "smooth_factor"]), cols)?,
        rows,
        cols,
    };
    let packed = |tiles| {
        Arc::new(Expr::Decoded(Decoded::Tiles {
            tensors: Arc::clone(inventory.stored),
            tiles: Arc::new(tiles),
        }))
    };
    let mut used: Vec<&TensorInfo> = NUMBERS.into_iter().chain(BESIDE).filter_map(part).collect();
    let mut expr = packed(Tiles::Codes(Box::new(codes_alone)));
    match (either(DOWN), either(UP)) {
        (Some(down), Some(up)) => {
            let [down, up] = [(down, cols, true), (up, rows, false)].map(|(tensor, side, is_down)| {
                used.push(tensor);
                factor(tensor, side, is_down).ok_or_else(|| no_fit(tensor))
            });
            let (down, up) = (down?, up?);
            if down.rows != up.cols {
                return Err(no_fit(&up.tensor));
            }
            let product = Expr::Product(packed(Tiles::Factor(up)), packed(Tiles::Factor(down)));
            expr = Arc::new(product).plus(expr);
        }
        (None, None) => {}
        (Some(one), None) | (None, Some(one)) => {
            return Err(format!("the other factor of `{}` is missing", brief(&one.name)));
        }
    }
    let encoding =
        Encoding { stored: "i8".to_owned(), scheme: format!("svdquant {label}"), bits: 4, epsilon: None };
    let like = Layer { encoding: Some(Box::new(encoding)), ..codes.as_matrix((rows, cols), Dtype::F32) };
    let parts = used.into_iter().map(|tensor| tensor.name.to_string()).collect();
    Ok(Whole { expr, like, stored_shape: vec![rows, cols], dtype: Dtype::F32, parts })
}

/// A factor that is stored side × rank, where that side has as many entries.
fn factor(tensor: &TensorInfo, side: usize, is_down: bool) -> Option<PackedFactor> {
    let (Element::Float(_), [length, rank]) = (&tensor.element, &tensor.shape[..]) else { return None };
    let fits =
        *length == side && *rank > 0 && rank.is_multiple_of(FACTOR_TILE) && side.is_multiple_of(FACTOR_TILE);
    let (rows, cols) = if is_down { (*rank, side) } else { (side, *rank) };
    fits.then(|| PackedFactor { tensor: tensor.clone(), rows, cols, is_down })
}
