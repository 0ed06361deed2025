//! Which matrix of one checkpoint is which of another: two files of one model need not use the same names.
//!
//! It uses only names and shapes. A pair is never guessed: a name that fits two matrices pairs with none.

mod canonical;
mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::brief;
use crate::layer::Layer;

use canonical::all_canonical;
pub use canonical::canonical;
use keys::{called, names, place, tensor};

/// The same logical matrix on both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// In the checkpoint that was started from.
    pub base: Arc<Layer>,
    /// In the fine-tune.
    pub tuned: Arc<Layer>,
}

/// A matrix without a partner of its shape.
#[derive(Debug, Clone, PartialEq)]
pub enum Unpaired {
    /// The tuned checkpoint has nothing under this name.
    Removed(Arc<Layer>),
    /// The base has nothing under this name.
    Added(Arc<Layer>),
    /// The base has several matrices that this name may mean, or one that several names may mean.
    Ambiguous(Arc<Layer>),
    /// Both have it, in different shapes.
    Reshaped(Pair),
}

/// Says that two models share no matrix, with one of each.
pub fn unrelated((base, a): (&str, &str), (tuned, b): (&str, &str)) -> String {
    format!(
        "{base} and {tuned} have no matrix in common: `{}` against `{}`; are they checkpoints of one model?",
        brief(a),
        brief(b)
    )
}

/// All pairs, in the order of `tuned`, then the unpaired: first of `base`, then of `tuned`, each in its order.
pub fn pairs(base: &[Arc<Layer>], tuned: &[Arc<Layer>]) -> (Vec<Pair>, Vec<Unpaired>) {
    let partners = partners(base, tuned);
    let taken = taken(&partners);
    let removed = (0..base.len()).filter(|i| !taken.contains(i));
    let mut left: Vec<Unpaired> = removed.map(|i| Unpaired::Removed(base[i].clone())).collect();
    let mut pairs = vec![];
    for (tuned, partner) in tuned.iter().zip(partners) {
        let tuned = tuned.clone();
        match partner {
            Partner::Nowhere => left.push(Unpaired::Added(tuned)),
            Partner::Several => left.push(Unpaired::Ambiguous(tuned)),
            Partner::At(i) => {
                let pair = Pair { base: base[i].clone(), tuned };
                if (pair.base.rows, pair.base.cols) == (pair.tuned.rows, pair.tuned.cols) {
                    pairs.push(pair);
                } else {
                    left.push(Unpaired::Reshaped(pair));
                }
            }
        }
    }
    (pairs, left)
}

/// Where in the base a matrix of the tuned checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Partner {
    Nowhere,
    At(usize),
    /// Its name fits several matrices, or its partner fits several names.
    Several,
}

/// The partner of each of `tuned`: the same part of the same tensor; failing that, the same name; failing that, the same
/// canonical name, of the tensor and then of the matrix; failing that, the only name that ends in the other.
fn partners(base: &[Arc<Layer>], tuned: &[Arc<Layer>]) -> Vec<Partner> {
    let mut partners = vec![Partner::Nowhere; tuned.len()];
    for name in [place, called, tensor] {
        // Names of two large models take as much memory as what is known of their matrices.
        if !partners.contains(&Partner::Nowhere) {
            return partners;
        }
        by_name(&names(base, name), &names(tuned, name), &mut partners);
    }
    by_meaning(&names(base, called), &names(tuned, called), &mut partners);
    partners
}

/// Pairs names that mean the same module.
fn by_meaning<S: AsRef<str>>(names: &[S], wanted: &[S], partners: &mut [Partner]) {
    let (names, wanted) = (all_canonical(names), all_canonical(wanted));
    by_name(&names, &wanted, partners);
    underscored(&names, &wanted, partners);
    by_ending(&names, &wanted, partners);
}

/// Where in the base each of `tuned` is, names of stored tensors: under the same name, or failing that under the only one
/// that means the same.
pub fn tensors(base: &[&str], tuned: &[&str]) -> Vec<Option<usize>> {
    let mut partners = vec![Partner::Nowhere; tuned.len()];
    by_name(base, tuned, &mut partners);
    if partners.contains(&Partner::Nowhere) {
        by_name(&all_canonical(base), &all_canonical(tuned), &mut partners);
    }
    positions(&partners)
}

/// Which of `base`, names of modules, each of `tuned` means: as [`pairs`] finds matrices by their names alone.
pub fn modules(base: &[String], tuned: &[String]) -> Vec<Option<usize>> {
    let mut partners = vec![Partner::Nowhere; tuned.len()];
    by_name(base, tuned, &mut partners);
    by_meaning(base, tuned, &mut partners);
    positions(&partners)
}

