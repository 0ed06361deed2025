//! What the numbers of a pair are computed from.

use super::Vectors;
use crate::report::Aspect;
use crate::solver::Needs;

/// What is needed of both sides of a pair and of the update between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairNeeds {
    /// Of the base.
    pub base: Needs,
    /// Of a tuned side.
    pub tuned: Needs,
    /// Of the update, if anything.
    pub update: Option<Needs>,
    /// Which singular vectors of both sides.
    pub vectors: Vectors,
    /// Whether gains of rows and columns are sought.
    pub gains: GainFit,
}

/// Whether gains of rows and columns are sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GainFit {
    /// They are not.
    Unsought,
    /// They are.
    Sought,
}

/// Only the bytes of both sides.
pub const NOTHING: PairNeeds = PairNeeds {
    base: Needs::Entries,
    tuned: Needs::Entries,
    update: None,
    vectors: Vectors::None,
    gains: GainFit::Unsought,
};

/// The singular values of both sides.
pub(super) const VALUES: PairNeeds = PairNeeds { base: Needs::Values, tuned: Needs::Values, ..NOTHING };
/// The gains between them.
pub(super) const GAINS: PairNeeds = PairNeeds { gains: GainFit::Sought, ..NOTHING };
/// The spaces of their leading directions.
pub(super) const SPACES: PairNeeds = PairNeeds { vectors: Vectors::Leading, ..VALUES };
/// All of their directions, and the update in them.
pub(super) const DIRECTIONS: PairNeeds =
    PairNeeds { vectors: Vectors::All, update: Some(Needs::Entries), ..VALUES };

impl PairNeeds {
    /// What an aspect of a metric needs that takes so much on one side.
    pub fn of_metric(needs: Needs, aspect: Aspect) -> Self {
        let (base, tuned) = match aspect {
            Aspect::Base => (needs, Needs::Entries),
            // A comparison has no steps.
            Aspect::Value | Aspect::Slope | Aspect::StepChange | Aspect::StepChangeAt => {
                (Needs::Entries, needs)
            }
            Aspect::Difference | Aspect::Change => (needs, needs),
        };
        Self { base, tuned, ..NOTHING }
    }

    /// What both need together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            base: self.base.max(other.base),
            tuned: self.tuned.max(other.tuned),
            update: self.update.max(other.update),
            vectors: self.vectors.max(other.vectors),
            gains: self.gains.max(other.gains),
        }
    }

    /// The same with these singular vectors, and what comes with them.
    #[must_use]
    pub fn with(self, vectors: Vectors) -> Self {
        let others = Self { vectors: Vectors::None, ..self };
        match vectors {
            Vectors::None => others,
            Vectors::Leading => others.and(SPACES),
            Vectors::All => others.and(DIRECTIONS),
        }
    }

    /// Whether nothing beyond these is needed.
    pub fn is_within(self, other: Self) -> bool {
        self.and(other) == other
    }

    /// Whether any number of both sides together is.
    pub(super) fn is_of_pair(self) -> bool {
        self.update.is_some() || self.vectors != Vectors::None || self.gains == GainFit::Sought
    }
}
