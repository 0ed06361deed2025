//! Finds outliers: which matrices, in which column, compared with which peers.
//!
//! A matrix is compared with its peers, those of its module type: with the ones of its block where these are many, as
//! experts are, else with those of all blocks. Its distance from their median is told in robust standard deviations,
//! 1.4826 times the median absolute deviation (Iglewicz & Hoaglin 1993). Few peers tell little about their spread, so
//! it is at least the spread of all module types together, relative to their medians. A number with a standard
//! error (`alpha` and `alpha_sigma`) has at least that spread.

use std::collections::BTreeMap;

use crate::report::{Column, Format, MissingReason, Report, Row, Value};

use super::module_grid::{Kinds, Spread};

/// From here on a distance is news (Iglewicz & Hoaglin 1993).
pub(super) const NEWS: f64 = 3.5;
/// Beyond this a distance says no more.
pub(super) const FARTHEST: f64 = 99.0;
/// From the median absolute deviation to the standard deviation of a normal law.
const NORMAL: f64 = 1.4826;
/// The spread is at least 1 % of the median, and at least 1 for a count: smaller deviations don't matter.
const LEAST: f64 = 0.01;
/// So many peers in one block need no others.
const MANY: usize = 8;

/// A number far from its peers.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub row: usize,
    pub column: &'static Column,
    pub value: f64,
    /// Of the peers.
    pub median: f64,
    /// In robust standard deviations, with the direction.
    pub distance: f64,
    /// Position among [`Standing::peers`].
    pub group: usize,
}

/// Every row's deviation from its peers.
#[derive(Debug)]
pub(super) struct Standing {
    /// Groups of rows that are compared with each other.
    pub peers: Vec<Vec<usize>>,
    /// The findings of each row, largest first.
    findings: BTreeMap<usize, Vec<Finding>>,
    /// The largest distance of each row, news or not.
    pub severity: Vec<f64>,
}

impl Standing {
    /// Compares in the columns that `keys` name, and in counts that are zero almost everywhere.
    pub(super) fn new(report: &Report, kinds: &Kinds, keys: &[&str]) -> Self {
        let peers = peers(report, kinds);
        let mut standing = Self { peers, findings: BTreeMap::new(), severity: vec![0.0; report.rows.len()] };
        for column in &report.columns {
            let numbers: Vec<Option<f64>> =
                report.rows.iter().map(|row| row.values.get(column.key).and_then(Value::number)).collect();
            if keys.contains(&column.key) || is_hygiene(column, &numbers) {
                let error = format!("{}_sigma", column.key);
                let error = |row: usize| report.rows[row].values.get(&error).and_then(Value::number);
                standing.compare(column, &numbers, &error);
            }
        }
        for findings in standing.findings.values_mut() {
            findings.sort_by(|a, b| b.distance.abs().total_cmp(&a.distance.abs()));
        }
        standing
    }

    /// The findings of a row, largest first.
    pub(super) fn of(&self, row: usize) -> &[Finding] {
        self.findings.get(&row).map_or(&[], Vec::as_slice)
    }

    /// All rows, the worst first: by the largest distance, then by how many columns show it.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut rows: Vec<usize> = (0..self.severity.len()).collect();
        rows.sort_by(|a, b| {
            self.severity[*b]
                .total_cmp(&self.severity[*a])
                .then(self.of(*b).len().cmp(&self.of(*a).len()))
                .then(a.cmp(b))
        });
        rows
    }

    /// The rows there is news about, the worst first.
    pub(super) fn worst(&self) -> Vec<usize> {
        self.order().into_iter().filter(|row| !self.of(*row).is_empty()).collect()
    }

    /// The distance of `row` in the column `key`, where it is news.
    pub(super) fn news(&self, row: usize, key: &str) -> Option<f64> {
        self.of(row).iter().find(|finding| finding.column.key == key).map(|finding| finding.distance)
    }

    fn compare(
        &mut self,
        column: &'static Column,
        numbers: &[Option<f64>],
        error: &dyn Fn(usize) -> Option<f64>,
    ) {
        let medians: Vec<Option<(f64, f64)>> = self.peers.iter().map(|rows| middle(rows, numbers)).collect();
        let usual = usual(&self.peers, &medians, numbers).max(LEAST);
        let far = numbers.iter().flatten().fold(0.0f64, |far, x| far.max(x.abs()));
        let least = if column.format == Format::Count { 1.0 } else { 0.0 };
        for group in 0..self.peers.len() {
            let Some((median, deviation)) = medians[group] else { continue };
            let spread = deviation.max(usual * median.abs()).max(least);
            for row in self.peers[group].clone() {
                let Some(value) = numbers[row] else { continue };
                let spread = spread.max(error(row).unwrap_or(0.0));
                // If all peers are zero there is no spread: any other value is as far as can be.
                let unit = if spread > 0.0 { spread } else { far / FARTHEST };
                let distance = ((value - median) / unit).clamp(-FARTHEST, FARTHEST);
                self.severity[row] = self.severity[row].max(distance.abs());
                if distance.abs() >= NEWS {
                    let finding = Finding { row, column, value, median, distance, group };
                    self.findings.entry(row).or_default().push(finding);
                }
            }
        }
    }
}

