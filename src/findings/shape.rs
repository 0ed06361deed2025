//! Single matrices whose energy lies in one entry or one direction, or whose small directions are rounding.

use super::randomness::{SHORTEST, SMALL};
use super::tell::{self, first_and_more};
use super::view::Matrix;
use super::{Definition, Of, Search, Seen};
use crate::notation::real;
use crate::report::{Concentration, Level};

pub(super) const LARGE_ENTRY: Definition = Definition {
    name: "large-entry",
    levels: &[Level::Note],
    of: Of::Weights,
    evidence: &["lone_entry", "max_abs"],
    search: Search::Each {
        see: |matrix| {
            each(matrix, "lone_entry", |size| if size >= 2.5 { Some((Level::Note, size)) } else { None })
        },
        tell: |hits| {
            let matrix = hits[0].matrix;
            let (short, long) = matrix.short_and_long();
            // In units of the root mean square entry.
            let times = matrix.number("lone_entry").unwrap_or_default() * (short * long).powf(0.25);
            let place = matrix.row.places.largest_entry.as_ref().map_or_else(String::new, |entry| {
                format!(" (row {}, column {}, {})", entry.row, entry.column, real(entry.value))
            });
            let sentence = format!(
                "One entry of {}{place} is {times:.0} times the usual size, enough to make a singular direction by itself.",
                matrix.name(),
            );
            first_and_more(hits, &sentence)
        },
    },
};

pub(super) const DOMINANT_DIRECTION: Definition = Definition {
    name: "dominant-direction",
    levels: &[Level::Note],
    of: Of::Weights,
    evidence: &["stable_rank", "spectral_norm"],
    search: Search::Each {
        see: |matrix| {
            each(matrix, "stable_rank", |rank| if rank <= 2.0 { Some((Level::Note, -rank)) } else { None })
        },
        tell: |hits| {
            let matrix = hits[0].matrix;
            let share = matrix.number("stable_rank").map_or(0.0, f64::recip);
            let which = match matrix.row.places.leading_direction {
                None => String::new(),
                Some(Concentration::Spread) => ", spread over rows and columns".to_owned(),
                Some(part) => format!(": {}", part.words()),
            };
            let sentence = format!(
                "{} of the energy of {} lies in one direction{which}.",
                tell::percent(share),
                matrix.name()
            );
            first_and_more(hits, &sentence)
        },
    },
};

pub(super) const BELOW_ROUNDING: Definition = Definition {
    name: "below-rounding",
    levels: &[Level::Note],
    of: Of::Weights,
    evidence: &["rank_above_rounding"],
    search: Search::Each {
        see: |matrix| {
            if matrix.bits().is_none_or(|bits| bits > 16) {
                return Seen::No;
            }
            let short = matrix.short_and_long().0;
            each(matrix, "rank_above_rounding", |above| {
                (above < short / 2.0).then_some((Level::Note, (short - above) / short))
            })
        },
        tell: |hits| {
            let matrix = hits[0].matrix;
            let short = matrix.short_and_long().0;
            let above = matrix.number("rank_above_rounding").unwrap_or_default();
            let sentence = format!(
                "{} of {} directions of {} are no larger than {} rounding, so its condition number and smallest singular values measure rounding.",
                tell::count((short - above) as usize),
                tell::count(short as usize),
                matrix.name(),
                matrix.row.dtype,
            );
            first_and_more(hits, &sentence)
        },
    },
};

/// What `judge` says of a number of a weight that is large enough for it.
fn each(matrix: &Matrix<'_>, key: &str, judge: impl Fn(f64) -> Option<(Level, f64)>) -> Seen {
    if !matrix.is_weight() {
        return Seen::No;
    }
    if matrix.short_and_long().0 < SHORTEST {
        return Seen::Unknown(SMALL);
    }
    match matrix.needed(key) {
        Ok(number) => judge(number).map_or(Seen::No, |(level, degree)| Seen::Yes(level, degree)),
        Err(why) => Seen::Unknown(why),
    }
}
