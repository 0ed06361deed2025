//! Fused tensors cut into the matrices that a model computes with: each expert's, and on request queries, keys, values.
//!
//! A layout is known by the `model_type` of the configuration and checked against its sizes, never guessed from shapes.
//! Unknown layouts stay as stored: a stack gives one matrix for each slice, of unknown orientation.

mod attention;
mod layouts;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use self::layouts::{Axes, EXPERTS, Experts, FUSED, Fused, Outputs as Layout, WIDTH, Width};
use crate::error::{Error, printable};
use crate::format::Config;
use crate::layer::{Layer, Part, bare, natural, place_of};
use crate::pair;
use crate::report::Skipped;
use crate::text::Text;
use crate::weight::{Catalogue, Expr, LeftOut, Runs, Side, Weight};

pub(crate) use self::layouts::EXPERTS as EXPERT_COUNTS;

/// How fused attention is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueriesKeysValues {
    /// One matrix, as stored.
    #[default]
    Together,
    /// A matrix each.
    Split,
}

/// `inner` with its known fused tensors split; `path` is its location, `config` its configuration.
///
/// # Errors
/// When queries, keys and values are to be split and how they lie is not known, or is another than known.
pub(crate) fn open(
    path: &Path,
    inner: Arc<Catalogue>,
    split: QueriesKeysValues,
    config: &Config,
) -> Result<Arc<Catalogue>, Error> {
    let stacks: BTreeSet<&str> = inner.weights().iter().filter_map(|weight| stack(&weight.layer)).collect();
    // The parts of each tensor; none if it stays as stored, an empty list for biases.
    let mut found = Vec::with_capacity(inner.weights().len());
    for weight in inner.weights() {
        let Weight { layer, expr, .. } = weight;
        let outputs = Outputs { layer, of: Arc::clone(expr) };
        let parts = match split {
            QueriesKeysValues::Split => attention::parts(path, &outputs, config)?,
            QueriesKeysValues::Together => None,
        };
        let biases = layer.name.strip_suffix("_bias").is_some_and(|stem| stacks.contains(stem));
        found.push(if biases { Some(vec![]) } else { parts.or_else(|| experts(&outputs, config)) });
    }
    if found.iter().all(Option::is_none) {
        return Ok(inner);
    }
    let mut left_out = inner.left_out().to_vec();
    let mut weights = Vec::with_capacity(found.len());
    for (weight, parts) in inner.weights().iter().zip(found) {
        let layer = &weight.layer;
        match parts {
            None => weights.push(weight.clone()),
            Some(parts) if parts.is_empty() => left_out.push(LeftOut::tensor(Skipped {
                shape: layer.stored_shape.iter().map(|n| *n as u64).collect(),
                dtype: layer.stored_type().into(),
                reason: "biases of experts".into(),
                tensor: layer.tensor.clone(),
                ..Skipped::default()
            })),
            Some(parts) => weights.extend(parts),
        }
    }
    weights.sort_by(|a, b| natural(&a.layer.name, &b.layer.name));
    // Where a part would be called as another tensor is, all are shown as they are stored.
    if weights.array_windows::<2>().any(|[a, b]| a.layer.name == b.layer.name) {
        return Ok(inner);
    }
    left_out.sort_by(|a, b| natural(&a.line.tensor, &b.line.tensor));
    let stored = Arc::clone(inner.stored());
    Ok(Arc::new(Catalogue::new(stored, inner.holds(), weights, left_out).of_fused(inner)))
}

/// The name of the stack that a layer is a slice of.
fn stack(layer: &Layer) -> Option<&str> {
    let Part::Slice(_) = layer.part else { return None };
    layer.name.rsplit_once('[').map(|(stack, _)| stack)
}

