//! The canonical name of a matrix, across training wrappers, versions of transformers, vision-language models and GGUF.
//!
//! The dialects are tables. No rule may give two matrices of one checkpoint the same name; where that happens all the
//! same, neither pairs.

/// Prefixes that wrappers add to a module's name.
const WRAPPERS: [&str; 4] = ["base_model.model.", "module.", "_orig_mod.", "_fsdp_wrapped_module."];
/// Parts that wrappers add inside a module's name.
const INSIDE: [&str; 5] = [
    ".base_layer",
    "._orig_mod",
    "._fsdp_wrapped_module",
    "._checkpoint_wrapped_module",
    ".modules_to_save.default",
];

/// How names begin that also hold the third text, and how they begin elsewhere.
const BEGINNINGS: [(&str, &str, &str); 4] = [
    // Vision-language models before and after version 5 of transformers.
    ("language_model.model.", "model.", ""),
    ("model.language_model.", "model.", ""),
    // A model inside of another, as SORSA saves it.
    ("model.model.", "model.", ""),
    // DBRX; other models have a part of this name.
    ("transformer.blocks.", "model.layers.", ".ffn.experts."),
];

/// Parts of names, with the dots around them, and their canonical names.
const MIDDLES: [(&str, &str); 5] = [
    // Mixtral before version 5 of transformers, Llama 4, DBRX; DeepSeek's plural.
    (".block_sparse_moe.", ".mlp."),
    (".feed_forward.experts.", ".mlp.experts."),
    (".feed_forward.shared_expert.", ".mlp.shared_expert."),
    (".ffn.experts.", ".mlp.experts."),
    (".mlp.shared_experts.", ".mlp.shared_expert."),
];

/// Endings of an expert's matrix name, and their canonical names.
const EXPERTS: [(&str, &str); 3] = [("w1", "gate_proj"), ("w3", "up_proj"), ("w2", "down_proj")];

/// Attention of Diffusers' first autoencoders.
const ATTENTIONS: [(&str, &str); 4] =
    [(".query", ".to_q"), (".key", ".to_k"), (".value", ".to_v"), (".proj_attn", ".to_out.0")];

/// GGUF's names outside of blocks.
const GGUF: [(&str, &str); 3] =
    [("token_embd", "model.embed_tokens"), ("output", "lm_head"), ("output_norm", "model.norm")];

/// GGUF's names inside of a block, `blk.N.`.
const GGUF_BLOCK: [(&str, &str); 18] = [
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_q_a", "self_attn.q_a_proj"),
    ("attn_q_b", "self_attn.q_b_proj"),
    ("attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"),
    ("attn_kv_b", "self_attn.kv_b_proj"),
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_gate_inp", "mlp.gate"),
    ("ffn_gate_shexp", "mlp.shared_expert.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_expert.up_proj"),
    ("ffn_down_shexp", "mlp.shared_expert.down_proj"),
];

/// GGUF's stacks of experts, `blk.N.ffn_up_exps[E]`; of old files `blk.N.ffn_up.E`.
const GGUF_EXPERTS: [(&str, &str); 3] = [("gate", "gate_proj"), ("up", "up_proj"), ("down", "down_proj")];

/// The name that a matrix or tensor goes by in every dialect. The canonical name of a canonical name is itself.
pub fn canonical(name: &str) -> String {
    let mut name = name.to_owned();
    loop {
        // A wrapper may hide another dialect. No rule makes what another takes apart, so this ends.
        let next = translated(&name);
        if next == name {
            return name;
        }
        name = next;
    }
}

/// The same of several.
pub(super) fn all_canonical<S: AsRef<str>>(names: &[S]) -> Vec<String> {
    names.iter().map(|name| canonical(name.as_ref())).collect()
}

/// The name after one rule of each kind.
fn translated(name: &str) -> String {
    let name = unwrapped(name);
    let ending = [".weight", ".bias"].into_iter().find(|ending| name.ends_with(ending)).unwrap_or_default();
    let stem = name.strip_suffix(ending).unwrap_or(&name);
    if let Some(name) = gguf(stem) {
        return name + ending;
    }
    let mut stem = stem.to_owned();
    let begins = |(from, _, holds): &&(&str, &str, &str)| stem.starts_with(from) && stem.contains(holds);
    if let Some((from, to, _)) = BEGINNINGS.iter().find(begins) {
        stem.replace_range(..from.len(), to);
    }
    for (from, to) in MIDDLES {
        stem = stem.replacen(from, to, 1);
    }
    if let Some((before, last)) = stem.rsplit_once('.')
        && let Some((_, to)) = EXPERTS.iter().find(|(from, _)| *from == last)
        && is_expert(before)
    {
        stem = format!("{before}.{to}");
    }
    if stem.contains(".attentions.")
        && let Some((from, to)) = ATTENTIONS.iter().find(|(from, _)| stem.ends_with(from))
    {
        stem.replace_range(stem.len() - from.len().., to);
    }
    stem + ending
}

