//! LoRA on the stacked weights of a fused mixture of experts, as PEFT's `target_parameters` stores it.
//!
//! The factors of all experts lie in one pair: `A` of (experts·r) × in, one expert after the other, and `B` of
//! out × (r·experts), interleaved. Neither the parameter nor the orientation is in the names: both come from the
//! configuration and the base. Ambiguous cases are refused.
//!
//! MLX keeps a factor an expert, one after the other: `lora_a` of experts × r × in and `lora_b` of experts × out × r.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::AdapterConfig;
use super::factor::{Product, Tensor};
use super::module::{Draft, Module, Setting};
use super::names::TensorRole;
use crate::error::{Error, brief, quoted};
use crate::layer::Layer;
use crate::pair;
use crate::report::Flag;
use crate::weight::{Expr, Runs, Side};

/// More experts than this are none.
const MOST: usize = 65_536;

/// A parameter that the factors may belong to.
struct Candidate {
    /// Name of its matrices, without the expert's number.
    name: String,
    experts: usize,
    transposed: bool,
}

/// The updates of all experts, if `module` is a stack of them.
pub(super) fn drafts(
    module: &Module<'_>,
    product: &Product,
    setting: &Setting<'_>,
) -> Result<Option<Vec<Draft>>, Error> {
    let Some(config) = module.config(setting) else { return Ok(None) };
    let owner = pair::canonical(&module.name);
    let parameters = config.parameters_of(&owner);
    let names: Vec<String> = parameters.iter().map(|parameter| stem(&owner, parameter)).collect();
    if names.is_empty() || product.down.shape().len() != 2 {
        return Ok(None);
    }
    let refuse = |reason: String| Error::tensor(setting.path, product.down.name(), reason);
    let found = if setting.base.is_empty() {
        alone(module, config, &owner, &parameters, product).map_err(refuse)?
    } else {
        match &in_base(&names, setting.base, product, config).map_err(refuse)?[..] {
            // Listed as not in the base, by the name it has here.
            [] => alone(module, config, &owner, &parameters, product).map_err(refuse)?,
            [one] => Candidate { name: one.name.clone(), ..*one },
            several => {
                let names: Vec<&str> = several.iter().map(|candidate| candidate.name.as_str()).collect();
                let names = quoted(&names);
                return Err(refuse(format!("fits several of `target_parameters`: {names}")));
            }
        }
    };
    if found.experts > MOST {
        return Err(refuse(format!("{} experts are no stack of weights", found.experts)));
    }
    let rank = product.down.rows() / found.experts;
    let scale = config.scale(&found.name, rank);
    let differs = config.rank(&found.name).is_some_and(|configured| configured != rank);
    let draft = |(expert, expr): (usize, Arc<Expr>)| {
        let name = if found.experts > 1 { format!("{}[{expert}]", found.name) } else { found.name.clone() };
        let flags = if differs { vec![Flag::RankNotAsConfigured] } else { vec![] };
        Draft {
            name,
            kind: "lora",
            expr: if found.transposed { expr.transposed() } else { expr },
            scale: Some(scale),
            magnitude: None,
            linear: false,
            dtype: module.dtype(),
            flags,
            tensors: module.names(),
        }
    };
    Ok(Some(product.experts(setting.source, found.experts, scale).enumerate().map(draft).collect()))
}

