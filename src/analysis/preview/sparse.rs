//! Weights as a few directions and a few columns (LOST), and directions that are sampled in turn (SST).

use super::super::weighting::scaled;
use super::columns::{SAMPLING, SPARSE};
use super::{Notes, leading, norm, share, values};
use crate::error::Error;
use crate::matrix::Matrix;
use crate::report::{MissingReason, Value};
use crate::solver::{self, Basis, Weighting};

/// Rounds of sampling after which directions are counted.
const ROUNDS: i32 = 20;

/// The weight as its leading directions and the strongest columns of what they leave: the columns are those of the
/// complement, for directions and columns of the weight itself would count twice.
pub(super) fn columns_beside(
    notes: &mut Notes,
    matrix: &Matrix,
    (rank, part): (Option<usize>, f64),
) -> Result<(), Error> {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let short = rows.min(cols);
    let rank = rank.unwrap_or(short / 4).clamp(1, short);
    let count = ((part * cols as f64).round() as usize).clamp(1, cols);
    let parameters = rank * (rows + cols) + count * rows;
    let equal = (parameters / (rows + cols)).min(short);
    let cut = leading(matrix, (&Weighting::None, &Weighting::None), rank.max(equal))?;
    let up = scaled(&cut.left, &cut.values);
    let first = |basis: &Basis| basis.clone().truncated(rank);
    let rest = solver::less(matrix, (&first(&up), &first(&cut.right)))?.to_f64();
    let mut squares = vec![0.0; cols];
    rest.chunks_exact(cols).for_each(|row| squares.iter_mut().zip(row).for_each(|(sum, x)| *sum += x * x));
    let mut order: Vec<usize> = (0..cols).collect();
    order.sort_by(|a, b| squares[*b].total_cmp(&squares[*a]));
    let (chosen, others) = order.split_at(count);
    let sum = |columns: &[usize]| columns.iter().map(|j| squares[*j]).sum::<f64>();
    let (captured, left) = (sum(chosen), sum(others));
    let whole = norm(matrix)?;
    let at_equal = solver::remainders(matrix, (&up, &cut.right), &[equal])[0];
    let is_something = captured + left > 0.0;
    let captured = share(captured, captured + left);
    notes.add(
        &SPARSE,
        [
            if is_something { captured } else { Value::Missing(MissingReason::AllZero) },
            share(squares.iter().sum::<f64>().sqrt(), whole),
            share(left.sqrt(), whole),
            Value::count(parameters),
            Value::count(equal),
            share(at_equal, whole),
            Value::count(rank),
        ],
    );
    let mut chosen = chosen.to_vec();
    chosen.sort_unstable();
    notes.lists.count("complement_columns", chosen);
    notes.lists.real("complement_norms", squares.into_iter().map(f64::sqrt));
    Ok(())
}

/// How often directions come up where a round samples `count` of them.
pub(super) fn sampled(notes: &mut Notes, matrix: &Matrix, count: usize) -> Result<(), Error> {
    let spectrum = values(matrix)?;
    let values = spectrum.values();
    let sum: f64 = values.iter().sum();
    if sum == 0.0 || !spectrum.fits() {
        let why = if sum == 0.0 { MissingReason::AllZero } else { MissingReason::Overflow };
        notes.add(&SAMPLING, [Value::Missing(why); SAMPLING.len()]);
        return Ok(());
    }
    let all = values.len() as f64;
    let probabilities: Vec<f64> = values.iter().map(|s| f64::midpoint(1.0 / all, s / sum)).collect();
    let inclusion: Vec<f64> = probabilities.iter().map(|p| (count as f64 * p).min(1.0)).collect();
    let entropy = -probabilities.iter().map(|p| p * p.ln()).sum::<f64>();
    let hits = inclusion.iter().take(count).map(|q| 1.0 - (1.0 - q).powi(ROUNDS)).sum();
    let defect = values.iter().map(|s| (s * s - 1.0).powi(2)).sum::<f64>().sqrt();
    notes.add(&SAMPLING, [Value::real(entropy), Value::real(hits), Value::real(defect)]);
    notes.lists.real("sampling_probability", probabilities);
    notes.lists.real("sampling_inclusion", inclusion);
    Ok(())
}
