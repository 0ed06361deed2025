//! What one head writes and a later one reads: composition scores of whole heads and of single directions.
//!
//! With `OV = UΣVᵀ` of the earlier head and a product `R` of the later one, `‖OV·R‖_F = ‖ΣVᵀR‖_F`: a direction `vᵢ` has the
//! score `‖vᵢᵀR‖/‖R‖_F`, and the head's is their mean by energy.

use super::columns::{COMPONENTS, COMPOSITION};
use super::measure::Part;
use super::modules::Module;
use super::read::{Folding, Lines, Weights};
use crate::error::Error;
use crate::report::{MissingReason, Value};
use crate::solver::{Basis, Cost, TallProduct, each};
use crate::weight::Catalogue;

/// Directions whose σ differ by less than this share of σ₁ are told apart by rounding alone: they count as one.
const BLOCK: f64 = 1e-6;

/// A module as others compose with it.
pub struct Circuits {
    width: usize,
    heads: usize,
    kv_heads: usize,
    is_cross: bool,
    /// For each head the right singular vectors of its OV, side by side; directions that are rounding are zero.
    written: Basis,
    /// σ of each of these, head by head.
    sigma: Vec<Vec<f64>>,
    readers: Vec<Option<Reader>>,
    keys: Vec<Option<Basis>>,
    values: Vec<Option<Basis>>,
}

struct Reader {
    query: Basis,
    qk: TallProduct,
    ov: TallProduct,
}

/// A head into a later one.
#[derive(Debug, Clone, PartialEq)]
pub struct Composed {
    /// A value for each of [`COMPOSITION`], and of [`COMPONENTS`] if these were asked for.
    pub values: Vec<Value>,
    /// The scores of each direction of the earlier head into the later one's queries, keys and values.
    pub components: Option<[Vec<f64>; 3]>,
}

/// Whether single directions are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Components {
    /// They are.
    Told,
    /// Whole heads alone.
    Summed,
}

/// What the circuits of `module` take in memory, once found.
pub fn bytes(module: &Module) -> u64 {
    let (size, value) = (module.head_dim as u64, module.value_dim as u64);
    let lines = module.heads as u64 * (value + size) + module.kv_heads as u64 * (size + value);
    8 * module.width as u64 * lines + 8 * module.heads as u64 * 4 * (size * size + value * value)
}

/// What it costs to hold the heads of `earlier` against those of `later`.
pub fn cost(earlier: &Module, later: &Module) -> Cost {
    let written = (earlier.heads * earlier.value_dim) as f64;
    let read = (later.heads * later.head_dim + later.kv_heads * (later.head_dim + later.value_dim)) as f64;
    let inner = 3.0 * (later.heads * later.head_dim * later.head_dim) as f64;
    let flops = written * (read * later.width as f64 + inner);
    let own = [earlier, later].map(super::measure::cost);
    let images = 8 * (written * 3.0 * later.head_dim as f64) as u64;
    Cost {
        flops: flops + 0.1 * own.iter().map(|cost| cost.flops).sum::<f64>(),
        bytes: own.iter().map(|cost| cost.bytes).sum::<u64>() + bytes(earlier) + bytes(later) + images,
    }
}

