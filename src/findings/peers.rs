//! Matrices that lie apart from their peers: those of the same role and shape.
//!
//! In small groups a robust z-score cries wolf: among six Gaussian values the largest exceeds 3.5 in 15 % of groups. A gap
//! and a least ratio do not.

use std::collections::{BTreeMap, BTreeSet};

use super::randomness::{SHORTEST, SMALL};
use super::tell::{self, Line};
use super::view::{Matrix, ModelSide};
use super::{Definition, Of, Search, Searched, Unknown};
use crate::layer::without_block;
use crate::metric::random_effective_rank;
use crate::notation::real;
use crate::report::{Level, Standing};

/// Columns that are steady enough to be compared, each with the least ratio to the median of the others.
const COMPARED: [(&str, f64, &str); 5] = [
    ("effective_rank", 4.0 / 3.0, "effective rank"),
    ("participation_ratio", 2.0, "participation ratio"),
    ("stable_rank", 2.0, "stable rank"),
    ("spectral_norm", 2.0, "spectral norm"),
    ("frobenius_norm", 2.0, "Frobenius norm"),
];

/// A group of fewer is not compared.
const FEWEST: usize = 6;

pub(super) const OUTLIER: Definition = Definition {
    name: "outlier",
    levels: &[Level::Note],
    of: Of::Weights,
    evidence: &["effective_rank", "participation_ratio", "stable_rank", "spectral_norm", "frobenius_norm"],
    search: Search::All(|side| {
        let groups = groups(side, FEWEST);
        if groups.is_empty() {
            let reason = format!("no {FEWEST} matrices share a role and a shape");
            return Searched { line: None, unknown: Some(Unknown::everywhere(reason)) };
        }
        let collapsed: Vec<String> =
            collapses(side).into_iter().map(|collapse| collapse.matrix.name().to_owned()).collect();
        let mut found: Vec<(f64, &Matrix<'_>, String)> = vec![];
        for group in &groups {
            let columns = COMPARED.map(|column| (column, Values::of(group, column.0)));
            for (i, matrix) in group.iter().enumerate().filter(|(_, matrix)| is_new(matrix)) {
                let apart = columns.iter().filter_map(|(column, values)| apart(matrix, i, column, values));
                let farthest = apart.max_by(|a, b| a.0.total_cmp(&b.0));
                if let Some((ratio, words)) =
                    farthest.filter(|_| !collapsed.iter().any(|n| n == matrix.name()))
                {
                    found.push((ratio, matrix, words));
                }
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        let line = found.first().map(|(_, _, words)| Line {
            level: Level::Note,
            matrices: found.iter().map(|(_, matrix, _)| matrix.name().to_owned()).collect(),
            sentence: tell::and_more(
                &format!("{words} First and last layers often differ for good reason."),
                &found.iter().skip(1).map(|(_, matrix, _)| matrix.name()).collect::<Vec<_>>(),
            ),
        });
        Searched { line, unknown: None }
    }),
};

pub(super) const RANK_COLLAPSED: Definition = Definition {
    name: "rank-collapsed",
    levels: &[Level::Caution, Level::Problem],
    of: Of::Weights,
    evidence: &["effective_rank"],
    search: Search::All(|side| {
        let mut found = collapses(side);
        found.sort_by(|a, b| b.level.cmp(&a.level).then(a.share.total_cmp(&b.share)));
        let line = found.first().map(|first| Line {
            level: first.level,
            matrices: found.iter().map(|collapse| collapse.matrix.name().to_owned()).collect(),
            sentence: tell::and_more(
                &first.words,
                &found.iter().skip(1).map(|collapse| collapse.matrix.name()).collect::<Vec<_>>(),
            ),
        });
        let weights = side.of(Of::Weights);
        let small = weights.iter().filter(|matrix| matrix.short_and_long().0 < SHORTEST).count();
        let mut unknown = BTreeMap::from([(SMALL, small), (UNMEASURED, without_peers(side))]);
        unknown.retain(|_, count| *count > 0);
        Searched { line, unknown: tell::unknown(&unknown, weights.len()) }
    }),
};

/// Why a matrix is not held against its peers.
const UNMEASURED: &str = "its peers did not change and were not measured (`--all` measures them)";

/// A matrix that uses far fewer directions than it should.
struct Collapse<'v> {
    matrix: &'v Matrix<'v>,
    level: Level,
    /// What it uses, of what its peers or random numbers use.
    share: f64,
    words: String,
}

fn collapses<'v>(side: &'v ModelSide<'_>) -> Vec<Collapse<'v>> {
    let mut found: Vec<Collapse<'v>> = vec![];
    for group in groups(side, 4) {
        let values = Values::of(&group, "effective_rank");
        for (i, matrix) in group.iter().enumerate().filter(|(_, matrix)| is_new(matrix)) {
            let others = values.others(i);
            let (Some(value), Some((low, high))) = (matrix.number("effective_rank"), others.range()) else {
                continue;
            };
            if value <= 0.5 * low && matrix.short_and_long().0 >= SHORTEST {
                let words = format!(
                    "{} uses {} of {} directions; its {} peers use {}–{}.",
                    matrix.name(),
                    real(value),
                    tell::count(matrix.short_and_long().0 as usize),
                    others.len(),
                    real(low),
                    real(high),
                );
                found.push(Collapse { matrix, level: Level::Problem, share: value / low, words });
            }
        }
    }
    for matrix in side.of(Of::Weights).iter().filter(|matrix| matrix.is_weight()) {
        let (short, long) = matrix.short_and_long();
        let Some(value) = matrix.number("effective_rank").filter(|_| short >= SHORTEST) else { continue };
        let reference = short * random_effective_rank(short / long);
        let known = found.iter().any(|collapse| collapse.matrix.name() == matrix.name());
        if value <= 0.1 * reference && !known {
            let words = format!(
                "{} uses {} of {} directions; random numbers of its shape use {}.",
                matrix.name(),
                real(value),
                tell::count(short as usize),
                real(reference),
            );
            found.push(Collapse { matrix, level: Level::Caution, share: value / reference, words });
        }
    }
    found
}

/// Weights of one role and shape, where there are as many.
fn groups<'v>(side: &'v ModelSide<'_>, fewest: usize) -> Vec<Vec<&'v Matrix<'v>>> {
    let mut groups: BTreeMap<(String, [u64; 2]), Vec<&'v Matrix<'v>>> = BTreeMap::new();
    let measured = |matrix: &&Matrix<'_>| matrix.is_weight() && matrix.number("effective_rank").is_some();
    for matrix in side.peers().iter().filter(measured).filter(|matrix| is_there(matrix)) {
        groups.entry((without_block(matrix.name()), matrix.row.shape)).or_default().push(matrix);
    }
    groups.into_values().filter(|group| group.len() >= fewest).collect()
}

fn is_there(matrix: &Matrix<'_>) -> bool {
    matrix.standing() != Some(Standing::Removed)
}

/// Whether it is what a finding may be about: what is said of an unchanged weight, is said of the base.
fn is_new(matrix: &Matrix<'_>) -> bool {
    matrix.standing() != Some(Standing::Unchanged)
}

/// How many changed matrices have peers that were not measured, for they did not change.
fn without_peers(side: &ModelSide<'_>) -> usize {
    let known: BTreeSet<&str> = groups(side, 4).into_iter().flatten().map(Matrix::name).collect();
    let mut sizes: BTreeMap<(String, [u64; 2]), usize> = BTreeMap::new();
    let key = |matrix: &Matrix<'_>| (without_block(matrix.name()), matrix.row.shape);
    for matrix in side.peers().iter().filter(|matrix| matrix.is_weight() && is_there(matrix)) {
        *sizes.entry(key(matrix)).or_default() += 1;
    }
    let lacks = |matrix: &&Matrix<'_>| {
        matrix.is_weight()
            && !known.contains(matrix.name())
            && sizes.get(&key(matrix)).is_some_and(|n| *n >= 4)
    };
    side.of(Of::Weights).iter().filter(lacks).count()
}

