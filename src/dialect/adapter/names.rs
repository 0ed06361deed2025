//! How adapter formats call their tensors: PEFT, kohya's sd-scripts, Diffusers, ComfyUI, LyCORIS, torchtune, MLX,
//! llama.cpp, and scripts that number modules instead of naming them.
//!
//! It uses only names. `modules` assembles the parts of a module.

/// The part of a module's update that a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
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
    Hada(Side, Piece),
    /// LoKr: `lokr_w1`, … .
    Lokr(Side, Piece),
    /// Rows of an embedding that were trained alone.
    Tokens,
    /// A tensor of an unsupported method.
    Foreign,
}

/// Which of the two matrices that LoHa and LoKr multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
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
    pub(super) part: Part,
    /// The adapter's name, where the file keeps it.
    pub(super) adapter: Option<&'n str>,
    /// Whether its format knows no scale: what the factors give is added as it is.
    pub(super) unscaled: bool,
}

/// Names that PEFT gives, which an adapter's name may follow.
const PEFT: [(&str, Part); 22] = [
    ("lora_A", Part::Down),
    ("lora_B", Part::Up),
    ("lora_embedding_A", Part::EmbeddingDown),
    ("lora_embedding_B", Part::EmbeddingUp),
    ("lora_magnitude_vector", Part::Magnitude),
    ("lora_diag", Part::Diagonal),
    ("lora_E", Part::Foreign),
    ("ia3_l", Part::Foreign),
    ("trainable_tokens_delta", Part::Tokens),
    ("hada_w1_a", Part::Hada(Side::First, Piece::Up)),
    ("hada_w1_b", Part::Hada(Side::First, Piece::Down)),
    ("hada_w2_a", Part::Hada(Side::Second, Piece::Up)),
    ("hada_w2_b", Part::Hada(Side::Second, Piece::Down)),
    ("hada_t1", Part::Hada(Side::First, Piece::Middle)),
    ("hada_t2", Part::Hada(Side::Second, Piece::Middle)),
    ("lokr_w1", Part::Lokr(Side::First, Piece::Whole)),
    ("lokr_w1_a", Part::Lokr(Side::First, Piece::Up)),
    ("lokr_w1_b", Part::Lokr(Side::First, Piece::Down)),
    ("lokr_w2", Part::Lokr(Side::Second, Piece::Whole)),
    ("lokr_w2_a", Part::Lokr(Side::Second, Piece::Up)),
    ("lokr_w2_b", Part::Lokr(Side::Second, Piece::Down)),
    ("lokr_t2", Part::Lokr(Side::Second, Piece::Middle)),
];

/// Names that others give; no adapter's name follows.
const OTHERS: [(&str, Part); 17] = [
    ("lora_down", Part::Down),
    ("lora_up", Part::Up),
    ("lora_mid", Part::Middle),
    ("alpha", Part::Alpha),
    ("dora_scale", Part::Magnitude),
    ("magnitude", Part::Magnitude),
    ("m", Part::Magnitude),
    ("diff", Part::Difference),
    ("diff_b", Part::Bias),
    ("w_norm", Part::Bias),
    ("b_norm", Part::Bias),
    ("oft_blocks", Part::Foreign),
    ("oft_diag", Part::Foreign),
    ("oft_R", Part::Foreign),
    ("boft_R", Part::Foreign),
    ("vera_lambda_b", Part::Foreign),
    ("lora_scaler", Part::Foreign),
];

/// Takes a name apart, if it is one of an adapter's.
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
        let part = if ending == "bias" { Part::Bias } else { part };
        // The token adapter is a module of its own inside the embedding.
        let module = module.strip_suffix(".token_adapter").unwrap_or(module).to_owned();
        Some(Spelling { module, part, adapter, unscaled: false })
    };
    if let Some(first) = ["lora_a", "lora_b"].iter().position(|known| *known == last) {
        // torchtune's are modules with a weight, llama.cpp's follow the whole name of the weight; both lie as PEFT's do.
        let of_weight = module.strip_suffix(".weight");
        let parts = if ending.is_empty() && of_weight.is_none() {
            [Part::Inputs, Part::Outputs]
        } else {
            [Part::Down, Part::Up]
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
        "down" => Part::Down,
        "up" => Part::Up,
        _ => return None,
    };
    // `to_q.lora.down`, `q_proj.lora_linear_layer.down` and, oldest of all, `processor.to_q_lora.down`.
    if let "lora" | "lora_linear_layer" = marker {
        return found(outer, part, None);
    }
    let module = of_processor(outer, marker.strip_suffix("_lora")?);
    Some(Spelling { module, part, adapter: None, unscaled: true })
}

