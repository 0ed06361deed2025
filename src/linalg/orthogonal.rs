//! Orthogonal bases that grow by a block at a time.
//!
//! A new block is split into its part in the span of a basis `Q` and the rest: `Y = Q·C + X·R`, with `X` orthonormal
//! and orthogonal to `Q`. Gram–Schmidt loses orthogonality in proportion to what it cancels; doing it twice restores it
//! to rounding ("twice is enough", Giraud, Langou & Rozložník 2005), provided that the second time cancels little;
//! where it cancels more, as in a column that is rounding for the most part, it is done once more. A column of which
//! nothing new is left adds no column.

use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, MatMut, Par};

use super::factors::Basis;
use super::product::multiply;
use super::vector::norm;

/// The rest of a column counts as rounding below this share of the largest column seen.
const NEGLIGIBLE: f64 = 1e-14;
/// The second pass starts from unit columns; one that loses more than this was in the span but for rounding.
const SPANNED: f64 = 1e-3;
/// A pass in which every column keeps this much of its length was the last one needed.
const KEPT: f64 = 0.5;
/// Share of a column's square that must be its own for a block to be made orthonormal at once.
const OWN: f64 = 1e-2;
/// Passes beyond which none can be needed: the third starts from columns that are orthonormal to many digits.
const PASSES: usize = 4;

/// A block in terms of a basis and of new orthonormal columns.
pub(super) struct Split {
    /// Coefficients on the basis, a column for each of the block.
    pub(super) inside: Mat<f64>,
    /// New orthonormal columns, at most as many as the block has.
    pub(super) fresh: Basis,
    /// Coefficients on the new columns, a column for each of the block.
    pub(super) outside: Mat<f64>,
}

/// Splits `block` over the orthonormal `basis`; `scale` is the size of a column that is not small.
pub(super) fn split(basis: &Basis, block: &Basis, scale: f64) -> Split {
    let mut rest = block.as_mat().to_owned();
    let mut inside = remove(basis, &mut rest);
    let (mut fresh, mut outside, _) = orthonormal(&rest, NEGLIGIBLE * scale);
    for _ in 1..PASSES {
        let more = remove(basis, &mut fresh);
        let (cleared, unit, least) = orthonormal(&fresh, SPANNED);
        matmul(inside.as_mut(), Accum::Add, &more, &outside, 1.0, Par::Seq);
        outside = &unit * &outside;
        fresh = cleared;
        if least >= KEPT {
            break;
        }
    }
    Split { inside, fresh: Basis::of(fresh.as_ref()), outside }
}

/// Takes the part in the span of `basis` away from `rest` and gives its coefficients.
fn remove(basis: &Basis, rest: &mut Mat<f64>) -> Mat<f64> {
    let mut coefficients = Mat::zeros(basis.count(), rest.ncols());
    let basis = basis.as_mat();
    // Transposed, since products are cut into runs of columns.
    multiply(coefficients.as_mut().transpose_mut(), Accum::Replace, rest.transpose(), basis, 1.0);
    multiply(rest.as_mut().transpose_mut(), Accum::Add, coefficients.transpose(), basis.transpose(), -1.0);
    coefficients
}

/// Orthonormal columns that span `block`, the coefficients of its columns on them, and the least that was new in one; a
/// column whose new part is at most `floor` adds none.
fn orthonormal(block: &Mat<f64>, floor: f64) -> (Mat<f64>, Mat<f64>, f64) {
    triangular(block, floor).unwrap_or_else(|| one_by_one(block, floor))
}

