//! The result of a run: plain data that every format, rule and later run reads.
//!
//! What is serialized here is the promise (docs/report.md). Nothing here computes, prints or knows a file.

mod adapter;
mod attention;
mod coded;
mod column;
mod comparison;
mod drawings;
mod encounter;
mod finding;
mod flag;
mod intruders;
mod inventory;
mod labels;
mod lists;
mod missing;
mod overlaps;
mod places;
mod printable;
mod rare;
mod read;
mod resolution;
mod source;
mod steps;
mod summary;
mod values;
mod verdict;
mod version1;
mod word;

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

pub use adapter::{FactorDetail, Origin};
pub use attention::{Attention, ComponentScores, Composition, Head, HeadPlace, Reach};
pub use column::{Accuracy, Aspect, Column, ColumnKey, Format, Quantity};
pub use comparison::{Compared, Comparison, Named, Standing};
pub use drawings::{Drawings, Drawn};
pub use encounter::Encounter;
pub use finding::{Finding, Level, Unchecked};
pub use flag::Flag;
pub use intruders::{Direction, Group, Intruders};
pub use inventory::{Contents, Fate, Inventory, Pattern, Updates};
pub use labels::Labels;
pub use lists::Lists;
pub use missing::MissingReason;
pub use overlaps::Overlaps;
pub use places::{Concentration, Entry, Order, Parts, Places, Reordering};
pub use rare::{Empty, Rare};
pub use read::Meaning;
pub use resolution::Resolution;
pub use source::{SkipKind, Skipped, SkippedContent, Source, SourceFile, Update};
pub use steps::{Course, Step};
pub use summary::Summary;
pub use values::{Numbers, RowValues};
pub use verdict::{Offender, Outcome, Severity, Verdict};
pub use word::Word;

use crate::text::Text;

/// Version of the report's schema; it changes when a reader would have to.
pub const SCHEMA: u32 = 2;

/// One number of a report, or the reason it is missing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// A finite real number.
    Real(f64),
    /// Could not be measured.
    Missing(MissingReason),
}

impl Value {
    /// A real number; one that is not finite is missing.
    pub fn real(x: f64) -> Self {
        if x.is_finite() { Self::Real(x) } else { Self::Missing(MissingReason::Overflow) }
    }

    /// A square of a positive number: one that a double holds with fewer digits, or as 0, is missing.
    pub fn positive(x: f64) -> Self {
        if x.is_normal() { Self::Real(x) } else { Self::Missing(MissingReason::Overflow) }
    }

    /// A number between two bounds that rounding may have put a hair beyond one.
    pub fn within(x: f64, low: f64, high: f64) -> Self {
        if x.is_nan() { Self::Missing(MissingReason::Overflow) } else { Self::real(x.clamp(low, high)) }
    }

    /// A count.
    pub fn count(n: usize) -> Self {
        Self::Count(n as u64)
    }

    /// The number, where there is one.
    pub fn number(self) -> Option<f64> {
        match self {
            Self::Count(n) => Some(n as f64),
            Self::Real(x) => Some(x),
            Self::Missing(_) => None,
        }
    }
}

/// Numbers with their columns, in column order, as they are measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measurements(pub Vec<(&'static Column, Value)>);

impl Measurements {
    /// The value of column `key`.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.0.iter().find(|(column, _)| column.key == key).map(|(_, value)| *value)
    }
}

/// One logical matrix of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the matrix: the tensor's, without `.weight`, with `[i]` for a slice of a stack.
    pub name: Text,
    /// Name of the stored tensor.
    pub tensor: Text,
    /// Position in the model's depth, if the name shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// The matrix's role in its block: the name without the block number.
    pub role: Text,
    /// Rows × columns of the matrix that was decomposed.
    pub shape: [u64; 2],
    /// Shape of the stored tensor, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_shape: Option<Vec<u64>>,
    /// Storage type.
    pub dtype: Text,
    /// The scheme that entries were computed by, where they are not stored as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dequant: Option<String>,
    /// How the adapter stores it, where it is an adapter's update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<Box<Update>>,
    /// BLAKE3 of the stored bytes, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    /// The row whose bytes are the same; its numbers were computed once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tied_to: Option<Text>,
    /// Why the matrix could not be measured, if it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Its status relative to the base.
    #[serde(flatten)]
    pub comparison: Option<Box<Comparison>>,
    /// Cautions that a reader of the numbers should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "flag::known")]
    pub flags: Vec<Flag>,
    /// Text columns of another tool's tables, if its names were asked for.
    #[serde(flatten)]
    pub labels: Option<Box<Labels>>,
    /// The numbers.
    #[serde(flatten, skip_deserializing)]
    pub values: RowValues,
    /// What the numbers were at each step, in a series of checkpoints.
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub course: Option<Box<Course>>,
    /// How small a number each side's spectrum resolves, where it has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolution: Vec<Resolution>,
    /// Entries, rows and columns that findings name.
    #[serde(default, skip_serializing_if = "Rare::is_empty")]
    pub places: Rare<Places>,
    /// Up to 32 singular values at even steps from the first to the last: enough to draw the spectrum.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sketch: Vec<f64>,
    /// Up to 200 singular values with their positions, for pictures; not part of the schema.
    #[serde(skip)]
    pub outline: Vec<(usize, f64)>,
    /// What else pictures are drawn from; not part of the schema.
    #[serde(skip)]
    pub drawn: Rare<Drawings>,
    /// What the factors of an adapter's update are, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factors: Option<Box<FactorDetail>>,
    /// Spectra, errors at several ranks, and what else has no room in a column.
    #[serde(default, skip_serializing_if = "Rare::is_empty")]
    pub lists: Rare<Lists>,
    /// Which two adapters it is about, where adapters are held against each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encounter: Option<Box<Encounter>>,
    /// How the leading directions of matrices of one kind lie to each other, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlaps: Option<Box<Overlaps>>,
    /// Which leading directions are intruders, where that was asked.
    #[serde(flatten)]
    pub intruders: Option<Box<Intruders>>,
    /// Which attention head it is about, or which two.
    #[serde(flatten)]
    pub attention: Option<Box<Attention>>,
}

