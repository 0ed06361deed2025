//! The numbers of one row as they are kept: hundreds of thousands of rows have dozens each, so they lie close together.

use std::sync::Arc;

use serde::ser::{Error, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Map;

use super::{Column, ColumnKey, Measurements, MissingReason, Value};

/// Values without their columns; nothing where a column is not known.
///
/// A byte each for its kind, and eight for a number other than zero.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Numbers {
    kinds: Box<[u8]>,
    bits: Box<[u64]>,
}

const ABSENT: u8 = 0;
const COUNT: u8 = 1;
const REAL: u8 = 2;
/// The first reason; the others follow.
const MISSING: u8 = 3;
/// The commonest numbers take no more than their kind: no entry, no change.
const NO_COUNT: u8 = 254;
const ZERO: u8 = 255;

impl Numbers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The one at `i`.
    pub fn get(&self, i: usize) -> Option<Value> {
        let before = self.kinds.get(..i)?.iter().filter(|kind| is_number(**kind)).count();
        self.value(*self.kinds.get(i)?, before)
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<Value>> + Clone {
        let numbered = self.kinds.iter().scan(0, |before, kind| {
            let at = *before;
            *before += usize::from(is_number(*kind));
            Some((*kind, at))
        });
        numbered.map(|(kind, at)| self.value(kind, at))
    }

    /// The value of that kind, whose number is the one at `at` if it is one.
    fn value(&self, kind: u8, at: usize) -> Option<Value> {
        match kind {
            ABSENT => None,
            COUNT => Some(Value::Count(*self.bits.get(at)?)),
            REAL => Some(Value::Real(f64::from_bits(*self.bits.get(at)?))),
            NO_COUNT => Some(Value::Count(0)),
            ZERO => Some(Value::Real(0.0)),
            reason => MissingReason::ALL.get(usize::from(reason - MISSING)).copied().map(Value::Missing),
        }
    }
}

fn is_number(kind: u8) -> bool {
    kind == COUNT || kind == REAL
}

impl FromIterator<Option<Value>> for Numbers {
    fn from_iter<I: IntoIterator<Item = Option<Value>>>(values: I) -> Self {
        let mut bits = vec![];
        let kinds = values.into_iter().map(|value| match value {
            None => ABSENT,
            Some(Value::Count(0)) => NO_COUNT,
            // Not the negative one.
            Some(Value::Real(x)) if x.to_bits() == 0 => ZERO,
            Some(Value::Count(n)) => {
                bits.push(n);
                COUNT
            }
            Some(Value::Real(x)) => {
                bits.push(x.to_bits());
                REAL
            }
            Some(Value::Missing(reason)) => {
                let at = MissingReason::ALL.iter().position(|known| *known == reason).unwrap_or(0);
                MISSING + u8::try_from(at).expect("few reasons")
            }
        });
        Self { kinds: kinds.collect(), bits: bits.into() }
    }
}

impl std::fmt::Debug for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A value as a record has it: a number, or the code of the reason why there is none.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Count(u64),
    Real(f64),
    Missing(MissingReason),
}

/// A list of numbers where people read it, else as it lies in memory.
impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            // All eight bytes of each: a count is not often small enough to be shorter.
            let bits: Vec<f64> = self.bits.iter().map(|bits| f64::from_bits(*bits)).collect();
            return (&self.kinds, bits).serialize(serializer);
        }
        let number = |value| match value {
            Value::Count(n) => Number::Count(n),
            Value::Real(x) => Number::Real(x),
            Value::Missing(reason) => Number::Missing(reason),
        };
        serializer.collect_seq(self.iter().map(|value| value.map(number)))
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            let (kinds, bits) = <(Box<[u8]>, Vec<f64>)>::deserialize(deserializer)?;
            if kinds.iter().filter(|kind| is_number(**kind)).count() != bits.len() {
                return Err(de::Error::custom("another number of numbers"));
            }
            return Ok(Self { kinds, bits: bits.into_iter().map(f64::to_bits).collect() });
        }
        let value = |number| match number {
            Number::Count(n) => Value::Count(n),
            Number::Real(x) => Value::Real(x),
            Number::Missing(reason) => Value::Missing(reason),
        };
        let written = Vec::<Option<Number>>::deserialize(deserializer)?;
        Ok(written.into_iter().map(|number| number.map(value)).collect())
    }
}

