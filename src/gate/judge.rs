//! Rules over the rows of a report.

use crate::error::{Error, printable};
use crate::layer::{Filter, bare};
use crate::notation;
use crate::report::{Finding, Outcome, Report, Row, Severity, Skipped, Value, Verdict};

use super::accept::{Acceptance, Day};
use super::sums::all;
use super::{Crossing, Line, Rule, Subject, accuracy, words};

/// What a value that could not be measured means to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingPolicy {
    /// The rule fails and says why.
    Fails,
    /// The row is passed over and counted.
    Allowed,
}

/// A rule and how it is meant.
#[derive(Debug, Clone)]
pub struct Clause {
    /// The failing condition.
    pub rule: Rule,
    /// What breaking it means.
    pub severity: Severity,
    /// The rows it is about, beside the rule's own glob.
    pub filter: Filter,
    /// What a value that could not be measured means.
    pub missing: MissingPolicy,
}

/// All that a report is judged by.
#[derive(Debug, Clone)]
pub struct Gate {
    /// The rules, in the order of the verdicts.
    pub clauses: Vec<Clause>,
    /// What may cross their lines.
    pub accepted: Vec<Acceptance>,
    /// The day on which it is judged.
    pub today: Day,
}

/// A named value to be judged, or what there is instead.
pub(super) struct Item<'r> {
    pub(super) name: String,
    pub(super) value: Judged<'r>,
}

/// A number that may be off by its error, or why there is none.
pub(super) enum Judged<'r> {
    Number { row: Option<&'r Row>, value: f64, error: f64 },
    Missing(String),
}

/// A finding with how far it lies beyond the line.
pub(super) struct Found {
    pub(super) excess: f64,
    pub(super) finding: Finding,
}

impl Gate {
    /// What each rule says of `report`.
    ///
    /// # Errors
    /// [`Error::Usage`] when a rule is about no row: a gate that looks at nothing would always pass.
    pub fn judge(&self, report: &Report) -> Result<Vec<Verdict>, Error> {
        self.clauses.iter().map(|clause| self.verdict(clause, report)).collect()
    }

    fn verdict(&self, clause: &Clause, report: &Report) -> Result<Verdict, Error> {
        let rule = &clause.rule;
        let items = items(clause, report)?;
        let missing = items.iter().filter(|item| matches!(item.value, Judged::Missing(_))).count();
        let mut found: Vec<Found> = match &rule.subject {
            Subject::Each(key) => items.iter().filter_map(|item| each(rule.line, key, item)).collect(),
            Subject::All(aggregate, key, condition) => {
                all(rule.line, *aggregate, key, *condition, &items).into_iter().collect()
            }
        };
        if clause.missing == MissingPolicy::Fails {
            found.extend(items.iter().filter_map(|item| unmeasured(rule.key(), item)));
        }
        for Found { finding, .. } in &mut found {
            self.accept(rule, finding);
        }
        // The sort is stable: of equals the first in report order.
        found.sort_by(|a, b| b.finding.outcome.cmp(&a.finding.outcome).then(b.excess.total_cmp(&a.excess)));
        let count = |outcome| found.iter().filter(|found| found.finding.outcome == outcome).count() as u64;
        let beyond =
            |found: &&Found| found.excess > f64::NEG_INFINITY && found.finding.outcome == Outcome::Fail;
        Ok(Verdict {
            rule: rule.text.clone(),
            severity: clause.severity,
            outcome: found.first().map_or(Outcome::Pass, |found| found.finding.outcome),
            broken: found.iter().filter(beyond).count() as u64,
            missing: missing as u64,
            inconclusive: count(Outcome::Inconclusive),
            accepted: count(Outcome::Accepted),
            worst: found.first().map(|found| found.finding.told()),
            findings: found.into_iter().map(|found| found.finding).collect(),
        })
    }

    /// Turns a failure that was accepted into what it is, and says of one that no longer is until when it was.
    fn accept(&self, rule: &Rule, finding: &mut Finding) {
        let about =
            |acceptance: &&Acceptance| acceptance.is_about(&rule.text, rule.key(), finding.matrix.as_deref());
        let about: Vec<&Acceptance> = self.accepted.iter().filter(about).collect();
        if let Some(holds) = about.iter().find(|acceptance| acceptance.holds(self.today)) {
            let until = holds.until.map_or_else(String::new, |day| format!(" until {day}"));
            (finding.outcome, finding.note) =
                (Outcome::Accepted, Some(format!("accepted{until}: {}", printable(&holds.reason))));
        } else if let Some((expired, day)) = about.first().and_then(|first| Some((first, first.until?))) {
            finding.note = Some(format!("was accepted until {day}: {}", printable(&expired.reason)));
        }
    }
}

