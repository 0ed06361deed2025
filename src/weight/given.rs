//! Matrices that no file holds: computed, or handed over by whoever uses the library.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Error;
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix};

/// A matrix that is handed over.
#[derive(Clone)]
pub enum Given {
    /// Its entries.
    Dense(Arc<Matrix>),
    /// Its thin factors.
    Thin(Arc<LowRank>),
    /// What gives its rows when they are asked for.
    Rows(Rows),
}

/// A matrix whose rows come from a function.
#[derive(Clone)]
pub struct Rows {
    /// Rows and columns.
    pub shape: (usize, usize),
    /// The type of its entries.
    pub dtype: Dtype,
    /// The rows of a range, which lies within the matrix.
    pub read: Arc<dyn Fn(Range<usize>) -> Result<Matrix, Error> + Send + Sync>,
}

impl Given {
    /// Rows and columns.
    pub(crate) fn shape(&self) -> (usize, usize) {
        match self {
            Self::Dense(matrix) => (matrix.rows(), matrix.cols()),
            Self::Thin(factors) => (factors.rows(), factors.cols()),
            Self::Rows(rows) => rows.shape,
        }
    }

    /// The type that its entries are read as.
    pub(crate) fn entry(&self) -> Dtype {
        match self {
            Self::Dense(matrix) => matrix.dtype(),
            Self::Thin(_) => Dtype::F64,
            Self::Rows(rows) => rows.dtype,
        }
    }

    /// The directions of its factors, if it has some.
    pub(crate) fn directions(&self) -> Option<usize> {
        match self {
            Self::Dense(_) | Self::Rows(_) => None,
            Self::Thin(factors) => Some(factors.rank()),
        }
    }

    /// The rows `rows`.
    pub(crate) fn read(&self, rows: Range<usize>) -> Result<Matrix, Error> {
        match self {
            Self::Thin(factors) => factors.dense(rows),
            Self::Rows(of) => (of.read)(rows),
            Self::Dense(matrix) => {
                let line = matrix.cols() * matrix.dtype().size();
                let bytes = matrix.bytes().get(rows.start * line..rows.end * line);
                let outside =
                    || Error::Contract(format!("rows {}..{} of {}", rows.start, rows.end, matrix.rows()));
                Matrix::new(rows.len(), matrix.cols(), matrix.dtype(), bytes.ok_or_else(outside)?.to_vec())
            }
        }
    }
}

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dense(one), Self::Dense(other)) => one == other,
            (Self::Thin(one), Self::Thin(other)) => one == other,
            (Self::Rows(one), Self::Rows(other)) => Arc::ptr_eq(&one.read, &other.read),
            _ => false,
        }
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, cols) = self.shape();
        write!(f, "{rows} × {cols}")
    }
}

impl From<Matrix> for Given {
    fn from(matrix: Matrix) -> Self {
        Self::Dense(Arc::new(matrix))
    }
}

impl From<LowRank> for Given {
    fn from(factors: LowRank) -> Self {
        Self::Thin(Arc::new(factors))
    }
}
