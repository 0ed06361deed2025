//! What a product of thin factors leaves of a weight, and what rounding makes of that.

use super::Module;
use crate::error::Error;
use crate::low_rank::LowRank;
use crate::matrix::Matrix;
use crate::solver::Operator;

/// Rows that are in memory as doubles.
const ROWS: usize = 64;

/// Norms of the parts of a weight.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rest {
    /// `‖W‖_F` of what is decomposed.
    pub(super) weight: f64,
    /// `‖W₀‖_F` of the original weight: the same, but for a compressed one.
    pub(super) original: f64,
    /// `‖P‖_F` of the exact product.
    pub(super) adapter: f64,
    /// `‖W − P‖_F`.
    pub(super) residual: f64,
    /// `‖W − (W_base + P)‖_F` of what is written.
    pub(super) lost: f64,
    /// `W − P`, rounded; none where the base stays.
    pub(super) written: Option<Matrix>,
}

impl Rest {
    /// Of a module's weight less a product, `exact` and as it is written. The residual makes up for the rounding of the factors.
    pub(super) fn of(
        operator: &Operator<'_>,
        (exact, factors): (&LowRank, &LowRank),
        module: &Module<'_>,
    ) -> Result<Self, Error> {
        let (rows, cols) = (module.weight.rows(), module.weight.cols());
        let mut sums = [0.0; 5];
        let mut bytes = Vec::with_capacity(module.weight.len() * module.stored_as.size());
        let (mut kept, mut product, mut original) = (vec![0.0; cols], vec![0.0; cols], vec![0.0; cols]);
        for first in (0..rows).step_by(ROWS) {
            let mut block = operator.block(first..rows.min(first + ROWS));
            for (i, row) in block.chunks_exact_mut(cols).enumerate() {
                let at = first + i;
                module.weight.widen(at * cols..(at + 1) * cols, &mut original);
                exact.row(at, &mut product);
                factors.row(at, &mut kept);
                for ((x, exact), original) in row.iter().zip(&product).zip(&original) {
                    let terms = [x * x, original * original, exact * exact, (x - exact) * (x - exact)];
                    sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
                }
                row.iter_mut().zip(&kept).for_each(|(x, kept)| *x -= kept);
            }
            if module.compressed.is_some() {
                sums[4] += block.iter().map(|x| x * x).sum::<f64>();
                continue;
            }
            let rounded = Matrix::rounded(block.len() / cols, cols, module.stored_as, &block)?;
            let lost = |(written, wanted): (f64, &f64)| (written - wanted) * (written - wanted);
            sums[4] += rounded.to_f64().into_iter().zip(&block).map(lost).sum::<f64>();
            bytes.extend_from_slice(rounded.bytes());
        }
        let [weight, original, adapter, residual, lost] = sums.map(f64::sqrt);
        let written = match module.compressed {
            Some(_) => None,
            None => Some(Matrix::new(rows, cols, module.stored_as, bytes)?),
        };
        Ok(Self { weight, original, adapter, residual, lost, written })
    }
}

/// `‖M − P‖_F`.
pub(super) fn distance(operator: &Operator<'_>, product: &LowRank) -> f64 {
    let (rows, cols) = (operator.rows(), operator.cols());
    let mut row = vec![0.0; cols];
    let mut sum = 0.0;
    for first in (0..rows).step_by(ROWS) {
        for (i, entries) in operator.block(first..rows.min(first + ROWS)).chunks_exact(cols).enumerate() {
            product.row(first + i, &mut row);
            sum += entries.iter().zip(&row).map(|(x, y)| (x - y) * (x - y)).sum::<f64>();
        }
    }
    sum.sqrt()
}
