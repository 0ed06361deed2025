//! Finds the attention modules of a model: which stored matrices and vectors each is made of, and how many heads it has.
//!
//! Reads headers alone. What a model lacks is an error that names it; nothing is guessed from shapes but what the
//! configuration leaves open and the shapes decide.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::latent::{Latent, latent};
use super::layouts::{
    Attention, Axes, Inputs, LATENT, LAYOUTS, Layout, LogitScale, NormKind, NormPlace, Positions,
    WITHOUT_HEADS, layout,
};
use super::names::{Names, Norm};
use super::projections::{Projection, Span, plain};
use crate::error::{Error, brief};
use crate::format::Config;
use crate::layer::{Filter, Layer, TensorInfo, natural};
use crate::weight::Catalogue;

const HEADS: [&str; 4] = ["num_attention_heads", "n_head", "n_heads", "num_heads"];

/// What queries, keys and values are computed by.
#[derive(Debug, Clone)]
pub(super) enum Projections {
    Plain(Box<[Projection; 3]>),
    Latent(Box<Latent>),
}

/// One attention module.
#[derive(Debug, Clone)]
pub struct Module {
    /// Its name: `model.layers.3.self_attn`.
    pub name: String,
    /// The blocks that it is one of: `model.layers`. Their heads write into one stream.
    pub stack: String,
    /// The number of its block.
    pub layer: u64,
    /// Number of heads.
    pub heads: usize,
    /// Number of key and value heads.
    pub kv_heads: usize,
    /// Length of a query.
    pub head_dim: usize,
    /// Length of a value.
    pub value_dim: usize,
    /// Width of the stream.
    pub width: usize,
    pub(super) inputs: Projections,
    pub(super) output: Projection,
    pub(super) norm: Norm,
    /// The norm that keys and values read through, where they read another stream.
    pub(super) encoder_norm: Option<Norm>,
    pub(super) qk_norm: Option<[Norm; 2]>,
    pub(super) positions: Positions,
    /// What logits are multiplied by.
    pub(super) scale: f64,
    /// The cap of logits, `cap·tanh(logit/cap)`.
    pub(super) cap: Option<f64>,
}

/// The modules of a model, in natural order, and what a reader should know of them.
#[derive(Debug, Clone)]
pub struct Modules {
    /// The modules.
    pub modules: Vec<Module>,
    /// Notes.
    pub notes: Vec<String>,
}

impl Module {
    /// The name of one of its heads.
    pub fn head(&self, head: usize) -> String {
        format!("{}.head.{head}", self.name)
    }

    /// The key and value head of a head.
    pub fn kv_head(&self, head: usize) -> usize {
        head * self.kv_heads / self.heads
    }

    /// Whether its keys and values read another stream than its queries.
    pub fn is_cross(&self) -> bool {
        self.encoder_norm.is_some()
    }

    /// The matrices that it is made of.
    pub fn layers(&self) -> Vec<&Arc<Layer>> {
        let mut layers: Vec<&Arc<Layer>> = match &self.inputs {
            Projections::Plain(projections) => {
                projections.iter().map(|projection| &projection.layer).collect()
            }
            Projections::Latent(latent) => latent.layers(),
        };
        layers.push(&self.output.layer);
        layers.dedup_by(|a, b| a.name == b.name);
        layers
    }

    /// The vectors that it is made of.
    pub fn vectors(&self) -> Vec<&str> {
        let mut vectors: Vec<&Option<TensorInfo>> = vec![];
        match &self.inputs {
            Projections::Plain(projections) => vectors.extend(projections.iter().map(|one| &one.bias)),
            Projections::Latent(latent) => {
                vectors.extend(latent.norms().flat_map(|norm| [&norm.gain, &norm.shift]));
            }
        }
        let norms = [&self.norm].into_iter().chain(&self.encoder_norm).chain(self.qk_norm.iter().flatten());
        vectors.extend(norms.flat_map(|norm| [&norm.gain, &norm.shift]));
        vectors.into_iter().flatten().map(|tensor| tensor.name.as_str()).collect()
    }
}

/// The attention modules of `source`, a checkpoint at `path` with this configuration.
///
/// # Errors
/// When the model type is unknown or has no heads, or something that its layout names is not there.
pub(crate) fn modules(path: &Path, source: &Catalogue, config: &Config) -> Result<Modules, Error> {
    let known = known(path, config)?;
    let selection = source.select(&Filter::default());
    let names = Names::new(path, source, &selection);
    let (mut modules, mut notes, mut missing) = (vec![], vec![], vec![]);
    for attention in known.attentions {
        let before = modules.len();
        for place in places(&names, attention) {
            match module(&names, attention, &place, config)? {
                Some(module) => modules.push(module),
                None => notes.push(format!(
                    "{}: not measured, for it has no `{}`: it is of another model type",
                    place.block, attention.output
                )),
            }
        }
        if modules.len() == before {
            missing.push(format!("`{}`", query(attention)));
        }
    }
    if modules.is_empty() {
        let reason = format!(
            "holds no matrix whose name ends in {}, which model type {} has in every block",
            missing.join(" or "),
            config.models.join(", ")
        );
        return Err(Error::malformed(path, reason));
    }
    modules.sort_by(|a: &Module, b: &Module| natural(&a.name, &b.name));
    notes.extend(remarks(&modules, config));
    Ok(Modules { modules, notes })
}

