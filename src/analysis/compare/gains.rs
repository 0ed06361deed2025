//! Whether a weight is its base up to a gain for each row and each column, as folded norms, SmoothQuant and AWQ leave it.
//!
//! For `diag(h)·W₁ = W₀·diag(x)` the gains `h` and `x` are the null vector of one linear system (Ling & Strohmer 2018). With
//! its columns normalized, its smallest singular value squared is `1 − σ₁(N)`, `Nᵢⱼ = W₁ᵢⱼW₀ᵢⱼ/(‖row i of W₁‖·‖column j of
//! W₀‖)`, and the gains are the leading vectors of `N` over these norms.

use super::drift::Drift;
use super::needs::GAINS;
use crate::error::Error;
use crate::matrix::{Dtype, Matrix};
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::{self, Operator};

/// How well gains explain a pair, and how far they differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Gains {
    alignment: f64,
    /// Largest over smallest gain of the rows, and of the columns.
    rows: f64,
    columns: f64,
}

pub(super) const GAIN_ALIGNMENT: Drift = Drift {
    column: Column {
        key: "gain_alignment",
        label: "gains",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "σ₁ of N, Nᵢⱼ = W₁ᵢⱼW₀ᵢⱼ/(‖row i of W₁‖·‖column j of W₀‖): 1 where both are one weight up to a gain for each row and each column",
        range: "[0, 1]",
        source: "Ling & Strohmer 2018, the spectral method",
    },
    needs: GAINS,
    unchanged: Value::Real(1.0),
    value: |both| gain(both.gains, |gains| Value::within(gains.alignment, 0.0, 1.0)),
};

pub(super) const ROW_GAIN_RATIO: Drift = Drift {
    column: Column {
        key: "row_gain_ratio",
        label: "row gains",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "largest over smallest of the row gains that explain the change best; 1 where all rows have the same gain",
        range: "[1, ∞)",
        source: "Ling & Strohmer 2018, the spectral method",
    },
    needs: GAINS,
    unchanged: Value::Real(1.0),
    value: |both| gain(both.gains, |gains| Value::real(gains.rows)),
};

pub(super) const COLUMN_GAIN_RATIO: Drift = Drift {
    column: Column {
        key: "column_gain_ratio",
        label: "col gains",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "the same for the column gains",
        range: "[1, ∞)",
        source: "Ling & Strohmer 2018, the spectral method",
    },
    needs: GAINS,
    unchanged: Value::Real(1.0),
    value: |both| gain(both.gains, |gains| Value::real(gains.columns)),
};

fn gain(gains: Option<Gains>, value: impl FnOnce(Gains) -> Value) -> Value {
    gains.map_or(Value::Missing(MissingReason::AllZero), value)
}

