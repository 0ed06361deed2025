//! How far a value of a row may be off, from the accuracy that its spectrum carries (docs/numerics.md).

use super::steps;
use crate::metric::{ACCURACY_FLOOR, Metric, SPECTRAL_NORM};
use crate::report::{Accuracy, Aspect, ColumnKey, Row, Standing, Value};

/// A value is known to this many times the floor of its spectrum relative to σ₁: a rule is never judged more sharply.
const MARGIN: f64 = 8.0;

/// The largest possible error of a column's value; 0 for counts, values read off the entries, and unchanged content.
pub(super) fn error(row: &Row, key: ColumnKey<'_>, value: f64) -> f64 {
    let is_of_two = key.metric.is_of_a_pair() || matches!(key.aspect, Aspect::Difference | Aspect::Change);
    let is_unchanged = row.comparison.as_ref().is_some_and(|found| found.status == Standing::Unchanged);
    if key.metric.accuracy() == Accuracy::Exact || (is_of_two && is_unchanged) {
        return 0.0;
    }
    let (tuned, base) = (key.of(Aspect::Value), key.of(Aspect::Base));
    let size = |key| row.values.of(key).and_then(Value::number);
    let share_of = |key| size(key).map_or(0.0, |value| share(row, key, value));
    match key.aspect {
        Aspect::Change => (share_of(tuned) + share_of(base)) * (1.0 + value.abs()),
        Aspect::Difference => {
            [tuned, base].map(|key| share_of(key) * size(key).unwrap_or(0.0).abs()).iter().sum()
        }
        Aspect::StepChangeAt => 0.0,
        Aspect::StepChange => 2.0 * share_of(tuned) * (1.0 + value.abs()),
        Aspect::Slope => steps::slope_error(row, key, share_of(tuned)),
        Aspect::Value if is_of_two => (share(row, tuned, value) + share(row, base, value)) * value.abs(),
        Aspect::Value | Aspect::Base => share(row, key, value) * value.abs(),
    }
}

/// The most by which a value of one side may be off, relative to it.
fn share(row: &Row, key: ColumnKey<'_>, value: f64) -> f64 {
    // Without a floor nothing is known about accuracy; values are taken as exact.
    let Some((first, floor)) = resolution(row, key).filter(|(first, _)| *first > 0.0) else { return 0.0 };
    let scale = match key.metric.accuracy() {
        Accuracy::Floor if value > 0.0 => first / value,
        Accuracy::OverFloor => value,
        Accuracy::Exact | Accuracy::Relative | Accuracy::Floor => 1.0,
    };
    MARGIN * (floor / first) * scale
}

/// σ₁ and the floor of the spectrum that a value of one side was measured by; reports of earlier versions have them in
/// columns.
pub(super) fn resolution(row: &Row, key: ColumnKey<'_>) -> Option<(f64, f64)> {
    let number = |metric: &'static Metric| {
        row.values.of(ColumnKey { metric: &metric.column, ..key }).and_then(Value::number)
    };
    match row.resolution.iter().find(|of| of.is_of(key)) {
        Some(found) => Some((found.spectral_norm, found.accuracy_floor)),
        None => number(&SPECTRAL_NORM).zip(number(&ACCURACY_FLOOR)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;
    use crate::report::Resolution;

    fn check(row: &Row, key: &str, expected: f64) {
        let (column, value) = row.values.iter().find(|(column, _)| column.key == key).expect("a column");
        let found = error(row, column.means(), value.number().expect("a number"));
        assert!((found - expected).abs() <= 1e-12 * expected, "{key}: {found}, not {expected}");
    }

    #[test]
    fn a_value_is_off_by_eight_floors_at_most() {
        let values = [
            ("spectral_norm", Value::Real(2.0)),
            ("accuracy_floor", Value::Real(2e-6)),
            ("stable_rank", Value::Real(5.0)),
            ("smallest_singular_value", Value::Real(1e-3)),
            ("condition_number", Value::Real(2e3)),
            ("rank_at_90", Value::Count(7)),
            ("max_abs", Value::Real(0.5)),
        ];
        let row = row(&values, None);
        check(&row, "spectral_norm", 16e-6);
        check(&row, "stable_rank", 40e-6);
        check(&row, "smallest_singular_value", 16e-6);
        check(&row, "condition_number", 8e-6 * 4e6);
        check(&row, "rank_at_90", 0.0);
        check(&row, "max_abs", 0.0);
    }

    #[test]
    fn a_value_is_off_whatever_columns_are_beside_it() {
        let of = |base, side: Option<&str>, floor| Resolution {
            base,
            side: side.map(str::to_owned),
            spectral_norm: 2.0,
            accuracy_floor: floor,
        };
        let values = [("stable_rank", Value::Real(5.0)), ("stable_rank_base", Value::Real(10.0))];
        let plain = row(&values, Some(Standing::Measured));
        check(&plain, "stable_rank", 0.0);
        let known = Row { resolution: vec![of(true, None, 4e-6), of(false, None, 2e-6)], ..plain };
        check(&known, "stable_rank", 40e-6);
        check(&known, "stable_rank_base", 160e-6);
        let another = Row { resolution: vec![of(false, Some("other"), 2e-6)], ..known };
        check(&another, "stable_rank", 0.0);
    }

    #[test]
    fn a_change_is_off_by_the_errors_of_both_sides_and_none_where_the_bytes_are_equal() {
        let values = [
            ("spectral_norm_base", Value::Real(1.0)),
            ("accuracy_floor_base", Value::Real(1e-6)),
            ("spectral_norm", Value::Real(2.0)),
            ("accuracy_floor", Value::Real(4e-6)),
            ("spectral_norm_change", Value::Real(1.0)),
            ("spectral_norm_difference", Value::Real(1.0)),
            ("delta_frobenius_ratio", Value::Real(0.5)),
            ("rank_at_90_base", Value::Count(3)),
            ("rank_at_90_change", Value::Real(0.25)),
        ];
        let changed = row(&values, Some(Standing::Measured));
        check(&changed, "spectral_norm_change", 8.0 * 3e-6 * 2.0);
        check(&changed, "spectral_norm_difference", 8.0 * (1e-6 + 4e-6));
        check(&changed, "delta_frobenius_ratio", 8.0 * 3e-6 * 0.5);
        check(&changed, "rank_at_90_change", 0.0);
        check(&row(&values, Some(Standing::Unchanged)), "spectral_norm_change", 0.0);
    }
}
