//! The heads of one module in numbers, all through `d × d_h` factors: no `d × d` matrix is formed.

use super::columns::HEADS;
use super::latent::Latent;
use super::layouts::Positions;
use super::modules::{Module, Projections};
use super::read::{Folding, Lines, Weights, own_gains};
use crate::error::Error;
use crate::report::{MissingReason, Value};
use crate::solver::{Basis, Cost, Tall, TallProduct, each, eigenvalue_balance, mean_overlaps};
use crate::weight::Catalogue;

/// A head in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadMeasured {
    /// A value for each of [`HEADS`].
    pub values: Vec<Value>,
    /// The singular values of OV, `d_h` of them, descending; none where an entry is not finite, or one does not fit a double.
    pub sigma_ov: Vec<f64>,
    /// The same of QK.
    pub sigma_qk: Vec<f64>,
}

/// A matrix of a head, as it is and factorized.
pub(super) struct Part {
    pub lines: Lines,
    pub tall: Tall,
}

impl Part {
    /// None where an entry is not finite.
    pub(super) fn new(width: usize, lines: Lines) -> Result<Option<Self>, Error> {
        match Tall::of(width, &lines.entries) {
            Ok(tall) => Ok(Some(Self { lines, tall })),
            Err(Error::NotFinite { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What the heads of `module` cost.
pub fn cost(module: &Module) -> Cost {
    let (d, heads, kv) = (module.width as f64, module.heads as f64, module.kv_heads as f64);
    let size = module.head_dim.max(module.value_dim) as f64;
    let stored: u64 =
        module.layers().iter().map(|layer| layer.len() as u64 * layer.read_as.size() as u64).sum();
    // A factorization takes eight products of its size; small decompositions run far below the speed of products.
    let factors = 2.0 * (heads + kv) * 8.0 * d * size * size;
    let small = heads * 400.0 * size.powi(3);
    let overlaps = heads * heads * d * size * size;
    // What all heads write, as bases, and a few heads at work.
    let bytes = 8.0 * d * size * (heads + 40.0);
    Cost { flops: factors + small + overlaps, bytes: stored + bytes as u64 }
}

/// Measures the heads of `module`.
///
/// # Errors
/// When something cannot be read or decomposed.
pub fn heads(source: &Catalogue, module: &Module, folding: Folding) -> Result<Vec<HeadMeasured>, Error> {
    let weights = Weights::read(source, module, folding)?;
    let groups: Vec<usize> = (0..module.kv_heads).collect();
    let found = each(&groups, |kv| group(&weights, *kv));
    let mut found: Vec<(HeadMeasured, Option<Basis>)> =
        found.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let known: Vec<usize> = (0..found.len()).filter(|head| found[*head].1.is_some()).collect();
    let bases: Vec<&Basis> = known.iter().filter_map(|head| found[*head].1.as_ref()).collect();
    let overlaps = mean_overlaps(&bases);
    let last = HEADS.len() - 1;
    for (head, overlap) in known.into_iter().zip(overlaps) {
        found[head].0.values[last] =
            overlap.map_or(Value::Missing(MissingReason::NotApplicable), Value::real);
    }
    Ok(found.into_iter().map(|(measured, _)| measured).collect())
}

/// The heads that share a key head, each with a basis of what it can write.
fn group(weights: &Weights<'_>, kv: usize) -> Result<Vec<(HeadMeasured, Option<Basis>)>, Error> {
    let module = weights.module;
    let lines = [weights.key(kv), weights.value(kv)];
    let bad: usize = lines.iter().map(|lines| nonfinite(&lines.entries)).sum();
    let [key, value] = lines.map(|lines| Part::new(module.width, lines));
    let (key, value) = (key?, value?);
    let heads: Vec<usize> = (0..module.heads).filter(|head| module.kv_head(*head) == kv).collect();
    let found = each(&heads, |head| {
        let (query, output) = (weights.query(*head), weights.output(*head));
        let bad = bad + nonfinite(&query.entries) + nonfinite(&output);
        let output = Part::new(module.width, Lines { entries: output, bias: None })?;
        let query = Part::new(module.width, query)?;
        let basis = output.as_ref().map(|output| output.tall.basis());
        let measured = match (query, &key, &value, output) {
            (Some(query), Some(key), Some(value), Some(output)) => {
                measured(weights, *head, [&query, key, value, &output])?
            }
            _ => HeadMeasured::without(bad),
        };
        Ok((measured, basis))
    });
    found.into_iter().collect()
}

fn nonfinite(entries: &[f64]) -> usize {
    entries.iter().filter(|x| !x.is_finite()).count()
}

impl HeadMeasured {
    /// A head with entries that are not finite.
    fn without(bad: usize) -> Self {
        let mut values = vec![Value::Missing(MissingReason::NonFinite); HEADS.len()];
        values[0] = Value::count(bad);
        Self { values, sigma_ov: vec![], sigma_qk: vec![] }
    }
}

fn measured(
    weights: &Weights<'_>,
    head: usize,
    [query, key, value, output]: [&Part; 4],
) -> Result<HeadMeasured, Error> {
    let module = weights.module;
    let (qk, ov) = (query.tall.product(&key.tall)?, value.tall.product(&output.tall)?);
    let (sigma_qk, sigma_ov) = (qk.values(), ov.values());
    let gains = [query, key, value].map(|part| part.tall.largest());
    let [query_gain, key_gain, value_gain] = gains;
    let (query_gain, key_gain) = (query_gain?, key_gain?);
    let bounds = match (&module.inputs, &weights.qk_gains) {
        (_, Some([queries, keys])) => {
            { normed_bound((queries, head), module) * normed_bound((keys, module.kv_head(head)), module) }
                .into()
        }
        (Projections::Latent(parts), None) => latent_bounds(weights, parts, head)?,
        (Projections::Plain(_), None) => {
            plain_bounds(module, (query, key), (query_gain, key_gain, &sigma_qk))?
        }
    };
    let Bounds { here, anywhere } = bounds.scaled(module);
    let copying = if module.is_cross() {
        Value::Missing(MissingReason::NotApplicable)
    } else {
        let balance = eigenvalue_balance(module.width, &value.lines.entries, &output.lines.entries)?;
        balance.map_or(Value::Missing(MissingReason::AllZero), |balance| Value::within(balance, -1.0, 1.0))
    };
    let [ov_ranks, qk_ranks] = [&sigma_ov, &sigma_qk].map(|sigma| ranks(sigma));
    let mut values = vec![Value::count(0), Value::real(here)];
    values.push(match module.positions {
        Positions::Rotary => Value::real(anywhere),
        Positions::Elsewhere => Value::Missing(MissingReason::NotApplicable),
    });
    values.extend(ov_ranks.into_iter().chain(qk_ranks));
    values.extend([query_gain, key_gain, value_gain?].map(Value::real));
    values.extend([copying, Value::Missing(MissingReason::NotApplicable)]);
    // What does not fit a double is no list of numbers.
    let fitting = |sigma: Vec<f64>| if sigma.iter().all(|s| s.is_finite()) { sigma } else { vec![] };
    Ok(HeadMeasured { values, sigma_ov: fitting(sigma_ov), sigma_qk: fitting(sigma_qk) })
}

/// σ₁, stable rank, effective rank and top share.
fn ranks(sigma: &[f64]) -> [Value; 4] {
    let first = sigma.first().copied().unwrap_or(0.0);
    if first <= 0.0 {
        let none = Value::Missing(MissingReason::AllZero);
        return [Value::real(first), none, none, none];
    }
    let shares = sigma.iter().map(|s| s / first);
    let energy: f64 = shares.clone().map(|s| s * s).sum();
    let sum: f64 = shares.clone().sum();
    let entropy: f64 = shares.map(|s| s / sum).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
    let most = sigma.len() as f64;
    [
        Value::real(first),
        Value::within(energy, 1.0, most),
        Value::within(entropy.exp(), 1.0, most),
        Value::within(1.0 / energy, 0.0, 1.0),
    ]
}

/// Bounds of a logit before it is scaled: at one position, and at any two.
struct Bounds {
    here: f64,
    anywhere: f64,
}

impl From<f64> for Bounds {
    fn from(both: f64) -> Self {
        Self { here: both, anywhere: both }
    }
}

impl Bounds {
    /// The same of the logit itself.
    fn scaled(self, module: &Module) -> Self {
        let capped = |x: f64| module.cap.map_or(x, |cap| cap * (x / cap).tanh());
        Self { here: capped(module.scale * self.here), anywhere: capped(module.scale * self.anywhere) }
    }
}

/// The length that a norm leaves of a query or key, at most: `√n·max|g|` over what it norms together.
fn normed_bound((gains, head): (&[f64], usize), module: &Module) -> f64 {
    let largest = own_gains(gains, module.head_dim, head).iter().fold(0.0f64, |most, g| most.max(g.abs()));
    (gains.len() as f64).sqrt() * largest
}

/// Inputs are as long as a norm leaves them, `√d`; with biases, one entry longer.
fn plain_bounds(
    module: &Module,
    (query, key): (&Part, &Part),
    (query_gain, key_gain, sigma_qk): (f64, f64, &[f64]),
) -> Result<Bounds, Error> {
    let width = module.width as f64;
    if query.lines.bias.is_none() && key.lines.bias.is_none() {
        let here = sigma_qk.first().copied().unwrap_or(0.0);
        return Ok(Bounds { here: here * width, anywhere: query_gain * key_gain * width });
    }
    let none = vec![0.0; module.head_dim];
    let [of_query, of_key] = [query, key].map(|part| part.lines.bias.as_ref().unwrap_or(&none));
    let here = query.tall.largest_of_product(of_query, &key.tall, of_key)?;
    let anywhere = query.tall.largest_with(of_query)? * key.tall.largest_with(of_key)?;
    Ok(Bounds { here: here * (width + 1.0), anywhere: anywhere * (width + 1.0) })
}

/// Latent vectors are normed, too, so each part has a bound by itself.
fn latent_bounds(weights: &Weights<'_>, parts: &Latent, head: usize) -> Result<Bounds, Error> {
    let Some(latent) = &weights.latent else { return Ok(0.0.into()) };
    let (inner, width) = (latent.query_width, weights.module.width);
    let (plain, rotated) = latent.query_part(parts, head).split_at(parts.plain * inner);
    let [plain, rotated] = [plain, rotated].map(|lines| Tall::of(inner, lines));
    let (plain, rotated) = (plain?, rotated?);
    let key = Tall::of(parts.rank, latent.key_part(parts, head))?;
    let shared = Tall::of(width, &latent.rotated)?;
    let first = |product: &TallProduct| product.values().first().copied().unwrap_or(0.0);
    let [inner, rank, width] = [inner, parts.rank, width].map(|n| (n as f64).sqrt());
    let of_plain = first(&plain.product(&key)?) * inner * rank;
    Ok(Bounds {
        here: of_plain + first(&rotated.product(&shared)?) * inner * width,
        anywhere: of_plain + rotated.largest()? * shared.largest()? * inner * width,
    })
}

/// `‖AB − A₀B₀‖_F/‖A₀B₀‖_F` of OV and of QK of each head; `base` is the same module of the base.
///
/// # Errors
/// As [`heads`].
pub fn changes(
    (tuned, module): (&Catalogue, &Module),
    (base, module_of_base): (&Catalogue, &Module),
    folding: Folding,
) -> Result<Vec<[Value; 2]>, Error> {
    let ours = Weights::read(tuned, module, folding)?;
    let theirs = Weights::read(base, module_of_base, folding)?;
    let heads: Vec<usize> = (0..module.heads).collect();
    let of = |weights: &Weights<'_>, head: usize| {
        let kv = weights.module.kv_head(head);
        [
            (weights.value(kv).entries, weights.output(head)),
            (weights.query(head).entries, weights.key(kv).entries),
        ]
    };
    let found = each(&heads, |head| {
        let ([ov, qk], [ov_base, qk_base]) = (of(&ours, *head), of(&theirs, *head));
        Ok([ratio(module.width, ov, ov_base)?, ratio(module.width, qk, qk_base)?])
    });
    found.into_iter().collect()
}

/// `‖A·Bᵀ − A₀·B₀ᵀ‖/‖A₀·B₀ᵀ‖`, the difference as `(A − A₀)·Bᵀ + A₀·(B − B₀)ᵀ`: what cancels does so entry by entry.
fn ratio(width: usize, (a, b): (Vec<f64>, Vec<f64>), (a0, b0): (Vec<f64>, Vec<f64>)) -> Result<Value, Error> {
    let less = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x - y).collect::<Vec<f64>>();
    let left = [less(&a, &a0), a0.clone()].concat();
    let right = [b.clone(), less(&b, &b0)].concat();
    if !left.iter().chain(&right).all(|x| x.is_finite()) {
        return Ok(Value::Missing(MissingReason::NonFinite));
    }
    let norm = |a: &[f64], b: &[f64]| -> Result<f64, Error> {
        Ok(Tall::of(width, a)?.product(&Tall::of(width, b)?)?.norm())
    };
    Ok(match (norm(&left, &right)?, norm(&a0, &b0)?) {
        (0.0, _) => Value::Real(0.0),
        (_, 0.0) => Value::Missing(MissingReason::ZeroBase),
        (moved, size) => Value::real(moved / size),
    })
}
