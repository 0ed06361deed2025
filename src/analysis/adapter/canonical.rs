//! The canonical form of two factors: QR of both, the decomposition of a small square, and a rule for signs.

use crate::error::Error;
use crate::low_rank::LowRank;
use crate::solver;
use crate::weight::StoredFactors;

/// `B' = U·Σ` and `A' = Vᵀ` of the product BA, whose scale is left out: FedSVD, 2025. In each row of A' the entry of largest
/// magnitude, the first of several, is positive. Directions beyond those that the product can have are zero.
///
/// # Errors
/// When the decomposition does not converge, or an entry is not finite.
pub fn canonical(factors: &StoredFactors) -> Result<LowRank, Error> {
    let shape = (factors.outputs(), factors.inputs());
    let product = LowRank::new(shape, factors.rank, factors.up.clone(), factors.down.clone())?;
    let found = solver::all_vectors(&product)?;
    let (rank, count) = (factors.rank, found.values.len());
    let signs: Vec<f64> = found.right.columns().map(sign).collect();
    let up = |row: usize, i: usize| {
        if i < count { signs[i] * found.values[i] * found.left.column(i)[row] } else { 0.0 }
    };
    let left =
        (0..shape.0).flat_map(|row| (0..rank).map(move |i| (row, i))).map(|(row, i)| up(row, i)).collect();
    let mut right = Vec::with_capacity(rank * shape.1);
    for (column, sign) in found.right.columns().zip(&signs) {
        right.extend(column.iter().map(|x| sign * x));
    }
    right.resize(rank * shape.1, 0.0);
    LowRank::new(shape, rank, left, right)
}

/// The sign of the entry of largest magnitude.
fn sign(column: &[f64]) -> f64 {
    let largest = column.iter().fold(0.0f64, |largest, x| if x.abs() > largest.abs() { *x } else { largest });
    if largest < 0.0 { -1.0 } else { 1.0 }
}
