//! One spectrum drawn in a terminal: log σ by position, and below it the share of energy that the leading directions hold.

mod spectrum;

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use crate::error::printable;
use crate::notation;
use crate::report::{Column, Row, Value};
use crate::spectrum::Spectrum;

use super::cell;
use super::style::Paint;

pub use spectrum::{Picture, write_picture};

/// Lines of the upper and of the lower drawing.
const HEIGHTS: (usize, usize) = (12, 8);
/// The space left of a plot: a label and the axis.
const MARGIN: usize = 14;
/// A drawing narrower than this says nothing.
const NARROWEST: usize = 16;

const CURVE: &str = "36";
const EDGE: &str = "33";

/// Draws `spectrum`, the values of `row`; `facts` are the columns written below it.
///
/// # Errors
/// Errors of the writer.
pub fn write(
    row: &Row,
    spectrum: &Spectrum,
    facts: &[&Column],
    (width, paint): (usize, Paint),
    out: &mut dyn Write,
) -> io::Result<()> {
    let cells = width.saturating_sub(MARGIN + 1).max(NARROWEST);
    title(row, paint, out)?;
    let resolved = spectrum.resolved();
    let edge = match row.values.get("bulk_edge") {
        Some(Value::Real(edge)) => Some(edge),
        _ => None,
    };
    let (Some(first), Some(last)) = (resolved.first(), resolved.last()) else {
        return writeln!(out, " every entry is zero: nothing to draw");
    };
    let count = spectrum.values().len();
    let low = if first > last { last.log10() } else { first.log10() - 1.0 };
    let range = (low, first.log10());
    let logs: Vec<f64> = resolved.iter().map(|s| s.log10()).collect();
    let mut upper = Canvas::new(cells, HEIGHTS.0);
    upper.curve(&logs, count, range);
    if let Some(edge) = edge {
        upper.level(edge.log10(), range);
    }
    let power = |x: f64| notation::real(10f64.powf(x));
    upper.write("σ", &power, range, paint, out)?;
    let total: f64 = resolved.iter().map(|s| (s / first).powi(2)).sum();
    let sums = resolved.iter().scan(0.0, |sum, s| {
        *sum += (s / first).powi(2);
        Some(*sum / total)
    });
    let mut lower = Canvas::new(cells, HEIGHTS.1);
    lower.curve(
        &sums.chain(std::iter::repeat_n(1.0, count - resolved.len())).collect::<Vec<_>>(),
        count,
        (0.0, 1.0),
    );
    lower.write("Σσ²", &|x| format!("{:.0} %", x * 100.0), (0.0, 1.0), paint, out)?;
    write_positions(count, cells, out)?;
    let said = facts.iter().map(|column| format!("{} {}", column.label, cell::cell(row, column)));
    let mut words: Vec<(usize, String)> = said.map(|words| (words.width(), words)).collect();
    if let Some(edge) = edge {
        let text = format!("noise edge {}", notation::real(edge));
        words.push((text.width() + 3, format!("{} {text}", paint.wrap(EDGE, "⠒⠒"))));
    }
    write_words(&words, width, out)
}

/// What is drawn.
fn title(row: &Row, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let shape = format!("{} × {}", row.shape[0], row.shape[1]);
    let title = format!("{} · {shape} · {}", printable(&row.name), printable(row.storage()));
    writeln!(out, "\n {}", paint.wrap("1", &title))
}

/// Words in as many lines as they need, each given with its width.
fn write_words(words: &[(usize, String)], width: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut used = 0;
    for (wide, word) in words {
        if used == 0 {
            write!(out, " {word}")?;
            used = 1 + wide;
        } else if used + 3 + wide <= width {
            write!(out, " · {word}")?;
            used += 3 + wide;
        } else {
            write!(out, "\n {word}")?;
            used = 1 + wide;
        }
    }
    writeln!(out)
}

/// The line of positions below both drawings: the first, the middle and the last.
fn write_positions(count: usize, cells: usize, out: &mut dyn Write) -> io::Result<()> {
    let last = count.to_string();
    let middle = count.div_ceil(2).to_string();
    let before = (cells / 2).saturating_sub(1 + middle.len() / 2);
    let after = cells.saturating_sub(1 + before + middle.len() + last.len());
    let line = match count {
        1 => "1".to_owned(),
        2 | 3 => format!("1{}{last}", " ".repeat(cells - 1 - last.len())),
        _ => format!("1{}{middle}{}{last}", " ".repeat(before), " ".repeat(after)),
    };
    writeln!(out, "{}{line}", " ".repeat(MARGIN))
}

