//! How checkpoints call the parts of weights that they store as factors.

/// A way to store a weight in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layout {
    /// `in_network` and `out_network` of linear layers. Horváth et al. 2023, arXiv 2308.14929.
    Maestro,
    /// `conv_u` and `conv_v` of convolutions, of the same.
    MaestroKernel,
    /// `q_v_proj` and `q_u_proj`: SVD-LLM (Wang et al. 2024, arXiv 2403.07378), FlashSVD and their kin.
    SvdLlm,
    /// `weight`, `sorsa_A`, `sorsa_S`, `sorsa_B`. Cao & Xu 2024, arXiv 2409.00055.
    Sorsa,
    /// `weight_main`, `U_residual`, `S_residual`, `V_residual`. Yan et al. 2024, arXiv 2411.15633.
    Effort,
    /// `w` and the factors `wquantizer.L`, `wquantizer.R`. Huang et al. 2025, arXiv 2505.11497.
    Qvgen,
    /// `qweight`, `wscales`, `smooth` and packed factors. Li et al. 2024, arXiv 2411.05007.
    Svdquant,
}

impl Layout {
    /// Its name in notes.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Maestro | Self::MaestroKernel => "Maestro",
            Self::SvdLlm => "SVD-LLM",
            Self::Sorsa => "SORSA",
            Self::Effort => "Effort",
            Self::Qvgen => "QVGen",
            Self::Svdquant => "SVDQuant",
        }
    }
}

/// Matrices that SVD-LLM factors, and the endings of their names in the model.
const SVD_LLM: [(&str, &str); 10] = [
    ("q", "q_proj"),
    ("k", "k_proj"),
    ("v", "v_proj"),
    ("o", "o_proj"),
    ("out", "out_proj"),
    ("gate", "gate_proj"),
    ("up", "up_proj"),
    ("down", "down_proj"),
    ("fc1", "fc1"),
    ("fc2", "fc2"),
];

/// Last parts of names, without `.weight`, that tell their layout.
const TELLING: [(&str, Layout); 12] = [
    ("in_network", Layout::Maestro),
    ("out_network", Layout::Maestro),
    ("conv_u", Layout::MaestroKernel),
    ("conv_v", Layout::MaestroKernel),
    ("sorsa_A", Layout::Sorsa),
    ("sorsa_S", Layout::Sorsa),
    ("sorsa_B", Layout::Sorsa),
    ("weight_main", Layout::Effort),
    ("U_residual", Layout::Effort),
    ("S_residual", Layout::Effort),
    ("V_residual", Layout::Effort),
    ("qweight", Layout::Svdquant),
];

/// A weight that is stored in parts: how, and its name in the model.
pub(super) type Weight = (Layout, String);

/// The weight that the tensor called `name` is a part of, as far as a name tells.
pub(super) fn weight_of(name: &str) -> Option<Weight> {
    let bare = name.strip_suffix(".weight").unwrap_or(name);
    if let Some(stem) =
        ["L", "R"].iter().find_map(|side| bare.strip_suffix(side)?.strip_suffix(".wquantizer."))
    {
        return Some((Layout::Qvgen, stem.to_owned()));
    }
    let (stem, last) = bare.rsplit_once('.')?;
    if let Some((_, layout)) = TELLING.iter().find(|(word, _)| *word == last) {
        return Some((*layout, stem.to_owned()));
    }
    let side = ["_u_proj", "_v_proj"].iter().find_map(|side| last.strip_suffix(side))?;
    let (_, module) = SVD_LLM.iter().find(|(word, _)| *word == side)?;
    Some((Layout::SvdLlm, format!("{stem}.{module}")))
}

/// The names of the factors of a weight of SVD-LLM, next to the outputs and next to the inputs.
pub(super) fn of_svd_llm(weight: &str) -> Option<[String; 2]> {
    let (stem, module) = weight.rsplit_once('.')?;
    let (word, _) = SVD_LLM.iter().find(|(_, known)| *known == module)?;
    Some(["u", "v"].map(|side| format!("{stem}.{word}_{side}_proj")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<(Layout, &str)>) {
        assert_eq!(weight_of(name), expected.map(|(layout, stem)| (layout, stem.to_owned())), "{name}");
    }

    #[test]
    fn parts_of_weights_are_told_from_projections() {
        check("l.0.fc.in_network.weight", Some((Layout::Maestro, "l.0.fc")));
        check(
            "model.layers.0.self_attn.q_u_proj.weight",
            Some((Layout::SvdLlm, "model.layers.0.self_attn.q_proj")),
        );
        check(
            "model.layers.0.self_attn.v_v_proj.weight",
            Some((Layout::SvdLlm, "model.layers.0.self_attn.v_proj")),
        );
        check("decoder.layers.0.fc1_v_proj.weight", Some((Layout::SvdLlm, "decoder.layers.0.fc1")));
        check("q.sorsa_S", Some((Layout::Sorsa, "q")));
        check("a.q_proj.weight_main", Some((Layout::Effort, "a.q_proj")));
        check("blocks.0.attn1.to_q.wquantizer.L", Some((Layout::Qvgen, "blocks.0.attn1.to_q")));
        for name in [
            "l.v_proj.weight",
            "l.up_proj.weight",
            "l.u_proj.weight",
            "in_network.weight",
            "l.kv_u_proj.weight",
        ] {
            check(name, None);
        }
        for (_, module) in SVD_LLM {
            let factors = of_svd_llm(&format!("l.{module}")).expect("known");
            factors.iter().for_each(|name| check(name, Some((Layout::SvdLlm, &format!("l.{module}")))));
        }
    }
}
