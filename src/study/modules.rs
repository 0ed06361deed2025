//! Which matrices of a model have data: files of calibration know the linear layers in its blocks, and no others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Opened;
use super::extract::{has_turned_layers, of_base};
use crate::checkpoint::{DataKind, LayerData};
use crate::error::{Error, quoted};
use crate::layer::{Filter, Layer, Purpose, purpose};
use crate::matrix::Matrix;
use crate::writing::ModuleKind;

/// The matrices that data are read for.
pub(super) struct DataModules {
    layers: Vec<Arc<Layer>>,
    /// Names of those that lie inputs × outputs.
    turned: BTreeSet<String>,
    /// Names of matrices that stand in no numbered block.
    pub(super) left_out: Vec<String>,
}

/// Whether a matrix is asked about: with globs by these, else in a numbered block.
pub(super) fn is_chosen(layer: &Layer, filter: &Filter) -> bool {
    filter.include.is_some() || (layer.block.is_some() && purpose(&layer.name) == Purpose::Inner)
}

/// The names of those of `layers` that lie inputs × outputs.
///
/// # Errors
/// When one is not of the base that `opened` has.
pub(super) fn turned(opened: &Opened, layers: &[Arc<Layer>]) -> Result<BTreeSet<String>, Error> {
    let model = opened.pairs.as_ref().map_or(&opened.source, |pairs| pairs.base());
    let has_turned = has_turned_layers(model);
    let is_turned = |layer: &Layer| matches!(of_base(layer, has_turned), Some((_, ModuleKind::Turned)));
    let mut turned = BTreeSet::new();
    for layer in layers {
        let is_turned = match &opened.pairs {
            Some(pairs) => is_turned(&pairs.get(&layer.name)?.base),
            None => is_turned(layer),
        };
        if is_turned {
            turned.insert(layer.name.to_string());
        }
    }
    Ok(turned)
}

impl DataModules {
    /// Those of `opened` that `filter` keeps; without globs those in numbered blocks.
    ///
    /// # Errors
    /// When there are others, but none in a block.
    pub(super) fn new(opened: &Opened, filter: &Filter) -> Result<Self, Error> {
        let (layers, others): (Vec<_>, Vec<_>) =
            opened.source.select(filter).layers.into_iter().partition(|layer| is_chosen(layer, filter));
        if layers.is_empty() && !others.is_empty() {
            let reason = "has no matrix in a numbered block; `--include GLOB` names others";
            return Err(Error::malformed(Path::new(&opened.origin.path), reason));
        }
        let turned = turned(opened, &layers)?;
        let left_out = others.iter().map(|layer| layer.name.to_string()).collect();
        Ok(Self { layers, turned, left_out })
    }

    /// The filter that keeps these.
    pub(super) fn filter(&self, filter: &Filter) -> Filter {
        let names = self.layers.iter().map(|layer| layer.name.to_string()).collect();
        Filter { names: Some(names), ..filter.clone() }
    }

    /// What the file at `path` has of them.
    ///
    /// # Errors
    /// When it lacks one, or does not fit it.
    pub(super) fn data(&self, (kind, path): &(DataKind, PathBuf)) -> Result<LayerData, Error> {
        let shape = |layer: &Arc<Layer>| {
            let stored = (layer.rows, layer.cols);
            // Weights of entries lie as the weight does.
            let is_turned = *kind != DataKind::Fisher && self.turned.contains(layer.name.as_str());
            (layer.name.to_string(), if is_turned { (stored.1, stored.0) } else { stored })
        };
        LayerData::open(path, *kind, &self.layers.iter().map(shape).collect::<Vec<_>>())
    }

    /// Outputs × inputs, whatever way round `matrix` is stored.
    pub(super) fn upright(&self, name: &str, matrix: Matrix) -> Matrix {
        if self.turned.contains(name) { matrix.transposed() } else { matrix }
    }

    /// What is said of those that were left out.
    pub(super) fn note(left_out: &[String]) -> Option<String> {
        let told = || {
            format!("in no numbered block, so left out: {}; `--include GLOB` takes them", quoted(left_out))
        };
        (!left_out.is_empty()).then(told)
    }
}
