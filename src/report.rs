//! The result of a run: plain data that every format, rule and later run reads.
//!
//! What is serialised here is the promise (docs/report.md). Nothing here computes, prints or knows a file.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Version of the report's schema; it changes when a reader would have to.
pub const SCHEMA: u32 = 1;

/// How a column's numbers are written for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A whole number.
    Count,
    /// A real number, to three significant digits.
    Real,
    /// A share of one, as a percentage.
    Share,
}

/// Everything the program says about one number, said once.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// The key in JSON, CSV, `--columns`, `--sort` and `--fail-if`.
    pub key: &'static str,
    /// The header in a table.
    pub label: &'static str,
    /// How the number is written for people.
    pub format: Format,
    /// Formula and meaning in one sentence.
    pub doc: &'static str,
    /// What values it can take, with the unit where it has one.
    pub range: &'static str,
    /// Paper, equation or package the definition is from.
    pub source: &'static str,
}

/// Why a number could not be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The weight holds NaN or an infinity.
    NonFinite,
    /// Every entry is zero.
    AllZero,
    /// The value lies below what the decomposition resolves.
    BelowFloor,
    /// The way the matrix is stored leaves it fewer directions than rows and columns.
    LowRank,
    /// Fewer positive eigenvalues than the estimate needs.
    TooFewValues,
    /// All candidate tails are degenerate.
    NoTail,
    /// The solver did not reach its accuracy.
    NotConverged,
    /// The result does not fit a double.
    Overflow,
    /// The quantity has no meaning for this kind of row.
    NotApplicable,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NonFinite => "the weight holds NaN or infinite entries",
            Self::AllZero => "every entry is zero",
            Self::BelowFloor => "below the accuracy floor of the spectrum; `--precision exact` resolves it",
            Self::LowRank => "zero by construction: the update has fewer directions than rows and columns",
            Self::TooFewValues => "too few positive eigenvalues",
            Self::NoTail => "no candidate tail can be fitted",
            Self::NotConverged => "the decomposition did not converge",
            Self::Overflow => "the result does not fit a double",
            Self::NotApplicable => "not defined for this row",
        })
    }
}

/// One number of a report, or the reason there is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// A finite real number.
    Real(f64),
    /// Could not be measured.
    Missing(Why),
}

impl Value {
    /// A real number; one that is not finite is missing.
    pub fn real(x: f64) -> Self {
        if x.is_finite() { Self::Real(x) } else { Self::Missing(Why::Overflow) }
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

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Count(n) => serializer.serialize_u64(n),
            Self::Real(x) => serializer.serialize_f64(x),
            Self::Missing(_) => serializer.serialize_none(),
        }
    }
}

/// The numbers of one row, in column order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measurements(pub Vec<(&'static Column, Value)>);

impl Measurements {
    /// The value of column `key`.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.0.iter().find(|(column, _)| column.key == key).map(|(_, value)| *value)
    }
}

/// A map from key to number; what is missing is `null` and explained under `missing`.
impl Serialize for Measurements {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (column, value) in &self.0 {
            map.serialize_entry(column.key, value)?;
        }
        let missing = Reasons(
            self.0
                .iter()
                .filter_map(|(column, value)| match value {
                    Value::Missing(why) => Some((column.key, *why)),
                    _ => None,
                })
                .collect(),
        );
        if !missing.0.is_empty() {
            map.serialize_entry("missing", &missing)?;
        }
        map.end()
    }
}

struct Reasons(Vec<(&'static str, Why)>);

impl Serialize for Reasons {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, why)| (key, why.to_string())))
    }
}

/// How an adapter stores the update of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Update {
    /// The method: `lora`, `dora`, `kasa`, `loha`, `lokr`, `difference`, `replacement`.
    pub kind: &'static str,
    /// What the product of the factors was multiplied by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// The most directions it can have, where those are fewer than a matrix of its shape has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<u64>,
    /// The stored tensors it is made of.
    pub tensors: Vec<String>,
    /// Cautions, which the row's flags repeat.
    #[serde(skip)]
    pub flags: Vec<&'static str>,
}

/// One logical matrix of the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Name of the matrix: the tensor's, without `.weight`, with `[i]` for a slice of a stack.
    pub name: String,
    /// Name of the stored tensor.
    pub tensor: String,
    /// Position in the model's depth, where the name tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// What the matrix does inside its block: the name with its block number removed.
    pub role: String,
    /// Rows × columns of the matrix that was decomposed.
    pub shape: [u64; 2],
    /// Shape of the stored tensor, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_shape: Option<Vec<u64>>,
    /// Storage type.
    pub dtype: String,
    /// How the adapter stores it, where it is an adapter's update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<Update>,
    /// BLAKE3 of the stored bytes, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    /// The row whose bytes are the same; its numbers were computed once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tied_to: Option<String>,
    /// Why the matrix could not be measured, if it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Cautions that a reader of the numbers should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<&'static str>,
    /// The numbers.
    #[serde(flatten)]
    pub values: Measurements,
    /// Up to 32 singular values at even steps from the first to the last: enough to draw the spectrum.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sketch: Vec<f64>,
    /// Up to 200 singular values with their positions, for pictures; not part of the schema.
    #[serde(skip)]
    pub outline: Vec<(usize, f64)>,
    /// Which leading directions are intruders, where that was asked.
    #[serde(flatten)]
    pub intruders: Option<Intruders>,
}

