//! What `spectrum` measures beside its metrics, where that is asked: eigenvalues, and values that outliers do not move.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::asked::PlanPart;
use super::{Asked, Opened};
use crate::analysis::eigen::{self, EIGENVALUES, Eigenvalues, Parameter};
use crate::analysis::robust::{self, ROBUST, Robust};
use crate::checkpoint::Catalogue;
use crate::error::Error;
use crate::layer::{Filter, Layer, bare};
use crate::report::{Column, ColumnKey, Lists, Measurements, MissingReason, Value};
use crate::solver::Cost;

/// What is asked further.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Further {
    /// Eigenvalues of square matrices and of state spaces.
    pub eigenvalues: Option<Eigenvalues>,
    /// Robust singular values.
    pub robust: Option<Robust>,
}

/// The imaginary parts of eigenvalues, by the names of their real parts.
#[derive(Default)]
pub(super) struct Beside {
    /// Where they lie, for messages.
    path: PathBuf,
    parts: BTreeMap<String, Imaginary>,
}

enum Imaginary {
    Fitting(Arc<Layer>),
    /// A tensor of this name and of another shape.
    Unfit(String, Vec<usize>),
}

impl Beside {
    /// The imaginary parts of the eigenvalues whose real parts are in `layer`, if there are any.
    fn of(&self, layer: &Layer) -> Result<Option<&Layer>, Error> {
        match self.parts.get(layer.name.as_str()) {
            None => Ok(None),
            Some(Imaginary::Fitting(other)) => Ok(Some(other)),
            Some(Imaginary::Unfit(tensor, shape)) => {
                let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
                let reason = format!(
                    "is {} and `{}` {} × {}: each real part of an eigenvalue needs its imaginary part",
                    shape.join(" × "),
                    layer.tensor,
                    layer.rows,
                    layer.cols
                );
                Err(Error::tensor(&self.path, tensor, reason))
            }
        }
    }
}

/// The settings that it adds to those of the metrics.
pub(super) const FURTHER: [&str; 4] = ["eigenvalues", "points", "robust", "robust_directions"];

/// Whether a column is of what was asked further.
pub(super) fn is_further(column: &Column) -> bool {
    EIGENVALUES.iter().chain(&ROBUST).any(|further| further.key == column.key)
}

/// Whether a key is of such a column, in any aspect.
pub(super) fn further_of(key: &str) -> bool {
    ColumnKey::parse(key, EIGENVALUES.iter().chain(&ROBUST)).is_some()
}

impl Further {
    /// Its columns, in report order.
    pub fn columns(&self) -> Vec<&'static Column> {
        let eigenvalues = self.eigenvalues.iter().flat_map(|_| &EIGENVALUES);
        eigenvalues.chain(self.robust.iter().flat_map(|_| &ROBUST)).collect()
    }

    /// What decides its numbers, as reports say it.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![];
        if let Some(Eigenvalues { points }) = &self.eigenvalues {
            let told: Vec<String> = points.iter().map(|(re, im)| format!("{re}{im:+}i")).collect();
            settings.push(("eigenvalues", "all".to_owned()));
            settings.extend((!told.is_empty()).then(|| ("points", told.join(","))));
        }
        if let Some(Robust { alpha, directions }) = self.robust {
            settings.push(("robust", format!("dpd {alpha}")));
            settings.push(("robust_directions", directions.to_string()));
        }
        settings
    }

    /// `opened` with the vectors that hold eigenvalues as matrices of one row.
    pub(super) fn opened(&self, opened: Opened) -> Opened {
        let is_asked = self.eigenvalues.is_some();
        let is_rate = |name: &str| is_asked && Parameter::of(name) == Some(Parameter::ALog);
        if !opened.source.tensors().iter().any(|info| info.shape.len() == 1 && is_rate(bare(&info.name))) {
            return opened;
        }
        Opened { source: Arc::new(opened.source.with_vectors(is_rate)), ..opened }
    }

    /// The parts of the work.
    pub(super) fn parts(&self, asked: &Asked) -> Vec<PlanPart> {
        let mut parts = vec![];
        if self.eigenvalues.is_some() {
            let columns = asked.told(&EIGENVALUES);
            parts.push(PlanPart {
                what: "eigenvalues",
                columns,
                flops: Box::new(|layer| eigen::cost(layer).flops),
            });
        }
        if let Some(robust) = self.robust {
            let columns = asked.told(&ROBUST);
            let flops = Box::new(move |layer: &Layer| robust::cost(robust, layer).flops);
            parts.push(PlanPart { what: "robust values", columns, flops });
        }
        parts
    }

    /// What it takes beside the metrics' `own`.
    pub(super) fn cost_with(&self, layer: &Layer, own: Cost) -> Cost {
        let eigenvalues = self.eigenvalues.iter().map(|_| eigen::cost(layer));
        let robust = self.robust.iter().map(|robust| robust::cost(*robust, layer));
        eigenvalues
            .chain(robust)
            .fold(own, |all, more| Cost { flops: all.flops + more.flops, bytes: all.bytes.max(more.bytes) })
    }

    /// Which tensors of `source`, which lies at `path`, hold the imaginary parts of others.
    pub(super) fn beside(&self, source: &Catalogue, path: &str) -> Beside {
        if self.eigenvalues.is_none() {
            return Beside::default();
        }
        let layers = source.select(&Filter::default()).layers;
        let imaginary = |layer: &Arc<Layer>| {
            let name = Parameter::beside(&layer.name)?;
            let fits = |other: &&Arc<Layer>| {
                other.name == name.as_str() && (other.rows, other.cols) == (layer.rows, layer.cols)
            };
            if let Some(other) = layers.iter().find(fits) {
                return Some((layer.name.to_string(), Imaginary::Fitting(Arc::clone(other))));
            }
            let other = source.tensors().iter().find(|info| bare(&info.name) == name)?;
            let unfit = Imaginary::Unfit(other.name.to_string(), other.shape.clone());
            Some((layer.name.to_string(), unfit))
        };
        Beside { path: path.into(), parts: layers.iter().filter_map(imaginary).collect() }
    }

    /// Its numbers for one matrix, in the order of its columns.
    ///
    /// # Errors
    /// When it cannot be read, or an iteration does not converge.
    pub(super) fn measure(
        &self,
        source: &Catalogue,
        layer: &Layer,
        beside: &Beside,
    ) -> Result<(Measurements, Lists), Error> {
        let (mut values, mut lists) = (vec![], Lists::default());
        if let Some(asked) = &self.eigenvalues {
            let imaginary = beside.of(layer)?;
            let (found, more) =
                or_missing(eigen::measure(asked, (source, layer), imaginary), EIGENVALUES.len())?;
            values.extend(EIGENVALUES.iter().zip(found));
            lists.extend(more);
        }
        if let Some(asked) = self.robust {
            let (found, more) = or_missing(robust::measure(asked, source, layer), ROBUST.len())?;
            values.extend(ROBUST.iter().zip(found));
            lists.extend(more);
        }
        Ok((Measurements(values), lists))
    }
}

/// An iteration that stops early leaves these columns blank, and no others.
fn or_missing(found: Result<(Vec<Value>, Lists), Error>, count: usize) -> Result<(Vec<Value>, Lists), Error> {
    let why = match found {
        Err(Error::NotConverged { .. }) => MissingReason::NotConverged,
        Err(Error::Overflow(_)) => MissingReason::Overflow,
        other => return other,
    };
    Ok((vec![Value::Missing(why); count], Lists::default()))
}
