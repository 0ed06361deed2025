//! Which matrix of one checkpoint is which of another: two files of one model need not use the same names.
//!
//! Only names and shapes are looked at. A pair is never guessed: a name that could mean two matrices pairs with none.

use std::collections::{BTreeMap, BTreeSet};

use crate::layer::Layer;

/// The same logical matrix on both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// In the checkpoint that was started from.
    pub base: Layer,
    /// In the one that came of it.
    pub tuned: Layer,
}

/// A matrix without a partner of its shape.
#[derive(Debug, Clone, PartialEq)]
pub enum Unpaired {
    /// The tuned checkpoint has nothing under this name.
    Removed(Layer),
    /// The base has nothing under this name.
    Added(Layer),
    /// Both have it, in different shapes.
    Reshaped(Pair),
}

/// All pairs, in the order of `tuned`, then what is left: first of `base`, then of `tuned`, each in its order.
pub fn pairs(base: &[Layer], tuned: &[Layer]) -> (Vec<Pair>, Vec<Unpaired>) {
    let partners = partners(base, tuned);
    let taken: BTreeSet<usize> = partners.iter().flatten().copied().collect();
    let removed = (0..base.len()).filter(|i| !taken.contains(i));
    let mut left: Vec<Unpaired> = removed.map(|i| Unpaired::Removed(base[i].clone())).collect();
    let mut pairs = vec![];
    for (tuned, partner) in tuned.iter().zip(partners) {
        let Some(base) = partner.map(|i| &base[i]) else {
            left.push(Unpaired::Added(tuned.clone()));
            continue;
        };
        let pair = Pair { base: base.clone(), tuned: tuned.clone() };
        if (base.rows, base.cols) == (tuned.rows, tuned.cols) {
            pairs.push(pair);
        } else {
            left.push(Unpaired::Reshaped(pair));
        }
    }
    (pairs, left)
}

/// The index in `base` of each of `tuned`: the same canonical name; failing that, the only name that ends in the other.
fn partners(base: &[Layer], tuned: &[Layer]) -> Vec<Option<usize>> {
    let names: Vec<String> = base.iter().map(|layer| canonical(&layer.name)).collect();
    let mut known: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    for (i, name) in names.iter().enumerate() {
        known.entry(name).and_modify(|twice| *twice = None).or_insert(Some(i));
    }
    let wanted: Vec<String> = tuned.iter().map(|layer| canonical(&layer.name)).collect();
    let mut partners: Vec<Option<usize>> =
        wanted.iter().map(|name| known.get(name.as_str()).copied().flatten()).collect();
    underscored(&names, &wanted, &mut partners);
    let taken: BTreeSet<usize> = partners.iter().flatten().copied().collect();
    let free: Vec<usize> = (0..base.len()).filter(|i| !taken.contains(i)).collect();
    let loose: Vec<usize> = (0..tuned.len()).filter(|i| partners[*i].is_none()).collect();
    let suffix = |t: usize, b: usize| ends_in(&wanted[t], &names[b]) || ends_in(&names[b], &wanted[t]);
    for &t in &loose {
        let mut fitting = free.iter().filter(|b| suffix(t, **b));
        let (Some(&b), None) = (fitting.next(), fitting.next()) else { continue };
        if loose.iter().filter(|t| suffix(**t, b)).count() == 1 {
            partners[t] = Some(b);
        }
    }
    partners
}

/// Finds the partners of names that have lost their dots: by writing every name of the base without dots, as which of
/// its underscores were dots cannot be told. The same name, or the only one that ends in it; no partner is found twice.
fn underscored(names: &[String], wanted: &[String], partners: &mut [Option<usize>]) {
    if !wanted.iter().any(|name| is_underscored(name)) {
        return;
    }
    let flat: Vec<String> = names.iter().map(|name| name.replace('.', "_")).collect();
    let mut known: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, name) in flat.iter().enumerate() {
        // Every end of the name that may be a name of its own.
        let ends = names[i].match_indices('.').map(|(at, _)| at + 1);
        for start in std::iter::once(0).chain(ends) {
            known.entry(&name[start..]).or_default().push(i);
        }
    }
    let mut found: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (t, name) in wanted.iter().enumerate().filter(|(t, _)| partners[*t].is_none()) {
        let Some(name) = bare(name) else { continue };
        let fitting = known.get(name).map_or(&[][..], Vec::as_slice);
        let whole: Vec<usize> = fitting.iter().copied().filter(|i| flat[*i] == name).collect();
        if let ([one], _) | ([], [one]) = (&whole[..], fitting) {
            found.entry(*one).or_default().push(t);
        }
    }
    for (base, tuned) in found {
        if let [one] = tuned[..]
            && !partners.contains(&Some(base))
        {
            partners[one] = Some(base);
        }
    }
}

/// What kohya's scripts and LyCORIS put before a name whose dots they turned into underscores.
const UNDERSCORED: [&str; 8] = [
    "lora_unet_",
    "lora_te_",
    "lora_te1_",
    "lora_te2_",
    "lora_te3_",
    "lora_transformer_",
    "lora_prior_",
    "lycoris_",
];

