//! Acceptances: rows that may cross a limit, for a reason and until a day.
//!
//! It reads no clock; the caller passes the day.

use std::fmt;

use globset::GlobMatcher;

use crate::error::printable;
use crate::report::Outcome;

use super::Rule;
use super::clause::Breach;
use super::missing::{Gap, MissingPolicy};

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    /// The year.
    pub year: u16,
    /// The month, from 1.
    pub month: u8,
    /// The day of the month, from 1.
    pub day: u8,
}

impl Day {
    /// The day `days` after 1970-01-01.
    pub fn after_epoch(days: u64) -> Self {
        let (mut year, mut left) = (1970, days);
        let leap =
            |year: u16| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let length = |year| if leap(year) { 366 } else { 365 };
        while year < u16::MAX && left >= length(year) {
            left -= length(year);
            year += 1;
        }
        let february = if leap(year) { 29 } else { 28 };
        let mut month = 1;
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
            if left < length {
                break;
            }
            left -= length;
            month += 1;
        }
        Self { year, month, day: left as u8 + 1 }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Which judgements an acceptance is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepts {
    /// Those of one rule, as it is written.
    Rule(String),
    /// Those of every rule on a column.
    Column(String),
}

/// Something that crosses a line and may.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// Which judgements.
    pub accepts: Accepts,
    /// The rows it covers; without a glob, all rows and sums.
    pub matrix: Option<GlobMatcher>,
    /// Which values that could not be measured it is about, too.
    pub missing: MissingPolicy,
    /// Why.
    pub reason: String,
    /// The last day on which it holds.
    pub until: Option<Day>,
}

impl Acceptance {
    /// Whether it covers the rule `text` on column `key` for this row, or for a sum, which has no name.
    pub(super) fn is_about(&self, text: &str, key: &str, name: Option<&str>) -> bool {
        self.names(text, key)
            && self.matrix.as_ref().is_none_or(|glob| name.is_some_and(|name| glob.is_match(name)))
    }

    /// Whether it names the rule `text` or its column `key`.
    pub(super) fn names(&self, text: &str, key: &str) -> bool {
        match &self.accepts {
            Accepts::Rule(rule) => rule == text,
            Accepts::Column(column) => column == key,
        }
    }

    /// Whether it covers the finding: a crossed limit, or a value missing for a reason that it names.
    fn covers(&self, gap: Option<&Gap>) -> bool {
        gap.is_none_or(|gap| self.missing.allows(gap))
    }

    /// Whether it holds on the day `today`.
    fn holds(&self, today: Day) -> bool {
        self.until.is_none_or(|until| today <= until)
    }
}

/// Marks accepted findings, and notes on the others why an acceptance does not apply.
pub(super) fn accept(accepted: &[Acceptance], today: Day, rule: &Rule, found: &mut Breach) {
    let Breach { gap, finding, .. } = found;
    let about =
        |acceptance: &&Acceptance| acceptance.is_about(rule.text(), rule.key(), finding.matrix.as_deref());
    let about: Vec<&Acceptance> = accepted.iter().filter(about).collect();
    let (valid, expired): (Vec<&Acceptance>, Vec<&Acceptance>) =
        about.into_iter().partition(|acceptance| acceptance.holds(today));
    if let Some(holds) = valid.iter().find(|acceptance| acceptance.covers(gap.as_ref())) {
        let until = holds.until.map_or_else(String::new, |day| format!(" until {day}"));
        finding.outcome = Outcome::Accepted;
        finding.note = Some(format!("accepted{until}: {}", printable(&holds.reason)));
    } else if let (Some(gap), Some(_)) = (gap, valid.first()) {
        let code = gap.why.code();
        finding.note = Some(format!(
            "a missing value is accepted only where the acceptance has `allow-missing = [\"{code}\"]`"
        ));
    } else if let Some((expired, day)) = expired.first().and_then(|first| Some((first, first.until?))) {
        finding.note = Some(format!("was accepted until {day}: {}", printable(&expired.reason)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        let check = |days, expected: &str| assert_eq!(Day::after_epoch(days).to_string(), expected);
        check(0, "1970-01-01");
        check(58, "1970-02-28");
        check(59, "1970-03-01");
        check(11_016, "2000-02-29");
        check(11_322, "2000-12-31");
        check(20_781, "2026-11-24");
        check(47_540, "2100-02-28");
        check(47_541, "2100-03-01");
    }
}
