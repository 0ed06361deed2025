//! Cautions about a row: each with a stable code for programs and words for people.

use serde::{Deserialize, Deserializer};

use super::coded::{Coded, coded};

coded! {
    /// Flags of a row.
    pub enum Flag {
        /// The tail that an exponent was fitted on is short.
        LowNTail = "low_n_tail", "an exponent was fitted on fewer than 50 values";
        /// The same of the exponent of the whole matrix, beside one that is pooled.
        LowNWholeTail = "low_n_whole_tail", "the exponent of the whole matrix was fitted on fewer than 50 values";
        /// The largest singular value was sought alone, and not found so.
        LargestByValues =
            "largest_by_values", "σ₁ did not converge by itself, so all singular values were computed";
        /// Cosines are known between bounds only.
        CosineBounds = "cosine_bounds", "cosines are bounds that decide; `--exact` gives the cosines themselves";
        /// Either side of a slice may be the outputs.
        OrientationUnknown =
            "orientation_unknown", "slices of a stack: nothing tells which side of each is the outputs";
        /// An adapter stores no scale.
        ScaleAssumed = "scale_assumed", "no scale is stored: 1 was taken";
        /// An adapter's factors and its configuration disagree.
        RankNotAsConfigured =
            "rank_not_as_configured", "the configuration names another rank: that of the factors was taken";
        /// An adapter's initialization changed the base.
        MovedBase =
            "moved_base", "training began by taking a part out of the base: this is no update to the original weights";
        /// The fit of the noise bulk hangs on the last digits.
        BulkByRounding =
            "bulk_by_rounding", "few distinct eigenvalues: rounding decides the fitted bulk, num_spikes to bulk_min";
        /// The base's entries under other signs.
        SignsDiffer = "signs_differ", "entries differ only in sign";
        /// The base's entries times a factor.
        ScaledCopy = "scaled_copy", "the base's entries times one factor, to within rounding";
        /// The base's entries in other places.
        LikelyPermuted =
            "likely_permuted", "the base's entries in other places: rows or columns likely re-ordered";
        /// The base's transpose.
        LikelyTransposed = "likely_transposed", "same singular values, sides swapped: likely transposed";
        /// The base's singular values with other directions.
        LikelyRotated =
            "likely_rotated", "same singular values, other entries: likely rotated or reflected, or re-ordered and then rounded";
    }
}

/// Flags as they are read back: one of a later version that is not known here is passed over.
pub(super) fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Flag>, D::Error> {
    let flags: Vec<Coded> = Vec::deserialize(deserializer)?;
    Ok(flags.iter().filter_map(|flag| Flag::of_code(&flag.code)).collect())
}