impl Circuits {
    /// Those of `module`.
    ///
    /// # Errors
    /// When something cannot be read or decomposed.
    pub fn read(source: &Catalogue, module: &Module, folding: Folding) -> Result<Self, Error> {
        let weights = Weights::read(source, module, folding)?;
        let width = module.width;
        let groups: Vec<usize> = (0..module.kv_heads).collect();
        let inputs = each(&groups, |kv| -> Result<_, Error> {
            Ok([Part::new(width, weights.key(*kv))?, Part::new(width, weights.value(*kv))?])
        });
        let inputs: Vec<[Option<Part>; 2]> = inputs.into_iter().collect::<Result<_, _>>()?;
        let heads: Vec<usize> = (0..module.heads).collect();
        let found = each(&heads, |head| -> Result<_, Error> {
            let [key, value] = &inputs[module.kv_head(*head)];
            let query = Part::new(width, weights.query(*head))?;
            let output = Part::new(width, Lines { entries: weights.output(*head), bias: None })?;
            let (Some(key), Some(value), Some(query), Some(output)) = (key, value, query, output) else {
                return Ok(None);
            };
            let (qk, ov) = (query.tall.product(&key.tall)?, value.tall.product(&output.tall)?);
            let sigma = ov.values();
            let written = ov.right_vectors(&output.tall);
            Ok(Some((sigma, written, Reader { query: query.tall.basis(), qk, ov })))
        });
        let count = module.value_dim.min(width);
        let (mut sigma, mut written, mut readers) =
            (vec![], Vec::with_capacity(width * count * heads.len()), vec![]);
        for found in found {
            if let Some((values, vectors, reader)) = found? {
                let first = values.first().copied().unwrap_or(0.0);
                let floor = first * width as f64 * f64::EPSILON;
                for (vector, s) in vectors.columns().zip(&values) {
                    // What is rounding has no direction.
                    written.extend(vector.iter().map(|x| if *s > floor { *x } else { 0.0 }));
                }
                sigma.push(values);
                readers.push(Some(reader));
            } else {
                written.extend(std::iter::repeat_n(0.0, width * count));
                sigma.push(vec![]);
                readers.push(None);
            }
        }
        let bases = |which: usize| -> Vec<Option<Basis>> {
            inputs.iter().map(|both| both[which].as_ref().map(|part| part.tall.basis())).collect()
        };
        Ok(Self {
            width,
            heads: module.heads,
            kv_heads: module.kv_heads,
            is_cross: module.is_cross(),
            written: Basis::from_columns(width, written),
            sigma,
            readers,
            keys: bases(0),
            values: bases(1),
        })
    }

    /// Each head of this module into each of `later` that is `wanted`: rows of the earlier heads, in order.
    pub fn scores(
        &self,
        later: &Self,
        components: Components,
        wanted: impl Fn(usize, usize) -> bool + Sync,
    ) -> Vec<((usize, usize), Composed)> {
        let readers: Vec<usize> = (0..later.heads).collect();
        let is_read = |reader: &usize| (0..self.heads).any(|writer| wanted(writer, *reader));
        let readers: Vec<usize> = readers.into_iter().filter(is_read).collect();
        let groups: Vec<usize> = (0..later.kv_heads).collect();
        let along = |bases: &[Option<Basis>]| -> Vec<Option<Basis>> {
            let is_used = |kv: usize| {
                !later.is_cross && readers.iter().any(|reader| reader * later.kv_heads / later.heads == kv)
            };
            each(&groups, |kv| {
                bases[*kv].as_ref().filter(|_| is_used(*kv)).map(|basis| basis.cosines(&self.written))
            })
        };
        let (keys, values) = (along(&later.keys), along(&later.values));
        let mut found: Vec<((usize, usize), Composed)> = each(&readers, |reader| {
            let kv = reader * later.kv_heads / later.heads;
            let shares = later.readers[*reader].as_ref().map(|read| {
                let query = read.qk.shares_from_left(&read.query.cosines(&self.written));
                let key = keys[kv].as_ref().map(|along| read.qk.shares_from_right(along));
                let value = values[kv].as_ref().map(|along| read.ov.shares_from_left(along));
                [Some(query), key, value]
            });
            let pair = |writer: usize| {
                let composed = self.composed(writer, shares.as_ref(), later.is_cross, components);
                ((writer, *reader), composed)
            };
            (0..self.heads).filter(|writer| wanted(*writer, *reader)).map(pair).collect::<Vec<_>>()
        })
        .into_iter()
        .flatten()
        .collect();
        found.sort_by_key(|(pair, _)| *pair);
        found
    }

