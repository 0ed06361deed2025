//! One column over the whole model: against depth as lines, as a heat map of blocks and module types, and as a table.
//!
//! Every column's view is in the page; which one shows is a matter of style, so that the choice works without scripts.

use maud::{Markup, html};

use crate::report::{Aspect, Column, Format, Report, Row, Value};

use super::super::cell::{cell, number};
use super::super::names::shortened;
use super::axis::{Axis, Scale, extremes};
use super::frame::{Frame, Path, round};
use super::marks::Marks;
use super::module_grid::{Kinds, Spread};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 300.0;
/// The eye can't distinguish more lines.
const LINES: usize = 16;
/// Colors of lines and steps of the heat map, as the style sheet defines them.
const COLORS: usize = 8;
const STEPS: usize = 9;
/// Sides of a heat map's cell: height, and the widest.
const CELL: (f64, f64) = (22.0, 64.0);
/// A change smaller than this is not shown as large: no axis and no palette is narrower.
const LEAST_CHANGE: f64 = 0.01;
/// Most characters of a module type's name.
const NAME: usize = 34;

/// Data shared by the views of all columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Model<'a> {
    pub report: &'a Report,
    /// Its rows that are matrices: positions are those in here.
    pub rows: &'a [&'a Row],
    pub kinds: &'a Kinds,
    pub marks: &'a Marks<'a>,
    /// Which rows have a section of their own.
    pub detailed: &'a [bool],
}

impl Model<'_> {
    /// The name of row `i`, which leads to its section where it has one.
    pub(super) fn link(self, i: usize) -> Markup {
        let name = &self.rows[i].name;
        html! { @if self.detailed[i] { a href={"#m" (i)} { (name) } } @else { (name) } }
    }
}

/// The numbers of one column in the grid.
struct Grid<'a> {
    model: Model<'a>,
    column: &'static Column,
    /// The module types in blocks.
    kinds: Vec<usize>,
}

/// Whether there is anything to draw of `column`: two different numbers in blocks.
pub(super) fn is_drawn(model: Model<'_>, column: &'static Column) -> bool {
    let rows = model.kinds.cells.values().flatten();
    let number = |row: &usize| model.rows[*row].values.get(column.key).and_then(Value::number);
    let (low, high) = extremes(&rows.filter_map(number).collect::<Vec<_>>());
    low < high
}

/// Lines, heat map and table of `column`.
pub(super) fn view(model: Model<'_>, number: usize, column: &'static Column) -> Markup {
    let grid = Grid { model, column, kinds: model.kinds.in_blocks() };
    html! {
        section class={"view v" (number)} data-key=(column.key) {
            p.note { b { (column.label) } " · " (column.doc.replace('`', "")) "." }
            (grid.lines())
            (grid.heat())
            details { summary { "Table" } (grid.table()) }
        }
    }
}

