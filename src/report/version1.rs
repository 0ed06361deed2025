//! Reports of schema 1, as they were kept for baselines: the same JSON in the words of schema 2.
//!
//! Schema 1 gave reasons in English, later with codes beside. Its words stand here as they were then; those of today may
//! change.

use serde_json::{Map, Value as Json, json};

use super::MissingReason;

/// Every reason as schema 1 worded it.
const REASONS: [(&str, MissingReason); 21] = [
    ("the weight holds NaN or infinite entries", MissingReason::NonFinite),
    ("every entry is zero", MissingReason::AllZero),
    ("below the accuracy floor of the spectrum; `--precision exact` resolves it", MissingReason::BelowFloor),
    (
        "below the accuracy floor of the exact route, where a value cannot be told from zero",
        MissingReason::BelowExactFloor,
    ),
    ("zero by construction: the update has fewer directions than rows and columns", MissingReason::LowRank),
    ("too few positive eigenvalues", MissingReason::TooFewValues),
    ("no candidate tail can be fitted", MissingReason::NoTail),
    ("no resolved singular value counts as noise", MissingReason::NoNoise),
    ("the fall ends below the accuracy floor of the spectrum", MissingReason::FallsToFloor),
    ("the decomposition did not converge", MissingReason::NotConverged),
    ("the result does not fit a double", MissingReason::Overflow),
    (
        "too large or too small for a double (1.8e308 to 2.2e-308); scale the weights, or the adapter's alpha",
        MissingReason::Overflow,
    ),
    ("not defined for this row", MissingReason::NotApplicable),
    ("the matrix could not be read or decomposed", MissingReason::Failed),
    ("unchanged, so it was not decomposed; `--all` measures it, too", MissingReason::NotDecomposed),
    ("the base's value is 0", MissingReason::ZeroBase),
    ("the other side has no matrix of this name and shape", MissingReason::Unpaired),
    ("there is no such matrix on this side", MissingReason::Absent),
    ("what its bytes say is not known, here or in the report of it", MissingReason::Unseen),
    ("nothing was changed", MissingReason::NoUpdate),
    ("its singular values do not tell their directions apart", MissingReason::Degenerate),
];

/// `report` as schema 2 has it. What makes no sense stays, for the reader to refuse.
pub(super) fn converted(mut report: Map<String, Json>) -> Map<String, Json> {
    report.insert("schema".to_owned(), json!(2));
    for group in objects(report.get_mut("groups")) {
        convert_reasons(group);
    }
    for row in objects(report.get_mut("rows")) {
        convert_reasons(row);
        if let Some(Json::Array(flags)) = row.get_mut("flags") {
            flags.iter_mut().for_each(|flag| *flag = coded(flag.as_str()));
        }
    }
    for verdict in objects(report.get_mut("verdicts")) {
        let Some(mut offenders) = verdict.shift_remove("findings") else { continue };
        for offender in objects(Some(&mut offenders)) {
            if let Some(code) = offender.get_mut("missing") {
                *code = coded(code.as_str());
            }
        }
        verdict.insert("offenders".to_owned(), offenders);
    }
    report
}

fn convert_reasons(row: &mut Map<String, Json>) {
    let codes = row.shift_remove("missing_codes");
    if let Some(Json::Object(missing)) = row.get_mut("missing") {
        for (key, words) in missing {
            let code = codes.as_ref().and_then(|codes| codes.get(key)?.as_str());
            *words = reason(words.as_str().unwrap_or_default(), code);
        }
    }
}

/// A reason by its words, which told apart what had one code, or without known words by its code.
fn reason(words: &str, code: Option<&str>) -> Json {
    match REASONS.iter().find(|(old, _)| *old == words) {
        Some((_, reason)) => json!(reason),
        None => coded(code),
    }
}

fn coded(code: Option<&str>) -> Json {
    json!({ "code": code })
}

fn objects(list: Option<&mut Json>) -> impl Iterator<Item = &mut Map<String, Json>> {
    let items = list.and_then(Json::as_array_mut).into_iter().flatten();
    items.filter_map(Json::as_object_mut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(row: &Json, expected: &Json) {
        let Json::Object(report) = json!({ "schema": 1, "rows": [row] }) else { return };
        let converted = converted(report);
        assert_eq!((&converted["schema"], &converted["rows"][0]), (&json!(2), expected));
    }

    #[test]
    fn a_reason_is_known_by_its_words_or_its_code() {
        let exact = "below the accuracy floor of the exact route, where a value cannot be told from zero";
        check(
            &json!({ "missing": { "a": "every entry is zero", "b": exact } }),
            &json!({ "missing": {
                "a": MissingReason::AllZero,
                "b": MissingReason::BelowExactFloor
            } }),
        );
        check(
            &json!({ "missing": { "b": exact }, "missing_codes": { "b": "below_floor" } }),
            &json!({ "missing": { "b": MissingReason::BelowExactFloor } }),
        );
        check(
            &json!({ "missing": { "a": "in other words" }, "missing_codes": { "a": "no_tail" } }),
            &json!({ "missing": { "a": { "code": "no_tail" } } }),
        );
        check(
            &json!({ "missing": { "a": "in other words" } }),
            &json!({ "missing": { "a": { "code": null } } }),
        );
    }

    #[test]
    fn flags_and_offenders_have_codes() {
        check(&json!({ "flags": ["low_n_tail"] }), &json!({ "flags": [{ "code": "low_n_tail" }] }));
        let verdicts = json!([{ "findings": [{ "matrix": "a", "missing": "no_tail" }, { "matrix": "b" }] }]);
        let Json::Object(report) = json!({ "verdicts": verdicts }) else { return };
        let offenders = json!([{ "matrix": "a", "missing": { "code": "no_tail" } }, { "matrix": "b" }]);
        assert_eq!(converted(report)["verdicts"], json!([{ "offenders": offenders }]));
    }
}