/// Why a row has no numbers to compare: it failed, or its weight is not finite.
pub(super) fn unmeasured(row: &Row) -> Option<String> {
    let not_finite = row.values.0.iter().any(|(_, value)| *value == Value::Missing(MissingReason::NonFinite));
    row.failed.clone().or_else(|| not_finite.then(|| MissingReason::NonFinite.to_string()))
}

/// A count that is zero in most rows: of entries that are not finite, of rows that are zero.
fn is_hygiene(column: &Column, numbers: &[Option<f64>]) -> bool {
    let zeros = numbers.iter().filter(|x| x.is_some_and(|x| x.abs() <= 0.0)).count();
    column.format == Format::Count && 2 * zeros > numbers.len()
}

/// Groups of three and more rows of one module type.
fn peers(report: &Report, kinds: &Kinds) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<(usize, Option<u64>), Vec<usize>> = BTreeMap::new();
    let crowded = |row: usize| {
        let block = report.rows[row].block.and_then(|block| kinds.blocks.binary_search(&block).ok());
        block.is_some_and(|block| kinds.cells[&(block, kinds.of[row])].len() >= MANY)
    };
    for row in 0..report.rows.len() {
        let block = if crowded(row) { report.rows[row].block } else { None };
        groups.entry((kinds.of[row], block)).or_default().push(row);
    }
    groups.into_values().filter(|rows| rows.len() >= 3).collect()
}

/// Median and robust standard deviation of the rows that have a number.
fn middle(rows: &[usize], numbers: &[Option<f64>]) -> Option<(f64, f64)> {
    let values: Vec<f64> = rows.iter().filter_map(|row| numbers[*row]).collect();
    let median = Spread::of(values.clone())?.median;
    let deviations = values.iter().map(|x| (x - median).abs()).collect();
    Some((median, NORMAL * Spread::of(deviations)?.median))
}

/// The robust standard deviation of all rows from the medians of their groups, relative to these.
fn usual(peers: &[Vec<usize>], medians: &[Option<(f64, f64)>], numbers: &[Option<f64>]) -> f64 {
    let groups = peers.iter().zip(medians);
    let deviations = groups.filter_map(|(rows, middle)| middle.map(|(median, _)| (rows, median)));
    let deviations = deviations.filter(|(_, median)| median.abs() > 0.0).flat_map(|(rows, median)| {
        rows.iter().filter_map(move |row| numbers[*row]).map(move |x| ((x - median) / median).abs())
    });
    Spread::of(deviations.collect()).map_or(0.0, |spread| NORMAL * spread.median)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::html::tests::{COUNT, REAL, report, set};

    /// The rows there is news about, worst first, when `REAL` and `COUNT` have these values in blocks 0, 1, ….
    fn check(real: &[f64], count: &[u64], expected: &[usize]) {
        let names: Vec<String> = (0..real.len()).map(|i| format!("l.{i}.q")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut report = report(&names);
        for (i, x) in real.iter().enumerate() {
            set(&mut report, i, &REAL, Value::Real(*x));
            set(&mut report, i, &COUNT, Value::Count(count.get(i).copied().unwrap_or(0)));
        }
        let kinds = Kinds::new(&report);
        assert_eq!(Standing::new(&report, &kinds, &["real"]).worst(), expected, "{real:?} {count:?}");
    }

    #[test]
    fn what_lies_far_from_its_peers_is_news() {
        check(&[107.0, 1.0, 109.0, 112.0, 104.0], &[], &[1]);
        check(&[5.0, 5.1, 4.9, 5.2, 5.05], &[], &[]);
        check(&[5.0, 5.0, 5.0, 5.001], &[], &[]);
    }

    #[test]
    fn a_few_counts_among_zeros_are_news() {
        check(&[1.0; 5], &[0, 0, 7, 1, 0], &[2]);
        check(&[1.0; 5], &[3, 3, 3, 3, 9], &[]);
    }

    #[test]
    fn among_zeros_the_largest_change_is_the_worst() {
        check(&[0.0, -1e-7, 0.0, -0.99, 0.0], &[], &[3]);
    }
}
