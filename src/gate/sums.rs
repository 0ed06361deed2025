//! A rule on many rows as one number: the largest, the mean, how many.

use crate::notation;
use crate::report::{Column, Offender, Outcome};

use super::bounds::Known;
use super::clause::Breach;
use super::{AGGREGATES, Aggregate, Crossing, Line, phrases};

/// A number over many rows, and the line it is held against.
pub(super) struct Sum {
    pub(super) line: Line,
    pub(super) aggregate: Aggregate,
    pub(super) column: &'static Column,
    pub(super) condition: Option<Line>,
}

impl Sum {
    /// On which side of the line the sum over `numbers` lies.
    pub(super) fn crossing(&self, numbers: &[Known]) -> Crossing {
        let Known { low, high, .. } = self.over(numbers);
        self.line.crossing((low, high))
    }

    /// The finding on the sum over `numbers`.
    pub(super) fn finding(&self, numbers: &[Known]) -> Option<Breach> {
        let known = self.over(numbers);
        let (name, key) = (self.name(), self.column.key);
        let told = match self.aggregate {
            Aggregate::Count => format!("{name} of {key} = {}", notation::count(known.value as u64)),
            Aggregate::Share => format!("{name} of {key} = {}", notation::real(known.value)),
            _ if known.low.is_finite() && known.high.is_finite() => {
                format!("{name} of {key} = {}", notation::real(known.value))
            }
            _ => phrases::known(self.column, &format!("{name} of {key}"), known),
        };
        let width = (known.high - known.low) / if self.condition.is_some() { 1.0 } else { 2.0 };
        let (outcome, what) = match self.line.crossing((known.low, known.high)) {
            Crossing::Clear => return None,
            Crossing::Crossed => (Outcome::Fail, told),
            Crossing::Unsure => (Outcome::Inconclusive, phrases::unsure(&told, width)),
        };
        let finding = Offender { matrix: None, outcome, what, missing: None, note: None };
        Some(Breach { excess: self.line.excess(known.value), gap: None, finding })
    }

    /// The name of the aggregate.
    pub(super) fn name(&self) -> &'static str {
        AGGREGATES.iter().find(|(_, a)| *a == self.aggregate).map_or("", |(name, _)| name)
    }

    fn over(&self, numbers: &[Known]) -> Known {
        let met = |crossings: &[Crossing]| {
            let of = |known: &Known| self.condition.map(|line| line.crossing((known.low, known.high)));
            numbers.iter().filter(|known| of(known).is_some_and(|found| crossings.contains(&found))).count()
                as f64
        };
        let n = numbers.len() as f64;
        let of = |end: &dyn Fn(&Known) -> f64, met: f64| match self.aggregate {
            Aggregate::Count => met,
            Aggregate::Share => met / n,
            Aggregate::Mean => numbers.iter().map(end).sum::<f64>() / n,
            Aggregate::Sum => numbers.iter().map(end).sum(),
            Aggregate::Max => numbers.iter().map(end).fold(f64::NEG_INFINITY, f64::max),
            Aggregate::Min => numbers.iter().map(end).fold(f64::INFINITY, f64::min),
        };
        let certain = met(&[Crossing::Crossed]);
        Known {
            value: of(&|known| known.value, certain),
            low: of(&|known| known.low, certain),
            high: of(&|known| known.high, met(&[Crossing::Crossed, Crossing::Unsure])),
        }
    }
}
