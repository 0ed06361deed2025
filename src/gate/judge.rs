//! Rules over the rows of a report.

use std::collections::BTreeMap;

use crate::error::{Error, printable};
use crate::notation;
use crate::report::{Column, Offender, Outcome, Report, Verdict};

use super::accept::{Acceptance, Day, accept};
use super::clause::{Breach, Clause};
use super::items::{Item, Items, hidden, items};
use super::missing::Gap;
use super::sums::{Named, Sum};
use super::{Crossing, Line, Subject, findings, phrases, steps};

/// All that a report is judged by.
#[derive(Debug, Clone)]
pub struct Gate {
    /// The rules, in the order of the verdicts.
    pub clauses: Vec<Clause>,
    /// The acceptances.
    pub accepted: Vec<Acceptance>,
    /// The day on which it is judged.
    pub today: Day,
}

/// What a rule found, and the values it could not judge: those that fail it, and those that it ignores.
struct Judgement<'r> {
    found: Vec<Breach>,
    missing: Vec<&'r Gap>,
    allowed: Vec<&'r Gap>,
}

impl Gate {
    /// The verdict of each rule on `report`.
    ///
    /// # Errors
    /// [`Error::Rule`] if a rule matches no row: a gate that judges nothing would always pass.
    pub fn judge(&self, report: &Report) -> Result<Vec<Verdict>, Error> {
        self.clauses.iter().map(|clause| self.verdict(clause, report)).collect()
    }

    fn verdict(&self, clause: &Clause, report: &Report) -> Result<Verdict, Error> {
        let rule = &clause.rule;
        let (column, sum) = match &rule.subject {
            Subject::Findings(wanted) => {
                let (found, remarks) = findings::judge(clause, *wanted, rule.line, report)?;
                return Ok(self.told(clause, found, &remarks));
            }
            Subject::Each(column) => (column, None),
            Subject::All(aggregate, column, condition) => {
                let (aggregate, condition) = (*aggregate, *condition);
                (column, Some(Sum { line: rule.line, aggregate, column, condition }))
            }
        };
        let items = items(clause, column, report)?;
        let Judgement { found, missing, allowed } = match &sum {
            None => each_row(clause, rule.line, column, &items),
            Some(sum) => one_sum(clause, sum, &items),
        };
        let mut reasons = BTreeMap::new();
        for gap in missing.iter().chain(&allowed) {
            *reasons.entry(gap.why.code().to_owned()).or_default() += 1;
        }
        let remarks = [
            phrases::passed_over(&allowed, items.all.len()),
            hidden(items.hidden, &report.unlisted.hidden.by),
        ];
        Ok(Verdict {
            missing: (missing.len() + allowed.len()) as u64,
            missing_reasons: reasons,
            hidden: items.hidden as u64,
            ..self.told(clause, found, &remarks.into_iter().flatten().collect::<Vec<_>>())
        })
    }

    /// The verdict on what was found, the worst first, after what is accepted.
    fn told(&self, clause: &Clause, mut found: Vec<Breach>, remarks: &[String]) -> Verdict {
        let rule = &clause.rule;
        for found in &mut found {
            accept(&self.accepted, self.today, rule, found);
        }
        // The sort is stable, so equals stay in report order. Crossed limits come before missing values.
        found.sort_by(|a, b| {
            let order = b.finding.outcome.cmp(&a.finding.outcome);
            order.then(a.gap.is_some().cmp(&b.gap.is_some())).then(b.excess.total_cmp(&a.excess))
        });
        let count = |outcome| found.iter().filter(|found| found.finding.outcome == outcome).count() as u64;
        let broken = |found: &&Breach| found.gap.is_none() && found.finding.outcome == Outcome::Fail;
        Verdict {
            rule: rule.text.clone(),
            key: rule.key().to_owned(),
            severity: clause.severity,
            outcome: found.first().map_or(Outcome::Pass, |found| found.finding.outcome),
            broken: found.iter().filter(broken).count() as u64,
            missing: 0,
            missing_reasons: BTreeMap::new(),
            inconclusive: count(Outcome::Inconclusive),
            accepted: count(Outcome::Accepted),
            hidden: 0,
            remarks: remarks.iter().map(|remark| printable(remark)).collect(),
            worst: found.first().map(|found| found.finding.told()),
            offenders: found.into_iter().map(|found| found.finding).collect(),
        }
    }
}

