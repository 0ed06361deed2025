//! How model types store several matrices in one tensor: tables, made from the models' published code.

use Axes::{InOut, OutIn};

/// The order of the sides of a stored matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axes {
    /// Outputs × inputs, as a linear layer has them.
    OutIn,
    /// Inputs × outputs.
    InOut,
}

/// The parts that lie side by side among the outputs of a stored matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outputs {
    /// One matrix.
    One(&'static str),
    /// The first half, then the second.
    Halves([&'static str; 2]),
    /// Turn by turn.
    Alternating([&'static str; 2]),
}

/// How the matrices of all experts lie in one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Experts {
    /// One after the other along an axis of their own.
    Stacked,
    /// Below each other without one: only the configuration says how many there are.
    Flat,
}

/// Which side of an expert's matrix is as wide as the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Inputs,
    Outputs,
}

/// One kind of tensor that holds the matrices of many experts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fused {
    /// Types of models that store it, with the scheme where quantized ones are stored otherwise.
    pub models: &'static [&'static str],
    /// The ending of its name without `.weight`; `experts.E.part` replaces it.
    pub ending: &'static str,
    pub experts: Experts,
    pub axes: Axes,
    pub outputs: Outputs,
    pub width: Width,
}

/// Experts as linear layers, stacked: the layout since version 5 of transformers.
const LINEAR: &[&str] = &[
    "afmoe",
    "cohere2_moe",
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v32",
    "dots1",
    "ernie4_5_moe",
    "ernie4_5_vl_moe",
    "ernie4_5_vl_moe_text",
    "exaone_moe",
    "flex_olmo",
    "gemma4",
    "gemma4_text",
    "glm4_moe",
    "glm4_moe_lite",
    "glm4v_moe",
    "glm4v_moe_text",
    "glm_moe_dsa",
    "granitemoe",
    "granitemoehybrid",
    "granitemoeshared",
    "hunyuan_v1_moe",
    "jamba",
    "kimi_linear",
    "lfm2_moe",
    "minimax",
    "minimax_m2",
    "mixtral",
    "olmoe",
    "phimoe",
    "qwen2_moe",
    "qwen3_5_moe",
    "qwen3_5_moe_text",
    "qwen3_moe",
    "qwen3_next",
    "qwen3_omni_moe",
    "qwen3_omni_moe_text",
    "qwen3_vl_moe",
    "qwen3_vl_moe_text",
    "solar_open",
];
const GRANITE: &[&str] = &["granitemoe", "granitemoehybrid", "granitemoeshared"];
/// Inputs first. Qwen3-VL's files are so on the hub, and as above when version 5 of transformers saved them again.
const TURNED: &[&str] = &["llama4", "llama4_text", "qwen3_vl_moe", "qwen3_vl_moe_text"];
const GPT_OSS: &[&str] = &["gpt_oss"];
const GPT_OSS_MXFP4: &[&str] = &["gpt_oss/mxfp4"];
const NEMOTRON: &[&str] = &["nemotron_h"];
const DBRX: &[&str] = &["dbrx"];

const GATE_UP: &str = "experts.gate_up_proj";
const DOWN: &str = "experts.down_proj";
const PARTS: [&str; 2] = ["gate_proj", "up_proj"];

const fn up(models: &'static [&'static str], ending: &'static str, axes: Axes, outputs: Outputs) -> Fused {
    Fused { models, ending, experts: Experts::Stacked, axes, outputs, width: Width::Inputs }
}

const fn down(models: &'static [&'static str], ending: &'static str, axes: Axes) -> Fused {
    let outputs = Outputs::One("down_proj");
    Fused { models, ending, experts: Experts::Stacked, axes, outputs, width: Width::Outputs }
}

const fn flat(fused: Fused) -> Fused {
    Fused { experts: Experts::Flat, ..fused }
}

/// Every known way to store experts together.
pub(super) const FUSED: [Fused; 15] = [
    up(LINEAR, GATE_UP, OutIn, Outputs::Halves(PARTS)),
    down(LINEAR, DOWN, OutIn),
    up(GRANITE, "input_linear", OutIn, Outputs::Halves(PARTS)),
    down(GRANITE, "output_linear", OutIn),
    up(TURNED, GATE_UP, InOut, Outputs::Halves(PARTS)),
    down(TURNED, DOWN, InOut),
    up(GPT_OSS, GATE_UP, InOut, Outputs::Alternating(PARTS)),
    down(GPT_OSS, DOWN, InOut),
    up(GPT_OSS_MXFP4, GATE_UP, OutIn, Outputs::Alternating(PARTS)),
    down(GPT_OSS_MXFP4, DOWN, OutIn),
    up(NEMOTRON, "experts.up_proj", OutIn, Outputs::One("up_proj")),
    down(NEMOTRON, DOWN, OutIn),
    flat(up(DBRX, "experts.mlp.w1", OutIn, Outputs::One("gate_proj"))),
    flat(up(DBRX, "experts.mlp.v1", OutIn, Outputs::One("up_proj"))),
    flat(down(DBRX, "experts.mlp.w2", InOut)),
];

/// The configuration keys for the number of experts, the width of the model, and its attention heads.
pub(crate) const EXPERTS: [&str; 4] =
    ["num_local_experts", "num_experts", "n_routed_experts", "ffn_config.moe_num_experts"];
pub(super) const WIDTH: [&str; 3] = ["hidden_size", "d_model", "n_embd"];
pub(super) const HEADS: [&str; 3] = ["num_attention_heads", "n_head", "n_heads"];
pub(super) const KEY_VALUE_HEADS: [&str; 2] = ["num_key_value_heads", "attn_config.kv_n_heads"];

/// How queries, keys and values lie among the outputs of one matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// All queries, then all keys, then all values.
    ByKind,
    /// Query, key and value of the first head, then of the second.
    ByHead,
}

/// One kind of tensor that holds queries, keys and values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attention {
    pub model: &'static str,
    /// The ending of its name without `.weight`.
    pub ending: &'static str,
    pub axes: Axes,
    pub order: Order,
}

/// Every known way to store queries, keys and values together.
pub(super) const ATTENTION: [Attention; 5] = [
    Attention { model: "gpt2", ending: "attn.c_attn", axes: InOut, order: Order::ByKind },
    Attention { model: "gpt_neox", ending: "attention.query_key_value", axes: OutIn, order: Order::ByHead },
    Attention { model: "bloom", ending: "self_attention.query_key_value", axes: OutIn, order: Order::ByHead },
    Attention { model: "phi3", ending: "self_attn.qkv_proj", axes: OutIn, order: Order::ByKind },
    Attention { model: "mpt", ending: "attn.Wqkv", axes: OutIn, order: Order::ByKind },
];
