//! Adapters that do not hold what their method promises.

use super::tell::{self, Line};
use super::view::Matrix;
use super::{Definition, Of, Search, Searched, Unknown};
use crate::report::Level;

pub(super) const BROKEN_INVARIANT: Definition = Definition {
    name: "broken-invariant",
    levels: &[Level::Problem],
    of: Of::Updates,
    evidence: &["broken"],
    search: Search::All(|side| {
        let judged =
            side.of(Of::Updates).iter().filter_map(|matrix| Some((matrix, matrix.number("broken")?)));
        let judged: Vec<(&Matrix<'_>, f64)> = judged.collect();
        let mut found: Vec<&(&Matrix<'_>, f64)> = judged.iter().filter(|(_, broken)| *broken > 0.0).collect();
        // The sort is stable: of equals the first in report order.
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        let unknown = judged
            .is_empty()
            .then(|| Unknown::everywhere("which method made the adapter is not known".to_owned()));
        let Some((first, most)) = found.first() else { return Searched { line: None, unknown } };
        let sentence = format!(
            "{} of {} modules {} not hold what the method promises; {} breaks {} of its invariants.",
            tell::count(found.len()),
            tell::count(judged.len()),
            if found.len() == 1 { "does" } else { "do" },
            first.name(),
            tell::count(*most as usize),
        );
        let matrices = found.iter().map(|(matrix, _)| matrix.name().to_owned()).collect();
        Searched { line: Some(Line { level: Level::Problem, matrices, sentence }), unknown }
    }),
};
