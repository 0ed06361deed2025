//! The inventory of a checkpoint, from its headers: tensors by pattern, and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::printable;
use crate::layer::{Element, Filter, Layer, Selection, TensorInfo, bare, natural};
use crate::report::{Contents, Fate, Pattern, SkipKind, Update, Updates, Word};
use crate::weight::{Catalogue, Holds};

/// The tensors of a checkpoint by pattern, their sums, and the summary of an adapter's updates.
pub struct Inventory {
    /// In natural order of the first tensor of each.
    pub patterns: Vec<Pattern>,
    /// Sums.
    pub totals: Contents,
    /// None of a model.
    pub adapter: Option<Updates>,
}

/// The outcome of one tensor: how many matrices it gives, or why it is skipped.
type Becomes = (Fate, u64, Option<(SkipKind, String)>);

/// Groups the tensors that `source` lists. No weight is read.
pub fn inventory(source: &Catalogue, filter: &Filter) -> Inventory {
    let selection = source.select(filter);
    let updates: Vec<(&Layer, Box<Update>)> =
        selection.layers.iter().filter_map(|layer| Some((&**layer, source.update(layer)?))).collect();
    let mut becomes: BTreeMap<&str, Becomes> = BTreeMap::new();
    for skipped in &selection.skipped {
        let reason = Some((skipped.kind, skipped.reason.to_string()));
        becomes.insert(skipped.tensor.as_str(), (Fate::Skipped, 0, reason));
    }
    for (_, update) in &updates {
        for (i, tensor) in update.tensors.iter().enumerate() {
            // The matrix is counted once, with the first of its parts.
            let found = becomes.entry(tensor).or_insert((Fate::Update, 0, None));
            (found.0, found.1) = (Fate::Update, found.1 + u64::from(i == 0));
        }
    }
    if source.holds() == Holds::Weights {
        for layer in &selection.layers {
            becomes.entry(&layer.tensor).or_insert((Fate::Matrix, 0, None)).1 += 1;
        }
    }
    let unpacked = unpacked(source);
    let mut patterns: Vec<Pattern> = vec![];
    let mut positions = BTreeMap::new();
    for tensor in source.tensors() {
        let (fate, matrices, reason) =
            becomes.get(tensor.name.as_str()).cloned().unwrap_or((Fate::Filtered, 0, None));
        let reason = reason.map(|(kind, reason)| (kind, generalized(&reason)));
        let name = printable(&pattern(&tensor.name));
        let key = (name, &tensor.shape, tensor.element.name(), fate, reason);
        let at = *positions.entry(key.clone()).or_insert(patterns.len());
        if at == patterns.len() {
            let (name, _, _, _, reason) = key;
            patterns.push(first(name, tensor, fate, reason));
        }
        let pattern = &mut patterns[at];
        pattern.count += 1;
        pattern.matrices += matrices;
        let held = unpacked.get(tensor.name.as_str()).copied().unwrap_or_else(|| entries(tensor));
        pattern.parameters = pattern.parameters.saturating_add(held);
        pattern.bytes = pattern.bytes.zip(bytes(tensor)).and_then(|(sum, bytes)| sum.checked_add(bytes));
    }
    let refused = selection.skipped.iter().filter(|skipped| skipped.kind == SkipKind::Refused).count();
    let totals = Contents {
        tensors: source.tensors().len() as u64,
        parameters: patterns.iter().fold(0, |sum, pattern| sum.saturating_add(pattern.parameters)),
        matrices: selection.layers.len() as u64,
        skipped: selection.skipped.len() as u64,
        refused: refused as u64,
        filtered: selection.filtered as u64,
    };
    let adapter = (source.holds() == Holds::Updates).then(|| summary(&updates));
    Inventory { patterns, totals, adapter }
}

/// The number of weights in a tensor of codes, by its name; none for scales.
fn unpacked(source: &Catalogue) -> BTreeMap<String, u64> {
    let Selection { layers, skipped, .. } = source.select(&Filter::default());
    // Factors of a matrix are its numbers.
    let whole: BTreeSet<String> =
        layers.iter().filter(|layer| layer.encoding.is_none()).map(|layer| layer.name.to_string()).collect();
    let codes = layers.into_iter().filter(|layer| layer.encoding.is_some());
    let codes = codes.map(|layer| (layer.tensor.to_string(), layer.parameters() as u64));
    let is_scale = |weight: &String| !whole.contains(bare(weight));
    let scales = skipped.into_iter().filter(|other| other.scales.as_ref().is_some_and(is_scale));
    let mut unpacked = BTreeMap::new();
    for (tensor, weights) in codes.chain(scales.map(|other| (other.tensor.to_string(), 0))) {
        *unpacked.entry(tensor).or_default() += weights;
    }
    unpacked
}

