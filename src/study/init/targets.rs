//! The modules that an adapter is put on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::InitRequest;
use crate::analysis::init::{Method, Setup};
use crate::error::Error;
use crate::layer::Layer;
use crate::writing::ModuleKind;

/// A module of the model that an adapter is put on.
pub(super) struct Target {
    pub(super) name: String,
    pub(super) kind: ModuleKind,
    pub(super) layer: Arc<Layer>,
}

impl InitRequest {
    /// Whether every module has room for the rank.
    pub(super) fn check(&self, targets: &BTreeMap<String, Target>) -> Result<(), Error> {
        let Setup { method, rank, .. } = self.setup;
        for target in targets.values() {
            let refuse = |reason: String| Error::tensor(&self.base, &target.layer.tensor, reason);
            let most = target.most(method);
            if rank > most {
                let reason = format!(
                    "is {} × {}, so `--rank` can be {most} at most with {}; `--exclude` leaves it out",
                    target.layer.rows,
                    target.layer.cols,
                    method.name()
                );
                return Err(refuse(reason));
            }
            if method == Method::Kasa && target.kind != ModuleKind::Linear {
                return Err(refuse(
                    "is not a plain linear layer, and KaSA takes no other; `--exclude` leaves it out"
                        .to_owned(),
                ));
            }
        }
        Ok(())
    }
}

impl Target {
    pub(super) fn is_turned(&self) -> bool {
        self.kind == ModuleKind::Turned
    }

    /// The most directions that a method can take of it.
    pub(super) fn most(&self, method: Method) -> usize {
        method.most(self.shape())
    }

    /// Outputs and inputs.
    pub(super) fn shape(&self) -> (usize, usize) {
        let Layer { rows, cols, .. } = *self.layer;
        if self.is_turned() { (cols, rows) } else { (rows, cols) }
    }
}