/// The layout of the model type.
fn known(path: &Path, config: &Config) -> Result<&'static Layout, Error> {
    if let Some(known) = layout(&config.models) {
        return Ok(known);
    }
    let refuse = |reason: String| Err(Error::malformed(path, reason));
    let Some(model) = config.models.last() else {
        return refuse(
            "`heads` needs the model type and the number of heads, and there is no `config.json` beside the weights that says them; copy it there"
                .to_owned(),
        );
    };
    let model = brief(model);
    if WITHOUT_HEADS.contains(&model.as_str()) {
        return refuse(format!(
            "model type {model} has no attention heads; `svdkit spectrum` measures its matrices"
        ));
    }
    let known: Vec<&str> =
        LAYOUTS.iter().chain([&LATENT]).flat_map(|layout| layout.models).copied().collect();
    refuse(format!(
        "how model type {model} keeps its heads is not known: which tensors are queries, keys, values, outputs and the norm before them; known types are {}",
        known.join(", ")
    ))
}

/// A block that holds an attention module.
struct Place {
    /// `model.layers.3`.
    block: String,
    stack: String,
    layer: u64,
}

/// The ending of the matrix that queries are computed by.
fn query(attention: &Attention) -> &'static str {
    match attention.inputs {
        Inputs::Apart([query, ..]) | Inputs::ByKind(query) | Inputs::ByHead(query) => query,
        Inputs::Latent => "self_attn.kv_b_proj",
    }
}

/// The endings of matrices that tell of an attention module: one that lacks another is not passed over.
fn endings(attention: &Attention) -> Vec<&'static str> {
    match attention.inputs {
        Inputs::Apart(all) => all.to_vec(),
        _ => vec![query(attention)],
    }
}

fn places(names: &Names<'_>, attention: &Attention) -> Vec<Place> {
    let endings = endings(attention);
    let mut seen = BTreeSet::new();
    let place = |name: &&str| {
        let mut blocks = endings.iter().filter_map(|ending| name.strip_suffix(ending)?.strip_suffix('.'));
        let block = blocks.next()?;
        let (stack, number) = block.rsplit_once('.').unwrap_or(("", block));
        let is_there = attention.part.is_none_or(|(word, _)| stack.contains(word));
        let layer = number.parse().ok().filter(|_| is_there)?;
        Some(Place { block: block.to_owned(), stack: stack.to_owned(), layer })
    };
    names
        .matrices()
        .filter_map(|name| place(&name))
        .filter(|place| seen.insert(place.block.clone()))
        .collect()
}

