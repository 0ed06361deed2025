//! Unique names for rows that would share one: `emb` beside `emb.weight`, a slice beside a tensor of its name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Layer, Part};
use crate::error::printable;

impl Layer {
    /// Its name with all that its tensor's name says, printable.
    pub fn full_name(&self) -> String {
        match self.part {
            Part::Slice(i) => format!("{}[{i}]", printable(&self.tensor)),
            Part::Cut => self.name.to_string(),
            Part::Whole => printable(&self.tensor),
        }
    }
}

/// A name for each of `names`, which are pairs of a short and a full one: the short one where no other has it, else the
/// full one, and where that is another's as well, with a number behind it that counts in the order given. None of `taken`
/// is used.
pub fn distinct(names: &[(String, String)], taken: &BTreeSet<&str>) -> Vec<String> {
    let mut chosen: Vec<&String> = names.iter().map(|(short, _)| short).collect();
    loop {
        let mut counts: BTreeMap<&str, usize> = taken.iter().map(|name| (*name, 1)).collect();
        chosen.iter().for_each(|name| *counts.entry(name.as_str()).or_default() += 1);
        let shared: Vec<usize> = (0..names.len())
            .filter(|i| counts[chosen[*i].as_str()] > 1 && *chosen[*i] != names[*i].1)
            .collect();
        if shared.is_empty() {
            break;
        }
        shared.into_iter().for_each(|i| chosen[i] = &names[i].1);
    }
    let mut used: BTreeSet<String> = taken.iter().map(|name| (*name).to_owned()).collect();
    let all: BTreeSet<&String> = chosen.iter().copied().collect();
    let mut free = |name: &String| {
        let fresh = |n: usize| Some(format!("{name}#{n}")).filter(|name| !all.contains(name));
        let mut known = std::iter::once(Some(name.clone())).chain((2..).map(fresh)).flatten();
        known.find(|name| used.insert(name.clone())).unwrap_or_default()
    };
    chosen.into_iter().map(&mut free).collect()
}

/// Gives layers of one name their full ones.
pub(super) fn tell_apart(layers: &mut [Arc<Layer>]) {
    layers.sort_by(|a, b| super::natural(&a.name, &b.name).then_with(|| a.tensor.cmp(&b.tensor)));
    if !layers.array_windows::<2>().any(|[a, b]| a.name == b.name) {
        return;
    }
    let names: Vec<(String, String)> =
        layers.iter().map(|layer| (layer.name.to_string(), layer.full_name())).collect();
    for (layer, name) in layers.iter_mut().zip(distinct(&names, &BTreeSet::new())) {
        if layer.name != name {
            Arc::make_mut(layer).name = name.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[(&str, &str)], taken: &[&str], expected: &[&str]) {
        let names: Vec<(String, String)> =
            names.iter().map(|(short, full)| ((*short).to_owned(), (*full).to_owned())).collect();
        assert_eq!(distinct(&names, &taken.iter().copied().collect()), expected, "{names:?}");
    }

    #[test]
    fn a_name_is_as_short_as_it_can_be() {
        check(&[("a", "a.weight"), ("b", "b.weight")], &[], &["a", "b"]);
        check(&[("a", "a"), ("a", "a.weight")], &[], &["a", "a.weight"]);
        check(&[("a", "a.weight")], &["a"], &["a.weight"]);
        // The full name of one may be the short one of another.
        check(
            &[("a", "a"), ("a", "a.weight"), ("a.weight", "a.weight.weight")],
            &[],
            &["a", "a.weight", "a.weight.weight"],
        );
        check(
            &[("x[0]", "x[0]"), ("x[0]", "x[0]"), ("x[0]#2", "x[0]#2")],
            &[],
            &["x[0]", "x[0]#3", "x[0]#2"],
        );
    }
}
