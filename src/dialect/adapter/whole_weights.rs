//! The tensors of an adapter beside its factors: full weights, biases, and unsupported updates.

use std::sync::Arc;

use super::config::AdapterConfig;
use super::config_by_component::ConfigByComponent;
use super::module::{Draft, Setting};
use crate::error::printable;
use crate::layer::{self, Filter, Layer, Selection, TensorInfo};
use crate::pair;
use crate::report::{SkipKind, Skipped};
use crate::weight::Expr;

/// The kind of a full weight; its update is the difference to the base's weight.
pub(super) const WHOLE: &str = "replacement";

/// Full weights saved with the adapter, and other tensors beside the factors.
pub(super) fn whole_weights(setting: &Setting<'_>, rest: &[&TensorInfo]) -> (Vec<Draft>, Vec<Skipped>) {
    const BASE: [&str; 2] = [".base_layer.", ".original_module."];
    let (own, rest): (Vec<&TensorInfo>, Vec<&TensorInfo>) =
        rest.iter().partition(|tensor| BASE.iter().any(|part| tensor.name.contains(part)));
    let rest: Vec<TensorInfo> = rest.into_iter().cloned().collect();
    let Selection { layers, skipped, .. } = layer::select(&rest, &Filter::default());
    let mut skipped: Vec<Skipped> = skipped.into_iter().map(Arc::unwrap_or_clone).collect();
    skipped.extend(
        own.into_iter()
            .map(|tensor| tensor.skipped(SkipKind::Plain, "the base's own, stored beside its update")),
    );
    let draft = |layer: Arc<Layer>| Draft {
        name: pair::canonical(&layer.name),
        kind: WHOLE,
        expr: Expr::of(setting.source, Arc::clone(&layer)),
        scale: None,
        magnitude: None,
        linear: false,
        dtype: layer.dtype,
        flags: vec![],
        tensors: vec![layer.tensor.to_string()],
    };
    (layers.into_iter().map(draft).collect(), skipped)
}

/// Why an update is not there without the weight it changes.
pub(super) struct Baseless<'a> {
    pub(super) configs: &'a ConfigByComponent,
    /// Whether a base was given, which does not have the weight.
    pub(super) given: bool,
}

impl Baseless<'_> {
    pub(super) fn skip(&self, draft: &Draft, tensors: &[TensorInfo]) -> Vec<Skipped> {
        let what = if draft.magnitude.is_some() {
            "DoRA rescales the weight it is added to"
        } else {
            "a whole weight, saved with the adapter"
        };
        let base = self.configs.all().find_map(AdapterConfig::base);
        let reason = match base {
            _ if self.given => format!("{what}; no matrix of its name and shape is in the base"),
            Some(base) => format!("{what}; give `--base {}`", printable(&base.to_string_lossy())),
            None => format!("{what}; give `--base`"),
        };
        let names = &draft.tensors;
        tensors
            .iter()
            .filter(|tensor| names.iter().any(|name| tensor.name == *name))
            .map(|tensor| tensor.skipped(SkipKind::Refused, reason.as_str()))
            .collect()
    }
}
