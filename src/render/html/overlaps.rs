//! Overlaps of leading directions, block by block or expert by expert, as heat maps.

use maud::{Markup, html};

use crate::report::{Overlaps, Report, Row, Value};

/// Most matrices that get a line in a map.
const MOST: usize = 128;
/// Steps of color, as the style sheet defines them.
const STEPS: f64 = 9.0;

/// A map of left and one of right directions for each kind of matrix; nothing where rows have none.
pub(super) fn heat_maps(report: &Report) -> Markup {
    let rows: Vec<(&Row, &Overlaps)> =
        report.rows.iter().filter_map(|row| Some((row, row.overlaps.as_deref()?))).collect();
    if rows.is_empty() {
        return html! {};
    }
    html! {
        section #overlaps {
            h2 { "Overlap of leading directions" }
            p.note { "1: the same space. Two random spaces have the overlap that stands beside each title." }
            @for (row, overlaps) in rows {
                (map(row, overlaps, ("outputs", "chance_overlap", &overlaps.left)))
                (map(row, overlaps, ("inputs", "right_chance_overlap", &overlaps.right)))
            }
        }
    }
}

fn map(row: &Row, of: &Overlaps, (side, chance, cells): (&str, &str, &[Vec<Option<f64>>])) -> Markup {
    let chance = row.values.get(chance).and_then(Value::number).unwrap_or(0.0);
    let step = |overlap: f64| {
        ((overlap - chance) / (1.0 - chance).max(f64::MIN_POSITIVE) * STEPS).clamp(0.0, STEPS - 1.0) as usize
    };
    let labels = || of.labels.iter().take(MOST);
    html! {
        p { b { (row.name) } " · " (side) " · by chance " (format!("{chance:.3}")) }
        @if of.labels.len() > MOST { p.note { "Not all fit here; JSON holds all." } }
        div.wide { table.heat {
            thead { tr { th {} @for label in labels() { th.n { (label) } } } }
            tbody { @for (i, label) in labels().enumerate() { tr {
                th { (label) }
                @for (j, cell) in cells.get(i).into_iter().flatten().take(MOST).enumerate() {
                    @match cell {
                        _ if i == j => { td.n { "·" } }
                        Some(overlap) => {
                            td class={"n h" (step(*overlap))} title={(of.names[i]) " · " (of.names[j])} { (format!("{overlap:.2}")) }
                        }
                        None => { td.n { "–" } }
                    }
                }
            } } }
        } }
    }
}
