//! What a few giant entries do to a matrix: robust singular values beside plain ones, and how localized the first direction is.

mod columns;
mod fit;

use crate::error::Error;
use crate::layer::Layer;
use crate::matrix::Dtype;
use crate::report::{Lists, MissingReason, Value};
use crate::solver::{self, Cost, Factors, Form, Need, Operator, Precision};
use crate::weight::Catalogue;

pub use columns::ROBUST;

/// How robust values are found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Robust {
    /// How little entries far from a direction weigh: 0 as in the plain decomposition, 1 hardly.
    pub alpha: f64,
    /// How many directions are looked for.
    pub directions: usize,
}

/// What it takes: some twenty rounds of some twenty regressions, each with an exponential an entry, for each direction.
pub fn cost(robust: Robust, layer: &Layer) -> Cost {
    let form = Form::whole((layer.rows, layer.cols), Dtype::F64, Precision::Fast);
    let Cost { flops, bytes } = solver::cost(&form, Need::Leading(robust.directions.max(1)));
    let rounds = 400.0 * robust.directions as f64;
    Cost { flops: 2.0 * flops + rounds * 120.0 * layer.len() as f64, bytes: bytes + 40 * layer.len() as u64 }
}

/// The values of [`ROBUST`] for `layer`, with lists.
///
/// # Errors
/// When it cannot be read, or a decomposition does not converge.
pub fn measure(robust: Robust, source: &Catalogue, layer: &Layer) -> Result<(Vec<Value>, Lists), Error> {
    let none = |why| Ok((vec![Value::Missing(why); ROBUST.len()], Lists::default()));
    let matrix = source.read(layer, 0..layer.rows)?;
    let entries = matrix.to_f64();
    if entries.iter().any(|x| !x.is_finite()) {
        return none(MissingReason::NonFinite);
    }
    let largest = entries.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    if largest == 0.0 {
        return none(MissingReason::AllZero);
    }
    let Factors { left, values, right } = solver::leading(&Operator::from(&matrix), robust.directions)?;
    let first = values.first().copied().unwrap_or(0.0);
    if !(first * first).is_normal() {
        return none(MissingReason::Overflow);
    }
    let shape = (layer.rows, layer.cols);
    let found = fit::triplets(&entries, shape, (robust.alpha, robust.directions))?;
    let mut lists = Lists::default();
    lists.real("leading_singular_values", values);
    let mut of_fit = vec![];
    match &found {
        Err(why) => of_fit.resize(3, Value::Missing(*why)),
        Ok(triplets) => {
            let own = triplets.values.first().copied().filter(|own| *own > 0.0);
            let own = own.ok_or(MissingReason::NotConverged);
            of_fit.push(own.map_or_else(Value::Missing, Value::real));
            of_fit.push(own.map_or_else(Value::Missing, |own| Value::real(first / own)));
            let criteria = fit::criteria(&entries, shape, robust.alpha, triplets).unwrap_or_default();
            let best = (0..criteria.len()).min_by(|a, b| criteria[*a].total_cmp(&criteria[*b]));
            of_fit.push(best.map_or(Value::Missing(MissingReason::NotApplicable), |k| Value::count(k + 1)));
            lists.real("robust_singular_values", triplets.values.iter().copied());
            lists.real("dicmr", criteria);
        }
    }
    let (u, v) = (left.column(0), right.column(0));
    let localization = |x: &[f64]| x.iter().map(|x| x.powi(4)).sum::<f64>();
    let peak = |x: &[f64]| x.iter().fold(0.0f64, |peak, x| peak.max(x.abs()));
    of_fit.extend([
        Value::real(localization(u)),
        Value::real(localization(v)),
        Value::real(peak(u) * peak(v)),
        Value::real((largest / first).powi(2)),
    ]);
    Ok((of_fit, lists))
}
