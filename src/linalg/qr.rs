//! A matrix made triangular by reflections: `A = Q·R`, to rounding of `‖A‖`.
//!
//! faer's own factorization takes a column that the ones before nearly span for one that they span, and drops up to
//! `16·m·ε` of its length. That is more than the exact route may lose, so only faer's reflections are used here.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::householder::{
    apply_block_householder_sequence_on_the_left_in_place_with_conj as forth,
    apply_block_householder_transpose_on_the_left_in_place_scratch as scratch,
    apply_block_householder_transpose_on_the_left_in_place_with_conj as back, make_householder_in_place,
    upgrade_householder_factor,
};
use faer::{Conj, Mat, MatMut, MatRef, Par};

use super::vector::dot;

/// Columns whose reflections are applied together: to the other columns of a panel, and to all that follow.
const NARROW: usize = 8;
const PANEL: usize = 32;

/// `Q` and `R`.
pub(super) struct Qr {
    /// `R` from the diagonal up, the reflections below.
    matrix: Mat<f64>,
    /// The factor that makes a block of the reflections of a panel.
    factor: Mat<f64>,
}

impl Qr {
    pub(super) fn of(matrix: MatRef<'_, f64>) -> Self {
        let mut matrix = matrix.to_owned();
        let (rows, cols) = matrix.shape();
        let count = rows.min(cols);
        let mut factor = Mat::zeros(PANEL.min(count.max(1)), count);
        for panel in (0..count).step_by(PANEL) {
            let end = count.min(panel + PANEL);
            for first in (panel..end).step_by(NARROW) {
                let last = end.min(first + NARROW);
                let here = matrix.as_mut().submatrix_mut(first, first, rows - first, end - first);
                let factor = factor.as_mut().submatrix_mut(0, first, last - first, last - first);
                reduce(here, factor, last - first);
            }
            // The diagonals of the narrow blocks, together again.
            let mut factor = factor.as_mut().submatrix_mut(0, panel, end - panel, end - panel);
            for k in 0..end - panel {
                factor[(k, k)] = factor[(k % NARROW, k)];
            }
            let here = matrix.as_mut().submatrix_mut(panel, panel, rows - panel, cols - panel);
            finish(here, factor, end - panel);
        }
        Self { matrix, factor }
    }

    /// `R`, with no more rows than there are reflections.
    pub(super) fn triangle(&self) -> Mat<f64> {
        let (count, cols) = (self.factor.ncols(), self.matrix.ncols());
        Mat::from_fn(count, cols, |i, j| if i <= j { self.matrix[(i, j)] } else { 0.0 })
    }

    /// `Q` times a matrix that has a row for each of `R`'s.
    pub(super) fn times(&self, inside: MatRef<'_, f64>) -> Mat<f64> {
        let (rows, width) = (self.matrix.nrows(), inside.ncols());
        let mut image = Mat::zeros(rows, width);
        image.as_mut().subrows_mut(0, inside.nrows()).copy_from(inside);
        if self.factor.ncols() > 0 {
            let basis = self.matrix.as_ref().subcols(0, self.factor.ncols());
            let mut memory = MemBuffer::new(scratch::<f64>(rows, self.factor.nrows(), width));
            let stack = MemStack::new(&mut memory);
            forth(basis, self.factor.as_ref(), Conj::No, image.as_mut(), Par::Seq, stack);
        }
        image
    }
}

/// Reflects the first `count` columns, one by one, and the others of the panel at once.
fn reduce(mut matrix: MatMut<'_, f64>, mut factor: MatMut<'_, f64>, count: usize) {
    for k in 0..count {
        let (_, _, _, rest) = matrix.as_mut().split_at_mut(k, k);
        let (here, mut others) = rest.split_at_col_mut(1);
        let (mut head, mut tail) = here.col_mut(0).split_at_row_mut(1);
        let tau = make_householder_in_place(&mut head[0], tail.as_mut()).tau;
        factor[(k, k)] = tau;
        let tail = tail.try_as_col_major_mut().expect("columns are contiguous").as_slice_mut();
        for j in 0..count - k - 1 {
            let column = others.as_mut().col_mut(j).try_as_col_major_mut().expect("columns are contiguous");
            let (head, rest) = column.as_slice_mut().split_first_mut().expect("as many rows as reflections");
            let along = -(*head + dot(&*tail, rest)) / tau;
            *head += along;
            rest.iter_mut().zip(&*tail).for_each(|(x, v)| *x += along * v);
        }
    }
    finish(matrix, factor, count);
}

/// Makes a block of the first `count` reflections and applies it to the columns after them.
fn finish(matrix: MatMut<'_, f64>, mut factor: MatMut<'_, f64>, count: usize) {
    let (basis, others) = matrix.split_at_col_mut(count);
    upgrade_householder_factor(factor.as_mut(), basis.as_ref(), count, 1, Par::Seq);
    if others.ncols() > 0 {
        let mut memory = MemBuffer::new(scratch::<f64>(basis.nrows(), count, others.ncols()));
        let stack = MemStack::new(&mut memory);
        back(basis.as_ref(), factor.as_ref(), Conj::No, others, Par::Seq, stack);
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::tests::noise;
    use super::*;

    /// `Q·R` is the matrix and `Q` has orthonormal columns, both to a few roundings.
    #[track_caller]
    fn check(name: &str, matrix: &Mat<f64>) {
        let qr = Qr::of(matrix.as_ref());
        let triangle = qr.triangle();
        let count = triangle.nrows();
        let identity = Mat::<f64>::identity(count, count);
        let q = qr.times(identity.as_ref());
        let miss = (&q * &triangle - matrix).norm_l2() / f64::EPSILON;
        assert!(miss <= 16.0 * matrix.norm_l2(), "{name}: {miss} roundings");
        let off = (q.transpose() * &q - identity).norm_l2() / f64::EPSILON;
        assert!(off <= (count + 4) as f64, "{name}: off by {off} roundings from orthonormal");
    }

    #[test]
    fn columns_that_nearly_depend_on_others_keep_what_is_left_of_them() {
        for (rows, cols) in [(1, 1), (2, 1), (1, 3), (8, 8), (9, 7), (33, 33), (100, 64), (96, 96), (70, 130)]
        {
            let name = format!("{rows} × {cols}");
            let entries: Vec<f64> = noise(3).take(rows * cols).collect();
            let random = Mat::from_fn(rows, cols, |i, j| entries[i * cols + j]);
            check(&name, &random);
            // One direction, and a trace of all others: faer's own drops it.
            let trace = Mat::from_fn(rows, cols, |i, j| entries[i] + 1e-12 * random[(i, j)]);
            check(&format!("{name}, nearly of rank one"), &trace);
            check(
                &format!("{name}, graded"),
                &Mat::from_fn(rows, cols, |i, j| random[(i, j)] * 1e-7f64.powf(j as f64)),
            );
            check(&format!("{name}, zero"), &Mat::zeros(rows, cols));
        }
    }
}