/// A drawing of dots, two across and four down in a character.
struct Canvas {
    width: usize,
    height: usize,
    /// By rows of characters: the dots of the curve and of a level.
    dots: Vec<(u8, u8)>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, dots: vec![(0, 0); width * height] }
    }

    /// Draws a monotone curve of `values` at the first of `count` positions, joined so that no fall leaves a hole.
    fn curve(&mut self, values: &[f64], count: usize, range: (f64, f64)) {
        let mut before = None;
        for x in 0..2 * self.width {
            let at = x * count / (2 * self.width);
            let Some(value) = values.get(at) else { break };
            let y = self.dot(*value, range);
            self.line(x, before.unwrap_or(y), y);
            before = Some(y);
        }
    }

    /// Draws the curve from one line of dots to another at `x`.
    fn line(&mut self, x: usize, from: usize, to: usize) {
        for y in from.min(to)..=from.max(to) {
            self.dots[y / 4 * self.width + x / 2].0 |= bit(x, y);
        }
    }

    /// Marks a point at `value`, if it lies inside.
    fn mark(&mut self, x: usize, value: f64, range: (f64, f64)) {
        if range.0 <= value && value <= range.1 {
            let y = self.dot(value, range);
            self.dots[y / 4 * self.width + x / 2].1 |= bit(x, y);
        }
    }

    /// Draws a dotted line from top to bottom at `x`.
    fn upright(&mut self, x: usize) {
        let x = x.min(2 * self.width - 1);
        for y in (0..4 * self.height).step_by(2) {
            self.dots[y / 4 * self.width + x / 2].1 |= bit(x, y);
        }
    }

    /// Draws a dotted line at `value`, if it lies inside.
    fn level(&mut self, value: f64, range: (f64, f64)) {
        for x in (0..2 * self.width).step_by(2) {
            self.mark(x, value, range);
        }
    }

    /// The line of dots for `value`, from the top.
    fn dot(&self, value: f64, (low, high): (f64, f64)) -> usize {
        let lines = 4 * self.height - 1;
        let down = ((high - value) / (high - low)).clamp(0.0, 1.0) * lines as f64;
        (down.round() as usize).min(lines)
    }

    /// Writes the drawing with labels at its top, middle and bottom, and an axis below.
    fn write(
        &self,
        name: &str,
        label: &dyn Fn(f64) -> String,
        (low, high): (f64, f64),
        paint: Paint,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let middle = f64::midpoint(low, high);
        for (line, cells) in self.dots.chunks(self.width).enumerate() {
            let text = match line {
                0 => label(high),
                _ if line + 1 == self.height => label(low),
                _ if line == self.dot(middle, (low, high)) / 4 => label(middle),
                _ => String::new(),
            };
            let (name, tick) = (if line == 0 { name } else { "" }, if text.is_empty() { '│' } else { '┤' });
            let drawn: String = cells.iter().map(|cell| painted(*cell, paint)).collect();
            writeln!(out, "{}", format!("{name:>3} {text:>8} {tick}{drawn}").trim_end())?;
        }
        writeln!(out, "{}└{}", " ".repeat(MARGIN - 1), "─".repeat(self.width))
    }
}

/// A character of dots, in the curve's color where the curve passes.
fn painted((curve, level): (u8, u8), paint: Paint) -> String {
    const BLANK: u32 = 0x2800;
    let pattern = char::from_u32(BLANK + u32::from(curve | level)).map_or_else(String::new, String::from);
    match (curve, level) {
        (0, 0) => " ".to_owned(),
        (0, _) => paint.wrap(EDGE, &pattern),
        _ => paint.wrap(CURVE, &pattern),
    }
}

/// The bit of a dot in its character: Unicode numbers the first three rows by columns, the fourth after them.
fn bit(x: usize, y: usize) -> u8 {
    const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
    BITS[y % 4][x % 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spectrum::Route;

    fn check(values: &[f64], width: usize, expected: &[&str]) {
        let side = values.len();
        let row = Row { name: "w".into(), shape: [side as u64; 2], dtype: "f64".into(), ..Row::default() };
        let spectrum = Spectrum::new(values.to_vec(), side, side, Route::Direct).expect("sound");
        let mut out = vec![];
        write(&row, &spectrum, &[], (width, Paint::Plain), &mut out).expect("a vector takes everything");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        for expected in expected {
            assert!(lines.contains(expected), "no line `{expected}` in\n{text}");
        }
        assert!(lines.iter().all(|line| line.chars().count() <= width.max(MARGIN + NARROWEST)), "{text}");
    }

    #[test]
    fn a_fall_is_drawn_without_a_hole_from_the_first_to_the_last() {
        let lines = [
            "  σ    10.00 ┤⠉⠉⠉⠉⠉⠉⠉⠉⡇",
            "             │        ⡇",
            "       1.000 ┤        ⡇",
            "      0.1000 ┤        ⣇⣀⣀⣀⣀⣀⣀⣀",
            "             └────────────────",
            "              1              2",
        ];
        check(&[10.0, 0.1], 30, &lines);
    }

    #[test]
    fn any_spectrum_can_be_drawn() {
        check(&[0.0, 0.0], 80, &[" every entry is zero: nothing to draw"]);
        check(&[5.0], 80, &["              1"]);
        check(&[5.0; 3], 0, &["              1              3"]);
        check(&[1e300, 1e-300, 0.0], 160, &[" w · 3 × 3 · f64"]);
        check(&vec![1.0; 5000], 40, &[]);
    }
}
