//! Which attention head a row is about, or which two.

use serde::{Deserialize, Serialize};

/// What a row of `heads` is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Attention {
    /// One head.
    Head(Head),
    /// An earlier head and a later one.
    Composition(Composition),
}

/// One head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Its block.
    pub layer: u64,
    /// Its number in the module.
    pub head: u64,
    /// The key and value head that it uses.
    pub kv_head: u64,
    /// The leading singular values of OV, as many as were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sigma_ov: Vec<f64>,
    /// The same of QK.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sigma_qk: Vec<f64>,
    /// The stored matrices that it is cut out of.
    pub tensors: Vec<String>,
    /// What control tokens can do to its output, where its inputs are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reach>,
}

/// What control tokens can do to a head's output at each token; a list is empty where a number is too large for a double.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reach {
    /// `Dᵢ`, the sum of the exponentials of its logits.
    pub sums: Vec<f64>,
    /// `γᵢ`, the most by which one control token moves the output orthogonally to the target.
    pub reach: Vec<f64>,
    /// The length of the part of the output that is orthogonal to the target.
    pub perpendicular: Vec<f64>,
    /// That over `γᵢ`: with fewer control tokens the target is out of reach.
    pub tokens: Vec<f64>,
}

/// Two heads of one stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Composition {
    /// The head that writes.
    pub earlier: HeadPlace,
    /// The head that reads.
    pub later: HeadPlace,
    /// The score of a random direction, `1/√d`.
    pub baseline: f64,
    /// The scores of single directions of the earlier head, if these were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<ComponentScores>,
}

/// A head of a pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadPlace {
    /// Its name, as a row about it alone has it.
    pub name: String,
    /// Its block.
    pub layer: u64,
    /// Its number in the module.
    pub head: u64,
}

/// A score for each right singular vector of the earlier head's OV, by σ descending; empty where there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComponentScores {
    /// Into the later head's queries.
    pub q: Vec<f64>,
    /// Into its keys.
    pub k: Vec<f64>,
    /// Into its values.
    pub v: Vec<f64>,
}
