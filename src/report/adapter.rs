//! What is known of an adapter's module beside its numbers: what made it, all its singular values, its directions.

use serde::{Deserialize, Serialize};

use super::coded::coded;

coded! {
    /// What made an update, by evidence in its factors alone.
    pub enum Origin {
        /// B or A is zero.
        Untrained = "untrained", "not trained: B or A is zero, so the update is";
        /// A diagonal lies between the factors.
        Kasa = "kasa", "KaSA: a diagonal (`lora_diag`) lies between the factors";
        /// Lengths beside the factors.
        Dora = "dora", "DoRA: every row or column is brought to a length of its own";
        /// Two products, multiplied entry by entry.
        Loha = "loha", "LoHa: two products of factors, multiplied entry by entry";
        /// A Kronecker product.
        Lokr = "lokr", "LoKr: a Kronecker product of two matrices";
        /// Not factored.
        Whole = "whole", "not factored: a weight or its difference, saved whole";
        /// B·A lies along the first directions of the base.
        Pissa = "pissa", "PiSSA: B·A lies along the base's leading part W_r (cosine above 0.9)";
        /// B·A lies along the last directions of the base.
        Soma = "soma", "SoMA or MiLoRA: B·A lies along the base's last directions (cosine above 0.9)";
        /// Both factors are orthonormal.
        Sorsa = "sorsa", "SORSA: A has orthonormal rows and B orthonormal columns";
        /// The canonical form.
        Canonical = "canonical", "canonical (FedSVD): A has orthonormal rows, B = UΣ";
        /// Both sides share the singular values.
        Balanced = "balanced", "made by an SVD: B = U√Σ and A = √ΣVᵀ";
        /// A is orthonormal, and B is not orthogonal.
        OrthonormalRows = "orthonormal_rows", "A has orthonormal rows (EVA, FedSVD in training)";
        /// B is orthonormal, and A is not orthogonal.
        OrthonormalColumns = "orthonormal_columns", "B has orthonormal columns (OLoRA)";
        /// None of these.
        Lora = "lora", "LoRA: two factors without a mark of another method";
    }
}

/// What the factors of a module are, beside the numbers of its row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FactorDetail {
    /// What made it: the strongest evidence first.
    pub made_by: Vec<Origin>,
    /// Every singular value that the update can have, descending.
    pub singular_values: Vec<f64>,
    /// The diagonal between the factors, if there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagonal: Vec<f64>,
    /// The type that the base's weight is stored in, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_dtype: Option<String>,
    /// `‖bᵢ‖·‖aᵢ‖` of each direction as it is stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub importance: Vec<f64>,
    /// `√(Σⱼ≥ᵢ‖bⱼ‖²)·√(Σⱼ≥ᵢ‖aⱼ‖²)`: what a cut before each direction takes away at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hierarchical_importance: Vec<f64>,
}
