//! Queries, keys and values of a module: projections of their own, or parts of one.

use std::sync::Arc;

use super::layouts::{Axes, Inputs};
use super::names::Names;
use crate::error::Error;
use crate::format::Config;
use crate::layer::{Layer, TensorInfo};

const KEY_VALUE_HEADS: [&str; 2] = ["num_key_value_heads", "attn_config.kv_n_heads"];

/// Outputs of a projection that belong to heads: those of head `i` begin at `first + i · period`, `count` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub first: usize,
    pub period: usize,
    pub count: usize,
}

/// A stored projection of all heads.
#[derive(Debug, Clone)]
pub(super) struct Projection {
    pub layer: Arc<Layer>,
    pub axes: Axes,
    pub span: Span,
    pub bias: Option<TensorInfo>,
}

/// Queries, keys and values of projections of their own or of one; with the number of key and value heads and their size.
pub(super) fn plain(
    names: &Names<'_>,
    inputs: Inputs,
    axes: Axes,
    (block, width): (&str, usize),
    heads: usize,
    config: &Config,
) -> Result<([Projection; 3], usize, usize), Error> {
    let outputs = |layer: &Layer| match axes {
        Axes::OutIn => (layer.cols == width).then_some(layer.rows),
        Axes::InOut => (layer.rows == width).then_some(layer.cols),
    };
    let projection = |layer: Arc<Layer>, name: &str, first, period, count| -> Result<Projection, Error> {
        let bias = names.vector(&format!("{block}.{name}.bias"));
        let outputs = if axes == Axes::OutIn { layer.rows } else { layer.cols };
        names.check_vector(bias.as_ref(), &[outputs])?;
        Ok(Projection { layer, axes, span: Span { first, period, count }, bias })
    };
    let told = config.number(&KEY_VALUE_HEADS);
    let size = config.number(&["head_dim", "d_kv"]);
    match inputs {
        Inputs::Apart(all) => {
            let [q, k, v] = all.map(|name| names.needed(&format!("{block}.{name}")));
            let (q, k, v) = (q?, k?, v?);
            let rows = outputs(&q).filter(|rows| rows.is_multiple_of(heads));
            let head = rows.map(|rows| rows / heads).filter(|head| size.is_none_or(|size| size == *head));
            names.check(&q, head.is_some_and(|head| head > 0), &format!("the {heads} heads"))?;
            let head = head.unwrap_or(1);
            let kv = outputs(&k).filter(|rows| rows.is_multiple_of(head)).map_or(0, |rows| rows / head);
            let fits = kv > 0 && heads.is_multiple_of(kv) && told.is_none_or(|told| told == kv);
            let expected = format!("the {} key heads of {head}", told.unwrap_or(heads));
            names.check(&k, fits, &expected)?;
            names.check(&v, outputs(&v) == outputs(&k), &expected)?;
            let [a, b, c] = all;
            Ok((
                [
                    projection(q, a, 0, head, head)?,
                    projection(k, b, 0, head, head)?,
                    projection(v, c, 0, head, head)?,
                ],
                kv,
                head,
            ))
        }
        Inputs::ByKind(name) | Inputs::ByHead(name) => {
            let fused = names.needed(&format!("{block}.{name}"))?;
            let kv = told.unwrap_or(heads);
            let all = heads.saturating_add(kv.saturating_mul(2));
            let head = outputs(&fused).filter(|rows| rows.is_multiple_of(all)).map_or(0, |rows| rows / all);
            let by_head = matches!(inputs, Inputs::ByHead(_));
            let fits = head > 0
                && heads.is_multiple_of(kv)
                && size.is_none_or(|size| size == head)
                && (!by_head || kv == heads);
            names.check(&fused, fits, &format!("the {heads} query heads and {kv} key heads"))?;
            let part = |first, period| projection(Arc::clone(&fused), name, first, period, head);
            let (firsts, period) = if by_head {
                ([0, head, 2 * head], 3 * head)
            } else {
                ([0, heads * head, (heads + kv) * head], head)
            };
            let [query, key, value] = firsts.map(|first| part(first, period));
            Ok(([query?, key?, value?], kv, head))
        }
        Inputs::Latent => Err(Error::Contract("latent attention has no plain projections".to_owned())),
    }
}
