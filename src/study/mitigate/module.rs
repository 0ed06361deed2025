//! One module of a mitigated adapter whose own tensors can hold it: LoRA and DoRA of linear layers and convolutions.
//!
//! DoRA's weight is `diag(c)·(W₀ + s·B·A)` with `c = m/‖W₀ + s·B·A‖`. What is added to it is added to `s·B·A` divided by `c`, and
//! `m` becomes `c` times the new lengths, so that `c` stays.

use serde_json::{Map, Value, json};

use crate::checkpoint::{Catalogue, Pairs};
use crate::error::{Error, brief};
use crate::layer::{Element, Layer, TensorInfo};
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix};
use crate::pair::Pair;
use crate::report;
use crate::solver::{self, Basis};
use crate::weight::{Along, Rescaling, Side};
use crate::writing::Spool;

/// How much of a base matrix is read at once.
const BLOCK: usize = 4 << 20;

/// A tensor of a mitigated adapter.
pub(super) enum NewTensor {
    Factor(Factor),
    /// The lengths of DoRA.
    Lengths {
        entries: Vec<f64>,
        shape: Vec<u64>,
        dtype: Dtype,
    },
}

impl NewTensor {
    /// Its shape as a file has it.
    pub(super) fn axes(&self) -> Vec<u64> {
        match self {
            Self::Factor(factor) => factor.axes.clone(),
            Self::Lengths { shape, .. } => shape.clone(),
        }
    }

    /// Its entries, rounded to its type.
    pub(super) fn read(&self, products: &Spool) -> Result<Matrix, Error> {
        match self {
            Self::Factor(factor) => factor.read(products),
            Self::Lengths { entries, dtype, .. } => Matrix::rounded(1, entries.len(), *dtype, entries),
        }
    }
}

/// A stored factor of a mitigated update.
pub(super) struct Factor {
    /// What the product is kept under.
    product: String,
    /// Which of the product's factors it is, and whether it is stored the other way round.
    side: Side,
    turned: bool,
    axes: Vec<u64>,
    dtype: Dtype,
}