fn positions(partners: &[Partner]) -> Vec<Option<usize>> {
    partners.iter().map(|partner| if let Partner::At(i) = partner { Some(*i) } else { None }).collect()
}

/// Pairs equal names that occur once among the unpaired.
fn by_name<S: AsRef<str>>(names: &[S], wanted: &[S], partners: &mut [Partner]) {
    let taken = taken(partners);
    let ours = names.iter().enumerate().filter(|(b, _)| !taken.contains(b));
    let theirs = wanted.iter().enumerate().filter(|(t, _)| partners[*t] == Partner::Nowhere);
    let ours = ours.map(|(b, name)| (name.as_ref(), false, b));
    let mut known: Vec<(&str, bool, usize)> =
        ours.chain(theirs.map(|(t, name)| (name.as_ref(), true, t))).collect();
    known.sort_unstable();
    for same in known.chunk_by(|(a, ..), (b, ..)| a == b) {
        match same.split_at(same.partition_point(|(_, is_theirs, _)| !is_theirs)) {
            ([], _) | (_, []) => {}
            ([(.., b)], [(.., t)]) => partners[*t] = Partner::At(*b),
            (_, theirs) => theirs.iter().for_each(|(.., t)| partners[*t] = Partner::Several),
        }
    }
}

/// The matrices of the base that have a partner.
fn taken(partners: &[Partner]) -> BTreeSet<usize> {
    positions(partners).into_iter().flatten().collect()
}

/// Finds the partners of names that have something before them on one side only.
fn by_ending(names: &[String], wanted: &[String], partners: &mut [Partner]) {
    let taken = taken(partners);
    let free = (0..names.len()).filter(|b| !taken.contains(b));
    let free: Vec<(usize, &str)> = free.map(|b| (b, names[b].as_str())).collect();
    let loose = (0..wanted.len()).filter(|t| partners[*t] == Partner::Nowhere);
    let loose: Vec<(usize, &str)> = loose.map(|t| (t, wanted[t].as_str())).collect();
    let ours: BTreeMap<usize, Vec<usize>> = fitting(&free, &loose).collect();
    for (t, fitting) in fitting(&loose, &free) {
        match fitting[..] {
            [] => {}
            [b] if ours[&b].len() == 1 => partners[t] = Partner::At(b),
            _ => partners[t] = Partner::Several,
        }
    }
}

