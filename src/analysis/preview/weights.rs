//! Energies and losses where inputs or Fisher weights say what matters.

use super::super::weighting::{self, scaled, seen};
use super::columns::{FISHER, OUTPUTS};
use super::{Notes, leading, norm, rank_at, share, values};
use crate::checkpoint::Moments;
use crate::error::Error;
use crate::layer::Layer;
use crate::matrix::Matrix;
use crate::metric::Subject;
use crate::report::{MissingReason, Value};
use crate::solver::{self, Basis, Entries, Weighting};
use crate::spectrum::Spectrum;

/// The share of the energy in the leading directions, for each rank.
pub(super) fn energies(matrix: &Matrix, ranks: &[usize]) -> Result<Vec<Value>, Error> {
    Ok(held(&values(matrix)?, ranks))
}

fn held(spectrum: &Spectrum, ranks: &[usize]) -> Vec<Value> {
    let squares = || spectrum.values().iter().map(|s| (s / spectrum.largest()).powi(2));
    let all: f64 = squares().sum();
    let held = |rank: &usize| match spectrum.largest() {
        0.0 => Value::Missing(MissingReason::AllZero),
        _ => Value::within(squares().take(*rank).sum::<f64>() / all, 0.0, 1.0),
    };
    ranks.iter().map(held).collect()
}

/// Of a layer whose inputs are known.
pub(super) fn by_inputs(
    notes: &mut Notes,
    (matrix, layer): (&Matrix, &Layer),
    inputs: &Moments,
    ranks: &[usize],
) -> Result<[Vec<Value>; 3], Error> {
    let root = weighting::root(inputs)?;
    let seen_by = root.times(matrix)?;
    let outputs = values(&seen_by)?;
    let context = values(&weighting::damped(inputs)?.times(matrix)?)?;
    let effective = Subject::new(layer, &Entries::new(), Ok(&outputs)).value("effective_rank");
    let ranked = [0.9, 0.95, 0.99].map(|share| rank_at(&outputs, share));
    notes.add(&OUTPUTS, ranked.into_iter().chain([effective, rank_at(&context, 0.95)]));
    notes.lists.real("output_spectrum", outputs.values().iter().copied());
    notes.lists.real("context_spectrum", context.values().iter().copied());
    if ranks.is_empty() {
        return Ok([vec![], vec![], vec![]]);
    }
    let most = ranks.last().copied().unwrap_or(0);
    let plain = leading(matrix, (&Weighting::None, &Weighting::None), most)?;
    let (up, down) = (scaled(&plain.left, &plain.values), seen(&root, &plain.right)?);
    let whole = norm(&seen_by)?;
    let by_svd = solver::remainders(&seen_by, (&up, &down), ranks);
    let by_svd = by_svd.into_iter().map(|left| share(left, whole)).collect();
    let rest = |rank: &usize| {
        let rest: f64 = outputs.values().iter().skip(*rank).map(|s| s * s).sum();
        share(rest.sqrt(), outputs.norm())
    };
    Ok([ranks.iter().map(rest).collect(), by_svd, held(&context, ranks)])
}

/// Of a weight whose entries have Fisher weights: by the directions of weighted columns, by its own, and by those of
/// weighted rows and columns.
pub(super) fn by_fisher(
    notes: &mut Notes,
    (matrix, _): (&Matrix, &Layer),
    fisher: &Matrix,
    ranks: &[usize],
) -> Result<[Vec<Value>; 3], Error> {
    let cols = matrix.cols();
    let weights = fisher.to_f64();
    let (mut of_rows, mut of_columns) = (vec![], vec![0.0; cols]);
    for row in weights.chunks_exact(cols) {
        of_rows.push(row.iter().sum::<f64>().sqrt());
        of_columns.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    let of_columns = Weighting::Diagonal(of_columns.into_iter().map(f64::sqrt).collect());
    let of_rows = Weighting::Diagonal(of_rows);
    let weighted = of_columns.times(matrix)?;
    let spectrum = values(&weighted)?;
    notes.add(&FISHER, [0.9, 0.95, 0.99].map(|share| rank_at(&spectrum, share)));
    notes.lists.real("fisher_spectrum", spectrum.values().iter().copied());
    let by_entry = |of: &Matrix| -> f64 {
        of.to_f64().iter().zip(&weights).map(|(x, weight)| weight * x * x).sum::<f64>().sqrt()
    };
    let whole = by_entry(matrix);
    let none = Weighting::None;
    let mut losses = [vec![], vec![], vec![]];
    let ways = [
        ("one_sided", (&none, &of_columns)),
        ("svd", (&none, &none)),
        ("two_sided", (&of_rows, &of_columns)),
    ];
    for (found, (way, sides)) in losses.iter_mut().zip(ways) {
        let Some(most) = ranks.last() else { continue };
        let cut = leading(matrix, sides, *most)?;
        let (up, down) = (scaled(&cut.left, &cut.values), seen(&of_columns, &cut.right)?);
        notes
            .lists
            .real(&format!("fisher_{way}_error_norm"), solver::remainders(matrix, (&up, &cut.right), ranks));
        notes
            .lists
            .real(&format!("fisher_{way}_weighted_norm"), solver::remainders(&weighted, (&up, &down), ranks));
        let entries = |rank: &usize| -> Result<f64, Error> {
            let first = |basis: &Basis| basis.clone().truncated((*rank).min(basis.count()));
            Ok(by_entry(&solver::less(matrix, (&first(&up), &first(&cut.right)))?))
        };
        let entries = ranks.iter().map(entries).collect::<Result<Vec<_>, _>>()?;
        *found = entries.iter().map(|left| share(*left, whole)).collect();
        notes.lists.real(&format!("fisher_{way}_fisher_norm"), entries);
    }
    Ok(losses)
}
