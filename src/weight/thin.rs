//! Thin factors of an expression, without forming it.

use std::ops::Range;
use std::sync::Arc;

use super::expr::{Expr, Sign};
use super::given::Given;
use super::rows::transpose;
use super::scratch::{Key, Scratch};
use crate::error::Error;
use crate::low_rank::LowRank;

impl Expr {
    /// Its thin factors.
    ///
    /// # Errors
    /// When it has none, or a part cannot be read.
    pub(crate) fn factors(&self, room: &Scratch) -> Result<LowRank, Error> {
        self.factors_of(0..self.shape().0, room)
    }

    /// Factors of the rows `rows`.
    pub(crate) fn factors_of(&self, rows: Range<usize>, room: &Scratch) -> Result<LowRank, Error> {
        match self {
            Self::Product(left, right) => {
                let (rank, cols) = right.shape();
                let product = |left: &Self| {
                    let (left, right) = (left.rows(rows.clone(), room)?, right.rows(0..rank, room)?);
                    LowRank::new((rows.len(), cols), rank, left, right)
                };
                let found = product(left)?;
                if found.is_finite() || !self.is_finite(rows.clone(), room)? {
                    return Ok(found);
                }
                let (left, scale) = left.unscaled().ok_or_else(overflow)?;
                product(&left)?.times(scale).ok_or_else(overflow)
            }
            Self::Transposed(of) => {
                let factors = of.factors(room)?;
                let rank = factors.rank();
                let left = transpose(factors.right(), factors.cols());
                let left = left[rows.start * rank..rows.end * rank].to_vec();
                LowRank::new((rows.len(), factors.rows()), rank, left, transpose(factors.left(), rank))
            }
            Self::Scaled(of, by) => {
                let found = of.factors_of(rows.clone(), room)?.scaled(*by)?;
                if found.is_finite() || !self.is_finite(rows.clone(), room)? {
                    return Ok(found);
                }
                of.factors_of(rows, room)?.times(*by).ok_or_else(overflow)
            }
            Self::Sum(first, sign, second) => {
                let (first, second) = (first.factors_of(rows.clone(), room)?, second.factors_of(rows, room)?);
                first.plus(&second, if *sign == Sign::Plus { 1.0 } else { -1.0 })
            }
            Self::Hadamard(first, second) | Self::Kronecker(first, second) => {
                let product = self.paired(&first.operand(room)?, &second.operand(room)?)?;
                product.part(rows)
            }
            Self::Given(Given::Thin(factors)) => factors.part(rows),
            Self::Beyond { of, keep, by } => {
                let (height, _) = of.shape();
                let key = Key::Beyond(Arc::clone(of), *keep);
                let factors = room.factors(&key, || (by.0)(&of.read(0..height, room)?, *keep))?;
                factors.part(rows)
            }
            Self::Stored(_)
            | Self::Decoded(_)
            | Self::Given(Given::Dense(_) | Given::Rows(_))
            | Self::Part { .. }
            | Self::Diagonal { .. }
            | Self::Tucker { .. }
            | Self::Rescaled { .. } => Err(Error::Contract("not stored as a product".to_owned())),
        }
    }

    /// A factor without the number that it is multiplied by, and that: where it overflows, both factors bear it.
    fn unscaled(&self) -> Option<(Arc<Self>, f64)> {
        match self {
            Self::Scaled(of, by) => Some((Arc::clone(of), *by)),
            Self::Diagonal { of, by } => {
                let (of, scale) = of.unscaled()?;
                Some((Arc::new(Self::Diagonal { of, by: Arc::clone(by) }), scale))
            }
            _ => None,
        }
    }

    /// Factors of one of two matrices that are multiplied: a whole one is a factor beside the identity.
    fn operand(&self, room: &Scratch) -> Result<LowRank, Error> {
        if self.directions().is_some() {
            return self.factors(room);
        }
        let (rows, cols) = self.shape();
        let one = |n: usize| (0..n * n).map(|i| f64::from(i % (n + 1) == 0)).collect::<Vec<f64>>();
        let entries = self.rows(0..rows, room)?;
        let (left, right) = if rows < cols { (one(rows), entries) } else { (entries, one(cols)) };
        LowRank::new((rows, cols), rows.min(cols), left, right)
    }

    /// Directions of an entrywise or Kronecker product are pairs of directions; its rows are pairs of rows, or of the
    /// same row of both.
    fn paired(&self, first: &LowRank, second: &LowRank) -> Result<LowRank, Error> {
        let rank = first.rank() * second.rank();
        let each = |a: &[f64], b: &[f64]| -> Vec<f64> {
            a.iter().flat_map(|x| b.iter().map(move |y| x * y)).collect()
        };
        let lines = |entries: &[f64], rank: usize| -> Vec<Vec<f64>> {
            entries.chunks_exact(rank.max(1)).map(<[f64]>::to_vec).collect()
        };
        let rows = |of: &LowRank| lines(of.left(), of.rank());
        let cols = |of: &LowRank| lines(&transpose(of.right(), of.cols()), of.rank());
        let pairs = |a: Vec<Vec<f64>>, b: Vec<Vec<f64>>| -> Vec<f64> {
            match self {
                Self::Kronecker(..) => a.iter().flat_map(|x| b.iter().flat_map(|y| each(x, y))).collect(),
                _ => a.iter().zip(&b).flat_map(|(x, y)| each(x, y)).collect(),
            }
        };
        let left = pairs(rows(first), rows(second));
        let right = transpose(&pairs(cols(first), cols(second)), rank);
        LowRank::new(self.shape(), rank, left, right)
    }
}

fn overflow() -> Error {
    Error::Overflow("a factor".to_owned())
}
