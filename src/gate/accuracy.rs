//! How far a value of a row may be off, from the accuracy that its spectrum carries (docs/numerics.md).

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
        Aspect::Value if is_of_two => (share(row, tuned, value) + share(row, base, value)) * value.abs(),
        Aspect::Value | Aspect::Base => share(row, key, value) * value.abs(),
    }
}

/// The most by which a value of one side may be off, relative to it.
fn share(row: &Row, key: ColumnKey<'_>, value: f64) -> f64 {
    let number = |metric: &'static Metric| {
        row.values.of(ColumnKey { metric: &metric.column, ..key }).and_then(Value::number)
    };
    let first = number(&SPECTRAL_NORM).filter(|first| *first > 0.0);
    // A report without floors says nothing about accuracy; its values are taken as exact.
    let Some((floor, first)) = number(&ACCURACY_FLOOR).zip(first) else { return 0.0 };
    let scale = match key.metric.accuracy() {
        Accuracy::Floor if value > 0.0 => first / value,
        Accuracy::OverFloor => value,
        Accuracy::Exact | Accuracy::Relative | Accuracy::Floor => 1.0,
    };
    MARGIN * (floor / first) * scale
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;

    fn check(row: &Row, key: &str, expected: f64) {
        let (column, value) = row.values.0.iter().find(|(column, _)| column.key == key).expect("a column");
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
