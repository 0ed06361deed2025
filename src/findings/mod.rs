//! Findings: what a careful colleague would say aloud of a report, one sentence a finding, computed from the report alone.
//!
//! Limits and how often each is wrong were measured: docs/findings.md.

mod beside;
mod bytes;
mod courses;
mod heads;
mod intruders;
mod invariants;
mod peers;
mod randomness;
mod reordered;
mod series;
mod shape;
mod summary;
mod tell;
mod updates;
mod view;

use std::collections::BTreeMap;

use crate::report::{Finding, Level, Report, Unchecked};
pub use summary::summary;
use tell::Line;
use view::{Matrix, ModelSide};

/// A finding that the program knows.
pub struct Definition {
    /// Its name in reports, rules and docs/findings.md.
    pub name: &'static str,
    /// The levels that it may have, the worst last.
    pub levels: &'static [Level],
    /// What it is looked for in.
    pub of: Of,
    /// The columns that it is computed from.
    pub evidence: &'static [&'static str],
    search: Search,
}

/// What a finding is looked for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Whatever there is.
    Anything,
    /// Whole weights.
    Weights,
    /// Updates of an adapter.
    Updates,
    /// Weights and what they were compared with.
    Pairs,
    /// One of several tuned sides, beside the others.
    Sides,
    /// Attention heads.
    Heads,
    /// The steps of a run.
    Series,
}

/// How it is looked for.
enum Search {
    /// In every matrix by itself.
    Each { see: fn(&Matrix<'_>) -> Seen, tell: fn(&[Hit<'_>]) -> String },
    /// In all matrices of a side together.
    All(fn(&ModelSide<'_>) -> Searched),
    /// In all matrices of a side and of the others.
    Beside(fn(&ModelSide<'_>, &[&ModelSide<'_>]) -> Searched),
}

/// What a matrix says of a finding.
enum Seen {
    /// It has it, to this degree: the clearest of several is told of first.
    Yes(Level, f64),
    No,
    /// It cannot be known.
    Unknown(&'static str),
}

/// Whether a finding of that name may be, of a matrix or of the model.
pub type Allows<'a> = &'a dyn Fn(&str, Option<&str>) -> bool;

/// A matrix that has a finding.
struct Hit<'v> {
    matrix: &'v Matrix<'v>,
    level: Level,
    degree: f64,
}

/// What all matrices of a side say of a finding.
struct Searched {
    line: Option<Line>,
    unknown: Option<Unknown>,
}

/// Why something was not looked for in some matrices, or in any.
struct Unknown {
    reason: String,
    everywhere: bool,
}

impl Unknown {
    fn everywhere(reason: String) -> Self {
        Self { reason, everywhere: true }
    }

    fn in_part(reason: String) -> Self {
        Self { reason, everywhere: false }
    }
}

/// Every finding, the most serious kinds first.
pub static FINDINGS: &[Definition] = &[
    bytes::NON_FINITE,
    randomness::UNTRAINED_MODEL,
    updates::UNTRAINED,
    peers::RANK_COLLAPSED,
    series::NON_FINITE_AT_STEP,
    courses::COLLAPSED_AT_STEP,
    courses::JUMP,
    courses::DRIFT_UP,
    series::IDENTICAL_STEP,
    series::INCOMPLETE_STEP,
    series::GAP,
    bytes::ALL_ZERO,
    randomness::RANDOM_LIKE,
    updates::UNRELATED,
    invariants::BROKEN_INVARIANT,
    bytes::DEAD_ROWS,
    bytes::DEAD_COLUMNS,
    bytes::DUPLICATE_ROWS,
    bytes::DUPLICATE_COLUMNS,
    heads::EXPLODING_HEAD,
    peers::OUTLIER,
    shape::DOMINANT_DIRECTION,
    shape::LARGE_ENTRY,
    shape::BELOW_ROUNDING,
    randomness::BARELY_TRAINED,
    randomness::ORTHOGONAL,
    updates::UNUSED_RANK,
    intruders::INTRUDER_DIMENSIONS,
    updates::UPDATE_DOMINATES,
    reordered::REORDERED,
    updates::RESCALED,
    beside::CHANGED_ALONE,
    beside::LARGER_CHANGE,
    beside::HIGHER_RANK_CHANGE,
    beside::NEW_DIRECTIONS,
    updates::IDENTICAL,
];

/// What was found in a report, the worst first, and what could not be looked for. `allows` says of a finding's name and a
/// matrix, or the model, that it may be and is not told.
pub fn find(report: &Report, allows: Allows<'_>) -> (Vec<Finding>, Vec<Unchecked>) {
    // Its columns have our names for other things.
    if is_weightwatcher(report) {
        return (vec![], unsearched("the columns are those of `--names weightwatcher`"));
    }
    let (mut findings, mut unchecked) = (vec![], vec![]);
    let sides = view::sides(report);
    for (i, side) in sides.iter().enumerate() {
        let others: Vec<&ModelSide<'_>> =
            sides.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, other)| other).collect();
        for definition in FINDINGS.iter().filter(|definition| definition.applies(side, &others)) {
            let Searched { line, unknown } = definition.search_in(side, &others, allows);
            findings.extend(line.map(|line| definition.finding(side, line)));
            let name = definition.name;
            unchecked.extend(unknown.map(|Unknown { reason, everywhere }| Unchecked {
                name: name.into(),
                side: side.label(),
                reason,
                everywhere,
            }));
        }
    }
    silence(&mut findings);
    // Within a level, what a side did comes before what its base has, too.
    let is_of_model = |finding: &Finding| {
        definition(&finding.name).is_none_or(|definition| !matches!(definition.of, Of::Pairs | Of::Sides))
    };
    findings.sort_by_key(|finding| (std::cmp::Reverse(finding.level), is_of_model(finding)));
    (findings, unchecked)
}