/// The matrices of experts that `layer` holds, if its layout is known.
fn experts(of: &Outputs<'_>, config: &Config) -> Option<Vec<Weight>> {
    let layer = of.layer;
    let name = stack(layer).unwrap_or(&layer.name);
    let stored_as = |model: &String| layer.scheme().map(|scheme| format!("{model}/{scheme}"));
    let own = |fused: &&Fused, model: &String| fused.models.contains(&model.as_str());
    let packed = |fused: &&Fused| {
        config.models.iter().filter_map(stored_as).any(|model| fused.models.contains(&model.as_str()))
    };
    let named = || FUSED.iter().filter(|fused| owner(name, fused.ending).is_some());
    // Quantized tensors may have another layout: their own entry wins over the model's.
    let mut known: Vec<&Fused> = named().filter(packed).collect();
    if known.is_empty() {
        known = named().filter(|fused| config.models.iter().any(|model| own(fused, model))).collect();
    }
    let width = config.number(&WIDTH);
    let mut fitting = known.into_iter().filter_map(|fused| {
        let whole = Whole::of(layer, fused, config)?;
        width.is_none_or(|width| width == whole.width(fused)).then_some((fused, whole))
    });
    let (Some((fused, whole)), None) = (fitting.next(), fitting.next()) else { return None };
    let owner = owner(name, fused.ending)?;
    let mut parts = vec![];
    for expert in whole.experts.clone() {
        let rows = expert * whole.rows..(expert + 1) * whole.rows;
        let rows = (fused.experts == Experts::Flat).then_some(rows);
        let all = Arc::clone(&of.of);
        let slice = match rows {
            Some(rows) => Arc::new(Expr::Part { of: all, side: Side::Rows, runs: Runs::one(rows) }),
            None => all,
        };
        let slice = Outputs { layer, of: slice };
        let named = |part: &str| pair::canonical(&format!("{owner}experts.{expert}.{part}"));
        let outputs = if fused.axes == Axes::OutIn { whole.rows } else { whole.cols };
        let part = |name: &str, first, run, period, count| {
            slice.weight(&named(name), fused.axes, Runs { first, run, period, count })
        };
        let half = outputs / 2;
        match fused.outputs {
            Layout::One(name) => parts.push(part(name, 0, outputs, outputs, outputs)),
            _ if !outputs.is_multiple_of(2) => return None,
            Layout::Halves([one, other]) => {
                parts.extend([part(one, 0, half, half, half), part(other, half, half, half, half)]);
            }
            Layout::Alternating([one, other]) => {
                parts.extend([part(one, 0, 1, 2, half), part(other, 1, 1, 2, half)]);
            }
        }
    }
    Some(parts)
}

/// The part of a name before `ending`, if it ends at a word boundary.
fn owner<'n>(name: &'n str, ending: &str) -> Option<&'n str> {
    name.strip_suffix(ending).filter(|owner| owner.is_empty() || owner.ends_with('.'))
}

/// The matrices of one stored tensor that are cut: their common shape, and the number of each.
struct Whole {
    rows: usize,
    cols: usize,
    experts: Range<usize>,
}

impl Whole {
    fn of(layer: &Layer, fused: &Fused, config: &Config) -> Option<Self> {
        let (rows, cols) = (layer.rows, layer.cols);
        match (fused.experts, layer.part) {
            (Experts::Stacked, Part::Slice(expert)) => Some(Self { rows, cols, experts: expert..expert + 1 }),
            (Experts::Flat, Part::Whole) => {
                let count = config.number(&EXPERTS).filter(|count| rows.is_multiple_of(*count))?;
                Some(Self { rows: rows / count, cols, experts: 0..count })
            }
            _ => None,
        }
    }

    /// How wide the model is by this layout.
    fn width(&self, fused: &Fused) -> usize {
        match (fused.width, fused.axes) {
            (Width::Inputs, Axes::OutIn) | (Width::Outputs, Axes::InOut) => self.cols,
            (Width::Inputs, Axes::InOut) | (Width::Outputs, Axes::OutIn) => self.rows,
        }
    }
}

/// The outputs of a stored matrix, which may belong to several matrices.
struct Outputs<'a> {
    layer: &'a Layer,
    /// The matrix: all of what is stored, or one of several below each other.
    of: Arc<Expr>,
}

impl Outputs<'_> {
    /// The matrix that has some of the outputs.
    fn weight(&self, name: &str, axes: Axes, runs: Runs) -> Weight {
        let name = Text::from(printable(bare(name)));
        let (block, role) = place_of(&name);
        let of = Arc::clone(&self.of);
        let expr = match axes {
            // All outputs as they are stored are a matrix like any other.
            Axes::OutIn if runs.count == of.shape().0 => of,
            Axes::OutIn => Arc::new(Expr::Part { of, side: Side::Rows, runs }),
            Axes::InOut => Arc::new(Expr::Part { of, side: Side::Columns, runs }).transposed(),
        };
        let (rows, cols) = expr.shape();
        let layer = Layer { name, rows, cols, block, role, part: Part::Cut, ..self.layer.clone() };
        Weight::new(layer, expr, None)
    }
}