/// Judges each of `items`.
fn each_row<'r>(clause: &Clause, line: Line, column: &'static Column, items: &'r Items<'_>) -> Judgement<'r> {
    let mut judgement = Judgement { found: vec![], missing: vec![], allowed: vec![] };
    for item in &items.all {
        let crossing = item.known.map(|known| line.crossing((known.low, known.high)));
        match (crossing, &item.gap) {
            (Some(Crossing::Clear), _) | (None, None) => {}
            (Some(Crossing::Crossed), _) | (Some(Crossing::Unsure), None) => {
                judgement.found.extend(crossed(line, column, item));
            }
            (_, Some(gap)) if clause.missing.allows(gap) => judgement.allowed.push(gap),
            (_, Some(gap)) => {
                judgement.missing.push(gap);
                judgement.found.push(unmeasured(column, item, gap));
            }
        }
    }
    let judged = items.all.len() > judgement.allowed.len() || items.nothing_changed;
    if !judged && judgement.allowed.iter().any(|gap| !clause.missing.names(gap.why)) {
        judgement.found.extend(nothing_judged(column.key, &judgement.allowed));
    }
    judgement
}

/// Judges the aggregate of all items.
fn one_sum<'r>(clause: &Clause, sum: &Sum, items: &'r Items<'_>) -> Judgement<'r> {
    let mut judgement = Judgement { found: vec![], missing: vec![], allowed: vec![] };
    let allows = |item: &Item<'_>| item.gap.as_ref().is_some_and(|gap| clause.missing.allows(gap));
    let numbers = |keeps: &dyn Fn(&Item<'_>) -> bool| -> Vec<Named<'_>> {
        let kept = items.all.iter().filter(|item| keeps(item));
        kept.filter_map(|item| Some((item.name.as_str(), item.known?))).collect()
    };
    // A bound that does not decide counts like a missing value.
    let (bounded, plain) = (numbers(&|_| true), numbers(&|item| !allows(item)));
    let decides =
        bounded.len() == plain.len() || (!bounded.is_empty() && sum.crossing(&bounded) != Crossing::Unsure);
    let judged = if decides { bounded } else { plain };
    for item in &items.all {
        match &item.gap {
            Some(_) if item.known.is_some() && (decides || !allows(item)) => {}
            Some(gap) if allows(item) => judgement.allowed.push(gap),
            Some(gap) => {
                judgement.missing.push(gap);
                judgement.found.push(unmeasured(sum.column, item, gap));
            }
            None => {}
        }
    }
    if !judged.is_empty() {
        judgement.found.extend(sum.finding(&judged));
    } else if judgement.missing.is_empty() && !items.nothing_changed {
        let what = format!("{} of {}", sum.name(), sum.column.key);
        judgement.found.extend(nothing_judged(&what, &judgement.allowed));
    }
    judgement
}

/// The breach by a value that does not certainly pass.
fn crossed(line: Line, column: &'static Column, item: &Item<'_>) -> Option<Breach> {
    let known = item.known?;
    let told = match (&item.gap, item.row) {
        (Some(gap), _) => phrases::bounded(column, known, gap),
        (None, Some(row)) => phrases::told(row, column, known.value),
        // Tensors without a row only have a count.
        (None, None) => format!("{} = {}", column.key, notation::count(known.value as u64)),
    };
    let (outcome, what) = match line.crossing((known.low, known.high)) {
        Crossing::Clear => return None,
        Crossing::Crossed => (Outcome::Fail, told),
        Crossing::Unsure => (Outcome::Inconclusive, phrases::unsure(&told, known.high - known.value)),
    };
    let (what, step) = steps::dated(what, (line, column, item.row.filter(|_| outcome == Outcome::Fail)));
    let matrix = Some(item.name.clone());
    let finding = Offender { matrix, outcome, what, missing: None, note: None, step };
    Some(Breach { excess: line.excess(known.value), gap: None, finding })
}

/// The breach by a missing value: a failure, or inconclusive if a bound is known.
fn unmeasured(column: &'static Column, item: &Item<'_>, gap: &Gap) -> Breach {
    let (outcome, what) = match item.known {
        Some(known) => {
            (Outcome::Inconclusive, phrases::unsure(&phrases::bounded(column, known, gap), f64::INFINITY))
        }
        None => (Outcome::Fail, phrases::unmeasured(column.key, gap)),
    };
    let matrix = Some(item.name.clone());
    let finding = Offender { matrix, outcome, what, missing: Some(gap.why), note: None, step: None };
    Breach { excess: f64::NEG_INFINITY, gap: Some(gap.clone()), finding }
}

/// A rule that has judged nothing does not pass, whatever may be missing.
fn nothing_judged(what: &str, allowed: &[&Gap]) -> Option<Breach> {
    let first = *allowed.first()?;
    let what = format!("{what} cannot be judged: no value could be measured; {}", phrases::counted(allowed));
    let (outcome, missing) = (Outcome::Inconclusive, Some(first.why));
    let finding = Offender { matrix: None, outcome, what, missing, note: None, step: None };
    Some(Breach { excess: f64::NEG_INFINITY, gap: Some(first.clone()), finding })
}

#[cfg(test)]
mod tests {
    use globset::Glob;

    use super::*;
    use crate::gate::missing::MissingPolicy;
    use crate::gate::{Accepts, Rule, tests::metric};
    use crate::layer::Filter;
    use crate::report::{
        MissingReason, Row, SCHEMA, Severity, Skipped, SkippedContent, Source, Totals, Unlisted, Value,
    };

    const KEYS: [&str; 5] = ["alpha", "stable_rank", "accuracy_floor", "spectral_norm", "nonfinite_count"];

    fn columns() -> Vec<&'static Column> {
        KEYS.map(metric).to_vec()
    }

    fn row(name: &str, alpha: Value) -> Row {
        let mut values =
            vec![("alpha", alpha), ("stable_rank", Value::Real(1.0)), ("nonfinite_count", Value::Count(0))];
        // The first row alone says how exact it is.
        if name == "a.0" {
            values.extend([("accuracy_floor", Value::Real(1e-6)), ("spectral_norm", Value::Real(1.0))]);
        }
        Row { name: name.into(), ..super::super::tests::row(&values, None) }
    }

    fn report() -> Report {
        let norm = Skipped {
            tensor: "norm.weight".into(),
            content: Some(SkippedContent { blake3: String::new(), nonfinite_count: Some(3) }),
            ..Skipped::default()
        };
        Report {
            schema: SCHEMA,
            svdkit: "".into(),
            command: "spectrum".into(),
            model: Source { path: String::new(), format: "".into(), commit: None, files: vec![] },
            base: None,
            tuned: vec![],
            settings: vec![],
            columns: columns(),
            rows: vec![
                row("a.0", Value::Real(2.0)),
                row("a.1", Value::Real(5.0)),
                row("b", Value::Missing(MissingReason::NonFinite)),
            ],
            skipped: vec![norm],
            totals: Totals::default(),
            groups: vec![],
            notes: vec![],
            summary: None,
            findings: vec![],
            findings_unchecked: vec![],
            verdicts: vec![],
            unlisted: Unlisted::default(),
            steps: vec![],
        }
    }

    fn gate(rule: &str, missing: MissingPolicy, accepted: Vec<Acceptance>) -> Result<Gate, Error> {
        let rule = Rule::parse(rule, &columns(), &["random-like"])?;
        let clause = Clause { rule, severity: Severity::Error, filter: Filter::default(), missing };
        Ok(Gate { clauses: vec![clause], accepted, today: Day { year: 2026, month: 11, day: 24 } })
    }

    fn judged(rule: &str, missing: MissingPolicy, accepted: Vec<Acceptance>) -> Verdict {
        let verdicts = gate(rule, missing, accepted).and_then(|gate| gate.judge(&report()));
        verdicts.expect("a sound rule").remove(0)
    }

    fn check(rule: &str, outcome: Outcome, broken: u64, worst: Option<&str>) {
        let verdict = judged(rule, MissingPolicy::lacking(), vec![]);
        let found = (verdict.outcome, verdict.broken, verdict.worst.as_deref());
        assert_eq!(found, (outcome, broken, worst), "{rule}");
    }

    fn check_error(rule: &str, part: &str) {
        let error = gate(rule, MissingPolicy::default(), vec![]).and_then(|gate| gate.judge(&report()));
        let error = error.expect_err(rule).to_string();
        assert!(error.contains(part), "{rule}: {error}");
    }

    #[test]
    fn a_rule_names_its_worst_row() {
        check("alpha > 1", Outcome::Fail, 2, Some("a.1: alpha = 5.000"));
        check("alpha > 5", Outcome::Pass, 0, None);
        check("alpha >= 5", Outcome::Fail, 1, Some("a.1: alpha = 5.000"));
        check("a.0: alpha > 3", Outcome::Pass, 0, None);
        check("alpha<3", Outcome::Fail, 1, Some("a.0: alpha = 2.000"));
    }

    #[test]
    fn every_broken_row_is_a_finding_the_worst_first() {
        let verdict = judged("alpha > 1", MissingPolicy::default(), vec![]);
        let names: Vec<_> =
            verdict.offenders.iter().filter_map(|finding| finding.matrix.as_deref()).collect();
        assert_eq!((names, verdict.broken, verdict.missing), (vec!["a.1", "a.0", "b"], 2, 1));
    }

    #[test]
    fn aggregates_are_judged_as_one_number() {
        check("mean(alpha) > 3", Outcome::Fail, 1, Some("mean of alpha = 3.500"));
        check("max(alpha) > 5", Outcome::Pass, 0, None);
        check("min(alpha) < 2.5", Outcome::Fail, 1, Some("min of alpha = 2.000, in a.0"));
        check("count(alpha > 4) >= 1", Outcome::Fail, 1, Some("count of alpha = 1; farthest a.1: 5.000"));
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
        // A value of a row without a floor is taken as exact.
        check("a.1: alpha == 5", Outcome::Fail, 1, Some("a.1: alpha = 5.000"));
        let sum = judged("sum(alpha) == 7", MissingPolicy::lacking(), vec![]);
        assert_eq!((sum.outcome, sum.inconclusive, sum.blocks()), (Outcome::Inconclusive, 1, true));
        let count = judged("count(alpha > 2) >= 2", MissingPolicy::lacking(), vec![]);
        assert_eq!(count.outcome, Outcome::Inconclusive);
    }

    #[test]
    fn a_value_that_could_not_be_measured_fails_and_says_why() {
        let verdict = judged("alpha > 9", MissingPolicy::default(), vec![]);
        assert_eq!((verdict.outcome, verdict.missing, verdict.broken), (Outcome::Fail, 1, 0));
        let worst = verdict.worst.expect("a reason");
        assert!(worst.starts_with("b: alpha could not be measured: the weight holds NaN"), "{worst}");
        assert_eq!(judged("alpha > 9", MissingPolicy::lacking(), vec![]).outcome, Outcome::Pass);
    }

    #[test]
    fn a_vector_that_is_not_finite_is_seen() {
        check("nonfinite_count > 0", Outcome::Fail, 1, Some("norm: nonfinite_count = 3"));
        check("a*: nonfinite_count > 0", Outcome::Pass, 0, None);
    }

    fn acceptance(accepts: Accepts, matrix: Option<&str>, until: Option<Day>) -> Acceptance {
        let matrix = matrix.map(|glob| Glob::new(glob).expect("a sound glob").compile_matcher());
        let missing = MissingPolicy::default();
        Acceptance { accepts, matrix, missing, reason: "pruned".to_owned(), until }
    }

    #[test]
    fn what_is_accepted_breaks_nothing_until_it_expires() {
        let day = |day| Some(Day { year: 2026, month: 11, day });
        let check = |matrix, until, expected: (Outcome, u64), part: &str| {
            let accepted = acceptance(Accepts::Column("alpha".to_owned()), matrix, until);
            let verdict = judged("alpha > 4", MissingPolicy::lacking(), vec![accepted]);
            assert_eq!((verdict.outcome, verdict.accepted), expected, "{matrix:?} {until:?}");
            assert!(verdict.worst.as_ref().is_some_and(|worst| worst.ends_with(part)), "{:?}", verdict.worst);
        };
        check(Some("a.1"), None, (Outcome::Accepted, 1), "; accepted: pruned");
        check(None, day(24), (Outcome::Accepted, 1), "; accepted until 2026-11-24: pruned");
        check(Some("a.0"), None, (Outcome::Fail, 0), "alpha = 5.000");
        check(Some("a.*"), day(23), (Outcome::Fail, 0), "; was accepted until 2026-11-23: pruned");
        let rule = acceptance(Accepts::Rule("sum(alpha) > 1".to_owned()), None, None);
        let outcome = |text: &str| judged(text, MissingPolicy::lacking(), vec![rule.clone()]).outcome;
        assert_eq!(outcome("sum(alpha) > 1"), Outcome::Accepted);
        assert_eq!(outcome("sum(alpha) > 2"), Outcome::Fail);
    }

    #[test]
    fn a_warning_does_not_block() {
        let mut gate = gate("alpha > 4", MissingPolicy::lacking(), vec![]).expect("a sound rule");
        gate.clauses[0].severity = Severity::Warn;
        let verdict = gate.judge(&report()).expect("rows match").remove(0);
        assert_eq!((verdict.outcome, verdict.blocks(), verdict.word()), (Outcome::Fail, false, "warn"));
    }

    #[test]
    fn a_bad_rule_is_told_with_the_way_out() {
        check_error("alpa > 2", "did you mean `alpha`?");
        check_error("alpha", "no comparison");
        check_error("alpha > x", "`x` is not a number");
        check_error("alpha > nan", "`nan` is not a number");
        check_error("median(alpha) > 1", "`median` is none of max, min");
        check_error("count(alpha) > 1", "takes a comparison");
        check_error("max(alpha > 1) > 1", "takes a column alone");
        check_error("zzz*: alpha > 1", "no matrix of the report matches");
        check_error("b.weight: alpha > 1", "names in reports leave out the `.weight`");
        let share = "300.0 % of what? `alpha` is not a share; write a number, as in `3`; a change";
        check_error("alpha < 300%", share);
        check_error("max(alpha) > 5%", "5.000 % of what?");
        check_error("count(alpha > 6) > 10%", "a count is not a share of anything; ask for `share(…)`");
        check_error("share(alpha > 6%) > 10%", "6.000 % of what?");
    }
}
