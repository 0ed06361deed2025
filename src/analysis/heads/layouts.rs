//! Where each model type keeps its attention: a table, made from the models' published code.
//!
//! Names are endings within a block: `model.layers.3.` before them is found, not known.

use Axes::{InOut, OutIn};

/// The order of the sides of a stored projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axes {
    /// Outputs × inputs, as a linear layer has them.
    OutIn,
    /// Inputs × outputs: GPT-2's Conv1D.
    InOut,
}

/// Where queries, keys and values lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inputs {
    /// A projection each.
    Apart([&'static str; 3]),
    /// One projection: all queries, then all keys, then all values.
    ByKind(&'static str),
    /// One projection: query, key and value of the first head, then of the second.
    ByHead(&'static str),
    /// DeepSeek's latent attention.
    Latent,
}

/// The norm that the attention of a block reads through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NormPlace {
    /// One of its own, before the attention.
    Before(&'static str),
    /// The one that ends the block before; of the first block, the one after the embeddings.
    After { block: &'static str, embeddings: &'static str },
}

/// How a norm scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NormKind {
    /// RMSNorm with a gain.
    Rms,
    /// RMSNorm whose stored weight is the gain less 1: Gemma.
    RmsLessOne,
    /// LayerNorm: it subtracts the mean, too.
    Layer,
}

/// How positions enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Positions {
    /// Queries and keys are rotated by their positions.
    Rotary,
    /// Added to the stream, or to the logits alone.
    Elsewhere,
}

/// What logits are multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogitScale {
    /// `1/√d_h`.
    Root,
    /// Nothing.
    One,
    /// `1/√x` of a number of the configuration; without it as [`Root`](Self::Root).
    RootOf(&'static str),
    /// A number of the configuration; without it as [`Root`](Self::Root).
    Number(&'static str),
}

/// One kind of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attention {
    pub inputs: Inputs,
    pub output: &'static str,
    pub axes: Axes,
    pub norm: NormPlace,
    pub kind: NormKind,
    /// Norms of queries and keys, where a checkpoint has them.
    pub qk_norm: Option<[&'static str; 2]>,
    /// The norm that keys and values of cross-attention read through: that of the encoder's output.
    pub encoder: Option<&'static str>,
    pub positions: Positions,
    pub scale: LogitScale,
    /// A word in the name of the part of a model that it is of, and the section of the configuration for that.
    pub part: Option<(&'static str, &'static str)>,
    /// Keys of the configuration for the number of heads; empty: the common ones.
    pub heads: &'static [&'static str],
}

/// Model types that keep their attention in the same way.
pub(super) struct Layout {
    pub models: &'static [&'static str],
    pub attentions: &'static [Attention],
}

const LLAMA: Attention = Attention {
    inputs: Inputs::Apart(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    output: "self_attn.o_proj",
    axes: OutIn,
    norm: NormPlace::Before("input_layernorm"),
    kind: NormKind::Rms,
    qk_norm: Some(["self_attn.q_norm", "self_attn.k_norm"]),
    encoder: None,
    positions: Positions::Rotary,
    scale: LogitScale::Root,
    part: None,
    heads: &[],
};

const GEMMA: Attention =
    Attention { kind: NormKind::RmsLessOne, scale: LogitScale::RootOf("query_pre_attn_scalar"), ..LLAMA };

const PHI: Attention = Attention { output: "self_attn.dense", kind: NormKind::Layer, qk_norm: None, ..LLAMA };

const GPT2: Attention = Attention {
    inputs: Inputs::ByKind("attn.c_attn"),
    output: "attn.c_proj",
    axes: InOut,
    norm: NormPlace::Before("ln_1"),
    kind: NormKind::Layer,
    qk_norm: None,
    positions: Positions::Elsewhere,
    ..LLAMA
};

const GPT_J: Attention = Attention {
    inputs: Inputs::Apart(["attn.q_proj", "attn.k_proj", "attn.v_proj"]),
    output: "attn.out_proj",
    axes: OutIn,
    positions: Positions::Rotary,
    ..GPT2
};

const GPT_NEO: Attention = Attention {
    inputs: Inputs::Apart(["attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"]),
    output: "attn.attention.out_proj",
    positions: Positions::Elsewhere,
    scale: LogitScale::One,
    ..GPT_J
};

const NEOX: Attention = Attention {
    inputs: Inputs::ByHead("attention.query_key_value"),
    output: "attention.dense",
    norm: NormPlace::Before("input_layernorm"),
    positions: Positions::Rotary,
    axes: OutIn,
    ..GPT2
};

const BLOOM: Attention = Attention {
    inputs: Inputs::ByHead("self_attention.query_key_value"),
    output: "self_attention.dense",
    positions: Positions::Elsewhere,
    ..NEOX
};

const MPT: Attention = Attention {
    inputs: Inputs::ByKind("attn.Wqkv"),
    output: "attn.out_proj",
    norm: NormPlace::Before("norm_1"),
    axes: OutIn,
    ..GPT2
};

const SELF_ATTENTION: [&str; 3] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];

const OPT: Attention = Attention {
    inputs: Inputs::Apart(SELF_ATTENTION),
    output: "self_attn.out_proj",
    norm: NormPlace::Before("self_attn_layer_norm"),
    axes: OutIn,
    ..GPT2
};

const BERT: Attention = Attention {
    inputs: Inputs::Apart(["attention.self.query", "attention.self.key", "attention.self.value"]),
    output: "attention.output.dense",
    norm: NormPlace::After { block: "output.LayerNorm", embeddings: "embeddings.LayerNorm" },
    ..OPT
};

