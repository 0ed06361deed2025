//! Which matrices adapters are put on and pruning cuts, by their names: the maps inside of a model.

use super::block_and_role;

/// Parts of names of embeddings, of positions and of other tables that are looked up, not multiplied by.
const TABLES: [&str; 12] = [
    "embed_tokens",
    "embeddings",
    "embedding",
    "token_embd",
    "position_embd",
    "token_types",
    "wte",
    "wpe",
    "word_embed",
    "pos_embed",
    "tok_embeddings",
    "shared",
];
/// The same anywhere in a name.
const BY_POSITION: [&str; 5] = ["position_bias", "attention_bias", "rel_pos", "relative_position", "freq"];
/// Names of output heads, outside of the blocks.
const HEADS: [&str; 11] = [
    "lm_head",
    "embed_out",
    "output",
    "score",
    "head",
    "classifier",
    "qa_outputs",
    "predictions.decoder",
    "seq_relationship",
    "proj_out",
    "heads.head",
];

/// What a matrix is for, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It maps vectors inside of the model.
    Inner,
    /// Its rows are looked up: an embedding, positions, frequencies.
    Table,
    /// It scales a norm.
    Norm,
    /// It makes the output of the model.
    Head,
}

/// What the matrix called `name` is for.
pub fn purpose(name: &str) -> Purpose {
    let name = super::bare(name).to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_table = TABLES.iter().any(|table| last == *table || last.ends_with(&format!("_{table}")));
    if is_table || last == "pe" || BY_POSITION.iter().any(|word| name.contains(word)) {
        return Purpose::Table;
    }
    if last.contains("norm") || last.starts_with("ln_") {
        return Purpose::Norm;
    }
    let ends = |head: &&str| name == **head || name.ends_with(&format!(".{head}"));
    let is_head = last == "lm_head" || (block_and_role(&name).0.is_none() && HEADS.iter().any(ends));
    if is_head { Purpose::Head } else { Purpose::Inner }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_a_model_are_inner_and_tables_and_heads_are_not() {
        for inner in [
            "model.layers.0.self_attn.q_proj",
            "bert.encoder.layer.3.attention.output.dense",
            "transformer.h.0.attn.c_attn",
            "encoder.block.0.layer.0.SelfAttention.q",
            "blk.0.attn_output",
            "time_embedding.linear_1",
            "down_blocks.0.attentions.1.proj_out",
            "layers.0.mlp.shared_expert.up_proj",
            "bert.pooler.dense",
        ] {
            assert_eq!(purpose(inner), Purpose::Inner, "{inner}");
        }
        for (outer, expected) in [
            ("model.embed_tokens.weight", Purpose::Table),
            ("lm_head", Purpose::Head),
            ("model.language_model.lm_head", Purpose::Head),
            ("bert.embeddings.word_embeddings", Purpose::Table),
            ("bert.embeddings.LayerNorm", Purpose::Norm),
            ("transformer.wpe", Purpose::Table),
            ("shared", Purpose::Table),
            ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias", Purpose::Table),
            ("cls.predictions.decoder", Purpose::Head),
            ("output", Purpose::Head),
            ("token_embd", Purpose::Table),
            ("classifier", Purpose::Head),
            ("vit.embeddings.position_embeddings", Purpose::Table),
        ] {
            assert_eq!(purpose(outer), expected, "{outer}");
        }
    }
}