impl Grid<'_> {
    fn spread(&self, block: usize, kind: usize) -> Option<Spread> {
        let rows = self.model.kinds.cells.get(&(block, kind))?;
        let number = |row: &usize| self.model.rows[*row].values.get(self.column.key).and_then(Value::number);
        Spread::of(rows.iter().filter_map(number).collect())
    }

    fn medians(&self) -> Vec<f64> {
        let cells = self.model.kinds.cells.keys();
        cells.filter_map(|(block, kind)| Some(self.spread(*block, *kind)?.median)).collect()
    }

    /// The same without what findings are about or breaks a rule, which would leave the others one color.
    fn usual(&self) -> Vec<f64> {
        let is_usual = |rows: &[usize]| !self.is_news(rows) && !self.is_broken(rows);
        let cells = self.model.kinds.cells.iter().filter(|(_, rows)| is_usual(rows));
        cells.filter_map(|((block, kind), _)| Some(self.spread(*block, *kind)?.median)).collect()
    }

    fn is_news(&self, rows: &[usize]) -> bool {
        rows.iter().any(|row| self.model.marks.is_evidence(*row, self.column.key))
    }

    fn is_broken(&self, rows: &[usize]) -> bool {
        rows.iter().any(|row| self.model.marks.is_broken(*row, self.column.key))
    }

    /// The module types that are drawn as lines: those in the most blocks.
    fn drawn(&self) -> Vec<usize> {
        let blocks = |kind: usize| self.model.kinds.cells.keys().filter(|(_, k)| *k == kind).count();
        let mut kinds = self.kinds.clone();
        kinds.sort_by_key(|kind| std::cmp::Reverse(blocks(*kind)));
        kinds.truncate(LINES);
        kinds.sort_unstable();
        kinds
    }

    /// The column against depth, one line a module type.
    fn lines(&self) -> Markup {
        let blocks = &self.model.kinds.blocks;
        let unit = format!("{}{}", self.column.label, if self.is_share() { ", %" } else { "" });
        let frame = Frame {
            width: WIDTH,
            height: HEIGHT,
            x: Axis::new(Scale::Linear, (-0.3, blocks.len() as f64 - 0.7), Frame::across(WIDTH)),
            y: Axis::fitting(&self.ends(), Frame::upward(HEIGHT)),
            labels: ("block", &unit),
            description: "the column against depth, one line a module type",
        };
        let every = blocks.len().div_ceil(24).max(1);
        let ticks: Vec<_> =
            (0..blocks.len()).step_by(every).map(|i| (frame.x.at(i as f64), blocks[i].to_string())).collect();
        let drawn = self.drawn();
        let content = html! { @for (i, kind) in drawn.iter().enumerate() { (self.line(&frame, *kind, i)) } };
        html! {
            ul.legend { @for (i, kind) in drawn.iter().enumerate() {
                li class=(style(i)) data-kind=(kind) { svg { path.line d="M1 4H25" {} } (self.model.kinds.names[*kind]) }
            } }
            @if drawn.len() < self.kinds.len() {
                p.note { (self.kinds.len() - drawn.len()) " more module types are in the heat map and the table." }
            }
            @if self.model.kinds.cells.values().any(|rows| rows.len() > 1) {
                p.note { "Where a block has several matrices of a type, the line shows their median, the bar their range." }
            }
            div.wide.lines { (frame.draw(&ticks, &content)) }
        }
    }

    fn is_share(&self) -> bool {
        matches!(self.column.format, Format::Share | Format::Change)
    }

    /// As on the axis: shares and changes in percent.
    fn scaled(&self, x: f64) -> f64 {
        if self.is_share() { 100.0 * x } else { x }
    }

    /// Everything that the lines and their bands reach.
    fn ends(&self) -> Vec<f64> {
        let cells = self.model.kinds.cells.keys();
        let mut ends: Vec<f64> = cells
            .filter_map(|(b, k)| self.spread(*b, *k))
            .flat_map(|s| [s.least, s.greatest].map(|x| self.scaled(x)))
            .collect();
        if self.column.format == Format::Change {
            ends.extend([-LEAST_CHANGE, LEAST_CHANGE].map(|x| self.scaled(x)));
        }
        ends
    }

    fn line(&self, frame: &Frame<'_>, kind: usize, color: usize) -> Markup {
        let (mut line, mut dots, mut unsure, mut band) =
            (Path::default(), Path::default(), Path::default(), Path::default());
        let mut connected = false;
        for block in 0..self.model.kinds.blocks.len() {
            let Some(spread) = self.spread(block, kind) else {
                connected = false;
                continue;
            };
            let x = frame.x.at(block as f64);
            let place = (x, frame.y.at(self.scaled(spread.median)));
            if connected {
                line.to(place);
            } else {
                line.start(place);
            }
            dots.dot(place);
            if self.is_unsure(block, kind) {
                unsure.dot(place);
            }
            if spread.least < spread.greatest {
                let [least, greatest] = [spread.least, spread.greatest].map(|y| frame.y.at(self.scaled(y)));
                band.line((x, least), (x, greatest));
            }
            connected = true;
        }
        html! {
            g class={"series " (style(color))} data-kind=(kind) {
                title { (self.model.kinds.names[kind]) }
                @if !band.text().is_empty() { path.band d=(band.text()) {} }
                path.line d=(line.text()) {}
                path.dots d=(dots.text()) {}
                @if !unsure.text().is_empty() { path.hollow d=(unsure.text()) {} }
            }
        }
    }

    /// Whether the number comes with a caution.
    fn is_unsure(&self, block: usize, kind: usize) -> bool {
        match self.model.kinds.cells[&(block, kind)][..] {
            [row] => cell(self.model.rows[row], self.column).starts_with('~'),
            _ => false,
        }
    }

    /// Blocks across, module types down, a color a number.
    fn heat(&self) -> Markup {
        let names: Vec<&str> = self.kinds.iter().map(|kind| self.model.kinds.names[*kind].as_str()).collect();
        let names = shortened(&names, NAME);
        let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let left = 14.0 + longest as f64 * 6.4;
        let blocks = &self.model.kinds.blocks;
        let wide = ((WIDTH - left) / blocks.len() as f64).min(CELL.1);
        let bottom = CELL.0 * self.kinds.len() as f64;
        let every = ((26.0 / wide).ceil() as usize).max(1);
        let colors = Colors::of(self.column, &self.medians(), &self.usual());
        html! {
            div.wide.heat {
                svg viewBox={"0 0 " (WIDTH) " " (bottom + 20.0)} role="img" aria-label="heat map of blocks and module types" {
                    g class="y" { @for (i, name) in names.iter().enumerate() {
                        text x=(left - 8.0) y=(round(CELL.0 * i as f64 + 15.0)) { (name) }
                    } }
                    g class="x" { @for (i, block) in blocks.iter().enumerate().step_by(every) {
                        text x=(round(left + wide * (i as f64 + 0.5))) y=(bottom + 15.0) { (block) }
                    } }
                    @for block in 0..blocks.len() {
                        @for (i, kind) in self.kinds.iter().enumerate() {
                            (self.square((block, *kind), (left + wide * block as f64, CELL.0 * i as f64, wide), &colors))
                        }
                    }
                }
            }
            (colors.legend(self))
        }
    }

    fn square(
        &self,
        (block, kind): (usize, usize),
        (x, y, wide): (f64, f64, f64),
        colors: &Colors,
    ) -> Markup {
        let Some(rows) = self.model.kinds.cells.get(&(block, kind)) else { return html! {} };
        let color = self.spread(block, kind).map_or_else(|| "none".to_owned(), |s| colors.class(s.median));
        let news = self.is_news(rows);
        let broken = self.is_broken(rows);
        let gap = if wide > 8.0 { 1.0 } else { 0.4 };
        let (right, below) = (round(wide - gap), CELL.0 - 1.0);
        html! {
            path class={(color) @if broken { " broken" } @else if news { " news" }} d={"M" (round(x)) " " (round(y)) "h" (right) "v" (below) "h-" (right) "z"} {
                title { (self.model.kinds.blocks[block]) ": " (self.told(block, kind)) }
            }
        }
    }

    /// The number of a cell in words; of several, the middle and the ends.
    fn told(&self, block: usize, kind: usize) -> String {
        match &self.model.kinds.cells[&(block, kind)][..] {
            [row] => cell(self.model.rows[*row], self.column),
            rows => match self.spread(block, kind) {
                Some(Spread { least, median, greatest }) => {
                    let [least, median, greatest] =
                        [least, median, greatest].map(|x| number(x, self.column.format));
                    format!("{median} ({least} to {greatest}, {} matrices)", rows.len())
                }
                None => "–".to_owned(),
            },
        }
    }

    /// The numbers behind both pictures, blocks down, in the order of the heat map's cells.
    fn table(&self) -> Markup {
        html! {
            div.wide { table.grid {
                thead { tr { th { "block" } @for kind in &self.kinds { th data-kind=(kind) { (self.model.kinds.names[*kind]) } } } }
                tbody { @for (block, name) in self.model.kinds.blocks.iter().enumerate() {
                    tr { th { (name) } @for kind in &self.kinds { (self.entry(block, *kind)) } }
                } }
            } }
        }
    }

    fn entry(&self, block: usize, kind: usize) -> Markup {
        match self.model.kinds.cells.get(&(block, kind)).map(Vec::as_slice) {
            None => html! { td {} },
            Some([row]) if self.model.detailed[*row] => {
                html! { td { a href={"#m" (row)} { (self.told(block, kind)) } } }
            }
            Some(_) => html! { td { (self.told(block, kind)) } },
        }
    }
}

