//! Eigenvalues and eigenvectors of square matrices that need not be symmetric.
//!
//! Permuted first, so that what is triangular already stays exact, and scaled by powers of two (Parlett & Reinsch 1969, as
//! LAPACK's `gebal`); then by faer's Schur form. Each pair is held against the matrix.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, evd_real, evd_scratch};
use faer::prelude::default;
use faer::{Mat, MatRef, Par};

use super::dense::on_one_thread;
use crate::error::Error;
use crate::matrix::Matrix;

/// Real and imaginary part.
pub type Complex = (f64, f64);

/// All eigenpairs of a real matrix.
#[derive(Debug, Clone)]
pub struct Eigenpairs {
    /// The eigenvalues, the largest real part first, of pairs the one with the positive imaginary part.
    pub values: Vec<Complex>,
    /// The eigenvectors, of length one, as a real matrix: `[Re V, −Im V; Im V, Re V]`, which has each singular value of `V`
    /// twice; `V` itself where all are real. In no order.
    pub vectors: Matrix,
}

/// A pair's residual may be so many roundings of the matrix.
const ROUNDINGS: f64 = 1e3;

/// The eigenpairs of a finite square matrix.
///
/// # Errors
/// [`Error::NotConverged`] when the iteration stops early or a pair does not fit the matrix.
pub fn eigenpairs(matrix: &Matrix) -> Result<Eigenpairs, Error> {
    let side = matrix.rows();
    let entries = matrix.to_f64();
    let failed = || Error::NotConverged { rows: side, cols: side };
    let balanced = Balanced::of(&entries, side);
    on_one_thread();
    let (mut real, mut imaginary) = (Diag::<f64>::zeros(side), Diag::<f64>::zeros(side));
    let mut packed = Mat::zeros(side, side);
    let (no, yes, par) = (ComputeEigenvectors::No, ComputeEigenvectors::Yes, Par::Seq);
    let mut memory = MemBuffer::new(evd_scratch::<f64>(side, no, yes, par, default()));
    evd_real(
        MatRef::from_row_major_slice(&balanced.entries, side, side),
        real.as_mut(),
        imaginary.as_mut(),
        None,
        Some(packed.as_mut()),
        par,
        MemStack::new(&mut memory),
        default(),
    )
    .map_err(|_| failed())?;
    let values: Vec<Complex> =
        (0..side).map(|i| (real.column_vector()[i], imaginary.column_vector()[i])).collect();
    let vectors = vectors(&balanced, &values, &packed);
    let size = entries.iter().map(|x| x * x).sum::<f64>().sqrt();
    let allowed = ROUNDINGS * side as f64 * f64::EPSILON * size;
    let fits = |(value, vector): (&Complex, &[Complex])| residual(&entries, *value, vector) <= allowed;
    if !values.iter().zip(vectors.chunks_exact(side.max(1))).all(fits) {
        return Err(failed());
    }
    let mut sorted = values.clone();
    sorted.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
    Ok(Eigenpairs { values: sorted, vectors: embedded(&vectors, side)? })
}

/// ‖A·v − λ·v‖.
fn residual(entries: &[f64], (re, im): Complex, vector: &[Complex]) -> f64 {
    let line = |(row, own): (&[f64], &Complex)| {
        let sum = row.iter().zip(vector).fold((0.0, 0.0), |sum, (a, v)| (sum.0 + a * v.0, sum.1 + a * v.1));
        let miss = (sum.0 - re * own.0 + im * own.1, sum.1 - re * own.1 - im * own.0);
        miss.0 * miss.0 + miss.1 * miss.1
    };
    entries.chunks_exact(vector.len().max(1)).zip(vector).map(line).sum::<f64>().sqrt()
}

/// The eigenvectors of the original matrix, one after the other, of length one.
fn vectors(balanced: &Balanced, values: &[Complex], packed: &Mat<f64>) -> Vec<Complex> {
    let side = values.len();
    let mut all = Vec::with_capacity(side * side);
    for j in 0..side {
        // A pair of conjugates has its real and imaginary parts in two columns, the positive one first.
        let mut vector: Vec<Complex> = match values[j].1 {
            0.0 => (0..side).map(|i| (packed[(i, j)], 0.0)).collect(),
            im if im > 0.0 => (0..side).map(|i| (packed[(i, j)], packed[(i, j + 1)])).collect(),
            _ => (0..side).map(|i| (packed[(i, j - 1)], -packed[(i, j)])).collect(),
        };
        balanced.undo(&mut vector);
        let largest = vector.iter().fold(0.0f64, |largest, v| largest.max(v.0.abs()).max(v.1.abs()));
        let scale = |x: f64| if largest > 0.0 { x / largest } else { x };
        vector.iter_mut().for_each(|v| *v = (scale(v.0), scale(v.1)));
        let length = vector.iter().map(|v| v.0 * v.0 + v.1 * v.1).sum::<f64>().sqrt();
        all.extend(vector.iter().map(|v| (v.0 / length, v.1 / length)));
    }
    all
}

