//! How adapter formats call their tensors: PEFT, kohya's sd-scripts, Diffusers, ComfyUI, LyCORIS, torchtune, MLX,
//! llama.cpp, and scripts that number modules instead of naming them.
//!
//! It uses only names. `modules` assembles the parts of a module.

/// The part of a module's update that a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TensorRole {
    /// The factor next to the input: `lora_A`, `lora_down`.
    Down,
    /// The factor next to the output: `lora_B`, `lora_up`.
    Up,
    /// The same in MLX, which multiplies from the left: inputs × rank, `lora_a`, and rank × outputs, `lora_b`.
    Inputs,
    Outputs,
    /// The kernel between them, where a convolution is split in three: `lora_mid`.
    Middle,
    /// The diagonal between them: `lora_diag` of KaSA.
    Diagonal,
    /// Both factors of an embedding, which is stored input × output.
    EmbeddingDown,
    EmbeddingUp,
    /// The alpha of the scale.
    Alpha,
    /// The lengths that DoRA gives the rows or columns: `lora_magnitude_vector`, `dora_scale`.
    Magnitude,
    /// The update of a bias.
    Bias,
    /// The update itself, not factored.
    Difference,
    /// LoHa: `hada_w1_a`, … .
    Hada(Multiplicand, Piece),
    /// LoKr: `lokr_w1`, … .
    Lokr(Multiplicand, Piece),
    /// Rows of an embedding that were trained alone.
    Tokens,
    /// A tensor of an unsupported method.
    Foreign,
    /// A tensor of an update that no known method has.
    Unknown,
}

/// Which of the two matrices that LoHa and LoKr multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Multiplicand {
    First,
    Second,
}

/// How much of that matrix a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Piece {
    Whole,
    Up,
    Down,
    Middle,
}

/// A tensor's name, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spelling<'n> {
    /// The module it belongs to, with the prefixes of its format.
    pub(super) module: String,
    /// What it is.
    pub(super) part: TensorRole,
    /// The adapter's name, where the file keeps it.
    pub(super) adapter: Option<&'n str>,
    /// Whether its format knows no scale: what the factors give is added as it is.
    pub(super) unscaled: bool,
}

/// Names that PEFT gives, which an adapter's name may follow.
const PEFT: [(&str, TensorRole); 22] = [
    ("lora_A", TensorRole::Down),
    ("lora_B", TensorRole::Up),
    ("lora_embedding_A", TensorRole::EmbeddingDown),
    ("lora_embedding_B", TensorRole::EmbeddingUp),
    ("lora_magnitude_vector", TensorRole::Magnitude),
    ("lora_diag", TensorRole::Diagonal),
    ("lora_E", TensorRole::Foreign),
    ("ia3_l", TensorRole::Foreign),
    ("trainable_tokens_delta", TensorRole::Tokens),
    ("hada_w1_a", TensorRole::Hada(Multiplicand::First, Piece::Up)),
    ("hada_w1_b", TensorRole::Hada(Multiplicand::First, Piece::Down)),
    ("hada_w2_a", TensorRole::Hada(Multiplicand::Second, Piece::Up)),
    ("hada_w2_b", TensorRole::Hada(Multiplicand::Second, Piece::Down)),
    ("hada_t1", TensorRole::Hada(Multiplicand::First, Piece::Middle)),
    ("hada_t2", TensorRole::Hada(Multiplicand::Second, Piece::Middle)),
    ("lokr_w1", TensorRole::Lokr(Multiplicand::First, Piece::Whole)),
    ("lokr_w1_a", TensorRole::Lokr(Multiplicand::First, Piece::Up)),
    ("lokr_w1_b", TensorRole::Lokr(Multiplicand::First, Piece::Down)),
    ("lokr_w2", TensorRole::Lokr(Multiplicand::Second, Piece::Whole)),
    ("lokr_w2_a", TensorRole::Lokr(Multiplicand::Second, Piece::Up)),
    ("lokr_w2_b", TensorRole::Lokr(Multiplicand::Second, Piece::Down)),
    ("lokr_t2", TensorRole::Lokr(Multiplicand::Second, Piece::Middle)),
];

/// Names that others give; no adapter's name follows.
const OTHERS: [(&str, TensorRole); 18] = [
    ("lora_down", TensorRole::Down),
    ("lora_up", TensorRole::Up),
    ("lora_mid", TensorRole::Middle),
    ("alpha", TensorRole::Alpha),
    ("dora_scale", TensorRole::Magnitude),
    ("magnitude", TensorRole::Magnitude),
    ("m", TensorRole::Magnitude),
    ("diff", TensorRole::Difference),
    ("diff_b", TensorRole::Bias),
    ("w_norm", TensorRole::Bias),
    ("b_norm", TensorRole::Bias),
    ("oft_blocks", TensorRole::Foreign),
    ("oft_diag", TensorRole::Foreign),
    ("oft_R", TensorRole::Foreign),
    ("boft_R", TensorRole::Foreign),
    ("vera_lambda_b", TensorRole::Foreign),
    ("lora_scaler", TensorRole::Foreign),
    ("ln_tuning_layers", TensorRole::Foreign),
];

