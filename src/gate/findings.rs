//! Rules on findings: `finding(random-like)`, `*.mlp.*: finding(problem) > 2`.

use std::collections::BTreeSet;

use super::clause::{Breach, Clause};
use super::{Crossing, Line, Operator, Unit, likeliest};
use crate::error::Error;
use crate::notation;
use crate::report::{Finding, Level, Offender, Outcome, Report, Unlisted};

/// Which findings a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Name(&'static str),
    Level(Level),
}

/// What a rule without a comparison means.
pub(super) const ANY: Line = Line { operator: Operator::Greater, number: 0.0, unit: Unit::Plain };

/// The name or level between the brackets of `finding(…)`; none of what is no such rule.
pub(super) fn inside(expression: &str) -> Option<&str> {
    Some(
        expression
            .strip_suffix(')')?
            .trim_start()
            .strip_prefix("finding")?
            .trim_start()
            .strip_prefix('(')?
            .trim(),
    )
}

impl Wanted {
    /// The one of `names`, or the level, that is called `word`.
    ///
    /// # Errors
    /// In words, with the nearest name.
    pub(super) fn parse(word: &str, names: &[&'static str]) -> Result<Self, String> {
        if names.is_empty() {
            return Err("no findings are looked for in this report".to_owned());
        }
        if let Some(level) = Level::ALL.into_iter().find(|level| level.name() == word) {
            return Ok(Self::Level(level));
        }
        if let Some(name) = names.iter().find(|name| **name == word) {
            return Ok(Self::Name(name));
        }
        let levels = Level::ALL.iter().map(|level| level.name());
        let near = likeliest(word, names.iter().copied().chain(levels));
        let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        Err(format!("no finding of this command is called `{word}`{hint}"))
    }

    /// The name or the level.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Name(name) => name,
            Self::Level(level) => level.name(),
        }
    }

    fn is(self, finding: &Finding) -> bool {
        match self {
            Self::Name(name) => finding.name == name,
            // What is worse is no pass.
            Self::Level(level) => finding.level >= level,
        }
    }
}

/// What a rule on findings says: of each matrix by itself, if one is too many, else of their number. A finding about the
/// whole model counts as one, if the rule is about the whole model.
pub(super) fn judge(
    clause: &Clause,
    wanted: Wanted,
    line: Line,
    report: &Report,
) -> Result<(Vec<Breach>, Vec<String>), Error> {
    let rule = &clause.rule;
    let keeps =
        |name: &str| rule.glob.as_ref().is_none_or(|glob| glob.is_match(name)) && clause.filter.keeps(name);
    let rows = report.rows.iter().map(|row| row.name.as_str());
    let others = report.skipped.iter().map(|skipped| skipped.tensor.as_str());
    let Unlisted { unchanged, hidden } = &report.unlisted;
    let unlisted = [unchanged, &hidden.matrices, &hidden.others].into_iter().flatten();
    let mut names = rows.chain(others).chain(unlisted.map(String::as_str));
    if rule.glob.is_some() && !names.any(keeps) {
        let problem = "no matrix of the report matches".to_owned();
        return Err(Error::Rule { rule: rule.text().to_owned(), problem });
    }
    let mut found: Vec<Breach> = vec![];
    for finding in report.findings.iter().filter(|finding| wanted.is(finding)) {
        let what = |first: bool| match (first, wanted) {
            (true, _) => finding.sentence.clone(),
            (false, Wanted::Name(_)) => finding.name.to_string(),
            (false, Wanted::Level(_)) => format!("{} ({})", finding.name, finding.level.name()),
        };
        let judged = |matrix: Option<&String>, first| Offender {
            matrix: matrix.cloned(),
            outcome: Outcome::Fail,
            what: what(first),
            missing: None,
            note: None,
            step: None,
        };
        if finding.matrices.is_empty() && rule.glob.is_none() {
            found.push(Breach { excess: 0.0, gap: None, finding: judged(None, true) });
        }
        let matrices = finding.matrices.iter().enumerate().filter(|(_, name)| keeps(name));
        found.extend(matrices.map(|(i, name)| {
            let excess = -(i as f64);
            Breach { excess, gap: None, finding: judged(Some(name), i == 0) }
        }));
    }
    let number = found.len() as f64;
    if line != ANY {
        let what = format!("findings of {}: {}", wanted.word(), notation::count(found.len() as u64));
        let finding =
            Offender { matrix: None, outcome: Outcome::Fail, what, missing: None, note: None, step: None };
        found = vec![Breach { excess: line.excess(number), gap: None, finding }];
    }
    if line.crossing((number, number)) != Crossing::Crossed {
        found.clear();
    }
    let unchecked = report.findings_unchecked.iter();
    if let (true, Wanted::Name(name)) = (found.is_empty(), wanted) {
        // What was looked for nowhere has not passed.
        let nowhere = unchecked.clone().filter(|unchecked| unchecked.name == name && unchecked.everywhere);
        found.extend(nowhere.map(|unchecked| {
            let what = format!("{name} cannot be judged: {}", unchecked.reason);
            let outcome = Outcome::Inconclusive;
            let finding = Offender { matrix: None, outcome, what, missing: None, note: None, step: None };
            Breach { excess: f64::NEG_INFINITY, gap: None, finding }
        }));
    }
    let remarks: BTreeSet<String> = match wanted {
        Wanted::Name(name) => unchecked
            .filter(|unchecked| unchecked.name == name)
            .map(|unchecked| format!("not looked for in {}", unchecked.reason))
            .collect(),
        Wanted::Level(_) => {
            let names: BTreeSet<String> = unchecked.map(|unchecked| unchecked.name.to_string()).collect();
            let names: Vec<String> = names.into_iter().collect();
            let told = format!("not looked for everywhere: {}", names.join(", "));
            (!names.is_empty()).then_some(told).into_iter().collect()
        }
    };
    Ok((found, remarks.into_iter().collect()))
}
