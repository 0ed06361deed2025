//! The pictures of one spectrum: eigenvalue density with the fitted tail, singular values against noise, scree, energy.
//!
//! They are drawn from the row's outline; the lines come from its columns, and are left out where it has none.

use std::f64::consts::PI;

use maud::{Markup, html};

use crate::notation;
use crate::report::{Row, Value};

use super::axis::{Axis, Scale, extremes};
use super::frame::{Frame, Path};

pub(super) const WIDTH: f64 = 420.0;
pub(super) const HEIGHT: f64 = 236.0;
/// Eigenvalues smaller than this share of the largest are rounding: they are counted, not drawn.
const DEEPEST: f64 = 1e-16;
/// The linear picture ends this far beyond the noise edge: a few strong directions must not flatten the bulk.
const BEYOND: f64 = 1.8;

/// All values of a row's spectrum, descending: those of its outline, or of very many matrices those of its sketch.
pub(super) fn of_row(row: &Row) -> Vec<f64> {
    if !row.outline.is_empty() {
        return values(&row.outline);
    }
    let directions = row.update.as_ref().and_then(|update| update.rank).unwrap_or(u64::MAX);
    let last = row.shape[0].min(row.shape[1]).min(directions).saturating_sub(1) as usize;
    let steps = row.sketch.len().saturating_sub(1).max(1);
    let points = row.sketch.iter().enumerate().map(|(i, value)| (i * last / steps, *value));
    values(&points.collect::<Vec<_>>())
}

/// All values of the spectrum, descending: the outline's, and even steps between them.
pub(super) fn values(outline: &[(usize, f64)]) -> Vec<f64> {
    let mut values: Vec<f64> = outline.iter().take(1).map(|(_, s)| *s).collect();
    for pair in outline.windows(2) {
        let ((from, high), (to, low)) = (pair[0], pair[1]);
        let gap = (to - from) as f64;
        values.extend((1..=to - from).map(|i| high + (low - high) * (i as f64 / gap)));
    }
    values
}

/// The four pictures of `row`, whose singular values are `values`; none where all are zero.
pub(super) fn pictures(row: &Row, values: &[f64]) -> Option<Markup> {
    if values.first().is_none_or(|largest| *largest <= 0.0) {
        return None;
    }
    let number = |key: &str| row.values.get(key).and_then(Value::number).filter(|x| *x > 0.0);
    Some(html! {
        div.pictures {
            (density(values, &number)) (bulk(row, values, &number)) (scree(values, &number)) (energy(values, &number))
        }
    })
}

type Number<'a> = &'a dyn Fn(&str) -> Option<f64>;

/// How many of `sorted` lie in each of `edges.len() - 1` bins; the last bin holds its upper edge.
fn counts(numbers: &[f64], edges: &[f64]) -> Vec<f64> {
    let mut counts = vec![0.0; edges.len() - 1];
    for x in numbers {
        let after = edges.partition_point(|edge| edge <= x);
        let last = after == edges.len() && edges.last().is_some_and(|edge| edge >= x);
        if let Some(count) = (after - usize::from(last)).checked_sub(1).and_then(|bin| counts.get_mut(bin)) {
            *count += 1.0;
        }
    }
    counts
}

/// Bars that stand on the bottom of `frame`; neighbors share their sides.
fn bars(frame: &Frame<'_>, edges: &[f64], heights: &[f64], class: &str) -> Markup {
    let (bottom, _) = Frame::upward(HEIGHT);
    let mut path = Path::default();
    let mut before = 0.0;
    for (i, height) in heights.iter().chain([&0.0]).enumerate() {
        match (before > 0.0, *height > 0.0) {
            (false, true) => {
                path.bar((frame.x.at(edges[i]), frame.x.at(edges[i + 1])), bottom, frame.y.at(*height));
            }
            (true, true) => path.next_bar(frame.x.at(edges[i + 1]), frame.y.at(*height)),
            (true, false) => path.vertical(bottom),
            (false, false) => {}
        }
        before = *height;
    }
    html! { path class=(class) d=(path.text()) {} }
}

fn split(heights: &[f64], edges: &[f64], at: f64) -> (Vec<f64>, Vec<f64>) {
    let side = |above: bool| {
        let keep = |i: usize| (edges[i] + edges[i + 1] > 2.0 * at) == above;
        heights.iter().enumerate().map(|(i, h)| if keep(i) { *h } else { 0.0 }).collect()
    };
    (side(false), side(true))
}

