//! DeepSeek's latent attention (MLA): queries and keys through narrow latent vectors with norms of their own, and a part of
//! both that is rotated by position and shared by all heads.

use std::sync::Arc;

use super::layouts::NormKind;
use super::names::{Names, Norm};
use crate::error::Error;
use crate::format::Config;
use crate::layer::Layer;

/// The matrices of one module.
#[derive(Debug, Clone)]
pub(super) struct Latent {
    /// From the stream to queries, or by way of a latent vector.
    pub query: LatentQuery,
    /// From the stream to the latent vector of keys and values, and to the rotated part of all keys.
    pub down: Arc<Layer>,
    pub norm: Norm,
    /// From the latent vector to the keys and values of all heads: of each first the key, then the value.
    pub up: Arc<Layer>,
    /// Width of the latent vector.
    pub rank: usize,
    /// The part of a query that is not rotated, and the part that is.
    pub plain: usize,
    pub rotated: usize,
    pub value_dim: usize,
    /// What YaRN multiplies logits by.
    pub stretch: f64,
}

/// How queries are computed.
#[derive(Debug, Clone)]
pub(super) enum LatentQuery {
    Direct(Arc<Layer>),
    Low { down: Arc<Layer>, norm: Box<Norm>, up: Arc<Layer> },
}

impl Latent {
    pub(super) fn query_dim(&self) -> usize {
        self.plain + self.rotated
    }

    pub(super) fn layers(&self) -> Vec<&Arc<Layer>> {
        let mut layers = match &self.query {
            LatentQuery::Direct(layer) => vec![layer],
            LatentQuery::Low { down, up, .. } => vec![down, up],
        };
        layers.extend([&self.down, &self.up]);
        layers
    }

    pub(super) fn norms(&self) -> impl Iterator<Item = &Norm> {
        let own = if let LatentQuery::Low { norm, .. } = &self.query { Some(norm.as_ref()) } else { None };
        own.into_iter().chain([&self.norm])
    }
}

/// The module of `block`.
pub(super) fn latent(names: &Names<'_>, block: &str, heads: usize, config: &Config) -> Result<Latent, Error> {
    let size = |key: &str| config.number(&[key]).ok_or_else(|| names.lacks(&format!("`{key}`")));
    let (rank, rotated) = (size("kv_lora_rank")?, size("qk_rope_head_dim")?);
    let (plain, value_dim) = (size("qk_nope_head_dim")?, size("v_head_dim")?);
    let own = |name: &str| format!("{block}.self_attn.{name}");
    let (down, up) = (names.needed(&own("kv_a_proj_with_mqa"))?, names.needed(&own("kv_b_proj"))?);
    let of_heads = format!("the {heads} heads with latent vectors of {rank}");
    let both = |one: usize, other: usize| one.checked_add(other).and_then(|size| size.checked_mul(heads));
    names.check(&down, rank.checked_add(rotated) == Some(down.rows), &of_heads)?;
    names.check(&up, up.cols == rank && both(plain, value_dim) == Some(up.rows), &of_heads)?;
    let queries = both(plain, rotated).unwrap_or(0);
    let query = if let Some(layer) = names.matrix(&own("q_proj")) {
        names.check(&layer, layer.rows == queries && layer.cols == down.cols, &of_heads)?;
        LatentQuery::Direct(layer)
    } else {
        let (down_q, up_q) = (names.needed(&own("q_a_proj"))?, names.needed(&own("q_b_proj"))?);
        names.check(&down_q, down_q.cols == down.cols, &of_heads)?;
        names.check(&up_q, up_q.rows == queries && up_q.cols == down_q.rows, &of_heads)?;
        let norm = Box::new(names.norm(&own("q_a_layernorm"), NormKind::Rms));
        LatentQuery::Low { down: down_q, norm, up: up_q }
    };
    let norm = names.norm(&own("kv_a_layernorm"), NormKind::Rms);
    Ok(Latent { query, down, norm, up, rank, plain, rotated, value_dim, stretch: stretch(config) })
}

/// YaRN's factor of the logits, `(0.1·m·ln s + 1)²`, where the configuration has one.
fn stretch(config: &Config) -> f64 {
    let number = |key: &str| {
        let keys = ["rope_scaling", "rope_parameters"].map(|section| format!("{section}.{key}"));
        config.real(&keys.each_ref().map(String::as_str))
    };
    match (number("factor"), number("mscale_all_dim")) {
        (Some(factor), Some(mscale)) if factor > 1.0 && mscale != 0.0 => {
            (0.1 * mscale * factor.ln() + 1.0).powi(2)
        }
        _ => 1.0,
    }
}