/// Takes a name apart, if it is one of an adapter's that is read, or of a method whose parts have one name each.
pub(super) fn parse(name: &str) -> Option<Spelling<'_>> {
    if let Some(found) = numbered(name) {
        return Some(found);
    }
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending @ ("weight" | "bias"))) => (stem, ending),
        _ => (name, ""),
    };
    if let Some(found) = underscored(stem) {
        return Some(found);
    }
    let (module, last) = stem.rsplit_once('.')?;
    let known =
        |word: &str| PEFT.iter().chain(&OTHERS).find(|(name, _)| *name == word).map(|(_, part)| *part);
    let named = |word: &str| PEFT.iter().find(|(name, _)| *name == word).map(|(_, part)| *part);
    let found = |module: &str, part, adapter| {
        let part = if ending == "bias" { TensorRole::Bias } else { part };
        // The token adapter is a module of its own inside the embedding.
        let module = module.strip_suffix(".token_adapter").unwrap_or(module).to_owned();
        Some(Spelling { module, part, adapter, unscaled: false })
    };
    if let Some(first) = ["lora_a", "lora_b"].iter().position(|known| *known == last) {
        // torchtune's are modules with a weight, llama.cpp's follow the whole name of the weight; both lie as PEFT's do.
        let of_weight = module.strip_suffix(".weight");
        let parts = if ending.is_empty() && of_weight.is_none() {
            [TensorRole::Inputs, TensorRole::Outputs]
        } else {
            [TensorRole::Down, TensorRole::Up]
        };
        return found(of_weight.unwrap_or(module), parts[first], None);
    }
    if let Some(part) = known(last) {
        return found(module, part, None);
    }
    let (outer, marker) = module.rsplit_once('.')?;
    if let Some(part) = named(marker) {
        return found(outer, part, Some(last));
    }
    let part = match last {
        "down" => TensorRole::Down,
        "up" => TensorRole::Up,
        _ => return None,
    };
    // `to_q.lora.down`, `q_proj.lora_linear_layer.down` and, oldest of all, `processor.to_q_lora.down`.
    if let "lora" | "lora_linear_layer" = marker {
        return found(outer, part, None);
    }
    let module =
        of_flux(outer, marker).or_else(|| Some(of_processor(outer, marker.strip_suffix("_lora")?)))?;
    Some(Spelling { module, part, adapter: None, unscaled: true })
}

/// The module that Diffusers' attention processors call `inner`.
fn of_processor(outer: &str, inner: &str) -> String {
    let inner = if inner == "to_out" { "to_out.0" } else { inner };
    format!("{}.{inner}", outer.strip_suffix(".processor").unwrap_or(outer))
}

/// The module that XLabs' processors of Flux call `marker`: each has one for the image and one for the text.
fn of_flux(outer: &str, marker: &str) -> Option<String> {
    let sides = [("_lora1", "img_attn"), ("_lora2", "txt_attn")];
    let (inner, side) = sides.iter().find_map(|(end, side)| Some((marker.strip_suffix(end)?, *side)))?;
    Some(format!("{}.{side}.{inner}", outer.strip_suffix(".processor")?))
}

/// Names that end in `_lora_down` or `_lora_up`.
fn underscored(stem: &str) -> Option<Spelling<'static>> {
    let ends = [("_lora_down", TensorRole::Down), ("_lora_up", TensorRole::Up)];
    let (module, part) = ends.iter().find_map(|(end, part)| Some((stem.strip_suffix(end)?, *part)))?;
    let module = module
        .rsplit_once('.')
        .map_or_else(|| module.to_owned(), |(outer, inner)| of_processor(outer, inner));
    (!module.is_empty()).then_some(Spelling { module, part, adapter: None, unscaled: false })
}

/// Names that count modules: `unet:3:down` of the first scripts for Stable Diffusion, `w_a_003` of those for SAM.
fn numbered(name: &str) -> Option<Spelling<'static>> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let found = |module: String, part| Some(Spelling { module, part, adapter: None, unscaled: true });
    if let Some((module, side)) = name.rsplit_once(':') {
        let (_, number) = module.rsplit_once(':').filter(|(of, number)| !of.is_empty() && digits(number))?;
        let part =
            [("down", TensorRole::Down), ("up", TensorRole::Up)].iter().find(|(word, _)| *word == side)?.1;
        return (!number.is_empty()).then(|| found(module.to_owned(), part)).flatten();
    }
    let sides = [("w_a_", TensorRole::Down), ("w_b_", TensorRole::Up)];
    let (number, part) = sides.iter().find_map(|(start, part)| Some((name.strip_prefix(start)?, *part)))?;
    if digits(number) { found(format!("w_{number}"), part) } else { None }
}

impl TensorRole {
    /// Whether a tensor like this is found in adapters only, whatever its module is called.
    pub(super) fn is_telling(self) -> bool {
        matches!(
            self,
            Self::Down
                | Self::Up
                | Self::Inputs
                | Self::Outputs
                | Self::EmbeddingDown
                | Self::EmbeddingUp
                | Self::Hada(..)
                | Self::Lokr(..)
                | Self::Tokens
                | Self::Foreign
                | Self::Unknown
        )
    }
}