/// Whether the dots of `name` were turned into underscores.
pub fn is_underscored(name: &str) -> bool {
    bare(name).is_some()
}

/// A name that has lost its dots, without what was put before it.
fn bare(name: &str) -> Option<&str> {
    UNDERSCORED.iter().find_map(|prefix| name.strip_prefix(prefix)).filter(|name| !name.contains('.'))
}

/// Whether `name` is `end` with something before it: `model.layers.0.up` ends in `layers.0.up`.
fn ends_in(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|start| start.ends_with('.'))
}

/// What wrappers put before a module's name.
const WRAPPERS: [&str; 4] = ["base_model.model.", "module.", "_orig_mod.", "_fsdp_wrapped_module."];
/// What wrappers put inside a module's name.
const INSIDE: [&str; 5] = [
    ".base_layer",
    "._orig_mod",
    "._fsdp_wrapped_module",
    "._checkpoint_wrapped_module",
    ".modules_to_save.default",
];

/// The name of a matrix without what training wrappers add to it.
pub fn canonical(name: &str) -> String {
    let mut name = name;
    while let Some(rest) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
        name = rest;
    }
    let mut name = name.to_owned();
    for part in INSIDE {
        // Only whole parts of the name.
        while let Some(at) = name
            .match_indices(part)
            .map(|(at, _)| at)
            .find(|at| matches!(name.as_bytes().get(at + part.len()), None | Some(b'.' | b'[')))
        {
            name.replace_range(at..at + part.len(), "");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Part;
    use crate::matrix::Dtype;

    fn layers(names: &[(&str, usize)]) -> Vec<Layer> {
        let layer = |(name, rows): &(&str, usize)| Layer {
            name: (*name).to_owned(),
            tensor: (*name).to_owned(),
            stored_shape: vec![*rows, 2],
            rows: *rows,
            cols: 2,
            dtype: Dtype::F32,
            encoding: None,
            part: Part::default(),
            read_as: Dtype::F32,
            file: 0,
            offset: 0,
            rank: None,
            order: 0,
            block: None,
            role: String::new(),
        };
        names.iter().map(layer).collect()
    }

    /// Pairs as `base=tuned`, then what is left with `-`, `+` or `~` before it.
    fn check(base: &[(&str, usize)], tuned: &[(&str, usize)], expected: &[&str]) {
        let (pairs, left) = pairs(&layers(base), &layers(tuned));
        let both = |pair: &Pair| format!("{}={}", pair.base.name, pair.tuned.name);
        let left = left.iter().map(|unpaired| match unpaired {
            Unpaired::Removed(layer) => format!("-{}", layer.name),
            Unpaired::Added(layer) => format!("+{}", layer.name),
            Unpaired::Reshaped(pair) => format!("~{}", both(pair)),
        });
        assert_eq!(pairs.iter().map(both).chain(left).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_same_name_is_the_same_matrix() {
        check(&[("a", 1), ("b", 1)], &[("b", 1), ("a", 1)], &["b=b", "a=a"]);
    }

    #[test]
    fn wrappers_do_not_hide_a_matrix() {
        check(
            &[("l.0.q", 1)],
            &[("base_model.model.l.0.q.base_layer", 1)],
            &["l.0.q=base_model.model.l.0.q.base_layer"],
        );
        check(&[("module._orig_mod.l.0.q", 1)], &[("l.0.q", 1)], &["module._orig_mod.l.0.q=l.0.q"]);
        assert_eq!(canonical("l.base_layers.q"), "l.base_layers.q");
    }

    #[test]
    fn a_prefix_on_one_side_is_seen_through_where_it_is_unambiguous() {
        check(&[("model.l.0.q", 1)], &[("l.0.q", 1)], &["model.l.0.q=l.0.q"]);
        check(
            &[("l.0.q", 1)],
            &[("vision.l.0.q", 1), ("text.l.0.q", 1)],
            &["-l.0.q", "+vision.l.0.q", "+text.l.0.q"],
        );
        check(&[("text.q", 1), ("vision.q", 1)], &[("q", 1)], &["-text.q", "-vision.q", "+q"]);
    }

    #[test]
    fn names_without_dots_are_found_by_writing_the_base_without_dots() {
        check(
            &[("unet.a.to_q", 1), ("unet.a_to.k", 1)],
            &[("lora_unet_a_to_q", 1), ("lora_unet_a_to_k", 1)],
            &["unet.a.to_q=lora_unet_a_to_q", "unet.a_to.k=lora_unet_a_to_k"],
        );
        // Two names of the base are written alike without dots; two encoders are not told apart by one.
        check(&[("a.b", 1), ("a_b", 1)], &[("lora_te_a_b", 1)], &["-a.b", "-a_b", "+lora_te_a_b"]);
        check(
            &[("a.b", 1)],
            &[("lora_te1_a_b", 1), ("lora_te2_a_b", 1)],
            &["-a.b", "+lora_te1_a_b", "+lora_te2_a_b"],
        );
    }

    #[test]
    fn what_has_no_partner_is_listed() {
        check(&[("a", 1), ("b", 1)], &[("a", 3), ("c", 1)], &["-b", "~a=a", "+c"]);
    }
}
