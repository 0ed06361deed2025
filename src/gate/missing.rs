//! Values that could not be measured: whether the base had one, and which of them a rule passes over.

use crate::report::{Aspect, Column, ColumnKey, MissingReason, Row, Standing, Value};

use super::likeliest;

/// Which values that could not be measured a rule passes over; by default none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MissingPolicy {
    /// Those that the base lacks, too; all if there is no base.
    pub lacking: bool,
    /// Those of these reasons, whatever the base has.
    pub reasons: Vec<MissingReason>,
}

/// A value that could not be measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gap {
    /// Why.
    pub(super) why: MissingReason,
    /// The same in words.
    pub(super) words: String,
    /// Whether the base had a value, or all that was needed for one.
    pub(super) lost: bool,
    /// The base's value, where there is one.
    pub(super) base: Option<f64>,
}

impl MissingPolicy {
    /// Ignores values that the base lacks, too.
    pub fn lacking() -> Self {
        Self { lacking: true, reasons: vec![] }
    }

    /// Whether a rule passes over a value that is missing like this.
    pub(super) fn allows(&self, gap: &Gap) -> bool {
        self.names(gap.why) || (self.lacking && !gap.lost)
    }

    /// Whether a reason is named, by its code.
    pub(super) fn names(&self, why: MissingReason) -> bool {
        self.reasons.iter().any(|named| named.code() == why.code())
    }
}

/// The reason that goes by `code`.
///
/// # Errors
/// The error, with the closest code.
pub fn reason(code: &str) -> Result<MissingReason, String> {
    MissingReason::of_code(code.trim()).ok_or_else(|| {
        let mut codes: Vec<&str> = MissingReason::ALL.iter().map(|reason| reason.code()).collect();
        codes.dedup();
        let hint = match likeliest(code, codes.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", codes.join(", ")),
        };
        format!("no reason is called `{code}`; {hint}")
    })
}

/// Why a row has no value in `column`, and the base's value.
pub(super) fn gap(row: &Row, column: &'static Column) -> Gap {
    let key = column.means();
    let (why, words) = match (row.values.of(key), &row.failed) {
        (_, Some(failure)) => (MissingReason::Failed, failure.clone()),
        (Some(Value::Missing(why)), None) => (why, why.to_string()),
        _ => (MissingReason::NotApplicable, "not measured".to_owned()),
    };
    let base = row.values.of(key.of(Aspect::Base)).and_then(Value::number);
    Gap { why, words, lost: lost(row, key, why), base: base.filter(|_| key.aspect != Aspect::Base) }
}

/// Whether the base has the value that is missing.
fn lost(row: &Row, key: ColumnKey<'_>, why: MissingReason) -> bool {
    // In a series, what an earlier step had is lost where the last one has it no more.
    if let Some(course) = &row.course {
        let numbers = course.numbers(key.metric.key).unwrap_or_default();
        let last = row.values.of(key.of(Aspect::Value)).and_then(Value::number);
        return last.is_none() && numbers.iter().any(Option::is_some);
    }
    if row.comparison.is_none() || key.aspect == Aspect::Base {
        return false;
    }
    match row.values.of(key.of(Aspect::Base)) {
        _ if row.failed.is_some() => true,
        // The base has the matrix. That its value was not measured does not excuse a missing value of the tuned side.
        Some(Value::Missing(MissingReason::NotDecomposed)) => why != MissingReason::NotDecomposed,
        Some(base) => base.number().is_some(),
        // A number of the pair has no counterpart in the base: it is lost unless the base alone is the reason.
        None => why != MissingReason::NoUpdate && is_sound(row),
    }
}

/// Whether the base has the matrix, finite and not of zeros alone.
fn is_sound(row: &Row) -> bool {
    let numbers = row.values.iter().filter_map(|(column, value)| {
        let ColumnKey { metric, aspect, .. } = column.means();
        Some((metric.key, value.number().filter(|_| aspect == Aspect::Base)?))
    });
    let (mut has_numbers, mut is_finite, mut is_zero) = (false, true, false);
    for (metric, number) in numbers {
        has_numbers = true;
        match metric {
            "nonfinite_count" => is_finite = number <= 0.0,
            // σ₁, or by WeightWatcher's names its square.
            "spectral_norm" | "max_abs" => is_zero |= number <= 0.0,
            _ => {}
        }
    }
    let status = row.comparison.as_ref().map(|comparison| comparison.status);
    // Of a matrix that is gone or reshaped the base may not have been measured; it is there all the same.
    let is_there = has_numbers || matches!(status, Some(Standing::Removed | Standing::Reshaped));
    is_there && status != Some(Standing::Added) && is_finite && !is_zero
}

/// Whether there was nothing to measure: nothing changed, neither side has the matrix, or no matrix of its kind has the value.
pub(super) fn is_vacuous(row: &Row, column: &'static Column, why: MissingReason) -> bool {
    let base = row.values.of(column.means().of(Aspect::Base));
    let nowhere =
        matches!(base, None | Some(Value::Missing(MissingReason::Absent | MissingReason::Unpaired)));
    // What a row cannot have by its nature, no rule asks of it.
    let by_nature =
        matches!(why, MissingReason::NoEigenvalues | MissingReason::NotStateSpace | MissingReason::NoPartner);
    matches!(why, MissingReason::NoUpdate | MissingReason::NotMatrix)
        || (why == MissingReason::Absent && nowhere && row.course.is_none())
        || (by_nature && base.and_then(Value::number).is_none())
}