fn steps(bins: usize, at: impl Fn(f64) -> f64) -> Vec<f64> {
    (0..=bins).map(|i| at(i as f64 / bins as f64)).collect()
}

/// Density of the eigenvalues, both axes logarithmic, with the power law from its start on.
fn density(values: &[f64], number: Number<'_>) -> Markup {
    let eigenvalues: Vec<f64> = values.iter().map(|s| s * s).filter(|x| x.is_normal()).collect();
    let (low, high) = extremes(&eigenvalues);
    if !(low > 0.0 && high > 0.0) {
        return html! {};
    }
    let low = low.max(high * DEEPEST).min(high / 2.0);
    let below = values.len() - eigenvalues.iter().filter(|x| **x >= low).count();
    let n = values.len() as f64;
    let bins = (2.0 * n.sqrt()).clamp(8.0, 40.0) as usize;
    let edges = steps(bins, |t| low * (high / low).powf(t));
    let heights: Vec<f64> = counts(&eigenvalues, &edges)
        .iter()
        .zip(edges.windows(2))
        .map(|(c, e)| c / (n * (e[1] - e[0])))
        .collect();
    let drawn: Vec<f64> = heights.iter().copied().filter(|h| h.is_normal()).collect();
    let (least, most) = extremes(&drawn);
    let law =
        number("alpha").zip(number("xmin")).zip(number("tail_count").or_else(|| number("num_pl_spikes")));
    // A steep law falls far below the last bar: it is followed for a decade.
    let end = law.map_or(least, |((alpha, xmin), count)| power_law(high, (alpha, xmin, count / n)));
    let bottom = end.clamp(least / 10.0, least / 2.0);
    let frame = Frame {
        width: WIDTH,
        height: HEIGHT,
        x: Axis::new(Scale::Log, (low, high), Frame::across(WIDTH)),
        y: Axis::new(Scale::Log, (bottom, most * 2.0), Frame::upward(HEIGHT)),
        labels: ("eigenvalue λ = σ²", "density"),
        description: "eigenvalue density",
    };
    let start = law.map_or(f64::INFINITY, |((_, xmin), _)| xmin);
    let (body, tail) = split(&heights, &edges, start);
    let content = html! {
        (bars(&frame, &edges, &body, "bar")) (bars(&frame, &edges, &tail, "bar strong"))
        @if let Some(((alpha, xmin), count)) = law {
            path class="fit" d=(fitted(&frame, (alpha, xmin, count / n)).text()) {}
            (frame.mark(xmin, "mark", "λ min"))
        }
    };
    html! {
        figure {
            figcaption {
                b { "Eigenvalue density" }
                @if let Some(((alpha, _), count)) = law {
                    " tail of " (notation::count(count as u64)) ": α = " (notation::real(alpha))
                    @if let Some(sigma) = number("alpha_sigma") { " ± " (notation::real(sigma)) }
                    @if let Some(distance) = number("ks_distance") { ", KS D " (notation::real(distance)) }
                }
                @if below > 0 { " · " (below) " below the picture" }
            }
            (frame.draw(&frame.x_ticks(), &content))
        }
    }
}

/// The power law from its start to the largest eigenvalue, as far as it lies in the picture.
fn fitted(frame: &Frame<'_>, law: (f64, f64, f64)) -> Path {
    let (alpha, xmin, _) = law;
    let lowest = (power_law(xmin, law) / frame.y.low).powf(1.0 / alpha) * xmin;
    let (first, last) = (xmin.max(frame.x.low), frame.x.high.min(lowest));
    let ends = if first < last { vec![first, last] } else { vec![] };
    Path::through(ends.into_iter().map(|x| (frame.x.at(x), frame.y.at(power_law(x, law)))))
}

/// Density at `x` of a tail with this exponent and start that holds this share of all values.
fn power_law(x: f64, (alpha, xmin, share): (f64, f64, f64)) -> f64 {
    share * (alpha - 1.0) / xmin * (x / xmin).powf(-alpha)
}

