//! SALT: leading singular values scaled and shifted, and a product of thin factors in the basis of the others.
//!
//! Its weights are built anew with the vectors of another decomposition, whose signs decide what the product and the ReLU
//! after it do. So a checkpoint does not hold the weight, and only what is free of signs is told.

use super::values;
use crate::error::Error;
use crate::matrix::Matrix;
use crate::report::Lists;

/// What a checkpoint holds beside the weight.
#[derive(Debug)]
pub struct Salt {
    /// A factor for each of the leading values.
    pub scale: Vec<f64>,
    /// What is added to each.
    pub shift: Vec<f64>,
    /// The product in the basis of the other directions: as many rows as there are of these.
    pub x: Matrix,
    /// As many columns.
    pub y: Matrix,
}

impl Salt {
    /// What it makes of `matrix`: `salt_spectrum`, the values by scale and shift alone; `salt_update_norm`, the size of the
    /// update by these, of the product, and of both where the ReLU cuts nothing; `salt_diagonal_share`, the share of its
    /// square on the diagonal. None where the sizes do not fit.
    ///
    /// # Errors
    /// When a decomposition does not converge.
    pub fn lists(&self, matrix: &Matrix) -> Result<Lists, Error> {
        let Self { scale, shift, x, y } = self;
        let mut lists = Lists::default();
        let rest = matrix.rows().min(matrix.cols()).checked_sub(scale.len());
        if shift.len() != scale.len()
            || rest != Some(x.rows())
            || rest != Some(y.cols())
            || x.cols() != y.rows()
            || !matrix.is_finite()
        {
            return Ok(lists);
        }
        let spectrum = values(matrix)?;
        let scaled = spectrum.values().iter().zip(scale).zip(shift).map(|((s, a), b)| a * s + b);
        let moved: f64 = spectrum.values().iter().zip(scaled.clone()).map(|(s, new)| (new - s).powi(2)).sum();
        let (x, y) = (x.to_f64(), y.to_f64());
        let (side, rank) = (y.len() / self.x.cols().max(1), self.x.cols());
        let (mut product, mut diagonal) = (0.0, 0.0);
        for (i, row) in x.chunks_exact(rank.max(1)).enumerate() {
            for j in 0..side {
                let entry: f64 = row.iter().enumerate().map(|(k, x)| x * y[k * side + j]).sum();
                product += entry * entry;
                diagonal += if i == j { entry * entry } else { 0.0 };
            }
        }
        let kept = spectrum.values().iter().skip(scale.len()).copied();
        let mut all: Vec<f64> = scaled.chain(kept).map(|s| s.max(0.0)).collect();
        all.sort_by(|a, b| b.total_cmp(a));
        lists.real("salt_spectrum", all);
        lists.real("salt_update_norm", [moved, product, moved + product].map(f64::sqrt));
        if moved + product > 0.0 {
            lists.real("salt_diagonal_share", [(moved + diagonal) / (moved + product)]);
        }
        Ok(lists)
    }
}
