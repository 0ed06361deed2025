//! Weights that are stored in parts, each put together as one matrix: products of two factors, and sums of a matrix and a
//! product. Names tell the layout, shapes confirm it.
//!
//! A part without its others is refused by name: as a weight of its own it would mean nothing.

mod layouts;
mod names;
mod parts;
mod svdquant;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::{brief, printable};
use crate::format::Config;
use crate::layer::{Layer, Part, block_and_role, natural};
use crate::report::{SkipKind, Skipped};
use crate::weight::{Catalogue, LeftOut, Weight};
use names::{Layout, weight_of};
use parts::{Inventory, Whole};
pub(crate) use svdquant::is_svdquant;

/// Whether a tensor's name tells that it is a part of a weight.
pub(crate) fn is_part(name: &str) -> bool {
    weight_of(name).is_some_and(|(layout, _)| layout != Layout::Svdquant)
}

/// `inner` with weights put together that are stored in parts; `config` says how SORSA's are scaled.
pub(crate) fn open(inner: Catalogue, config: &Config) -> Catalogue {
    let found: BTreeSet<(Layout, String)> =
        inner.tensors().iter().filter_map(|tensor| weight_of(&tensor.name)).collect();
    if found.is_empty() {
        return inner;
    }
    let is_sorsa = config.models.iter().any(|model| model == "sorsa");
    let alpha = config.field("alpha").and_then(serde_json::Value::as_f64).filter(|_| is_sorsa);
    let inventory = Inventory::new(&inner, alpha);
    let mut made = Made::default();
    for (layout, name) in &found {
        if let Some(whole) = layouts::whole(&inventory, (*layout, name)) {
            made.take(&inventory, (*layout, name), whole);
        }
    }
    made.finish(&inner)
}

/// What became of the weights that are stored in parts.
#[derive(Default)]
struct Made {
    weights: Vec<Weight>,
    /// By the name of a stored tensor that is a part of one, or of one that cannot be put together.
    parts: BTreeMap<String, Skipped>,
    /// Tensors that weights go by.
    own: BTreeSet<String>,
    /// Weights by layout.
    counts: BTreeMap<&'static str, usize>,
    /// Weights by their name in the file, and their own.
    renamed: BTreeMap<String, String>,
}

impl Made {
    fn take(
        &mut self,
        inventory: &Inventory<'_>,
        (layout, name): (Layout, &str),
        whole: Result<Whole, String>,
    ) {
        // SORSA's main part goes by the name of the whole.
        let is_taken =
            layout != Layout::Sorsa && layout != Layout::Qvgen && inventory.weights.contains_key(name);
        let refusal = match whole {
            Ok(_) if is_taken => {
                (SkipKind::Plain, format!("a part of a weight that is stored whole, too: `{}`", brief(name)))
            }
            Ok(whole) => return self.put(inventory, (layout, name), whole),
            Err(reason) => {
                let hint = "`--as-weights` reads it as it is stored";
                (
                    SkipKind::Refused,
                    format!("a part of a weight: `{}` ({}): {reason}; {hint}", brief(name), layout.name()),
                )
            }
        };
        let is_part = |tensor: &str| match layout {
            Layout::Svdquant => svdquant::is_part_of(tensor, name),
            _ => weight_of(tensor).is_some_and(|(of, weight)| of == layout && weight == name),
        };
        // Without the others it is not the weight whose name it has.
        let main = inventory.weights.get(name).filter(|_| layout == Layout::Sorsa);
        let is_part = |tensor: &str| is_part(tensor) || main.is_some_and(|main| main.layer.tensor == *tensor);
        for tensor in inventory.tensors.values().filter(|tensor| is_part(&tensor.name)) {
            self.parts.insert(tensor.name.to_string(), tensor.skipped(refusal.0, refusal.1.clone()));
        }
    }

    fn put(&mut self, inventory: &Inventory<'_>, (layout, name): (Layout, &str), whole: Whole) {
        let Whole { expr, like, stored_shape, dtype, parts } = whole;
        // Of QVGen, the low-rank part is a matrix beside its weight.
        let name = if layout == Layout::Qvgen {
            self.renamed.insert(format!("{name}.w"), name.to_owned());
            format!("{name}.wquantizer")
        } else {
            name.to_owned()
        };
        let (rows, cols) = expr.shape();
        let name = printable(&name);
        let binding = name.clone();
        let (block, role) = block_and_role(&binding);
        for tensor in parts.iter().filter_map(|part| inventory.tensors.get(part.as_str())) {
            let line = tensor.skipped(SkipKind::Plain, format!("a part of a weight: `{name}`"));
            self.parts.insert(tensor.name.to_string(), Skipped { scales: Some(name.clone()), ..line });
        }
        self.own.insert(like.tensor.to_string());
        *self.counts.entry(layout.name()).or_default() += 1;
        let layer = Layer {
            name: name.into(),
            stored_shape,
            rows,
            cols,
            dtype,
            block,
            role: role.into(),
            part: Part::Cut,
            ..like
        };
        self.weights.push(Weight::new(layer, expr, None));
    }

    fn finish(self, inner: &Catalogue) -> Catalogue {
        let Self { mut weights, parts, own, counts, renamed } = self;
        let is_kept = |tensor: &str| !own.contains(tensor) && !parts.contains_key(tensor);
        for weight in inner.weights().iter().filter(|weight| is_kept(&weight.layer.tensor)) {
            weights.push(match renamed.get(weight.layer.name.as_str()) {
                Some(name) => {
                    let (block, role) = block_and_role(name);
                    let layer = Layer {
                        name: printable(name).into(),
                        block,
                        role: role.into(),
                        part: Part::Cut,
                        ..(*weight.layer).clone()
                    };
                    Weight { layer: Arc::new(layer), ..weight.clone() }
                }
                None => weight.clone(),
            });
        }
        weights.sort_by(|a, b| natural(&a.layer.name, &b.layer.name));
        let lines = inner.left_out().iter().filter(|left_out| is_kept(&left_out.line.tensor)).cloned();
        let mut left_out: Vec<LeftOut> = lines.collect();
        left_out.extend(parts.into_values().map(LeftOut::tensor));
        left_out.sort_by(|a, b| natural(&a.line.tensor, &b.line.tensor));
        let notes = counts.iter().map(|(layout, count)| note(layout, *count));
        let notes = inner.notes().iter().cloned().chain(notes).collect();
        Catalogue::new(Arc::clone(inner.stored()), inner.holds(), weights, left_out).with_notes(notes)
    }
}

fn note(layout: &str, count: usize) -> String {
    let matrices = if count == 1 { "1 matrix is".to_owned() } else { format!("{count} matrices are") };
    let parts = match layout {
        "QVGen" => {
            return format!(
                "{matrices} stored with a low-rank part ({layout}), which is measured beside it as `….wquantizer`: the \
                 file does not say to how many bits the weight is rounded before both are added"
            );
        }
        "SORSA" | "Effort" => "a weight and factors",
        "SVDQuant" => "codes and factors",
        _ => "two factors",
    };
    format!("{matrices} stored as {parts} ({layout}) and measured as one")
}
