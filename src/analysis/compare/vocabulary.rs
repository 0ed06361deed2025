//! The columns of one comparison, and the values of its rows in them.

use super::columns::{Retyped, STATUS_COLUMNS, TwoSided, fate};
use super::{Drift, Drifts};
use crate::metric::{Metrics, NONFINITE_COUNT};
use crate::report::{Aspect, Column, ColumnKey, Measurements, MissingReason, Standing, Value};

/// Every column of a comparison.
#[derive(Debug)]
pub struct Vocabulary {
    table: Metrics,
    sides: Vec<OneSide>,
}

/// The columns of one tuned side.
#[derive(Debug)]
struct OneSide {
    fates: Vec<&'static Column>,
    drifts: Vec<(&'static Drift, &'static Column)>,
    metrics: Vec<TwoSided>,
}

/// The data of a row for one tuned side.
#[derive(Debug, Clone, Copy)]
pub struct Half<'a> {
    /// The status of the matrix; none if neither side has it.
    pub standing: Option<Standing>,
    /// Whether both store it in different types.
    pub retyped: Retyped,
    /// Its metrics.
    pub values: Option<&'a Measurements>,
    /// Its way from the base.
    pub drifts: Option<&'a [Value]>,
}

/// The data of one tuned side of a tensor that is not a matrix.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    /// Its status; none if neither side has it.
    pub standing: Option<Standing>,
    /// Whether both store it in different types.
    pub retyped: Retyped,
    /// Whether its bytes decided that.
    pub bytes: Bytes,
    /// How many of its entries are NaN or infinite, or why that is not known.
    pub nonfinite: Value,
}

/// Whether the bytes of both sides were compared, if headers don't decide the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// They were, or need not be.
    Seen,
    /// The content of one of them is unknown.
    Unseen,
}

impl Vocabulary {
    /// For `metrics`, by those of `table` where weights are measured, and `drifts`; one tuned side needs no name, several are
    /// distinguished by theirs.
    pub fn new(table: Metrics, metrics: &[&'static Column], drifts: Drifts, names: &[&str]) -> Self {
        let side = |name: Option<&str>| OneSide {
            fates: STATUS_COLUMNS.iter().map(|column| of_side(column, name)).collect(),
            drifts: drifts.iter().map(|drift| (*drift, of_side(&drift.column, name))).collect(),
            metrics: metrics.iter().map(|column| TwoSided::new(column, name)).collect(),
        };
        match names {
            [_] => Self { table, sides: vec![side(None)] },
            _ => Self { table, sides: names.iter().map(|name| side(Some(name))).collect() },
        }
    }

    /// The metrics that weights are measured by.
    pub fn table(&self) -> Metrics {
        self.table
    }

    /// The metrics that are compared.
    pub fn metrics(&self) -> Vec<&'static Column> {
        self.sides.first().into_iter().flat_map(|side| side.metrics.iter().map(TwoSided::metric)).collect()
    }