/// The same by the Cholesky factor of `YᵀY`, where every column has much of its own; orthonormal to rounding over the
/// square of that share, so to rounding when the columns nearly are.
fn triangular(block: &Mat<f64>, floor: f64) -> Option<(Mat<f64>, Mat<f64>, f64)> {
    let width = block.ncols();
    let mut factor = Mat::zeros(width, width);
    matmul(factor.as_mut(), Accum::Replace, block.transpose(), block, 1.0, Par::Seq);
    let mut least = f64::INFINITY;
    for j in 0..width {
        let whole = factor[(j, j)];
        let own = whole - (0..j).map(|l| factor[(l, j)] * factor[(l, j)]).sum::<f64>();
        if !(own > OWN * whole && own.sqrt() > floor) {
            return None;
        }
        let pivot = own.sqrt();
        least = least.min(pivot);
        factor[(j, j)] = pivot;
        for i in j + 1..width {
            let along: f64 = (0..j).map(|l| factor[(l, j)] * factor[(l, i)]).sum();
            factor[(j, i)] = (factor[(j, i)] - along) / pivot;
            factor[(i, j)] = 0.0;
        }
    }
    let mut basis = block.clone();
    solve_lower_triangular_in_place(factor.transpose(), basis.as_mut().transpose_mut(), Par::Seq);
    Some((basis, factor, least))
}

/// The same column by column, however little is left of one.
fn one_by_one(block: &Mat<f64>, floor: f64) -> (Mat<f64>, Mat<f64>, f64) {
    let (length, width) = block.shape();
    let mut basis = Basis::empty(length);
    let mut coefficients = Mat::zeros(width, width);
    let mut least = f64::INFINITY;
    for j in 0..width {
        let mut column: Vec<f64> = block.col(j).iter().copied().collect();
        for _ in 0..2 {
            for (i, c) in project(&basis, &mut column).into_iter().enumerate() {
                coefficients[(i, j)] += c;
            }
        }
        let norm = norm(&column);
        if norm > floor {
            column.iter_mut().for_each(|x| *x /= norm);
            coefficients[(basis.count(), j)] = norm;
            least = least.min(norm);
            basis.push(&column);
        }
    }
    let count = basis.count();
    (basis.as_mat().to_owned(), coefficients.subrows(0, count).to_owned(), least)
}

/// Takes the part in the span of `basis` away from one column and gives its coefficients.
pub(super) fn project(basis: &Basis, column: &mut [f64]) -> Vec<f64> {
    let length = column.len();
    let mut coefficients = vec![0.0; basis.count()];
    let count = coefficients.len();
    let mut rest = MatMut::from_column_major_slice_mut(column, length, 1);
    let mut found = MatMut::from_column_major_slice_mut(&mut coefficients, count, 1);
    matmul(found.as_mut(), Accum::Replace, basis.as_mat().transpose(), rest.as_ref(), 1.0, Par::Seq);
    matmul(rest.as_mut(), Accum::Add, basis.as_mat(), found.as_ref(), -1.0, Par::Seq);
    coefficients
}

#[cfg(test)]
mod tests {
    use super::super::kernel::tests::noise;
    use super::*;

    fn random(length: usize, count: usize, seed: u64) -> Basis {
        Basis::separated(&noise(seed).take(length * count).collect::<Vec<_>>(), count, count)
    }

    /// The largest entry of `QᵀQ − I`.
    fn defect(basis: &Basis) -> f64 {
        let product = basis.as_mat().transpose() * basis.as_mat();
        let (mut largest, n) = (0.0f64, product.ncols());
        for i in 0..n {
            for j in 0..n {
                largest = largest.max((product[(i, j)] - if i == j { 1.0 } else { 0.0 }).abs());
            }
        }
        largest
    }

    #[test]
    fn a_block_is_the_sum_of_what_was_spanned_and_what_is_new() {
        let mut basis = split(&Basis::empty(50), &random(50, 6, 1), 1.0).fresh;
        // Nearly in the span, exactly in the span, a copy of the first, zero, and new.
        let mut block = random(50, 5, 2);
        let near: Vec<f64> = basis.column(0).iter().zip(block.column(0)).map(|(q, x)| q + 1e-9 * x).collect();
        let columns = [near.clone(), basis.column(3).to_vec(), near, vec![0.0; 50], block.column(4).to_vec()];
        block = Basis::empty(50);
        columns.iter().for_each(|column| block.push(column));
        let Split { inside, fresh, outside } = split(&basis, &block, 1.0);
        assert_eq!(fresh.count(), 2);
        let again = basis.as_mat() * &inside + fresh.as_mat() * &outside;
        assert!((again - block.as_mat()).norm_max() < 1e-14);
        basis.extend(&fresh);
        assert!(defect(&basis) < 1e-14, "{:e}", defect(&basis));
    }
}
