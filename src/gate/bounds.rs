//! What is known of a value: the number with its error, or a bound where the reason that there is no number gives one.
//!
//! A change from nothing is beyond any line; what lies below the accuracy floor is no larger than the floor.

use crate::report::{MissingReason, Row, Value};

use super::accuracy::{self, Parts};

/// Between which numbers a value lies, and the one to tell: the number itself, or the bound.
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

    /// A number of which only this is known; none where that says nothing.
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

/// What is known of the value of column `key`; none where nothing is.
pub(super) fn known(row: &Row, key: &str) -> Option<Known> {
    match row.values.get(key)? {
        Value::Missing(why) => bound(row, key, why),
        value => {
            let value = value.number()?;
            let error = accuracy::error(row, key, value);
            Some(Known { value, low: value - error, high: value + error })
        }
    }
}

fn bound(row: &Row, key: &str, why: MissingReason) -> Option<Known> {
    let parts = Parts::of(key);
    let (tuned, base) = (parts.tuned(), parts.base());
    let number = |key: &str| row.values.get(key).and_then(Value::number);
    let range = match (why, parts.ending) {
        (MissingReason::ZeroBase, "_change") => {
            let beyond = f64::INFINITY.copysign(number(&tuned)?);
            (beyond, beyond)
        }
        // The ratio of an update's size to that of zeros.
        (MissingReason::ZeroBase, "") => (f64::INFINITY, f64::INFINITY),
        (MissingReason::Overflow, "_change" | "_difference") if number(&tuned)? > number(&base)? => {
            (f64::MAX, f64::INFINITY)
        }
        (MissingReason::Overflow, "_change" | "_difference") => (f64::NEG_INFINITY, f64::MIN),
        (why, "") if why.is_below_floor() => resolved(row, parts.metric, parts.side)?,
        (why, "_base") if why.is_below_floor() => resolved(row, parts.metric, "_base")?,
        (why, ending) if why.is_below_floor() => {
            let (tuned, base) =
                (resolved(row, parts.metric, parts.side)?, resolved(row, parts.metric, "_base")?);
            match ending {
                "_difference" => (tuned.0 - base.1, tuned.1 - base.0),
                // Neither value is negative.
                _ => (tuned.0 / base.1 - 1.0, tuned.1 / base.0 - 1.0),
            }
        }
        _ => return None,
    };
    Known::between(range)
}

/// Between which numbers a value lies that may be below the floor of its side, which `suffix` names.
fn resolved(row: &Row, metric: &str, suffix: &str) -> Option<(f64, f64)> {
    let at = |metric: &str| row.values.get(&format!("{metric}{suffix}"));
    let number = |metric: &str| at(metric).and_then(Value::number);
    let key = format!("{metric}{suffix}");
    match (at(metric)?, metric) {
        (Value::Missing(why), "smallest_singular_value") if why.is_below_floor() => {
            Some((0.0, number("accuracy_floor")?.next_down().max(0.0)))
        }
        (Value::Missing(why), "condition_number") if why.is_below_floor() => {
            Some((number("spectral_norm")? / number("accuracy_floor")?, f64::INFINITY))
        }
        (Value::Missing(_), _) => None,
        (value, _) => {
            let value = value.number()?;
            let error = accuracy::error(row, &key, value);
            Some((value - error, value + error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Column, Comparison, Format, Measurements, Standing};

    fn row(values: &[(&'static str, Value)]) -> Row {
        let column = |key| -> &'static Column {
            let column = Column { key, label: key, format: Format::Real, doc: "", range: "", source: "" };
            Box::leak(Box::new(column))
        };
        let comparison =
            Comparison { status: Standing::Measured, base_shape: None, base_dtype: None, base_blake3: None };
        let values = values.iter().map(|(key, value)| (column(key), *value)).collect();
        Row { values: Measurements(values), comparison: Some(comparison), ..Row::default() }
    }

    #[track_caller]
    fn check(row: &Row, key: &str, expected: Option<(f64, f64)>) {
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs() || a.total_cmp(&b).is_eq();
        let found = known(row, key).map(|known| (known.low, known.high));
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
            // Without a floor of its own, a value is taken as it stands.
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
            ("trace_base", Value::Real(0.0)),
            ("trace", Value::Real(-1.0)),
            ("trace_change", from_zero),
            ("delta_frobenius_ratio", from_zero),
            ("norm_base", Value::Real(1e-300)),
            ("norm", Value::Real(1e300)),
            ("norm_change", Value::Missing(MissingReason::Overflow)),
            ("alpha_change", Value::Missing(MissingReason::NonFinite)),
        ]);
        check(&row, "zero_rows_change", Some((f64::INFINITY, f64::INFINITY)));
        check(&row, "trace_change", Some((f64::NEG_INFINITY, f64::NEG_INFINITY)));
        check(&row, "delta_frobenius_ratio", Some((f64::INFINITY, f64::INFINITY)));
        check(&row, "norm_change", Some((f64::MAX, f64::INFINITY)));
        check(&row, "alpha_change", None);
    }
}
