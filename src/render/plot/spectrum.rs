//! The density of one matrix's eigenvalues over both logarithms, and its singular values with the ranks that hold shares.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::{Canvas, EDGE, HEIGHTS, MARGIN, NARROWEST, title, write_positions, write_words};
use crate::notation;
use crate::render::style::Paint;
use crate::report::{Row, Value};
use crate::spectrum::Spectrum;

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picture {
    /// Eigenvalue density with the fitted tail and its start.
    Esd,
    /// Singular values by position, with the ranks that hold 90 % and 99 % of the energy.
    Scree,
}

/// Draws `spectrum`, the values of `row`.
///
/// # Errors
/// Errors of the writer.
pub fn write_picture(
    row: &Row,
    spectrum: &Spectrum,
    picture: Picture,
    (width, paint): (usize, Paint),
    out: &mut dyn Write,
) -> io::Result<()> {
    let cells = width.saturating_sub(MARGIN + 1).max(NARROWEST);
    title(row, paint, out)?;
    if spectrum.resolved().is_empty() {
        return writeln!(out, " every entry is zero: nothing to draw");
    }
    match picture {
        Picture::Esd => esd(row, spectrum, (width, cells), paint, out),
        Picture::Scree => scree(row, spectrum, (width, cells), paint, out),
    }
}

/// A number of a row, where it was measured.
fn number(row: &Row, key: &str) -> Option<f64> {
    row.values.get(key).and_then(Value::number)
}

fn esd(
    row: &Row,
    spectrum: &Spectrum,
    (width, cells): (usize, usize),
    paint: Paint,
    out: &mut dyn Write,
) -> io::Result<()> {
    let logs: Vec<f64> = spectrum.resolved().iter().map(|s| 2.0 * s.log10()).collect();
    let (high, low) = (logs[0], logs[logs.len() - 1]);
    if high - low < 1e-9 {
        return writeln!(out, " all eigenvalues are the same: nothing to draw");
    }
    let bins = histogram(&logs, (low, high));
    let step = (high - low) / bins.len() as f64;
    // The fitted density, over all eigenvalues: a share of them lies in the tail.
    let tail = || Some((number(row, "alpha")?, number(row, "xmin")?.log10(), number(row, "tail_count")?));
    let tail = tail().map(|(alpha, start, count)| {
        let share = count / logs.len() as f64;
        let at = move |x: f64| (share * (alpha - 1.0)).log10() - start - alpha * (x - start);
        (start, at)
    });
    let known = bins.iter().flatten().copied();
    let (bottom, top) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), y| (a.min(y), b.max(y)));
    let range = if top > bottom { (bottom, top) } else { (bottom - 1.0, top) };
    let mut canvas = Canvas::new(cells, HEIGHTS.0 + 4);
    let dots = 2 * cells;
    let log = |x: usize| low + (high - low) * (x as f64 + 0.5) / dots as f64;
    let mut before = None;
    for x in 0..dots {
        let bin = (((log(x) - low) / step) as usize).min(bins.len() - 1);
        let Some(y) = bins[bin].map(|y| canvas.dot(y, range)) else {
            before = None;
            continue;
        };
        canvas.line(x, before.unwrap_or(y), y);
        before = Some(y);
    }
    if let Some((start, at)) = tail {
        for x in (0..dots).filter(|x| log(*x) >= start).step_by(2) {
            canvas.mark(x, at(log(x)), range);
        }
        if start >= low {
            canvas.upright(((start - low) / (high - low) * (dots - 1) as f64) as usize);
        }
    }
    let power = |x: f64| notation::real(10f64.powf(x));
    canvas.write("p", &power, range, paint, out)?;
    let ends = [low, f64::midpoint(low, high), high].map(power);
    write_ends(&ends, cells, out)?;
    let fitted = ["alpha", "xmin", "tail_count", "ks_distance"];
    let said = fitted.iter().filter_map(|key| Some((*key, number(row, key)?)));
    let words = said.map(|(key, value)| match key {
        "tail_count" => format!("{} in the tail", notation::count(value as u64)),
        "alpha" => format!("α {}", notation::real(value)),
        "ks_distance" => format!("KS D {}", notation::real(value)),
        _ => format!("{key} {}", notation::real(value)),
    });
    let words = std::iter::once("density of λ = σ²".to_owned()).chain(words);
    let mut words: Vec<(usize, String)> = words.map(|word| (word.width(), word)).collect();
    if tail.is_some() {
        words.push((17, format!("{} fit from xmin on", paint.wrap(EDGE, "⠒"))));
    }
    write_words(&words, width, out)
}

