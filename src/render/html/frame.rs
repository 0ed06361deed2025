//! The frame of a picture: axes, grid and labels round whatever is drawn inside, as SVG that needs no script.

use std::fmt::Write;

use maud::{Markup, html};

use super::axis::Axis;

/// Room for labels: left, right, top, bottom.
pub(super) const MARGIN: [f64; 4] = [46.0, 14.0, 24.0, 36.0];

/// Two axes and what they show.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub width: f64,
    pub height: f64,
    pub x: Axis,
    pub y: Axis,
    /// The labels of the axes.
    pub labels: (&'a str, &'a str),
    /// Alternative text of the plot.
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
            grid.start((left, *y));
            grid.horizontal(right);
        }
        for (x, _) in x_ticks {
            grid.start((*x, bottom));
            grid.vertical(bottom + 4.0);
        }
        html! {
            svg viewBox={"0 0 " (self.width) " " (self.height)} role="img" aria-label=(self.description)
                data-x=(self.x.code()) data-y=(self.y.code()) {
                path class="grid" d=(grid.text()) {}
                // A group's place need not be written at each of its labels.
                g class="y" transform={"translate(" (left - 6.0) " 4)"} { @for (y, label) in &y_ticks { text y=(round(*y)) { (label) } } }
                g class="x" transform={"translate(0 " (bottom + 17.0) ")"} { @for (x, label) in x_ticks { text x=(round(*x)) { (label) } } }
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

    /// Draws a bar from one x to another, standing on `bottom`, and leaves the pen on top of it.
    pub(super) fn bar(&mut self, (left, right): (f64, f64), bottom: f64, top: f64) {
        let _ = write!(self.0, "M{} {}V{}H{}", round(left), round(bottom), round(top), round(right));
    }

    /// Draws the next bar, up to `right`.
    pub(super) fn next_bar(&mut self, right: f64, top: f64) {
        let _ = write!(self.0, "V{}H{}", round(top), round(right));
    }

    /// Draws straight down or up.
    pub(super) fn vertical(&mut self, y: f64) {
        let _ = write!(self.0, "V{}", round(y));
    }

    /// Draws straight to the side.
    pub(super) fn horizontal(&mut self, x: f64) {
        let _ = write!(self.0, "H{}", round(x));
    }

    /// A dot at a place: round ends make it visible.
    pub(super) fn dot(&mut self, place: (f64, f64)) {
        self.start(place);
        self.0.push_str("h0");
    }

    /// Draws through `places`, leaving out those that do not show.
    pub(super) fn through(places: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let places: Vec<(f64, f64)> = places.into_iter().collect();
        let mut path = Self::default();
        if let [place] = places[..] {
            path.dot(place);
            return path;
        }
        for (i, at) in telling(&places).into_iter().enumerate() {
            if i == 0 { path.start(places[at]) } else { path.to(places[at]) }
        }
        path
    }

    /// As the attribute `d`.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// The points that the line needs (Douglas & Peucker 1973).
fn telling(places: &[(f64, f64)]) -> Vec<usize> {
    /// Half of a thin line's width.
    const SEEN: f64 = 0.4;
    let mut kept = vec![false; places.len()];
    let (Some(first), Some(last)) = (kept.first().map(|_| 0), places.len().checked_sub(1)) else {
        return vec![];
    };
    kept[first] = true;
    kept[last] = true;
    let mut spans = vec![(first, last)];
    while let Some((from, to)) = spans.pop() {
        let (a, b) = (places[from], places[to]);
        let length = (b.0 - a.0).hypot(b.1 - a.1).max(SEEN);
        let off = |i: usize| {
            let (x, y) = (places[i].0 - a.0, places[i].1 - a.1);
            ((b.0 - a.0) * y - (b.1 - a.1) * x).abs() / length
        };
        let farthest = (from + 1..to).max_by(|i, j| off(*i).total_cmp(&off(*j)));
        if let Some(i) = farthest.filter(|i| off(*i) > SEEN) {
            kept[i] = true;
            spans.extend([(from, i), (i, to)]);
        }
    }
    (0..places.len()).filter(|i| kept[*i]).collect()
}

/// To a tenth of a unit, as short as it can be written.
pub(super) fn round(x: f64) -> f64 {
    let tenths = (x * 10.0).round() / 10.0;
    // −0 is 0.
    tenths + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_corners_and_ends() {
        let path = Path::through([(0.0, 0.0), (5.0, 0.1), (10.0, 0.0), (10.0, 7.0), (10.0, 9.0)]);
        assert_eq!(path.text(), "M0 0L10 0L10 9");
        assert_eq!(Path::through([]).text(), "");
    }
}