/// Ways to store an update, of which a module has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Lora,
    /// LoRA with its factors the other way round.
    Turned,
    Embedding,
    Hada,
    Lokr,
    Difference,
}

impl TensorRole {
    /// The method that a tensor like this belongs to, if it is one of several.
    pub(super) fn method(self) -> Option<Method> {
        Some(match self {
            Self::Down | Self::Up | Self::Middle | Self::Diagonal => Method::Lora,
            Self::Inputs | Self::Outputs => Method::Turned,
            Self::EmbeddingDown | Self::EmbeddingUp => Method::Embedding,
            Self::Hada(..) => Method::Hada,
            Self::Lokr(..) => Method::Lokr,
            Self::Difference => Method::Difference,
            Self::Alpha | Self::Magnitude | Self::Bias | Self::Tokens | Self::Foreign | Self::Unknown => {
                return None;
            }
        })
    }
}

/// Name prefixes of formats that store the scale beside the factors, or bake it into them.
const SELF_SCALED: [&str; 12] = [
    "lora_unet_",
    "lora_te",
    "lora_transformer_",
    "lora_prior_",
    "lycoris_",
    "unet.",
    "transformer.",
    "text_encoder.",
    "text_encoder_2.",
    "text_encoder_3.",
    "diffusion_model.",
    "model.diffusion_model.",
];

/// Whether a module's name belongs to a format whose updates are not scaled if there is no `alpha` beside them.
pub(super) fn is_self_scaled(module: &str) -> bool {
    SELF_SCALED.iter().any(|prefix| module.starts_with(prefix))
}

impl Spelling<'_> {
    /// Whether a tensor like this is found in adapters only.
    pub(super) fn is_telling(&self) -> bool {
        let beside = matches!(self.part, TensorRole::Difference | TensorRole::Bias);
        self.part.is_telling() || beside && is_self_scaled(&self.module)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, module: &str, part: TensorRole, adapter: Option<&str>) {
        let found = parse(name).map(|found| (found.module, found.part, found.adapter));
        assert_eq!(found, Some((module.to_owned(), part, adapter)), "{name}");
    }

    #[test]
    fn every_format_names_the_same_parts() {
        check("base_model.model.l.0.q.lora_A.weight", "base_model.model.l.0.q", TensorRole::Down, None);
        check("l.0.q.lora_B.default.weight", "l.0.q", TensorRole::Up, Some("default"));
        check("l.0.q.lora_B.bias", "l.0.q", TensorRole::Bias, None);
        check("e.lora_embedding_A.default", "e", TensorRole::EmbeddingDown, Some("default"));
        check("l.q.lora_magnitude_vector.default.weight", "l.q", TensorRole::Magnitude, Some("default"));
        check("e.token_adapter.trainable_tokens_delta", "e", TensorRole::Tokens, None);
        check("lora_unet_a_b.lora_up.weight", "lora_unet_a_b", TensorRole::Up, None);
        check("lora_unet_a_b.alpha", "lora_unet_a_b", TensorRole::Alpha, None);
        check("unet.a.to_q.lora.down.weight", "unet.a.to_q", TensorRole::Down, None);
        check("a.q_proj.lora_linear_layer.up.weight", "a.q_proj", TensorRole::Up, None);
        check("a.attn1.processor.to_out_lora.up.weight", "a.attn1.to_out.0", TensorRole::Up, None);
        check("x.lokr_w2_a.default", "x", TensorRole::Lokr(Multiplicand::Second, Piece::Up), Some("default"));
        check("x.hada_t1", "x", TensorRole::Hada(Multiplicand::First, Piece::Middle), None);
        check("a.processor.to_k_lora_up.weight", "a.to_k", TensorRole::Up, None);
        check("down_0_to_k_lora_down.weight", "down_0_to_k", TensorRole::Down, None);
        check(
            "double_blocks.3.processor.qkv_lora2.up.weight",
            "double_blocks.3.txt_attn.qkv",
            TensorRole::Up,
            None,
        );
        check("unet:12:up", "unet:12", TensorRole::Up, None);
        check("w_a_003", "w_003", TensorRole::Down, None);
        check("layers.0.q_proj.lora_b.weight", "layers.0.q_proj", TensorRole::Up, None);
        check("blk.0.attn_q.weight.lora_a", "blk.0.attn_q", TensorRole::Down, None);
        check("model.layers.0.q_proj.lora_a", "model.layers.0.q_proj", TensorRole::Inputs, None);
        check("base_model.model.n.ln_tuning_layers.weight", "base_model.model.n", TensorRole::Foreign, None);
    }

    #[test]
    fn names_of_models_are_left_alone() {
        let names = [
            "model.layers.0.mlp.up.weight",
            "up.weight",
            "model.lora.weight",
            "a.b.c",
            "lora_A",
            "w_a_x",
            "a:up",
        ];
        for name in names {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
