//! How far a value of a row may be off, from the accuracy that its spectrum carries (docs/numerics.md).

use crate::report::{Row, Standing, Value};

/// A value is known to this many times the floor of its spectrum relative to σ₁: a rule is never judged more sharply.
const MARGIN: f64 = 8.0;

/// A key taken apart: `condition_number_change@ft` is the metric `condition_number`, `_change`, `@ft`.
pub(super) struct Parts<'k> {
    pub(super) metric: &'k str,
    /// `_base`, `_change`, `_difference` or nothing.
    pub(super) ending: &'static str,
    /// The tuned side it is about, with its `@`, where there are several.
    pub(super) side: &'k str,
}

impl<'k> Parts<'k> {
    pub(super) fn of(key: &'k str) -> Self {
        let (column, side) = key.find('@').map_or((key, ""), |at| key.split_at(at));
        let (metric, ending) = ["_base", "_change", "_difference"]
            .iter()
            .find_map(|ending| Some((column.strip_suffix(ending)?, *ending)))
            .unwrap_or((column, ""));
        Self { metric, ending, side }
    }

    /// The key of the tuned side's value.
    pub(super) fn tuned(&self) -> String {
        format!("{}{}", self.metric, self.side)
    }

    /// The key of the base's value.
    pub(super) fn base(&self) -> String {
        format!("{}_base", self.metric)
    }
}

/// The most by which the value of column `key` may be off; 0 of what is counted, read off the entries or known by content.
pub(super) fn error(row: &Row, key: &str, value: f64) -> f64 {
    let parts = Parts::of(key);
    let Parts { metric, ending, side } = parts;
    let get = |key: &str| row.values.get(key);
    let number = |key: &str| get(key).and_then(Value::number);
    let (tuned, base) = (parts.tuned(), parts.base());
    let counted = [&tuned, &base].iter().any(|key| matches!(get(key), Some(Value::Count(_))));
    if counted || metric == "max_abs" || metric == "accuracy_floor" {
        return 0.0;
    }
    // Nothing is known of a report without floors; its values are taken as they stand.
    let floor = |ending: &str| {
        let (floor, first) = (format!("accuracy_floor{ending}"), format!("spectral_norm{ending}"));
        number(&floor)
            .zip(number(&first))
            .filter(|(_, first)| *first > 0.0)
            .map_or(0.0, |(f, first)| f / first)
    };
    let share = |ending: &str, value: f64| {
        let first = number(&format!("spectral_norm{ending}")).unwrap_or(0.0);
        MARGIN
            * floor(ending)
            * match metric {
                "smallest_singular_value" if value > 0.0 => first / value,
                "condition_number" => value,
                _ => 1.0,
            }
    };
    let of = |key: &str, ending: &str| number(key).map_or(0.0, |value| share(ending, value));
    let of_a_pair =
        matches!(ending, "_change" | "_difference") || (get(&base).is_none() && row.comparison.is_some());
    if of_a_pair && row.comparison.as_ref().is_some_and(|comparison| comparison.status == Standing::Unchanged)
    {
        return 0.0;
    }
    match ending {
        "_base" => share("_base", value) * value.abs(),
        "_change" => (of(&tuned, side) + of(&base, "_base")) * (1.0 + value.abs()),
        "_difference" => {
            let size = |key: &str| number(key).unwrap_or(0.0).abs();
            of(&tuned, side) * size(&tuned) + of(&base, "_base") * size(&base)
        }
        _ if of_a_pair => (share(side, value) + share("_base", value)) * value.abs(),
        _ => share(side, value) * value.abs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Column, Comparison, Format, Measurements};

    fn row(values: &[(&'static str, Value)], status: Option<Standing>) -> Row {
        let column = |key| -> &'static Column {
            Box::leak(Box::new(Column {
                key,
                label: key,
                format: Format::Real,
                doc: "",
                range: "",
                source: "",
            }))
        };
        let comparison =
            status.map(|status| Comparison { status, base_shape: None, base_dtype: None, base_blake3: None });
        let values = values.iter().map(|(key, value)| (column(key), *value)).collect();
        Row { values: Measurements(values), comparison, ..Row::default() }
    }

    fn check(row: &Row, key: &str, expected: f64) {
        let found = error(row, key, row.values.get(key).and_then(Value::number).expect("a number"));
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
