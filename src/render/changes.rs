//! The notes of a comparison: which matrices it shows, the status of the others, apparent changes.

use std::collections::BTreeSet;

use crate::notation;
use crate::report::{Compared, Flag, MissingReason, Report, Row, Standing, Value};

use super::style::{TableStyle, Unchanged};

/// How many matrices are named before the rest is counted.
const NAMED: usize = 8;

/// The rows that a person wants to see.
pub(super) fn shown<'r>(report: &'r Report, style: &TableStyle<'_>) -> Vec<&'r Row> {
    let unchanged = |row: &Row| style.unchanged == Unchanged::Hidden && is(row, Standing::Unchanged);
    let vectors = vectors(report);
    report.rows.iter().filter(|row| !unchanged(row) && !vectors.contains(row.name.as_str())).collect()
}

/// The names of changed tensors that are not matrices: a note says that they changed, and no more is known.
pub(super) fn vectors(report: &Report) -> BTreeSet<&str> {
    changed_vectors(report).map(|row| row.name.as_str()).collect()
}

/// The changed tensors that are not matrices.
fn changed_vectors(report: &Report) -> impl Iterator<Item = &Row> {
    let skipped: BTreeSet<&str> = report.skipped.iter().map(|skipped| skipped.tensor.as_str()).collect();
    let changed = move |row: &&Row| is(row, Standing::Measured) && skipped.contains(row.tensor.as_str());
    report.rows.iter().filter(changed)
}

/// Whether the bytes of a side are not known.
fn is_unseen(row: &Row) -> bool {
    let mut fates = row.values.iter().filter(|(column, _)| column.label.ends_with("changed"));
    fates.any(|(_, value)| value == Value::Missing(MissingReason::Unseen))
}

fn is(row: &Row, standing: Standing) -> bool {
    row.comparison.as_ref().is_some_and(|comparison| comparison.status == standing)
}

/// Whether a line of the table must say more than that its matrix was measured.
pub(super) fn need_status(rows: &[&Row]) -> bool {
    rows.iter().any(|row| row.comparison.is_some() && !is(row, Standing::Measured))
}

/// Sides, counts by status, likely copies.
pub(super) fn notes(report: &Report) -> Vec<String> {
    let base = report.base.as_ref().map_or("", |base| base.path.as_str());
    let mut notes = vec![];
    match report.tuned.as_slice() {
        [] => notes.push(format!("Δ from {base} to {}", report.model.path)),
        several => notes.extend(
            several.iter().map(|tuned| format!("Δ {} is from {base} to {}", tuned.name, tuned.source.path)),
        ),
    }
    let name = |row: &Row| row.name.to_string();
    let listed = |standing, what: &str, name: &dyn Fn(&Row) -> String| {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| is(row, standing)).collect();
        list(&rows, name).map(|names| format!("{what}: {names}"))
    };
    notes.extend(listed(Standing::Added, "added, not in the base", &name));
    notes.extend(listed(Standing::Removed, "removed, only in the base", &name));
    notes.extend(listed(Standing::Reshaped, "reshaped", &|row| {
        let before = row.comparison.as_ref().and_then(|comparison| comparison.base_shape);
        let before = before.map_or_else(String::new, |[rows, cols]| format!(" (was {rows} × {cols})"));
        format!("{}{before}", row.name)
    }));
    let retyped: Vec<&Row> = report.rows.iter().filter(|row| before_type(row).is_some()).collect();
    let retyped = list(&retyped, &|row| {
        format!("{} ({} → {})", row.name, before_type(row).unwrap_or_default(), row.storage())
    });
    notes.extend(retyped.map(|names| format!("retyped: {names}")));
    let (unseen, vectors): (Vec<&Row>, Vec<&Row>) = changed_vectors(report).partition(|row| is_unseen(row));
    notes.extend(list(&vectors, &name).map(|names| format!("changed vectors (not decomposed): {names}")));
    notes.extend(list(&unseen, &name).map(|names| format!("! not known whether they changed: {names}")));
    for flag in [
        Flag::SignsDiffer,
        Flag::ScaledCopy,
        Flag::LikelyPermuted,
        Flag::LikelyTransposed,
        Flag::LikelyRotated,
    ] {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.flags.contains(&flag)).collect();
        notes.extend(list(&rows, &name).map(|names| format!("? {flag}: {names}")));
    }
    notes
}

fn before_type(row: &Row) -> Option<&str> {
    row.comparison.as_ref()?.base_dtype.as_deref()
}

/// The first few names and how many there are more; none of none.
fn list(rows: &[&Row], name: &dyn Fn(&Row) -> String) -> Option<String> {
    let mut names: Vec<String> = rows.iter().take(NAMED).map(|row| name(row)).collect();
    if rows.len() > NAMED {
        names.push(format!("{} more", notation::count((rows.len() - NAMED) as u64)));
    }
    if names.is_empty() { None } else { Some(names.join(", ")) }
}

/// The counts of a comparison, the unchanged first: they are the ones that cost nothing.
pub(super) fn counts(report: &Report, compared: Compared) -> Vec<String> {
    let totals = &report.totals;
    let all = compared.unchanged + totals.measured + totals.failed;
    let mut parts = vec![];
    if compared.unchanged > 0 {
        let reused = if compared.reused > 0 { ", numbers reused" } else { ", not recomputed" };
        parts.push(format!(
            "{} of {} matrices unchanged by content{reused}",
            notation::count(compared.unchanged),
            notation::count(all)
        ));
    }
    let measured = notation::count(totals.measured);
    parts.push(match (compared.unchanged, totals.measured) {
        (0, 1) => "1 matrix measured".to_owned(),
        (0, _) => format!("{measured} matrices measured"),
        _ => format!("{measured} measured"),
    });
    for (n, what) in
        [(compared.added, "added"), (compared.removed, "removed"), (compared.reshaped, "reshaped")]
    {
        if n > 0 {
            parts.push(format!("{} {what}", notation::count(n)));
        }
    }
    parts
}
