//! LoRA on the stacked weights of a fused mixture of experts, as PEFT's `target_parameters` stores it.
//!
//! The factors of all experts lie in one pair: `A` of (experts·r) × in, one expert after the other, and `B` of
//! out × (r·experts), interleaved. Neither the parameter nor the orientation is in the names: both come from the
//! configuration and the base. Ambiguous cases are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::AdapterConfig;
use super::factor::Product;
use super::module::{Draft, Module, Setting};
use crate::error::{Error, brief, quoted};
use crate::layer::Layer;
use crate::pair;
use crate::report::Flag;
use crate::weight::Expr;

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