/// Histogram of the singular values with the density of noise of the matrix's level.
fn bulk(row: &Row, values: &[f64], number: Number<'_>) -> Markup {
    let largest = values[0];
    let edge = number("bulk_edge");
    let high = edge.map_or(largest, |edge| largest.min(edge * BEYOND)) * 1.02;
    let n = values.len() as f64;
    let bins = (2.0 * n.sqrt()).clamp(8.0, 48.0) as usize;
    let edges = steps(bins, |t| high * t);
    let heights = counts(values, &edges);
    let law: Option<Vec<(f64, f64)>> = number("noise_sigma").map(|noise| {
        let at = |x: f64| (x, marchenko_pastur(x, noise, row.shape) * n * (high / bins as f64));
        steps(96, |t| high * t).into_iter().map(at).filter(|(_, y)| y.is_finite() && *y > 0.0).collect()
    });
    // The law has no bound at zero for a square matrix: the bars decide the height.
    let most = heights.iter().fold(1.0f64, |most, x| most.max(*x));
    let frame = Frame {
        width: WIDTH,
        height: HEIGHT,
        x: Axis::new(Scale::Linear, (0.0, high), Frame::across(WIDTH)),
        y: Axis::new(Scale::Linear, (0.0, most * 1.15), Frame::upward(HEIGHT)),
        labels: ("singular value σ", "count"),
        description: "singular values against noise",
    };
    let (noise, spikes) = split(&heights, &edges, edge.unwrap_or(f64::INFINITY));
    let beyond = values.iter().filter(|s| **s > high).count();
    let content = html! {
        (bars(&frame, &edges, &noise, "bar")) (bars(&frame, &edges, &spikes, "bar strong"))
        @if let Some(law) = law {
            path class="fit" d=(Path::through(law.iter().map(|(x, y)| (frame.x.at(*x), frame.y.at(*y)))).text()) {}
        }
        @if let Some(edge) = edge { (frame.mark(edge, "mark", "noise edge")) }
    };
    html! {
        figure {
            figcaption {
                b { "Against noise" }
                @if let (Some(edge), Some(Value::Count(spikes))) = (edge, row.values.get("spike_count")) {
                    " " (notation::count(spikes)) " above the Marchenko–Pastur edge " (notation::real(edge))
                }
                @if beyond > 0 { " · " (beyond) " beyond the picture, up to " (notation::real(largest)) }
            }
            (frame.draw(&frame.x_ticks(), &content))
        }
    }
}

/// Density of the singular values of noise with standard deviation `noise`: with `t = x²/(v²·long)` and `β = short/long`,
/// `√((t₊ − t)(t − t₋))/(2πβt)·dt/dx` for `t± = (1 ± √β)²`.
fn marchenko_pastur(x: f64, noise: f64, shape: [u64; 2]) -> f64 {
    let (short, long) = (shape[0].min(shape[1]) as f64, shape[0].max(shape[1]) as f64);
    let (beta, scale) = (short / long, noise * long.sqrt());
    let t = (x / scale).powi(2);
    let inside = ((1.0 + beta.sqrt()).powi(2) - t) * (t - (1.0 - beta.sqrt()).powi(2));
    if inside > 0.0 { inside.sqrt() / (2.0 * PI * beta * t) * 2.0 * (x / scale) / scale } else { 0.0 }
}

/// Singular values by rank, both axes logarithmic.
fn scree(values: &[f64], number: Number<'_>) -> Markup {
    let largest = values[0];
    let drawn: Vec<f64> = values.iter().copied().filter(|s| *s > largest * DEEPEST.sqrt()).collect();
    let (low, high) = extremes(&drawn);
    let low = low.min(high / 3.0);
    let frame = Frame {
        width: WIDTH,
        height: HEIGHT,
        x: Axis::new(Scale::Log, (1.0, values.len().max(2) as f64), Frame::across(WIDTH)),
        y: Axis::new(Scale::Log, (low / 1.15, high * 1.3), Frame::upward(HEIGHT)),
        labels: ("rank", "σ"),
        description: "singular values by rank",
    };
    let places = drawn.iter().enumerate().map(|(i, s)| (frame.x.at(i as f64 + 1.0), frame.y.at(*s)));
    let level = number("bulk_edge").filter(|edge| frame.y.holds(*edge)).map(|edge| frame.y.at(edge));
    let (left, right) = Frame::across(WIDTH);
    let mut line = Path::default();
    if let Some(y) = level {
        line.line((left, y), (right, y));
    }
    let content = html! {
        path class="curve" d=(Path::through(places).text()) {}
        @if let Some(y) = level { path class="mark" d=(line.text()) {} text.mark x=(left + 5.0) y=(y.round() + 13.0) { "noise edge" } }
    };
    html! {
        figure {
            figcaption {
                b { "Scree" } " from " (notation::real(largest)) " to " (notation::real(values[values.len() - 1]))
            }
            (frame.draw(&frame.x_ticks(), &content))
        }
    }
}

