//! Which columns the table of a comparison shows.

use crate::report::{Aspect, Column};
use crate::study::Depth;

/// Columns of the table, most wanted first: with weights on both sides, and from reports.
const SHOWN: [&str; 8] = [
    "delta_frobenius_ratio",
    "spectral_norm_change",
    "effective_rank_change",
    "alignment",
    "subspace_overlap",
    "delta_effective_rank",
    "stable_rank_change",
    "alpha_change",
];
const SHOWN_REPORTS: [&str; 10] = [
    "effective_rank_change",
    "spectral_norm_change",
    "stable_rank_change",
    "alpha_change",
    "frobenius_norm_change",
    "log_norm_change",
    "logit_bound_change",
    "ov_spectral_norm_change",
    "qk_spectral_norm_change",
    "copying_difference",
];
/// The same without a decomposition.
const SHOWN_BYTES: [&str; 6] =
    ["changed_share", "nonfinite_count", "max_abs", "max_abs_change", "zero_rows", "zero_rows_difference"];
/// Columns of each of several tuned sides.
const SHOWN_SIDES: [&str; 4] =
    ["delta_frobenius_ratio", "delta_effective_rank", "alignment", "subspace_overlap"];
/// Columns of two reports of a command whose table has others.
const SHOWN_OF: [(&str, &[&str]); 4] = [
    (
        "features",
        &[
            "effective_rank_change",
            "nuclear_norm_change",
            "matrix_nuclear_norm_change",
            "matrix_entropy_difference",
            "two_nn_dimension_change",
            "mle_dimension_change",
            "ph_dimension_change",
            "partner_cosine_difference",
            "next_cosine_difference",
        ],
    ),
    (
        "lineage",
        &["log10_p_base", "log10_p", "lineage_z_base", "lineage_z", "mean_cosine_base", "mean_cosine"],
    ),
    (
        "scaling",
        &[
            "width_exponent_base",
            "width_exponent",
            "shape_gap_base",
            "shape_gap",
            "decay_ratio_base",
            "decay_ratio",
        ],
    ),
    (
        "compare",
        &[
            "mean_overlap_base",
            "mean_overlap",
            "next_overlap_difference",
            "right_mean_overlap_base",
            "right_mean_overlap",
            "right_next_overlap_difference",
        ],
    ),
];

/// The columns most wanted for one tuned side, and for each of several; `made_by` is the command of reports, where there are no
/// weights.
pub(super) fn wanted(
    depth: Depth,
    made_by: Option<&str>,
) -> (&'static [&'static str], &'static [&'static str]) {
    let own = SHOWN_OF.iter().find(|(command, _)| made_by == Some(command));
    match (depth, own, made_by) {
        (Depth::Bytes, ..) => (&SHOWN_BYTES, &SHOWN_BYTES[..2]),
        (_, Some((_, own)), _) => (own, &own[..2]),
        (_, None, Some(_)) => (&SHOWN_REPORTS, &SHOWN_REPORTS[..3]),
        (_, None, None) => (&SHOWN, &SHOWN_SIDES),
    }
}

/// The table's columns: of those that are there, most wanted first; `wanted` for one tuned side and for each of several.
pub(super) fn columns(
    columns: &[&'static Column],
    names: &[String],
    (wanted, of_each): (&[&str], &[&str]),
) -> Vec<&'static str> {
    if let [_] = names {
        let there = |key: &&str| columns.iter().map(|column| column.key).find(|known| known == key);
        return wanted.iter().filter_map(there).collect();
    }
    // Of each as many as a page has room for. A metric's sides stand beside each other.
    let each = match names.len() {
        ..=2 => 3,
        3 => 2,
        _ => 1,
    };
    let is_there = |key: &&&str| columns.iter().any(|column| column.means().metric.key == **key);
    let of_each: Vec<&str> = of_each.iter().filter(is_there).take(each).copied().collect();
    let sides = of_each.iter().flat_map(|key| names.iter().map(move |name| (name.as_str(), *key)));
    let there = |(side, metric)| {
        let is = |column: &&&'static Column| {
            let key = column.means();
            (key.metric.key, key.aspect, key.side) == (metric, Aspect::Value, Some(side))
        };
        columns.iter().find(is).map(|column| column.key)
    };
    sides.filter_map(there).collect()
}
