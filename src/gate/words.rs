//! What a verdict says of one row: the value that crossed a line, or why there is none.

use std::collections::BTreeMap;

use crate::notation;
use crate::report::{Row, Value};

use super::bounds::Known;
use super::missing::Gap;

/// A value that crossed a line: with both sides' own, where it is a change from one to the other.
pub(super) fn told(row: &Row, key: &str, x: f64) -> String {
    let (column, side) = key.find('@').map_or((key, ""), |at| key.split_at(at));
    let relative = column.strip_suffix("_change");
    let written = match row.values.get(key) {
        Some(Value::Count(n)) => notation::count(n),
        _ => number(key, x),
    };
    let value = |key: String| row.values.get(&key).and_then(Value::number).map(notation::real);
    let both = relative.or_else(|| column.strip_suffix("_difference")).and_then(|metric| {
        Some((metric, value(format!("{metric}_base"))?, value(format!("{metric}{side}"))?))
    });
    match both {
        Some((metric, base, tuned)) => format!("{metric} {base} → {tuned} ({written}){side}"),
        None => format!("{key} = {written}"),
    }
}

/// A value of column `key`, a change as a percentage.
fn number(key: &str, x: f64) -> String {
    let is_change = key.split('@').next().is_some_and(|column| column.ends_with("_change"));
    match x {
        f64::INFINITY => "+∞".to_owned(),
        f64::NEG_INFINITY => "\u{2212}∞".to_owned(),
        _ if is_change => notation::change(x),
        _ => notation::real(x),
    }
}

/// `key` and its number, or as much as is known of it.
pub(super) fn known(key: &str, of: &str, known: Known) -> String {
    let written = |x| number(key, x);
    let (low, high) = (written(known.low), written(known.high));
    match (known.low.is_finite(), known.high.is_finite()) {
        (false, false) => format!("{of} = {}", written(known.value)),
        (true, false) => format!("{of} ≥ {low}"),
        // What is no less than nothing is told by its upper end alone.
        (true, true) if known.low.abs() > 0.0 => format!("{of} is from {low} to {high}"),
        (_, true) => format!("{of} ≤ {high}"),
    }
}

/// Why a row has no value in column `key`, and what the base had instead.
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