/// The module that Diffusers' attention processors call `inner`.
fn of_processor(outer: &str, inner: &str) -> String {
    let inner = if inner == "to_out" { "to_out.0" } else { inner };
    format!("{}.{inner}", outer.strip_suffix(".processor").unwrap_or(outer))
}

/// Names that end in `_lora_down` or `_lora_up`.
fn underscored(stem: &str) -> Option<Spelling<'static>> {
    let ends = [("_lora_down", Part::Down), ("_lora_up", Part::Up)];
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
        let part = [("down", Part::Down), ("up", Part::Up)].iter().find(|(word, _)| *word == side)?.1;
        return (!number.is_empty()).then(|| found(module.to_owned(), part)).flatten();
    }
    let sides = [("w_a_", Part::Down), ("w_b_", Part::Up)];
    let (number, part) = sides.iter().find_map(|(start, part)| Some((name.strip_prefix(start)?, *part)))?;
    if digits(number) { found(format!("w_{number}"), part) } else { None }
}

impl Part {
    /// Whether a tensor like this is found in adapters only.
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
                | Self::Foreign
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

impl Part {
    /// The method that a tensor like this belongs to, if it is one of several.
    pub(super) fn method(self) -> Option<Method> {
        Some(match self {
            Self::Down | Self::Up | Self::Middle | Self::Diagonal => Method::Lora,
            Self::Inputs | Self::Outputs => Method::Turned,
            Self::EmbeddingDown | Self::EmbeddingUp => Method::Embedding,
            Self::Hada(..) => Method::Hada,
            Self::Lokr(..) => Method::Lokr,
            Self::Difference => Method::Difference,
            Self::Alpha | Self::Magnitude | Self::Bias | Self::Tokens | Self::Foreign => return None,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, module: &str, part: Part, adapter: Option<&str>) {
        let found = parse(name).map(|found| (found.module, found.part, found.adapter));
        assert_eq!(found, Some((module.to_owned(), part, adapter)), "{name}");
    }

    #[test]
    fn every_format_names_the_same_parts() {
        check("base_model.model.l.0.q.lora_A.weight", "base_model.model.l.0.q", Part::Down, None);
        check("l.0.q.lora_B.default.weight", "l.0.q", Part::Up, Some("default"));
        check("l.0.q.lora_B.bias", "l.0.q", Part::Bias, None);
        check("e.lora_embedding_A.default", "e", Part::EmbeddingDown, Some("default"));
        check("l.q.lora_magnitude_vector.default.weight", "l.q", Part::Magnitude, Some("default"));
        check("e.token_adapter.trainable_tokens_delta", "e", Part::Tokens, None);
        check("lora_unet_a_b.lora_up.weight", "lora_unet_a_b", Part::Up, None);
        check("lora_unet_a_b.alpha", "lora_unet_a_b", Part::Alpha, None);
        check("unet.a.to_q.lora.down.weight", "unet.a.to_q", Part::Down, None);
        check("a.q_proj.lora_linear_layer.up.weight", "a.q_proj", Part::Up, None);
        check("a.attn1.processor.to_out_lora.up.weight", "a.attn1.to_out.0", Part::Up, None);
        check("x.lokr_w2_a.default", "x", Part::Lokr(Side::Second, Piece::Up), Some("default"));
        check("x.hada_t1", "x", Part::Hada(Side::First, Piece::Middle), None);
        check("a.processor.to_k_lora_up.weight", "a.to_k", Part::Up, None);
        check("down_0_to_k_lora_down.weight", "down_0_to_k", Part::Down, None);
        check("unet:12:up", "unet:12", Part::Up, None);
        check("w_a_003", "w_003", Part::Down, None);
        check("layers.0.q_proj.lora_b.weight", "layers.0.q_proj", Part::Up, None);
        check("blk.0.attn_q.weight.lora_a", "blk.0.attn_q", Part::Down, None);
        check("model.layers.0.q_proj.lora_a", "model.layers.0.q_proj", Part::Inputs, None);
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