/// Vectors as the columns of a real matrix.
fn embedded(vectors: &[Complex], side: usize) -> Result<Matrix, Error> {
    let at = |i: usize, j: usize| vectors[j * side + i];
    if vectors.iter().all(|v| v.1 == 0.0) {
        let entries: Vec<f64> = (0..side * side).map(|k| at(k / side, k % side).0).collect();
        return Matrix::from_f64(side, side, &entries);
    }
    let entries: Vec<f64> = (0..4 * side * side)
        .map(|k| {
            let (i, j) = (k / (2 * side), k % (2 * side));
            let (re, im) = at(i % side, j % side);
            match (i < side, j < side) {
                (true, true) | (false, false) => re,
                (true, false) => -im,
                (false, true) => im,
            }
        })
        .collect();
    Matrix::from_f64(2 * side, 2 * side, &entries)
}

/// A matrix similar to another, whose rows and columns are about as long.
struct Balanced {
    entries: Vec<f64>,
    /// Rows and columns that were swapped, in order.
    swaps: Vec<(usize, usize)>,
    /// What each row was divided by, and each column multiplied with.
    scales: Vec<f64>,
}

impl Balanced {
    fn of(entries: &[f64], side: usize) -> Self {
        let mut balanced = Self { entries: entries.to_vec(), swaps: vec![], scales: vec![1.0; side] };
        let (first, end) = balanced.isolate(side);
        balanced.scale(side, first, end);
        balanced
    }

    fn swap(&mut self, side: usize, i: usize, j: usize) {
        if i == j {
            return;
        }
        (0..side).for_each(|k| self.entries.swap(i * side + k, j * side + k));
        (0..side).for_each(|k| self.entries.swap(k * side + i, k * side + j));
        self.swaps.push((i, j));
    }

    /// Moves rows without entries beside the diagonal to the end, and columns without to the start; what lies between is the
    /// rest.
    fn isolate(&mut self, side: usize) -> (usize, usize) {
        let (mut first, mut end) = (0, side);
        let alone = |entries: &[f64], at: usize, range: (usize, usize), step: (usize, usize)| {
            (range.0..range.1).all(|k| k == at || entries[at * step.0 + k * step.1] == 0.0)
        };
        while let Some(row) = (first..end).rev().find(|i| alone(&self.entries, *i, (first, end), (side, 1))) {
            end -= 1;
            self.swap(side, row, end);
        }
        while let Some(column) = (first..end).find(|j| alone(&self.entries, *j, (first, end), (1, side))) {
            self.swap(side, column, first);
            first += 1;
        }
        (first, end)
    }

    /// Scales rows and columns of the rest until none would become much shorter.
    fn scale(&mut self, side: usize, first: usize, end: usize) {
        const GAIN: f64 = 0.95;
        loop {
            let mut is_done = true;
            for i in first..end {
                let length = |entries: &[f64], step: (usize, usize)| {
                    let beside = (first..end).filter(|k| *k != i);
                    beside.map(|k| entries[i * step.0 + k * step.1].powi(2)).sum::<f64>().sqrt()
                };
                let (column, row) = (length(&self.entries, (1, side)), length(&self.entries, (side, 1)));
                if !(column.is_normal() && row.is_normal()) {
                    continue;
                }
                // The power of two next to √(row/column).
                let power = (0.5 * (row / column).log2()).round().clamp(-300.0, 300.0);
                let factor = power.exp2();
                if column * factor + row / factor < GAIN * (column + row) {
                    is_done = false;
                    self.scales[i] *= factor;
                    (0..side).for_each(|k| self.entries[i * side + k] /= factor);
                    (0..side).for_each(|k| self.entries[k * side + i] *= factor);
                }
            }
            if is_done {
                return;
            }
        }
    }

    /// Makes an eigenvector of the original matrix out of one of this.
    fn undo(&self, vector: &mut [Complex]) {
        vector.iter_mut().zip(&self.scales).for_each(|(v, scale)| *v = (v.0 * scale, v.1 * scale));
        for (i, j) in self.swaps.iter().rev() {
            vector.swap(*i, *j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(side: usize, entries: &[f64], expected: &[Complex]) -> Eigenpairs {
        let matrix = Matrix::from_f64(side, side, entries).expect("sizes agree");
        let found = eigenpairs(&matrix).expect("converges");
        assert_eq!(found.values.len(), expected.len());
        for (found, expected) in found.values.iter().zip(expected) {
            let miss = (found.0 - expected.0).abs().max((found.1 - expected.1).abs());
            assert!(miss < 1e-12, "{found:?} is not {expected:?}");
        }
        found
    }

    #[test]
    fn a_turn_has_two_imaginary_eigenvalues() {
        let found = check(2, &[0.0, -1.0, 1.0, 0.0], &[(0.0, 1.0), (0.0, -1.0)]);
        assert_eq!(found.vectors.rows(), 4);
    }

    #[test]
    fn the_eigenvalues_of_a_triangular_matrix_are_its_diagonal() {
        // In an order that hides the triangle, far from symmetric.
        check(3, &[2.0, 0.0, 0.0, 1e6, 1.0, 1e6, 1e6, 0.0, 3.0], &[(3.0, 0.0), (2.0, 0.0), (1.0, 0.0)]);
    }

    #[test]
    fn a_badly_scaled_matrix_keeps_small_eigenvalues() {
        // Similar to [2 1; 1 2] by diag(1, 1e10).
        check(2, &[2.0, 1e-10, 1e10, 2.0], &[(3.0, 0.0), (1.0, 0.0)]);
    }

    #[test]
    fn no_matrix_of_zeros_or_one_entry_is_refused() {
        check(1, &[-4.0], &[(-4.0, 0.0)]);
        check(2, &[0.0; 4], &[(0.0, 0.0); 2]);
        check(0, &[], &[]);
    }
}
