//! Why a number could not be measured: each reason with a stable code for programs and words for people.

use std::fmt;

/// Why a number could not be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The weight holds NaN or an infinity.
    NonFinite,
    /// Every entry is zero.
    AllZero,
    /// The value lies below what the fast route resolves.
    BelowFloor,
    /// The value lies below what the exact route resolves.
    BelowExactFloor,
    /// The way the matrix is stored leaves it fewer directions than rows and columns.
    LowRank,
    /// Fewer positive eigenvalues than the estimate needs.
    TooFewValues,
    /// All candidate tails are degenerate.
    NoTail,
    /// No singular value counts as noise.
    NoNoise,
    /// The spectrum falls to zero, or to what the decomposition does not resolve.
    FallsToFloor,
    /// The solver did not reach its accuracy.
    NotConverged,
    /// The result does not fit a double.
    Overflow,
    /// The quantity has no meaning for this kind of row.
    NotApplicable,
    /// The matrix could not be read or decomposed.
    Failed,
    /// Its bytes are those of the base, so it was not decomposed.
    NotDecomposed,
    /// The base's value is zero, and a change relative to nothing has no size.
    ZeroBase,
    /// The other side has no matrix of this name and shape.
    Unpaired,
    /// The side has no such matrix.
    Absent,
    /// What its bytes say is not known.
    Unseen,
    /// There is no update that this could be a share of.
    NoUpdate,
    /// Its singular vectors are arbitrary: all its values are equal or below the floor.
    Degenerate,
}

impl Why {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 20] = [
        Self::NonFinite,
        Self::AllZero,
        Self::BelowFloor,
        Self::BelowExactFloor,
        Self::LowRank,
        Self::TooFewValues,
        Self::NoTail,
        Self::NoNoise,
        Self::FallsToFloor,
        Self::NotConverged,
        Self::Overflow,
        Self::NotApplicable,
        Self::Failed,
        Self::NotDecomposed,
        Self::ZeroBase,
        Self::Unpaired,
        Self::Absent,
        Self::Unseen,
        Self::NoUpdate,
        Self::Degenerate,
    ];

    /// The code in reports, settings and `--allow-missing`; it does not change. Both floors have one code.
    pub fn code(self) -> &'static str {
        self.told().0
    }

    /// The first reason with that code.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.code() == code)
    }

    /// The reason that is written as `words`: reports once had no codes.
    pub fn parse(words: &str) -> Option<Self> {
        match words {
            // As reports were written before.
            "the result does not fit a double" => Some(Self::Overflow),
            _ => Self::ALL.into_iter().find(|why| why.told().1 == words),
        }
    }

    /// Whether the value lies below the floor of its route, which bounds it.
    pub fn is_below_floor(self) -> bool {
        matches!(self, Self::BelowFloor | Self::BelowExactFloor)
    }

    /// Code and words.
    fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::NonFinite => ("nonfinite", "the weight holds NaN or infinite entries"),
            Self::AllZero => ("zero_matrix", "every entry is zero"),
            Self::BelowFloor => {
                ("below_floor", "below the accuracy floor of the spectrum; `--precision exact` resolves it")
            }
            Self::BelowExactFloor => (
                "below_floor",
                "below the accuracy floor of the exact route, where a value cannot be told from zero",
            ),
            Self::LowRank => {
                ("low_rank", "zero by construction: the update has fewer directions than rows and columns")
            }
            Self::TooFewValues => ("too_few_values", "too few positive eigenvalues"),
            Self::NoTail => ("no_tail", "no candidate tail can be fitted"),
            Self::NoNoise => ("no_noise", "no resolved singular value counts as noise"),
            Self::FallsToFloor => {
                ("falls_to_floor", "the fall ends below the accuracy floor of the spectrum")
            }
            Self::NotConverged => ("not_converged", "the decomposition did not converge"),
            Self::Overflow => (
                "overflow",
                "too large or too small for a double (1.8e308 to 2.2e-308); scale the weights, or the adapter's alpha",
            ),
            Self::NotApplicable => ("not_applicable", "not defined for this row"),
            Self::Failed => ("failed", "the matrix could not be read or decomposed"),
            Self::NotDecomposed => {
                ("not_decomposed", "unchanged, so it was not decomposed; `--all` measures it, too")
            }
            Self::ZeroBase => ("zero_base", "the base's value is 0"),
            Self::Unpaired => ("unpaired", "the other side has no matrix of this name and shape"),
            Self::Absent => ("absent", "there is no such matrix on this side"),
            Self::Unseen => ("unseen", "what its bytes say is not known, here or in the report of it"),
            Self::NoUpdate => ("no_update", "nothing was changed"),
            Self::Degenerate => ("degenerate", "its singular values do not tell their directions apart"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.told().1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_found_by_its_code_and_by_its_words() {
        for (i, why) in Why::ALL.into_iter().enumerate() {
            assert_eq!((why as usize, Why::of_code(why.code()).map(Why::code)), (i, Some(why.code())));
            assert_eq!(Why::parse(&why.to_string()), Some(why));
        }
        assert_eq!(Why::of_code("zero"), None);
    }
}
