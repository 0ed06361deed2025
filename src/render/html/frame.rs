//! The frame of a picture: axes, grid and labels round whatever is drawn inside, as SVG that needs no script.

use std::fmt::Write;

use maud::{Markup, html};

use super::axis::Axis;

/// Room for labels: left, right, top, bottom.
pub(super) const MARGIN: [f64; 4] = [46.0, 14.0, 16.0, 36.0];

/// Two axes and what they show.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub width: f64,
    pub height: f64,
    pub x: Axis,
    pub y: Axis,
    /// What stands along the axes.
    pub labels: (&'a str, &'a str),
    /// What the picture shows, for those who do not see it.
    pub description: &'a str,
}

impl Frame<'_> {
    /// Where the x axis of a picture of this width begins and ends.
    pub(super) fn across(width: f64) -> (f64, f64) {
        (MARGIN[0], width - MARGIN[1])
    }

    /// Where the y axis of a picture of this height begins and ends: upward.
    pub(super) fn upward(height: f64) -> (f64, f64) {
        (height - MARGIN[3], MARGIN[2])
    }

    /// The picture; `x_ticks` are the places and labels along the x axis.
    pub(super) fn draw(&self, x_ticks: &[(f64, String)], content: &Markup) -> Markup {
        let (left, right) = Self::across(self.width);
        let (bottom, _) = Self::upward(self.height);
        let y_ticks: Vec<_> = self.y.ticks(5).into_iter().map(|(y, label)| (self.y.at(y), label)).collect();
        let mut grid = Path::default();
        for (y, _) in &y_ticks {
            grid.line((left, *y), (right, *y));
        }
        for (x, _) in x_ticks {
            grid.line((*x, bottom), (*x, bottom + 4.0));
        }
        html! {
            svg viewBox={"0 0 " (self.width) " " (self.height)} role="img" aria-label=(self.description)
                data-x=(self.x.code()) data-y=(self.y.code()) {
                path class="grid" d=(grid.text()) {}
                g class="y" { @for (y, label) in &y_ticks { text x=(left - 6.0) y=(round(y + 4.0)) { (label) } } }
                g class="x" { @for (x, label) in x_ticks { text x=(round(*x)) y=(bottom + 17.0) { (label) } } }
                text class="axis" x=(right) y=(self.height - 3.0) { (self.labels.0) }
                text class="unit" x="2" y="10" { (self.labels.1) }
                (content)
            }
        }
    }

    /// The ticks of the x axis itself.
    pub(super) fn x_ticks(&self) -> Vec<(f64, String)> {
        self.x.ticks(6).into_iter().map(|(x, label)| (self.x.at(x), label)).collect()
    }

    /// A vertical line at `x` with a word beside it, on the side that has more room.
    pub(super) fn mark(&self, x: f64, class: &str, word: &str) -> Markup {
        if !self.x.holds(x) {
            return html! {};
        }
        let (bottom, top) = Self::upward(self.height);
        let at = self.x.at(x);
        let left = at > self.width / 2.0;
        html! {
            path class=(class) d={"M" (round(at)) " " (bottom) "V" (top)} {}
            text class={(class) @if left { " left" }} x=(round(if left { at - 5.0 } else { at + 5.0 })) y=(top + 10.0) { (word) }
        }
    }
}

/// A line made of places.
#[derive(Debug, Default)]
pub(super) struct Path(String);

impl Path {
    /// Lifts the pen and puts it down at a place.
    pub(super) fn start(&mut self, (x, y): (f64, f64)) {
        // Writing into a string cannot fail.
        let _ = write!(self.0, "M{} {}", round(x), round(y));
    }

    /// Draws to a place.
    pub(super) fn to(&mut self, (x, y): (f64, f64)) {
        let _ = write!(self.0, "L{} {}", round(x), round(y));
    }

    /// Draws from one place to another.
    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.start(from);
        self.to(to);
    }

    /// Draws a bar from one x to another, standing on `bottom`.
    pub(super) fn bar(&mut self, (left, right): (f64, f64), bottom: f64, top: f64) {
        let _ = write!(self.0, "M{} {}V{}H{}V{}", round(left), round(bottom), round(top), round(right), round(bottom));
    }

    /// A dot at a place: round ends make it visible.
    pub(super) fn dot(&mut self, place: (f64, f64)) {
        self.start(place);
        self.0.push_str("h0");
    }

    /// Draws through `places`, leaving out those too near to the last to be told apart.
    pub(super) fn through(places: impl IntoIterator<Item = (f64, f64)>) -> Self {
        const NEAR: f64 = 1.5;
        let mut path = Self::default();
        let mut last: Option<(f64, f64)> = None;
        for place in places {
            match last {
                None => path.start(place),
                Some(last) if (place.0 - last.0).hypot(place.1 - last.1) < NEAR => continue,
                Some(_) => path.to(place),
            }
            last = Some(place);
        }
        path
    }

    /// As the attribute `d`.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// To a tenth of a unit, as short as it can be written.
pub(super) fn round(x: f64) -> f64 {
    let tenths = (x * 10.0).round() / 10.0;
    // −0 is 0.
    tenths + 0.0
}
