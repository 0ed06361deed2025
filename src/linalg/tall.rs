//! A tall matrix as an orthonormal basis times a small square, `A = Q·T`, and products `A·Bᵀ` of two such, which are
//! `Qₐ·(Tₐ·T_bᵀ)·Q_bᵀ`: whatever is asked of the large product is asked of the small square in its middle.

use faer::{Accum, Mat, MatRef};
use rayon::prelude::*;

use super::dense::{Triplets, on_one_thread, triplets};
use super::factors::Basis;
use super::power_of_two;
use super::product::multiply;
use super::qr::Qr;
use super::vector::norm;
use crate::error::Error;
use crate::spectrum::{magnitude, scaled};

/// `A = Q·T` in units of `2^exponent`; `A` has few columns, which are long.
pub struct Tall {
    qr: Qr,
    triangle: Mat<f64>,
    exponent: i32,
}

/// `A·Bᵀ` by its square in the bases of both, with the triplets of that.
pub struct TallProduct {
    square: Mat<f64>,
    triplets: Triplets,
    exponent: i32,
}

impl Tall {
    /// Factorizes a matrix of columns of `length` entries.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when an entry is not.
    pub fn of(length: usize, columns: &[f64]) -> Result<Self, Error> {
        on_one_thread();
        let width = columns.len() / length.max(1);
        if !columns.iter().all(|x| x.is_finite()) {
            return Err(Error::NotFinite { rows: length, cols: width });
        }
        let unit = unit(columns);
        let matrix = MatRef::from_column_major_slice(columns, length, width);
        let matrix = Mat::from_fn(length, width, |i, j| matrix[(i, j)] / unit);
        let qr = Qr::of(matrix.as_ref());
        Ok(Self { triangle: qr.triangle(), qr, exponent: magnitude(unit) })
    }

    /// The orthonormal columns that span what the matrix's columns span.
    #[must_use]
    pub fn basis(&self) -> Basis {
        let count = self.triangle.nrows();
        Basis::of(self.qr.times(Mat::<f64>::identity(count, count).as_ref()).as_ref())
    }

    /// `σ₁` of the matrix.
    ///
    /// # Errors
    /// [`Error::Contradicted`].
    pub fn largest(&self) -> Result<f64, Error> {
        Ok(scaled(largest(self.triangle.as_ref())?, self.exponent))
    }

    /// `σ₁` of the matrix with one more row.
    ///
    /// # Errors
    /// [`Error::Contradicted`].
    pub fn largest_with(&self, row: &[f64]) -> Result<f64, Error> {
        Ok(scaled(largest(self.extended(row).as_ref())?, self.exponent))
    }

    /// `A·Bᵀ`, where `other` is `B`.
    ///
    /// # Errors
    /// [`Error::Contradicted`].
    pub fn product(&self, other: &Self) -> Result<TallProduct, Error> {
        let square = &self.triangle * other.triangle.transpose();
        let triplets = triplets(square.as_ref()).ok_or_else(|| contradicted(square.as_ref()))?;
        Ok(TallProduct { square, triplets, exponent: self.exponent + other.exponent })
    }

    /// `σ₁` of `A·Bᵀ` where both matrices have one more row.
    ///
    /// # Errors
    /// [`Error::Contradicted`].
    pub fn largest_of_product(&self, row: &[f64], other: &Self, row_of_other: &[f64]) -> Result<f64, Error> {
        let square = self.extended(row) * other.extended(row_of_other).transpose();
        Ok(scaled(largest(square.as_ref())?, self.exponent + other.exponent))
    }

    /// The triangle above `row`: its singular values are those of the matrix with that row, for `Q` is orthonormal.
    fn extended(&self, row: &[f64]) -> Mat<f64> {
        let count = self.triangle.nrows();
        Mat::from_fn(count + 1, self.triangle.ncols(), |i, j| {
            if i < count { self.triangle[(i, j)] } else { scaled(row[j], -self.exponent) }
        })
    }
}

impl TallProduct {
    /// The singular values of `A·Bᵀ` but for those that are zero by construction, descending.
    pub fn values(&self) -> Vec<f64> {
        self.triplets.values.iter().map(|s| scaled(*s, self.exponent)).collect()
    }

    /// `‖A·Bᵀ‖_F`.
    pub fn norm(&self) -> f64 {
        scaled(self.square.norm_l2(), self.exponent)
    }

    /// The right singular vectors of `A·Bᵀ`, where `other` is `B`.
    #[must_use]
    pub fn right_vectors(&self, other: &Tall) -> Basis {
        Basis::of(other.qr.times(self.triplets.right.as_ref()).as_ref())
    }

