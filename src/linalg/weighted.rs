//! A matrix cut to a few directions of `L·M·R`, with both weights undone: `X = L⁺·(L·M·R)_r·R⁺`.
//!
//! Of all matrices of rank `r`, `X` is nearest to `M` in `‖L(M − X)R‖_F` where the leading directions are chosen, and the
//! distance is `√Σσ²` over the other directions of `L·M·R`. With `M` a weight and `R` a root of its inputs' covariance that
//! is the error of the layer's outputs.
//!
//! A weight is given by its axes and their lengths, `R = Q·diag(d)`. An orthogonal factor to the right of that changes no
//! `X`, so a symmetric root, a Cholesky factor and this are one weight. Axes of length 0 are left out of both the cut and
//! what it undoes.

use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::exact;
use super::factors::{Basis, Factors};
use super::leading::{by_products, leading};
use super::operator::{Operator, Terms};
use super::qr::Qr;
use crate::error::Error;
use crate::matrix::Matrix;

/// Rows that are multiplied by one task: a fixed number, so that the bits do not depend on the threads.
const ROWS: usize = 128;

/// What a matrix is multiplied by on one side.
#[derive(Debug, Clone, PartialEq)]
pub enum Weighting {
    /// Nothing.
    None,
    /// Each column, or row, by a number that is not negative.
    Diagonal(Vec<f64>),
    /// Orthonormal axes, no more than the matrix has columns, and a length of each that is not negative.
    Axes(Basis, Vec<f64>),
    /// A lower triangle `L`, column by column: a root of the covariance `L·Lᵀ`, which is far from singular.
    Root(Basis),
    /// Such a covariance itself, and its root.
    Covariance(Matrix, Basis),
}

/// Which directions of `L·M·R` are taken, counted from the largest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// So many of the largest singular values.
    Top(usize),
    /// So many of the smallest of the `min(m, n)`.
    Bottom(usize),
    /// These, from 0 on.
    These(Vec<usize>),
}

/// Directions of `L·M·R`, with the weights undone: `X = Σ σᵢ·lᵢ·rᵢᵀ`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// `lᵢ = L⁺uᵢ`, as long as the matrix has rows.
    pub left: Basis,
    /// The singular values of the chosen directions, in descending order.
    pub values: Vec<f64>,
    /// `rᵢ = (R⁺)ᵀvᵢ`, as long as it has columns.
    pub right: Basis,
    /// All singular values that were found on the way, descending: the leading ones, or all.
    pub found: Vec<f64>,
    /// `‖L·M·R‖_F`.
    pub norm: f64,
    /// `L·M·R`, where a weight is there.
    pub weighted: Option<Matrix>,
}

