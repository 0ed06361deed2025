//! What is known about a value: the number with its error, or a bound that follows from the reason it is missing.
//!
//! A change from 0 is beyond any limit; a value below the accuracy floor is bounded by the floor.

use crate::report::{Accuracy, Aspect, Column, ColumnKey, MissingReason, Row, Value};

use super::accuracy;

/// The interval of a value, and the number to report: the value itself, or the bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Known {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Known {
    /// A number that is exact.
    pub(super) fn exact(value: f64) -> Self {
        Self { value, low: value, high: value }
    }

    /// A number known only by these bounds; none if they say nothing.
    fn between((low, high): (f64, f64)) -> Option<Self> {
        let value = match (low.is_finite(), high.is_finite()) {
            (_, true) => high,
            (true, false) => low,
            (false, false) if low.total_cmp(&high).is_eq() => low,
            (false, false) => return None,
        };
        (low <= high).then_some(Self { value, low, high })
    }
}

/// What is known about the value of `column`, if anything.
pub(super) fn known(row: &Row, column: &'static Column) -> Option<Known> {
    let key = column.means();
    match row.values.of(key)? {
        Value::Missing(why) => bound(row, key, why),
        value => {
            let value = value.number()?;
            let error = accuracy::error(row, key, value);
            Some(Known { value, low: value - error, high: value + error })
        }
    }
}

fn bound(row: &Row, key: ColumnKey<'_>, why: MissingReason) -> Option<Known> {
    let (tuned, base) = (key.of(Aspect::Value), key.of(Aspect::Base));
    let number = |key| row.values.of(key).and_then(Value::number);
    let range = match (why, key.aspect) {
        (MissingReason::ZeroBase, Aspect::Change) => {
            let beyond = f64::INFINITY.copysign(number(tuned)?);
            (beyond, beyond)
        }
        // The ratio of an update's size to a base of zeros; a change from zero at some step.
        (MissingReason::ZeroBase, Aspect::Value | Aspect::StepChange) => (f64::INFINITY, f64::INFINITY),
        (MissingReason::Overflow, Aspect::Change | Aspect::Difference) => {
            if number(tuned)? > number(base)? {
                (f64::MAX, f64::INFINITY)
            } else {
                (f64::NEG_INFINITY, f64::MIN)
            }
        }
        (why, Aspect::Value | Aspect::Base) if why.is_below_floor() => resolved(row, key)?,
        (why, Aspect::Difference) if why.is_below_floor() => {
            let (tuned, base) = (resolved(row, tuned)?, resolved(row, base)?);
            (tuned.0 - base.1, tuned.1 - base.0)
        }
        (why, Aspect::Change) if why.is_below_floor() => {
            let (tuned, base) = (resolved(row, tuned)?, resolved(row, base)?);
            // Neither value is negative.
            (tuned.0 / base.1 - 1.0, tuned.1 / base.0 - 1.0)
        }
        _ => return None,
    };
    Known::between(range)
}