    /// `‖vᵀ·A·Bᵀ‖/‖A·Bᵀ‖_F` for each `v` whose coordinates in `A`'s basis are a column of `along`.
    pub fn shares_from_left(&self, along: &Basis) -> Vec<f64> {
        self.shares(self.square.transpose(), along)
    }

    /// `‖A·Bᵀ·v‖/‖A·Bᵀ‖_F` for each `v` whose coordinates in `B`'s basis are a column of `along`.
    pub fn shares_from_right(&self, along: &Basis) -> Vec<f64> {
        self.shares(self.square.as_ref(), along)
    }

    fn shares(&self, square: MatRef<'_, f64>, along: &Basis) -> Vec<f64> {
        let mut images = Basis::zero(square.nrows(), along.count());
        multiply(images.as_mat_mut(), Accum::Replace, square, along.as_mat(), 1.0);
        let whole = self.square.norm_l2();
        images.columns().map(|image| norm(image) / whole).collect()
    }
}

/// The sum of the eigenvalues of `A·Bᵀ` over the sum of their moduli; `A` and `B` have columns of `length` entries. None where
/// all of them are zero.
///
/// # Errors
/// [`Error::NotConverged`].
pub fn eigenvalue_balance(length: usize, a: &[f64], b: &[f64]) -> Result<Option<f64>, Error> {
    on_one_thread();
    let count = a.len() / length.max(1);
    let [a, b] = [a, b].map(|entries| {
        let unit = unit(entries);
        let columns = MatRef::from_column_major_slice(entries, length, count);
        Mat::from_fn(length, count, |i, j| columns[(i, j)] / unit)
    });
    // Those of Bᵀ·A, and zeros.
    let mut small = Mat::zeros(count, count);
    multiply(small.as_mut(), Accum::Replace, b.transpose(), a.as_ref(), 1.0);
    let found = small.eigenvalues().map_err(|_| Error::NotConverged { rows: count, cols: count })?;
    let trace: f64 = (0..count).map(|i| small[(i, i)]).sum();
    let moduli: f64 = found.iter().map(|x| x.re.hypot(x.im)).sum();
    Ok((moduli > 0.0).then(|| trace / moduli))
}

/// A power of two near the largest entry: divided by it, squares neither over- nor underflow, and no bit changes.
fn unit(entries: &[f64]) -> f64 {
    power_of_two(entries.iter().fold(0.0f64, |largest, x| largest.max(x.abs())))
}

/// Does the same small task for each item, on whatever threads are idle; results come in the order of the items.
pub fn each<T: Sync, R: Send>(items: &[T], task: impl Fn(&T) -> R + Send + Sync) -> Vec<R> {
    items.par_iter().map(task).collect()
}

/// For each basis the mean share of it that lies in another one: `‖QᵢᵀQⱼ‖²_F` over its columns, on average over `j ≠ i`.
pub fn mean_overlaps(bases: &[&Basis]) -> Vec<Option<f64>> {
    let pairs: Vec<(usize, usize)> = (0..bases.len()).flat_map(|i| (0..i).map(move |j| (i, j))).collect();
    let shared: Vec<f64> =
        each(&pairs, |(i, j)| bases[*i].cosines(bases[*j]).columns().flatten().map(|c| c * c).sum());
    let mut sums = vec![0.0; bases.len()];
    for ((i, j), shared) in pairs.into_iter().zip(shared) {
        sums[i] += shared;
        sums[j] += shared;
    }
    let others = bases.len().saturating_sub(1) as f64;
    let mean = |(sum, basis): (f64, &&Basis)| {
        (others > 0.0 && basis.count() > 0).then(|| (sum / others / basis.count() as f64).min(1.0))
    };
    sums.into_iter().zip(bases).map(mean).collect()
}

fn largest(matrix: MatRef<'_, f64>) -> Result<f64, Error> {
    let found = triplets(matrix).ok_or_else(|| contradicted(matrix))?;
    Ok(found.values.first().copied().unwrap_or(0.0))
}

fn contradicted(matrix: MatRef<'_, f64>) -> Error {
    Error::Contradicted { rows: matrix.nrows(), cols: matrix.ncols() }
}

#[cfg(test)]
mod tests {
    use super::super::exact;
    use super::super::kernel::tests::noise;
    use super::*;
    use crate::matrix::Matrix;

    const LENGTH: usize = 20;
    const WIDTH: usize = 4;

    fn columns(seed: u64) -> Vec<f64> {
        noise(seed).take(LENGTH * WIDTH).collect()
    }