impl Weighting {
    /// `M·R` of a matrix with as many columns as the weight has entries, a column for each of the axes.
    ///
    /// # Errors
    /// When the sizes differ.
    pub fn times(&self, matrix: &Matrix) -> Result<Matrix, Error> {
        let (rows, cols) = (matrix.rows(), matrix.cols());
        self.check(cols)?;
        let mut entries = matrix.to_f64();
        let multiplied = |by: MatRef<'_, f64>| {
            let count = by.ncols();
            let mut product = vec![0.0; rows * count];
            let blocks = product.par_chunks_mut(ROWS * count).zip(entries.par_chunks(ROWS * cols));
            blocks.for_each(|(to, from)| {
                let from = MatRef::from_row_major_slice(from, from.len() / cols, cols);
                let to = MatMut::from_row_major_slice_mut(to, from.nrows(), count);
                matmul(to, Accum::Replace, from, by, 1.0, Par::Seq);
            });
            product
        };
        match self {
            Self::None => {}
            Self::Diagonal(lengths) => scale(&mut entries, lengths),
            Self::Axes(axes, lengths) => {
                let mut product = multiplied(axes.as_mat());
                scale(&mut product, lengths);
                return Matrix::from_f64(rows, axes.count(), &product);
            }
            Self::Root(lower) => return Matrix::from_f64(rows, cols, &multiplied(lower.as_mat())),
            Self::Covariance(whole, _) => {
                // Symmetric, so that rows are columns.
                let whole = whole.to_f64();
                let whole = MatRef::from_row_major_slice(&whole, cols, cols);
                return Matrix::from_f64(rows, cols, &multiplied(whole));
            }
        }
        Matrix::from_f64(rows, cols, &entries)
    }

    /// `(R⁺)ᵀ·v` of each column: a direction of the weighted matrix as one of the matrix itself.
    fn undone(&self, mut vectors: Basis) -> Basis {
        if let Self::Root(lower) | Self::Covariance(_, lower) = self {
            let lower = lower.as_mat();
            if let Self::Covariance(..) = self {
                solve_lower_triangular_in_place(lower, vectors.as_mat_mut(), Par::Seq);
            }
            solve_upper_triangular_in_place(lower.transpose(), vectors.as_mat_mut(), Par::Seq);
            return vectors;
        }
        let (Self::Diagonal(lengths) | Self::Axes(_, lengths)) = self else { return vectors };
        for column in vectors.columns_mut() {
            let undo = |(x, length): (&mut f64, &f64)| *x = if *length > 0.0 { *x / length } else { 0.0 };
            column.iter_mut().zip(lengths).for_each(undo);
        }
        let Self::Axes(axes, _) = self else { return vectors };
        Basis::of((axes.as_mat() * vectors.as_mat()).as_ref())
    }

    fn check(&self, length: usize) -> Result<(), Error> {
        let own = match self {
            Self::None => length,
            Self::Diagonal(lengths) => lengths.len(),
            Self::Axes(axes, _) => axes.length(),
            Self::Root(lower) | Self::Covariance(_, lower) => lower.length(),
        };
        if own == length {
            return Ok(());
        }
        Err(Error::Contract(format!("a weight of {own} entries for {length} columns or rows")))
    }
}

/// Multiplies each column of row-major entries by its length.
fn scale(entries: &mut [f64], lengths: &[f64]) {
    for row in entries.chunks_exact_mut(lengths.len().max(1)) {
        row.iter_mut().zip(lengths).for_each(|(x, length)| *x *= length);
    }
}

/// The `chosen` directions of `L·M·R`. Leading ones are sought by products where they are few; others take the whole
/// decomposition.
///
/// # Errors
/// When the weights do not fit, a direction is chosen that there is not, an entry is not finite, or a decomposition does
/// not converge.
pub fn cut(
    operator: &Operator<'_>,
    (left, right): (&Weighting, &Weighting),
    chosen: &Chosen,
) -> Result<Cut, Error> {
    left.check(operator.rows())?;
    right.check(operator.cols())?;
    if (left, right) == (&Weighting::None, &Weighting::None) {
        return cut_plain(operator, chosen, norm(operator));
    }
    let weighted = weighted(operator, (left, right))?;
    let found = cut_plain(&Operator::from(&weighted), chosen, squares(&weighted).sqrt())?;
    let (left, right) = (left.undone(found.left), right.undone(found.right));
    Ok(Cut { left, right, weighted: Some(weighted), ..found })
}

/// `L·M·R`.
///
/// # Errors
/// When the sizes differ.
pub fn weighted(operator: &Operator<'_>, (left, right): (&Weighting, &Weighting)) -> Result<Matrix, Error> {
    let whole = match operator.terms() {
        Terms::Stored(matrix) => right.times(matrix)?,
        _ => right.times(&Matrix::from_f64(operator.rows(), operator.cols(), &operator.to_f64())?)?,
    };
    if *left == Weighting::None {
        return Ok(whole);
    }
    Ok(left.times(&whole.transposed())?.transposed())
}

