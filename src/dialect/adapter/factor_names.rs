//! Which of an update's tensors are its two factors, and what the module is called.

use super::names::{self, TensorRole};

/// The factors of a LoRA module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FactorNames {
    /// The module, without PEFT's prefix.
    pub(crate) module: String,
    /// The factor next to the inputs, rank × inputs.
    pub(crate) down: String,
    /// The factor next to the outputs, outputs × rank.
    pub(crate) up: String,
    /// Whether it is of an embedding.
    pub(crate) embedding: bool,
    /// Whether the module's name is that of a pipeline's part, or underscored: not its name in a model.
    pub(crate) foreign: bool,
}

/// Those among `tensors`, where there are exactly two factors, neither turned nor with a kernel between.
pub(crate) fn factor_names(tensors: &[String]) -> Option<FactorNames> {
    let parsed: Vec<(&String, names::Spelling<'_>)> =
        tensors.iter().filter_map(|name| Some((name, names::parse(name)?))).collect();
    let named = |role: TensorRole| {
        parsed.iter().find(|(_, spelling)| spelling.part == role).map(|(name, _)| (*name).clone())
    };
    if named(TensorRole::Middle).is_some() {
        return None;
    }
    let plain = named(TensorRole::Down).zip(named(TensorRole::Up));
    let embedding = plain.is_none();
    let (down, up) =
        plain.or_else(|| named(TensorRole::EmbeddingDown).zip(named(TensorRole::EmbeddingUp)))?;
    let (_, spelling) = parsed.iter().find(|(name, _)| **name == down)?;
    let module = &spelling.module;
    let foreign = names::is_self_scaled(module) || spelling.unscaled;
    let module = module.strip_prefix("base_model.model.").unwrap_or(module).to_owned();
    Some(FactorNames { module, down, up, embedding, foreign })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_factors_and_the_module_are_told_by_their_names() {
        let names = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let found = factor_names(&names(&[
            "base_model.model.l.q.lora_A.weight",
            "base_model.model.l.q.lora_B.weight",
        ]));
        let found = found.expect("two factors");
        assert_eq!((found.module.as_str(), found.embedding, found.foreign), ("l.q", false, false));
        assert_eq!(found.down, "base_model.model.l.q.lora_A.weight");
        let found = factor_names(&names(&["x.lora_embedding_A", "x.lora_embedding_B"])).expect("two factors");
        assert!(found.embedding && found.up == "x.lora_embedding_B");
        let kohya =
            names(&["lora_unet_a.alpha", "lora_unet_a.lora_down.weight", "lora_unet_a.lora_up.weight"]);
        assert!(factor_names(&kohya).expect("two factors").foreign);
        assert_eq!(factor_names(&names(&["x.lokr_w1", "x.lokr_w2"])), None);
    }
}
