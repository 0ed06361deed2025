//! Cuts of a spectrum: the number of values above a noise or rounding level, and the largest gap.

use super::{Metric, Rounded, bulk};
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::Needs;
use crate::spectrum::{Spectrum, scaled};

pub(super) const GAVISH_DONOHO_RANK: Metric = Metric {
    column: Column {
        key: "gavish_donoho_rank",
        label: "optimal",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "how many σ exceed ω·median(σ), the best place to cut when the rest is noise of unknown level; ω = √(2(β+1) + 8β/(β+1+√(β²+14β+1)))/√μ, β = min/max of m and n, μ the median of the Marchenko–Pastur law",
        range: "[0, spike_count]",
        source: "Gavish & Donoho 2014, eqs. 3 and 10",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.bulk(|spectrum, bulk| {
            let (short, long) = (spectrum.values().len() as f64, spectrum.rows().max(spectrum.cols()) as f64);
            let cut = bulk::optimal_cut(short / long) * long.sqrt() * bulk.noise;
            Value::count(above(spectrum, cut))
        })
    },
};

/// The column `rank_above_rounding`.
pub const RANK_ABOVE_ROUNDING: Metric = Metric {
    column: Column {
        key: "rank_above_rounding",
        label: "> rounding",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "how many σ exceed what rounding to the storage type can make: 1.1·r·(√m + √n) with r² the mean of ulp(w)²/12, ulp(w) the spacing of the type at w; of an update 1.05·r·(√m + √n) with r that of the tuned weights",
        range: "[0, min(m, n)]",
        source: "heuristic: rounding as independent noise, Marchenko & Pastur 1967",
    },
    needs: Needs::Values,
    value: |subject| {
        let Some(epsilon) = subject.layer.epsilon() else {
            return Value::Missing(MissingReason::NotApplicable);
        };
        subject.measure(|spectrum| {
            let (m, n) = (spectrum.rows() as f64, spectrum.cols() as f64);
            let noise = match subject.rounded {
                // Entries that were computed are rounded elsewhere.
                Rounded::Itself
                    if subject.layer.rank.is_some() || subject.layer.read_as != subject.layer.dtype =>
                {
                    return Value::Missing(MissingReason::NotApplicable);
                }
                Rounded::Itself => match subject.entries.lines() {
                    Some(lines) if lines.rounding > 0.0 && subject.layer.encoding.is_none() => {
                        REACH * scaled(lines.rounding, -spectrum.exponent())
                    }
                    _ => ROUNDING * epsilon * spectrum.norm() / (m * n).sqrt(),
                },
                Rounded::Weights(rounding) => MARGIN * scaled(rounding, -spectrum.exponent()),
                Rounded::Factors | Rounded::Codes => return Value::Missing(MissingReason::NotApplicable),
            };
            Value::count(above(spectrum, noise * (m.sqrt() + n.sqrt())))
        })
    },
};

/// Root mean square of rounding to nearest, divided by ε and by that of the weights: ε/√12 times the power of two below
/// a weight, whose mean square is 3/(2 ln 2) times that of these powers where weights fill their binades evenly.
/// Together 0.196. It stands in where the entries as stored are not known, and is up to a tenth too low.
const ROUNDING: f64 = 0.22;

/// How far rounding reaches beyond its edge: the root mean square is 0.97 to 1.11 of what was measured.
const REACH: f64 = 1.1;

/// How far rounding alone may reach beyond its edge: by chance in a small matrix, and because what a small update loses
/// to rounding resembles the update.
const MARGIN: f64 = 1.05;

pub(super) const LARGEST_GAP: Metric = Metric {
    column: Column {
        key: "largest_gap",
        label: "gap",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "the largest ratio σᵢ/σᵢ₊₁ of neighbors, the last two left out; missing where it ends below what the decomposition resolves",
        range: "[1, ∞)",
        source: "definition",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.nonzero(|spectrum| match gap(spectrum) {
            Some((_, Step::Resolved(ratio))) => Value::real(ratio),
            Some((_, Step::ToFloor)) => Value::Missing(MissingReason::FallsToFloor),
            None => Value::Missing(MissingReason::TooFewValues),
        })
    },
};