/// Whether a name ends in `experts.` and a number.
fn is_expert(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(owner, number)| is_number(number) && owner.ends_with("experts"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The name of a matrix of a GGUF file in the words of transformers.
fn gguf(name: &str) -> Option<String> {
    let of = |table: &[(&str, &'static str)], name: &str| {
        table.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
    };
    let Some(inside) = name.strip_prefix("blk.") else { return of(&GGUF, name).map(str::to_owned) };
    let (block, role) = inside.split_once('.')?;
    let block = format!("model.layers.{block}");
    if let Some(to) = of(&GGUF_BLOCK, role) {
        return Some(format!("{block}.{to}"));
    }
    let (kind, expert) = match role.strip_suffix(']') {
        Some(role) => role.split_once("_exps[")?,
        None => role.split_once('.')?,
    };
    let to = of(&GGUF_EXPERTS, kind.strip_prefix("ffn_")?)?;
    is_number(expert).then(|| format!("{block}.mlp.experts.{expert}.{to}"))
}

/// A name without the additions of training wrappers.
fn unwrapped(name: &str) -> String {
    let mut name = name;
    while let Some(rest) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
        name = rest;
    }
    let mut name = name.to_owned();
    for part in INSIDE {
        // Only whole parts of the name.
        while let Some(at) = name
            .match_indices(part)
            .map(|(at, _)| at)
            .find(|at| matches!(name.as_bytes().get(at + part.len()), None | Some(b'.' | b'[')))
        {
            name.replace_range(at..at + part.len(), "");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn check(names: &[&str], expected: &str) {
        for name in names {
            assert_eq!(canonical(name), expected, "{name}");
        }
    }

    #[test]
    fn a_matrix_has_one_name_in_every_dialect() {
        check(
            &[
                "model.layers.3.self_attn.q_proj",
                "language_model.model.layers.3.self_attn.q_proj",
                "model.language_model.layers.3.self_attn.q_proj",
                "base_model.model.model.layers.3.self_attn.q_proj.base_layer",
                "blk.3.attn_q",
            ],
            "model.layers.3.self_attn.q_proj",
        );
        check(
            &[
                "model.layers.0.mlp.experts.12.gate_proj",
                "model.layers.0.block_sparse_moe.experts.12.w1",
                "model.layers.0.feed_forward.experts.12.gate_proj",
                "transformer.blocks.0.ffn.experts.12.gate_proj",
                "blk.0.ffn_gate_exps[12]",
                "blk.0.ffn_gate.12",
            ],
            "model.layers.0.mlp.experts.12.gate_proj",
        );
        check(&["blk.0.ffn_down", "model.layers.0.mlp.down_proj"], "model.layers.0.mlp.down_proj");
        check(&["token_embd.weight", "model.embed_tokens.weight"], "model.embed_tokens.weight");
        check(&["mid_block.attentions.0.query"], "mid_block.attentions.0.to_q");
    }

    /// Names made of all that a rule looks for, and of parts that none does.
    fn name() -> impl Strategy<Value = String> {
        let rules = WRAPPERS.iter().chain(&INSIDE).chain(BEGINNINGS.iter().flat_map(|(a, b, c)| [a, b, c]));
        let pairs = MIDDLES.iter().chain(&EXPERTS).chain(&ATTENTIONS).chain(&GGUF).chain(&GGUF_BLOCK);
        let parts = rules.chain(pairs.flat_map(|(from, to)| [from, to])).copied();
        let more = [
            "blk.",
            "3.",
            "experts.",
            ".12",
            ".weight",
            ".bias",
            "ffn_up_exps[4]",
            "ffn_gate.7",
            ".",
            "q",
            "σ",
        ];
        let parts: Vec<&str> = parts.chain(more).collect();
        prop::collection::vec(prop::sample::select(parts), 0..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 20_000,
            rng_seed: RngSeed::Fixed(1),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_canonical_name_stays_as_it_is(name in name()) {
            let once = canonical(&name);
            prop_assert_eq!(canonical(&once), once);
        }
    }

    #[test]
    fn names_of_no_dialect_are_left_alone() {
        for name in [
            "l.base_layers.q",
            "output_proj",
            "blk.x",
            "experts.w1",
            "layers.0.w1",
            "h.0.attn.c_attn",
            "a[3]",
        ] {
            check(&[name], name);
        }
    }
}
