//! What a verdict says of one row: the value that crossed a line, or why there is none.

use crate::notation;
use crate::report::{Row, Value};

/// A value that crossed a line: with both sides' own, where it is a change from one to the other.
pub(super) fn told(row: &Row, key: &str, x: f64) -> String {
    let (column, side) = key.find('@').map_or((key, ""), |at| key.split_at(at));
    let relative = column.strip_suffix("_change");
    let written = match row.values.get(key) {
        Some(Value::Count(n)) => notation::count(n),
        _ if relative.is_some() => notation::change(x),
        _ => notation::real(x),
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

/// Why a row has no value in column `key`.
pub(super) fn reason(row: &Row, key: &str) -> String {
    match (row.values.get(key), &row.failed) {
        (_, Some(failure)) => failure.clone(),
        (Some(Value::Missing(why)), None) => why.to_string(),
        _ => "not measured".to_owned(),
    }
}
