//! Rules over a report: what a team has drawn a line at, and whether it was crossed.
//!
//! A verdict is computed from the `Report`, never from what was printed. A rule names the *failing* condition.

mod words;

use globset::{Glob, GlobMatcher};

use crate::error::Error;
use crate::notation;
use crate::report::{Column, Outcome, Report, Row, Value, Verdict};

/// A parsed `[GLOB:] COLUMN OP NUMBER[%]` or `[GLOB:] AGGREGATE(COLUMN [OP NUMBER]) OP NUMBER[%]`.
#[derive(Debug, Clone)]
pub struct Rule {
    text: String,
    glob: Option<GlobMatcher>,
    subject: Subject,
    line: Line,
}

/// What is compared with the line.
#[derive(Debug, Clone)]
enum Subject {
    Each(&'static str),
    All(Aggregate, &'static str, Option<Line>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Max,
    Min,
    Mean,
    Sum,
    Count,
    Share,
}

const AGGREGATES: [(&str, Aggregate); 6] = [
    ("max", Aggregate::Max),
    ("min", Aggregate::Min),
    ("mean", Aggregate::Mean),
    ("sum", Aggregate::Sum),
    ("count", Aggregate::Count),
    ("share", Aggregate::Share),
];

/// A comparison with a number.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Line {
    operator: Operator,
    number: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// Longer spellings first: `<=` is not `<`.
const OPERATORS: [(&str, Operator); 6] = [
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Line {
    fn crossed(self, x: f64) -> bool {
        match self.operator {
            Operator::Less => x < self.number,
            Operator::LessOrEqual => x <= self.number,
            Operator::Greater => x > self.number,
            Operator::GreaterOrEqual => x >= self.number,
            Operator::Equal => x.total_cmp(&self.number).is_eq(),
            Operator::NotEqual => x.total_cmp(&self.number).is_ne(),
        }
    }

    /// How far `x` lies beyond the line, for naming the worst.
    fn excess(self, x: f64) -> f64 {
        match self.operator {
            Operator::Less | Operator::LessOrEqual => self.number - x,
            Operator::Greater | Operator::GreaterOrEqual => x - self.number,
            Operator::Equal | Operator::NotEqual => (x - self.number).abs(),
        }
    }
}

/// What a value that could not be measured means to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingPolicy {
    /// The rule fails and says why.
    Fails,
    /// The row is passed over and counted.
    Allowed,
}

impl Rule {
    /// Parses `text` against the columns a report will have.
    ///
    /// # Errors
    /// [`Error::Usage`] that says which part is wrong and, for a column, the nearest right one.
    pub fn parse(text: &str, columns: &[&'static Column]) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Usage(format!("rule `{text}`: {what}"));
        let (left, line) = comparison(text).map_err(|what| wrong(&what))?;
        let line = line.ok_or_else(|| {
            wrong("no comparison; write `[GLOB:] COLUMN OP NUMBER`, as in `stable_rank < 2`")
        })?;
        // A colon may stand in a name, so the glob ends at the last one.
        let (glob, expression) = match left.rsplit_once(':') {
            Some((glob, expression)) => (Some(glob.trim()), expression.trim()),
            None => (None, left),
        };
        let glob = glob.map(|glob| Glob::new(glob).map(|glob| glob.compile_matcher()));
        let glob = glob.transpose().map_err(|e| wrong(&e.to_string()))?;
        let subject = match expression.strip_suffix(')').and_then(|s| s.split_once('(')) {
            None => Subject::Each(column(expression, columns)?),
            Some((name, inside)) => {
                let name = name.trim();
                let aggregate =
                    AGGREGATES.iter().find(|(known, _)| *known == name).map(|(_, aggregate)| *aggregate);
                let aggregate = aggregate.ok_or_else(|| {
                    wrong(&format!("`{name}` is none of max, min, mean, sum, count, share"))
                })?;
                let (key, condition) = comparison(inside).map_err(|what| wrong(&what))?;
                let counts = matches!(aggregate, Aggregate::Count | Aggregate::Share);
                if condition.is_some() != counts {
                    let shape = if counts { "takes a comparison" } else { "takes a column alone" };
                    return Err(wrong(&format!("`{name}(…)` {shape}")));
                }
                Subject::All(aggregate, column(key, columns)?, condition)
            }
        };
        Ok(Self { text: text.to_owned(), glob, subject, line })
    }

    /// What the rule says of `report`.
    ///
    /// # Errors
    /// [`Error::Usage`] when the rule's glob matches no row: a gate that looks at nothing would always pass.
    pub fn judge(&self, report: &Report, policy: MissingPolicy) -> Result<Verdict, Error> {
        let matches = |row: &&Row| self.glob.as_ref().is_none_or(|glob| glob.is_match(&row.name));
        let rows: Vec<&Row> = report.rows.iter().filter(matches).collect();
        if rows.is_empty() {
            return Err(Error::Usage(format!("rule `{}`: no matrix of the report matches", self.text)));
        }
        let key = match self.subject {
            Subject::Each(key) | Subject::All(_, key, _) => key,
        };
        let mut numbers = vec![];
        let mut missing = vec![];
        for row in rows {
            match row.values.get(key) {
                // There is nothing that could cross the line; that a matrix is gone is a column of its own.
                Some(Value::Missing(why)) if why.is_vacuous() => {}
                value => match value.and_then(Value::number) {
                    Some(x) => numbers.push((row, x)),
                    None => missing.push((row.name.as_str(), words::reason(row, key))),
                },
            }
        }
        let (broken, worst) = match &self.subject {
            Subject::Each(key) => self.each(key, &numbers),
            Subject::All(aggregate, key, condition) => self.all(*aggregate, key, *condition, &numbers),
        };
        let unmeasured = missing.first().filter(|_| policy == MissingPolicy::Fails);
        let unmeasured = unmeasured.map(|(name, why)| format!("{name}: {key} could not be measured: {why}"));
        let failed = broken > 0 || unmeasured.is_some();
        Ok(Verdict {
            rule: self.text.clone(),
            outcome: if failed { Outcome::Fail } else { Outcome::Pass },
            broken: broken as u64,
            missing: missing.len() as u64,
            worst: worst.or(unmeasured),
        })
    }

    fn each(&self, key: &str, numbers: &[(&Row, f64)]) -> (usize, Option<String>) {
        let broken: Vec<_> = numbers.iter().filter(|(_, x)| self.line.crossed(*x)).collect();
        let worst = broken.iter().max_by(|a, b| {
            // Of equals the first in report order.
            self.line.excess(a.1).total_cmp(&self.line.excess(b.1)).then(std::cmp::Ordering::Greater)
        });
        (broken.len(), worst.map(|(row, x)| format!("{}: {}", row.name, words::told(row, key, *x))))
    }

    fn all(
        &self,
        aggregate: Aggregate,
        key: &str,
        condition: Option<Line>,
        numbers: &[(&Row, f64)],
    ) -> (usize, Option<String>) {
        let values = numbers.iter().map(|(_, x)| *x);
        let met = condition.map_or(0, |line| values.clone().filter(|x| line.crossed(*x)).count()) as f64;
        let (n, sum) = (numbers.len() as f64, values.clone().sum::<f64>());
        let result = match aggregate {
            Aggregate::Count => met,
            _ if numbers.is_empty() => return (0, None),
            Aggregate::Share => met / n,
            Aggregate::Mean => sum / n,
            Aggregate::Sum => sum,
            Aggregate::Max => values.fold(f64::NEG_INFINITY, f64::max),
            Aggregate::Min => values.fold(f64::INFINITY, f64::min),
        };
        let name = AGGREGATES.iter().find(|(_, a)| *a == aggregate).map_or("", |(name, _)| name);
        let crossed = self.line.crossed(result);
        (usize::from(crossed), crossed.then(|| format!("{name} of {key} = {}", notation::real(result))))
    }
}

/// Splits `left OP NUMBER[%]` at the last operator outside parentheses; no operator gives the whole text and no line.
fn comparison(text: &str) -> Result<(&str, Option<Line>), String> {
    let tail = text.rfind(')').map_or(0, |at| at + 1);
    let found =
        OPERATORS.iter().filter_map(|(word, op)| Some((tail + text[tail..].find(word)?, word.len(), *op)));
    let Some((at, length, operator)) = found.min_by_key(|(at, length, _)| (*at, usize::MAX - length)) else {
        return Ok((text.trim(), None));
    };
    let written = text[at + length..].trim();
    let (digits, scale) = match written.strip_suffix('%') {
        Some(digits) => (digits.trim_end(), 0.01),
        None => (written, 1.0),
    };
    let number = digits.parse::<f64>().ok().filter(|x| x.is_finite());
    let number = number.ok_or_else(|| format!("`{written}` is no number"))? * scale;
    Ok((text[..at].trim(), Some(Line { operator, number })))
}

/// The column of that key.
///
/// # Errors
/// [`Error::Usage`] with the nearest key.
pub fn column(key: &str, columns: &[&'static Column]) -> Result<&'static str, Error> {
    nearest(key, &columns.iter().map(|column| column.key).collect::<Vec<_>>())
}

/// `key`, if it is one of `keys`.
///
/// # Errors
/// [`Error::Usage`] with the one that looks most like it.
pub fn nearest<'k>(key: &str, keys: &[&'k str]) -> Result<&'k str, Error> {
    if let Some(found) = keys.iter().find(|known| **known == key) {
        return Ok(found);
    }
    let hint = likeliest(key, keys.iter().copied());
    let hint = hint.map_or_else(String::new, |key| format!("; did you mean `{key}`?"));
    Err(Error::Usage(format!("no column is called `{key}`{hint}")))
}

/// The one of `known` that looks most like `word`, if any looks like it.
pub fn likeliest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let near = known.map(|known| (strsim::jaro_winkler(word, known), known));
    near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness > 0.7).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Format, Measurements, Source, Totals, Why};

    static ALPHA: Column =
        Column { key: "alpha", label: "α", format: Format::Real, doc: "", range: "", source: "" };
    static RANK: Column =
        Column { key: "stable_rank", label: "r", format: Format::Real, doc: "", range: "", source: "" };

    fn row(name: &str, alpha: Value) -> Row {
        Row {
            name: name.to_owned(),
            values: Measurements(vec![(&ALPHA, alpha), (&RANK, Value::Real(1.0))]),
            ..Row::default()
        }
    }

    fn report() -> Report {
        Report {
            schema: 1,
            svdkit: "",
            command: "spectrum",
            model: Source { path: String::new(), format: "", commit: None, files: vec![] },
            base: None,
            tuned: vec![],
            settings: vec![],
            columns: vec![&ALPHA, &RANK],
            rows: vec![
                row("a.0", Value::Real(2.0)),
                row("a.1", Value::Real(5.0)),
                row("b", Value::Missing(Why::NonFinite)),
            ],
            skipped: vec![],
            totals: Totals::default(),
            groups: vec![],
            notes: vec![],
            verdicts: vec![],
        }
    }

    fn judged(rule: &str, policy: MissingPolicy) -> Verdict {
        Rule::parse(rule, &[&ALPHA, &RANK])
            .and_then(|rule| rule.judge(&report(), policy))
            .expect("a sound rule")
    }

    fn check(rule: &str, outcome: Outcome, broken: u64, worst: Option<&str>) {
        let verdict = judged(rule, MissingPolicy::Allowed);
        assert_eq!(
            (verdict.outcome, verdict.broken, verdict.worst.as_deref()),
            (outcome, broken, worst),
            "{rule}"
        );
    }

    fn check_error(rule: &str, part: &str) {
        let error =
            Rule::parse(rule, &[&ALPHA, &RANK]).and_then(|rule| rule.judge(&report(), MissingPolicy::Fails));
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
    fn aggregates_are_judged_as_one_number() {
        check("mean(alpha) > 3", Outcome::Fail, 1, Some("mean of alpha = 3.500"));
        check("max(alpha) > 5", Outcome::Pass, 0, None);
        check("min(alpha) < 2.5", Outcome::Fail, 1, Some("min of alpha = 2.000"));
        check("count(alpha > 4) >= 1", Outcome::Fail, 1, Some("count of alpha = 1.000"));
        check("share(alpha > 4) > 50%", Outcome::Pass, 0, None);
        check("a.*: sum(alpha) == 7", Outcome::Fail, 1, Some("sum of alpha = 7.000"));
    }

    #[test]
    fn a_value_that_could_not_be_measured_fails_and_says_why() {
        let verdict = judged("alpha > 9", MissingPolicy::Fails);
        assert_eq!((verdict.outcome, verdict.missing), (Outcome::Fail, 1));
        assert!(
            verdict
                .worst
                .expect("a reason")
                .starts_with("b: alpha could not be measured: the weight holds NaN")
        );
        assert_eq!(judged("alpha > 9", MissingPolicy::Allowed).outcome, Outcome::Pass);
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
