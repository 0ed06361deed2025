//! A rule on many rows as one number: the largest, the mean, how many.

use crate::notation;
use crate::report::{Finding, Outcome};

use super::judge::{Found, Item, Judged, unsure};
use super::{AGGREGATES, Aggregate, Crossing, Line};

/// What a line says of a sum over values, each of which may be off by its error.
pub(super) fn all(
    line: Line,
    aggregate: Aggregate,
    key: &str,
    condition: Option<Line>,
    items: &[Item<'_>],
) -> Option<Found> {
    let numbers: Vec<(f64, f64)> = items
        .iter()
        .filter_map(|item| match item.value {
            Judged::Number { value, error, .. } => Some((value, error)),
            Judged::Missing(_) => None,
        })
        .collect();
    let met = |crossings: &[Crossing]| {
        let of = |(x, e): &(f64, f64)| condition.map(|line| line.crossing((x - e, x + e)));
        numbers.iter().filter(|number| of(number).is_some_and(|found| crossings.contains(&found))).count()
            as f64
    };
    let n = numbers.len() as f64;
    let total = |sign: f64| numbers.iter().map(|(x, e)| x + sign * e).sum::<f64>();
    let most = |sign: f64| numbers.iter().map(|(x, e)| x + sign * e).fold(f64::NEG_INFINITY, f64::max);
    let least = |sign: f64| numbers.iter().map(|(x, e)| x + sign * e).fold(f64::INFINITY, f64::min);
    let of = |sign: f64| {
        let met = || match sign {
            1.0 => met(&[Crossing::Crossed, Crossing::Unsure]),
            _ => met(&[Crossing::Crossed]),
        };
        match aggregate {
            Aggregate::Count => met(),
            Aggregate::Share => met() / n,
            Aggregate::Mean => total(sign) / n,
            Aggregate::Sum => total(sign),
            Aggregate::Max => most(sign),
            Aggregate::Min => least(sign),
        }
    };
    if numbers.is_empty() && aggregate != Aggregate::Count {
        return None;
    }
    let (low, high) = (of(-1.0), of(1.0));
    let value = if condition.is_some() { low } else { of(0.0) };
    let name = AGGREGATES.iter().find(|(_, a)| *a == aggregate).map_or("", |(name, _)| name);
    let written =
        if aggregate == Aggregate::Count { notation::count(value as u64) } else { notation::real(value) };
    let told = format!("{name} of {key} = {written}");
    let (outcome, what) = match line.crossing((low, high)) {
        Crossing::Clear => return None,
        Crossing::Crossed => (Outcome::Fail, told),
        Crossing::Unsure => {
            (Outcome::Inconclusive, unsure(&told, (high - low) / if condition.is_some() { 1.0 } else { 2.0 }))
        }
    };
    Some(Found { excess: line.excess(value), finding: Finding { matrix: None, outcome, what, note: None } })
}
