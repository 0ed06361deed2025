//! Which rows and cells the report's findings are about: in what order rows stand, and what is marked.

use std::collections::BTreeMap;

use crate::report::{Finding, MissingReason, Report, Row, Value};

/// The findings of each row.
#[derive(Debug)]
pub(super) struct Marks<'r> {
    rows: BTreeMap<usize, Vec<&'r Finding>>,
    /// Rows by the names that findings have for them.
    places: BTreeMap<&'r str, usize>,
    /// All rows: those that could not be measured, those with findings, the worst first, then the others.
    order: Vec<usize>,
}

impl<'r> Marks<'r> {
    pub(super) fn new(report: &'r Report) -> Self {
        let places: BTreeMap<&str, usize> =
            report.rows.iter().enumerate().map(|(i, row)| (row.name.as_str(), i)).collect();
        let mut rows: BTreeMap<usize, Vec<&Finding>> = BTreeMap::new();
        let mut rank = vec![usize::MAX; report.rows.len()];
        let mut told = 0;
        // Findings are in order, the worst first, and so are the rows of each.
        for finding in &report.findings {
            for row in finding.matrices.iter().filter_map(|name| places.get(name.as_str())) {
                rows.entry(*row).or_default().push(finding);
                rank[*row] = rank[*row].min(told);
                told += 1;
            }
        }
        let mut order: Vec<usize> = (0..rank.len()).collect();
        order.sort_by_key(|row| (unmeasured(&report.rows[*row]).is_none(), rank[*row]));
        Self { rows, places, order }
    }

    /// The findings of a row, the worst first.
    pub(super) fn of(&self, row: usize) -> &[&'r Finding] {
        self.rows.get(&row).map_or(&[], Vec::as_slice)
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