/// What a rule is about, in report order; what does not exist is passed over.
fn items<'r>(clause: &Clause, report: &'r Report) -> Result<Vec<Item<'r>>, Error> {
    let rule = &clause.rule;
    let key = rule.key();
    let wanted =
        |name: &str| rule.glob.as_ref().is_none_or(|glob| glob.is_match(name)) && clause.filter.keeps(name);
    let rows: Vec<&Row> = report.rows.iter().filter(|row| wanted(&row.name)).collect();
    let named = |skipped: &'r Skipped| (printable(bare(&skipped.tensor)), skipped);
    // What was only read has no other number than this.
    let others = if key == "nonfinite_count" { report.skipped.as_slice() } else { &[] };
    let others: Vec<(String, &Skipped)> = others.iter().map(named).filter(|(name, _)| wanted(name)).collect();
    if rows.is_empty() && others.is_empty() {
        return Err(Error::Usage(format!("rule `{}`: no matrix of the report matches", rule.text)));
    }
    let row = |row: &'r Row| {
        let value = match row.values.get(key) {
            // There is nothing that could cross the line; that a matrix is gone is a column of its own.
            Some(Value::Missing(why)) if why.is_vacuous() => return None,
            value => value.and_then(Value::number),
        };
        let value = match value {
            Some(value) => Judged::Number { row: Some(row), value, error: accuracy::error(row, key, value) },
            None => Judged::Missing(words::reason(row, key)),
        };
        Some(Item { name: row.name.clone(), value })
    };
    let other = |(name, skipped): (String, &Skipped)| {
        let content = skipped.content.as_ref().and_then(|content| content.nonfinite_count);
        let value = match (content, skipped.failed.as_ref().or(skipped.unseen.as_ref())) {
            (_, Some(failure)) => Judged::Missing(failure.clone()),
            (Some(count), None) => Judged::Number { row: None, value: count as f64, error: 0.0 },
            (None, None) => return None,
        };
        Some(Item { name, value })
    };
    Ok(rows.into_iter().filter_map(row).chain(others.into_iter().filter_map(other)).collect())
}

/// What a line says of one value.
fn each(line: Line, key: &str, item: &Item<'_>) -> Option<Found> {
    let Judged::Number { row, value, error } = item.value else { return None };
    let told = || {
        // What is no row is known by a count alone.
        let count = || format!("{key} = {}", notation::count(value as u64));
        row.map_or_else(count, |row| words::told(row, key, value))
    };
    let (outcome, what) = match line.crossing((value - error, value + error)) {
        Crossing::Clear => return None,
        Crossing::Crossed => (Outcome::Fail, told()),
        Crossing::Unsure => (Outcome::Inconclusive, unsure(&told(), error)),
    };
    let finding = Finding { matrix: Some(item.name.clone()), outcome, what, note: None };
    Some(Found { excess: line.excess(value), finding })
}

/// What is told of a value too close to its line.
pub(super) fn unsure(told: &str, error: f64) -> String {
    format!("{told} is too close to the line: known to ± {}", notation::real(error))
}

fn unmeasured(key: &str, item: &Item<'_>) -> Option<Found> {
    let Judged::Missing(why) = &item.value else { return None };
    let what = format!("{key} could not be measured: {why}");
    let finding = Finding { matrix: Some(item.name.clone()), outcome: Outcome::Fail, what, note: None };
    Some(Found { excess: f64::NEG_INFINITY, finding })
}

#[cfg(test)]
mod tests {
    use globset::Glob;

    use super::*;
    use crate::gate::Accepts;
    use crate::report::{Column, Format, Measurements, SkippedContent, Source, Totals, Why};

    const fn column(key: &'static str) -> Column {
        Column { key, label: key, format: Format::Real, doc: "", range: "", source: "" }
    }

    static ALPHA: Column = column("alpha");
    static RANK: Column = column("stable_rank");
    static FLOOR: Column = column("accuracy_floor");
    static NORM: Column = column("spectral_norm");
    static NONFINITE: Column = column("nonfinite_count");
    static COLUMNS: [&Column; 5] = [&ALPHA, &RANK, &FLOOR, &NORM, &NONFINITE];

