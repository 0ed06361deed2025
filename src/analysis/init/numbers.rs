//! The numbers that are told of an initialization.

use super::rest::{self, Rest};
use super::{Found, Method, Setup, columns, product, times};
use crate::error::Error;
use crate::low_rank::LowRank;
use crate::matrix::Matrix;
use crate::report::{Measurements, MissingReason, Value};
use crate::solver::{self, Operator};

/// The values of the method's columns, in their order.
pub(super) fn values(
    setup: &Setup,
    operator: &Operator<'_>,
    found: &Found,
    rest: Option<&Rest>,
    factors: &LowRank,
) -> Result<Measurements, Error> {
    let missing = |why| Value::Missing(why);
    let not = missing(MissingReason::NotApplicable);
    let cut = found.cut.as_ref();
    let energy = cut.map_or(not, |cut| match cut.norm {
        0.0 => missing(MissingReason::AllZero),
        norm => Value::within(cut.values.iter().map(|s| (s / norm).powi(2)).sum(), 0.0, 1.0),
    });
    let gap = cut.map_or(not, |cut| {
        let at = cut.found.len().saturating_sub(setup.rank);
        match (at.checked_sub(1).map(|before| cut.found[before]), cut.found.get(at)) {
            (Some(before), Some(first)) if *first > 0.0 => Value::real(before / first),
            (Some(_), Some(_)) => missing(MissingReason::BelowExactFloor),
            _ => not,
        }
    });
    let explained = found.explained.iter().take(setup.rank).sum::<f64>();
    let of_rest = |number: fn(&Rest) -> f64| rest.map_or(not, |rest| Value::real(number(rest)));
    let [mut weighted, mut plain, mut error] = [not; 3];
    if let Some((matrix, right)) = cut.and_then(|cut| cut.weighted.as_ref()).zip(found.right.as_ref()) {
        let far = |left: &[f64], down: &Matrix| -> Result<Value, Error> {
            let down = right.times(down)?;
            let shape = (matrix.rows(), matrix.cols());
            let product = LowRank::new(shape, down.rows(), left.to_vec(), down.to_f64())?;
            Ok(Value::real(rest::distance(&Operator::from(matrix), &product)))
        };
        weighted = Value::real(cut.map_or(0.0, |cut| cut.norm));
        let down = Matrix::from_f64(factors.rank(), factors.cols(), factors.right())?;
        let up = factors.left().iter().map(|x| x * setup.scale).collect::<Vec<_>>();
        error = far(&up, &down)?;
        if setup.method == Method::Eora {
            let count = setup.rank.min(operator.rows()).min(operator.cols());
            let found = solver::leading(operator, count)?;
            let down: Vec<f64> = found.right.columns().flatten().copied().collect();
            let left: Vec<Vec<f64>> =
                found.left.columns().zip(&found.values).map(|(u, s)| times(u, *s)).collect();
            let left = product((operator.rows(), 0), &left, &[])?;
            plain = far(left.left(), &Matrix::from_f64(found.values.len(), operator.cols(), &down)?)?;
        }
    }
    let value = |key: &str| match key {
        "frobenius_norm" => of_rest(|rest| rest.weight),
        "adapter_rank" => Value::count(setup.rank),
        "chosen_energy" => energy,
        "explained_variance" => Value::within(explained, 0.0, 1.0),
        "tail_gap" => gap,
        "adapter_norm" => of_rest(|rest| rest.adapter),
        "residual_norm" => of_rest(|rest| rest.residual),
        "weighted_norm" => weighted,
        "plain_error" => plain,
        "weighted_error" => error,
        "preservation_error" => match rest {
            Some(Rest { original, .. }) if *original == 0.0 => missing(MissingReason::AllZero),
            _ => of_rest(|rest| rest.lost / rest.original),
        },
        _ => not,
    };
    Ok(Measurements(columns(setup.method).into_iter().map(|column| (column, value(column.key))).collect()))
}
