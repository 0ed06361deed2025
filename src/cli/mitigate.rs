//! `--mitigate`: a copy of a fine-tune whose intruders are scaled, as a checkpoint or as an adapter of a given rank.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::checkpoint::{Catalogue, Holds, Pairs};
use crate::error::{Error, brief};
use crate::layer::{Filter, Layer};
use crate::low_rank::LowRank;
use crate::matrix::Matrix;
use crate::report;
use crate::solver::{self, Basis};
use crate::writing::CheckpointCopy;

/// Where PEFT puts the settings of an adapter.
const CONFIG: &str = "adapter_config.json";

/// What is to be written.
pub(super) struct Request<'a> {
    /// The tuned side, as typed.
    pub from: &'a Path,
    /// Where the copy goes.
    pub out: &'a Path,
    /// The rank of mitigated updates, if not the adapter's own.
    pub rank: Option<usize>,
    /// What to add to which matrix, by its name.
    pub corrections: &'a BTreeMap<&'a str, &'a LowRank>,
}

/// What was written.
pub(super) struct Written {
    /// What share of each mitigated update's energy was kept.
    pub kept: BTreeMap<String, f64>,
    /// The files that were not copied, for they are links out of the model's folder.
    pub left_out: Vec<String>,
}

/// Writes the copy.
pub(super) fn write(request: &Request<'_>, pairs: &Pairs) -> Result<Written, Error> {
    let source = pairs.tuned().as_ref();
    let copy = CheckpointCopy::new(request.from, source, request.out)?;
    let mut kept = BTreeMap::new();
    if source.holds() == Holds::Weights {
        for (name, correction) in request.corrections {
            copy.add(source, &pairs.get(name)?.tuned, correction)?;
        }
    } else {
        let mut tensors = BTreeMap::new();
        let mut ranks = vec![];
        for (name, correction) in request.corrections {
            let module = Module::new(&copy, source, &pairs.get(name)?.tuned, request.from)?;
            let rank = request.rank.unwrap_or(module.product.rank());
            let (product, share) = refactored(&module.product, correction, rank, module.scale)?;
            kept.insert((*name).to_owned(), share);
            if product.rank() != module.product.rank() {
                ranks.push((module.name()?, product.rank(), module.scale));
            }
            module.store(&product, &mut tensors)?;
        }
        copy.replace(&tensors)?;
        if !ranks.is_empty() {
            copy.configure(CONFIG, |fields| set_ranks(fields, &ranks))?;
        }
    }
    let left_out = copy.left_out().to_vec();
    copy.finish()?;
    Ok(Written { kept, left_out })
}

/// `product` + `correction` with at most `rank` directions, divided by `scale`, as factors of like size; and the share
/// of its energy that they keep.
fn refactored(
    product: &LowRank,
    correction: &LowRank,
    rank: usize,
    scale: f64,
) -> Result<(LowRank, f64), Error> {
    let shape = (product.rows(), product.cols());
    let columns = |factor: &LowRank| factor.rank();
    let mut left = Vec::with_capacity(shape.0 * (columns(product) + columns(correction)));
    for row in 0..shape.0 {
        for factor in [product, correction] {
            left.extend_from_slice(&factor.left()[row * factor.rank()..(row + 1) * factor.rank()]);
        }
    }
    let right = [product.right(), correction.right()].concat();
    let sum = LowRank::new(shape, columns(product) + columns(correction), left, right)?;
    let factors = solver::all_vectors(&sum)?;
    let largest = factors.values.first().copied().unwrap_or(0.0).max(f64::MIN_POSITIVE);
    let energy = |values: &[f64]| values.iter().map(|s| (s / largest) * (s / largest)).sum::<f64>();
    let all = energy(&factors.values);
    let kept = factors.truncated(rank);
    let share = if all > 0.0 { energy(&kept.values) / all } else { 1.0 };
    // Directions that the sum does not have are zero in both factors.
    let at = |column: Option<f64>, i: usize| {
        let size = kept.values.get(i).map_or(0.0, |s| (s / scale.abs()).sqrt());
        column.map_or(0.0, |x| x * size)
    };
    let entry =
        |basis: &Basis, row: usize, i: usize| at((i < kept.values.len()).then(|| basis.column(i)[row]), i);
    let left = (0..shape.0).flat_map(|row| (0..rank).map(move |i| (row, i)));
    let left = left.map(|(row, i)| entry(&kept.left, row, i) * scale.signum()).collect();
    let right = (0..rank).flat_map(|i| (0..shape.1).map(move |row| (row, i)));
    let right = right.map(|(row, i)| entry(&kept.right, row, i)).collect();
    Ok((LowRank::new(shape, rank, left, right)?, share))
}