/// The share of `Σσ²` that the leading values hold, after each of them.
pub(super) fn shares(values: &[f64]) -> Vec<f64> {
    let largest = values.first().copied().unwrap_or(1.0);
    let energy = |s: &f64| (s / largest).powi(2);
    let total: f64 = values.iter().map(energy).sum();
    let sums = values.iter().scan(0.0, |sum, s| {
        *sum += energy(s);
        Some(*sum / total)
    });
    sums.collect()
}

/// How much of the energy the leading directions hold.
fn energy(values: &[f64], number: Number<'_>) -> Markup {
    let shares = shares(values);
    let frame = Frame {
        width: WIDTH,
        height: HEIGHT,
        x: Axis::new(Scale::Linear, (0.0, values.len() as f64), Frame::across(WIDTH)),
        y: Axis::new(Scale::Linear, (0.0, 100.0), Frame::upward(HEIGHT)),
        labels: ("rank", "% of Σσ²"),
        description: "cumulative energy by rank",
    };
    let places = shares.iter().enumerate().map(|(i, share)| (i as f64 + 1.0, share * 100.0));
    let places = std::iter::once((0.0, 0.0)).chain(places).map(|(x, y)| (frame.x.at(x), frame.y.at(y)));
    let held: Vec<(f64, f64)> = [90.0, 95.0, 99.0]
        .into_iter()
        .filter_map(|percent| Some((percent, number(&format!("rank_at_{percent}"))?)))
        .collect();
    let (bottom, _) = Frame::upward(HEIGHT);
    let mut drops = Path::default();
    for (percent, rank) in &held {
        drops.line((frame.x.at(*rank), bottom), (frame.x.at(*rank), frame.y.at(*percent)));
    }
    let content = html! {
        path class="mark" d=(drops.text()) {}
        path class="curve" d=(Path::through(places).text()) {}
    };
    html! {
        figure {
            figcaption {
                b { "Energy" }
                @for (i, (percent, rank)) in held.iter().enumerate() {
                    @if i > 0 { "," } " " (percent) " % in " (notation::count(*rank as u64))
                }
                @if !held.is_empty() { " of " (notation::count(values.len() as u64)) " directions" }
            }
            (frame.draw(&frame.x_ticks(), &content))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_is_filled_in_even_steps() {
        assert_eq!(values(&[(0, 9.0), (1, 5.0), (5, 1.0)]), [9.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
        assert_eq!(values(&[]), [] as [f64; 0]);
    }

    #[test]
    fn a_row_without_an_outline_is_drawn_from_its_sketch() {
        let row = Row { shape: [5, 9], sketch: vec![9.0, 5.0, 1.0], ..Row::default() };
        assert_eq!(of_row(&row), [9.0, 7.0, 5.0, 3.0, 1.0]);
        let outline = vec![(0, 9.0), (4, 1.0)];
        assert_eq!(of_row(&Row { outline, ..row }), [9.0, 7.0, 5.0, 3.0, 1.0]);
        assert_eq!(of_row(&Row::default()), [] as [f64; 0]);
    }

    #[test]
    fn every_value_falls_into_one_bin() {
        assert_eq!(counts(&[0.0, 0.5, 1.0, 1.5, 2.0, 3.0], &[0.0, 1.0, 2.0]), [2.0, 3.0]);
    }

    #[test]
    fn the_law_of_noise_is_a_density() {
        for shape in [[64, 128], [100, 100], [300, 20]] {
            let high = 2.0 * ((shape[0] as f64).sqrt() + (shape[1] as f64).sqrt());
            let step = high / 20_000.0;
            let sum: f64 =
                (0..20_000).map(|i| marchenko_pastur((f64::from(i) + 0.5) * step, 2.0, shape) * step).sum();
            assert!((sum - 1.0).abs() < 1e-3, "{shape:?}: {sum}");
        }
    }

    #[test]
    fn energy_ends_at_everything() {
        assert_eq!(shares(&[2.0, 1.0, 1.0, 1.0, 1.0]), [0.5, 0.625, 0.75, 0.875, 1.0]);
    }
}
