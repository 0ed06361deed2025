//! The checkpoints of a run in order, and the course that the numbers of a row take over them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value as Json};

use super::{Aspect, Column, MissingReason, Numbers, Value};
use crate::error::brief;

/// One checkpoint of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The training step; with `order: given` its place, from 1.
    pub step: u64,
    /// Where it lies, as typed.
    pub path: String,
    /// Why nothing of it was measured, where that is so: it is half-written, or of another kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The first step with the same matrices, bit by bit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u64>,
    /// How many matrices differ from those of the measured step before; none of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<u64>,
}

/// The numbers of a row at each step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Course {
    /// The metrics.
    pub columns: Arc<[&'static Column]>,
    /// The steps.
    pub steps: Arc<[f64]>,
    /// For each step the values of the metrics.
    pub values: Vec<Numbers>,
    /// The positions of steps at which its bytes are those of the measured step before.
    pub unchanged: Vec<usize>,
}

impl Course {
    /// The position of the metric `key`; nothing if it was not measured.
    pub fn place(&self, key: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.key == key)
    }

    /// The values of the metric `key`, one a step; nothing if it was not measured.
    pub fn of(&self, key: &str) -> Option<Vec<Value>> {
        let at = self.place(key)?;
        let value = |numbers: &Numbers| numbers.get(at).unwrap_or(Value::Missing(MissingReason::Absent));
        Some(self.values.iter().map(value).collect())
    }

    /// The numbers of the metric `key`, one a step, as far as they could be measured.
    pub fn numbers(&self, key: &str) -> Option<Vec<Option<f64>>> {
        Some(self.of(key)?.into_iter().map(Value::number).collect())
    }

    /// Leaves out all metrics but those among `columns`.
    pub fn keep(&mut self, columns: &[&'static Column]) {
        let is_kept: Vec<bool> = self.columns.iter().map(|column| columns.contains(column)).collect();
        if is_kept.iter().all(|kept| *kept) {
            return;
        }
        let among = |i: &usize| is_kept[*i];
        self.columns = (0..is_kept.len()).filter(among).map(|i| self.columns[i]).collect();
        for numbers in &mut self.values {
            *numbers =
                numbers.iter().enumerate().filter(|(i, _)| is_kept[*i]).map(|(_, value)| value).collect();
        }
    }

    /// What `json` says, as [`Serialize`] writes it, in those of `columns` that are metrics.
    ///
    /// # Errors
    /// What is missing or invalid.
    pub(super) fn read(json: Json, columns: &[&'static Column], steps: &Arc<[f64]>) -> Result<Self, String> {
        let wrong = |what: &str| format!("`course`: {what}");
        let Json::Object(mut json) = json else { return Err(wrong("is not an object")) };
        let take = |json: &mut Map<String, Json>, key: &str| match json.remove(key) {
            Some(Json::Array(items)) => Ok(items),
            _ => Err(wrong(&format!("lacks the list `{}`", brief(key)))),
        };
        let missing: BTreeMap<String, Vec<Option<String>>> = match json.remove("missing") {
            Some(missing) => serde_json::from_value(missing).map_err(|e| wrong(&e.to_string()))?,
            None => BTreeMap::new(),
        };
        let is_same = |step: &Json| steps.iter().position(|known| step.as_f64() == Some(*known));
        let unchanged = take(&mut json, "unchanged_at")?.iter().filter_map(is_same).collect();
        let metrics: Vec<&'static Column> =
            columns.iter().copied().filter(|column| column.means().aspect == Aspect::Value).collect();
        let mut by_step: Vec<Vec<Option<Value>>> = vec![vec![]; steps.len()];
        for column in &metrics {
            let values = take(&mut json, column.key)?;
            if values.len() != steps.len() {
                return Err(wrong(&format!(
                    "`{}` has another number of values than there are steps",
                    column.key
                )));
            }
            for (i, value) in values.iter().enumerate() {
                let why = || missing.get(column.key)?.get(i)?.as_deref().and_then(MissingReason::of_code);
                by_step[i].push(Some(match (value.as_u64(), value.as_f64()) {
                    (Some(count), _) => Value::Count(count),
                    (None, Some(x)) => Value::real(x),
                    (None, None) => Value::Missing(why().ok_or_else(|| {
                        wrong(&format!("`{}` is missing without a known reason", column.key))
                    })?),
                }));
            }
        }
        let values = by_step.into_iter().map(|values| values.into_iter().collect()).collect();
        Ok(Self { columns: metrics.into(), steps: Arc::clone(steps), values, unchanged })
    }
}

/// The steps without a change, then a list for each metric; a missing value is `null`, with its code under `missing`.
impl Serialize for Course {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let step = |at: &usize| self.steps.get(*at).map(|step| *step as u64);
        map.serialize_entry("unchanged_at", &self.unchanged.iter().filter_map(step).collect::<Vec<_>>())?;
        let mut missing: Map<String, Json> = Map::new();
        for column in self.columns.iter() {
            let values = self.of(column.key).unwrap_or_default();
            let number = |value: &Value| match value {
                Value::Count(n) => Json::from(*n),
                Value::Real(x) => Json::from(*x),
                Value::Missing(_) => Json::Null,
            };
            map.serialize_entry(column.key, &values.iter().map(number).collect::<Vec<_>>())?;
            if values.iter().any(|value| value.number().is_none()) {
                let code = |value: &Value| match value {
                    Value::Missing(why) => Json::from(why.code()),
                    Value::Count(_) | Value::Real(_) => Json::Null,
                };
                missing.insert(column.key.to_owned(), values.iter().map(code).collect());
            }
        }
        if !missing.is_empty() {
            map.serialize_entry("missing", &missing)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Accuracy, Format, Quantity};

    static NORM: Column = Column {
        key: "norm",
        label: "norm",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "",
        range: "",
        source: "",
    };
    static COUNT: Column = Column { key: "count", format: Format::Count, ..NORM };

    #[test]
    fn a_course_reads_back_as_it_was_written() {
        let columns: Arc<[&'static Column]> = vec![&NORM, &COUNT].into();
        let steps: Arc<[f64]> = vec![10.0, 20.0, 40.0].into();
        let row = |norm, count| [Some(norm), Some(count)].into_iter().collect();
        let course = Course {
            columns: Arc::clone(&columns),
            steps: Arc::clone(&steps),
            values: vec![
                row(Value::Real(0.1 + 0.2), Value::Count(3)),
                row(Value::Missing(MissingReason::Failed), Value::Missing(MissingReason::Failed)),
                row(Value::Real(2.0), Value::Count(0)),
            ],
            unchanged: vec![2],
        };
        let json = serde_json::to_value(&course).expect("plain data");
        assert_eq!(json["norm"], serde_json::json!([0.1 + 0.2, null, 2.0]));
        assert_eq!(json["missing"]["count"], serde_json::json!([null, "failed", null]));
        assert_eq!(json["unchanged_at"], serde_json::json!([40]));
        assert_eq!(Course::read(json.clone(), &columns, &steps), Ok(course));
        let lacking = |change: &dyn Fn(&mut Json)| {
            let mut json = json.clone();
            change(&mut json);
            Course::read(json, &columns, &steps).expect_err("invalid")
        };
        assert!(lacking(&|json| json["norm"] = Json::from(vec![1.0])).contains("another number of values"));
        assert!(lacking(&|json| json["missing"] = Json::Null).contains("course"));
        assert!(lacking(&|json| json["count"] = Json::Null).contains("lacks the list `count`"));
    }
}