/// A module of an adapter that can be written back.
struct Module {
    /// The update, scaled.
    product: LowRank,
    scale: f64,
    down: Arc<Layer>,
    up: Arc<Layer>,
    /// Whether the weight is stored input × output.
    transposed: bool,
}

impl Module {
    fn new(copy: &CheckpointCopy, source: &Catalogue, layer: &Layer, from: &Path) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::tensor(from, &layer.tensor, reason);
        let update = source.update(layer);
        let plain = |update: &report::Update| update.kind == "lora" && layer.rank.is_some();
        let (Some(update), Some(scale)) =
            (update.as_ref().filter(|u| plain(u)), update.as_ref().and_then(|u| u.scale))
        else {
            return Err(refuse(
                "has intruders, but only plain LoRA factors can be written back; leave it out with `--exclude`",
            ));
        };
        let stored = crate::layer::select(source.tensors(), &Filter::default()).layers;
        let named = |ends: [&str; 2]| {
            let is = |name: &str| ends.iter().any(|end| name.contains(end));
            stored.iter().find(|layer| update.tensors.contains(&layer.tensor) && is(&layer.tensor)).cloned()
        };
        let (Some(down), Some(up)) = (named([".lora_A.", ".lora_down."]), named([".lora_B.", ".lora_up."]))
        else {
            return Err(refuse("has intruders, but its factors are not those of a linear layer"));
        };
        let product = source.factors(layer)?;
        let shapes = [(up.rows, down.cols), (down.cols, up.rows)];
        let flat = up.stored_shape.len() == 2 && down.stored_shape.len() == 2;
        if !flat || !shapes.contains(&(layer.rows, layer.cols)) || down.rows != product.rank() {
            return Err(refuse("has intruders, but is not simply the product of its two factors"));
        }
        // Whether a square weight is stored input × output, only the factors tell.
        let straight =
            copy.stored(&up)?.to_f64().iter().map(|x| x * scale).eq(product.left().iter().copied());
        let transposed = !straight;
        Ok(Self { product, scale, down, up, transposed })
    }

    /// The module's name as PEFT matches it.
    fn name(&self) -> Result<String, Error> {
        let name = self.down.tensor.split_once(".lora_A.").map(|(module, _)| module);
        let name = name.and_then(|name| name.strip_prefix("base_model.model."));
        name.map(str::to_owned).ok_or_else(|| {
            Error::Usage(format!("`{}` has no rank of its own; leave out `--rank`", brief(&self.down.tensor)))
        })
    }

    /// Adds the factors of an update, not scaled, to `tensors`.
    fn store(&self, product: &LowRank, tensors: &mut BTreeMap<String, Matrix>) -> Result<(), Error> {
        let rank = product.rank();
        let (left, right) = (product.left().to_vec(), product.right().to_vec());
        let (up, down) = if self.transposed {
            (turned(&right, product.cols()), turned(&left, rank))
        } else {
            (left, right)
        };
        let up = Matrix::rounded(self.up.rows, rank, self.up.dtype, &up)?;
        let down = Matrix::rounded(rank, self.down.cols, self.down.dtype, &down)?;
        tensors.insert(self.up.tensor.clone(), up);
        tensors.insert(self.down.tensor.clone(), down);
        Ok(())
    }
}

/// Row-major entries with `cols` columns, the other way round.
fn turned(entries: &[f64], cols: usize) -> Vec<f64> {
    (0..cols).flat_map(|j| entries.iter().skip(j).step_by(cols.max(1)).copied()).collect()
}

/// Gives modules a rank of their own at the scale they have. The first pattern that fits wins, so these come first.
fn set_ranks(fields: &mut Map<String, Value>, ranks: &[(String, usize, f64)]) {
    let root = fields.get("use_rslora").and_then(Value::as_bool) == Some(true);
    let alpha = |rank: usize, scale: f64| scale * if root { (rank as f64).sqrt() } else { rank as f64 };
    for key in ["rank_pattern", "alpha_pattern"] {
        let mut patterns: Map<String, Value> = ranks
            .iter()
            .map(|(name, rank, scale)| {
                let value = if key == "rank_pattern" { json!(rank) } else { json!(alpha(*rank, *scale)) };
                (name.replace('.', "\\."), value)
            })
            .collect();
        let before = fields.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
        patterns.extend(before);
        fields.insert(key.to_owned(), Value::Object(patterns));
    }
}
