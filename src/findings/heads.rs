//! An attention head whose logits can become far larger than those of the others.

use std::collections::BTreeMap;

use super::tell::{self, Line};
use super::view::{Matrix, ModelSide};
use super::{Definition, Of, Search, Searched, Unknown};
use crate::notation::real;
use crate::report::{Attention, Level};

/// A group of fewer heads is not compared.
const FEWEST: usize = 6;
/// A bound is far above the others from so many times their median on.
const TIMES: f64 = 2.0;
/// At most one head in so many stands apart from the others.
const PART: usize = 8;

pub(super) const EXPLODING_HEAD: Definition = Definition {
    name: "exploding-head",
    levels: &[Level::Caution],
    of: Of::Heads,
    evidence: &["logit_bound"],
    search: Search::All(|side| {
        let groups = groups(side);
        if groups.is_empty() {
            let reason = format!("no {FEWEST} heads have peers of their kind");
            return Searched { line: None, unknown: Some(Unknown::everywhere(reason)) };
        }
        let mut found: Vec<(f64, &Matrix<'_>, String)> =
            groups.iter().flat_map(|group| apart(group)).collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        let line = found.first().map(|(_, _, words)| Line {
            level: Level::Caution,
            matrices: found.iter().map(|(_, head, _)| head.name().to_owned()).collect(),
            sentence: tell::and_more(
                words,
                &found.iter().skip(1).map(|(_, head, _)| head.name()).collect::<Vec<_>>(),
            ),
        });
        Searched { line, unknown: None }
    }),
};

/// Heads with their bounds.
type Bounds<'v> = Vec<(f64, &'v Matrix<'v>)>;

/// The heads of each kind of module, whatever its block, with their bounds, the largest first.
fn groups<'v>(side: &'v ModelSide<'_>) -> Vec<Bounds<'v>> {
    let mut groups: BTreeMap<(String, [u64; 2]), Bounds<'_>> = BTreeMap::new();
    for head in side.of(Of::Heads) {
        let Some(bound) = head.number("logit_bound").filter(|bound| *bound > 0.0) else { continue };
        let module = head.row.role.rsplit_once(".head.").map_or("", |(module, _)| module);
        groups.entry((module.to_owned(), head.row.shape)).or_default().push((bound, head));
    }
    let mut groups: Vec<_> = groups.into_values().filter(|group| group.len() >= FEWEST).collect();
    groups.iter_mut().for_each(|group| group.sort_by(|a, b| b.0.total_cmp(&a.0)));
    groups
}

/// The heads above the widest gap that is as wide as all below it spreads, each with its ratio to the others' median.
fn apart<'v>(group: &[(f64, &'v Matrix<'v>)]) -> Vec<(f64, &'v Matrix<'v>, String)> {
    let bounds: Vec<f64> = group.iter().map(|(bound, _)| *bound).collect();
    let above = above(&bounds);
    let rest = &bounds[above..];
    let median = f64::midpoint(rest[(rest.len() - 1) / 2], rest[rest.len() / 2]);
    let told = group.iter().take(above).map(|(bound, head)| {
        let words = format!(
            "{}: a logit can reach {}, {} times the median of {} other heads ({}–{}).",
            head.name(),
            real(*bound),
            format_args!("{:.1}", bound / median),
            rest.len(),
            real(rest[rest.len() - 1]),
            real(rest[0]),
        );
        (bound / median, *head, words)
    });
    told.collect()
}

/// How many of these numbers, the largest first, stand apart from the rest: the gap below them is at least as wide as the
/// rest spreads, and they are several times its median.
fn above(bounds: &[f64]) -> usize {
    let most = (bounds.len() / PART).max(1).min(bounds.len().saturating_sub(FEWEST - 1));
    let is_apart = |count: &usize| {
        let rest = &bounds[*count..];
        let (high, low) = (rest[0], rest[rest.len() - 1]);
        let median = f64::midpoint(rest[(rest.len() - 1) / 2], rest[rest.len() / 2]);
        let least = bounds[count - 1];
        least > high && least.ln() - high.ln() >= high.ln() - low.ln() && least >= TIMES * median
    };
    (1..=most).filter(is_apart).max().unwrap_or(0)
}

impl Matrix<'_> {
    /// Whether it is an attention head.
    pub(super) fn is_head(&self) -> bool {
        matches!(self.row.attention.as_deref(), Some(Attention::Head(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::above;

    fn check(bounds: &[f64], expected: usize) {
        assert_eq!(above(bounds), expected, "{bounds:?}");
    }

    #[test]
    fn what_stands_apart_does_so_by_a_gap_and_a_ratio() {
        check(&[900.0, 30.0, 28.0, 25.0, 22.0, 20.0], 1);
        // No gap as wide as the rest spreads.
        check(&[90.0, 50.0, 30.0, 20.0, 10.0, 5.0], 0);
        // A gap, but not twice the median.
        check(&[30.0, 20.2, 20.1, 20.0, 19.9, 19.8], 0);
        // Too few to know.
        check(&[900.0, 30.0, 28.0, 25.0, 22.0], 0);
        let two: Vec<f64> = [900.0, 800.0].into_iter().chain((0..14).map(|i| 30.0 - f64::from(i))).collect();
        check(&two, 2);
        check(&[], 0);
    }
}
