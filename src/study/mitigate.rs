//! `--mitigate`: a copy of a fine-tune whose intruders are scaled, as a checkpoint or as an adapter of a given rank.
//!
//! It is written once everything was measured, so that a failure leaves nothing behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::checkpoint::{Catalogue, Holds, Pairs};
use crate::error::{Error, brief};
use crate::layer::{Filter, Layer};
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix};
use crate::notation;
use crate::report::{self, Report, Row};
use crate::solver::{self, Basis};
use crate::weight::Side;
use crate::writing::{CheckpointCopy, Spool};

/// Where PEFT puts the settings of an adapter.
const CONFIG: &str = "adapter_config.json";

/// The copy to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Mitigation {
    /// The tuned side.
    pub from: PathBuf,
    /// Where the copy goes, as typed.
    pub out: PathBuf,
    /// The share of their strength that intruders keep.
    pub keep: f64,
    /// The rank of mitigated updates, if not the adapter's own.
    pub rank: Option<usize>,
}

/// The copy that was written.
struct Written {
    /// The share of each mitigated update's energy that was kept.
    kept: BTreeMap<String, f64>,
    /// The files that were not copied, for they are links out of the model's folder.
    left_out: Vec<String>,
}

impl Mitigation {
    /// Writes the copy of what `report` was measured on, and notes in it how. Gives the names of the files that were not
    /// copied, for they are links out of the model's folder.
    ///
    /// # Errors
    /// When a matrix could not be measured, or the copy cannot be written.
    pub fn write(
        &self,
        report: &mut Report,
        corrections: &Spool,
        pairs: &Pairs,
    ) -> Result<Vec<String>, Error> {
        if let Some(row) = report.rows.iter().find(|row| row.failed.is_some()) {
            let reason = format!("nothing was written: `{}` could not be measured", row.name);
            return Err(Error::malformed(&self.out, reason));
        }
        // A copy has the correction of the row that it is a copy of.
        let names = |row: &Row| {
            let known = [Some(&row.name), row.tied_to.as_ref()].into_iter().flatten();
            Some((row.name.to_string(), known.into_iter().find(|name| corrections.has(name))?.to_string()))
        };
        let names: Vec<(String, String)> = report.rows.iter().filter_map(names).collect();
        let corrected = names.iter().map(|(name, kept)| (name.as_str(), kept.as_str())).collect();
        let (count, Written { kept, left_out }) = (names.len(), self.copy(corrected, corrections, pairs)?);
        report.notes.push(self.note(count, &kept));
        for row in &mut report.rows {
            if let (Some(intruders), Some(kept)) = (&mut row.intruders, kept.get(row.name.as_str())) {
                intruders.energy_kept = Some(*kept);
            }
        }
        Ok(left_out)
    }

    fn note(&self, count: usize, kept: &BTreeMap<String, f64>) -> String {
        let matrices = if count == 1 { "matrix" } else { "matrices" };
        let mut note = format!(
            "{}: a copy whose intruders keep {} of their strength, {count} {matrices} changed",
            self.out.display(),
            notation::share(self.keep)
        );
        if let Some(least) = kept.values().copied().min_by(f64::total_cmp) {
            note.push_str("; the updates' energy is kept to ");
            note.push_str(&notation::share(least));
            note.push_str(" or more");
        }
        note
    }

    /// Writes a copy with corrections added: to each matrix by its name the one that is kept under the other.
    fn copy(
        &self,
        corrected: BTreeMap<&str, &str>,
        corrections: &Spool,
        pairs: &Pairs,
    ) -> Result<Written, Error> {
        let source = pairs.tuned().as_ref();
        let copy = CheckpointCopy::new(&self.from, source, &self.out)?;
        let correction =
            |name| corrections.get(name)?.ok_or_else(|| Error::Contract(format!("`{name}`: no correction")));
        let mut kept = BTreeMap::new();
        if source.holds() == Holds::Weights {
            for (name, key) in corrected {
                copy.add(source, &pairs.get(name)?.tuned, &correction(key)?)?;
            }
        } else {
            let factors = Spool::beside(&self.out)?;
            let mut tensors = BTreeMap::new();
            let mut ranks = vec![];
            for (name, key) in corrected {
                let module = Module::new(&copy, source, &pairs.get(name)?.tuned, &self.from)?;
                let rank = self.rank.unwrap_or(module.product.rank());
                let (product, share) = refactored(&module.product, &correction(key)?, rank, module.scale)?;
                kept.insert(name.to_owned(), share);
                if rank != module.product.rank() {
                    ranks.push((module.name()?, rank, module.scale));
                }
                factors.put(name, &product)?;
                tensors.extend(module.stored(name, rank));
            }
            let shapes = tensors.iter().map(|(name, factor)| (name.clone(), factor.axes())).collect();
            copy.replace(&shapes, &|name| tensors[name].read(&factors))?;
            if !ranks.is_empty() {
                copy.configure(CONFIG, |fields| set_ranks(fields, &ranks))?;
            }
        }
        let left_out = copy.left_out().to_vec();
        copy.finish()?;
        Ok(Written { kept, left_out })
    }
}

/// A stored factor of a mitigated update.
struct Factor {
    /// What the product is kept under.
    product: String,
    /// Which of the product's factors it is, and whether it is stored the other way round.
    side: Side,
    turned: bool,
    shape: (usize, usize),
    dtype: Dtype,
}

