//! Tables of data, a row a sample: activations, embeddings, gradients. How many directions they use, what dimension the cloud
//! of their rows has, and how gradients of one sample stand to each other.

mod cloud;
mod columns;
mod cosines;
mod dimension;
mod subject;
mod treatment;

use std::sync::Arc;

use crate::error::Error;
use crate::layer::Layer;
use crate::matrix::{Dtype, Matrix};
use crate::metric::{Metrics, Rounded, Subject};
use crate::report::{MissingReason, Value};
use crate::solver::{Cost, Memo, Needs, NoMemo, Precision};
use crate::weight::{Catalogue, Holds};

use super::{Measured, spectrum};

pub use cloud::Order;
pub use columns::{COSINES, FeatureMetric, TABLES};
pub use cosines::{cosine, next, partner};
pub use subject::{TableSubject, Work};
pub use treatment::{ColumnTreatment, Treatment};

/// A table of a file: samples × features, or a gradient in the shape of its weight.
#[derive(Clone)]
pub struct Table {
    /// Where it is read from.
    pub source: Arc<Catalogue>,
    /// Which it is there.
    pub layer: Arc<Layer>,
}

/// What is measured of a table, and how.
#[derive(Clone)]
pub struct Measures {
    /// What is done to it before.
    pub treatment: Treatment,
    /// How exact singular values are; those of treated tables always are.
    pub precision: Precision,
    /// The order in which rows are sampled.
    pub order: Order,
    /// The columns of singular values, and what they need.
    pub spectral: (Metrics, Needs),
    /// The other columns.
    pub others: Vec<&'static FeatureMetric>,
}

impl Measures {
    fn is_treated(&self) -> bool {
        self.treatment != Treatment::NONE
    }

    /// What it takes of a matrix of this shape.
    pub fn cost(&self, layer: &Layer) -> Cost {
        let (rows, cols) = (layer.rows as f64, layer.cols as f64);
        let exact = Layer::plain(layer.name.clone(), (layer.rows, layer.cols), Dtype::F64);
        let read_as = if self.is_treated() { &exact } else { layer };
        let mut cost = spectrum::cost(read_as, self.precision, self.spectral.1);
        let mut works: Vec<Work> = self.others.iter().map(|metric| metric.work).collect();
        works.sort_unstable();
        works.dedup();
        let dense = 8 * layer.len() as u64;
        if self.is_treated() || !works.is_empty() {
            cost.bytes += 3 * dense;
        }
        for work in works {
            let (near, tree) =
                (rows.min(dimension::MOST_NEIGHBORS as f64), rows.min(dimension::MOST_TREE as f64));
            let (flops, bytes) = match work {
                Work::Norms | Work::Normalized => (4.0 * rows * cols, dense),
                Work::NormalizedValues => {
                    let Cost { flops, bytes } = spectrum::cost(&exact, Precision::Exact, Needs::Values);
                    (flops, bytes + dense)
                }
                Work::Neighbors => (2.0 * near * near * cols, dense),
                // Thirteen sizes, a third of the largest squared on average, 21 times.
                Work::Trees => (2.0 * tree * tree * cols * 90.0, dense),
                Work::Tree => (2.0 * tree * tree * cols, dense),
            };
            cost = Cost { flops: cost.flops + flops, bytes: cost.bytes.saturating_add(bytes) };
        }
        cost
    }

    /// The numbers of a table, in the order of the columns: those of singular values, then the others.
    ///
    /// # Errors
    /// When it cannot be read, or its decomposition does not converge.
    pub fn of(&self, Table { source, layer }: &Table, memo: &dyn Memo) -> Result<Measured, Error> {
        let (metrics, needs) = self.spectral;
        let evaluate = |subject: &Subject<'_>| subject.evaluate_each(metrics);
        let as_stored = || {
            spectrum::measure_with(source, layer, (self.precision, needs), Rounded::Itself, &evaluate, memo)
        };
        if !self.is_treated() && self.others.is_empty() {
            return as_stored();
        }
        let mut entries = source.read(layer, 0..layer.rows)?.to_f64();
        let is_finite = entries.iter().all(|x| x.is_finite());
        let mut measured = if self.is_treated() && is_finite {
            self.treatment.apply(&mut entries, layer.cols);
            let plain = Layer::plain(layer.name.clone(), (layer.rows, layer.cols), Dtype::F64);
            let treated = Matrix::from_f64(layer.rows, layer.cols, &entries)?;
            let given = Catalogue::given(Holds::Weights, [(plain.clone(), treated.into())]);
            spectrum::measure_with(
                &given,
                &plain,
                (self.precision, needs),
                Rounded::Itself,
                &evaluate,
                &NoMemo,
            )?
        } else {
            as_stored()?
        };
        let subject = TableSubject::new(&entries, layer.cols, self.order);
        let value = |metric: &&'static FeatureMetric| {
            let found = if is_finite { (metric.value)(&subject) } else { Err(MissingReason::NonFinite) };
            (&metric.column, columns::value(found))
        };
        measured.values.0.extend(self.others.iter().map(value));
        Ok(measured)
    }
}

/// The mean of one number over several samples: what one of them lacks, the mean lacks. Counts are added up.
pub fn mean(values: &[Value]) -> Value {
    let missing = values.iter().find(|value| matches!(value, Value::Missing(_)));
    if let Some(missing) = missing {
        return *missing;
    }
    let counts: Option<Vec<u64>> =
        values.iter().map(|value| if let Value::Count(n) = value { Some(*n) } else { None }).collect();
    match counts {
        Some(counts) => Value::count(counts.iter().sum::<u64>() as usize),
        None => Value::real(values.iter().filter_map(|v| v.number()).sum::<f64>() / values.len() as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_lacks_what_a_sample_lacks() {
        let missing = Value::Missing(MissingReason::AllZero);
        assert_eq!(mean(&[Value::Real(1.0), Value::Real(2.0)]), Value::Real(1.5));
        assert_eq!(mean(&[Value::Real(1.0), missing]), missing);
        assert_eq!(mean(&[Value::Count(1), Value::Count(4)]), Value::Count(5));
    }
}
