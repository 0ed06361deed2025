//! Which rows and cells the report's findings are about, and which rules they break: in what order rows stand, and what is
//! marked.

use std::collections::BTreeMap;

use crate::report::{Finding, MissingReason, Offender, Outcome, Report, Row, Value, Verdict};

/// The findings of each row, and the rules that it breaks.
#[derive(Debug)]
pub(super) struct Marks<'r> {
    rows: BTreeMap<usize, Vec<&'r Finding>>,
    broken: BTreeMap<usize, Vec<(&'r Verdict, &'r Offender)>>,
    /// Rows by the names that findings have for them.
    places: BTreeMap<&'r str, usize>,
    /// All rows: those that could not be measured, those that break a rule, those with findings, the worst first, then the
    /// others.
    order: Vec<usize>,
}

impl<'r> Marks<'r> {
    pub(super) fn new(report: &'r Report, rows: &[&'r Row]) -> Self {
        let all = rows;
        let places: BTreeMap<&str, usize> =
            rows.iter().enumerate().map(|(i, row)| (row.name.as_str(), i)).collect();
        let mut rows: BTreeMap<usize, Vec<&Finding>> = BTreeMap::new();
        let mut rank = vec![usize::MAX; all.len()];
        let mut told = 0;
        // Findings are in order, the worst first, and so are the rows of each.
        for finding in &report.findings {
            for row in finding.matrices.iter().filter_map(|name| places.get(name.as_str())) {
                rows.entry(*row).or_default().push(finding);
                rank[*row] = rank[*row].min(told);
                told += 1;
            }
        }
        let mut broken: BTreeMap<usize, Vec<(&Verdict, &Offender)>> = BTreeMap::new();
        for verdict in &report.verdicts {
            let breaks =
                |offender: &&Offender| matches!(offender.outcome, Outcome::Fail | Outcome::Inconclusive);
            for offender in verdict.offenders.iter().filter(breaks) {
                let row = offender.matrix.as_deref().and_then(|name| places.get(name));
                if let Some(row) = row {
                    broken.entry(*row).or_default().push((verdict, offender));
                }
            }
        }
        let mut order: Vec<usize> = (0..rank.len()).collect();
        order.sort_by_key(|row| (unmeasured(all[*row]).is_none(), !broken.contains_key(row), rank[*row]));
        Self { rows, broken, places, order }
    }

    /// The findings of a row, the worst first.
    pub(super) fn of(&self, row: usize) -> &[&'r Finding] {
        self.rows.get(&row).map_or(&[], Vec::as_slice)
    }

    /// The rules that a row breaks, each with what breaks it.
    pub(super) fn broken(&self, row: usize) -> &[(&'r Verdict, &'r Offender)] {
        self.broken.get(&row).map_or(&[], Vec::as_slice)
    }

    /// Whether any row breaks a rule.
    pub(super) fn are_any_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Whether a row breaks a rule on a column.
    pub(super) fn is_broken(&self, row: usize, key: &str) -> bool {
        self.broken(row).iter().any(|(verdict, _)| verdict.key == key)
    }

    /// Whether the number of a row in a column is evidence of one of its findings.
    pub(super) fn is_evidence(&self, row: usize, key: &str) -> bool {
        self.of(row).iter().any(|finding| finding.evidence.contains_key(key))
    }

    /// The rows that a finding is about, the clearest first.
    pub(super) fn rows(&self, finding: &Finding) -> Vec<usize> {
        finding.matrices.iter().filter_map(|name| self.places.get(name.as_str()).copied()).collect()
    }

    /// The `most` rows that matter most, in report order.
    pub(super) fn foremost(&self, most: usize) -> Vec<usize> {
        let mut rows: Vec<usize> = self.order.iter().take(most).copied().collect();
        rows.sort_unstable();
        rows
    }
}

/// Why a row has no numbers: it failed, or its weight is not finite.
pub(super) fn unmeasured(row: &Row) -> Option<String> {
    let not_finite = row.values.iter().any(|(_, value)| value == Value::Missing(MissingReason::NonFinite));
    row.failed.clone().or_else(|| not_finite.then(|| MissingReason::NonFinite.to_string()))
}
