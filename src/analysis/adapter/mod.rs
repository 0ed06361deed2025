//! What is in an adapter: the singular values of each update, how its factors lie, and where in the base's singular basis.

mod basis;
mod canonical;
pub mod columns;
mod origin;

use crate::dialect::Pairs;
use crate::error::Error;
use crate::layer::Layer;
use crate::metric::{Subject, UPDATES};
use crate::report::{Column, FactorDetail, Measurements, MissingReason, Value};
use crate::solver::{self, Cost, Form, Need, Needs, NoMemo, Operand, Precision, Reading};
use crate::spectrum::Spectrum;
use crate::weight::{Catalogue, ContentId, StoredFactors};

use super::Measured;
use basis::Based;
pub use canonical::canonical;
use origin::{Evidence, origins};

/// A singular value below this share of the largest is wasted.
const WASTED: f64 = 0.01;

/// The results for one module.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleMeasured {
    /// The numbers.
    pub measured: Measured,
    /// What the base is called equal by.
    pub base: Option<ContentId>,
    /// What is beside them.
    pub detail: FactorDetail,
}

/// The cost of a module: its own values, and all singular vectors of its base where there is one.
pub fn cost(pairs: Option<&Pairs>, layer: &Layer) -> Cost {
    let own = solver::cost(&Form::of(layer, Precision::Fast), Need::Values);
    let Some(pair) = pairs.and_then(|pairs| pairs.get(&layer.name).ok()) else { return own };
    let form = Form { operand: Operand::Whole, ..Form::of(&pair.base, Precision::Fast) };
    let base = solver::cost(&form, Need::Vectors);
    let stored = pair.base.len() as u64 * pair.base.dtype.size() as u64;
    Cost { flops: own.flops + base.flops, bytes: own.bytes.max(base.bytes + stored) }
}

/// Measures the update that `layer` of `source` is; `pairs` has the weight it changes.
///
/// # Errors
/// When something cannot be read, or a decomposition does not converge.
pub fn measure(source: &Catalogue, pairs: Option<&Pairs>, layer: &Layer) -> Result<ModuleMeasured, Error> {
    let how = (Precision::Fast, Needs::Values);
    let Reading { entries, identity, spectrum, .. } = solver::read(source, layer, how, &NoMemo)?;
    let subject = Subject::new(layer, &entries, spectrum.as_ref().ok_or(MissingReason::NonFinite));
    let Measurements(mut values) = subject.evaluate(UPDATES);
    let flags = subject.flags();
    let factors = source.stored_factors(layer)?;
    let rank = factors.as_ref().map(|factors| factors.rank).or(layer.rank);
    let finite = spectrum.as_ref();
    values.extend(of_factors(finite, factors.as_ref(), rank));
    let (based, base) = match pairs {
        Some(pairs) => {
            let (based, identity) = Based::measure(source, (pairs, layer), (finite, factors.as_ref(), rank))?;
            (Some(based), Some(identity))
        }
        None => (None, None),
    };
    values.extend(based.iter().flat_map(Based::values));
    let kind = source.update(layer).map(|update| update.kind.to_string());
    let evidence = Evidence {
        kind: kind.as_deref().unwrap_or_default(),
        epsilon: layer.dtype.epsilon(),
        is_zero: finite.is_some_and(|spectrum| spectrum.largest() == 0.0),
        leading: based.as_ref().and_then(|based| based.leading),
        trailing: based.as_ref().and_then(|based| based.trailing),
    };
    let mut detail =
        FactorDetail { made_by: origins(&evidence, factors.as_ref()), ..FactorDetail::default() };
    if let Some(spectrum) = finite.filter(|spectrum| spectrum.fits()) {
        let count = layer.rank.unwrap_or(usize::MAX).min(spectrum.values().len());
        detail.singular_values = spectrum.values()[..count].to_vec();
    }
    if let Some(factors) = factors.as_ref().filter(|_| finite.is_some()) {
        detail.diagonal = factors.diagonal.clone().unwrap_or_default();
        (detail.importance, detail.hierarchical_importance) = importance(factors);
    }
    let resolution = spectrum.as_ref().and_then(super::resolution);
    let values = Measurements(values);
    let measured = Measured { values, flags, resolution, spectrum, ..Measured::nothing(identity) };
    Ok(ModuleMeasured { measured, base, detail })
}

/// The columns of the factors.
fn of_factors(
    spectrum: Option<&Spectrum>,
    factors: Option<&StoredFactors>,
    rank: Option<usize>,
) -> [(&'static Column, Value); 4] {
    let missing = |why| Value::Missing(why);
    let wasted = match (spectrum, rank) {
        (None, _) => missing(MissingReason::NonFinite),
        (Some(_), None) => missing(MissingReason::NotApplicable),
        (Some(spectrum), Some(_)) if spectrum.largest() == 0.0 => missing(MissingReason::AllZero),
        (Some(spectrum), Some(rank)) => {
            let cut = WASTED * spectrum.largest();
            Value::count(spectrum.values().iter().take(rank).filter(|s| **s < cut).count())
        }
    };
    let defect = |products: fn(&StoredFactors) -> Vec<f64>| match (spectrum, factors) {
        (None, _) => missing(MissingReason::NonFinite),
        (Some(_), None) => missing(MissingReason::NotApplicable),
        (Some(_), Some(factors)) => Value::real(defect(&products(factors), factors.rank)),
    };
    let [r, w, a, b] = &columns::FACTORS;
    [
        (r, rank.map_or(missing(MissingReason::NotApplicable), Value::count)),
        (w, wasted),
        (a, defect(StoredFactors::of_rows)),
        (b, defect(StoredFactors::of_columns)),
    ]
}

/// `‖G − I‖_F`.
pub(in crate::analysis) fn defect(products: &[f64], rank: usize) -> f64 {
    let off = |(i, x): (usize, &f64)| x - f64::from(u8::from(i % (rank + 1) == 0));
    products.iter().enumerate().map(off).map(|x| x * x).sum::<f64>().sqrt()
}

/// What each direction weighs as it is stored, and what it weighs with all after it.
pub(super) fn importance(factors: &StoredFactors) -> (Vec<f64>, Vec<f64>) {
    let rank = factors.rank;
    let squares = |products: Vec<f64>| -> Vec<f64> { products.into_iter().step_by(rank + 1).collect() };
    let (up, down) = (squares(factors.of_columns()), squares(factors.of_rows()));
    let tails = |squares: &[f64]| -> Vec<f64> {
        let mut sums: Vec<f64> = squares
            .iter()
            .rev()
            .scan(0.0, |sum, x| {
                *sum += x;
                Some(*sum)
            })
            .collect();
        sums.reverse();
        sums
    };
    let product = |a: &[f64], b: &[f64]| -> Vec<f64> {
        a.iter().zip(b).map(|(a, b)| a.sqrt() * b.sqrt()).filter(|x| x.is_finite()).collect()
    };
    (product(&up, &down), product(&tails(&up), &tails(&down)))
}