fn cut_plain(operator: &Operator<'_>, chosen: &Chosen, norm: f64) -> Result<Cut, Error> {
    let short = operator.rows().min(operator.cols());
    let all = || exact::factors(operator);
    let (factors, wanted) = match chosen {
        Chosen::Top(count) => {
            let found = if by_products(operator.rows(), operator.cols(), *count) {
                leading(operator, *count)?
            } else {
                all()?
            };
            // Directions of value 0 are vectors, too.
            let found = if found.values.len() < *count { all()? } else { found };
            (found, (0..*count).collect())
        }
        Chosen::Bottom(count) => (all()?, (short.saturating_sub(*count)..short).collect()),
        Chosen::These(wanted) => (all()?, wanted.clone()),
    };
    if wanted.iter().any(|i| *i >= factors.values.len()) {
        return Err(Error::Contract(format!("{} of {short} directions", wanted.len())));
    }
    let Factors { left, values, right } = factors;
    let (mut lefts, mut rights) = (Basis::empty(left.length()), Basis::empty(right.length()));
    for i in &wanted {
        lefts.push(left.column(*i));
        rights.push(right.column(*i));
    }
    let picked = wanted.iter().map(|i| values[*i]).collect();
    Ok(Cut { left: lefts, values: picked, right: rights, found: values, norm, weighted: None })
}

fn norm(operator: &Operator<'_>) -> f64 {
    match operator.terms() {
        Terms::Stored(matrix) => squares(matrix).sqrt(),
        _ => operator.to_f64().iter().map(|x| x * x).sum::<f64>().sqrt(),
    }
}

/// The sum of squares of the entries.
fn squares(matrix: &Matrix) -> f64 {
    let cols = matrix.cols();
    let mut row = vec![0.0; cols];
    let of_row = |i: usize| {
        matrix.widen(i * cols..(i + 1) * cols, &mut row);
        row.iter().map(|x| x * x).sum::<f64>()
    };
    (0..matrix.rows()).map(of_row).sum()
}

/// The first `count` columns of `Q` and rows of `R` in `W = Q·R`: orthonormal columns that span the first `count` columns of
/// `W`, and the coefficients of all of `W` on them, each as long as `W` has columns.
///
/// # Errors
/// When there are not so many rows and columns.
pub fn first_columns(operator: &Operator<'_>, count: usize) -> Result<(Basis, Basis), Error> {
    let (rows, cols) = (operator.rows(), operator.cols());
    if count > rows.min(cols) {
        return Err(Error::Contract(format!("{count} columns of a {rows} × {cols} matrix")));
    }
    let mut units = Basis::zero(cols, count);
    units.columns_mut().enumerate().for_each(|(j, column)| column[j] = 1.0);
    let qr = Qr::of(operator.images(&units).as_mat());
    let orthonormal = Basis::of(qr.times(Mat::<f64>::identity(count, count).as_ref()).as_ref());
    let coefficients = operator.clone().transposed().images(&orthonormal);
    Ok((orthonormal, coefficients))
}

#[cfg(test)]
mod tests {
    use super::super::covariance::{cholesky, eigen, gram};
    use super::super::kernel::tests::noise;
    use super::super::vector::dot;
    use super::*;

    fn matrix(rows: usize, cols: usize, seed: u64) -> Matrix {
        let entries: Vec<f64> = noise(seed).take(rows * cols).collect();
        Matrix::from_f64(rows, cols, &entries).expect("sizes agree")
    }

    /// Weights of every kind on `n` columns; the last has axes of length 0.
    fn weights(n: usize) -> Vec<Weighting> {
        let lengths: Vec<f64> = noise(8).take(n).map(|x| 0.1 + x.abs()).collect();
        let (axes, _) = first_columns(&Operator::from(&matrix(n, n, 9)), n).expect("square");
        let moments = gram(&matrix(3 * n, n, 10)).expect("sizes agree");
        let root = cholesky(&moments).expect("more rows than columns");
        let mut short = lengths.clone();
        short[n / 2 + 1..].fill(0.0);
        vec![
            Weighting::None,
            Weighting::Diagonal(lengths.clone()),
            Weighting::Axes(axes.clone(), lengths.clone()),
            Weighting::Axes(axes.clone(), short),
            Weighting::Axes(axes.truncated(n / 2 + 1), lengths[..=n / 2].to_vec()),
            Weighting::Root(root.clone()),
            Weighting::Covariance(moments, root),
        ]
    }