pub(super) const LARGEST_GAP_AT: Metric = Metric {
    column: Column {
        key: "largest_gap_at",
        label: "gap at",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "how many directions lie before the largest gap, a fall below what the decomposition resolves included",
        range: "[1, min(m, n) − 1]",
        source: "definition",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.nonzero(|spectrum| {
            gap(spectrum).map_or(Value::Missing(MissingReason::TooFewValues), |(at, _)| Value::count(at))
        })
    },
};

/// Number of values above `line`; values below the floor don't count.
pub(super) fn above(spectrum: &Spectrum, line: f64) -> usize {
    let line = line.max(spectrum.floor());
    spectrum.values().iter().take_while(|s| **s > line).count()
}

/// How far the spectrum falls at its largest gap.
enum Step {
    /// By this ratio.
    Resolved(f64),
    /// It ends below the floor, so it is at least the ratio to the floor.
    ToFloor,
}

/// The largest ratio of neighbors (the first of equals), and the number of values before it.
///
/// The last of min(m, n) values may be any fraction of the one before: in a square random matrix it often is a tenth. A
/// fall to it counts only where it is not resolved.
fn gap(spectrum: &Spectrum) -> Option<(usize, Step)> {
    let (count, resolved) = (spectrum.values().len(), above(spectrum, 0.0));
    let mut largest = None;
    for (i, pair) in spectrum.values()[..resolved.min(count - 1)].windows(2).enumerate() {
        let ratio = pair[0] / pair[1];
        if largest.is_none_or(|(_, before)| before < ratio) {
            largest = Some((i + 1, ratio));
        }
    }
    let last = spectrum.values()[..resolved].last().filter(|_| resolved < count);
    let fall = last.map(|last| last / spectrum.floor());
    match (largest, fall) {
        (Some((_, ratio)), Some(fall)) if fall > ratio => Some((resolved, Step::ToFloor)),
        (Some((at, ratio)), _) => Some((at, Step::Resolved(ratio))),
        (None, fall) => fall.map(|_| (resolved, Step::ToFloor)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, missing};
    use super::*;

    #[test]
    fn the_largest_gap_is_the_first_of_equals_and_not_the_last() {
        check(&LARGEST_GAP, &[8.0, 4.0, 1.0, 0.5], 4.0);
        check(&LARGEST_GAP_AT, &[8.0, 4.0, 1.0, 0.5], 2.0);
        check(&LARGEST_GAP_AT, &[8.0, 4.0, 2.0, 0.1], 1.0);
        missing(&LARGEST_GAP, &[2.0, 1.0], MissingReason::TooFewValues);
    }

    #[test]
    fn a_fall_to_nothing_has_a_place_and_no_ratio() {
        for values in [[3.0, 2.0, 0.0, 0.0], [3.0, 2.0, 1e-17, 1e-18]] {
            check(&LARGEST_GAP_AT, &values, 2.0);
            missing(&LARGEST_GAP, &values, MissingReason::FallsToFloor);
        }
        check(&LARGEST_GAP_AT, &[1.0, 0.0], 1.0);
        missing(&LARGEST_GAP_AT, &[0.0, 0.0], MissingReason::AllZero);
    }

    #[test]
    fn noise_alone_has_no_direction_worth_keeping() {
        let mut values: Vec<f64> = (1..=20).map(f64::from).collect();
        check(&GAVISH_DONOHO_RANK, &values, 0.0);
        // ω of a square matrix is 2.858, the median 10.5.
        values[19] = 30.1;
        check(&GAVISH_DONOHO_RANK, &values, 1.0);
        missing(&GAVISH_DONOHO_RANK, &[1.0; 7], MissingReason::TooFewValues);
    }

    #[test]
    fn an_all_zero_matrix_rounds_to_nothing() {
        check(&RANK_ABOVE_ROUNDING, &[0.0, 0.0], 0.0);
        check(&RANK_ABOVE_ROUNDING, &[1e300, 1e290, 1e280], 2.0);
    }
}