    /// One head into one that all directions have these shares of.
    fn composed(
        &self,
        writer: usize,
        shares: Option<&[Option<Vec<f64>>; 3]>,
        is_cross: bool,
        components: Components,
    ) -> Composed {
        let sigma = &self.sigma[writer];
        let count = COMPOSITION.len() + if components == Components::Told { COMPONENTS.len() } else { 0 };
        let without = |why| Composed { values: vec![Value::Missing(why); count], components: None };
        let Some(shares) = shares.filter(|_| !sigma.is_empty()) else {
            return without(MissingReason::NonFinite);
        };
        if sigma.first().is_none_or(|first| *first <= 0.0) {
            return without(MissingReason::AllZero);
        }
        let size = self.written.count() / self.heads.max(1);
        let own = |shares: &Option<Vec<f64>>| {
            shares.as_ref().map(|shares| blocks(sigma, &shares[writer * size..(writer + 1) * size]))
        };
        let scores = shares.each_ref().map(own);
        let why = if is_cross { MissingReason::NotApplicable } else { MissingReason::NonFinite };
        let whole = scores.each_ref().map(|scores| match scores {
            // A product of zeros has no direction.
            Some(scores) if scores.iter().all(|c| c.is_finite()) => {
                Value::within(mean(sigma, scores), 0.0, 1.0)
            }
            Some(_) => Value::Missing(MissingReason::AllZero),
            None => Value::Missing(why),
        });
        let strongest = whole.iter().filter_map(|value| value.number()).max_by(f64::total_cmp);
        let mut values = vec![strongest.map_or(whole[0], Value::Real)];
        values.extend(whole);
        let root = (self.width as f64).sqrt();
        values.extend(whole.map(|value| value.number().map_or(value, |score| Value::real(score * root))));
        if components == Components::Summed {
            return Composed { values, components: None };
        }
        for (scores, whole) in scores.iter().zip(whole) {
            let all = scores.as_deref().unwrap_or_default();
            // Of equals the first.
            let best = all.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1));
            values.extend(match best.filter(|_| whole.number().is_some()) {
                Some((at, score)) => [Value::within(*score, 0.0, 1.0), Value::count(at)],
                None => [whole; 2],
            });
        }
        let finite = |scores: Option<Vec<f64>>| {
            scores.filter(|all| all.iter().all(|c| c.is_finite())).unwrap_or_default()
        };
        Composed { values, components: Some(scores.map(finite)) }
    }
}

/// `√(Σσᵢ²cᵢ²/Σσᵢ²)`.
fn mean(sigma: &[f64], scores: &[f64]) -> f64 {
    let first = sigma[0];
    let weights = sigma.iter().map(|s| (s / first) * (s / first));
    let sum: f64 = weights.clone().zip(scores).map(|(w, c)| w * c * c).sum();
    (sum / weights.sum::<f64>()).sqrt()
}

/// The scores with one number for all directions of equal σ, their root mean square: which of them is which is chance.
fn blocks(sigma: &[f64], scores: &[f64]) -> Vec<f64> {
    let apart = BLOCK * sigma.first().copied().unwrap_or(0.0);
    let mut found = Vec::with_capacity(scores.len());
    while found.len() < scores.len() {
        let start = found.len();
        let more = sigma[start..].array_windows::<2>().take_while(|[a, b]| a - b <= apart).count();
        let block = &scores[start..=start + more];
        let square = block.iter().map(|c| c * c).sum::<f64>() / block.len() as f64;
        found.extend(std::iter::repeat_n(square.sqrt(), block.len()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_of_equal_strength_have_one_score() {
        assert_eq!(blocks(&[2.0, 1.0, 1.0], &[0.5, 1.0, 0.0]), [0.5, 0.5f64.sqrt(), 0.5f64.sqrt()]);
        assert_eq!(blocks(&[3.0, 2.0, 1.0], &[0.5, 1.0, 0.0]), [0.5, 1.0, 0.0]);
        assert_eq!(blocks(&[1.0; 3], &[3.0, 4.0, 0.0]), [(25.0f64 / 3.0).sqrt(); 3]);
        // The sum is what it was.
        let (sigma, scores) = ([2.0, 1.0, 1.0], [0.5, 0.2, 0.1]);
        assert!((mean(&sigma, &blocks(&sigma, &scores)) - mean(&sigma, &scores)).abs() < 1e-6);
    }
}
