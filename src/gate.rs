//! Rules over a report: parsing them and judging them.
//!
//! A verdict is computed from the `Report`, never from what was printed. A rule names the *failing* condition.

mod accept;
mod accuracy;
mod bounds;
mod clause;
mod findings;
mod items;
mod judge;
mod lookup;
mod missing;
mod phrases;
mod steps;
mod sums;
mod unused;

use std::borrow::Cow;
use std::cmp::Ordering;

use globset::{Glob, GlobMatcher};

use crate::error::Error;
use crate::notation;
use crate::report::{Aspect, Column, Format};

pub use accept::{Acceptance, Accepts, Day};
pub use clause::Clause;
pub use judge::Gate;
pub use lookup::{ABOUT, column, likeliest, nearest};
pub use missing::{MissingPolicy, reason};

/// A parsed `[GLOB:] COLUMN OP NUMBER[%]`, `[GLOB:] AGGREGATE(COLUMN [OP NUMBER]) OP NUMBER[%]`,
/// `[GLOB:] finding(NAME|LEVEL) [OP NUMBER]` or, in a series, `[GLOB:] last|slope|max_step_change(COLUMN) OP NUMBER[%]`.
#[derive(Debug, Clone)]
pub struct Rule {
    text: String,
    glob: Option<GlobMatcher>,
    subject: Subject,
    line: Line,
}

/// What is compared with the limit.
#[derive(Debug, Clone)]
enum Subject {
    Each(&'static Column),
    All(Aggregate, &'static Column, Option<Line>),
    Findings(findings::Wanted),
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
    unit: Unit,
}

/// How a number was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Plain,
    Percent,
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
            Operator::Equal => x.partial_cmp(&self.number).is_some_and(Ordering::is_eq),
            Operator::NotEqual => x.partial_cmp(&self.number).is_none_or(Ordering::is_ne),
        }
    }

    /// The same for a number that lies somewhere in `low..=high`.
    fn crossing(self, (low, high): (f64, f64)) -> Crossing {
        if low.is_nan() || high.is_nan() {
            // As the sum of all that is lost and all that is won.
            return Crossing::Unsure;
        }
        let inside = low < high && low <= self.number && self.number <= high;
        let level = matches!(self.operator, Operator::Equal | Operator::NotEqual);
        match (self.crossed(low), self.crossed(high)) {
            _ if inside && level => Crossing::Unsure,
            (true, true) => Crossing::Crossed,
            (false, false) => Crossing::Clear,
            _ => Crossing::Unsure,
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

/// Whether a number lies beyond a limit, as far as its accuracy decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crossing {
    Clear,
    Crossed,
    Unsure,
}

impl Rule {
    /// Parses `text` against the columns a report will have, and the names of the findings it may have.
    ///
    /// # Errors
    /// [`Error::Rule`] that says which part is wrong; [`Error::Column`] with the nearest right one.
    pub fn parse(text: &str, columns: &[&'static Column], findings: &[&'static str]) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Rule { rule: text.to_owned(), problem: what.to_owned() };
        let (left, line) = comparison(text).map_err(|what| wrong(&what))?;
        // A name may contain a colon, so the glob ends at the last one.
        let (glob, expression) = match left.rsplit_once(':') {
            Some((glob, expression)) => (Some(glob.trim()), expression.trim()),
            None => (None, left),
        };
        let glob = glob.map(|glob| Glob::new(glob).map(|glob| glob.compile_matcher()));
        let glob = glob.transpose().map_err(|e| wrong(&e.to_string()))?;
        if let Some(word) = findings::inside(expression) {
            let wanted = findings::Wanted::parse(word, findings).map_err(|what| wrong(&what))?;
            let line = line.unwrap_or(findings::ANY);
            return Ok(Self { text: text.to_owned(), glob, subject: Subject::Findings(wanted), line });
        }
        let line = line.ok_or_else(|| {
            wrong("no comparison; write `[GLOB:] COLUMN OP NUMBER`, as in `stable_rank < 2`")
        })?;
        let subject = match expression.strip_suffix(')').and_then(|s| s.split_once('(')) {
            None => {
                let column = column(expression, columns)?;
                percent(line, column, columns).map_err(|what| wrong(&what))?;
                Subject::Each(column)
            }
            Some((name, inside)) if let Some(aspect) = function(name) => {
                let metric = column(inside.trim(), columns)?;
                if metric.means().aspect != Aspect::Value {
                    let metric = metric.means().metric.key;
                    return Err(wrong(&format!("`{}(…)` takes a metric, as in `{metric}`", name.trim())));
                }
                let key = metric.means().of(aspect).to_string();
                let column = columns.iter().copied().find(|column| column.key == key).ok_or_else(|| {
                    wrong(&format!(
                        "`{}(…)` is of a metric over steps, as `svdkit series` has it",
                        name.trim()
                    ))
                })?;
                percent(line, column, columns).map_err(|what| wrong(&what))?;
                Subject::Each(column)
            }
            Some((name, inside)) => {
                let name = name.trim();
                let aggregate =
                    AGGREGATES.iter().find(|(known, _)| *known == name).map(|(_, aggregate)| *aggregate);
                let aggregate = aggregate.ok_or_else(|| {
                    wrong(&format!(
                        "`{name}` is none of max, min, mean, sum, count, share, last, slope, max_step_change"
                    ))
                })?;
                let (key, condition) = comparison(inside).map_err(|what| wrong(&what))?;
                let counts = matches!(aggregate, Aggregate::Count | Aggregate::Share);
                if condition.is_some() != counts {
                    let shape = if counts { "takes a comparison" } else { "takes a column alone" };
                    return Err(wrong(&format!("`{name}(…)` {shape}")));
                }
                let column = column(key, columns)?;
                match (aggregate, line.unit) {
                    (Aggregate::Share, _) => Ok(()),
                    (Aggregate::Count, Unit::Percent) => {
                        Err("a count is not a share of anything; ask for `share(…)`".to_owned())
                    }
                    _ => percent(line, column, columns),
                }
                .and_then(|()| condition.map_or(Ok(()), |condition| percent(condition, column, columns)))
                .map_err(|what| wrong(&what))?;
                Subject::All(aggregate, column, condition)
            }
        };
        Ok(Self { text: text.to_owned(), glob, subject, line })
    }

    /// The rule as the user wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The column that it is about; none of a rule on findings.
    pub fn column(&self) -> Option<&'static Column> {
        match self.subject {
            Subject::Each(column) | Subject::All(_, column, _) => Some(column),
            Subject::Findings(_) => None,
        }
    }

    /// The key of its column, or the name or level of its finding.
    pub fn key(&self) -> &'static str {
        match self.subject {
            Subject::Each(column) | Subject::All(_, column, _) => column.key,
            Subject::Findings(wanted) => wanted.word(),
        }
    }
}