    /// All columns, in report order: the base's, then the tuned sides'.
    pub fn columns(&self) -> Vec<&'static Column> {
        let base =
            self.sides.first().into_iter().flat_map(|side| side.metrics.iter().map(|metric| metric.base));
        let side = |side: &OneSide| {
            let fates = side.fates.iter().copied();
            let drifts = side.drifts.iter().map(|(_, column)| *column);
            let metrics = side.metrics.iter().flat_map(|m| [m.tuned, m.difference, m.change]);
            fates.chain(drifts).chain(metrics).collect::<Vec<_>>()
        };
        base.chain(self.sides.iter().flat_map(side)).collect()
    }

    /// The values of a row, in the order of the columns.
    pub fn values(&self, base: Option<&Measurements>, halves: &[Half<'_>]) -> Measurements {
        let mut values = vec![];
        for metric in self.sides.first().into_iter().flat_map(|side| &side.metrics) {
            // Equal bytes have equal values, whichever side they were read from.
            let same = halves.iter().find(|half| half.standing == Some(Standing::Unchanged));
            let of = base.or(same.and_then(|half| half.values));
            let absent = halves.iter().all(|half| matches!(half.standing, Some(Standing::Added) | None));
            let value = match of.and_then(|values| values.get(metric.metric().key)) {
                Some(value) => value,
                None => Value::Missing(if absent {
                    MissingReason::Unpaired
                } else {
                    MissingReason::NotDecomposed
                }),
            };
            values.push((metric.base, value));
        }
        for (side, half) in self.sides.iter().zip(halves) {
            side.push(base, half, &mut values);
        }
        Measurements(values)
    }

    /// The values of a row that is not a matrix: its status, and the number of non-finite entries if known.
    pub fn fates(&self, base: Value, sides: &[Fate]) -> Measurements {
        let counted = self.metrics().into_iter().find(|column| **column == NONFINITE_COUNT.column);
        let numbers = |count: Value| Some(Measurements(vec![(counted?, count)]));
        let tuned: Vec<Option<Measurements>> = sides.iter().map(|side| numbers(side.nonfinite)).collect();
        let halves: Vec<Half<'_>> = sides
            .iter()
            .zip(&tuned)
            .map(|(side, values)| Half {
                standing: side.standing,
                retyped: side.retyped,
                values: values.as_ref(),
                drifts: None,
            })
            .collect();
        let mut values = self.values(numbers(base).as_ref(), &halves);
        for (column, value) in &mut values.0 {
            let metric = column.means().metric;
            let told = *metric == NONFINITE_COUNT.column
                && !matches!(value, Value::Missing(MissingReason::Unpaired | MissingReason::NotDecomposed));
            if !told && !STATUS_COLUMNS.contains(metric) {
                *value = Value::Missing(MissingReason::NotMatrix);
            }
        }
        let unseen = self.sides.iter().zip(sides).filter(|(_, fate)| fate.bytes == Bytes::Unseen);
        let unseen: Vec<&str> = unseen.filter_map(|(side, _)| Some(side.fates.first()?.key)).collect();
        for (_, value) in values.0.iter_mut().filter(|(column, _)| unseen.contains(&column.key)) {
            *value = Value::Missing(MissingReason::Unseen);
        }
        values
    }
}

/// The column of a number that only a comparison has: of one of several tuned sides if that has a name.
fn of_side(metric: &'static Column, side: Option<&str>) -> &'static Column {
    ColumnKey { metric, aspect: Aspect::Value, side }.column()
}

impl OneSide {
    /// Appends the values of one tuned side.
    fn push(&self, base: Option<&Measurements>, half: &Half<'_>, values: &mut Vec<(&'static Column, Value)>) {
        values.extend(fate(&self.fates, half.standing, half.retyped).0);
        for (i, (drift, column)) in self.drifts.iter().enumerate() {
            let value = match (half.standing, half.drifts) {
                (Some(Standing::Unchanged), _) => drift.unchanged,
                (None, _) => Value::Missing(MissingReason::Absent),
                (_, Some(found)) => {
                    found.get(i).copied().unwrap_or(Value::Missing(MissingReason::NotApplicable))
                }
                (_, None) => Value::Missing(MissingReason::Unpaired),
            };
            values.push((column, value));
        }
        for metric in &self.metrics {
            let key = metric.metric().key;
            let unread = Value::Missing(MissingReason::NotDecomposed);
            let tuned = half.values.and_then(|found| found.get(key));
            values.extend(match half.standing {
                None => metric.all(Value::Missing(MissingReason::Absent)),
                Some(Standing::Removed) => metric.values(
                    base.and_then(|found| found.get(key)).unwrap_or(unread),
                    Value::Missing(MissingReason::Absent),
                ),
                Some(Standing::Added) => {
                    metric.values(Value::Missing(MissingReason::Unpaired), tuned.unwrap_or(unread))
                }
                Some(Standing::Unchanged) => metric.unchanged(tuned.unwrap_or(unread)),
                Some(_) => metric
                    .values(base.and_then(|found| found.get(key)).unwrap_or(unread), tuned.unwrap_or(unread)),
            });
        }
    }
}