    /// `A·Bᵀ` entry by entry, each of them with one more row where one is given.
    fn dense(a: &[f64], b: &[f64], rows: Option<[&[f64]; 2]>) -> Matrix {
        let side = LENGTH + usize::from(rows.is_some());
        let entry = |x: &[f64], which: usize, i: usize, k: usize| match rows {
            Some(rows) if i == LENGTH => rows[which][k],
            _ => x[k * LENGTH + i],
        };
        let product = |i: usize, j: usize| (0..WIDTH).map(|k| entry(a, 0, i, k) * entry(b, 1, j, k)).sum();
        let entries: Vec<f64> = (0..side).flat_map(|i| (0..side).map(move |j| product(i, j))).collect();
        Matrix::from_f64(side, side, &entries).expect("sizes agree")
    }

    #[test]
    fn what_is_asked_of_the_middle_is_true_of_the_product() {
        for scale in [1.0, 1e-160, 1e150] {
            let (a, b): (Vec<f64>, Vec<f64>) = (
                columns(1).iter().map(|x| x * scale).collect(),
                columns(2).iter().map(|x| x / scale).collect(),
            );
            let (left, right) =
                (Tall::of(LENGTH, &a).expect("finite"), Tall::of(LENGTH, &b).expect("finite"));
            let product = left.product(&right).expect("converges");
            let whole = dense(&a, &b, None);
            let expected = exact::singular_values(&whole).expect("converges");
            for (found, expected) in product.values().iter().zip(expected.values()) {
                assert!((found - expected).abs() < 1e-13 * expected, "{found} {expected}");
            }
            // Any direction, read by the product from either side.
            let v = Basis::from_columns(LENGTH, noise(3).take(LENGTH).collect());
            let entries = whole.to_f64();
            let along = |i: usize, j: usize| v.column(0)[i] * entries[i * LENGTH + j];
            let across = |i: usize, j: usize| v.column(0)[j] * entries[i * LENGTH + j];
            let images: [Vec<f64>; 2] = [
                (0..LENGTH).map(|j| (0..LENGTH).map(|i| along(i, j)).sum()).collect(),
                (0..LENGTH).map(|i| (0..LENGTH).map(|j| across(i, j)).sum()).collect(),
            ];
            let found = [
                product.shares_from_left(&left.basis().cosines(&v))[0],
                product.shares_from_right(&right.basis().cosines(&v))[0],
            ];
            for (found, image) in found.iter().zip(images) {
                assert!((found - norm(&image) / expected.norm()).abs() < 1e-13, "{found}");
            }
        }
    }

    #[test]
    fn one_more_row_is_one_more_row() {
        let (a, b) = (columns(1), columns(2));
        let (left, right) = (Tall::of(LENGTH, &a).expect("finite"), Tall::of(LENGTH, &b).expect("finite"));
        let rows = [[1.0, -2.0, 0.5, 3.0], [0.1, 0.2, 4.0, -1.0]];
        let found = left.largest_of_product(&rows[0], &right, &rows[1]).expect("converges");
        let whole = dense(&a, &b, Some([&rows[0], &rows[1]]));
        let expected = exact::singular_values(&whole).expect("converges").largest();
        assert!((found - expected).abs() < 1e-13 * expected, "{found} {expected}");
        let zero = [0.0; WIDTH];
        let (plain, same) =
            (left.largest().expect("converges"), left.largest_with(&zero).expect("converges"));
        assert!((plain - same).abs() < 1e-14 * plain);
    }

    #[test]
    fn eigenvalues_of_a_symmetric_product_have_one_sign() {
        for scale in [1.0, 1e-200, 1e200] {
            let a: Vec<f64> = columns(5).iter().map(|x| x * scale).collect();
            let negative: Vec<f64> = a.iter().map(|x| -x).collect();
            for (b, expected) in [(&a, 1.0), (&negative, -1.0)] {
                let found = eigenvalue_balance(LENGTH, &a, b).expect("converges").expect("not zero");
                assert!((found - expected).abs() < 1e-13, "{found}");
            }
        }
        // A rotation by a right angle: ±i.
        let (a, b) = ([1.0, 0.0, 0.0, 1.0], [0.0, -1.0, 1.0, 0.0]);
        assert!(eigenvalue_balance(2, &a, &b).expect("converges").expect("not zero").abs() < 1e-15);
        assert_eq!(eigenvalue_balance(2, &a, &[0.0; 4]).expect("converges"), None);
    }

    #[test]
    fn spaces_overlap_by_what_they_share() {
        let unit = |at: &[usize]| {
            let column = |i: &usize| (0..6).map(|j| f64::from(j == *i)).collect::<Vec<f64>>();
            Basis::from_columns(6, at.iter().flat_map(column).collect())
        };
        let bases = [unit(&[0, 1]), unit(&[1, 2]), unit(&[4, 5])];
        let found = mean_overlaps(&bases.each_ref());
        assert_eq!(found, [Some(0.25), Some(0.25), Some(0.0)]);
        assert_eq!(mean_overlaps(&[&bases[0]]), [None]);
    }
}
