//! How close each leading direction of a tuned matrix comes to any of its base, with the limit for intruders.

use maud::{Markup, html};

use crate::report::{Direction, Report, Row};

use super::axis::{Axis, Scale};
use super::frame::{Frame, Path};
use super::spectra::{HEIGHT, WIDTH};

/// A plot for each side; none if the report has no directions.
pub(super) fn pictures(report: &Report, row: &Row) -> Markup {
    let reported = row.intruders.as_ref().map_or(&[][..], |intruders| &intruders.directions);
    let directions = if reported.is_empty() { &row.drawn.directions } else { reported };
    let limit =
        report.settings.iter().find(|(key, _)| *key == "epsilon").and_then(|(_, value)| value.parse().ok());
    let sides = ["left", "right"]
        .map(|side| (side, directions.iter().filter(|d| d.side == side).collect::<Vec<_>>()));
    let sides = sides.into_iter().filter(|(_, directions)| !directions.is_empty());
    html! {
        @if !directions.is_empty() {
            div.pictures { @for (side, directions) in sides { (picture(side, &directions, limit)) } }
        }
    }
}

fn picture(side: &str, directions: &[&Direction], limit: Option<f64>) -> Markup {
    let last = directions.iter().map(|direction| direction.index).max().unwrap_or(1);
    let frame = Frame {
        width: WIDTH,
        height: HEIGHT,
        x: Axis::new(Scale::Linear, (0.5, last as f64 + 0.5), Frame::across(WIDTH)),
        y: Axis::new(Scale::Linear, (0.0, 1.0), Frame::upward(HEIGHT)),
        labels: ("leading direction", "best cosine"),
        description: "best cosine of each leading direction with any singular vector of the base",
    };
    let (left, right) = Frame::across(WIDTH);
    let (mut known, mut intruders, mut bounds, mut line) =
        (Path::default(), Path::default(), Path::default(), Path::default());
    for direction in directions {
        let place = |cosine: f64| (frame.x.at(direction.index as f64), frame.y.at(cosine));
        let dots = if direction.intruder { &mut intruders } else { &mut known };
        let [low, high] = direction.best_cosine;
        dots.dot(place(high));
        if low < high {
            bounds.line(place(low), place(high));
        }
    }
    if let Some(limit) = limit {
        line.line((left, frame.y.at(limit)), (right, frame.y.at(limit)));
    }
    let every = (last as usize).div_ceil(12).max(1);
    let ticks: Vec<_> =
        (1..=last).step_by(every).map(|index| (frame.x.at(index as f64), index.to_string())).collect();
    let count = directions.iter().filter(|direction| direction.intruder).count();
    let content = html! {
        path.band.s0 d=(bounds.text()) {}
        path.dots.s0 d=(known.text()) {}
        path.dots.strange d=(intruders.text()) {}
        path.mark d=(line.text()) {}
        @if let Some(limit) = limit { text.mark.left x=(right) y=(frame.y.at(limit) - 4.0) { "ε" } }
    };
    html! {
        figure {
            figcaption { b { "Cosines" } " " (count) " of " (directions.len()) " " (side) " singular vectors are intruders" }
            (frame.draw(&ticks, &content))
            div.wide { table.ranks { tbody {
                tr { th { "direction" } @for direction in directions { td { (direction.index) } } }
                tr { th { "best cosine" } @for direction in directions { td { (cosine(direction)) } } }
                tr { th { "with the base's" } @for direction in directions { td { (base(direction)) } } }
            } } }
        }
    }
}

/// The best cosine, or the bounds it lies between.
fn cosine(direction: &Direction) -> String {
    let [low, high] = direction.best_cosine;
    if high - low < 1e-3 { format!("{high:.3}") } else { format!("{low:.2}–{high:.2}") }
}

fn base(direction: &Direction) -> String {
    direction.base_index.map_or_else(|| "–".to_owned(), |index| format!("#{index}"))
}
