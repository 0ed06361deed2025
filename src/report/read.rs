//! A report, read back into the types that it was written from.
//!
//! Only what `docs/report.md` promises is read, and all of it must be there; keys that it does not name are passed over.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::{Column, Course, Group, MissingReason, Numbers, Report, Row, RowValues, Value, version1};
use crate::error::brief;

/// Resolves a column key in a report whose columns, rows and groups are not read yet.
pub type Meaning<'m> = &'m dyn Fn(&Report, &str) -> &'static Column;

impl Report {
    /// The report that is written as `json`, of this schema or the first.
    ///
    /// # Errors
    /// What is missing or invalid.
    pub fn read(json: Map<String, Json>, meaning: Meaning<'_>) -> Result<Self, String> {
        let mut json =
            if json.get("schema") == Some(&Json::from(1)) { version1::converted(json) } else { json };
        let keys: Vec<String> = take(&mut json, "columns")?;
        let rows: Vec<Map<String, Json>> = take(&mut json, "rows")?;
        let groups: Vec<Map<String, Json>> =
            if json.contains_key("groups") { take(&mut json, "groups")? } else { vec![] };
        // They become keys of another report and words of its rules.
        let settings = json.get("settings").and_then(Json::as_object).into_iter().flat_map(Map::keys);
        if let Some(odd) = keys.iter().chain(settings).find(|key| !is_key(key)) {
            return Err(format!("`{}` is not a name of a column or a setting", brief(odd)));
        }
        let mut report: Self = serde_json::from_value(Json::Object(json)).map_err(|e| e.to_string())?;
        report.columns = keys.iter().map(|key| meaning(&report, key)).collect();
        let columns: Arc<[_]> = report.columns.as_slice().into();
        let steps: Arc<[f64]> = report.steps.iter().map(|step| step.step as f64).collect();
        let row = |json| self::row(json, &columns, &steps);
        report.rows = rows.into_iter().map(row).collect::<Result<_, _>>()?;
        report.groups = groups.into_iter().map(|row| group(row, &columns)).collect::<Result<_, _>>()?;
        let mut names = BTreeSet::new();
        if let Some(row) = report.rows.iter().find(|row| !names.insert(row.name.as_str())) {
            return Err(format!("two rows are called `{}`", brief(&row.name)));
        }
        Ok(report)
    }
}

/// Whether `key` is a word as svdkit writes them: `alpha_change@first.run#2`.
fn is_key(key: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || "_.-@#%".contains(c);
    key.starts_with(|c: char| c.is_alphabetic() || c == '_') && key.chars().all(inner)
}

fn row(
    mut json: Map<String, Json>,
    columns: &Arc<[&'static Column]>,
    steps: &Arc<[f64]>,
) -> Result<Row, String> {
    let name = json.get("name").and_then(Json::as_str).map_or_else(String::new, brief);
    let wrong = |what: String| format!("row `{name}`: {what}");
    let course = json.shift_remove("course").map(|course| Course::read(course, columns, steps));
    let course = course.transpose().map_err(wrong)?.map(Box::new);
    // What failed has no numbers.
    let none = Arc::default();
    let columns = if json.contains_key("failed") { &none } else { columns };
    let values = measurements(&mut json, columns, &|key| Err(format!("lacks the number `{}`", brief(key))));
    let values = values.map_err(wrong)?;
    let row: Row = serde_json::from_value(Json::Object(json)).map_err(|e| wrong(e.to_string()))?;
    Ok(Row { values, course, ..row })
}

/// A group has numbers in some of the columns.
fn group(mut json: Map<String, Json>, columns: &Arc<[&'static Column]>) -> Result<Group, String> {
    let values = measurements(&mut json, columns, &|_| Ok(()))?;
    let group: Group = serde_json::from_value(Json::Object(json)).map_err(|e| e.to_string())?;
    Ok(Group { values, ..group })
}

/// Takes the numbers in `columns` out of `json`; `lacking` says what to do where there is none.
fn measurements(
    json: &mut Map<String, Json>,
    columns: &Arc<[&'static Column]>,
    lacking: &dyn Fn(&str) -> Result<(), String>,
) -> Result<RowValues, String> {
    let missing = json.remove("missing").unwrap_or_default();
    let mut values = Vec::with_capacity(columns.len());
    for column in columns.iter() {
        let key = column.key;
        let value = match json.shift_remove(key) {
            Some(Json::Number(n)) => match (n.as_u64(), n.as_f64()) {
                (Some(count), _) => Value::Count(count),
                (None, Some(x)) => Value::real(x),
                (None, None) => return Err(format!("`{key}` is {n}")),
            },
            Some(Json::Null) => {
                let reason = missing.get(key).and_then(|reason| MissingReason::deserialize(reason).ok());
                Value::Missing(reason.ok_or_else(|| format!("`{key}` is missing without a known reason"))?)
            }
            _ => {
                lacking(key)?;
                values.push(None);
                continue;
            }
        };
        values.push(Some(value));
    }
    Ok(RowValues::new(columns, values.into_iter().collect::<Numbers>()))
}

fn take<T: DeserializeOwned>(json: &mut Map<String, Json>, key: &str) -> Result<T, String> {
    let value = json.shift_remove(key).ok_or_else(|| format!("missing field `{key}`"))?;
    serde_json::from_value(value).map_err(|e| format!("`{key}`: {e}"))
}