/// Up to two of `those` that each of `these` fits: one name ends in the other.
///
/// Every end of a name is looked up once, so the work grows like sorting, not like comparing all with all.
fn fitting<'n>(
    these: &[(usize, &'n str)],
    those: &[(usize, &'n str)],
) -> impl Iterator<Item = (usize, Vec<usize>)> {
    let mut whole: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut ends: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, name) in those {
        whole.entry(name).or_default().push(*index);
        for end in endings(name) {
            // Two are as many as all.
            let fitting = ends.entry(end).or_default();
            fitting.extend((fitting.len() < 2).then_some(*index));
        }
    }
    these.iter().map(move |(index, name)| {
        let longer = ends.get(name).into_iter().flatten();
        let shorter = endings(name).filter_map(|end| whole.get(end)).flatten();
        (*index, longer.chain(shorter).copied().take(2).collect())
    })
}

/// The parts after each dot of a name; no real one has more dots than are tried.
fn endings(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').take(MOST_PARTS).map(|(at, _)| &name[at + 1..])
}

const MOST_PARTS: usize = 64;

/// Finds the partners of names that have lost their dots: by writing every name of the base without dots, as which of
/// its underscores were dots is unknown. In a pipeline only the named component is searched. The same name,
/// or the only one that ends in it; no partner is found twice.
fn underscored(names: &[String], wanted: &[String], partners: &mut [Partner]) {
    if !wanted.iter().any(|name| is_underscored(name)) {
        return;
    }
    let flat: Vec<String> = names.iter().map(|name| name.replace('.', "_")).collect();
    let mut known: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, name) in flat.iter().enumerate() {
        // Every end of the name that may be a name of its own.
        for end in std::iter::once(names[i].as_str()).chain(endings(&names[i])) {
            known.entry(&name[name.len() - end.len()..]).or_default().push(i);
        }
    }
    let owners: BTreeSet<&str> = names.iter().filter_map(|name| component(name)).collect();
    let mut claims: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (t, name) in wanted.iter().enumerate() {
        let Some((parts, bare)) = bare(name).filter(|_| partners[t] == Partner::Nowhere) else { continue };
        let mut fitting = known.get(bare).cloned().unwrap_or_default();
        let mut whole = bare.to_owned();
        if !owners.is_empty() && !parts.is_empty() {
            let owner = parts.iter().find(|part| owners.contains(*part));
            fitting.retain(|b| owner.copied() == component(&names[*b]));
            whole = format!("{}_{bare}", owner.unwrap_or(&""));
        }
        let exact: Vec<usize> = fitting.iter().copied().filter(|b| flat[*b] == whole).collect();
        match (&exact[..], &fitting[..]) {
            (_, []) => {}
            ([b], _) | ([], [b]) => claims.entry(*b).or_default().push(t),
            _ => partners[t] = Partner::Several,
        }
    }
    let taken = taken(partners);
    for (b, claims) in claims {
        match claims[..] {
            [t] if !taken.contains(&b) => partners[t] = Partner::At(b),
            _ => claims.iter().for_each(|t| partners[*t] = Partner::Several),
        }
    }
}

/// Prefixes of kohya's scripts and LyCORIS for names with underscores, and the components of a pipeline that it may
/// mean: the first that exists.
const UNDERSCORED: [(&str, &[&str]); 8] = [
    ("lora_unet_", &["unet", "transformer"]),
    ("lora_te_", &["text_encoder"]),
    ("lora_te1_", &["text_encoder"]),
    ("lora_te2_", &["text_encoder_2"]),
    // Of Stable Diffusion 3, and of FLUX, whose T5 is the second.
    ("lora_te3_", &["text_encoder_3", "text_encoder_2"]),
    ("lora_transformer_", &["transformer"]),
    ("lora_prior_", &["prior"]),
    ("lycoris_", &[]),
];

/// The component of a pipeline that a matrix is of, by its name.
fn component(name: &str) -> Option<&str> {
    let known = || UNDERSCORED.iter().flat_map(|(_, parts)| *parts).chain(&["vae"]);
    name.split_once('.').map(|(owner, _)| owner).filter(|owner| known().any(|part| part == owner))
}

/// Whether the dots of `name` were turned into underscores.
pub fn is_underscored(name: &str) -> bool {
    bare(name).is_some()
}

/// The possible components and the name without its prefix, for a name with underscores.
fn bare(name: &str) -> Option<(&'static [&'static str], &str)> {
    let bare = |(prefix, parts): &(&str, &'static [&str])| Some((*parts, name.strip_prefix(prefix)?));
    UNDERSCORED.iter().find_map(bare).filter(|(_, name)| !name.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Dtype;

    fn layers(names: &[(&str, usize)]) -> Vec<Arc<Layer>> {
        let layer = |(name, rows): &(&str, usize)| Arc::new(Layer::plain(*name, (*rows, 2), Dtype::F32));
        names.iter().map(layer).collect()
    }

    /// Pairs as `base=tuned`, then the unpaired with `-`, `+` or `~` before them.
    fn check(base: &[(&str, usize)], tuned: &[(&str, usize)], expected: &[&str]) {
        let (pairs, left) = pairs(&layers(base), &layers(tuned));
        let both = |pair: &Pair| format!("{}={}", pair.base.name, pair.tuned.name);
        let left = left.iter().map(|unpaired| match unpaired {
            Unpaired::Removed(layer) => format!("-{}", layer.name),
            Unpaired::Added(layer) => format!("+{}", layer.name),
            Unpaired::Ambiguous(layer) => format!("?{}", layer.name),
            Unpaired::Reshaped(pair) => format!("~{}", both(pair)),
        });
        assert_eq!(pairs.iter().map(both).chain(left).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_same_name_is_the_same_matrix() {
        check(&[("a", 1), ("b", 1)], &[("b", 1), ("a", 1)], &["b=b", "a=a"]);
    }

    #[test]
    fn dialects_of_one_model_pair() {
        check(
            &[("model.layers.0.mlp.experts.1.w2", 1), ("model.embed_tokens", 1)],
            &[("blk.0.ffn_down_exps[1]", 1), ("token_embd", 1)],
            &["model.layers.0.mlp.experts.1.w2=blk.0.ffn_down_exps[1]", "model.embed_tokens=token_embd"],
        );
    }

    #[test]
    fn wrappers_do_not_hide_a_matrix() {
        check(
            &[("l.0.q", 1)],
            &[("base_model.model.l.0.q.base_layer", 1)],
            &["l.0.q=base_model.model.l.0.q.base_layer"],
        );
        check(&[("module._orig_mod.l.0.q", 1)], &[("l.0.q", 1)], &["module._orig_mod.l.0.q=l.0.q"]);
    }

    #[test]
    fn names_that_mean_the_same_pair_as_they_are_stored_or_not_at_all() {
        let twice = [("a.q", 1), ("module.a.q", 1)];
        check(&twice, &twice, &["a.q=a.q", "module.a.q=module.a.q"]);
        check(&[("a.q", 1)], &twice, &["a.q=a.q", "+module.a.q"]);
        check(&[("_orig_mod.a.q", 1)], &twice, &["-_orig_mod.a.q", "?a.q", "?module.a.q"]);
    }

    #[test]
    fn a_prefix_on_one_side_is_seen_through_where_it_is_unambiguous() {
        check(&[("model.l.0.q", 1)], &[("l.0.q", 1)], &["model.l.0.q=l.0.q"]);
        check(
            &[("l.0.q", 1)],
            &[("vision.l.0.q", 1), ("text.l.0.q", 1)],
            &["-l.0.q", "?vision.l.0.q", "?text.l.0.q"],
        );
        check(&[("text.q", 1), ("vision.q", 1)], &[("q", 1)], &["-text.q", "-vision.q", "?q"]);
    }

    #[test]
    fn a_prefix_on_a_whole_large_model_is_seen_through() {
        let name = |i: usize| format!("layers.{}.mlp.expert.{}.up_proj", i / 384, i % 384);
        let base: Vec<String> = (0..18_000).map(|i| format!("text.{}", name(i))).collect();
        let tuned: Vec<String> = (0..18_000).map(|i| format!("policy.actor.text.{}", name(i))).collect();
        let named = |names: &[String]| -> Vec<Arc<Layer>> {
            layers(&names.iter().map(|name| (name.as_str(), 1)).collect::<Vec<_>>())
        };
        let (pairs, left) = pairs(&named(&base), &named(&tuned));
        assert!(left.is_empty() && pairs.len() == 18_000);
        assert!(pairs.iter().all(|pair| pair.tuned.name.ends_with(pair.base.name.as_str())));
    }

    #[test]
    fn names_without_dots_are_found_by_writing_the_base_without_dots() {
        check(
            &[("unet.a.to_q", 1), ("unet.a_to.k", 1)],
            &[("lora_unet_a_to_q", 1), ("lora_unet_a_to_k", 1)],
            &["unet.a.to_q=lora_unet_a_to_q", "unet.a_to.k=lora_unet_a_to_k"],
        );
        // If two components have the name, it belongs to the named component.
        check(
            &[("unet.a.conv", 1), ("vae.a.conv", 1)],
            &[("lora_unet_a_conv", 1)],
            &["unet.a.conv=lora_unet_a_conv", "-vae.a.conv"],
        );
        check(
            &[("unet.a.conv", 1), ("vae.a.conv", 1)],
            &[("lycoris_a_conv", 1)],
            &["-unet.a.conv", "-vae.a.conv", "?lycoris_a_conv"],
        );
        // In a pipeline no other component is searched, and a whole name wins over the end of one.
        check(
            &[("text_encoder.a.q", 1), ("vae.a.conv", 1)],
            &[("lora_te2_a_q", 1), ("lora_unet_a_conv", 1)],
            &["-text_encoder.a.q", "-vae.a.conv", "+lora_te2_a_q", "+lora_unet_a_conv"],
        );
        check(
            &[("text_encoder.a.q", 1), ("text_encoder_2.a.q", 1)],
            &[("lora_te1_a_q", 1), ("lora_te3_a_q", 1)],
            &["text_encoder.a.q=lora_te1_a_q", "text_encoder_2.a.q=lora_te3_a_q"],
        );
        check(
            &[("transformer.out", 1), ("transformer.blocks.0.out", 1)],
            &[("lora_transformer_out", 1), ("lora_unet_blocks_0_out", 1)],
            &["transformer.out=lora_transformer_out", "transformer.blocks.0.out=lora_unet_blocks_0_out"],
        );
        // Two names of the base are equal without dots; one name can't distinguish two encoders.
        check(&[("a.b", 1), ("a_b", 1)], &[("lora_te_a_b", 1)], &["-a.b", "-a_b", "?lora_te_a_b"]);
        check(
            &[("a.b", 1)],
            &[("lora_te1_a_b", 1), ("lora_te2_a_b", 1)],
            &["-a.b", "?lora_te1_a_b", "?lora_te2_a_b"],
        );
    }

    #[test]
    fn what_has_no_partner_is_listed() {
        check(&[("a", 1), ("b", 1)], &[("a", 3), ("c", 1)], &["-b", "~a=a", "+c"]);
    }
}
