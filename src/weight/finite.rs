//! Overflow: stored entries are finite, and computed ones are not.

use std::ops::Range;

use super::expr::{Along, Expr};
use super::scratch::Scratch;
use crate::error::Error;

impl Expr {
    /// Whether `entries`, the rows `rows`, overflowed although all their inputs are finite.
    pub(crate) fn overflows(
        &self,
        rows: &Range<usize>,
        entries: &[f64],
        room: &Scratch,
    ) -> Result<bool, Error> {
        if all_finite(entries) || !self.is_finite(rows.clone(), room)? {
            return Ok(false);
        }
        // A row of zeros can't be rescaled: the result is NaN, which is not an overflow.
        let of_zeros = match self.rescaled_of() {
            Some(of) if !entries.iter().any(|x| x.is_infinite()) => all_finite(&of.rows(rows.clone(), room)?),
            _ => false,
        };
        Ok(!of_zeros)
    }

    /// Whether all that is stored of the rows `rows` is finite.
    pub(crate) fn is_finite(&self, rows: Range<usize>, room: &Scratch) -> Result<bool, Error> {
        let both = |first: &Self, second: &Self| {
            Ok(first.is_finite(rows.clone(), room)? && second.is_finite(rows.clone(), room)?)
        };
        let whole = |of: &Self| of.is_finite(0..of.shape().0, room);
        match self {
            Self::Stored(_) | Self::Decoded(_) | Self::Given(_) => Ok(all_finite(&self.rows(rows, room)?)),
            Self::Part { .. } if self.cut().is_some() => Ok(all_finite(&self.rows(rows, room)?)),
            Self::Part { of, .. } | Self::Transposed(of) | Self::Beyond { of, .. } => whole(of),
            Self::Scaled(of, _) => of.is_finite(rows, room),
            Self::Diagonal { of, by } => Ok(whole(by)? && of.is_finite(rows, room)?),
            Self::Product(left, right) => Ok(whole(right)? && left.is_finite(rows, room)?),
            Self::Tucker { kernel, down } => Ok(whole(kernel)? && whole(down)?),
            Self::Kronecker(first, second) => Ok(whole(first)? && whole(second)?),
            Self::Hadamard(first, second) | Self::Sum(first, _, second) => both(first, second),
            Self::Rescaled { of, lengths, along } => Ok(whole(lengths)?
                && match along {
                    Along::Rows => of.is_finite(rows, room)?,
                    Along::Columns(_) => whole(of)?,
                }),
        }
    }

    /// The rescaled expression, if it is one, perhaps minus another.
    fn rescaled_of(&self) -> Option<&Self> {
        match self {
            Self::Rescaled { of, .. } => Some(of),
            Self::Sum(first, ..) => first.rescaled_of(),
            _ => None,
        }
    }
}

fn all_finite(entries: &[f64]) -> bool {
    entries.iter().all(|x| x.is_finite())
}
