//! The text of a finding: the value that crossed a limit, or why it is missing.

use std::collections::BTreeMap;

use crate::notation;
use crate::report::{Aspect, Column, Row, Value};

use super::bounds::Known;
use super::missing::Gap;

/// A value that crossed a line: with both sides' own, where it is a change from one to the other.
pub(super) fn told(row: &Row, column: &'static Column, x: f64) -> String {
    let key = column.means();
    let written = match row.values.of(key) {
        Some(Value::Count(n)) => notation::count(n),
        _ => number(column, x),
    };
    let value = |aspect| row.values.of(key.of(aspect)).and_then(Value::number).map(notation::real);
    let both = match key.aspect {
        Aspect::Change | Aspect::Difference => value(Aspect::Base).zip(value(Aspect::Value)),
        _ => None,
    };
    let side = key.side.map_or_else(String::new, |side| format!("@{side}"));
    match both {
        Some((base, tuned)) => format!("{} {base} → {tuned} ({written}){side}", key.metric.key),
        None => format!("{} = {written}", column.key),
    }
}

/// A value of `column`, a change as a percentage.
fn number(column: &'static Column, x: f64) -> String {
    match x {
        f64::INFINITY => "+∞".to_owned(),
        f64::NEG_INFINITY => "\u{2212}∞".to_owned(),
        _ if matches!(column.means().aspect, Aspect::Change | Aspect::StepChange) => notation::change(x),
        _ => notation::real(x),
    }
}

/// What goes by the name `of`, in `column`, and its number, or as much as is known of it.
pub(super) fn known(column: &'static Column, of: &str, known: Known) -> String {
    let written = |x| number(column, x);
    let (low, high) = (written(known.low), written(known.high));
    match (known.low.is_finite(), known.high.is_finite()) {
        (false, false) => format!("{of} = {}", written(known.value)),
        (true, false) => format!("{of} ≥ {low}"),
        // Values that can't be negative are described by their upper end alone.
        (true, true) if known.low.abs() > 0.0 => format!("{of} is from {low} to {high}"),
        (_, true) => format!("{of} ≤ {high}"),
    }
}

/// What bounds a value that could not be measured, and why it could not.
pub(super) fn bounded(column: &'static Column, value: Known, gap: &Gap) -> String {
    format!("{}: {} ({})", known(column, column.key, value), gap.words, gap.why.code())
}

/// Why a row has no value in column `key`, and the base's value.
pub(super) fn unmeasured(key: &str, gap: &Gap) -> String {
    let base = gap.base.map_or_else(String::new, |base| format!("; the base has {}", notation::real(base)));
    format!("{key} could not be measured: {} ({}){base}", gap.words, gap.why.code())
}

/// A value too close to its line.
pub(super) fn unsure(told: &str, error: f64) -> String {
    if error.is_finite() {
        format!("{told} is too close to the line: known to ± {}", notation::real(error))
    } else {
        format!("{told}, which does not tell the side of the line")
    }
}

/// Values that a rule passes over, of `all` that it is about; nothing where there are none.
pub(super) fn passed_over(allowed: &[&Gap], all: usize) -> Option<String> {
    let (n, all) = (notation::count(allowed.len() as u64), notation::count(all as u64));
    (!allowed.is_empty()).then(|| format!("{n} of {all} values missing and allowed: {}", counted(allowed)))
}

/// The codes of `gaps`, each with how often it occurs.
pub(super) fn counted(gaps: &[&Gap]) -> String {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for gap in gaps {
        *counts.entry(gap.why).or_default() += 1;
    }
    let told: Vec<String> = counts.into_iter().map(|(why, n)| format!("{} × {n}", why.code())).collect();
    told.join(", ")
}
