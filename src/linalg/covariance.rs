//! Sums of squares of data, and their roots: by axes, whatever the rank, or by a triangle, where they are far from singular.

use faer::linalg::matmul::matmul;
use faer::linalg::solvers::Llt;
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};

use super::dense::on_one_thread;
use super::exact;
use super::factors::{Basis, Factors};
use super::operator::Operator;
use super::vector::dot;
use crate::error::Error;
use crate::matrix::Matrix;

/// A root is far from singular if `‖L‖_F·‖L⁻¹‖_F` is below this: then `L⁻¹` of a direction has nine digits at least. The
/// norms bound the condition number from above.
const CONDITION: f64 = 1e7;

/// The eigenvectors of a symmetric matrix, and its eigenvalues, the largest in magnitude first. Those that are rounding of
/// the largest are 0.
///
/// # Errors
/// When an entry is not finite, or the decomposition does not converge.
pub fn eigen(symmetric: &Matrix) -> Result<(Basis, Vec<f64>), Error> {
    let Factors { left, values, right } = exact::factors(&Operator::from(symmetric))?;
    let floor = symmetric.rows() as f64 * f64::EPSILON * values.first().copied().unwrap_or(0.0);
    let signed = values.iter().enumerate().map(|(i, s)| match dot(left.column(i), right.column(i)) {
        _ if *s <= floor => 0.0,
        along => s.copysign(along),
    });
    let signed = signed.collect();
    Ok((left, signed))
}

/// `XᵀX`, in doubles.
///
/// # Errors
/// None: the sizes agree.
pub fn gram(matrix: &Matrix) -> Result<Matrix, Error> {
    let (entries, cols) = (matrix.to_f64(), matrix.cols());
    let entries = MatRef::from_row_major_slice(&entries, matrix.rows(), cols);
    let mut sums = vec![0.0; cols * cols];
    let out = MatMut::from_row_major_slice_mut(&mut sums, cols, cols);
    matmul(out, Accum::Replace, entries.transpose(), entries, 1.0, Par::Seq);
    Matrix::from_f64(cols, cols, &sums)
}

/// `L` of `C = L·Lᵀ`, column by column, if it is far from singular. It takes a small part of the time of the eigenvectors.
pub fn cholesky(covariance: &Matrix) -> Option<Basis> {
    on_one_thread();
    let side = covariance.rows();
    let entries = covariance.to_f64();
    if side == 0 || side != covariance.cols() || !entries.iter().all(|x| x.is_finite()) {
        return None;
    }
    let matrix = MatRef::from_row_major_slice(&entries, side, side);
    let found = Llt::new(matrix, Side::Lower).ok()?;
    let lower = found.L();
    let mut inverse = Mat::<f64>::identity(side, side);
    solve_lower_triangular_in_place(lower, inverse.as_mut(), Par::Seq);
    // Only the triangle is meant.
    let norm = |of: MatRef<'_, f64>| {
        let column = |j: usize| (j..side).map(|i| of[(i, j)] * of[(i, j)]).sum::<f64>();
        (0..side).map(column).sum::<f64>().sqrt()
    };
    let condition = norm(lower) * norm(inverse.as_ref());
    if condition.is_nan() || condition >= CONDITION {
        return None;
    }
    let mut triangle = Basis::zero(side, side);
    for (j, column) in triangle.columns_mut().enumerate() {
        (j..side).for_each(|i| column[i] = lower[(i, j)]);
    }
    Some(triangle)
}

#[cfg(test)]
mod tests {
    use super::super::kernel::tests::noise;
    use super::*;

    #[test]
    fn eigenvalues_have_their_signs() {
        let symmetric = Matrix::from_f64(3, 3, &[2.0, 1.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, -5.0]);
        let (axes, values) = eigen(&symmetric.expect("nine entries")).expect("converges");
        for (value, expected) in values.iter().zip([-5.0, 3.0, 1.0]) {
            assert!((value - expected).abs() < 1e-14, "{values:?}");
        }
        assert!((axes.column(0)[2].abs() - 1.0).abs() < 1e-14);
        let (_, values) =
            eigen(&Matrix::from_f64(2, 2, &[1.0; 4]).expect("four entries")).expect("converges");
        assert_eq!(values[1].to_bits(), 0);
    }

    #[test]
    fn a_triangle_is_a_root_and_what_is_nearly_singular_has_none() {
        let side = 12;
        let of = |rows: usize| {
            let entries: Vec<f64> = noise(3).take(rows * side).collect();
            gram(&Matrix::from_f64(rows, side, &entries).expect("sizes agree")).expect("sizes agree")
        };
        let (full, lacking) = (of(40), of(8));
        let root = cholesky(&full).expect("more rows than columns");
        for i in 0..side {
            for j in 0..side {
                let made: f64 = root.columns().map(|column| column[i] * column[j]).sum();
                assert!((made - full.to_f64()[i * side + j]).abs() < 1e-13, "{i}, {j}");
            }
        }
        assert_eq!(cholesky(&lacking), None);
        let mut entries = vec![0.0; 4];
        (entries[0], entries[3]) = (1.0, 1e-15);
        assert_eq!(cholesky(&Matrix::from_f64(2, 2, &entries).expect("four entries")), None);
        entries[3] = -1.0;
        assert_eq!(cholesky(&Matrix::from_f64(2, 2, &entries).expect("four entries")), None);
    }
}
