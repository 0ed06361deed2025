//! What `spectrum` measures beside its metrics, where that is asked: eigenvalues, and values that outliers do not move.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Asked;
use super::asked::PlanPart;
use crate::analysis::eigen::{self, EIGENVALUES, Eigenvalues, Parameter};
use crate::analysis::robust::{self, ROBUST, Robust};
use crate::checkpoint::Catalogue;
use crate::error::Error;
use crate::layer::{Filter, Layer};
use crate::report::{Column, Lists, Measurements, MissingReason, Value};
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
pub(super) type Beside = BTreeMap<String, Arc<Layer>>;

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

    /// Which matrices of `source` hold the imaginary parts of others.
    pub(super) fn beside(&self, source: &Catalogue) -> Beside {
        if self.eigenvalues.is_none() {
            return Beside::new();
        }
        let layers = source.select(&Filter::default()).layers;
        let by_name: BTreeMap<&str, &Arc<Layer>> =
            layers.iter().map(|layer| (layer.name.as_str(), layer)).collect();
        let beside = |layer: &Arc<Layer>| {
            let other = by_name.get(Parameter::beside(&layer.name)?.as_str())?;
            Some((layer.name.to_string(), Arc::clone(other)))
        };
        layers.iter().filter_map(beside).collect()
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
            let imaginary = beside.get(layer.name.as_str()).map(AsRef::as_ref);
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
