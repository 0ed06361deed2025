//! From the parts of a weight to the weight, for each layout.

use std::sync::Arc;

use super::names::{Layout, of_svd_llm};
use super::parts::{Inventory, Refusal, Whole, product, sum};
use super::svdquant;
use crate::matrix::Dtype;
use crate::weight::{Expr, Weight};

/// The weight called `name`; none where names alone do not tell that it is one.
pub(super) fn whole(
    inventory: &Inventory<'_>,
    (layout, name): (Layout, &str),
) -> Option<Result<Whole, Refusal>> {
    let part = |ending: &str| format!("{name}.{ending}");
    Some(match layout {
        Layout::Maestro => pair(inventory, [part("out_network"), part("in_network")]),
        // Two words that other models use, too: only shapes that fit tell.
        Layout::MaestroKernel => {
            let (up, down) =
                (inventory.matrix(&part("conv_v")).ok()?, inventory.matrix(&part("conv_u")).ok()?);
            let [_, rank, rest @ ..] = &up.layer.stored_shape[..] else { return None };
            let is_pair =
                rest.len() == 2 && rest.iter().all(|n| *n == 1) && down.layer.stored_shape.len() == 4;
            if !is_pair || down.layer.rows != *rank {
                return None;
            }
            pair(inventory, [part("conv_v"), part("conv_u")])
        }
        Layout::SvdLlm => pair(inventory, of_svd_llm(name)?),
        Layout::Sorsa => sorsa(inventory, name),
        Layout::Effort => effort(inventory, &part),
        Layout::Qvgen => qvgen(inventory, &part),
        Layout::Svdquant => return svdquant::whole(inventory, name),
    })
}

/// The product of the matrices called `up` and `down`.
fn pair(inventory: &Inventory<'_>, [up, down]: [String; 2]) -> Result<Whole, Refusal> {
    let (up, down) = (inventory.matrix(&up)?, inventory.matrix(&down)?);
    let inputs = down.layer.stored_shape.get(1..).unwrap_or_default();
    Ok(Whole {
        expr: product(up, down)?,
        stored_shape: [&[up.layer.rows], inputs].concat(),
        dtype: up.layer.dtype.coarser(down.layer.dtype),
        parts: vec![down.layer.tensor.to_string()],
        like: (*up.layer).clone(),
    })
}

/// A weight with a product of factors added, whose columns next to the outputs are scaled.
struct Added<'c> {
    main: &'c Weight,
    up: &'c Weight,
    diagonal: (Arc<Expr>, Dtype),
    down: &'c Weight,
    scale: Option<f64>,
    /// Names of the tensors beside `main`.
    parts: Vec<String>,
}

impl Added<'_> {
    fn whole(self) -> Result<Whole, Refusal> {
        let Self { main, up, diagonal: (diagonal, dtype), down, scale, parts } = self;
        let (rank, length) = (up.layer.cols, diagonal.shape().1);
        if length != rank {
            return Err(format!("it has {length} singular values for factors of rank {rank}"));
        }
        product(up, down)?;
        let left = Arc::new(Expr::Diagonal { of: Arc::clone(&up.expr), by: diagonal });
        let left = match scale {
            Some(scale) => Arc::new(Expr::Scaled(left, scale)),
            None => left,
        };
        let update = Arc::new(Expr::Product(left, Arc::clone(&down.expr)));
        let types = [up.layer.dtype, down.layer.dtype, dtype];
        Ok(Whole {
            expr: sum(main, update)?,
            like: (*main.layer).clone(),
            stored_shape: main.layer.stored_shape.clone(),
            dtype: types.into_iter().fold(main.layer.dtype, Dtype::coarser),
            parts,
        })
    }
}

/// weight + s·(B∘S)·A.
fn sorsa(inventory: &Inventory<'_>, name: &str) -> Result<Whole, Refusal> {
    let [a, s, b] = ["A", "S", "B"].map(|side| format!("{name}.sorsa_{side}"));
    let up = inventory.matrix(&b)?;
    let scale = inventory.alpha.map(|alpha| alpha / up.layer.cols as f64);
    let (main, down, diagonal) = (inventory.matrix(name)?, inventory.matrix(&a)?, inventory.vector(&s)?);
    Added { main, up, diagonal, down, scale, parts: vec![a, s, b] }.whole()
}

/// weight_main + U·diag(S)·V. The frozen factors of `weight_main` may lie beside it.
fn effort(inventory: &Inventory<'_>, part: &dyn Fn(&str) -> String) -> Result<Whole, Refusal> {
    let [u, s, v] = ["U", "S", "V"].map(|side| part(&format!("{side}_residual")));
    let frozen = ["U_r", "S_r", "V_r"].map(part).into_iter();
    let frozen = frozen.filter(|name| inventory.tensors.contains_key(name.as_str()));
    let parts = [u.clone(), s.clone(), v.clone()].into_iter().chain(frozen).collect();
    let main = inventory.matrix(&part("weight_main"))?;
    let (up, diagonal, down) = (inventory.matrix(&u)?, inventory.vector(&s)?, inventory.matrix(&v)?);
    Added { main, up, diagonal, down, scale: None, parts }.whole()
}

/// L·R alone. What it is added to is `w` rounded to a number of bits that no file says.
fn qvgen(inventory: &Inventory<'_>, part: &dyn Fn(&str) -> String) -> Result<Whole, Refusal> {
    let mut whole = pair(inventory, ["L", "R"].map(|side| part(&format!("wquantizer.{side}"))))?;
    let beside = ["scale", "zero_point"].map(|name| part(&format!("wquantizer.{name}")));
    whole.parts.extend(beside.into_iter().filter(|name| inventory.tensors.contains_key(name.as_str())));
    let main = inventory.matrix(&part("w"))?;
    let (rows, cols) = whole.expr.shape();
    if (main.layer.rows, main.layer.cols) != (rows, cols) {
        let shape = &main.layer.stored_shape;
        return Err(format!("the product of its factors is {rows} × {cols}, but its weight is {shape:?}"));
    }
    Ok(whole)
}