impl Factor {
    fn read(&self, products: &Spool) -> Result<Matrix, Error> {
        let missing = || Error::Contract(format!("`{}`: no factors", self.product));
        let product = products.get(&self.product)?.ok_or_else(missing)?;
        let (entries, cols) = match self.side {
            Side::Rows => (product.left(), product.rank()),
            Side::Columns => (product.right(), product.cols()),
        };
        let count = entries.len();
        if self.turned {
            Matrix::rounded(1, count, self.dtype, &turned(entries, cols))
        } else {
            Matrix::rounded(1, count, self.dtype, entries)
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

/// What the names of the two factors hold, rank × inputs and outputs × rank, or end in: MLX has them
/// the other way round, as if the weight were stored input × output.
const FACTORS: [([&str; 6], &str); 2] = [
    (
        [".lora_A.", ".lora_down.", ".lora.down.", ".lora_linear_layer.down.", "_lora.down.", "_lora_down."],
        ".lora_b",
    ),
    ([".lora_B.", ".lora_up.", ".lora.up.", ".lora_linear_layer.up.", "_lora.up.", "_lora_up."], ".lora_a"),
];

/// A module that can be written back.
pub(super) struct Module {
    /// The update, scaled; of DoRA, what of it lies in the factors, times `c`.
    product: LowRank,
    pub(super) scale: f64,
    down: (TensorInfo, Dtype),
    up: (TensorInfo, Dtype),
    /// Whether the weight is stored input × output.
    transposed: bool,
    dora: Option<Lengths>,
}

/// What DoRA has beside the factors.
struct Lengths {
    rescaling: Rescaling,
    tensor: TensorInfo,
    dtype: Dtype,
}

impl Module {
    /// The module of `layer`; none where its own tensors cannot hold another update.
    pub(super) fn new(source: &Catalogue, layer: &Layer) -> Result<Option<Self>, Error> {
        let Some(update) =
            source.update(layer).filter(|update| ["lora", "dora"].contains(&update.kind.as_ref()))
        else {
            return Ok(None);
        };
        let Some(factors) = source.stored_factors(layer)?.filter(|factors| factors.diagonal.is_none()) else {
            return Ok(None);
        };
        let [down, up] = FACTORS.each_ref().map(|(words, end)| {
            let is = |name: &str| words.iter().any(|word| name.contains(word)) || name.ends_with(end);
            float(source, &update, &is)
        });
        let (Some(down), Some(up)) = (down, up) else { return Ok(None) };
        let rank = factors.rank;
        // A kernel lies in the factor next to the inputs alone.
        let is_flat = up.0.shape.len() > 1 && up.0.shape[2..].iter().all(|n| *n == 1);
        let (outputs, inputs) = (factors.outputs(), factors.inputs());
        let shape = if factors.transposed { (inputs, outputs) } else { (outputs, inputs) };
        // Nor is there a third factor that holds it (`lora_mid`).
        let is_all = down.0.shape.iter().product::<usize>() == rank * inputs;
        let fits = is_flat && up.0.shape[..2] == [outputs, rank] && down.0.shape.first() == Some(&rank);
        if !(fits && is_all) || shape != (layer.rows, layer.cols) {
            return Ok(None);
        }
        let scaled: Vec<f64> = factors.up.iter().map(|x| x * factors.scale).collect();
        let product = if factors.transposed {
            LowRank::new(shape, rank, turned(&factors.down, inputs), turned(&scaled, rank))?
        } else {
            LowRank::new(shape, rank, scaled, factors.down)?
        };
        let dora = match source.rescaling(layer)? {
            Some(rescaling) => {
                let is = |name: &str| LENGTHS.iter().any(|word| name.contains(word));
                let Some((tensor, dtype)) = float(source, &update, &is) else { return Ok(None) };
                Some(Lengths { rescaling, tensor, dtype })
            }
            None if update.kind == "dora" => return Ok(None),
            None => None,
        };
        let product = match &dora {
            Some(Lengths { rescaling, .. }) => rescaled(&product, rescaling, |x, c| x * c)?,
            None => product,
        };
        Ok(Some(Self { product, scale: factors.scale, down, up, transposed: factors.transposed, dora }))
    }

    /// Its directions.
    pub(super) fn rank(&self) -> usize {
        self.product.rank()
    }

    /// The module's name as PEFT matches it.
    pub(super) fn name(&self) -> Result<String, Error> {
        let stored = &self.down.0.name;
        let name = stored.split_once(".lora_A.").map(|(module, _)| module);
        let name = name.and_then(|name| name.strip_prefix("base_model.model."));
        name.map(str::to_owned).ok_or_else(|| {
            Error::Usage(format!("`{}` has no rank of its own; leave out `--rank`", brief(stored)))
        })
    }

    /// Its tensors with `correction` added to the weight, at most `rank` directions; their product is put into `products`. Gives
    /// the share of the factors' energy that is kept, too.
    pub(super) fn corrected(
        &self,
        (name, correction): (&str, &LowRank),
        rank: usize,
        (pairs, pair): (&Pairs, &Pair),
        products: &Spool,
    ) -> Result<(Vec<(String, NewTensor)>, f64), Error> {
        let (product, share) = refactored(&self.product, correction, rank, self.scale)?;
        let product = match &self.dora {
            Some(Lengths { rescaling, .. }) => {
                rescaled(&product, rescaling, |x, c| if c == 0.0 { 0.0 } else { x / c })?
            }
            None => product,
        };
        let [left_type, right_type] =
            if self.transposed { [self.down.1, self.up.1] } else { [self.up.1, self.down.1] };
        let rounded =
            |entries: &[f64], dtype| Ok(Matrix::rounded(1, entries.len(), dtype, entries)?.to_f64());
        let (left, right): (Result<_, Error>, Result<_, Error>) =
            (rounded(product.left(), left_type), rounded(product.right(), right_type));
        let product = LowRank::new((product.rows(), product.cols()), rank, left?, right?)?;
        products.put(name, &product)?;
        let factor = |(tensor, dtype): &(TensorInfo, Dtype), side, axis: usize| {
            let mut axes: Vec<u64> = tensor.shape.iter().map(|n| *n as u64).collect();
            axes[axis] = rank as u64;
            let product = name.to_owned();
            let factor = Factor { product, side, turned: self.transposed, axes, dtype: *dtype };
            (tensor.name.to_string(), NewTensor::Factor(factor))
        };
        let [of_up, of_down] =
            if self.transposed { [Side::Columns, Side::Rows] } else { [Side::Rows, Side::Columns] };
        let mut tensors = vec![factor(&self.up, of_up, 1), factor(&self.down, of_down, 0)];
        if let Some(Lengths { rescaling, tensor, dtype }) = &self.dora {
            let lengths = lengths(pairs.base(), &pair.base, &product.scaled(self.scale)?, rescaling)?;
            let shape = tensor.shape.iter().map(|n| *n as u64).collect();
            tensors.push((
                tensor.name.to_string(),
                NewTensor::Lengths { entries: lengths, shape, dtype: *dtype },
            ));
        }
        Ok((tensors, share))
    }
}

/// What the names of the lengths of DoRA hold.
const LENGTHS: [&str; 3] = ["lora_magnitude_vector", "dora_scale", ".magnitude"];

/// The float tensor of `update` whose name is as `is` says.
fn float(
    source: &Catalogue,
    update: &report::Update,
    is: &dyn Fn(&str) -> bool,
) -> Option<(TensorInfo, Dtype)> {
    let of_update =
        |tensor: &&TensorInfo| update.tensors.iter().any(|name| *name == *tensor.name) && is(&tensor.name);
    let tensor = source.tensors().iter().find(of_update)?;
    match tensor.element {
        Element::Float(dtype) => Some((tensor.clone(), dtype)),
        Element::Coded(..) | Element::Other(_) => None,
    }
}

/// `product` with the rows or columns that `rescaling` is about changed by their factors.
fn rescaled(
    product: &LowRank,
    rescaling: &Rescaling,
    change: impl Fn(f64, f64) -> f64,
) -> Result<LowRank, Error> {
    let (mut left, mut right) = (product.left().to_vec(), product.right().to_vec());
    match rescaling.along {
        Along::Rows => {
            let rows = left.chunks_exact_mut(product.rank().max(1));
            rows.zip(&rescaling.factors)
                .for_each(|(row, c)| row.iter_mut().for_each(|x| *x = change(*x, *c)));
        }
        Along::Columns(group) => {
            for row in right.chunks_exact_mut(product.cols().max(1)) {
                row.iter_mut().enumerate().for_each(|(j, x)| *x = change(*x, rescaling.factors[j / group]));
            }
        }
    }
    LowRank::new((product.rows(), product.cols()), product.rank(), left, right)
}

/// `c` times the lengths of the rows or columns of a base matrix with `update` added.
fn lengths(
    base: &Catalogue,
    layer: &Layer,
    update: &LowRank,
    rescaling: &Rescaling,
) -> Result<Vec<f64>, Error> {
    let mut squares = vec![0.0; rescaling.factors.len()];
    let mut row = vec![0.0; update.cols()];
    for rows in layer.blocks(BLOCK) {
        let entries = base.read(layer, rows.clone())?.to_f64();
        for (i, entries) in rows.zip(entries.chunks_exact(update.cols().max(1))) {
            update.row(i, &mut row);
            for (j, (x, y)) in entries.iter().zip(&row).enumerate() {
                let at = match rescaling.along {
                    Along::Rows => i,
                    Along::Columns(group) => j / group,
                };
                squares[at] += (x + y) * (x + y);
            }
        }
    }
    Ok(squares.into_iter().zip(&rescaling.factors).map(|(square, c)| c * f64::sqrt(square)).collect())
}

/// Row-major entries with `cols` columns, the other way round.
fn turned(entries: &[f64], cols: usize) -> Vec<f64> {
    (0..cols).flat_map(|j| entries.iter().skip(j).step_by(cols.max(1)).copied()).collect()
}

/// Gives modules a rank of their own at the scale they have. The first pattern that fits wins, so these come first.
pub(super) fn set_ranks(fields: &mut Map<String, Value>, ranks: &[(String, usize, f64)]) {
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
