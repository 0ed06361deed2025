//! The columns of `svdkit heads`: of a head, of a head beside its base's, and of a pair of heads.

use crate::metric::NONFINITE_COUNT;
use crate::report::{Accuracy, Column, Format, Quantity};

const fn of_head(key: &'static str, label: &'static str, doc: &'static str, range: &'static str) -> Column {
    Column {
        key,
        label,
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc,
        range,
        source: "definition",
    }
}

const fn share(column: Column) -> Column {
    Column { format: Format::Share, ..column }
}

const fn from(column: Column, source: &'static str) -> Column {
    Column { source, ..column }
}

const BOUNDS: &str = "Bhargava et al. 2023, arXiv 2310.04444, by σ₁ of the product";
const CIRCUITS: &str = "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits";

/// Of a head, in report order.
pub static HEADS: [Column; 16] = [
    NONFINITE_COUNT.column,
    from(
        of_head(
            "logit_bound",
            "logit ≤",
            "the most that an attention logit of this head can be where query and key are at one position: scale·σ₁(QK)·d, with biases as a last row and d + 1",
            "[0, ∞)",
        ),
        BOUNDS,
    ),
    from(
        of_head(
            "logit_bound_rotary",
            "logit ≤ any",
            "the same at any two positions, where queries and keys are rotated by them: scale·σ₁(Q)·σ₁(K)·d",
            "[0, ∞)",
        ),
        BOUNDS,
    ),
    of_head(
        "ov_spectral_norm",
        "σ₁ OV",
        "σ₁ of OV = W_V·W_O: the most by which the head stretches what it moves from one position to another",
        "[0, ∞), units of the weights",
    ),
    of_head("ov_stable_rank", "stable OV", "stable_rank of OV: Σσ²/σ₁²", "[1, d_h]"),
    of_head(
        "ov_effective_rank",
        "effective OV",
        "effective_rank of OV: exp(−Σ p ln p) with p = σ/Σσ over its d_h directions",
        "[1, d_h]",
    ),
    share(of_head(
        "ov_top_share",
        "top OV",
        "σ₁²/Σσ² of OV: what share its first direction has",
        "[1/d_h, 1]",
    )),
    of_head("qk_spectral_norm", "σ₁ QK", "σ₁ of QK = W_Q·W_Kᵀ", "[0, ∞), units of the weights"),
    of_head("qk_stable_rank", "stable QK", "stable_rank of QK: Σσ²/σ₁²", "[1, d_h]"),
    of_head(
        "qk_effective_rank",
        "effective QK",
        "effective_rank of QK: exp(−Σ p ln p) with p = σ/Σσ over its d_h directions",
        "[1, d_h]",
    ),
    share(of_head(
        "qk_top_share",
        "top QK",
        "σ₁²/Σσ² of QK: what share its first direction has",
        "[1/d_h, 1]",
    )),
    of_head(
        "query_gain",
        "σ₁ Q",
        "σ₁ of W_Q: the most by which a query stretches its input",
        "[0, ∞), units of the weights",
    ),
    of_head(
        "key_gain",
        "σ₁ K",
        "σ₁ of W_K: the most by which a key stretches its input",
        "[0, ∞), units of the weights",
    ),
    of_head(
        "value_gain",
        "σ₁ V",
        "σ₁ of W_V: the most by which a value stretches its input",
        "[0, ∞), units of the weights",
    ),
    from(
        of_head(
            "copying",
            "copying",
            "Σλ/Σ|λ| over the eigenvalues of OV: near 1 if the head writes what it reads, near −1 if it writes the opposite",
            "[−1, 1]",
        ),
        CIRCUITS,
    ),
    share(of_head(
        "output_overlap",
        "overlap",
        "the mean over the other heads of its module of ‖UᵢᵀUⱼ‖²_F/d_h, U an orthonormal basis of what a head can write: 0 if all write into spaces of their own, d_h/d by chance",
        "[0, 1]",
    )),
];

/// Of a head whose inputs are known.
pub static CONTROL_TOKENS: Column = Column {
    format: Format::Count,
    source: "Bhargava et al. 2023, arXiv 2310.04444, condition for exclusion",
    ..of_head(
        "control_tokens",
        "control",
        "at fewer control tokens than this, the output of the head cannot be the target at some token: the largest ⌈‖ŷ⊥‖/γ⌉ over the tokens of `--inputs`",
        "[0, ∞)",
    )
};

const fn of_pair(key: &'static str, label: &'static str, doc: &'static str) -> Column {
    Column {
        key,
        label,
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc,
        range: "[0, 1]",
        source: CIRCUITS,
    }
}

/// Of a head and its base's, after the columns of both.
pub static HEAD_CHANGES: [Column; 2] = [
    Column {
        range: "[0, ∞)",
        source: "definition",
        ..of_pair("ov_delta_ratio", "‖ΔOV‖/‖OV₀‖", "‖OV − OV₀‖_F/‖OV₀‖_F: how far the head's OV has moved")
    },
    Column {
        range: "[0, ∞)",
        source: "definition",
        ..of_pair("qk_delta_ratio", "‖ΔQK‖/‖QK₀‖", "‖QK − QK₀‖_F/‖QK₀‖_F: how far the head's QK has moved")
    },
];

const fn z(key: &'static str, label: &'static str, doc: &'static str) -> Column {
    Column { range: "[0, √d]", ..of_pair(key, label, doc) }
}

/// Of a pair of heads, in report order.
pub static COMPOSITION: [Column; 7] = [
    of_pair("composition", "strongest", "the largest of q_composition, k_composition and v_composition"),
    of_pair(
        "q_composition",
        "Q",
        "‖OV·QK‖_F/(‖OV‖_F‖QK‖_F), OV of the earlier head and QK of the later one: how far the later head's queries read what the earlier one writes",
    ),
    of_pair("k_composition", "K", "‖OV·QKᵀ‖_F/(‖OV‖_F‖QK‖_F): the same of the later head's keys"),
    of_pair(
        "v_composition",
        "V",
        "‖OV·OV′‖_F/(‖OV‖_F‖OV′‖_F), OV′ of the later head: the same of its values",
    ),
    z("q_z", "z Q", "q_composition·√d: against a random direction, for which it is about 1"),
    z("k_z", "z K", "k_composition·√d: against a random direction, for which it is about 1"),
    z("v_z", "z V", "v_composition·√d: against a random direction, for which it is about 1"),
];

const fn component(key: &'static str, label: &'static str, doc: &'static str) -> Column {
    Column { source: "Merullo et al. 2024, Talking Heads, arXiv 2406.09519", ..of_pair(key, label, doc) }
}

const fn position(column: Column) -> Column {
    Column { format: Format::Count, range: "[0, d_h)", quantity: Quantity::Pair(Accuracy::Exact), ..column }
}

/// Of the components of the earlier head, after those of the pair.
pub static COMPONENTS: [Column; 6] = [
    component(
        "q_component",
        "top Q",
        "the largest ‖vᵢᵀ·QK‖/‖QK‖_F over the right singular vectors vᵢ of the earlier head's OV: the strongest channel into the later head's queries; vectors of equal σ count as one",
    ),
    position(component("q_component_at", "at Q", "which singular vector that is, counted from 0")),
    component("k_component", "top K", "the same into the later head's keys, ‖vᵢᵀ·QKᵀ‖/‖QK‖_F"),
    position(component("k_component_at", "at K", "which singular vector that is, counted from 0")),
    component("v_component", "top V", "the same into the later head's values, ‖vᵢᵀ·OV′‖/‖OV′‖_F"),
    position(component("v_component_at", "at V", "which singular vector that is, counted from 0")),
];