/// The density in bins of even width in the logarithm, as a logarithm; none where no eigenvalue lies.
fn histogram(logs: &[f64], (low, high): (f64, f64)) -> Vec<Option<f64>> {
    let count = ((logs.len() as f64).sqrt() as usize * 2).clamp(4, 60);
    let step = (high - low) / count as f64;
    let mut counts = vec![0u32; count];
    for x in logs {
        counts[(((x - low) / step) as usize).min(count - 1)] += 1;
    }
    let density = |(i, n): (usize, u32)| {
        let left = low + i as f64 * step;
        // log₁₀ of the bin's width in λ, without its ends, which may not fit a double.
        let wide = left + (10f64.powf(step) - 1.0).log10();
        (n > 0).then(|| (f64::from(n) / logs.len() as f64).log10() - wide)
    };
    counts.into_iter().enumerate().map(density).collect()
}

fn scree(
    row: &Row,
    spectrum: &Spectrum,
    (width, cells): (usize, usize),
    paint: Paint,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (count, logs) = (spectrum.values().len(), spectrum.resolved().iter().map(|s| s.log10()));
    let logs: Vec<f64> = logs.collect();
    let (high, last) = (logs[0], logs[logs.len() - 1]);
    let range = (if high > last { last } else { high - 1.0 }, high);
    let mut canvas = Canvas::new(cells, HEIGHTS.0 + 4);
    canvas.curve(&logs, count, range);
    let shares = [("rank_at_90", "90 %"), ("rank_at_99", "99 %")];
    let ranks: Vec<_> = shares.iter().filter_map(|(key, share)| Some((number(row, key)?, *share))).collect();
    for (rank, _) in &ranks {
        canvas.upright(((rank - 1.0) / count as f64 * (2 * cells) as f64) as usize);
    }
    canvas.write("σ", &|x| notation::real(10f64.powf(x)), range, paint, out)?;
    write_positions(count, cells, out)?;
    let words = ranks.iter().map(|(rank, share)| {
        let text = format!("{share} of Σσ² in the first {}", notation::count(*rank as u64));
        (text.width() + 2, format!("{} {text}", paint.wrap(EDGE, "⡇")))
    });
    write_words(&words.collect::<Vec<_>>(), width, out)
}

/// The labels at the left, the middle and the right end of an axis.
fn write_ends([left, middle, right]: &[String; 3], cells: usize, out: &mut dyn Write) -> io::Result<()> {
    let before = (cells / 2).saturating_sub(left.width() + middle.width() / 2);
    let used = left.width() + before + middle.width() + right.width();
    let line =
        format!("{left}{}{middle}{}{right}", " ".repeat(before), " ".repeat(cells.saturating_sub(used)));
    writeln!(out, "{}{line}", " ".repeat(MARGIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spectrum::Route;

    #[test]
    fn any_spectrum_can_be_drawn() {
        for values in [vec![0.0; 3], vec![5.0], vec![5.0; 3], vec![1e150, 1e-150, 0.0], vec![2.0, 1.0]] {
            let side = values.len();
            let spectrum = Spectrum::new(values, side, side, Route::Direct).expect("sound");
            for picture in [Picture::Esd, Picture::Scree] {
                for width in [0, 80, 160] {
                    let mut out = vec![];
                    let style = (width, Paint::Plain);
                    write_picture(&Row::default(), &spectrum, picture, style, &mut out).expect("written");
                    let text = String::from_utf8(out).expect("text");
                    assert!(text.lines().all(|line| line.width() <= width.max(60)), "{text}");
                }
            }
        }
    }

    #[test]
    fn the_density_holds_all_eigenvalues() {
        let logs: Vec<f64> = (0..100).rev().map(|i| f64::from(i) / 30.0).collect();
        let (low, high) = (0.0, 3.3);
        let bins = histogram(&logs, (low, high));
        let step = (high - low) / bins.len() as f64;
        let mass = bins.iter().enumerate().filter_map(|(i, density)| {
            let (left, right) = (low + i as f64 * step, low + (i + 1) as f64 * step);
            Some(10f64.powf((*density)?) * (10f64.powf(right) - 10f64.powf(left)))
        });
        assert!((mass.sum::<f64>() - 1.0).abs() < 1e-9);
    }
}
