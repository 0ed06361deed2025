//! Where a matrix lies among its peers: a tick for each of them, and a dot for the one in question.

use maud::{Markup, html};

use super::super::cell::cell;
use super::axis::{Axis, extremes};
use super::frame::{Path, round};
use super::views::Model;
use crate::layer::without_block;
use crate::report::{Column, Finding, Value};

/// Findings that hold a matrix against its peers.
const COMPARED: [&str; 2] = ["outlier", "rank-collapsed"];

/// The column of `finding` in which row `i` lies farthest from its peers, drawn; nothing where it has none.
pub(super) fn picture(model: Model<'_>, finding: &Finding, i: usize) -> Option<Markup> {
    let Model { report, rows, .. } = model;
    let row = rows.get(i).filter(|_| COMPARED.contains(&&*finding.name))?;
    let role = without_block(&row.name);
    let is_peer = |j: &usize| rows[*j].shape == row.shape && without_block(&rows[*j].name) == role;
    let peers: Vec<usize> = (0..rows.len()).filter(is_peer).collect();
    let numbers = |key: &str| -> Vec<f64> {
        peers.iter().filter_map(|j| rows[*j].values.get(key).and_then(Value::number)).collect()
    };
    let distance = |key: &str| {
        let mut all = numbers(key);
        all.sort_by(f64::total_cmp);
        let own = row.values.get(key).and_then(Value::number)?;
        let median = all.get(all.len() / 2).filter(|_| all.len() > 1)?;
        Some((own / median).ln().abs()).filter(|distance| distance.is_finite())
    };
    let columns = report.columns.iter().filter(|column| finding.evidence.contains_key(column.key));
    let (_, column) = columns
        .filter_map(|column| Some((distance(column.key)?, *column)))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    let own = row.values.get(column.key).and_then(Value::number)?;
    Some(html! {
        p { (column.label) " " b { (cell(row, column)) } " among its peers: " (strip(&numbers(column.key), own, column)) }
    })
}

fn strip(values: &[f64], own: f64, column: &Column) -> Markup {
    let (low, high) = extremes(values);
    let axis = Axis::new(Axis::fitting(values, (6.0, 194.0)).scale, (low, high), (6.0, 194.0));
    let mut ticks = Path::default();
    let mut places: Vec<i64> = values.iter().map(|x| (axis.at(*x) * 2.0).round() as i64).collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        ticks.line((place as f64 / 2.0, 3.0), (place as f64 / 2.0, 13.0));
    }
    html! {
        svg.strip viewBox="0 0 200 16" role="img" aria-label={(column.label) " among its peers"} {
            path.ticks d=(ticks.text()) {}
            circle cx=(round(axis.at(own))) cy="8" r="5" {}
        }
    }
}
