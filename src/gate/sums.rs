//! A rule on many rows as one number: the largest, the mean, how many.

use crate::layer::natural;
use crate::notation;
use crate::report::{Column, Offender, Outcome};

use super::bounds::Known;
use super::clause::Breach;
use super::{AGGREGATES, Aggregate, Crossing, Line, Operator, phrases};

/// A number, and what has it.
pub(super) type Named<'i> = (&'i str, Known);

/// A number over many rows, and the line it is held against.
pub(super) struct Sum {
    pub(super) line: Line,
    pub(super) aggregate: Aggregate,
    pub(super) column: &'static Column,
    pub(super) condition: Option<Line>,
}

impl Sum {
    /// On which side of the line the sum over `numbers` lies.
    pub(super) fn crossing(&self, numbers: &[Named<'_>]) -> Crossing {
        let Known { low, high, .. } = self.over(numbers);
        self.line.crossing((low, high))
    }

    /// The finding on the sum over `numbers`.
    pub(super) fn finding(&self, numbers: &[Named<'_>]) -> Option<Breach> {
        let known = self.over(numbers);
        let (name, key) = (self.name(), self.column.key);
        let met = |share: f64| format!("{} of {}", notation::count(share as u64), numbers.len());
        let told = match self.aggregate {
            Aggregate::Count => format!("{name} of {key} = {}", notation::count(known.value as u64)),
            Aggregate::Share => format!(
                "{name} of {key} = {} % ({})",
                notation::real(100.0 * known.value),
                met((known.value * numbers.len() as f64).round())
            ),
            _ if known.low.is_finite() && known.high.is_finite() => {
                format!("{name} of {key} = {}", notation::real(known.value))
            }
            _ => phrases::known(self.column, &format!("{name} of {key}"), known),
        };
        let width = (known.high - known.low) / if self.condition.is_some() { 1.0 } else { 2.0 };
        let told = format!("{told}{}", self.farthest(numbers));
        let (outcome, what) = match self.line.crossing((known.low, known.high)) {
            Crossing::Clear => return None,
            Crossing::Crossed => (Outcome::Fail, told),
            Crossing::Unsure => (Outcome::Inconclusive, phrases::unsure(&told, width)),
        };
        let finding = Offender { matrix: None, outcome, what, missing: None, note: None, step: None };
        Some(Breach { excess: self.line.excess(known.value), gap: None, finding })
    }

    /// The matrix that weighs most: of a largest or smallest value the one that has it, of those counted the farthest.
    fn farthest(&self, numbers: &[Named<'_>]) -> String {
        let line = match (self.aggregate, self.condition) {
            (Aggregate::Max, _) => Line { operator: Operator::Greater, ..self.line },
            (Aggregate::Min, _) => Line { operator: Operator::Less, ..self.line },
            (_, Some(condition)) => condition,
            (_, None) => return String::new(),
        };
        let counts = |(_, known): &&Named<'_>| self.condition.is_none() || line.crossed(known.value);
        let most = numbers.iter().filter(counts).max_by(|(a, x), (b, y)| {
            line.excess(x.value).total_cmp(&line.excess(y.value)).then_with(|| natural(b, a))
        });
        match most {
            None => String::new(),
            Some((name, _)) if self.condition.is_none() => format!(", in {name}"),
            Some((name, known)) => format!("; farthest {name}: {}", notation::real(known.value)),
        }
    }

    /// The name of the aggregate.
    pub(super) fn name(&self) -> &'static str {
        AGGREGATES.iter().find(|(_, a)| *a == self.aggregate).map_or("", |(name, _)| name)
    }

    fn over(&self, numbers: &[Named<'_>]) -> Known {
        let numbers = || numbers.iter().map(|(_, known)| known);
        let met = |crossings: &[Crossing]| {
            let of = |known: &Known| self.condition.map(|line| line.crossing((known.low, known.high)));
            numbers().filter(|known| of(known).is_some_and(|found| crossings.contains(&found))).count() as f64
        };
        let n = numbers().count() as f64;
        let of = |end: &dyn Fn(&Known) -> f64, met: f64| match self.aggregate {
            Aggregate::Count => met,
            Aggregate::Share => met / n,
            Aggregate::Mean => numbers().map(end).sum::<f64>() / n,
            Aggregate::Sum => numbers().map(end).sum(),
            Aggregate::Max => numbers().map(end).fold(f64::NEG_INFINITY, f64::max),
            Aggregate::Min => numbers().map(end).fold(f64::INFINITY, f64::min),
        };
        let certain = met(&[Crossing::Crossed]);
        Known {
            value: of(&|known| known.value, certain),
            low: of(&|known| known.low, certain),
            high: of(&|known| known.high, met(&[Crossing::Crossed, Crossing::Unsure])),
        }
    }
}
