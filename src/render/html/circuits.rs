//! Which layers compose with which, as heat maps, and the strongest channels between heads.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::super::cell::number;
use crate::report::{Attention, Composition, Format, Report, Row, Value};

/// The scores, with their names.
const SCORES: [(&str, &str, &str); 3] = [
    ("q_composition", "Queries", "q_component_at"),
    ("k_composition", "Keys", "k_component_at"),
    ("v_composition", "Values", "v_component_at"),
];
/// So many channels are listed.
const STRONGEST: usize = 50;
/// Steps of color, as the style sheet defines them.
const STEPS: f64 = 9.0;

/// The maps and the list; nothing where rows are not pairs of heads.
pub(super) fn heat_maps(report: &Report) -> Markup {
    let pairs: Vec<(&Row, &Composition)> = report
        .rows
        .iter()
        .filter_map(|row| match row.attention.as_deref()? {
            Attention::Composition(pair) => Some((row, pair)),
            Attention::Head(_) => None,
        })
        .collect();
    if pairs.is_empty() {
        return html! {};
    }
    let stacks: BTreeSet<String> = pairs.iter().map(|(_, pair)| stack(pair)).collect();
    html! {
        section #circuits {
            h2 { "Composition" }
            p.note { "The strongest score between any two heads of an earlier layer (down) and a later one (across). A random direction has about " (number(pairs[0].1.baseline, Format::Real)) "." }
            @for stack in &stacks {
                @if stacks.len() > 1 { h3 { (stack) } }
                @for (key, name, _) in SCORES { (map(&pairs, stack, (key, name))) }
            }
            h2 { "Strongest channels" }
            (channels(&pairs))
        }
    }
}

/// The blocks that both heads are of.
fn stack(pair: &Composition) -> String {
    let number = format!(".{}.", pair.earlier.layer);
    pair.earlier.name.split(&number).next().unwrap_or_default().to_owned()
}

fn map(pairs: &[(&Row, &Composition)], stack: &str, (key, name): (&str, &str)) -> Markup {
    let mut cells: BTreeMap<(u64, u64), (f64, &Composition)> = BTreeMap::new();
    for (row, pair) in pairs.iter().filter(|(_, pair)| self::stack(pair) == stack) {
        let Some(score) = row.values.get(key).and_then(Value::number) else { continue };
        let cell = cells.entry((pair.earlier.layer, pair.later.layer)).or_insert((score, pair));
        if score > cell.0 {
            *cell = (score, pair);
        }
    }
    let scores = || cells.values().map(|(score, _)| *score);
    let (low, high) = (scores().fold(f64::INFINITY, f64::min), scores().fold(0.0, f64::max));
    let step =
        |score: f64| ((score - low) / (high - low).max(f64::MIN_POSITIVE) * STEPS).min(STEPS - 1.0) as usize;
    let side = |later: bool| -> BTreeSet<u64> {
        cells.keys().map(|(first, second)| if later { *second } else { *first }).collect()
    };
    html! {
        @if !cells.is_empty() {
            p { b { (name) } }
            div.wide { table.heat {
                thead { tr { th {} @for layer in side(true) { th.n { (layer) } } } }
                tbody { @for first in side(false) { tr {
                    th { (first) }
                    @for second in side(true) {
                        @match cells.get(&(first, second)) {
                            Some((score, pair)) => {
                                td class={"n h" (step(*score))} title={(pair.earlier.name) " → " (pair.later.name)} { (format!("{score:.2}")) }
                            }
                            None => { td {} }
                        }
                    }
                } } }
            } }
        }
    }
}

fn channels(pairs: &[(&Row, &Composition)]) -> Markup {
    let score = |row: &Row| row.values.get("composition").and_then(Value::number);
    let mut strongest: Vec<(f64, &Row, &Composition)> =
        pairs.iter().filter_map(|(row, pair)| Some((score(row)?, *row, *pair))).collect();
    strongest.sort_by(|a, b| b.0.total_cmp(&a.0));
    let text = |row: &Row, key: &str| match row.values.get(key) {
        Some(Value::Real(x)) => number(x, Format::Real),
        Some(Value::Count(n)) => n.to_string(),
        Some(Value::Missing(_)) | None => "–".to_owned(),
    };
    let has_components = strongest.iter().any(|(_, row, _)| row.values.get("q_component_at").is_some());
    html! {
        div.wide { table {
            thead { tr {
                th { "writes" } th { "reads" }
                @for (_, name, _) in SCORES { th.n { (name) } @if has_components { th.n { "at" } } }
            } }
            tbody { @for (_, row, pair) in strongest.iter().take(STRONGEST) { tr {
                th { (pair.earlier.name) } td { (pair.later.name) }
                @for (key, _, at) in SCORES {
                    td.n { (text(row, key)) }
                    @if has_components { td.n { (text(row, at)) } }
                }
            } } }
        } }
    }
}
