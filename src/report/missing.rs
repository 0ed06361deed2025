//! Why a number could not be measured: each reason with a stable code for programs and words for people.

use super::coded::coded;

coded! {
    /// Why a number could not be measured.
    pub enum MissingReason {
        /// The weight holds NaN or an infinity.
        NonFinite = "nonfinite", "the weight holds NaN or infinite entries";
        /// Every entry is zero.
        AllZero = "zero_matrix", "every entry is zero";
        /// The value is below the floor of the fast route.
        BelowFloor =
            "below_floor", "below the accuracy floor of the spectrum; `--precision exact` resolves it";
        /// The value is below the floor of the exact route.
        BelowExactFloor =
            "below_floor", "below the accuracy floor of the exact route, where a value cannot be told from zero";
        /// The way the matrix is stored leaves it fewer directions than rows and columns.
        LowRank = "low_rank", "zero by construction: the update has fewer directions than rows and columns";
        /// Fewer positive eigenvalues than the estimate needs.
        TooFewValues = "too_few_values", "too few positive eigenvalues";
        /// Fewer rows than the estimate needs.
        TooFewRows = "too_few_rows", "too few rows for the estimate";
        /// Fewer widths than the fit needs.
        TooFewWidths = "too_few_widths", "too few different widths";
        /// Rows that do not tell orders apart.
        EqualRows = "equal_rows", "its rows are all alike or zero, so every order of them gives the same sum";
        /// All candidate tails are degenerate.
        NoTail = "no_tail", "no candidate tail can be fitted";
        /// No singular value counts as noise.
        NoNoise = "no_noise", "no resolved singular value counts as noise";
        /// The spectrum falls to zero, or below the floor.
        FallsToFloor = "falls_to_floor", "the fall ends below the accuracy floor of the spectrum";
        /// The estimate has no value for such entries.
        NoEstimate = "no_estimate", "the estimate has no value for these entries: too many are equal, or none stands out";
        /// The solver did not reach its accuracy.
        NotConverged = "not_converged", "the decomposition did not converge";
        /// The result does not fit a double.
        Overflow =
            "overflow", "too large or too small for a double (1.8e308 to 2.2e-308); scale the weights, or the adapter's alpha";
        /// The probability is below what a double holds.
        TooSmall = "too_small", "below 2.2e-308, which a double does not hold; `log10_p` has it";
        /// A matrix without eigenvalues.
        NoEigenvalues = "no_eigenvalues", "only a square matrix and the real parts of a state space have eigenvalues";
        /// No state space, or not of that kind.
        NotStateSpace = "not_state_space", "not the stored eigenvalues of a state space, or not of complex ones";
        /// A gradient that no other is held against.
        NoPartner = "no_partner", "there is no other gradient of its shape that it is held against";
        /// More directions are asked for than there are.
        TooFewDirections = "too_few_directions", "the matrix has fewer directions than are asked for";
        /// The quantity has no meaning for this kind of row.
        NotApplicable = "not_applicable", "not defined for this row";
        /// The matrix could not be read or decomposed.
        Failed = "failed", "the matrix could not be read or decomposed";
        /// Its bytes equal the base's, so it was not decomposed.
        NotDecomposed = "not_decomposed", "unchanged, so it was not decomposed; `--all` measures it, too";
        /// It takes a decomposition with all vectors, which nobody asked for.
        NotSought = "not_sought", "not measured by default in a matrix of this size; `--vectors all` measures it";
        /// The base's value is zero, and a change relative to nothing has no size.
        ZeroBase = "zero_base", "a change from 0, which is larger than any number";
        /// The other side has no matrix of this name and shape.
        Unpaired = "unpaired", "the other side has no matrix of this name and shape";
        /// The side has no such matrix.
        Absent = "absent", "there is no such matrix on this side";
        /// It is a vector or another tensor that is not decomposed, of which only bytes are compared.
        NotMatrix = "not_a_matrix", "not a matrix, so only its bytes are compared";
        /// Its content is unknown.
        Unseen = "unseen", "what its bytes say is not known, here or in the report of it";
        /// There is no update to take a share of.
        NoUpdate = "no_update", "nothing was changed";
        /// Its singular vectors are arbitrary: all its values are equal or below the floor.
        Degenerate = "degenerate", "its singular values do not tell their directions apart";
    }
}

impl MissingReason {
    /// Whether the value lies below the floor of its route, which bounds it.
    pub fn is_below_floor(self) -> bool {
        matches!(self, Self::BelowFloor | Self::BelowExactFloor)
    }
}