/// From a number to one of the heat map's colors: from low to high, or round zero where there are both signs.
pub(super) struct Colors {
    axis: Axis,
    family: char,
    /// Whether there are numbers below and above the colors.
    beyond: (bool, bool),
}

impl Colors {
    /// Colors of `all` numbers, scaled to the `usual` ones; of changes round zero, and of none for those too small to matter.
    pub(super) fn of(column: &'static Column, all: &[f64], usual: &[f64]) -> Self {
        let (least, greatest) = extremes(all);
        let (low, high) = extremes(usual);
        // What is usual tells nothing where it is one number, or the smaller part.
        let (low, high) = if low < high && 2 * usual.len() > all.len() { (low, high) } else { extremes(all) };
        let places = (0.0, STEPS as f64 - 1e-9);
        let is_change = matches!(column.means().aspect, Aspect::Change | Aspect::Difference)
            || column.format == Format::Change;
        let (family, scale, ends) = if is_change || (low < 0.0 && high > 0.0) {
            let least = if column.format == Format::Change { LEAST_CHANGE } else { 0.0 };
            let far = high.abs().max(low.abs()).max(least);
            ('d', Scale::Linear, (-far, far))
        } else {
            ('h', Axis::fitting(&[low, high], places).scale, (low, high))
        };
        let axis = Axis::new(scale, ends, places);
        Self { beyond: (least < axis.low, greatest > axis.high), axis, family }
    }

    pub(super) fn class(&self, x: f64) -> String {
        format!("{}{}", self.family, self.axis.at(x).floor() as usize)
    }

    /// The steps of color between the numbers at both ends.
    pub(super) fn steps(&self, column: &Column) -> Markup {
        let [low, high] = [self.axis.low, self.axis.high].map(|x| number(x, column.format));
        html! {
            span { @if self.beyond.0 { "≤ " } (low) }
            @for i in 0..STEPS { i class={(self.family) (i)} {} }
            span { @if self.beyond.1 { "≥ " } (high) @if self.axis.scale == Scale::Log { " (logarithmic)" } }
        }
    }

    fn legend(&self, grid: &Grid<'_>) -> Markup {
        html! {
            p.scale {
                (self.steps(grid.column))
                @if grid.model.marks.are_any_broken() { span.key { i.broken {} " breaks a rule" } }
                span.key { i.news {} " has a finding" }
                span.key { i.none {} " not measured" }
            }
        }
    }
}

/// The class of the `i`-th line: a color, and with more lines than colors a dash.
fn style(i: usize) -> String {
    format!("s{} dash{}", i % COLORS, i / COLORS)
}
