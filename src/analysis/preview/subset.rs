//! Columns that stand for a weight: strong rank-revealing QR, leverage and coherence.
//!
//! Columns are chosen by the K leading right vectors, `V` (K × n). Pivoted QR takes the column that is farthest from those
//! before it. A strong choice then swaps columns while a coefficient of `V_J⁻¹·V` exceeds the limit: each swap makes `|det
//! V_J|` larger by that factor.

use super::columns::SUBSET;
use super::{Notes, leading, norm, share};
use crate::error::Error;
use crate::matrix::Matrix;
use crate::report::{MissingReason, Value};
use crate::solver::{self, Basis, Operator, Weighting};

use super::super::weighting::scaled;

pub(super) fn measure(notes: &mut Notes, matrix: &Matrix, count: usize, limit: f64) -> Result<(), Error> {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let whole = norm(matrix)?;
    if count > rows.min(cols) || whole == 0.0 {
        let why = if whole == 0.0 { MissingReason::AllZero } else { MissingReason::TooFewDirections };
        notes.add(&SUBSET, [Value::Missing(why); SUBSET.len()]);
        return Ok(());
    }
    let cut = leading(matrix, (&Weighting::None, &Weighting::None), count)?;
    let by_svd = solver::remainders(matrix, (&scaled(&cut.left, &cut.values), &cut.right), &[count])[0];
    let mut chosen = Choice::pivoted(&cut.right);
    let pivoted = chosen.clone();
    chosen.strengthen(limit);
    let [strong_error, pivoted_error] = [error(matrix, &chosen.columns)?, error(matrix, &pivoted.columns)?];
    let [of_columns, of_rows] = [leverage(&cut.right), leverage(&cut.left)];
    let coherence = |leverage: &[f64]| {
        let largest = leverage.iter().copied().fold(0.0, f64::max);
        Value::real(leverage.len() as f64 / count as f64 * largest)
    };
    notes.add(
        &SUBSET,
        [
            share(strong_error, whole),
            share(pivoted_error, whole),
            share(by_svd, whole),
            Value::real(chosen.largest().0),
            Value::real(pivoted.largest().0),
            Value::real(chosen.volume),
            Value::real(pivoted.volume),
            coherence(&of_columns),
            coherence(&of_rows),
        ],
    );
    let sorted = |columns: &[usize]| {
        let mut columns = columns.to_vec();
        columns.sort_unstable();
        columns
    };
    notes.lists.count("columns", sorted(&chosen.columns));
    notes.lists.count("columns_pivoted", sorted(&pivoted.columns));
    notes.lists.real("column_error_norm", [strong_error, pivoted_error, by_svd]);
    notes.lists.real("column_leverage", of_columns);
    notes.lists.real("row_leverage", of_rows);
    Ok(())
}

/// `Σᵢ uᵢ[j]²` of each position.
fn leverage(basis: &Basis) -> Vec<f64> {
    let mut sums = vec![0.0; basis.length()];
    basis.columns().for_each(|u| sums.iter_mut().zip(u).for_each(|(sum, x)| *sum += x * x));
    sums
}

/// `‖W − W_J·W_J⁺·W‖_F`.
fn error(matrix: &Matrix, chosen: &[usize]) -> Result<f64, Error> {
    let cols = matrix.cols();
    let mut is_chosen = vec![false; cols];
    chosen.iter().for_each(|j| is_chosen[*j] = true);
    let order: Vec<usize> = chosen.iter().copied().chain((0..cols).filter(|j| !is_chosen[*j])).collect();
    let entries = matrix.to_f64();
    let ordered: Vec<f64> =
        entries.chunks_exact(cols).flat_map(|row| order.iter().map(|j| row[*j])).collect();
    let ordered = Matrix::from_f64(matrix.rows(), cols, &ordered)?;
    let (basis, along) = solver::first_columns(&Operator::from(&ordered), chosen.len())?;
    Ok(solver::remainders(&ordered, (&basis, &along), &[chosen.len()])[0])
}

/// Columns of a K × n matrix, and all columns by them.
#[derive(Debug, Clone)]
struct Choice {
    columns: Vec<usize>,
    /// `V_J⁻¹·V`, a row for each chosen column.
    coefficients: Vec<Vec<f64>>,
    /// `|det V_J|`.
    volume: f64,
}

