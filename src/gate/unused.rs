//! Acceptances that accept nothing any more.

use globset::GlobMatcher;

use super::Gate;
use crate::report::Report;

impl Gate {
    /// Whether the `i`-th acceptance is about a rule that was judged on `report`, and nothing that it names breaks it.
    pub fn is_unused(&self, i: usize, report: &Report) -> bool {
        let accepted = &self.accepted[i];
        let rules = self.clauses.iter().map(|clause| &clause.rule).zip(&report.verdicts);
        let (mut judged, mut used) = (false, false);
        for (rule, verdict) in rules.filter(|(rule, _)| accepted.names(rule.text(), rule.key())) {
            judged = true;
            used |= verdict
                .offenders
                .iter()
                .any(|offender| accepted.is_about(rule.text(), rule.key(), offender.matrix.as_deref()));
        }
        // A filter may have left out what it names.
        let is_there = |glob: &GlobMatcher| report.rows.iter().any(|row| glob.is_match(row.name.as_str()));
        judged && !used && (report.totals.filtered == 0 || accepted.matrix.as_ref().is_none_or(is_there))
    }
}
