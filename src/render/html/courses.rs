//! What a number does over the steps of a series: for each module type a line a matrix, a map of steps and matrices, and the
//! numbers themselves. The steps that findings and rules name are marked.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;

use maud::{Markup, html};

use super::super::cell::number;
use super::axis::{Axis, Scale, extremes};
use super::frame::{Frame, Path, round};
use super::views::{Colors, Model};
use crate::report::{Aspect, Column, Report, Row};

/// The columns that are drawn, at most, and the cells of all their maps together, but for the first.
const MOST: usize = 6;
const CELLS: usize = 60_000;
/// Sides of a picture of lines.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 200.0;
/// The height of a map's cell, and the room for names of blocks.
const CELL: f64 = 13.0;
const LEFT: f64 = 46.0;
/// Colors of lines, as the style sheet defines them.
const COLORS: usize = 8;

/// A matrix with its number at each step.
struct Line<'r> {
    row: &'r Row,
    /// The block that it is in, else its name.
    label: String,
    numbers: Vec<Option<f64>>,
}

/// Shows a section for each of the `shown` metrics, one after another; nothing where there is no series.
pub(super) fn sections(
    model: Model<'_>,
    shown: &[&'static Column],
    take: &mut dyn FnMut(&str) -> io::Result<()>,
) -> io::Result<()> {
    let report = model.report;
    if report.steps.len() < 2 {
        return Ok(());
    }
    take(r#"<section id="steps">"#)?;
    let head = html! {
        h2 { "Over the steps" }
        p.note { (report.steps.len()) " steps, " (report.steps[0].step) " to " (report.steps[report.steps.len() - 1].step) ". A line a matrix; below, the same as a map: steps across, matrices down. Dashed: a step that a finding or a broken rule names." }
        (left_out(report))
    };
    take(&head.into_string())?;
    let metrics = shown.iter().copied().filter(|column| column.means().aspect == Aspect::Value);
    let mut cells = 0;
    for column in metrics.take(MOST) {
        let types = types(model, column);
        cells += types.iter().map(|(_, lines)| lines.len() * report.steps.len()).sum::<usize>();
        if types.is_empty() || (cells > CELLS && cells > types.len() * report.steps.len()) {
            continue;
        }
        take(&html! { h3 { (column.label) } p.note { (column.doc.replace('`', "")) "." } }.into_string())?;
        take(r#"<div class="pictures">"#)?;
        for (name, lines) in &types {
            take(&picture(report, column, (name, lines)).into_string())?;
        }
        take("</div>")?;
    }
    take("</section>")
}

/// The steps without numbers, and those that repeat another.
fn left_out(report: &Report) -> Markup {
    html! {
        @for step in report.steps.iter().filter(|step| step.failed.is_some()) {
            p { span.bad { "Step " (step.step) " is left out" } ": " (step.failed.as_deref().unwrap_or_default()) }
        }
    }
}

/// The module types in which `column` has different numbers, each with its matrices.
fn types<'r>(model: Model<'r>, column: &'static Column) -> Vec<(&'r str, Vec<Line<'r>>)> {
    let line = |at: &usize| {
        let row = model.rows[*at];
        let numbers = row.course.as_ref()?.numbers(column.key)?;
        let label = row.block.map_or_else(|| row.name.to_string(), |block| block.to_string());
        Some(Line { row, label, numbers })
    };
    let members = model.kinds.members();
    let all = model.kinds.names.iter().zip(&members);
    let all = all.map(|(name, rows)| (name.as_str(), rows.iter().filter_map(line).collect::<Vec<_>>()));
    let differs = |lines: &[Line<'_>]| {
        let (low, high) = ends(lines);
        low < high
    };
    all.filter(|(_, lines)| differs(lines)).collect()
}

fn ends(lines: &[Line<'_>]) -> (f64, f64) {
    extremes(&lines.iter().flat_map(|line| line.numbers.iter().flatten().copied()).collect::<Vec<_>>())
}

/// The steps that findings over steps or broken rules name of these matrices, by their positions.
fn marked(report: &Report, column: &Column, lines: &[Line<'_>]) -> BTreeSet<usize> {
    let is_here = |name: &String| lines.iter().any(|line| line.row.name.as_str() == name);
    let findings = report.findings.iter().filter(|finding| {
        let of_steps = ["jump", "rank-collapsed-at-step"].iter().any(|name| finding.name == *name);
        of_steps && finding.evidence.keys().any(|key| key.starts_with(column.key))
    });
    let rows = findings.flat_map(|finding| &finding.matrices).filter(|name| is_here(name));
    let largest = rows.filter_map(|name| {
        let row = lines.iter().find(|line| line.row.name.as_str() == name)?.row;
        row.values.get(&format!("{}_max_step_change_at", column.key))?.number().map(|step| step as u64)
    });
    let verdicts = report.verdicts.iter().filter(|verdict| verdict.key == column.key);
    let offenders = verdicts.flat_map(|verdict| &verdict.offenders);
    let crossed = offenders.filter(|offender| offender.matrix.as_ref().is_some_and(is_here));
    let crossed = crossed.filter_map(|offender| offender.step);
    let at = |step: u64| report.steps.iter().position(|known| known.step == step);
    largest.chain(crossed).filter_map(at).collect()
}

fn picture(report: &Report, column: &'static Column, (name, lines): (&str, &[Line<'_>])) -> Markup {
    let marked = marked(report, column, lines);
    html! {
        figure.course {
            figcaption { b { (name) } (lines.len()) @if lines.len() == 1 { " matrix" } @else { " matrices" } }
            (curves(report, column, lines, &marked))
            (map(report, column, lines, &marked))
            details { summary { "Table" } (table(report, column, lines)) }
        }
    }
}

/// A line a matrix against the steps.
fn curves(report: &Report, column: &Column, lines: &[Line<'_>], marked: &BTreeSet<usize>) -> Markup {
    let step = |at: usize| report.steps[at].step as f64;
    let all: Vec<f64> = lines.iter().flat_map(|line| line.numbers.iter().flatten().copied()).collect();
    let frame = Frame {
        width: WIDTH,
        height: HEIGHT,
        x: Axis::new(Scale::Linear, (step(0), step(report.steps.len() - 1)), Frame::across(WIDTH)),
        y: Axis::fitting(&all, Frame::upward(HEIGHT)),
        labels: ("step", column.label),
        description: "the column against the steps, a line a matrix",
    };
    let content = html! {
        @for at in marked { (frame.mark(step(*at), "mark", &report.steps[*at].step.to_string())) }
        @for (i, line) in lines.iter().enumerate() {
            g class={"s" (i % COLORS)} { title { (line.row.name) } path.line d=(curve(&frame, report, line).text()) {} }
        }
    };
    frame.draw(&frame.x_ticks(), &content)
}

fn curve(frame: &Frame<'_>, report: &Report, line: &Line<'_>) -> Path {
    let mut path = Path::default();
    let mut connected = false;
    for (step, value) in report.steps.iter().zip(&line.numbers) {
        let Some(value) = value else {
            // A step without a number is passed over, one without the matrix too.
            continue;
        };
        let place = (frame.x.at(step.step as f64), frame.y.at(*value));
        if connected {
            path.to(place);
        } else {
            path.start(place);
        }
        connected = true;
    }
    path
}

/// Steps across, matrices down, a color a number: one path a color, for there are many cells.
fn map(report: &Report, column: &'static Column, lines: &[Line<'_>], marked: &BTreeSet<usize>) -> Markup {
    let wide = (WIDTH - LEFT - 14.0) / report.steps.len() as f64;
    let all: Vec<f64> = lines.iter().flat_map(|line| line.numbers.iter().flatten().copied()).collect();
    let colors = Colors::of(column, &all, &all);
    let mut paths: Vec<(String, String)> = vec![];
    for (i, line) in lines.iter().enumerate() {
        for (at, value) in line.numbers.iter().enumerate() {
            let Some(value) = value else { continue };
            let class = colors.class(*value);
            let place = paths.iter().position(|(known, _)| *known == class).unwrap_or_else(|| {
                paths.push((class, String::new()));
                paths.len() - 1
            });
            let (x, y) = (round(LEFT + wide * at as f64), round(CELL * i as f64));
            let right = round(wide);
            // Writing into a string cannot fail.
            let _ = write!(paths[place].1, "M{x} {y}h{right}v{}h-{right}z", CELL - 1.0);
        }
    }
    let bottom = CELL * lines.len() as f64;
    let is_in_blocks = lines.iter().all(|line| line.row.block.is_some());
    let every = lines.len().div_ceil(24).max(1);
    html! {
        svg.map viewBox={"0 0 " (WIDTH) " " (bottom + 2.0)} role="img" aria-label="map of steps and matrices" data-cells={(LEFT) " " (wide) " " (CELL)} {
            @if is_in_blocks { g class="y" { @for (i, line) in lines.iter().enumerate().step_by(every) {
                text x=(LEFT - 6.0) y=(round(CELL * i as f64 + 10.0)) { (line.label) }
            } } }
            @for (class, path) in &paths { path class=(class) d=(path) {} }
            @for at in marked { path.mark d={"M" (round(LEFT + wide * *at as f64)) " 0V" (bottom)} {} }
        }
        p.scale { (colors.steps(column)) }
    }
}

/// The numbers behind both pictures, matrices down.
fn table(report: &Report, column: &Column, lines: &[Line<'_>]) -> Markup {
    let cell = |value: &Option<f64>| value.map_or_else(|| "–".to_owned(), |x| number(x, column.format));
    html! {
        div.wide { table.grid {
            thead { tr { th {} @for step in &report.steps { th { (step.step) } } } }
            tbody { @for line in lines { tr { th { (line.label) } @for value in &line.numbers { td { (cell(value)) } } } } }
        } }
    }
}