impl Choice {
    /// By pivoted QR of the rows that `right` has as columns.
    fn pivoted(right: &Basis) -> Self {
        let (n, count) = (right.length(), right.count());
        // What is left of each column, and the rows of R.
        let mut left: Vec<Vec<f64>> = right.columns().map(<[f64]>::to_vec).collect();
        let mut triangle: Vec<Vec<f64>> = vec![];
        let (mut columns, mut volume) = (vec![], 1.0);
        let mut order: Vec<usize> = (0..n).collect();
        for i in 0..count {
            let size = |j: &usize| left.iter().map(|row| row[*j] * row[*j]).sum::<f64>();
            // The first of the largest, in the order of the exchanges.
            let mut best = (i, -1.0);
            for (at, j) in order.iter().enumerate().skip(i) {
                let size = size(j);
                if size > best.1 {
                    best = (at, size);
                }
            }
            order.swap(i, best.0);
            let (j, length) = (order[i], best.1.max(0.0).sqrt());
            let unit: Vec<f64> = left.iter().map(|row| row[j] / length.max(f64::MIN_POSITIVE)).collect();
            let mut along = vec![0.0; n];
            for (row, q) in left.iter().zip(&unit) {
                along.iter_mut().zip(row).for_each(|(sum, x)| *sum += q * x);
            }
            for (row, q) in left.iter_mut().zip(&unit) {
                row.iter_mut().zip(&along).for_each(|(x, along)| *x -= q * along);
            }
            triangle.push(along);
            columns.push(j);
            volume *= length;
        }
        // Back substitution: R_J is a triangle.
        for i in (0..count).rev() {
            let (upper, lower) = triangle.split_at_mut(i + 1);
            let row = &mut upper[i];
            for (k, below) in lower.iter().enumerate() {
                let factor = row[columns[i + 1 + k]];
                row.iter_mut().zip(below).for_each(|(x, y)| *x -= factor * y);
            }
            let pivot = row[columns[i]];
            row.iter_mut().for_each(|x| *x /= pivot);
        }
        Self { columns, coefficients: triangle, volume }
    }

    /// The largest coefficient of a column that is not chosen, with the row and the column.
    fn largest(&self) -> (f64, usize, usize) {
        let mut is_chosen = vec![false; self.coefficients.first().map_or(0, Vec::len)];
        self.columns.iter().for_each(|j| is_chosen[*j] = true);
        let mut found = (0.0, 0, 0);
        for (i, row) in self.coefficients.iter().enumerate() {
            for (j, x) in row.iter().enumerate().filter(|(j, _)| !is_chosen[*j]) {
                if x.abs() > found.0 {
                    found = (x.abs(), i, j);
                }
            }
        }
        found
    }

    /// Swaps columns until no coefficient exceeds `limit`, which is above 1: the volume grows each time, so that ends.
    fn strengthen(&mut self, limit: f64) {
        loop {
            let (size, i, j) = self.largest();
            if size <= limit {
                return;
            }
            let pivot = self.coefficients[i][j];
            let row: Vec<f64> = self.coefficients[i].iter().map(|x| x / pivot).collect();
            for (k, other) in self.coefficients.iter_mut().enumerate() {
                let factor = other[j];
                if k != i {
                    other.iter_mut().zip(&row).for_each(|(x, y)| *x -= factor * y);
                }
            }
            self.coefficients[i] = row;
            self.columns[i] = j;
            self.volume *= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basis(count: usize, n: usize) -> Basis {
        let entry = |at: usize| (((at * 7919 + 13) % 10_007) as f64 / 5_000.0 - 1.0).powi(3);
        Basis::from_columns(n, (0..count * n).map(entry).collect())
    }

    #[test]
    fn chosen_columns_make_all_others_by_their_coefficients() {
        let right = basis(5, 23);
        let mut choice = Choice::pivoted(&right);
        for limit in [f64::INFINITY, 1.1] {
            choice.strengthen(limit);
            assert!(choice.largest().0 <= limit);
            for row in right.columns() {
                for j in 0..23 {
                    let made: f64 =
                        choice.columns.iter().zip(&choice.coefficients).map(|(c, y)| row[*c] * y[j]).sum();
                    assert!((made - row[j]).abs() < 1e-12, "{limit}: column {j}");
                }
            }
        }
    }

    #[test]
    fn a_swap_makes_the_volume_larger() {
        let mut choice = Choice::pivoted(&basis(4, 40));
        let before = choice.volume;
        let columns = choice.columns.clone();
        choice.strengthen(1.000_001);
        let has_swapped = choice.columns != columns;
        assert!(choice.volume >= before && has_swapped == (choice.volume > before));
    }
}
