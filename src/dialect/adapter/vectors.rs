//! What an adapter's vectors do: biases that were trained with it, and norms saved whole.

use super::names::{self, TensorRole};
use crate::pair;

/// A change of a vector of the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VectorUpdate {
    /// Added to the bias of a module, times the scale of its update.
    Scaled {
        /// The canonical name of the module.
        module: String,
    },
    /// Added to the vector of that canonical name.
    Added { target: String },
    /// In the place of the vector of that canonical name.
    Whole { target: String },
    /// Of a kind that is not known.
    Unknown,
}

/// The role of the tensor `name`, which is not a matrix.
pub(crate) fn vector_update(name: &str) -> VectorUpdate {
    let Some(spelling) = names::parse(name) else {
        return VectorUpdate::Whole { target: pair::canonical(name) };
    };
    let module = pair::canonical(&spelling.module);
    let is = |ending: &str| name.ends_with(ending) || name.contains(&format!("{ending}."));
    match spelling.part {
        TensorRole::Bias if name.contains(".lora_B.") => VectorUpdate::Scaled { module },
        TensorRole::Bias if is(".diff_b") || is(".b_norm") => {
            VectorUpdate::Added { target: format!("{module}.bias") }
        }
        TensorRole::Bias if is(".w_norm") => VectorUpdate::Added { target: format!("{module}.weight") },
        TensorRole::Difference => VectorUpdate::Added { target: format!("{module}.weight") },
        _ => VectorUpdate::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_every_kind_find_what_they_change() {
        let check =
            |name: &str, expected: &VectorUpdate| assert_eq!(vector_update(name), *expected, "{name}");
        let text = str::to_owned;
        check("base_model.model.l.0.q.lora_B.bias", &VectorUpdate::Scaled { module: text("l.0.q") });
        check("base_model.model.l.0.q.lora_B.default.bias", &VectorUpdate::Scaled { module: text("l.0.q") });
        check("lora_unet_a.diff_b", &VectorUpdate::Added { target: text("lora_unet_a.bias") });
        check("base_model.model.norm.weight", &VectorUpdate::Whole { target: text("norm.weight") });
        check("base_model.model.l.0.q.base_layer.bias", &VectorUpdate::Whole { target: text("l.0.q.bias") });
        check("e.token_adapter.trainable_tokens_delta", &VectorUpdate::Unknown);
    }
}
