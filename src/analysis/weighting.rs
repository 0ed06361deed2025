//! What is known of a module's inputs, as the weight that its matrix is multiplied by.

use crate::checkpoint::Moments;
use crate::error::Error;
use crate::matrix::Matrix;
use crate::solver::{self, Basis, Factors, Weighting};

/// CorDA adds this share of the mean variance to each variance (`damp` of its authors). Theirs is doubled until the inverse
/// is right to 5 %; in doubles it is right at once, for no variance can then be below this share of their mean.
const DAMPING: f64 = 0.01;
/// A covariance may have negative eigenvalues down to this share of the largest: what sums in half precision lose.
const ROUNDING: f64 = 1e-2;

/// `R` with `R·Rᵀ = XᵀX`: the error of a weight times `R` is that of the layer's outputs (EoRA). A triangle where that is
/// exact enough, else by axes.
pub(super) fn root(moments: &Moments) -> Result<Weighting, Error> {
    Ok(match moments {
        Moments::Diagonal(squares) => Weighting::Diagonal(squares.iter().map(|x| x.sqrt()).collect()),
        Moments::Covariance(covariance) => {
            if let Some(lower) = solver::cholesky(covariance) {
                return Ok(Weighting::Root(lower));
            }
            let (axes, values) = eigen(covariance)?;
            Weighting::Axes(axes, values.iter().map(|x| x.sqrt()).collect())
        }
        Moments::Inputs(inputs) => {
            let many = inputs.rows() >= inputs.cols();
            if let Some(lower) =
                many.then(|| solver::gram(inputs)).transpose()?.and_then(|of| solver::cholesky(&of))
            {
                return Ok(Weighting::Root(lower));
            }
            let Factors { values, right, .. } = solver::all_vectors(inputs)?;
            Weighting::Axes(right, values)
        }
    })
}

/// `C̃ = C + δ·mean(diag C)·I` (CorDA).
pub(super) fn damped(moments: &Moments) -> Result<Weighting, Error> {
    let raised = |values: &[f64]| {
        // The eigenvalues' mean is the diagonal's.
        let more = DAMPING * values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|x| x + more).collect()
    };
    Ok(match moments {
        Moments::Diagonal(squares) => Weighting::Diagonal(raised(squares)),
        Moments::Covariance(covariance) => {
            let side = covariance.cols();
            let mut entries = covariance.to_f64();
            let trace: f64 = entries.iter().step_by(side + 1).sum();
            entries.iter_mut().step_by(side + 1).for_each(|x| *x += DAMPING * trace / side as f64);
            let whole = Matrix::from_f64(side, side, &entries)?;
            if let Some(lower) = solver::cholesky(&whole) {
                return Ok(Weighting::Covariance(whole, lower));
            }
            let (axes, values) = eigen(covariance)?;
            Weighting::Axes(axes, raised(&values))
        }
        Moments::Inputs(inputs) => damped(&Moments::Covariance(solver::gram(inputs)?))?,
    })
}

/// `X − mean(X)`, column by column.
pub(super) fn centered(inputs: &Matrix) -> Result<Matrix, Error> {
    let (rows, cols) = (inputs.rows(), inputs.cols());
    let mut entries = inputs.to_f64();
    let mut means = vec![0.0; cols];
    entries.chunks_exact(cols).for_each(|row| means.iter_mut().zip(row).for_each(|(sum, x)| *sum += x));
    means.iter_mut().for_each(|sum| *sum /= rows as f64);
    entries
        .chunks_exact_mut(cols)
        .for_each(|row| row.iter_mut().zip(&means).for_each(|(x, mean)| *x -= mean));
    Matrix::from_f64(rows, cols, &entries)
}

/// The axes of a covariance and the variances along them, none negative.
pub(super) fn eigen(covariance: &Matrix) -> Result<(Basis, Vec<f64>), Error> {
    let (axes, values) = solver::eigen(covariance)?;
    let largest = values.first().map_or(0.0, |x| x.abs());
    if let Some(least) = values.iter().find(|x| **x < -ROUNDING * largest) {
        let reason = format!(
            "the covariance has the negative eigenvalue {least:.3e} beside {largest:.3e}, so it is not one; sum it in f32"
        );
        return Err(Error::Usage(reason));
    }
    Ok((axes, values.into_iter().map(|x| x.max(0.0)).collect()))
}

/// Each column times its value.
pub(super) fn scaled(basis: &Basis, values: &[f64]) -> Basis {
    let columns = basis.columns().zip(values).flat_map(|(u, s)| u.iter().map(move |x| x * s));
    Basis::from_columns(basis.length(), columns.collect())
}

/// `Rᵀ·v` of each column: how the inputs see a direction.
pub(super) fn seen(right: &Weighting, basis: &Basis) -> Result<Basis, Error> {
    let rows: Vec<f64> = basis.columns().flatten().copied().collect();
    let seen = right.times(&Matrix::from_f64(basis.count(), basis.length(), &rows)?)?;
    Ok(Basis::from_columns(seen.cols(), seen.to_f64()))
}