/// The positive values of a column in a group.
struct Values {
    /// Each matrix's place in `sorted`, where it has one.
    places: Vec<Option<usize>>,
    /// Ascending.
    sorted: Vec<f64>,
}

impl Values {
    fn of(group: &[&Matrix<'_>], key: &str) -> Self {
        Self::new(&group.iter().map(|matrix| matrix.number(key)).collect::<Vec<_>>())
    }

    fn new(values: &[Option<f64>]) -> Self {
        let positive = |(i, value): (usize, &Option<f64>)| value.filter(|x| *x > 0.0).map(|x| (x, i));
        let mut ranked: Vec<(f64, usize)> = values.iter().enumerate().filter_map(positive).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut places = vec![None; values.len()];
        for (place, (_, i)) in ranked.iter().enumerate() {
            places[*i] = Some(place);
        }
        Self { places, sorted: ranked.into_iter().map(|(x, _)| x).collect() }
    }

    /// All but that of the matrix at `i`.
    fn others(&self, i: usize) -> Others<'_> {
        Others { sorted: &self.sorted, left_out: self.places[i] }
    }
}

/// Values of a group without one of them.
struct Others<'v> {
    sorted: &'v [f64],
    left_out: Option<usize>,
}

impl Others<'_> {
    fn len(&self) -> usize {
        self.sorted.len() - usize::from(self.left_out.is_some())
    }

    fn at(&self, place: usize) -> f64 {
        self.sorted[place + usize::from(self.left_out.is_some_and(|left_out| place >= left_out))]
    }

    /// The least and the greatest.
    fn range(&self) -> Option<(f64, f64)> {
        (self.len() > 0).then(|| (self.at(0), self.at(self.len() - 1)))
    }

    /// Of at least one.
    fn median(&self) -> f64 {
        f64::midpoint(self.at((self.len() - 1) / 2), self.at(self.len() / 2))
    }
}

