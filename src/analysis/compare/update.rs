//! What was added to a weight, in memory.

use super::subspaces::TOLERANCE;
use crate::error::Error;
use crate::matrix::Matrix;
use crate::solver::unit::Rescaled;
use crate::solver::{self, Factors, Held, Operator};

/// An update.
pub(super) enum Update {
    /// The weights whose difference it is.
    Between { base: Matrix, tuned: Matrix },
    /// As an adapter stores it.
    Added(Held),
}

impl Update {
    /// Reads it.
    ///
    /// # Errors
    /// When a side cannot be read.
    pub(super) fn read(base: Rescaled<'_>, tuned: Rescaled<'_>) -> Result<Self, Error> {
        Ok(match tuned.source.added(tuned.layer, (base.source, base.layer)) {
            Some((source, layer)) => Self::Added(Held::read(&source, &layer)?.rescaled(tuned.exponent)?),
            None => Self::Between { base: base.whole()?, tuned: tuned.whole()? },
        })
    }

    /// For products and values.
    ///
    /// # Errors
    /// When the shapes differ.
    pub(super) fn operator(&self) -> Result<Operator<'_>, Error> {
        match self {
            Self::Between { base, tuned } => Operator::from(tuned).minus(&Operator::from(base)),
            Self::Added(held) => Ok(held.into()),
        }
    }

    /// Base and tuned weight, where they are in memory.
    pub(super) fn sides(&self) -> [Option<&Matrix>; 2] {
        match self {
            Self::Between { base, tuned } => [Some(base), Some(tuned)],
            Self::Added(_) => [None; 2],
        }
    }
}

/// All singular triplets of a weight, which is read where it is not in memory.
///
/// # Errors
/// When it cannot be read or its decomposition does not converge.
pub(super) fn all_vectors(matrix: Option<&Matrix>, weight: Rescaled<'_>) -> Result<Factors, Error> {
    match matrix {
        Some(matrix) => solver::all_vectors(matrix),
        None => solver::all_vectors(&weight.whole()?),
    }
}

/// Its leading singular triplets.
///
/// # Errors
/// As [`all_vectors`].
pub(super) fn leading_vectors(
    matrix: Option<&Matrix>,
    weight: Rescaled<'_>,
    k: usize,
) -> Result<Factors, Error> {
    let found = |matrix: &Matrix| solver::leading_to(&Operator::from(matrix), k, TOLERANCE);
    match matrix {
        Some(matrix) => found(matrix),
        None => found(&weight.whole()?),
    }
}
