//! One matrix on several sides: their spectra over each other, and base | tuned | change in numbers.

use maud::{Markup, html};

use crate::report::{Aspect, Column, Drawn, Report, Row};

use super::super::cell::cell;
use super::axis::{Axis, Scale, extremes};
use super::frame::{Frame, Path};
use super::spectra::{self, HEIGHT, WIDTH};

/// Values smaller than this share of the largest are rounding.
const DEEPEST: f64 = 1e-8;

/// The spectra of `row` over each other; nothing where there are fewer than two.
pub(super) fn pictures(row: &Row) -> Markup {
    let sides: Vec<(&str, Vec<f64>)> = row
        .drawn
        .spectra
        .iter()
        .map(|Drawn { of, outline }| (of.as_str(), spectra::values(outline)))
        .collect();
    let largest = sides.iter().filter_map(|(_, values)| values.first()).fold(0.0f64, |a, b| a.max(*b));
    if sides.len() < 2 || largest <= 0.0 {
        return html! {};
    }
    html! { div.pictures { (scree(&sides, largest)) (energy(&sides)) } }
}

fn scree(sides: &[(&str, Vec<f64>)], largest: f64) -> Markup {
    let drawn = |values: &[f64]| -> Vec<f64> {
        values.iter().copied().take_while(|s| *s > largest * DEEPEST).collect()
    };
    let sides: Vec<(&str, Vec<f64>)> = sides.iter().map(|(of, values)| (*of, drawn(values))).collect();
    let (low, high) = extremes(&sides.iter().flat_map(|(_, values)| values).copied().collect::<Vec<_>>());
    let longest = sides.iter().map(|(_, values)| values.len()).max().unwrap_or(2).max(2);
    let frame = Frame {
        width: WIDTH,
        height: HEIGHT,
        x: Axis::new(Scale::Log, (1.0, longest as f64), Frame::across(WIDTH)),
        y: Axis::new(Scale::Log, (low.min(high / 3.0) / 1.15, high * 1.3), Frame::upward(HEIGHT)),
        labels: ("rank", "σ"),
        description: "singular values of all sides by rank",
    };
    let lines = sides.iter().map(|(_, values)| {
        Path::through(values.iter().enumerate().map(|(i, s)| (frame.x.at(i as f64 + 1.0), frame.y.at(*s))))
    });
    figure("Singular values", &sides, &frame, &lines.collect::<Vec<_>>())
}

fn energy(sides: &[(&str, Vec<f64>)]) -> Markup {
    // A few leading values do not say how much all of them hold.
    let sides: Vec<(&str, Vec<f64>)> = sides
        .iter()
        .filter(|(of, values)| !of.ends_with("leading") && values.first().is_some_and(|s| *s > 0.0))
        .map(|(of, values)| (*of, spectra::shares(values)))
        .collect();
    let longest = sides.iter().map(|(_, values)| values.len()).max().unwrap_or(1);
    let frame = Frame {
        width: WIDTH,
        height: HEIGHT,
        x: Axis::new(Scale::Linear, (0.0, longest as f64), Frame::across(WIDTH)),
        y: Axis::new(Scale::Linear, (0.0, 100.0), Frame::upward(HEIGHT)),
        labels: ("rank", "% of Σσ²"),
        description: "cumulative energy of all sides by rank",
    };
    let lines = sides.iter().map(|(_, shares)| {
        let places = shares.iter().enumerate().map(|(i, share)| (i as f64 + 1.0, share * 100.0));
        let places = std::iter::once((0.0, 0.0)).chain(places);
        Path::through(places.map(|(x, y)| (frame.x.at(x), frame.y.at(y))))
    });
    figure("Energy", &sides, &frame, &lines.collect::<Vec<_>>())
}

/// A line for each side, with its name; the base's is dashed.
fn figure(title: &str, sides: &[(&str, Vec<f64>)], frame: &Frame<'_>, lines: &[Path]) -> Markup {
    let style = |i: usize| if i == 0 { "sides base".to_owned() } else { format!("sides s{}", (i - 1) % 8) };
    let content = html! { @for (i, line) in lines.iter().enumerate() {
        path class={"line " (style(i))} d=(line.text()) {}
    } };
    html! {
        figure {
            figcaption {
                b { (title) }
                @for (i, (of, _)) in sides.iter().enumerate() {
                    span.side { svg viewBox="0 0 26 8" { path class={"line " (style(i))} d="M1 4H25" {} } (of) }
                }
            }
            (frame.draw(&frame.x_ticks(), &content))
        }
    }
}

/// Every metric that both sides have: the base's number, each tuned side's, and the change.
pub(super) fn numbers(report: &Report, row: &Row) -> Markup {
    let base = |column: &&&'static Column| column.means().aspect == Aspect::Base;
    let bases: Vec<&'static Column> = report.columns.iter().filter(base).copied().collect();
    let sides: Vec<Option<&str>> = match report.tuned.as_slice() {
        [] => vec![None],
        several => several.iter().map(|side| Some(side.name.as_str())).collect(),
    };
    let text = |column: Option<&'static Column>| column.map_or_else(String::new, |column| cell(row, column));
    let of = |metric: &'static Column, aspect, side: Option<&str>| {
        let is = |column: &&&'static Column| {
            let key = column.means();
            (key.metric, key.aspect, key.side) == (metric, aspect, side)
        };
        text(report.columns.iter().find(is).copied())
    };
    if bases.is_empty() || row.values.is_empty() {
        return html! {};
    }
    html! {
        div.wide { table.change {
            thead { tr {
                th { "metric" } th.n { "base" }
                @for side in &sides { th.n { (side.unwrap_or("tuned")) } th.n { "change" } }
            } }
            tbody { @for base in &bases {
                @let metric = base.means().metric;
                tr {
                    th title=(metric.doc) { (metric.label) }
                    td.n { (cell(row, base)) }
                    @for side in &sides {
                        td.n { (of(metric, Aspect::Value, *side)) }
                        td.n { (of(metric, Aspect::Change, *side)) }
                    }
                }
            } }
        } }
    }
}