/// Between which numbers a value of one side lies that may be below its floor.
fn resolved(row: &Row, key: ColumnKey<'_>) -> Option<(f64, f64)> {
    match (row.values.of(key)?, key.metric.accuracy()) {
        (Value::Missing(why), Accuracy::Floor) if why.is_below_floor() => {
            Some((0.0, accuracy::resolution(row, key)?.1.next_down().max(0.0)))
        }
        (Value::Missing(why), Accuracy::OverFloor) if why.is_below_floor() => {
            let (first, floor) = accuracy::resolution(row, key)?;
            Some((first / floor, f64::INFINITY))
        }
        (Value::Missing(_), _) => None,
        (value, _) => {
            let value = value.number()?;
            let error = accuracy::error(row, key, value);
            Some((value - error, value + error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests;
    use super::*;
    use crate::report::Standing;

    fn row(values: &[(&'static str, Value)]) -> Row {
        tests::row(values, Some(Standing::Measured))
    }

    #[track_caller]
    fn check(row: &Row, key: &str, expected: Option<(f64, f64)>) {
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs() || a.total_cmp(&b).is_eq();
        let column = row.values.iter().find(|(column, _)| column.key == key).expect("a column").0;
        let found = known(row, column).map(|known| (known.low, known.high));
        let same = match (found, expected) {
            (Some(found), Some(expected)) => close(found.0, expected.0) && close(found.1, expected.1),
            (found, expected) => found == expected,
        };
        assert!(same, "{key}: {found:?}, not {expected:?}");
    }

    #[test]
    fn what_lies_below_the_floor_is_bounded_by_it() {
        let below = Value::Missing(MissingReason::BelowFloor);
        let row = row(&[
            ("spectral_norm", Value::Real(2.0)),
            ("accuracy_floor", Value::Real(0.5)),
            ("smallest_singular_value", below),
            ("condition_number", below),
            // Without its own floor, a value is taken as exact.
            ("smallest_singular_value_base", Value::Real(0.25)),
            ("condition_number_base", Value::Real(2.0)),
            ("smallest_singular_value_change", below),
            ("smallest_singular_value_difference", below),
            ("condition_number_change", below),
            ("condition_number_difference", below),
            ("noise_sigma", below),
        ]);
        check(&row, "smallest_singular_value", Some((0.0, 0.5)));
        check(&row, "condition_number", Some((4.0, f64::INFINITY)));
        check(&row, "smallest_singular_value_change", Some((-1.0, 1.0)));
        check(&row, "smallest_singular_value_difference", Some((-0.25, 0.25)));
        check(&row, "condition_number_change", Some((1.0, f64::INFINITY)));
        check(&row, "condition_number_difference", Some((2.0, f64::INFINITY)));
        check(&row, "noise_sigma", None);
    }

    #[test]
    fn a_side_below_the_floor_bounds_a_change_from_it() {
        let below = Value::Missing(MissingReason::BelowFloor);
        let row = row(&[
            ("spectral_norm_base", Value::Real(2.0)),
            ("accuracy_floor_base", Value::Real(0.5)),
            ("smallest_singular_value_base", below),
            ("condition_number_base", Value::Missing(MissingReason::BelowExactFloor)),
            ("smallest_singular_value", Value::Real(1.0)),
            ("condition_number", Value::Real(2.0)),
            ("smallest_singular_value_change", below),
            ("condition_number_change", below),
        ]);
        check(&row, "smallest_singular_value_base", Some((0.0, 0.5)));
        check(&row, "smallest_singular_value_change", Some((1.0, f64::INFINITY)));
        check(&row, "condition_number_change", Some((-1.0, -0.5)));
    }

    #[test]
    fn a_change_from_nothing_is_beyond_any_line() {
        let from_zero = Value::Missing(MissingReason::ZeroBase);
        let row = row(&[
            ("zero_rows_base", Value::Count(0)),
            ("zero_rows", Value::Count(3)),
            ("zero_rows_change", from_zero),
            ("alpha_weighted_base", Value::Real(0.0)),
            ("alpha_weighted", Value::Real(-1.0)),
            ("alpha_weighted_change", from_zero),
            ("delta_frobenius_ratio", from_zero),
            ("frobenius_norm_base", Value::Real(1e-300)),
            ("frobenius_norm", Value::Real(1e300)),
            ("frobenius_norm_change", Value::Missing(MissingReason::Overflow)),
            ("alpha_change", Value::Missing(MissingReason::NonFinite)),
        ]);
        check(&row, "zero_rows_change", Some((f64::INFINITY, f64::INFINITY)));
        check(&row, "alpha_weighted_change", Some((f64::NEG_INFINITY, f64::NEG_INFINITY)));
        check(&row, "delta_frobenius_ratio", Some((f64::INFINITY, f64::INFINITY)));
        check(&row, "frobenius_norm_change", Some((f64::MAX, f64::INFINITY)));
        check(&row, "alpha_change", None);
    }
}