/// A pattern of no tensor yet.
fn first(name: String, tensor: &TensorInfo, fate: Fate, reason: Option<(SkipKind, String)>) -> Pattern {
    let role = name.split_once("#.").map_or(name.as_str(), |(_, role)| role).to_owned();
    let (kind, reason) = reason.unzip();
    Pattern {
        pattern: name,
        role,
        count: 0,
        shape: tensor.shape.iter().map(|n| *n as u64).collect(),
        dtype: tensor.element.name().to_owned(),
        parameters: 0,
        bytes: Some(0),
        becomes: fate,
        matrices: 0,
        reason,
        kind,
    }
}

/// `name` with `#` for every separate number: not for the one in `fc2`.
fn pattern(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for word in name.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            out.push('#');
            out.push_str(&word[digits.len()..]);
        } else {
            out.push_str(word);
        }
    }
    out
}

/// A reason with patterns for the names in it.
fn generalized(reason: &str) -> String {
    let parts = reason.split('`').enumerate();
    let parts = parts.map(|(i, part)| if i % 2 == 1 { pattern(part) } else { part.to_owned() });
    parts.collect::<Vec<_>>().join("`")
}

/// Entries of a tensor; more than there can be where its type is unknown and its shape was not checked.
fn entries(tensor: &TensorInfo) -> u64 {
    tensor.shape.iter().fold(1, |product: u64, n| product.saturating_mul(*n as u64))
}

fn bytes(tensor: &TensorInfo) -> Option<u64> {
    let bits = match &tensor.element {
        Element::Float(dtype) => dtype.size() as u64 * 8,
        // Blocks of other sizes: an entry is not a whole number of bits.
        Element::Coded(..) => return None,
        Element::Other(name) => match name.as_str() {
            "f4" => 4,
            "f6_e2m3" | "f6_e3m2" => 6,
            "bool" | "i8" | "u8" => 8,
            "i16" | "u16" => 16,
            "i32" | "u32" => 32,
            "i64" | "u64" | "c64" => 64,
            name if name.starts_with("f8_") => 8,
            _ => return None,
        },
    };
    Some(entries(tensor).checked_mul(bits)?.div_ceil(8))
}

fn summary(updates: &[(&Layer, Box<Update>)]) -> Updates {
    let kinds: BTreeSet<Word> = updates.iter().map(|(_, update)| update.kind.clone()).collect();
    let ranks: BTreeSet<u64> = updates.iter().filter_map(|(_, update)| update.rank).collect();
    let mut scales: Vec<f64> = updates.iter().filter_map(|(_, update)| update.scale).collect();
    scales.sort_by(f64::total_cmp);
    scales.dedup();
    let mut targets: Vec<String> = updates.iter().map(|(layer, _)| pattern(&layer.role)).collect();
    targets.sort_by(|a, b| natural(a, b));
    targets.dedup();
    Updates {
        count: updates.len() as u64,
        kinds: kinds.into_iter().collect(),
        ranks: ranks.into_iter().collect(),
        scales,
        targets,
    }
}

#[cfg(test)]
mod tests {
    use super::{generalized, pattern};

    #[test]
    fn numbers_that_stand_alone_become_a_sign() {
        assert_eq!(
            pattern("model.layers.31.mlp.experts.7.fc2.weight"),
            "model.layers.#.mlp.experts.#.fc2.weight"
        );
        assert_eq!(
            pattern("lora_unet_down_blocks_0_to_k.lora_down"),
            "lora_unet_down_blocks_#_to_k.lora_down"
        );
        assert_eq!(generalized("1-D beside `h.0.w`"), "1-D beside `h.#.w`");
        assert_eq!(pattern("net.4"), "net.#");
        assert_eq!(pattern("σ.0"), "σ.#");
    }
}