/// Whether the columns have WeightWatcher's names and meanings.
fn is_weightwatcher(report: &Report) -> bool {
    report.settings.iter().any(|(key, value)| *key == "names" && value == "weightwatcher")
}

/// Nothing was looked for, for a reason.
pub fn unsearched(reason: &str) -> Vec<Unchecked> {
    let unchecked = |definition: &Definition| Unchecked {
        name: definition.name.into(),
        side: None,
        reason: reason.to_owned(),
        everywhere: true,
    };
    FINDINGS.iter().map(unchecked).collect()
}

/// The metrics that findings are computed from, some more than once.
pub fn evidence() -> impl Iterator<Item = &'static str> {
    FINDINGS.iter().flat_map(Definition::needed)
}

/// The definition of that name.
pub fn definition(name: &str) -> Option<&'static Definition> {
    FINDINGS.iter().find(|definition| definition.name == name)
}

/// What one finding explains is not told by another: of weights that have nothing in common, everything changed.
fn silence(findings: &mut Vec<Finding>) {
    let sides: Vec<Option<String>> =
        findings.iter().filter(|finding| finding.name == "unrelated").map(|f| f.side.clone()).collect();
    let explained = |finding: &Finding| {
        let of_sides = definition(&finding.name).is_some_and(|definition| definition.of == Of::Sides);
        (of_sides || finding.name == "update-dominates") && sides.contains(&finding.side)
    };
    findings.retain(|finding| !explained(finding));
}

impl Definition {
    /// The columns that it is computed from, and those that come with what it is proven by.
    pub fn needed(&self) -> impl Iterator<Item = &'static str> + use<> {
        let proof = if self.name == reordered::REORDERED.name { &reordered::PROVEN_WITH[..] } else { &[] };
        self.evidence.iter().chain(proof).copied()
    }

    /// Whether `side` has anything that it is looked for in.
    fn applies(&self, side: &ModelSide<'_>, others: &[&ModelSide<'_>]) -> bool {
        match self.of {
            Of::Anything => true,
            Of::Sides => !others.is_empty() && !side.of(Of::Pairs).is_empty(),
            Of::Series => side.report.steps.len() > 1,
            of => !side.of(of).is_empty(),
        }
    }

    fn search_in(&self, side: &ModelSide<'_>, others: &[&ModelSide<'_>], allows: Allows<'_>) -> Searched {
        let allowed = |line: &Line| match &line.matrices[..] {
            [] => allows(self.name, None),
            names => names.iter().all(|name| allows(self.name, Some(name))),
        };
        // What is looked for in each matrix, or over steps, is told from the first.
        let is_of_first = matches!(self.search, Search::Each { .. }) || self.of == Of::Series;
        let needed = if is_of_first { 1 } else { self.evidence.len() };
        let lacks = |key: &&&str| self.of != Of::Anything && !side.has_column(key);
        if let Some(key) = self.evidence.iter().take(needed).find(lacks) {
            let unknown = Unknown::everywhere(format!("`{key}` was not measured"));
            return Searched { line: None, unknown: Some(unknown) };
        }
        match &self.search {
            Search::All(search) => {
                let Searched { line, unknown } = search(side);
                Searched { line: line.filter(|line| !allowed(line)), unknown }
            }
            Search::Beside(search) => {
                let Searched { line, unknown } = search(side, others);
                Searched { line: line.filter(|line| !allowed(line)), unknown }
            }
            Search::Each { see, tell } => {
                let (mut hits, mut unknown) = (vec![], BTreeMap::new());
                let matrices = side.of(self.of);
                for matrix in matrices {
                    match see(matrix) {
                        Seen::Yes(..) if allows(self.name, Some(matrix.name())) => {}
                        Seen::Yes(level, degree) => hits.push(Hit { matrix, level, degree }),
                        Seen::No => {}
                        Seen::Unknown(why) => *unknown.entry(why).or_insert(0) += 1,
                    }
                }
                // The sort is stable: of equals the first in report order.
                hits.sort_by(|a, b| b.level.cmp(&a.level).then(b.degree.total_cmp(&a.degree)));
                let line = hits.first().map(|first| Line {
                    level: first.level,
                    matrices: hits.iter().map(|hit| hit.matrix.name().to_owned()).collect(),
                    sentence: tell(&hits),
                });
                Searched { line, unknown: tell::unknown(&unknown, matrices.len()) }
            }
        }
    }

    fn finding(&self, side: &ModelSide<'_>, line: Line) -> Finding {
        let first = line.matrices.first().and_then(|name| side.matrix(name));
        let values = |matrix: &Matrix<'_>| -> BTreeMap<String, f64> {
            let value = |key: &&str| Some((matrix.key(key), matrix.number(key)?));
            self.evidence.iter().filter_map(value).collect()
        };
        Finding {
            name: self.name.into(),
            level: line.level,
            side: side.label(),
            evidence: first.map(values).unwrap_or_default(),
            matrices: line.matrices,
            sentence: line.sentence,
        }
    }
}