/// Which leading directions of a tuned matrix are intruders. Directions are counted from 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Intruders {
    /// The intruders, ascending.
    #[serde(rename = "intruders")]
    pub indices: Vec<u64>,
    /// How many there are at other limits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sweep: Vec<Swept>,
    /// Every direction that was looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub directions: Vec<Direction>,
    /// What share of the mitigated update's energy the adapter's rank keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_kept: Option<f64>,
}

/// How many intruders there are at one limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Swept {
    /// The limit.
    pub epsilon: f64,
    /// Directions whose best cosine is below it.
    pub intruder_count: u64,
}

/// One leading direction of a tuned matrix, held against all singular vectors of the base.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Direction {
    /// `left` or `right`.
    pub side: &'static str,
    /// Position among the singular values of the tuned matrix, from 1.
    pub index: u64,
    /// Its singular value.
    pub singular_value: f64,
    /// The best cosine is at least this.
    pub cosine_at_least: f64,
    /// The best cosine is at most this.
    pub cosine_at_most: f64,
    /// The base's singular vector that comes closest, from 1, where it is known.
    pub base_index: Option<u64>,
    /// Whether the best cosine is below the limit.
    pub intruder: bool,
}

/// Sums over rows that belong together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// What they have in common: `role` or `block`.
    pub by: &'static str,
    /// Which role or block.
    pub name: String,
    /// How many matrices.
    pub matrices: u64,
    /// Counts are summed, everything else is averaged over the rows that have it.
    #[serde(flatten)]
    pub values: Measurements,
}

impl Row {
    /// `measured` or `failed`.
    pub fn status(&self) -> &'static str {
        if self.failed.is_some() { "failed" } else { "measured" }
    }
}

/// A tensor that was not analysed, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Name of the stored tensor.
    pub tensor: String,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its storage type.
    pub dtype: String,
    /// Why it is no matrix to analyse.
    pub reason: String,
}

/// Where the weights came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The path as the user gave it.
    pub path: String,
    /// Name of the format.
    pub format: &'static str,
    /// The weight files, in reading order.
    pub files: Vec<SourceFile>,
}

/// One weight file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceFile {
    /// File name.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// Sums over the whole report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Matrices with numbers.
    pub measured: u64,
    /// Matrices whose numbers were taken from a byte-identical one; also counted in `measured`.
    pub tied: u64,
    /// Matrices that could not be read or decomposed.
    pub failed: u64,
    /// Tensors that are no matrices.
    pub skipped: u64,
    /// Tensors and matrices that `--include`/`--exclude` left out.
    pub filtered: u64,
    /// Entries of all measured matrices, tied ones counted once.
    pub parameters: u64,
}

/// What a rule said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing crosses the line.
    Pass,
    /// Something crosses the line, or could not be measured.
    Fail,
}

/// The judgement of one rule over the whole report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The rule as the user wrote it.
    pub rule: String,
    /// What it said.
    pub outcome: Outcome,
    /// How many rows (or sums) crossed the line.
    pub broken: u64,
    /// How many rows had no value to judge.
    pub missing: u64,
    /// The worst offender, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<String>,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of the program.
    pub svdkit: &'static str,
    /// The subcommand.
    pub command: &'static str,
    /// Where the weights came from.
    pub model: Source,
    /// Where the weights came from that these are compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Source>,
    /// What decides the numbers, in the order the docs name it.
    #[serde(serialize_with = "map")]
    pub settings: Vec<(&'static str, String)>,
    /// Column keys in the order of the rows' values.
    #[serde(serialize_with = "keys")]
    pub columns: Vec<&'static Column>,
    /// One row a matrix, in natural name order.
    pub rows: Vec<Row>,
    /// What is no matrix.
    pub skipped: Vec<Skipped>,
    /// Sums.
    pub totals: Totals,
    /// Sums over rows that belong together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// What a reader should know beside the numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The rules' judgements, in the order given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Verdict>,
}

fn keys<S: Serializer>(columns: &[&'static Column], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(columns.iter().map(|column| column.key))
}

fn map<S: Serializer>(pairs: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}
