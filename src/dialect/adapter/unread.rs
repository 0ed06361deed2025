//! Names of methods whose updates are not read: refused by name, so that their tensors are never taken for weights.

use super::names::{self, Spelling, TensorRole};

/// How the parts of methods begin that PEFT knows and svdkit does not read.
const FOREIGN: [&str; 38] = [
    "adamss_",
    "adaption_",
    "beft_",
    "boft_",
    "bone_",
    "c3a_",
    "deft_",
    "delora_",
    "fourierft_",
    "frod_",
    "glora_",
    "gralora_",
    "hira_",
    "hra_",
    "ia3_",
    "internal_xlora_",
    "lily_",
    "miss_",
    "oft_",
    "osf_",
    "peanut_",
    "poly_",
    "prefix_task_",
    "prompt_embeddings",
    "psoft_",
    "pvera_",
    "randlora_",
    "road_",
    "shadow_",
    "shira_",
    "supertuning_",
    "tinylora_",
    "unilora_",
    "vblora_",
    "vera_",
    "waveft_",
    "xlora_",
    "trainable_tokens_",
];

/// Those of them that words of models begin with, too: they tell an adapter only after PEFT's own prefix.
const COMMON: [&str; 8] = ["deft_", "glora_", "lily_", "miss_", "peanut_", "poly_", "road_", "shadow_"];

/// Prefixes that no model's names have.
const TELLING: [&str; 5] = ["lora_unet_", "lora_te", "lora_transformer_", "lora_prior_", "lycoris_"];

/// Takes a name apart, if it is one of an adapter's, read or not.
pub(super) fn spelling(name: &str) -> Option<Spelling<'_>> {
    names::parse(name).or_else(|| unread(name))
}

fn unread(name: &str) -> Option<Spelling<'_>> {
    let spelled = |module: &str, part| {
        Some(Spelling { module: module.to_owned(), part, adapter: None, unscaled: false })
    };
    let is_peft = name.starts_with("base_model.");
    let begins =
        |word: &str, start: &&&str| word.starts_with(**start) && (is_peft || !COMMON.contains(start));
    let seams = name.match_indices('.').map(|(at, _)| at).chain([name.len()]);
    let mut start = 0;
    for end in seams {
        let (module, word) = (name[..start].trim_end_matches('.'), &name[start..end]);
        if FOREIGN.iter().any(|foreign| begins(word, &foreign)) {
            return spelled(module, TensorRole::Foreign);
        }
        // Something that PEFT's LoRA keeps beside its factors.
        if start > 0 && word.starts_with("lora_") {
            return spelled(module, TensorRole::Unknown);
        }
        start = end + 1;
    }
    let (module, _) = name.split_once('.')?;
    TELLING
        .iter()
        .any(|prefix| name.starts_with(prefix))
        .then(|| spelled(module, TensorRole::Unknown))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<(&str, TensorRole)>) {
        let found = spelling(name).map(|found| (found.module, found.part));
        assert_eq!(found, expected.map(|(module, part)| (module.to_owned(), part)), "{name}");
    }

    #[test]
    fn parts_of_methods_that_are_not_read_are_told_from_names_of_models() {
        let (foreign, unknown) = (TensorRole::Foreign, TensorRole::Unknown);
        check("base_model.model.q.hra_u", Some(("base_model.model.q", foreign)));
        check("base_model.model.q.miss_block", Some(("base_model.model.q", foreign)));
        check("base_model.model.q.psoft_R.weight", Some(("base_model.model.q", foreign)));
        check("prompt_embeddings", Some(("", foreign)));
        check("a.q.lora_sampler.weights", Some(("a.q", unknown)));
        check("lora_unet_a_to_q.a1.weight", Some(("lora_unet_a_to_q", unknown)));
        check("q.lora_A.weight", Some(("q", TensorRole::Down)));
        let models =
            ["road_embedding.weight", "model.miss_rate.weight", "base_model.model.layers.0.q_proj.weight"];
        models.into_iter().for_each(|name| check(name, None));
    }
}