const DISTILBERT: Attention = Attention {
    inputs: Inputs::Apart(["attention.q_lin", "attention.k_lin", "attention.v_lin"]),
    output: "attention.out_lin",
    norm: NormPlace::After { block: "output_layer_norm", embeddings: "embeddings.LayerNorm" },
    ..OPT
};

const VIT: Attention = Attention {
    inputs: Inputs::Apart([
        "attention.attention.query",
        "attention.attention.key",
        "attention.attention.value",
    ]),
    output: "attention.output.dense",
    norm: NormPlace::Before("layernorm_before"),
    ..OPT
};

const CLIP: Attention = Attention { norm: NormPlace::Before("layer_norm1"), ..OPT };
const CLIP_TEXT: Attention = Attention { part: Some(("text_model", "text_config")), ..CLIP };
const CLIP_VISION: Attention = Attention { part: Some(("vision_model", "vision_config")), ..CLIP };

const WHISPER_ENCODER: Attention =
    Attention { part: Some(("encoder", "")), heads: &["encoder_attention_heads"], ..OPT };
const WHISPER_DECODER: Attention =
    Attention { part: Some(("decoder", "")), heads: &["decoder_attention_heads"], ..OPT };
const WHISPER_CROSS: Attention = Attention {
    inputs: Inputs::Apart(["encoder_attn.q_proj", "encoder_attn.k_proj", "encoder_attn.v_proj"]),
    output: "encoder_attn.out_proj",
    norm: NormPlace::Before("encoder_attn_layer_norm"),
    encoder: Some("encoder.layer_norm"),
    ..WHISPER_DECODER
};

const T5: Attention = Attention {
    inputs: Inputs::Apart(["layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v"]),
    output: "layer.0.SelfAttention.o",
    norm: NormPlace::Before("layer.0.layer_norm"),
    kind: NormKind::Rms,
    scale: LogitScale::One,
    ..OPT
};
const T5_CROSS: Attention = Attention {
    inputs: Inputs::Apart([
        "layer.1.EncDecAttention.q",
        "layer.1.EncDecAttention.k",
        "layer.1.EncDecAttention.v",
    ]),
    output: "layer.1.EncDecAttention.o",
    norm: NormPlace::Before("layer.1.layer_norm"),
    encoder: Some("encoder.final_layer_norm"),
    ..T5
};

const DEEPSEEK: Attention = Attention { inputs: Inputs::Latent, qk_norm: None, ..LLAMA };

/// Every model type whose heads are known.
pub(super) const LAYOUTS: [Layout; 18] = [
    Layout {
        models: &[
            "llama",
            "mistral",
            "ministral",
            "mixtral",
            "qwen2",
            "qwen2_moe",
            "qwen3",
            "qwen3_moe",
            "olmoe",
            "smollm3",
        ],
        attentions: &[LLAMA],
    },
    Layout {
        models: &["granite", "granitemoe"],
        attentions: &[Attention { scale: LogitScale::Number("attention_multiplier"), ..LLAMA }],
    },
    Layout { models: &["gemma", "gemma2", "gemma3", "gemma3_text"], attentions: &[GEMMA] },
    Layout { models: &["phi"], attentions: &[PHI] },
    Layout {
        models: &["phi3"],
        attentions: &[Attention { inputs: Inputs::ByKind("self_attn.qkv_proj"), qk_norm: None, ..LLAMA }],
    },
    Layout { models: &["gpt2"], attentions: &[GPT2] },
    Layout { models: &["gptj"], attentions: &[GPT_J] },
    Layout { models: &["gpt_neo"], attentions: &[GPT_NEO] },
    Layout { models: &["gpt_neox"], attentions: &[NEOX] },
    Layout { models: &["bloom"], attentions: &[BLOOM] },
    Layout { models: &["mpt"], attentions: &[MPT] },
    Layout { models: &["opt"], attentions: &[OPT] },
    Layout { models: &["bert", "roberta", "xlm-roberta", "camembert", "electra"], attentions: &[BERT] },
    Layout { models: &["distilbert"], attentions: &[DISTILBERT] },
    Layout { models: &["vit", "deit"], attentions: &[VIT] },
    Layout {
        models: &["clip", "clip_text_model", "clip_vision_model", "siglip"],
        attentions: &[CLIP_TEXT, CLIP_VISION],
    },
    Layout { models: &["whisper"], attentions: &[WHISPER_ENCODER, WHISPER_DECODER, WHISPER_CROSS] },
    Layout { models: &["t5", "mt5"], attentions: &[T5, T5_CROSS] },
];

/// Latent attention.
pub(super) const LATENT: Layout =
    Layout { models: &["deepseek_v2", "deepseek_v3", "kimi_k2"], attentions: &[DEEPSEEK] };

/// Model types without attention.
pub(super) const WITHOUT_HEADS: [&str; 8] =
    ["mamba", "mamba2", "falcon_mamba", "rwkv", "rwkv5", "xlstm", "hyena", "s4"];

/// The layout of one of these model types, the outermost first.
pub(super) fn layout(models: &[String]) -> Option<&'static Layout> {
    const ALL: &[Layout] = &LAYOUTS;
    const LATENT_ONE: &Layout = &LATENT;
    let known = |layout: &&Layout| models.iter().any(|model| layout.models.contains(&model.as_str()));
    ALL.iter().chain([LATENT_ONE]).find(known)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_model_type_has_one_layout() {
        let all: Vec<&str> =
            LAYOUTS.iter().chain([&LATENT]).flat_map(|layout| layout.models).copied().collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(WITHOUT_HEADS.iter().all(|model| !all.contains(model)));
    }
}
