//! The spaces of both sides' leading singular vectors against each other.

use super::super::delta;
use super::Both;
use super::drift::Drift;
use super::needs::SPACES;
use crate::error::Error;
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::{Basis, Factors};

/// How far residuals of leading vectors may be off, relative to `σ₁`: a space is then as exact as its distance to the next
/// value lets it be.
pub(super) const TOLERANCE: f64 = 1e-12;

/// How one space lies to the other, on the left and on the right.
pub(super) struct Subspaces {
    overlaps: [Value; 2],
    angles: [Value; 2],
}

impl Subspaces {
    /// From the leading triplets of both sides, as many of them as `top`, and as both have.
    ///
    /// # Errors
    /// [`Error::NotConverged`].
    pub(super) fn new(base: &Factors, tuned: &Factors, top: usize) -> Result<Self, Error> {
        let top = [base, tuned].iter().map(|factors| factors.values.len()).fold(top, usize::min);
        if top == 0 {
            let none = [Value::Missing(MissingReason::AllZero); 2];
            return Ok(Self { overlaps: none, angles: none });
        }
        let overlap = |a: &Basis, b: &Basis| {
            let cosines = a.cosines(b);
            let squares = (0..top).flat_map(|j| &cosines.column(j)[..top]).map(|x| x * x);
            Value::within(squares.sum::<f64>() / top as f64, 0.0, 1.0)
        };
        let angle = |a: &Basis, b: &Basis| -> Result<Value, Error> {
            let (cosine, sine) = a.largest_angle(b, top)?;
            Ok(Value::real(sine.atan2(cosine).to_degrees()))
        };
        Ok(Self {
            overlaps: [overlap(&base.left, &tuned.left), overlap(&base.right, &tuned.right)],
            angles: [angle(&base.left, &tuned.left)?, angle(&base.right, &tuned.right)?],
        })
    }
}

/// A number of the spaces, where they were asked for.
fn spaces(both: &Both<'_>, value: impl FnOnce(&Subspaces) -> Value) -> Value {
    both.subspaces.as_ref().map_or(Value::Missing(MissingReason::NotApplicable), value)
}

pub(super) const SUBSPACE_OVERLAP: Drift = Drift {
    column: delta::SUBSPACE_OVERLAP,
    needs: SPACES,
    unchanged: Value::Real(1.0),
    value: |both| spaces(both, |of| of.overlaps[0]),
};

pub(super) const RIGHT_SUBSPACE_OVERLAP: Drift = Drift {
    column: Column {
        key: "right_subspace_overlap",
        label: "right overlap",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "subspace_overlap of the right singular vectors",
        range: "[0, 1]",
        source: "Hu et al. 2021, arXiv 2106.09685, 7.2",
    },
    needs: SPACES,
    unchanged: Value::Real(1.0),
    value: |both| spaces(both, |of| of.overlaps[1]),
};

pub(super) const SUBSPACE_ANGLE: Drift = Drift {
    column: Column {
        key: "subspace_angle",
        label: "angle",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "the largest principal angle between the spans of the k leading left directions of both sides",
        range: "[0, 90], degrees",
        source: "Björck & Golub 1973",
    },
    needs: SPACES,
    unchanged: Value::Real(0.0),
    value: |both| spaces(both, |of| of.angles[0]),
};

pub(super) const RIGHT_SUBSPACE_ANGLE: Drift = Drift {
    column: Column {
        key: "right_subspace_angle",
        label: "right angle",
        format: Format::Real,
        quantity: Quantity::Pair(Accuracy::Relative),
        doc: "subspace_angle of the right singular vectors",
        range: "[0, 90], degrees",
        source: "Björck & Golub 1973",
    },
    needs: SPACES,
    unchanged: Value::Real(0.0),
    value: |both| spaces(both, |of| of.angles[1]),
};