    fn row(name: &str, alpha: Value) -> Row {
        let rank = (&RANK, Value::Real(1.0));
        let accuracy = [(&FLOOR, Value::Real(1e-6)), (&NORM, Value::Real(1.0))];
        let values = [(&ALPHA, alpha), rank, (&NONFINITE, Value::Count(0))];
        // The first row alone says how exact it is.
        let accuracy = accuracy.into_iter().filter(|_| name == "a.0");
        let values = values.into_iter().chain(accuracy).collect();
        Row { name: name.to_owned(), values: Measurements(values), ..Row::default() }
    }

    fn report() -> Report {
        let norm = Skipped {
            tensor: "norm.weight".to_owned(),
            content: Some(SkippedContent { blake3: String::new(), nonfinite_count: Some(3) }),
            ..Skipped::default()
        };
        Report {
            schema: 1,
            svdkit: "",
            command: "spectrum",
            model: Source { path: String::new(), format: "", commit: None, files: vec![] },
            base: None,
            tuned: vec![],
            settings: vec![],
            columns: COLUMNS.to_vec(),
            rows: vec![
                row("a.0", Value::Real(2.0)),
                row("a.1", Value::Real(5.0)),
                row("b", Value::Missing(Why::NonFinite)),
            ],
            skipped: vec![norm],
            totals: Totals::default(),
            groups: vec![],
            notes: vec![],
            verdicts: vec![],
        }
    }

    fn gate(rule: &str, missing: MissingPolicy, accepted: Vec<Acceptance>) -> Result<Gate, Error> {
        let rule = Rule::parse(rule, &COLUMNS)?;
        let clause = Clause { rule, severity: Severity::Error, filter: Filter::default(), missing };
        Ok(Gate { clauses: vec![clause], accepted, today: Day { year: 2026, month: 11, day: 24 } })
    }

    fn judged(rule: &str, missing: MissingPolicy, accepted: Vec<Acceptance>) -> Verdict {
        let verdicts = gate(rule, missing, accepted).and_then(|gate| gate.judge(&report()));
        verdicts.expect("a sound rule").remove(0)
    }

    fn check(rule: &str, outcome: Outcome, broken: u64, worst: Option<&str>) {
        let verdict = judged(rule, MissingPolicy::Allowed, vec![]);
        let found = (verdict.outcome, verdict.broken, verdict.worst.as_deref());
        assert_eq!(found, (outcome, broken, worst), "{rule}");
    }

    fn check_error(rule: &str, part: &str) {
        let error = gate(rule, MissingPolicy::Fails, vec![]).and_then(|gate| gate.judge(&report()));
        let error = error.expect_err(rule).to_string();
        assert!(error.contains(part), "{rule}: {error}");
    }

    #[test]
    fn a_rule_names_its_worst_row() {
        check("alpha > 1", Outcome::Fail, 2, Some("a.1: alpha = 5.000"));
        check("alpha > 5", Outcome::Pass, 0, None);
        check("alpha >= 5", Outcome::Fail, 1, Some("a.1: alpha = 5.000"));
        check("a.0: alpha > 3", Outcome::Pass, 0, None);
        check("alpha<300%", Outcome::Fail, 1, Some("a.0: alpha = 2.000"));
    }

    #[test]
    fn every_broken_row_is_a_finding_the_worst_first() {
        let verdict = judged("alpha > 1", MissingPolicy::Fails, vec![]);
        let names: Vec<_> = verdict.findings.iter().filter_map(|finding| finding.matrix.as_deref()).collect();
        assert_eq!((names, verdict.broken, verdict.missing), (vec!["a.1", "a.0", "b"], 2, 1));
    }

    #[test]
    fn aggregates_are_judged_as_one_number() {
        check("mean(alpha) > 3", Outcome::Fail, 1, Some("mean of alpha = 3.500"));
        check("max(alpha) > 5", Outcome::Pass, 0, None);
        check("min(alpha) < 2.5", Outcome::Fail, 1, Some("min of alpha = 2.000"));
        check("count(alpha > 4) >= 1", Outcome::Fail, 1, Some("count of alpha = 1"));
        check("share(alpha > 4) > 50%", Outcome::Pass, 0, None);
        check("a.1: sum(alpha) == 5", Outcome::Fail, 1, Some("sum of alpha = 5.000"));
        check("sum(nonfinite_count) > 2", Outcome::Fail, 1, Some("sum of nonfinite_count = 3.000"));
    }

