//! What several readings of one expression share: a tensor that was read whole, lengths of columns, a decomposition.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::Expr;
use crate::error::Error;
use crate::low_rank::LowRank;
use crate::matrix::Matrix;

/// More than this is not kept, but for the latest.
const MOST: usize = 64 << 20;

/// What was kept of some expressions, the latest last.
#[derive(Debug, Default)]
pub(in super::super) struct Scratch(Mutex<VecDeque<(usize, Kept)>>);

/// What was kept of one expression.
#[derive(Debug, Clone)]
enum Kept {
    Whole(Arc<Matrix>),
    Numbers(Arc<Vec<f64>>),
    Factors(Arc<LowRank>),
}

impl Kept {
    fn bytes(&self) -> usize {
        match self {
            Self::Whole(matrix) => matrix.bytes().len(),
            Self::Numbers(numbers) => 8 * numbers.len(),
            Self::Factors(factors) => 8 * (factors.left().len() + factors.right().len()),
        }
    }
}

impl Scratch {
    /// The whole of `of`, as it is read.
    pub(super) fn whole(
        &self,
        of: &Expr,
        read: impl FnOnce() -> Result<Matrix, Error>,
    ) -> Result<Arc<Matrix>, Error> {
        if let Some(Kept::Whole(matrix)) = self.get(of) {
            return Ok(matrix);
        }
        let matrix = Arc::new(read()?);
        self.keep(of, Kept::Whole(Arc::clone(&matrix)));
        Ok(matrix)
    }

    /// Numbers that were computed of `of`.
    pub(super) fn numbers(
        &self,
        of: &Expr,
        compute: impl FnOnce() -> Result<Vec<f64>, Error>,
    ) -> Result<Arc<Vec<f64>>, Error> {
        if let Some(Kept::Numbers(numbers)) = self.get(of) {
            return Ok(numbers);
        }
        let numbers = Arc::new(compute()?);
        self.keep(of, Kept::Numbers(Arc::clone(&numbers)));
        Ok(numbers)
    }

    /// Factors of `of`.
    pub(super) fn factors(
        &self,
        of: &Expr,
        decompose: impl FnOnce() -> Result<LowRank, Error>,
    ) -> Result<Arc<LowRank>, Error> {
        if let Some(Kept::Factors(factors)) = self.get(of) {
            return Ok(factors);
        }
        let factors = Arc::new(decompose()?);
        self.keep(of, Kept::Factors(Arc::clone(&factors)));
        Ok(factors)
    }

    fn get(&self, of: &Expr) -> Option<Kept> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(key, _)| *key == key_of(of))?;
        let found = kept.remove(at)?;
        kept.push_back(found.clone());
        Some(found.1)
    }

    fn keep(&self, of: &Expr, new: Kept) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((key_of(of), new));
        while kept.len() > 1 && kept.iter().map(|(_, kept)| kept.bytes()).sum::<usize>() > MOST {
            kept.pop_front();
        }
    }
}

/// Where an expression lies; its catalogue holds it as long as what is kept of it.
fn key_of(of: &Expr) -> usize {
    std::ptr::from_ref(of) as usize
}