/// The updates of all experts, if `module` is MLX's for a stack of them.
pub(super) fn of_mlx(module: &Module<'_>, setting: &Setting<'_>) -> Result<Option<Vec<Draft>>, Error> {
    let parts = (module.get(TensorRole::Inputs), module.get(TensorRole::Outputs));
    let (Some(down), Some(up)) = parts else { return Ok(None) };
    // The first versions had the directions of all experts in one axis.
    let (rows, inputs) = match down.shape[..] {
        [experts, rank, inputs] => (experts.checked_mul(rank), inputs),
        [rows, inputs] => (Some(rows), inputs),
        _ => return Ok(None),
    };
    let [experts, outputs, rank] = up.shape[..] else { return Ok(None) };
    let fits = rows == experts.checked_mul(rank) && down.shape.iter().chain(&up.shape).all(|axis| *axis > 0);
    let shaped = |info, rows: Option<usize>, cols| Tensor::shaped(info, rows?, cols);
    let factors = (shaped(down, rows, inputs), shaped(up, experts.checked_mul(outputs), rank));
    let ((Some(a), Some(b)), true) = (factors, fits && experts <= MOST) else {
        let reason = format!("{:?} does not fit {:?} of `{}`", down.shape, up.shape, brief(&up.name));
        return Err(Error::tensor(setting.path, &down.name, reason));
    };
    let scale = module.scale(setting, Some(rank))?;
    let (a, b) = (a.expr(setting.source), b.expr(setting.source));
    let rows_of = |of: &Arc<Expr>, expert: usize, rows: usize| {
        let runs = Runs::one(expert * rows..(expert + 1) * rows);
        Arc::new(Expr::Part { of: Arc::clone(of), side: Side::Rows, runs })
    };
    let draft = |expert: usize| Draft {
        name: format!("{}[{expert}]", module.model_name()),
        kind: "lora",
        expr: Arc::new(Expr::Product(
            Arc::new(Expr::Scaled(rows_of(&b, expert, outputs), scale.scale)),
            rows_of(&a, expert, rank),
        )),
        scale: Some(scale.scale),
        magnitude: None,
        linear: false,
        dtype: module.dtype(),
        flags: scale.flags.clone(),
        tensors: module.names(),
    };
    Ok(Some((0..experts).map(draft).collect()))
}

/// Name of the matrices of a parameter.
fn stem(owner: &str, parameter: &str) -> String {
    if parameter == "weight" { owner.to_owned() } else { format!("{owner}.{parameter}") }
}

/// Without a base: as many experts as the configured rank leaves, under the parameter's name where there is only one.
fn alone(
    module: &Module<'_>,
    config: &AdapterConfig,
    owner: &str,
    parameters: &[&str],
    product: &Product,
) -> Result<Candidate, String> {
    let mut ranks: Vec<Option<usize>> =
        parameters.iter().map(|parameter| config.rank(&stem(owner, parameter))).collect();
    ranks.dedup();
    let rows = product.down.rows();
    let rank = match ranks[..] {
        [Some(rank)] if rows.is_multiple_of(rank) => rank,
        [Some(rank)] => return Err(format!("{rows} rows are no multiple of the configured rank {rank}")),
        _ => return Err("its rank depends on the parameter it belongs to; give `--base`".to_owned()),
    };
    let name = match parameters {
        [parameter] => stem(owner, parameter),
        // Which of several parameters this is, is unknown: the stored name keeps them distinct.
        _ => module.model_name(),
    };
    Ok(Candidate { name, experts: rows / rank, transposed: false })
}

/// The parameters among `names` whose shape in the base fits the factors.
fn in_base(
    names: &[String],
    base: &[Arc<Layer>],
    product: &Product,
    config: &AdapterConfig,
) -> Result<Vec<Candidate>, String> {
    let (outputs, inputs) = (product.up.rows(), product.down.cols());
    let mut found = vec![];
    for name in names {
        let mut stacks: BTreeMap<String, Vec<&Arc<Layer>>> = BTreeMap::new();
        for layer in base {
            let canonical = pair::canonical(&layer.name);
            let stem = canonical.split_once('[').map_or(canonical.as_str(), |(stem, _)| stem);
            if stem == name || super::ends_in(stem, name) || super::ends_in(name, stem) {
                stacks.entry(stem.to_owned()).or_default().push(layer);
            }
        }
        let only = if stacks.len() == 1 { stacks.values().next() } else { None };
        let Some(stack @ [first, ..]) = stacks.get(name).or(only).map(Vec::as_slice) else { continue };
        let experts = stack.len();
        let shape = (first.rows, first.cols);
        let fits = shape == (outputs, inputs) || shape == (inputs, outputs);
        if !fits || !product.down.rows().is_multiple_of(experts) {
            continue;
        }
        let square = outputs == inputs && experts > 1;
        if square && !config.has_turned_experts() {
            return Err(format!(
                "the matrices of `{}` are square, so that nothing tells whether they are stored outputs × inputs or \
                 inputs × outputs; leave out `--base` to see their spectra",
                brief(name)
            ));
        }
        let transposed = if square { true } else { shape != (outputs, inputs) };
        found.push(Candidate { name: name.clone(), experts, transposed });
    }
    Ok(found)
}
