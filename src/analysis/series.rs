//! What a number does over the steps of a run: how fast it grows, and where it changes most.

use std::sync::Arc;

use super::compare::STATUS_COLUMNS;
use crate::report::{Aspect, Column, ColumnKey, MissingReason, Value};

/// The columns of a series: each of `metrics`, then what it does over the steps.
pub fn columns(metrics: &[&'static Column]) -> Vec<&'static Column> {
    let all = |metric: &&'static Column| {
        let of = |aspect| ColumnKey { metric, aspect, side: None }.column();
        std::iter::once(*metric).chain(Aspect::OF_STEPS.map(of))
    };
    metrics.iter().flat_map(all).collect()
}

/// The metrics among the columns of a report on one step: what a comparison says of the base or of a change is left out.
pub fn metrics(columns: &[&'static Column]) -> Arc<[&'static Column]> {
    let is_metric = |column: &&'static Column| {
        let key = column.means();
        key.aspect == Aspect::Value && key.side.is_none() && !STATUS_COLUMNS.contains(column)
    };
    columns.iter().copied().filter(is_metric).collect()
}

/// The values of the columns that [`columns`] makes of a metric with these values at `steps`: the last one, the slope, the
/// largest change and its step. All are missing where the last one is: what a matrix did before it broke or went away is not
/// the answer.
pub fn summary(steps: &[f64], values: &[Value]) -> [Value; 4] {
    let last = values.last().copied().unwrap_or(Value::Missing(MissingReason::Absent));
    if last.number().is_none() {
        return [last; 4];
    }
    let numbers: Vec<(f64, f64)> =
        steps.iter().zip(values).filter_map(|(step, value)| Some((*step, value.number()?))).collect();
    let [change, at] = largest_change(&numbers);
    [last, slope(&numbers), change, at]
}

/// The least-squares slope of the numbers y at x: Σ(x − x̄)(y − ȳ)/Σ(x − x̄)². Missing where fewer than two x differ.
fn slope(points: &[(f64, f64)]) -> Value {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(|point| of(point) / n).sum::<f64>();
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if points.len() < 2 || spread <= 0.0 {
        return Value::Missing(MissingReason::NotApplicable);
    }
    Value::real(points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread)
}

/// The change of greatest size between neighbors, (y′ − y)/|y|, and the x of the later one; the first of equals. A change
/// from zero is greater than any number.
fn largest_change(points: &[(f64, f64)]) -> [Value; 2] {
    let mut largest: Option<(f64, Value, f64)> = None;
    for pair in points.windows(2) {
        let (before, (x, after)) = (pair[0].1, pair[1]);
        let (size, change) = match (after - before, before.abs()) {
            (0.0, _) => (0.0, Value::Real(0.0)),
            (_, 0.0) => (f64::INFINITY, Value::Missing(MissingReason::ZeroBase)),
            (moved, size) => ((moved / size).abs(), Value::real(moved / size)),
        };
        if largest.is_none_or(|(known, ..)| size > known) {
            largest = Some((size, change, x));
        }
    }
    match largest {
        Some((size, change, x)) if size > 0.0 => [change, Value::Count(x as u64)],
        // Nothing changed at any step.
        Some((_, change, _)) => [change, Value::Missing(MissingReason::NoUpdate)],
        None => [Value::Missing(MissingReason::NotApplicable); 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::METRICS;

    fn of(steps: &[f64], numbers: &[f64]) -> [Value; 4] {
        summary(steps, &numbers.iter().map(|x| Value::Real(*x)).collect::<Vec<_>>())
    }

    #[test]
    fn a_number_that_is_missing_at_last_has_no_summary() {
        let one = Value::Real(1.0);
        for why in [MissingReason::NonFinite, MissingReason::Absent, MissingReason::AllZero] {
            let missing = Value::Missing(why);
            assert_eq!(summary(&[0.0, 1.0, 2.0], &[one, one, missing]), [missing; 4]);
            assert_eq!(summary(&[0.0, 1.0, 2.0], &[one, missing, one])[0], one);
        }
    }

    #[track_caller]
    fn close(value: Value, expected: f64) {
        let found = value.number().expect("a number");
        assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{found}, not {expected}");
    }

    #[test]
    fn a_line_has_its_own_slope_whatever_the_steps_are() {
        let steps = [500.0, 1000.0, 1100.0, 4000.0];
        let line = steps.map(|step| 3.0 - 0.25 * step);
        close(of(&steps, &line)[1], -0.25);
        // Steps counted from elsewhere, and numbers from elsewhere, leave it; a scale of the numbers is one of it.
        close(of(&steps.map(|step| step + 7e5), &line.map(|y| 5.0 * (y + 11.0)))[1], -1.25);
    }

    #[test]
    fn the_slope_is_that_of_the_normal_equations() {
        let (steps, y) = ([0.0, 1.0, 3.0, 4.0, 9.0], [1.0, -2.0, 0.5, 7.0, 3.0]);
        let sum = |f: &dyn Fn(usize) -> f64| (0..5).map(f).sum::<f64>();
        let (n, sx, sy) = (5.0, sum(&|i| steps[i]), sum(&|i| y[i]));
        let naive = (n * sum(&|i| steps[i] * y[i]) - sx * sy) / (n * sum(&|i| steps[i] * steps[i]) - sx * sx);
        close(of(&steps, &y)[1], naive);
    }

    #[test]
    fn the_largest_change_is_relative_to_the_step_before() {
        let [last, _, change, at] = of(&[10.0, 20.0, 30.0, 40.0], &[2.0, 3.0, 6.0, 5.0]);
        assert_eq!((last, at), (Value::Real(5.0), Value::Count(30)));
        close(change, 1.0);
        let [.., change, at] = of(&[10.0, 20.0, 30.0], &[4.0, 1.0, 1.5]);
        close(change, -0.75);
        assert_eq!(at, Value::Count(20));
    }

    #[test]
    fn what_is_missing_at_a_step_is_passed_over_and_what_has_no_size_says_so() {
        let missing = Value::Missing(MissingReason::Failed);
        let values = [missing, Value::Count(2), missing, Value::Count(6)];
        let [last, slope, change, at] = summary(&[0.0, 1.0, 2.0, 3.0], &values);
        assert_eq!((last, at), (Value::Count(6), Value::Count(3)));
        close(slope, 2.0);
        close(change, 2.0);
        let [.., change, at] = of(&[1.0, 2.0, 3.0], &[1.0, 0.0, 4.0]);
        assert_eq!((change, at), (Value::Missing(MissingReason::ZeroBase), Value::Count(3)));
        let [.., change, at] = of(&[1.0, 2.0], &[3.0, 3.0]);
        assert_eq!((change, at), (Value::Real(0.0), Value::Missing(MissingReason::NoUpdate)));
        let [last, slope, change, _] = of(&[1.0], &[3.0]);
        let none = Value::Missing(MissingReason::NotApplicable);
        assert_eq!((last, slope, change), (Value::Real(3.0), none, none));
    }

    #[test]
    fn a_metric_makes_four_columns() {
        let metric = &METRICS[0].column;
        let keys: Vec<String> =
            columns(&[metric]).iter().map(|column| column.key.replace(metric.key, "x")).collect();
        assert_eq!(keys, ["x", "x_slope", "x_max_step_change", "x_max_step_change_at"]);
        assert_eq!(metrics(&columns(&[metric])).to_vec(), [metric]);
    }
}