/// The numbers of one row in the columns that all rows share.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowValues {
    columns: Arc<[&'static Column]>,
    numbers: Numbers,
}

impl RowValues {
    /// `numbers` in `columns`.
    pub fn new(columns: &Arc<[&'static Column]>, numbers: Numbers) -> Self {
        Self { columns: Arc::clone(columns), numbers }
    }

    /// The same, in `columns` where those are theirs.
    pub fn in_columns(columns: &Arc<[&'static Column]>, measured: Measurements) -> Self {
        let theirs =
            || measured.0.iter().map(|(column, _)| column.key).eq(columns.iter().map(|column| column.key));
        if !theirs() {
            return measured.into();
        }
        Self::new(columns, measured.0.into_iter().map(|(_, value)| Some(value)).collect())
    }

    /// The value of column `key`.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.columns.iter().position(|column| column.key == key).and_then(|i| self.numbers.get(i))
    }

    /// The value of the column that holds what `key` says.
    pub fn of(&self, key: ColumnKey<'_>) -> Option<Value> {
        self.columns.iter().position(|column| column.holds(key)).and_then(|i| self.numbers.get(i))
    }

    /// Puts `value` in the place of the one of column `key`, which is there.
    pub fn set(&mut self, key: &str, value: Value) {
        let numbers = self.columns.iter().zip(self.numbers.iter());
        self.numbers =
            numbers.map(|(column, own)| if column.key == key { Some(value) } else { own }).collect();
    }

    /// Every value with its column, in column order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Column, Value)> + Clone {
        self.columns.iter().zip(self.numbers.iter()).filter_map(|(column, value)| Some((*column, value?)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

impl From<Measurements> for RowValues {
    fn from(Measurements(values): Measurements) -> Self {
        let (columns, values): (Vec<&'static Column>, Vec<Value>) = values.into_iter().unzip();
        Self { columns: columns.into(), numbers: values.into_iter().map(Some).collect() }
    }
}

/// A map from key to number; a missing value is `null`, with its reason under `missing`.
impl Serialize for RowValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut missing = Map::new();
        for (column, value) in self.iter() {
            match value {
                Value::Count(n) => map.serialize_entry(column.key, &n)?,
                Value::Real(x) => map.serialize_entry(column.key, &x)?,
                Value::Missing(reason) => {
                    map.serialize_entry(column.key, &())?;
                    let reason = serde_json::to_value(reason).map_err(S::Error::custom)?;
                    missing.insert(column.key.to_owned(), reason);
                }
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

    #[test]
    fn numbers_are_kept_and_read_back_as_they_were() {
        let mut values = vec![
            Value::Count(5),
            Value::Real(5.0),
            Value::Real(-0.0),
            Value::Real(0.0),
            Value::Count(0),
            Value::Real(f64::MIN_POSITIVE / 8.0),
            Value::Real(0.1 + 0.2),
            Value::Count(u64::MAX),
        ];
        values.extend(MissingReason::ALL.iter().map(|reason| Value::Missing(*reason)));
        let values: Vec<Option<Value>> = values.into_iter().map(Some).chain([None]).collect();
        let numbers: Numbers = values.iter().copied().collect();
        assert_eq!(numbers.iter().collect::<Vec<_>>(), values);
        assert_eq!((numbers.len(), numbers.get(values.len())), (values.len(), None));
        let text = serde_json::to_string(&numbers).expect("plain data");
        assert_eq!(serde_json::from_str::<Numbers>(&text).expect("as written"), numbers, "{text}");
    }
}
