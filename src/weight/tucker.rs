//! Products around the kernel of a convolution, by their stored parts: their singular values need no more.

use super::expr::Expr;
use super::fingerprint::ContentId;
use super::scratch::Scratch;
use crate::error::Error;
use crate::layer::Operands;

/// `s·U·(K ×₂ D)`, the Tucker form of LoCon: `K` is a kernel of rank × rank × positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Tucker {
    /// `s·U`, outputs × rank, row by row.
    pub up: Vec<f64>,
    /// `K`, rank × (rank · positions).
    pub kernel: Vec<f64>,
    /// `D`, rank × inputs.
    pub down: Vec<f64>,
    /// Directions between the parts.
    pub rank: usize,
}

impl Tucker {
    /// `K ×₂ D`: rank × (columns of `down` · positions).
    pub fn right(&self, down: &[f64]) -> Vec<f64> {
        let positions = self.kernel.len() / (self.rank * self.rank).max(1);
        contracted(&self.kernel, down, (self.rank, positions))
    }

    /// How many of its stored numbers are NaN or infinite.
    pub fn nonfinite(&self) -> usize {
        self.parts().into_iter().flatten().filter(|x| !x.is_finite()).count()
    }

    /// What it is called equal by: its parts.
    pub fn identity(&self) -> ContentId {
        let mut hash = blake3::Hasher::new();
        for x in self.parts().into_iter().flatten() {
            hash.update(&x.to_le_bytes());
        }
        let varies = self.parts().iter().all(|part| part.iter().any(|x| *x != 0.0));
        ContentId { blake3: hash.finalize(), varies }
    }

    fn parts(&self) -> [&[f64]; 3] {
        [&self.up, &self.kernel, &self.down]
    }
}

/// Rows of `K ×₂ D`, from as many rows of `K` and all of `D`.
pub(super) fn contracted(kernel: &[f64], down: &[f64], (rank, positions): (usize, usize)) -> Vec<f64> {
    let inputs = down.len() / rank.max(1);
    let rows = kernel.len() / (rank * positions).max(1);
    let mut product = vec![0.0; rows * inputs * positions];
    let rows = product.chunks_exact_mut((inputs * positions).max(1));
    for (row, kernel) in rows.zip(kernel.chunks_exact((rank * positions).max(1))) {
        for (down, kernel) in down.chunks_exact(inputs.max(1)).zip(kernel.chunks_exact(positions.max(1))) {
            for (cells, x) in row.chunks_exact_mut(positions.max(1)).zip(down) {
                cells.iter_mut().zip(kernel).for_each(|(cell, k)| *cell += k * x);
            }
        }
    }
    product
}

impl Expr {
    /// What singular values of a product around a kernel are found from, if it is one.
    pub(crate) fn tucker_operands(&self) -> Option<Operands> {
        let (_, kernel, down) = self.around_kernel()?;
        let ((rank, inputs), positions) = (down.shape(), kernel.shape().1 / down.shape().0.max(1));
        let columns = rank.min(inputs).checked_mul(positions)?;
        Some(Operands::Tucker { rank, columns, stored: self.stored_entries() })
    }

    /// Its parts, if it is a product around a kernel.
    pub(crate) fn tucker(&self, room: &Scratch) -> Result<Option<Tucker>, Error> {
        let Some((up, kernel, down)) = self.around_kernel() else { return Ok(None) };
        let all = |of: &Self| of.rows(0..of.shape().0, room);
        Ok(Some(Tucker { up: all(up)?, kernel: all(kernel)?, down: all(down)?, rank: down.shape().0 }))
    }

    fn around_kernel(&self) -> Option<(&Self, &Self, &Self)> {
        match self {
            Self::Product(up, right) => match &**right {
                Self::Tucker { kernel, down } => Some((up, kernel, down)),
                _ => None,
            },
            _ => None,
        }
    }
}
