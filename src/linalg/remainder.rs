//! What a product of thin factors leaves of a matrix, for several numbers of directions at once.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, Par};
use rayon::prelude::*;

use super::factors::Basis;
use crate::error::Error;
use crate::matrix::Matrix;

/// Rows that are in memory as doubles, by task: a fixed number, so that the bits do not depend on the threads.
const ROWS: usize = 128;

/// `M − Σ lᵢrᵢᵀ`, in doubles.
///
/// # Errors
/// None: the sizes agree.
pub fn less(matrix: &Matrix, (left, right): (&Basis, &Basis)) -> Result<Matrix, Error> {
    let cols = matrix.cols();
    let mut entries = matrix.to_f64();
    entries.par_chunks_mut(ROWS * cols.max(1)).enumerate().for_each(|(block, entries)| {
        subtract(entries, (block * ROWS, cols), (left, right), 0..left.count().min(right.count()));
    });
    Matrix::from_f64(matrix.rows(), cols, &entries)
}

/// Takes some directions from rows of a matrix, the first of which is `first`.
fn subtract(
    entries: &mut [f64],
    (first, cols): (usize, usize),
    (left, right): (&Basis, &Basis),
    directions: Range<usize>,
) {
    let (rows, count) = (entries.len() / cols.max(1), directions.len());
    let (left, right) = (left.as_mat(), right.as_mat());
    let left = left.submatrix(first, directions.start, rows, count);
    let right = right.subcols(directions.start, count).transpose();
    matmul(MatMut::from_row_major_slice_mut(entries, rows, cols), Accum::Add, left, right, -1.0, Par::Seq);
}

/// `‖M − Σ_{i<r} lᵢrᵢᵀ‖_F` for each `r` of `ranks`, which ascend; directions that are not there are zero. Computed from the
/// entries that are left, so that a small remainder keeps its digits.
pub fn remainders(matrix: &Matrix, (left, right): (&Basis, &Basis), ranks: &[usize]) -> Vec<f64> {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let there = left.count().min(right.count());
    let of_block = |block: usize| -> Vec<f64> {
        let (first, last) = (block * ROWS, rows.min((block + 1) * ROWS));
        let mut entries = vec![0.0; (last - first) * cols];
        matrix.widen(first * cols..last * cols, &mut entries);
        let mut before = 0;
        let squares = ranks.iter().map(|rank| {
            let rank = (*rank).min(there).max(before);
            subtract(&mut entries, (first, cols), (left, right), before..rank);
            before = rank;
            entries.iter().map(|x| x * x).sum::<f64>()
        });
        squares.collect()
    };
    let blocks: Vec<Vec<f64>> = (0..rows.div_ceil(ROWS)).into_par_iter().map(of_block).collect();
    let sum = |at: usize| blocks.iter().map(|block| block[at]).sum::<f64>().sqrt();
    (0..ranks.len()).map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::super::exact;
    use super::super::kernel::tests::noise;
    use super::super::operator::Operator;
    use super::*;

    #[test]
    fn without_its_leading_directions_a_matrix_is_its_other_values() {
        let (rows, cols) = (300, 20);
        let entries: Vec<f64> = noise(4).take(rows * cols).collect();
        let matrix = Matrix::from_f64(rows, cols, &entries).expect("sizes agree");
        let found = exact::factors(&Operator::from(&matrix)).expect("converges");
        let scaled = found.left.columns().zip(&found.values).flat_map(|(u, s)| u.iter().map(move |x| x * s));
        let left = Basis::from_columns(rows, scaled.collect());
        let ranks = [0, 3, 3, 19, 20, 99];
        for (rank, norm) in ranks.iter().zip(remainders(&matrix, (&left, &found.right), &ranks)) {
            let rest: f64 = found.values.iter().skip(*rank).map(|s| s * s).sum();
            assert!(
                (norm - rest.sqrt()).abs() < 1e-12 * found.values[0],
                "{rank}: {norm} and {}",
                rest.sqrt()
            );
        }
    }
}
