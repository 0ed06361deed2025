//! The vocabulary of a comparison: a metric on two sides, and the status of a matrix.
//!
//! Columns are made when a comparison begins and live as long as the program, like those of the tables they are made of.

use crate::report::{
    Accuracy, Aspect, Column, ColumnKey, Format, Measurements, MissingReason, Quantity, Standing, Value,
};

/// A metric on two sides.
#[derive(Debug, Clone, Copy)]
pub struct TwoSided {
    /// The metric itself.
    metric: &'static Column,
    /// The base's value.
    pub base: &'static Column,
    /// The tuned side's.
    pub tuned: &'static Column,
    /// Tuned − base.
    pub difference: &'static Column,
    /// The same relative to the base.
    pub change: &'static Column,
}

impl TwoSided {
    /// The columns of `metric`; those that belong to one of several tuned sides carry its name.
    pub fn new(metric: &'static Column, side: Option<&str>) -> Self {
        let column = |aspect| ColumnKey { metric, aspect: Aspect::Value, side }.of(aspect).column();
        Self {
            metric,
            base: column(Aspect::Base),
            tuned: column(Aspect::Value),
            difference: column(Aspect::Difference),
            change: column(Aspect::Change),
        }
    }

    /// The metric itself, as a report of one side has it.
    pub fn metric(&self) -> &'static Column {
        self.metric
    }

    /// The values of one side and of the difference: tuned, difference, change.
    pub fn values(&self, base: Value, tuned: Value) -> [(&'static Column, Value); 3] {
        [(self.tuned, tuned), (self.difference, difference(base, tuned)), (self.change, change(base, tuned))]
    }

    /// The same value in all three.
    pub fn all(&self, value: Value) -> [(&'static Column, Value); 3] {
        [(self.tuned, value), (self.difference, value), (self.change, value)]
    }

    /// The same for equal bytes: nothing changed, whatever the values are.
    pub fn unchanged(&self, value: Value) -> [(&'static Column, Value); 3] {
        [(self.tuned, value), (self.difference, Value::Real(0.0)), (self.change, Value::Real(0.0))]
    }
}

/// Tuned − base, or the reason it is missing, the base's first.
fn difference(base: Value, tuned: Value) -> Value {
    both(base, tuned, |base, tuned| Value::real(tuned - base))
}

/// (tuned − base)/|base|: 0 where both are equal, even if both are zero; missing where only the base is.
fn change(base: Value, tuned: Value) -> Value {
    both(base, tuned, |base, tuned| match (tuned - base, base.abs()) {
        (0.0, _) => Value::Real(0.0),
        (_, 0.0) => Value::Missing(MissingReason::ZeroBase),
        (moved, size) => Value::real(moved / size),
    })
}

fn both(base: Value, tuned: Value, of: impl Fn(f64, f64) -> Value) -> Value {
    match (base, tuned) {
        (Value::Missing(MissingReason::Absent), _) | (_, Value::Missing(MissingReason::Absent)) => {
            Value::Missing(MissingReason::Unpaired)
        }
        (Value::Missing(why), _) | (_, Value::Missing(why)) => Value::Missing(why),
        (base, tuned) => match (base.number(), tuned.number()) {
            (Some(base), Some(tuned)) => of(base, tuned),
            _ => Value::Missing(MissingReason::NotApplicable),
        },
    }
}

/// The status of a matrix, as numbers that rules can count.
pub static STATUS_COLUMNS: [Column; 5] = [
    Column {
        key: "changed",
        label: "changed",
        format: Format::Count,
        quantity: Quantity::Pair(Accuracy::Exact),
        doc: "1 where the stored bytes, their type or their shape differ from the base's, 0 where they are equal",
        range: "0 or 1",
        source: "definition",
    },
    Column {
        key: "added",
        label: "added",
        format: Format::Count,
        quantity: Quantity::Pair(Accuracy::Exact),
        doc: "1 where the base has no such matrix, else 0",
        range: "0 or 1",
        source: "definition",
    },
    Column {
        key: "removed",
        label: "removed",
        format: Format::Count,
        quantity: Quantity::Pair(Accuracy::Exact),
        doc: "1 where only the base has the matrix, else 0",
        range: "0 or 1",
        source: "definition",
    },
    Column {
        key: "reshaped",
        label: "reshaped",
        format: Format::Count,
        quantity: Quantity::Pair(Accuracy::Exact),
        doc: "1 where the shape differs from the base's, else 0",
        range: "0 or 1",
        source: "definition",
    },
    Column {
        key: "retyped",
        label: "retyped",
        format: Format::Count,
        quantity: Quantity::Pair(Accuracy::Exact),
        doc: "1 where the storage type differs from the base's, else 0",
        range: "0 or 1",
        source: "definition",
    },
];

/// The values of [`STATUS_COLUMNS`], in `columns` made of them.
pub(super) fn fate(
    columns: &[&'static Column],
    standing: Option<Standing>,
    retyped: Retyped,
) -> Measurements {
    let is = |which| u64::from(standing == Some(which));
    let values = [
        u64::from(standing.is_some_and(|standing| standing != Standing::Unchanged)),
        is(Standing::Added),
        is(Standing::Removed),
        is(Standing::Reshaped),
        u64::from(retyped == Retyped::Yes),
    ];
    Measurements(columns.iter().copied().zip(values.map(Value::Count)).collect())
}

/// Whether both sides store a matrix in different types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retyped {
    /// They do.
    Yes,
    /// They differ, or there are not two sides.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: Value, tuned: Value, expected: Value) {
        assert_eq!(change(base, tuned), expected, "{base:?} → {tuned:?}");
    }

    #[test]
    fn a_change_is_relative_to_the_size_of_the_base() {
        check(Value::Real(2.0), Value::Real(3.0), Value::Real(0.5));
        check(Value::Real(-2.0), Value::Real(-3.0), Value::Real(-0.5));
        check(Value::Count(4), Value::Count(1), Value::Real(-0.75));
        check(Value::Real(0.0), Value::Real(0.0), Value::Real(0.0));
        check(Value::Count(0), Value::Count(2), Value::Missing(MissingReason::ZeroBase));
        check(Value::Real(1e-300), Value::Real(1e300), Value::Missing(MissingReason::Overflow));
    }

    #[test]
    fn a_change_from_or_to_nothing_says_why() {
        check(
            Value::Missing(MissingReason::AllZero),
            Value::Real(1.0),
            Value::Missing(MissingReason::AllZero),
        );
        check(
            Value::Real(1.0),
            Value::Missing(MissingReason::NonFinite),
            Value::Missing(MissingReason::NonFinite),
        );
        check(
            Value::Real(1.0),
            Value::Missing(MissingReason::Absent),
            Value::Missing(MissingReason::Unpaired),
        );
    }

    #[test]
    fn the_columns_of_a_metric_are_named_after_it() {
        let metric = &crate::metric::METRICS[0].column;
        let check = |side, expected: [&str; 4]| {
            let columns = TwoSided::new(metric, side);
            let all = [columns.base, columns.tuned, columns.difference, columns.change];
            let ours = all.map(|column| column.key.replace(metric.key, "x"));
            assert_eq!(ours, expected);
        };
        check(None, ["x_base", "x", "x_difference", "x_change"]);
        check(Some("full"), ["x_base", "x@full", "x_difference@full", "x_change@full"]);
    }
}
