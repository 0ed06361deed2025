//! A value as a person reads it: digits, marks of caution, short forms of lists.

use crate::notation;
use crate::report::{Aspect, Column, ColumnKey, Flag, Format, MissingReason, Quantity, Row, Value};

/// Marks an exponent that was fitted on few values.
pub(super) const UNSURE: &str = "~";
/// Exponents, and the flags that say so.
pub(super) const SHORT_TAILS: [(&str, Flag); 3] =
    [("alpha", Flag::LowNTail), ("farms_alpha", Flag::LowNTail), ("whole_alpha", Flag::LowNWholeTail)];

/// A change from 0 to another number, from one step to the next.
const FROM_ZERO: &str = "+∞";

/// A value as a person reads it.
pub(super) fn cell(row: &Row, column: &Column) -> String {
    let value = match row.values.get(column.key) {
        Some(Value::Missing(MissingReason::ZeroBase)) if is_step_change(column) => {
            return FROM_ZERO.to_owned();
        }
        None | Some(Value::Missing(_)) => return "–".to_owned(),
        Some(value) => value,
    };
    let text = match value {
        Value::Count(n) => n.to_string(),
        Value::Real(x) => number(x, column.format),
        Value::Missing(_) => String::new(),
    };
    match column.key {
        _ if is_unsure(row, column) => format!("{UNSURE}{text}"),
        "lowest_cosine" | "right_lowest_cosine" if row.flags.contains(&Flag::CosineBounds) => {
            format!("≤{text}")
        }
        _ => text,
    }
}

fn is_step_change(column: &Column) -> bool {
    matches!(column.quantity, Quantity::Compared(ColumnKey { aspect: Aspect::StepChange, .. }))
}

/// Whether a value is an exponent that was fitted on few values.
pub(super) fn is_unsure(row: &Row, column: &Column) -> bool {
    SHORT_TAILS.iter().any(|(key, flag)| column.key == *key && row.flags.contains(flag))
}

/// `#1,3–5` for 1, 3, 4, 5.
pub(super) fn ranges(indices: &[u64]) -> String {
    let mut runs: Vec<(u64, u64)> = vec![];
    for index in indices {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let run = |(first, last): &(u64, u64)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}–{last}"),
    };
    let runs: Vec<String> = runs.iter().map(run).collect();
    if runs.is_empty() { String::new() } else { format!("#{}", runs.join(",")) }
}

/// A real number as a person reads it.
pub(super) fn number(x: f64, format: Format) -> String {
    match format {
        Format::Share => signed(notation::share(x)),
        Format::Change => notation::change(x),
        Format::Count if x.fract().abs() <= 0.0 => signed(format!("{x:.0}")),
        Format::Count | Format::Real => signed(notation::real(x)),
    }
}

/// With the minus sign that changes have.
fn signed(text: String) -> String {
    match text.strip_prefix('-') {
        Some(digits) => format!("\u{2212}{digits}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_directions_are_written_short() {
        assert_eq!(ranges(&[1, 3, 4, 5, 7, 8]), "#1,3–5,7,8");
        assert_eq!(ranges(&[]), "");
    }
}
