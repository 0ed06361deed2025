//! What a reader must know beside the numbers of a table: findings, copies, cautions.

use super::changes;
use super::table::{Look, SHORT_TAILS, UNSURE};
use crate::notation;
use crate::report::{Report, Row, Value};

/// Flags of an adapter's updates, in words.
const CAUTIONS: [(&str, &str); 3] = [
    ("scale_assumed", "no scale is stored: 1 was taken"),
    ("rank_not_as_configured", "the configuration names another rank: that of the factors was taken"),
    (
        "moved_base",
        "training began by taking a part out of the base: this is no update to the original weights",
    ),
];

/// What a reader must know beside the numbers.
pub(super) fn notes(report: &Report, look: &Look<'_>) -> Vec<String> {
    let mut notes = vec![];
    match report.totals.compared {
        Some(_) => notes.extend(changes::notes(report)),
        None => notes.extend(update_note(report).filter(|_| report.command != "intruders")),
    }
    for row in &report.rows {
        if let Some(failure) = &row.failed {
            notes.push(format!("! {}: {failure}", row.name));
        }
        if let Some(Value::Count(n @ 1..)) = row.values.get("nonfinite_count") {
            let what = if n == 1 { "entry is" } else { "entries are" };
            notes.push(format!(
                "! {}: {} {what} NaN or infinite, so it has no spectrum",
                row.name,
                notation::count(n)
            ));
        }
        if let Some(original) = &row.tied_to {
            notes.push(format!("= {} is byte-identical to {original} and was computed once", row.name));
        }
    }
    notes.extend(report.notes.iter().cloned());
    if report.rows.iter().any(|row| row.flags.contains(&"cosine_bounds")) {
        notes.push("≤ bounds that decide; `--exact` gives the cosines themselves".to_owned());
    }
    for (flag, note) in CAUTIONS {
        let count = report.rows.iter().filter(|row| row.flags.contains(&flag)).count();
        if count > 0 {
            notes.push(format!("? {note} ({count} of {} rows)", report.rows.len()));
        }
    }
    let short = |row: &Row| SHORT_TAILS.iter().any(|(_, flag)| row.flags.contains(flag));
    let marked = report.totals.compared.is_none() || look.columns.contains(&"alpha");
    if marked && report.rows.iter().any(short) {
        let error = report.columns.iter().any(|column| column.key == "alpha_sigma");
        let error = if error { ": read it with its error, `alpha_sigma`" } else { "" };
        notes.push(format!("{UNSURE} fitted on fewer than 50 values{error}"));
    }
    notes
}

/// Says that numbers are of an update, where they are, and how an adapter's was scaled.
fn update_note(report: &Report) -> Option<String> {
    let path = &report.model.path;
    let updates: Vec<_> = report.rows.iter().filter_map(|row| row.update.as_ref()).collect();
    let base = report.base.as_ref().map(|base| base.path.as_str());
    if updates.is_empty() {
        return base.map(|base| format!("Δ every number is of the update: {path} − {base}"));
    }
    let scales = updates.iter().filter_map(|update| update.scale);
    let (least, most) = scales.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), s| (a.min(s), b.max(s)));
    let scale = match () {
        () if least > most => String::new(),
        () if least.total_cmp(&most).is_eq() => format!(", scaled by {}", short(least)),
        () => format!(", scaled by {} to {}", short(least), short(most)),
    };
    Some(format!("Δ every number is of what {path} adds to {}{scale}", base.unwrap_or("its base")))
}

/// A number without zeros that say nothing.
fn short(x: f64) -> String {
    let text = notation::real(x);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