/// The gains that make `tuned` of `base`, of one shape; none where one is zero wherever the other is not.
///
/// # Errors
/// [`Error::NotConverged`].
pub(super) fn gains(base: &Matrix, tuned: &Matrix) -> Result<Option<Gains>, Error> {
    let (rows, cols) = (base.rows(), base.cols());
    let (mut row, mut other) = (vec![0.0; cols], vec![0.0; cols]);
    let (mut of_rows, mut of_columns) = (vec![], vec![0.0; cols]);
    for start in (0..rows).map(|i| i * cols) {
        base.widen(start..start + cols, &mut row);
        tuned.widen(start..start + cols, &mut other);
        of_rows.push(other.iter().map(|x| x * x).sum::<f64>().sqrt());
        of_columns.iter_mut().zip(&row).for_each(|(sum, x)| *sum += x * x);
    }
    of_columns.iter_mut().for_each(|sum: &mut f64| *sum = sum.sqrt());
    // The only dense copy: beside both weights, each row of them is widened as it is needed.
    let mut products = Vec::with_capacity(base.len() * size_of::<f64>());
    for (i, of_row) in of_rows.iter().enumerate() {
        base.widen(i * cols..(i + 1) * cols, &mut row);
        tuned.widen(i * cols..(i + 1) * cols, &mut other);
        for (j, of_column) in of_columns.iter().enumerate() {
            let size = of_row * of_column;
            let product = if size > 0.0 { row[j] * other[j] / size } else { 0.0 };
            products.extend_from_slice(&product.to_le_bytes());
        }
    }
    let products = Matrix::new(rows, cols, Dtype::F64, products)?;
    let leading = solver::leading(&Operator::from(&products), 1)?;
    let Some(alignment) = leading.values.first().copied().filter(|sigma| *sigma > 0.0) else {
        return Ok(None);
    };
    let ratio = |vector: &[f64], norms: &[f64]| {
        let gains = vector.iter().zip(norms).filter(|(_, norm)| **norm > 0.0).map(|(x, norm)| x.abs() / norm);
        let (least, most) = gains.fold((f64::INFINITY, 0.0f64), |(a, b), gain| (a.min(gain), b.max(gain)));
        most / least
    };
    Ok(Some(Gains {
        alignment,
        rows: ratio(leading.left.column(0), &of_rows),
        columns: ratio(leading.right.column(0), &of_columns),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The matrices of the golden values: a linear congruence.
    fn uniform(rows: usize, cols: usize, seed: u32) -> Vec<f64> {
        let mut state = seed;
        let entry = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.5
        };
        (0..rows * cols).map(entry).collect()
    }

    #[track_caller]
    fn check((rows, cols): (usize, usize), base: &[f64], tuned: &[f64], expected: f64) -> Gains {
        let matrix = |entries: &[f64]| Matrix::from_f64(rows, cols, entries).expect("fits");
        let found = gains(&matrix(base), &matrix(tuned)).expect("converges").expect("not zero");
        assert!((found.alignment - expected).abs() < 2e-10, "{found:?}, not {expected}");
        found
    }

    #[test]
    fn gains_of_rows_and_columns_are_found() {
        let base = uniform(40, 30, 150);
        let map = |of: &[f64], gain: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            of.iter().enumerate().map(|(at, x)| x * gain(at / 30, at % 30)).collect()
        };
        let columns = map(&base, &|_, j| 1.0 + j as f64 / 10.0);
        let found = check((40, 30), &base, &columns, 1.0);
        assert!((found.rows - 1.0).abs() < 1e-9 && (found.columns - 3.9).abs() < 1e-9, "{found:?}");
        let rounded = Matrix::rounded(40, 30, Dtype::Bf16, &columns).expect("fits").to_f64();
        check((40, 30), &base, &rounded, 0.999_998_922_389);
        let both = map(&columns, &|i, _| 1.0 + (i % 3) as f64 / 2.0);
        let found = check((40, 30), &base, &both, 1.0);
        assert!((found.rows - 2.0).abs() < 1e-9 && (found.columns - 3.9).abs() < 1e-9, "{found:?}");
        let noise = uniform(40, 30, 151);
        let noisy: Vec<f64> = columns.iter().zip(&noise).map(|(x, noise)| x + 0.1 * noise).collect();
        check((40, 30), &base, &noisy, 0.999_272_966_51);
        check((40, 30), &base, &uniform(40, 30, 152), 0.334_322_434_958);
    }

    #[test]
    fn the_paper_s_toys_have_their_alignment() {
        let base = uniform(24, 16, 11);
        let (rows, columns) = (uniform(1, 24, 601), uniform(1, 16, 602));
        let gained: Vec<f64> = (0..24 * 16)
            .map(|at| base[at] * (rows[at / 16] / 2.0).exp() * (columns[at % 16] / 2.0).exp())
            .collect();
        check((24, 16), &base, &gained, 1.0);
        let noise = uniform(24, 16, 603);
        let noisy: Vec<f64> = gained.iter().zip(&noise).map(|(x, noise)| x + 0.05 * noise).collect();
        check((24, 16), &base, &noisy, 0.999_200_051_1);
        check((24, 16), &base, &uniform(24, 16, 604), 0.425_749_418);
        let reversed: Vec<f64> = (0..24).rev().flat_map(|i| base[i * 16..(i + 1) * 16].to_vec()).collect();
        check((24, 16), &base, &reversed, 0.469_531_601_6);
    }
}