    #[test]
    fn a_line_within_a_values_error_is_no_verdict() {
        let close = "a.0: alpha = 2.000 is too close to the line: known to ± 1.60e-5";
        check("alpha < 2.00001", Outcome::Inconclusive, 0, Some(close));
        check("alpha < 1.99999", Outcome::Inconclusive, 0, Some(close));
        check("alpha == 2", Outcome::Inconclusive, 0, Some(close));
        check("alpha < 2.00002", Outcome::Fail, 1, Some("a.0: alpha = 2.000"));
        check("alpha < 1.99998", Outcome::Pass, 0, None);
        // A row without a floor is taken as it stands.
        check("a.1: alpha == 5", Outcome::Fail, 1, Some("a.1: alpha = 5.000"));
        let sum = judged("sum(alpha) == 7", MissingPolicy::Allowed, vec![]);
        assert_eq!((sum.outcome, sum.inconclusive, sum.blocks()), (Outcome::Inconclusive, 1, true));
        let count = judged("count(alpha > 2) >= 2", MissingPolicy::Allowed, vec![]);
        assert_eq!(count.outcome, Outcome::Inconclusive);
    }

    #[test]
    fn a_value_that_could_not_be_measured_fails_and_says_why() {
        let verdict = judged("alpha > 9", MissingPolicy::Fails, vec![]);
        assert_eq!((verdict.outcome, verdict.missing, verdict.broken), (Outcome::Fail, 1, 0));
        let worst = verdict.worst.expect("a reason");
        assert!(worst.starts_with("b: alpha could not be measured: the weight holds NaN"), "{worst}");
        assert_eq!(judged("alpha > 9", MissingPolicy::Allowed, vec![]).outcome, Outcome::Pass);
    }

    #[test]
    fn a_vector_that_is_not_finite_is_seen() {
        check("nonfinite_count > 0", Outcome::Fail, 1, Some("norm: nonfinite_count = 3"));
        check("a*: nonfinite_count > 0", Outcome::Pass, 0, None);
    }

    fn acceptance(accepts: Accepts, matrix: Option<&str>, until: Option<Day>) -> Acceptance {
        let matrix = matrix.map(|glob| Glob::new(glob).expect("a sound glob").compile_matcher());
        Acceptance { accepts, matrix, reason: "pruned".to_owned(), until }
    }

    #[test]
    fn what_is_accepted_breaks_nothing_until_it_expires() {
        let day = |day| Some(Day { year: 2026, month: 11, day });
        let check = |matrix, until, expected: (Outcome, u64), part: &str| {
            let accepted = acceptance(Accepts::Column("alpha".to_owned()), matrix, until);
            let verdict = judged("alpha > 4", MissingPolicy::Allowed, vec![accepted]);
            assert_eq!((verdict.outcome, verdict.accepted), expected, "{matrix:?} {until:?}");
            assert!(verdict.worst.as_ref().is_some_and(|worst| worst.ends_with(part)), "{:?}", verdict.worst);
        };
        check(Some("a.1"), None, (Outcome::Accepted, 1), "; accepted: pruned");
        check(None, day(24), (Outcome::Accepted, 1), "; accepted until 2026-11-24: pruned");
        check(Some("a.0"), None, (Outcome::Fail, 0), "alpha = 5.000");
        check(Some("a.*"), day(23), (Outcome::Fail, 0), "; was accepted until 2026-11-23: pruned");
        let rule = acceptance(Accepts::Rule("sum(alpha) > 1".to_owned()), None, None);
        assert_eq!(
            judged("sum(alpha) > 1", MissingPolicy::Allowed, vec![rule.clone()]).outcome,
            Outcome::Accepted
        );
        assert_eq!(judged("sum(alpha) > 2", MissingPolicy::Allowed, vec![rule]).outcome, Outcome::Fail);
    }

    #[test]
    fn a_warning_does_not_block() {
        let mut gate = gate("alpha > 4", MissingPolicy::Allowed, vec![]).expect("a sound rule");
        gate.clauses[0].severity = Severity::Warn;
        let verdict = gate.judge(&report()).expect("rows match").remove(0);
        assert_eq!((verdict.outcome, verdict.blocks(), verdict.word()), (Outcome::Fail, false, "warn"));
    }

    #[test]
    fn a_bad_rule_is_told_with_the_way_out() {
        check_error("alpa > 2", "did you mean `alpha`?");
        check_error("alpha", "no comparison");
        check_error("alpha > x", "`x` is no number");
        check_error("alpha > nan", "`nan` is no number");
        check_error("median(alpha) > 1", "`median` is none of max, min");
        check_error("count(alpha) > 1", "takes a comparison");
        check_error("max(alpha > 1) > 1", "takes a column alone");
        check_error("zzz*: alpha > 1", "no matrix of the report matches");
    }
}
