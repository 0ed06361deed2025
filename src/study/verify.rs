//! `adapter verify`: whether an adapter and its base hold what the adapter's method promises, a row a module.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::matrices::{Copies, Method as Tasks};
use super::{Beside, FoundMatrix, Matrices, Opened, Spectra};
use crate::analysis::init::Method;
use crate::analysis::verify::{self, Precisions, VERIFIED};
use crate::checkpoint::{Catalogue, Pairs};
use crate::error::{Error, quoted};
use crate::layer::{Filter, Layer};
use crate::matrix::Dtype;
use crate::pair;
use crate::report::{Column, FactorDetail, Report, Row};

/// The options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyRequest {
    /// The method that made the adapter, where it is known.
    pub method: Option<Method>,
}

/// The weights that training began with, by the modules of an adapter.
pub struct Originals {
    source: Arc<Catalogue>,
    by_module: BTreeMap<String, Arc<Layer>>,
}

impl Originals {
    /// The weights of `source`, which lies at `path`, for the modules of `pairs` that `filter` keeps.
    ///
    /// # Errors
    /// When it lacks one.
    pub fn new(path: &Path, source: Arc<Catalogue>, pairs: &Pairs, filter: &Filter) -> Result<Self, Error> {
        let paired = pairs.paired().iter().filter(|pair| filter.keeps(&pair.tuned.name));
        let (names, bases): (Vec<String>, Vec<Arc<Layer>>) =
            paired.map(|pair| (pair.tuned.name.to_string(), Arc::clone(&pair.base))).unzip();
        let ours = source.select(&Filter::default()).layers;
        let (found, _) = pair::pairs(&ours, &bases);
        let originals: BTreeMap<&str, &Arc<Layer>> =
            found.iter().map(|pair| (pair.tuned.name.as_str(), &pair.base)).collect();
        let mut by_module = BTreeMap::new();
        let mut missing = vec![];
        for (name, base) in names.into_iter().zip(&bases) {
            match originals.get(base.name.as_str()) {
                Some(layer) => drop(by_module.insert(name, Arc::clone(layer))),
                None => missing.push(base.name.clone()),
            }
        }
        if missing.is_empty() {
            return Ok(Self { source, by_module });
        }
        Err(Error::malformed(path, format!("has no weight of the base's shape for {}", quoted(&missing))))
    }
}

impl VerifyRequest {
    /// Every column, in report order.
    pub fn columns(self) -> Vec<&'static Column> {
        VERIFIED.iter().collect()
    }

    /// The tasks over the modules of `opened`, an adapter at `of`, that `filter` keeps, with the weights that training began with.
    ///
    /// # Errors
    /// When there is none, or no base.
    pub fn plan(
        self,
        of: &Path,
        opened: Opened,
        filter: &Filter,
        originals: Option<Originals>,
    ) -> Result<Matrices, Error> {
        let missing = || Error::Contract("an adapter without a base".to_owned());
        let pairs = opened.pairs.clone().ok_or_else(missing)?;
        let of = of.to_owned();
        let method = self.method.map_or("by evidence", Method::name).to_owned();
        let tasks = Tasks {
            command: "adapter verify",
            columns: self.columns(),
            shown: self.columns(),
            parts: vec![],
            kept_by: None,
            settings: vec![("method", method)],
            cost: {
                let pairs = Arc::clone(&pairs);
                Box::new(move |layer| verify::cost(&pairs, layer))
            },
            base: Some(Arc::clone(&pairs)),
            copies: Copies::Done,
            beside: Beside::Verified(self.method),
            measure: Box::new(move |source, layer: &Layer, _| {
                let original = originals.as_ref().and_then(|originals| {
                    Some((originals.source.as_ref(), originals.by_module.get(layer.name.as_str())?.as_ref()))
                });
                let named = |error: Error| match error {
                    Error::Usage(reason) => Error::tensor(&of, &layer.tensor, reason),
                    other => other,
                };
                let measured = verify::measure(source, &pairs, layer, original).map_err(named)?;
                let diagonal = source.stored_factors(layer)?.and_then(|factors| factors.diagonal);
                let base = pairs.get(&layer.name)?.base.dtype.name().to_owned();
                let detail = FactorDetail {
                    diagonal: diagonal.unwrap_or_default(),
                    base_dtype: Some(base),
                    ..FactorDetail::default()
                };
                Ok(FoundMatrix {
                    factors: Some(Box::new(detail)),
                    ..FoundMatrix::new(measured, layer, Spectra::Dropped)
                })
            }),
        };
        Matrices::new(opened, filter, tasks)
    }
}

/// So many modules are told of with what they break.
const MOST: usize = 5;

/// Counts what each module breaks, and says which method is meant and what breaks it.
pub(super) fn sum_up(report: &mut Report, claimed: Option<Method>) {
    let precisions = |row: &Row| {
        let epsilon = |name: &str| Dtype::parse(name).map_or(f64::from(f32::EPSILON), Dtype::epsilon);
        let detail = row.factors.as_ref();
        let base = detail.and_then(|detail| detail.base_dtype.as_deref()).unwrap_or_default();
        Precisions {
            spacing: [epsilon(&row.dtype), epsilon(base)],
            scale: row.update.as_ref().and_then(|update| update.scale).unwrap_or(1.0),
            has_diagonal: detail.is_some_and(|detail| !detail.diagonal.is_empty()),
        }
    };
    let all = report.rows.iter().filter(|row| row.failed.is_none()).count();
    let (method, told) = verify::judge(&mut report.rows, claimed, &precisions);
    let mut notes = vec![];
    if let Some(method) = method {
        let (name, by) = match (claimed, method) {
            (Some(method), _) => (method.name(), ""),
            // Both ends of CorDA promise the same, and of EoRA no more than a part of it.
            (None, Method::CordaIpm) => (
                "corda-ipm or corda-kpm",
                " (by evidence, which does not tell these two apart, nor EoRA on a base that lacks its directions; `--method` names one)",
            ),
            (None, method) => (method.name(), " (by evidence; `--method` names another)"),
        };
        let held = all - told.len();
        notes.push(format!("{held} of {all} modules hold the invariants of {name}{by}"));
    } else {
        let what = "no module holds the invariants of any method: a plain or trained LoRA, or another base; `--method` \
                    names what it should be";
        notes.push(format!("! {what}"));
    }
    let line = |(name, broken): &(String, Vec<String>)| format!("! {name}: {}", broken.join("; "));
    notes.extend(told.iter().take(MOST).map(line));
    if told.len() > MOST {
        notes.push(format!("! and {} more modules", told.len() - MOST));
    }
    report.notes.splice(0..0, notes);
}
