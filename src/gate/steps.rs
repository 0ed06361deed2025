//! Rules over the steps of a series: how far a slope may be off, and at which step a value crosses a line.

use super::Line;
use crate::report::{Column, ColumnKey, Row};

/// The most by which a slope may be off whose values are off by `share` of themselves: |Σ(x − x̄)e|/Σ(x − x̄)² is no more than
/// max|e|·√n/√Σ(x − x̄)², by Cauchy and Schwarz.
pub(super) fn slope_error(row: &Row, key: ColumnKey<'_>, share: f64) -> f64 {
    let Some(course) = &row.course else { return 0.0 };
    let numbers = course.numbers(key.metric.key).unwrap_or_default();
    let points = course.steps.iter().zip(numbers).filter_map(|(step, value)| Some((*step, value?)));
    let points: Vec<(f64, f64)> = points.collect();
    let n = points.len() as f64;
    let mean = points.iter().map(|(step, _)| step / n).sum::<f64>();
    let spread: f64 = points.iter().map(|(step, _)| (step - mean).powi(2)).sum();
    let most = points.iter().map(|(_, value)| value.abs()).fold(0.0, f64::max);
    if spread > 0.0 { share * most * (n / spread).sqrt() } else { 0.0 }
}

/// In a series, `what` crossed a line, with the first step at which the metric did.
pub(super) fn dated(
    what: String,
    (line, column, row): (Line, &'static Column, Option<&Row>),
) -> (String, Option<u64>) {
    match row.and_then(|row| first_crossing(line, column, row)) {
        Some(step) => (format!("{what}; first at step {step}"), Some(step)),
        None => (what, None),
    }
}

/// The first step at which a metric crosses the line that its last value crosses.
fn first_crossing(line: Line, column: &'static Column, row: &Row) -> Option<u64> {
    let course = row.course.as_ref()?;
    let numbers = course.numbers(column.key)?;
    let at = numbers.iter().position(|value| value.is_some_and(|value| line.crossed(value)))?;
    course.steps.get(at).map(|step| *step as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{comparison, tests::metric};
    use super::*;
    use crate::report::{Aspect, Course, MissingReason, Value};

    fn row(values: &[Option<f64>]) -> Row {
        let columns: Arc<[&'static Column]> = vec![metric("spectral_norm")].into();
        let value = |value: &Option<f64>| value.map_or(Value::Missing(MissingReason::Failed), Value::Real);
        let course = Course {
            columns,
            steps: (0..values.len()).map(|i| 100.0 * i as f64).collect(),
            values: values.iter().map(|x| [Some(value(x))].into_iter().collect()).collect(),
            unchanged: vec![],
        };
        Row { course: Some(Box::new(course)), ..Row::default() }
    }

    #[test]
    fn the_first_step_beyond_a_line_is_found_past_steps_without_a_value() {
        let check = |rule: &str, expected| {
            let line = comparison(rule).expect("a rule").1.expect("a line");
            let found =
                first_crossing(line, metric("spectral_norm"), &row(&[Some(1.0), None, Some(3.5), Some(9.0)]));
            assert_eq!(found, expected, "{rule}");
        };
        check("x > 3", Some(200));
        check("x < 2", Some(0));
        check("x > 10", None);
    }

    #[test]
    fn no_error_of_the_values_moves_a_slope_farther_than_its_bound() {
        let (steps, y) = ([0.0, 100.0, 200.0, 300.0], [2.0, 5.0, 3.0, 8.0]);
        let slope = |y: [f64; 4]| {
            let (mean, center) = (150.0, y.iter().sum::<f64>() / 4.0);
            let sum = |f: &dyn Fn(usize) -> f64| (0..4).map(f).sum::<f64>();
            sum(&|i| (steps[i] - mean) * (y[i] - center)) / sum(&|i| (steps[i] - mean).powi(2))
        };
        let key = ColumnKey { metric: metric("spectral_norm"), aspect: Aspect::Slope, side: None };
        let bound = slope_error(&row(&y.map(Some)), key, 1e-3);
        let worst = (0..16u32).map(|signs| {
            let moved = |i: usize| y[i] * if (signs >> i) & 1 == 1 { 1.001 } else { 0.999 };
            (slope([0, 1, 2, 3].map(moved)) - slope(y)).abs()
        });
        let worst = worst.fold(0.0, f64::max);
        assert!(worst <= bound && bound < 4.0 * worst, "{worst} {bound}");
    }
}
