//! Tensors that scale others, by their names: where nothing applies them, neither is a weight.

use std::collections::BTreeSet;

use super::{Element, TensorInfo};
use crate::matrix::Dtype;
use crate::report::{SkipKind, Skipped};

/// Why a tensor that scales a quantized matrix has no row.
const SCALES_OF_A_MATRIX: &str = "scales of a quantized matrix";

impl TensorInfo {
    /// Its entry in the list of skipped tensors, if it scales `weight`.
    pub fn scales_of(&self, weight: impl Into<String>) -> Skipped {
        Skipped { scales: Some(weight.into()), ..self.skipped(SkipKind::Plain, SCALES_OF_A_MATRIX) }
    }
}

/// Endings that quantizers append to a weight's name for its scales.
const SCALES: [&str; 5] = ["_scale_inv", "_scale", "_scale_2", "_global_scale", "_zero_point"];

/// Why a tensor of a quantized layer is skipped: it is a weight only together with its scales, which are not
/// applied yet.
pub(super) fn quantized(tensor: &TensorInfo, names: &BTreeSet<&str>) -> Option<Skipped> {
    let name = tensor.name.as_str();
    let sibling = |of: &str, is: &str| name.strip_suffix(of).map(|stem| format!("{stem}{is}"));
    let of_weight = SCALES.iter().filter_map(|ending| name.strip_suffix(ending)).map(str::to_owned);
    let of_packed =
        [sibling("scales", "qweight"), sibling(".scale_weight", ".weight"), sibling("_scale", "_packed")];
    let of_packed = of_packed.into_iter().flatten();
    if let Some(weight) = of_weight.chain(of_packed).find(|weight| names.contains(weight.as_str())) {
        return Some(tensor.scales_of(weight));
    }
    if !matches!(tensor.element, Element::Float(Dtype::F8E4M3 | Dtype::F8E5M2)) {
        return None;
    }
    let scales =
        SCALES.iter().map(|ending| format!("{name}{ending}")).chain(sibling(".weight", ".scale_weight"));
    scales.into_iter().any(|scales| names.contains(scales.as_str())).then(|| {
        let reason =
            "quantized, with scales that are read from safetensors only: convert it to that, or to bf16";
        tensor.skipped(SkipKind::Refused, reason)
    })
}
