//! Finds and reads what SALT stores beside weights.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::analysis::preview::Salt;
use crate::checkpoint::Catalogue;
use crate::error::Error;
use crate::layer::{Element, Layer, TensorInfo};
use crate::matrix::Matrix;

/// What each tensor is called below its module: scale, shift, and both factors.
const PARTS: [&str; 4] = ["trainable_scale_A", "trainable_shift_B", "trainable_X", "trainable_Y"];

/// The tensors of SALT in a checkpoint, by their names.
pub(super) struct SaltTensors(BTreeMap<String, TensorInfo>);

impl SaltTensors {
    /// Those of `source`.
    pub(super) fn of(source: &Catalogue) -> Self {
        let is_part = |tensor: &&TensorInfo| PARTS.iter().any(|part| tensor.name.ends_with(part));
        Self(
            source
                .tensors()
                .iter()
                .filter(is_part)
                .map(|info| (info.name.to_string(), info.clone()))
                .collect(),
        )
    }

    /// What stands beside `layer` of `source`; nothing where a part is missing or is not of floats.
    ///
    /// # Errors
    /// When a part cannot be read.
    pub(super) fn beside(&self, source: &Arc<Catalogue>, layer: &Layer) -> Result<Option<Salt>, Error> {
        let Some(module) = layer.tensor.strip_suffix(".weight") else { return Ok(None) };
        let part = |name: &str| -> Result<Option<Matrix>, Error> {
            let Some(info) = self.0.get(&format!("{module}.{name}")) else { return Ok(None) };
            let Element::Float(dtype) = info.element else { return Ok(None) };
            let shape = match info.shape[..] {
                [n] => (1, n),
                [rows, cols] => (rows, cols),
                _ => return Ok(None),
            };
            let layer = info.as_matrix(shape, dtype);
            source.alone(layer.clone()).read(&layer, 0..shape.0).map(Some)
        };
        let [Some(scale), Some(shift), Some(x), Some(y)] =
            [part(PARTS[0])?, part(PARTS[1])?, part(PARTS[2])?, part(PARTS[3])?]
        else {
            return Ok(None);
        };
        Ok(Some(Salt { scale: scale.to_f64(), shift: shift.to_f64(), x, y }))
    }
}