/// By what ratio a matrix lies apart from the others of its group, and the sentence that says so.
fn apart(
    matrix: &Matrix<'_>,
    i: usize,
    (key, least, words): &(&str, f64, &str),
    values: &Values,
) -> Option<(f64, String)> {
    let others = values.others(i);
    let value = matrix.number(key).filter(|x| *x > 0.0)?;
    let ratio = gap(value, &others, *least)?;
    let (low, high) = others.range()?;
    let sentence = format!(
        "{}: {words} {}, {} times its {} peers ({}–{}).",
        matrix.name(),
        real(value),
        format_args!("{ratio:.2}"),
        others.len(),
        real(low),
        real(high),
    );
    Some((ratio.ln().abs(), sentence))
}

/// The ratio of `value` to the median of `others`, if it lies apart from all of them: as far from the nearest as these
/// spread, and `least` times their median or more, up or down.
fn gap(value: f64, others: &Others<'_>, least: f64) -> Option<f64> {
    let (low, high) = others.range().filter(|_| others.len() + 1 >= FEWEST)?;
    let distance = if value > high { value.ln() - high.ln() } else { low.ln() - value.ln() };
    let ratio = value / others.median();
    let far = ratio >= least || ratio <= 1.0 / least;
    (distance > 0.0 && distance >= high.ln() - low.ln() && far).then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64], least: f64, expected: &[usize]) {
        let ranked = Values::new(&values.iter().copied().map(Some).collect::<Vec<_>>());
        let apart = |i: &usize| gap(values[*i], &ranked.others(*i), least).is_some();
        assert_eq!((0..values.len()).filter(apart).collect::<Vec<_>>(), expected, "{values:?}");
    }

    #[test]
    fn a_value_is_apart_by_a_gap_and_a_ratio() {
        check(&[310.0, 305.0, 318.0, 312.0, 120.0, 309.0], 4.0 / 3.0, &[4]);
        check(&[310.0, 305.0, 318.0, 312.0, 290.0, 309.0], 4.0 / 3.0, &[]);
        check(&[20.0, 26.0, 34.0, 44.0, 57.0, 74.0], 2.0, &[]);
        check(&[310.0, 305.0, 318.0, 120.0, 309.0], 4.0 / 3.0, &[]);
        check(&[5.0, 9.0, 20.0, 42.0, 80.0, 190.0], 2.0, &[]);
        check(&[10.0, 11.0, 12.0, 10.5, 11.5, 30.0], 2.0, &[5]);
    }
}
