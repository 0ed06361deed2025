//! Where in the singular basis of its base an update lies.

use super::columns::BASED;
use crate::dialect::Pairs;
use crate::error::Error;
use crate::layer::Layer;
use crate::report::{Column, MissingReason, Value};
use crate::solver::{self, Basis, Core, Entries, Factors, Held, Operator};
use crate::spectrum::Spectrum;
use crate::weight::{Catalogue, ContentId, StoredFactors};

/// The columns that need the base.
pub(super) struct Based {
    values: Vec<Value>,
    /// The cosines with the base's first and last directions.
    pub(super) leading: Option<f64>,
    pub(super) trailing: Option<f64>,
}

impl Based {
    /// They and what the base is called equal by.
    pub(super) fn measure(
        source: &Catalogue,
        (pairs, layer): (&Pairs, &Layer),
        (spectrum, factors, rank): (Option<&Spectrum>, Option<&StoredFactors>, Option<usize>),
    ) -> Result<(Self, ContentId), Error> {
        let pair = pairs.get(&layer.name)?;
        let base = pairs.base().read(&pair.base, 0..pair.base.rows)?;
        let identity = ContentId::of_matrix(&base);
        let finite = Entries::of(&base).nonfinite_count() == 0;
        let Some(spectrum) = spectrum.filter(|_| finite) else {
            return Ok((Self::missing(MissingReason::NonFinite), identity));
        };
        let vectors = match solver::all_vectors(&base) {
            Ok(vectors) if spectrum.fits() => vectors,
            Ok(_) | Err(Error::Overflow(_)) => return Ok((Self::missing(MissingReason::Overflow), identity)),
            Err(error) => return Err(error),
        };
        let of_base = vectors.spectrum()?;
        let ratio = |update: f64, base: f64| match (update, base) {
            (0.0, _) => Value::Real(0.0),
            (_, 0.0) => Value::Missing(MissingReason::ZeroBase),
            (update, base) => Value::real(update / base),
        };
        let held = Held::read(source, layer)?;
        let mut values =
            vec![ratio(spectrum.largest(), of_base.largest()), ratio(spectrum.norm(), of_base.norm())];
        values.extend(places(&vectors, factors));
        let (lies, leading, trailing) = lies(&held, &vectors, (spectrum, rank));
        values.extend(lies);
        Ok((Self { values, leading, trailing }, identity))
    }

    fn missing(why: MissingReason) -> Self {
        Self { values: vec![Value::Missing(why); BASED.len()], leading: None, trailing: None }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = (&'static Column, Value)> {
        BASED.iter().zip(self.values.iter().copied())
    }
}

/// Both centroids and both shares outside.
fn places(vectors: &Factors, factors: Option<&StoredFactors>) -> [Value; 4] {
    let Some(factors) = factors else { return [Value::Missing(MissingReason::NotApplicable); 4] };
    let (outputs, inputs) = (factors.outputs(), factors.inputs());
    let columns = |i: usize| factors.up.iter().skip(i).step_by(factors.rank).copied().collect();
    let rows = |i: usize| factors.down[i * inputs..(i + 1) * inputs].to_vec();
    let up: Vec<Vec<f64>> = (0..factors.rank).map(columns).collect();
    let down: Vec<Vec<f64>> = (0..factors.rank).map(rows).collect();
    let (left, right) = if factors.transposed { (down, up) } else { (up, down) };
    let fits = if factors.transposed { (inputs, outputs) } else { (outputs, inputs) };
    if fits != (vectors.left.length(), vectors.right.length()) {
        return [Value::Missing(MissingReason::NotApplicable); 4];
    }
    let (left, right) = (centroid(&vectors.left, &left), centroid(&vectors.right, &right));
    [left.0, right.0, left.1, right.1]
}

/// The centroid of `vectors` among the columns of `basis`, and the share of their squares outside of its span.
fn centroid(basis: &Basis, vectors: &[Vec<f64>]) -> (Value, Value) {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let all: f64 = vectors.iter().map(|vector| dot(vector, vector)).sum();
    if all == 0.0 {
        return (Value::Missing(MissingReason::AllZero), Value::Missing(MissingReason::AllZero));
    }
    let weight = |u: &[f64]| vectors.iter().map(|vector| dot(u, vector).powi(2)).sum::<f64>();
    let weights: Vec<f64> = basis.columns().map(weight).collect();
    let inside: f64 = weights.iter().sum();
    let outside = Value::within(1.0 - inside / all, 0.0, 1.0);
    if weights.len() < 2 || inside == 0.0 {
        return (Value::Missing(MissingReason::NotApplicable), outside);
    }
    let moment: f64 = weights.iter().enumerate().map(|(i, w)| i as f64 * w).sum();
    (Value::within(moment / ((weights.len() - 1) as f64 * inside), 0.0, 1.0), outside)
}

/// The shares of the update in the base's first directions and without them, and its cosines with both ends.
fn lies(
    held: &Held,
    vectors: &Factors,
    (spectrum, rank): (&Spectrum, Option<usize>),
) -> ([Value; 4], Option<f64>, Option<f64>) {
    let missing = |why| ([Value::Missing(why); 4], None, None);
    let Some(rank) = rank else { return missing(MissingReason::NotApplicable) };
    if spectrum.largest() == 0.0 {
        return missing(MissingReason::NoUpdate);
    }
    let (count, norm) = (vectors.values.len(), spectrum.norm());
    let rank = rank.min(count);
    let squared = norm * norm;
    let Core { principal, left, right, .. } =
        vectors.clone().truncated(rank).core(&Operator::from(held), rank);
    let share = |x: f64| Value::within(x / squared, 0.0, 1.0);
    let along = |range: std::ops::Range<usize>| -> Option<f64> {
        let part: f64 = vectors.values[range.clone()].iter().map(|s| s * s).sum();
        let product: f64 = range.map(|i| vectors.values[i] * through(held, vectors, i)).sum();
        (part > 0.0).then(|| (product / (norm * part.sqrt())).clamp(-1.0, 1.0))
    };
    let (leading, trailing) = (along(0..rank), along(count - rank..count));
    let cosine = |x: Option<f64>| x.map_or(Value::Missing(MissingReason::ZeroBase), Value::real);
    let minor = squared - left - right + principal;
    ([share(principal), share(minor), cosine(leading), cosine(trailing)], leading, trailing)
}

/// `uᵢᵀΔvᵢ`.
fn through(held: &Held, vectors: &Factors, i: usize) -> f64 {
    let (u, v) = (vectors.left.column(i), vectors.right.column(i));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    match held {
        Held::Thin(product) => {
            let mut left = vec![0.0; product.rank()];
            for (row, u) in product.left().chunks_exact(product.rank().max(1)).zip(u) {
                left.iter_mut().zip(row).for_each(|(sum, x)| *sum += u * x);
            }
            let right = product.right().chunks_exact(product.cols().max(1)).map(|row| dot(row, v));
            left.iter().zip(right).map(|(x, y)| x * y).sum()
        }
        Held::Dense(matrix) => {
            let mut row = vec![0.0; matrix.cols()];
            let line = |(i, u): (usize, &f64)| {
                matrix.widen(i * row.len()..(i + 1) * row.len(), &mut row);
                u * dot(&row, v)
            };
            u.iter().enumerate().map(line).sum()
        }
    }
}