/// The aspect that rules call by that name, like a function.
fn function(name: &str) -> Option<Aspect> {
    Aspect::FUNCTIONS.iter().find(|(known, _)| *known == name.trim()).map(|(_, aspect)| *aspect)
}

/// The column key in a rule's text, not checked yet; none if the text is not a rule.
pub fn key_of(text: &str) -> Option<Cow<'_, str>> {
    let (left, _) = comparison(text).ok()?;
    let expression = left.rsplit_once(':').map_or(left, |(_, expression)| expression).trim();
    let Some((name, inside)) = expression.strip_suffix(')').and_then(|e| e.split_once('(')) else {
        return Some(expression.into());
    };
    let key = comparison(inside).ok()?.0.trim();
    let ending = Aspect::ALL.iter().find(|(aspect, _)| Some(*aspect) == function(name));
    Some(ending.map_or(key.into(), |(_, ending)| format!("{key}{ending}").into()))
}

/// The name or level in a rule on findings, before it is known whether there is such; none of other rules.
pub fn finding_of(text: &str) -> Option<&str> {
    let (left, _) = comparison(text).ok()?;
    findings::inside(left.rsplit_once(':').map_or(left, |(_, expression)| expression).trim())
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
    let (digits, scale, unit) = match written.strip_suffix('%') {
        Some(digits) => (digits.trim_end(), 0.01, Unit::Percent),
        None => (written, 1.0, Unit::Plain),
    };
    let number = digits.parse::<f64>().ok().filter(|x| x.is_finite());
    let number = number.ok_or_else(|| format!("`{written}` is not a number"))? * scale;
    Ok((text[..at].trim(), Some(Line { operator, number, unit })))
}