    /// `X` of a cut, densely.
    fn dense(cut: &Cut) -> Matrix {
        let (rows, cols) = (cut.left.length(), cut.right.length());
        let entry = |i: usize, j: usize| {
            let term = |k: usize| cut.values[k] * cut.left.column(k)[i] * cut.right.column(k)[j];
            (0..cut.values.len()).map(term).sum::<f64>()
        };
        let entries: Vec<f64> = (0..rows * cols).map(|at| entry(at / cols, at % cols)).collect();
        Matrix::from_f64(rows, cols, &entries).expect("sizes agree")
    }

    fn less(a: &Matrix, b: &Matrix) -> Matrix {
        let entries: Vec<f64> = a.to_f64().iter().zip(b.to_f64()).map(|(x, y)| x - y).collect();
        Matrix::from_f64(a.rows(), a.cols(), &entries).expect("sizes agree")
    }

    #[test]
    fn the_weighted_error_of_a_cut_is_what_its_other_directions_hold() {
        for (rows, cols) in [(24, 16), (16, 24), (9, 9)] {
            let weight = matrix(rows, cols, 1);
            let operator = Operator::from(&weight);
            for left in weights(rows) {
                for right in weights(cols) {
                    for chosen in [Chosen::Top(3), Chosen::Bottom(2), Chosen::These(vec![1, 4])] {
                        let sides = (&left, &right);
                        let found = cut(&operator, sides, &chosen).expect("converges");
                        let all = exact::factors(&Operator::from(&weighted(&operator, sides).expect("fits")));
                        let energy = |values: &[f64]| values.iter().map(|s| s * s).sum::<f64>();
                        let rest = energy(&all.expect("converges").values) - energy(&found.values);
                        let rest = rest.max(0.0).sqrt();
                        let error = less(&weight, &dense(&found));
                        let error = squares(&weighted(&Operator::from(&error), sides).expect("fits")).sqrt();
                        assert!((error - rest).abs() < 1e-9 * found.norm, "{chosen:?}: {error} and {rest}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_weight_is_the_same_by_any_of_its_roots() {
        // A covariance by its axes; by the axes of its square; and as the root that rows of data are.
        let (weight, data) = (matrix(20, 12, 1), matrix(30, 12, 2));
        let operator = Operator::from(&weight);
        let Factors { values, right, .. } = exact::factors(&Operator::from(&data)).expect("converges");
        let gram = gram(&data).expect("sizes agree");
        let (axes, squared) = eigen(&gram).expect("converges");
        let by_data = Weighting::Axes(right, values);
        let by_gram = Weighting::Axes(axes, squared.iter().map(|x| x.sqrt()).collect());
        let of =
            |right| dense(&cut(&operator, (&Weighting::None, right), &Chosen::Top(4)).expect("converges"));
        assert!(squares(&less(&of(&by_data), &of(&by_gram))).sqrt() < 1e-11);
        let by_triangle = Weighting::Root(cholesky(&gram).expect("far from singular"));
        assert!(squares(&less(&of(&by_data), &of(&by_triangle))).sqrt() < 1e-11);
        assert!(squares(&less(&of(&by_data), &of(&Weighting::None))).sqrt() > 1e-3);
    }

    #[test]
    fn the_first_columns_lie_in_their_span_and_what_is_left_is_orthogonal_to_it() {
        for (rows, cols) in [(14, 9), (9, 14)] {
            let weight = matrix(rows, cols, 3);
            let (q, r) = first_columns(&Operator::from(&weight), 5).expect("fits");
            let found = Cut {
                left: q.clone(),
                values: vec![1.0; 5],
                right: r,
                found: vec![],
                norm: 1.0,
                weighted: None,
            };
            let rest = less(&weight, &dense(&found)).to_f64();
            for j in 0..cols {
                let column: Vec<f64> = (0..rows).map(|i| rest[i * cols + j]).collect();
                assert!(q.columns().all(|u| dot(u, &column).abs() < 1e-14));
                assert!(j >= 5 || column.iter().all(|x| x.abs() < 1e-14), "column {j}");
            }
        }
    }
}
