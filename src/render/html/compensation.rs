//! What adapters of several ranks leave of what compression took, as a picture.

use maud::{Markup, html};

use crate::notation;
use crate::report::Row;

use super::axis::{Axis, Scale};
use super::frame::{Frame, Path};
use super::spectra::{HEIGHT, WIDTH};

/// The error that is left against the rank: of the outputs by SVD and EoRA where inputs were known, else of the weight.
/// Nothing where no ranks were asked for.
pub(super) fn picture(row: &Row) -> Markup {
    let list = |name: &str| row.lists.get(name);
    let ranks = list("ranks");
    let of_outputs = [("SVD", list("svd_output_error_norm")), ("EoRA", list("eora_output_error_norm"))];
    let (ways, key, label) = match (&of_outputs[0].1[..], row.values.get("output_error_norm")) {
        ([_, ..], Some(_)) => (of_outputs.to_vec(), "output_error_norm", "% of the outputs' error"),
        _ => (vec![("SVD", list("svd_error_norm"))], "error_norm", "% of the weight's error"),
    };
    let before = row.values.get(key).and_then(crate::report::Value::number).filter(|x| *x > 0.0);
    let (Some(before), Some(most)) = (before, ranks.last().copied()) else { return html! {} };
    if ways.iter().any(|(_, left)| left.len() != ranks.len()) {
        return html! {};
    }
    let frame = Frame {
        width: WIDTH,
        height: HEIGHT,
        x: Axis::new(Scale::Linear, (0.0, most), Frame::across(WIDTH)),
        y: Axis::new(Scale::Linear, (0.0, 100.0), Frame::upward(HEIGHT)),
        labels: ("rank", label),
        description: "what is left of the error by rank",
    };
    let line = |left: &[f64]| {
        let places = ranks.iter().zip(left).map(|(rank, left)| (*rank, 100.0 * left / before));
        let places = std::iter::once((0.0, 100.0)).chain(places);
        Path::through(places.map(|(x, y)| (frame.x.at(x), frame.y.at(y.min(100.0)))))
    };
    let content = html! { @for (i, (_, left)) in ways.iter().enumerate() {
        path class={"line sides s" (i)} d=(line(left).text()) {}
    } };
    html! {
        div.pictures { figure {
            figcaption {
                b { "What is left of the error" }
                @for (i, (way, left)) in ways.iter().enumerate() {
                    span.side {
                        svg viewBox="0 0 26 8" { path class={"line sides s" (i)} d="M1 4H25" {} }
                        (way) " " (notation::share(left.last().copied().unwrap_or(before) / before))
                    }
                }
            }
            (frame.draw(&frame.x_ticks(), &content))
        } }
    }
}