impl Row {
    /// How it is stored, for people.
    pub fn storage(&self) -> &str {
        self.dequant.as_deref().unwrap_or(&self.dtype)
    }

    /// `measured`, `failed` or, in a comparison, another [`Standing`].
    pub fn status(&self) -> &'static str {
        match (&self.failed, &self.comparison) {
            (Some(_), _) => "failed",
            (None, Some(comparison)) => comparison.status.name(),
            (None, None) => "measured",
        }
    }
}

/// Sums over the whole report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Matrices with numbers.
    #[serde(default)]
    pub measured: u64,
    /// Matrices whose numbers were taken from a byte-identical one; also counted in `measured`.
    #[serde(default)]
    pub tied: u64,
    /// Matrices that could not be read or decomposed.
    #[serde(default)]
    pub failed: u64,
    /// Tensors that are not matrices.
    #[serde(default)]
    pub skipped: u64,
    /// Tensors and matrices that `--include`/`--exclude` left out.
    pub filtered: u64,
    /// Entries of all measured matrices, tied ones counted once.
    #[serde(default)]
    pub parameters: u64,
    /// Only in a comparison: counts of matrices that were not measured on both sides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of the program.
    pub svdkit: Word,
    /// The subcommand.
    pub command: Word,
    /// Where the weights came from.
    pub model: Source,
    /// Where the weights came from that these are compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Source>,
    /// Where they came from by name, if several models are compared with one base; the first is also `model`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tuned: Vec<Named>,
    /// The settings that decide the numbers, in the order of the docs.
    #[serde(with = "pairs")]
    pub settings: Vec<(Word, String)>,
    /// The checkpoints of a series, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Column keys in the order of the rows' values.
    #[serde(serialize_with = "keys", skip_deserializing)]
    pub columns: Vec<&'static Column>,
    /// One row a matrix, in natural name order.
    #[serde(skip_deserializing)]
    pub rows: Vec<Row>,
    /// Skipped tensors.
    pub skipped: Vec<Skipped>,
    /// Sums.
    pub totals: Totals,
    /// Sums over rows that belong together.
    #[serde(skip_serializing_if = "Vec::is_empty", skip_deserializing)]
    pub groups: Vec<Group>,
    /// Notes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What the matrices of one model say together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// What was found, the worst first.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What could not be looked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings_unchecked: Vec<Unchecked>,
    /// The rules' judgements, in the order given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Verdict>,
    /// Tensors without a row, for rules; not part of the schema.
    #[serde(skip)]
    pub unlisted: Unlisted,
}

/// Tensors without a row that rules may be about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unlisted {
    /// Only in a comparison: names of unchanged tensors that are not matrices.
    pub unchanged: Vec<String>,
    /// Rows that the settings file left out.
    pub hidden: Hidden,
}

/// The rows that `include` and `exclude` of a settings file left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hidden {
    /// Which settings, and of which file, in words.
    pub by: String,
    /// Names of matrices.
    pub matrices: Vec<String>,
    /// Names of tensors that are not matrices.
    pub others: Vec<String>,
}

impl Report {
    /// Leaves out all columns but these.
    pub fn keep(&mut self, columns: &[&'static Column]) {
        if self.columns.as_slice() == columns {
            return;
        }
        let shared: Arc<[_]> = columns.into();
        for row in self.rows.iter_mut().filter(|row| !row.values.is_empty()) {
            let numbers = columns.iter().map(|column| row.values.get(column.key));
            row.values = RowValues::new(&shared, numbers.collect());
        }
        self.columns = columns.to_vec();
    }

    /// What a row is called, and what several are.
    pub fn noun(&self) -> [&'static str; 2] {
        match self.rows.first().and_then(|row| row.attention.as_deref()) {
            None => ["matrix", "matrices"],
            Some(Attention::Head(_)) => ["head", "heads"],
            Some(Attention::Composition(_)) => ["pair of heads", "pairs of heads"],
        }
    }

    /// Matrices that could not be read or decomposed, by name, with the reason.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        let rows = self.rows.iter().filter_map(|row| Some((row.name.as_str(), row.failed.as_deref()?)));
        let others = self.skipped.iter();
        rows.chain(others.filter_map(|other| Some((other.tensor.as_str(), other.failed.as_deref()?))))
    }
}

fn keys<S: Serializer>(columns: &[&'static Column], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(columns.iter().map(|column| column.key))
}

/// Settings, as a map in their own order.
mod pairs {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use serde_json::{Map, Value};

    use super::Word;

    pub(super) fn serialize<S: Serializer>(
        pairs: &[(Word, String)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(Word, String)>, D::Error> {
        let map: Map<String, Value> = Map::deserialize(deserializer)?;
        let text = |(key, value): (String, Value)| match value {
            Value::String(text) => {
                Ok((Word::deserialize(Value::String(key)).map_err(de::Error::custom)?, text))
            }
            _ => Err(de::Error::custom(format!("setting `{key}` is not a text"))),
        };
        map.into_iter().map(text).collect()
    }
}