impl Factor {
    /// Its shape as a file has it.
    fn axes(&self) -> Vec<u64> {
        vec![self.shape.0 as u64, self.shape.1 as u64]
    }

    /// Its entries, rounded to its type.
    fn read(&self, products: &Spool) -> Result<Matrix, Error> {
        let missing = || Error::Contract(format!("`{}`: no factors", self.product));
        let product = products.get(&self.product)?.ok_or_else(missing)?;
        let (entries, cols) = match self.side {
            Side::Rows => (product.left(), product.rank()),
            Side::Columns => (product.right(), product.cols()),
        };
        let (rows, columns) = self.shape;
        if self.turned {
            Matrix::rounded(rows, columns, self.dtype, &turned(entries, cols))
        } else {
            Matrix::rounded(rows, columns, self.dtype, entries)
        }
    }
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

/// What the names of the two factors of a linear layer hold, rank × inputs and outputs × rank, or end in: MLX has them
/// the other way round, as if the weight were stored input × output.
const FACTORS: [([&str; 6], &str); 2] = [
    (
        [".lora_A.", ".lora_down.", ".lora.down.", ".lora_linear_layer.down.", "_lora.down.", "_lora_down."],
        ".lora_b",
    ),
    ([".lora_B.", ".lora_up.", ".lora.up.", ".lora_linear_layer.up.", "_lora.up.", "_lora_up."], ".lora_a"),
];

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
        let named = |is: &dyn Fn(&str) -> bool| {
            stored
                .iter()
                .find(|layer| update.tensors.iter().any(|name| layer.tensor == *name) && is(&layer.tensor))
                .cloned()
        };
        let [down, up] = FACTORS.each_ref().map(|(words, end)| {
            named(&|name| words.iter().any(|word| name.contains(word)) || name.ends_with(end))
        });
        let (Some(down), Some(up)) = (down, up) else {
            return Err(refuse("has intruders, but its factors are not those of a linear layer"));
        };
        let product = source.factors(layer)?;
        let shapes = [(up.rows, down.cols), (down.cols, up.rows)];
        let flat = up.stored_shape.len() == 2 && down.stored_shape.len() == 2;
        if !flat || !shapes.contains(&(layer.rows, layer.cols)) || down.rows != product.rank() {
            return Err(refuse("has intruders, but is not simply the product of its two factors"));
        }
        // Only the factors show whether a square weight is stored input × output.
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

    /// Its tensors, once their product of this rank is kept under `name`, not scaled.
    fn stored(&self, name: &str, rank: usize) -> [(String, Factor); 2] {
        let factor = |layer: &Layer, side, shape| {
            let (product, dtype, turned) = (name.to_owned(), layer.dtype, self.transposed);
            (layer.tensor.to_string(), Factor { product, side, turned, shape, dtype })
        };
        let [of_up, of_down] =
            if self.transposed { [Side::Columns, Side::Rows] } else { [Side::Rows, Side::Columns] };
        [factor(&self.up, of_up, (self.up.rows, rank)), factor(&self.down, of_down, (rank, self.down.cols))]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_products_is_written_with_as_many_directions_as_there_are_to_be() {
        let product = |left: &[f64], right: &[f64]| {
            LowRank::new((2, 2), 1, left.to_vec(), right.to_vec()).expect("two entries a side")
        };
        // diag(6, 0) − diag(2, 0) + diag(0, 3): two directions, 4 and 3.
        let sum = LowRank::new((2, 2), 2, vec![-2.0, 0.0, 0.0, 3.0], vec![1.0, 0.0, 0.0, 1.0])
            .expect("four entries");
        let (two, share) = refactored(&product(&[6.0, 0.0], &[1.0, 0.0]), &sum, 2, -2.0).expect("finite");
        assert!((share - 1.0).abs() < 1e-15 && two.rank() == 2);
        let (one, share) = refactored(&product(&[6.0, 0.0], &[1.0, 0.0]), &sum, 1, -2.0).expect("finite");
        assert!((share - 16.0 / 25.0).abs() < 1e-15, "{share}");
        // As stored, before it is multiplied by the scale.
        let entry = -2.0 * one.left()[0] * one.right()[0];
        assert!((entry - 4.0).abs() < 1e-12 && one.left()[1].abs() < 1e-12, "{one:?}");
        let (three, _) = refactored(&product(&[6.0, 0.0], &[1.0, 0.0]), &sum, 3, 1.0).expect("finite");
        assert_eq!((three.rank(), three.left()[2].abs() + three.left()[5].abs()), (3, 0.0));
    }

    #[test]
    fn a_module_of_another_rank_keeps_its_scale() {
        let mut fields = Map::new();
        fields.insert("rank_pattern".to_owned(), json!({"up": 2}));
        set_ranks(&mut fields, &[("h.0.up".to_owned(), 4, 2.0)]);
        let keys: Vec<&String> = fields["rank_pattern"].as_object().expect("a map").keys().collect();
        assert_eq!(keys, ["h\\.0\\.up", "up"], "the first that fits wins");
        assert_eq!(fields["alpha_pattern"], json!({"h\\.0\\.up": 8.0}));
        fields.insert("use_rslora".to_owned(), json!(true));
        set_ranks(&mut fields, &[("x".to_owned(), 4, 2.0)]);
        assert_eq!(fields["alpha_pattern"]["x"], json!(4.0));
    }
}
