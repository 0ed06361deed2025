//! A cache shared by several reads of one expression: a tensor read whole, lengths of columns, a decomposition.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::expr::Expr;
use crate::error::Error;
use crate::low_rank::LowRank;
use crate::matrix::Matrix;

/// More than this is not kept, but for the latest.
const MOST: usize = 64 << 20;

/// Cached results of some expressions, the latest last.
#[derive(Debug, Default)]
pub(crate) struct Scratch(Mutex<VecDeque<(Key, Kept)>>);

/// What is kept of which expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Key {
    /// All of it.
    Whole(Arc<Expr>),
    /// The lengths of runs of so many columns.
    Norms(Arc<Expr>, usize),
    /// All its directions but the first so many.
    Beyond(Arc<Expr>, usize),
}

/// Cached results of one expression.
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
    /// A whole matrix, as it is read.
    pub(crate) fn whole(
        &self,
        key: &Key,
        read: impl FnOnce() -> Result<Matrix, Error>,
    ) -> Result<Arc<Matrix>, Error> {
        if let Some(Kept::Whole(matrix)) = self.get(key) {
            return Ok(matrix);
        }
        let matrix = Arc::new(read()?);
        self.keep(key, Kept::Whole(Arc::clone(&matrix)));
        Ok(matrix)
    }

    /// Numbers that were computed.
    pub(crate) fn numbers(
        &self,
        key: &Key,
        compute: impl FnOnce() -> Result<Vec<f64>, Error>,
    ) -> Result<Arc<Vec<f64>>, Error> {
        if let Some(Kept::Numbers(numbers)) = self.get(key) {
            return Ok(numbers);
        }
        let numbers = Arc::new(compute()?);
        self.keep(key, Kept::Numbers(Arc::clone(&numbers)));
        Ok(numbers)
    }

    /// Factors.
    pub(crate) fn factors(
        &self,
        key: &Key,
        decompose: impl FnOnce() -> Result<LowRank, Error>,
    ) -> Result<Arc<LowRank>, Error> {
        if let Some(Kept::Factors(factors)) = self.get(key) {
            return Ok(factors);
        }
        let factors = Arc::new(decompose()?);
        self.keep(key, Kept::Factors(Arc::clone(&factors)));
        Ok(factors)
    }

    fn get(&self, key: &Key) -> Option<Kept> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| known == key)?;
        let found = kept.remove(at)?;
        kept.push_back(found.clone());
        Some(found.1)
    }

    fn keep(&self, key: &Key, new: Kept) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((key.clone(), new));
        while kept.len() > 1 && kept.iter().map(|(_, kept)| kept.bytes()).sum::<usize>() > MOST {
            kept.pop_front();
        }
    }
}
