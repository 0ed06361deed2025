//! Two bases against each other, and a matrix in a basis: only products of singular vectors, without their
//! interpretation.

use faer::{Accum, Mat, MatRef};

use super::exact;
use super::factors::{Basis, Factors};
use super::operator::Operator;
use super::product::multiply;
use super::vector::dot;
use crate::error::Error;
use crate::matrix::Matrix;

impl Basis {
    /// `AᵀB`: the cosines with the columns of `other`; column `j` holds those of `other`'s column `j`.
    #[must_use]
    pub fn cosines(&self, other: &Self) -> Self {
        let mut cosines = Self::zero(self.count(), other.count());
        multiply(cosines.as_mat_mut(), Accum::Replace, self.as_mat().transpose(), other.as_mat(), 1.0);
        cosines
    }

    /// The cosine and the sine of the largest principal angle between the spans of the first `k` columns of two bases.
    ///
    /// Of the two the smaller is exact to rounding, so that angles near 0 and near 90° are both exact.
    ///
    /// # Errors
    /// [`Error::NotConverged`].
    pub fn largest_angle(&self, other: &Self, k: usize) -> Result<(f64, f64), Error> {
        let (a, b) = (self.as_mat().subcols(0, k), other.as_mat().subcols(0, k));
        let along = product(a.transpose(), b);
        let across = b - product(a, along.as_ref());
        let cosine = spectral_values(along.as_ref())?.last().copied().unwrap_or(0.0);
        let sine = spectral_values(across.as_ref())?.first().copied().unwrap_or(0.0);
        Ok((cosine.min(1.0), sine.min(1.0)))
    }
}

/// How much of an update Δ lies where in the singular basis of the weight that it is added to: parts of `‖Δ‖²_F`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Core {
    /// `Σᵢ (uᵢᵀΔvᵢ)²` over all triplets.
    pub diagonal: f64,
    /// `‖UᵣᵀΔVᵣ‖²_F` over the first r vectors of both sides.
    pub principal: f64,
    /// `‖UᵣᵀΔ‖²_F`: what leaves through the first left vectors.
    pub left: f64,
    /// `‖ΔVᵣ‖²_F`: what enters through the first right vectors.
    pub right: f64,
}

impl Factors {
    /// Where `update`, of the same shape as the matrix, lies in the basis of these; the first `principal` vectors apart.
    pub fn core(&self, update: &Operator<'_>, principal: usize) -> Core {
        let r = principal.min(self.values.len());
        let squares = |x: MatRef<'_, f64>| x.squared_norm_l2();
        let images = update.images(&self.right);
        let along = self.left.columns().zip(images.columns()).map(|(u, image)| dot(u, image));
        let diagonal = along.map(|x| x * x).sum();
        let (left, image) = (self.left.as_mat().subcols(0, r), images.as_mat().subcols(0, r));
        let (principal, right) = (squares(product(left.transpose(), image).as_ref()), squares(image));
        drop(images);
        let left = squares(update.clone().transposed().images(&Basis::of(left)).as_mat());
        Core { diagonal, principal, left, right }
    }
}

/// A product whose bits do not depend on the number of threads.
fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    multiply(out.as_mut(), Accum::Replace, a, b, 1.0);
    out
}

fn spectral_values(matrix: MatRef<'_, f64>) -> Result<Vec<f64>, Error> {
    let entries: Vec<f64> =
        (0..matrix.nrows()).flat_map(|i| (0..matrix.ncols()).map(move |j| matrix[(i, j)])).collect();
    let matrix = Matrix::from_f64(matrix.nrows(), matrix.ncols(), &entries)?;
    Ok(exact::singular_values(&matrix)?.values().to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::operator::tests::{random, update};
    use super::*;

    #[test]
    fn parts_of_an_update_are_those_of_its_matrix_in_the_basis() {
        for (rows, cols) in [(30, 20), (20, 30)] {
            let (base, tuned, thin) =
                (random(rows, cols, 1), random(rows, cols, 2), update(rows, cols, 3, 1.0, 7));
            let factors = exact::factors(&Operator::from(&base)).expect("converges");
            let between = Operator::from(&tuned).minus(&Operator::from(&base)).expect("one shape");
            for update in [between, Operator::from(&thin)] {
                let entries = update.to_f64();
                let dense = MatRef::from_row_major_slice(&entries, rows, cols);
                let (u, v) = (factors.left.as_mat(), factors.right.as_mat());
                let inside = u.transpose() * dense * v;
                for r in [0, 1, 7, 20] {
                    let expected = Core {
                        diagonal: (0..20).map(|i| inside[(i, i)].powi(2)).sum(),
                        principal: inside.get(..r, ..r).squared_norm_l2(),
                        left: (u.subcols(0, r).transpose() * dense).squared_norm_l2(),
                        right: (dense * v.subcols(0, r)).squared_norm_l2(),
                    };
                    let found = factors.core(&update, r);
                    let parts = |core: &Core| [core.diagonal, core.principal, core.left, core.right];
                    for (found, expected) in parts(&found).iter().zip(parts(&expected)) {
                        assert!(
                            (found - expected).abs() < 1e-12 * expected.max(1.0),
                            "{r}: {found} {expected}"
                        );
                    }
                }
            }
        }
    }
}