/// The module at `place`; none where its output lies elsewhere, as in the part of another model.
fn module(
    names: &Names<'_>,
    attention: &Attention,
    place: &Place,
    config: &Config,
) -> Result<Option<Module>, Error> {
    let Place { block, stack, layer } = place;
    let config = &match attention.part {
        Some((_, section)) if !section.is_empty() => config.section(section),
        _ => config.clone(),
    };
    let Some(output) = names.matrix(&format!("{block}.{}", attention.output)) else { return Ok(None) };
    let keys = if attention.heads.is_empty() { &HEADS[..] } else { attention.heads };
    let heads = config
        .number(keys)
        .ok_or_else(|| names.lacks(&format!("how many heads there are (`{}`)", keys[0])))?;
    let (width, outputs) = match attention.axes {
        Axes::OutIn => (output.rows, output.cols),
        Axes::InOut => (output.cols, output.rows),
    };
    let (inputs, kv_heads, [head_dim, value_dim]) = match attention.inputs {
        Inputs::Latent => {
            let latent = latent(names, block, heads, config)?;
            let sizes = [latent.query_dim(), latent.value_dim];
            (Projections::Latent(Box::new(latent)), heads, sizes)
        }
        inputs => {
            let (projections, kv_heads, size) =
                plain(names, inputs, attention.axes, (block, width), heads, config)?;
            (Projections::Plain(Box::new(projections)), kv_heads, [size; 2])
        }
    };
    names.check(
        &output,
        heads.checked_mul(value_dim) == Some(outputs),
        &format!("the {heads} heads of {value_dim}"),
    )?;
    let norm = match attention.norm {
        NormPlace::Before(_) if config.switch(&["do_layer_norm_before"]) == Some(false) => {
            after(names, place, ("final_layer_norm", ""), attention.kind)
        }
        NormPlace::Before(name) => names.norm(&format!("{block}.{name}"), attention.kind),
        NormPlace::After { block, embeddings } => after(names, place, (block, embeddings), attention.kind),
    };
    let qk_norm = attention.qk_norm.and_then(|both| {
        let both = both.map(|name| names.norm(&format!("{block}.{name}"), attention.kind));
        both.iter().all(|norm| norm.gain.is_some()).then_some(both)
    });
    let encoder_norm = attention.encoder.map(|ending| names.norm_ending(ending, stack, attention.kind));
    for norm in [&norm].into_iter().chain(&encoder_norm) {
        names.check_vector(norm.gain.as_ref(), &[width])?;
        names.check_vector(norm.shift.as_ref(), &[width])?;
    }
    for (norm, heads) in qk_norm.iter().flatten().zip([heads, kv_heads]) {
        names.check_vector(norm.gain.as_ref(), &[head_dim, heads * head_dim])?;
    }
    let root = 1.0 / (head_dim as f64).sqrt();
    let positive = |key: &str| config.real(&[key]).filter(|x| *x > 0.0);
    let scale = match attention.scale {
        LogitScale::Root => root,
        LogitScale::One => 1.0,
        LogitScale::RootOf(key) => positive(key).map_or(root, |x| 1.0 / x.sqrt()),
        LogitScale::Number(key) => positive(key).unwrap_or(root),
    };
    let by_layer = config.switch(&["scale_attn_by_inverse_layer_idx"]) == Some(true);
    let unscaled = config.switch(&["scale_attn_weights"]) == Some(false);
    let stretch = if let Projections::Latent(latent) = &inputs { latent.stretch } else { 1.0 };
    let parts: Vec<&str> = query(attention)
        .split('.')
        .zip(attention.output.split('.'))
        .take_while(|(a, b)| a == b)
        .map(|(part, _)| part)
        .collect();
    Ok(Some(Module {
        name: format!("{block}.{}", parts.join(".")),
        stack: stack.clone(),
        layer: *layer,
        heads,
        kv_heads,
        head_dim,
        value_dim,
        width,
        inputs,
        output: Projection {
            layer: output,
            axes: attention.axes,
            span: Span { first: 0, period: value_dim, count: value_dim },
            bias: None,
        },
        norm,
        encoder_norm,
        qk_norm,
        positions: attention.positions,
        scale: if unscaled { 1.0 } else { scale } * stretch
            / if by_layer { *layer as f64 + 1.0 } else { 1.0 },
        cap: positive("attn_logit_softcapping"),
    }))
}

/// The norm that ends the block before, or the one after the embeddings.
fn after(names: &Names<'_>, place: &Place, (own, embeddings): (&str, &str), kind: NormKind) -> Norm {
    let Place { stack, layer, .. } = place;
    match layer.checked_sub(1) {
        Some(before) => {
            let dot = if stack.is_empty() { "" } else { "." };
            names.norm(&format!("{stack}{dot}{before}.{own}"), kind)
        }
        None => names.norm_ending(embeddings, stack, kind),
    }
}

/// What a reader should know of the modules.
fn remarks(modules: &[Module], config: &Config) -> Vec<String> {
    let counted = |holds: &dyn Fn(&Module) -> bool| modules.iter().filter(|module| holds(module)).count();
    let mut notes = vec![];
    let all = modules.len();
    let without = counted(&|module| module.norm.gain.is_none());
    if without > 0 {
        notes.push(format!(
            "{without} of {all} modules: no norm before the attention was found; its gain counts as 1"
        ));
    }
    if let Some(cap) = modules.iter().find_map(|module| module.cap) {
        notes.push(format!("logits are capped at {cap}: bounds are after the cap"));
    }
    if counted(&|module| module.qk_norm.is_some()) > 0 {
        notes.push(
            "queries and keys are normed: their gains bound the logits, and are folded into QK".to_owned(),
        );
    }
    if counted(&|module| matches!(module.inputs, Projections::Latent(_))) > 0 {
        notes.push(
            "latent attention: the norms of the latent vectors are folded in by their gains; each token's own scale is left out of OV and QK"
                .to_owned(),
        );
    }
    if config.models.iter().any(|model| ["gemma2", "gemma3", "gemma3_text"].contains(&model.as_str())) {
        notes.push("the norm after the attention is not folded into OV".to_owned());
    }
    if config.models.iter().any(|model| ["t5", "mt5"].contains(&model.as_str())) {
        notes.push("position biases are added to the logits; bounds are without them".to_owned());
    }
    notes
}
