//! Sums over rows that belong together, and of permuted models what the new places brought each group of units.

use maud::{Markup, html};

use crate::report::{Group, Report, Value};

use super::super::footer::{self, Sums};
use super::axis::{Axis, Scale, extremes};
use super::frame::{Frame, Path};
use super::spectra::{HEIGHT, WIDTH};

/// Most groups that a picture names.
const NAMED: usize = 12;

/// The tables, with pictures of alignment and distance before and after; nothing where rows are not summed.
pub(super) fn section(report: &Report) -> Markup {
    let tables = footer::sums(report);
    if tables.is_empty() {
        return html! {};
    }
    html! {
        section #sums {
            h2 { "Sums" }
            div.pictures {
                (before_and_after(report, ["alignment_before", "alignment_after"], "mean alignment"))
                (before_and_after(report, ["distance_before", "distance_after"], "distance"))
            }
            @for Sums { head, rows } in &tables {
                div.wide { table {
                    thead { tr { @for (i, head) in head.iter().enumerate() { th.n[i > 0] { (head) } } } }
                    tbody { @for row in rows { tr {
                        @for (i, cell) in row.iter().enumerate() {
                            @if i == 0 { th { (cell) } } @else { td.n { (cell) } }
                        }
                    } } }
                } }
            }
        }
    }
}

/// Two dots a group; nothing where no group has both numbers.
fn before_and_after(report: &Report, keys: [&str; 2], label: &str) -> Markup {
    let number = |group: &Group, key: &str| {
        let found = group.values.iter().find(|(column, _)| column.key == key);
        found.and_then(|(_, value)| Value::number(value))
    };
    let of = |group: &'_ Group| Some([number(group, keys[0])?, number(group, keys[1])?]);
    let groups = report.groups.iter().filter(|group| group.by != "all");
    let found: Vec<(&Group, [f64; 2])> = groups.filter_map(|group| Some((group, of(group)?))).collect();
    if found.is_empty() {
        return html! {};
    }
    let (low, high) = extremes(&found.iter().flat_map(|(_, both)| *both).collect::<Vec<_>>());
    let frame = Frame {
        width: WIDTH,
        height: HEIGHT,
        x: Axis::new(Scale::Linear, (0.5, found.len() as f64 + 0.5), Frame::across(WIDTH)),
        y: Axis::new(Scale::Linear, (low.min(0.0), high.max(1e-300)), Frame::upward(HEIGHT)),
        labels: ("group", label),
        description: "each group before and after its units were matched",
    };
    let at = |i: usize| frame.x.at(i as f64 + 1.0);
    let every = found.len().div_ceil(NAMED);
    let ticks: Vec<_> = (0..found.len()).step_by(every).map(|i| (at(i), (i + 1).to_string())).collect();
    let mut moves = Path::default();
    let mut dots = [Path::default(), Path::default()];
    for (i, (_, both)) in found.iter().enumerate() {
        let places = both.map(|y| (at(i), frame.y.at(y)));
        moves.line(places[0], places[1]);
        dots.iter_mut().zip(places).for_each(|(dots, place)| dots.dot(place));
    }
    let content = html! {
        path.band.s0 d=(moves.text()) {}
        @for (i, dots) in dots.iter().enumerate() { path class={"dots s" (i)} d=(dots.text()) {} }
    };
    html! {
        figure {
            figcaption {
                b { "Groups of units, in the order of the table" }
                @for (i, word) in ["before", "after"].iter().enumerate() {
                    span.side {
                        svg viewBox="0 0 26 8" { path class={"dots s" (i)} d="M13 4h0" {} }
                        (word)
                    }
                }
            }
            (frame.draw(&ticks, &content))
        }
    }
}
