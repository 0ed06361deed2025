//! Findings: what a careful colleague would say aloud of a report, one sentence a finding, computed from the report alone.
//!
//! Limits and how often each is wrong were measured: docs/findings.md.

mod bytes;
mod peers;
mod randomness;
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
    look: Look,
}

/// What a finding is looked for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Whole weights.
    Weights,
    /// Updates of an adapter.
    Updates,
    /// Weights and what they were compared with.
    Pairs,
}

/// How it is looked for.
enum Look {
    /// In every matrix by itself.
    Each { see: fn(&Matrix<'_>) -> Seen, tell: fn(&[Hit<'_>]) -> String },
    /// In all matrices of a side together.
    All(fn(&ModelSide<'_>) -> Looked),
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
struct Looked {
    line: Option<Line>,
    unknown: Option<String>,
}

/// Every finding, the most serious kinds first.
pub static FINDINGS: &[Definition] = &[
    bytes::NON_FINITE,
    randomness::UNTRAINED_MODEL,
    updates::UNTRAINED,
    peers::RANK_COLLAPSED,
    bytes::ALL_ZERO,
    randomness::RANDOM_LIKE,
    updates::UNRELATED,
    bytes::DEAD_ROWS,
    bytes::DEAD_COLUMNS,
    bytes::DUPLICATE_ROWS,
    bytes::DUPLICATE_COLUMNS,
    peers::OUTLIER,
    shape::DOMINANT_DIRECTION,
    shape::LARGE_ENTRY,
    shape::BELOW_ROUNDING,
    randomness::BARELY_TRAINED,
    randomness::ORTHOGONAL,
    updates::UNUSED_RANK,
    updates::UPDATE_DOMINATES,
    updates::REORDERED,
    updates::RESCALED,
    updates::IDENTICAL,
];

/// What was found in a report, the worst first, and what could not be looked for. `allows` says of a finding's name and a
/// matrix, or the model, that it may be and is not told.
pub fn find(report: &Report, allows: Allows<'_>) -> (Vec<Finding>, Vec<Unchecked>) {
    // Its columns have our names for other things.
    if is_weightwatcher(report) {
        return (vec![], unlooked("the columns are those of `--names weightwatcher`"));
    }
    let (mut findings, mut unchecked) = (vec![], vec![]);
    for side in view::sides(report) {
        for definition in FINDINGS {
            let Looked { line, unknown } = definition.look_at(&side, allows);
            findings.extend(line.map(|line| definition.finding(&side, line)));
            let name = definition.name;
            unchecked.extend(unknown.map(|reason| Unchecked {
                name: name.into(),
                side: side.label(),
                reason,
            }));
        }
    }
    silence(&mut findings);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    (findings, unchecked)
}

/// Whether the columns have WeightWatcher's names and meanings.
fn is_weightwatcher(report: &Report) -> bool {
    report.settings.iter().any(|(key, value)| *key == "names" && value == "weightwatcher")
}

/// Nothing was looked for, for a reason.
pub fn unlooked(reason: &str) -> Vec<Unchecked> {
    let unchecked = |definition: &Definition| Unchecked {
        name: definition.name.into(),
        side: None,
        reason: reason.to_owned(),
    };
    FINDINGS.iter().map(unchecked).collect()
}

/// The definition of that name.
pub fn definition(name: &str) -> Option<&'static Definition> {
    FINDINGS.iter().find(|definition| definition.name == name)
}

/// What one finding explains is not told by another.
fn silence(findings: &mut Vec<Finding>) {
    let sides: Vec<Option<String>> =
        findings.iter().filter(|finding| finding.name == "unrelated").map(|f| f.side.clone()).collect();
    findings.retain(|finding| finding.name != "update-dominates" || !sides.contains(&finding.side));
}

impl Definition {
    fn look_at(&self, side: &ModelSide<'_>, allows: Allows<'_>) -> Looked {
        match self.look {
            Look::All(look) => {
                let Looked { line, unknown } = look(side);
                let allowed = |line: &Line| match &line.matrices[..] {
                    [] => allows(self.name, None),
                    names => names.iter().all(|name| allows(self.name, Some(name))),
                };
                Looked { line: line.filter(|line| !allowed(line)), unknown }
            }
            Look::Each { see, tell } => {
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
                Looked { line, unknown: tell::unknown(&unknown, matrices.len()) }
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