/// Whether `%` makes sense for `column`: it does for shares and changes.
fn percent(line: Line, column: &'static Column, columns: &[&'static Column]) -> Result<(), String> {
    if line.unit == Unit::Plain || matches!(column.format, Format::Share | Format::Change) {
        return Ok(());
    }
    let (key, number) = (column.key, line.number);
    let has = |key: &str| columns.iter().any(|column| column.key == key);
    let change = column.means().of(Aspect::Change).to_string();
    let other = if has(&change) {
        format!("a change relative to the base is `{change}`")
    } else if columns.iter().any(|column| column.format == Format::Change) {
        format!("a share of the rows is `share({key} …)`")
    } else {
        format!("a change relative to a baseline is `{change}` of `svdkit compare`")
    };
    let percent = notation::real(number * 100.0);
    Err(format!("{percent} % of what? `{key}` is not a share; write a number, as in `{number}`; {other}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::compare::DRIFTS;
    use crate::metric::METRICS;
    use crate::report::{ColumnKey, Comparison, Measurements, Row, Standing, Value};

    pub(super) fn metric(key: &str) -> &'static Column {
        let known = METRICS.iter().map(|metric| &metric.column);
        known
            .chain(DRIFTS.iter().map(|drift| &drift.column))
            .find(|column| column.key == key)
            .expect("a metric")
    }

    /// A row with `values`, of one side or, where it has a standing, of two.
    pub(super) fn row(values: &[(&'static str, Value)], status: Option<Standing>) -> Row {
        let metrics = || METRICS.iter().map(|metric| &metric.column).chain(DRIFTS.iter().map(|d| &d.column));
        let column = |key| ColumnKey::parse(key, metrics()).expect("a column").column();
        let comparison = status.map(|status| {
            Box::new(Comparison { status, base_shape: None, base_dtype: None, base_blake3: None })
        });
        let values = values.iter().map(|(key, value)| (column(key), *value)).collect();
        Row { values: Measurements(values).into(), comparison, ..Row::default() }
    }

    #[test]
    fn a_number_is_beyond_a_line_only_with_all_that_it_may_be() {
        let check = |rule: &str, range, expected| {
            let (_, line) = comparison(rule).expect("a sound rule");
            assert_eq!(line.expect("a line").crossing(range), expected, "{rule} {range:?}");
        };
        check("x < 2", (1.0, 1.5), Crossing::Crossed);
        check("x < 2", (1.0, 2.0), Crossing::Unsure);
        check("x < 2", (2.0, 2.0), Crossing::Clear);
        check("x <= 2", (2.0, 2.0), Crossing::Crossed);
        check("x > 2", (2.0, 3.0), Crossing::Unsure);
        check("x == 2", (2.0, 2.0), Crossing::Crossed);
        check("x == 2", (1.9, 2.1), Crossing::Unsure);
        check("x != 2", (1.9, 2.1), Crossing::Unsure);
        check("x != 2", (2.1, 2.2), Crossing::Crossed);
        // A change by nothing from a negative number.
        check("x != 0", (-0.0, -0.0), Crossing::Clear);
        check("x == 0", (-0.0, -0.0), Crossing::Crossed);
    }

    #[test]
    fn a_rule_tells_its_column_before_columns_are_known() {
        let check = |text: &str, key| assert_eq!(key_of(text).as_deref(), key, "{text}");
        check("alpha > 2", Some("alpha"));
        check("*.mlp.*: alpha@ft < -10%", Some("alpha@ft"));
        check("a: share( alpha > 6) > 10%", Some("alpha"));
        check("max(alpha) > 1", Some("alpha"));
        check("last(alpha) > 1", Some("alpha"));
        check("*.q: max_step_change( alpha ) > 50%", Some("alpha_max_step_change"));
        check("alpha > x", None);
    }
}
