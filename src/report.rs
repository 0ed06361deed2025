//! The result of a run: plain data that every format, rule and later run reads.
//!
//! What is serialised here is the promise (docs/report.md). Nothing here computes, prints or knows a file.

mod comparison;
mod intruders;
mod inventory;
mod labels;
mod source;
mod verdict;

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

pub use comparison::{Compared, Comparison, Named, Standing};
pub use intruders::{Direction, Group, Intruders};
pub use inventory::{Contents, Fate, Inventory, Pattern, Updates};
pub use labels::Labels;
pub use source::{Kind, Skipped, SkippedContent, Source, SourceFile, Update};
pub use verdict::{Finding, Outcome, Severity, Verdict};

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
    /// A relative change, as a percentage with its sign.
    Change,
}

/// Everything the program says about one number, said once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// The side has no such matrix: there is nothing that could cross a line.
    Absent,
    /// There is no update that this could be a share of.
    NoUpdate,
    /// Its singular vectors are arbitrary: all its values are equal or below the floor.
    Degenerate,
}

/// Every reason, to find it by its words.
const REASONS: [Why; 19] = [
    Why::NonFinite,
    Why::AllZero,
    Why::BelowFloor,
    Why::BelowExactFloor,
    Why::LowRank,
    Why::TooFewValues,
    Why::NoTail,
    Why::NoNoise,
    Why::FallsToFloor,
    Why::NotConverged,
    Why::Overflow,
    Why::NotApplicable,
    Why::Failed,
    Why::NotDecomposed,
    Why::ZeroBase,
    Why::Unpaired,
    Why::Absent,
    Why::NoUpdate,
    Why::Degenerate,
];

impl Why {
    /// The reason that is written as `words`.
    pub fn parse(words: &str) -> Option<Self> {
        match words {
            // As reports were written before.
            "the result does not fit a double" => Some(Self::Overflow),
            _ => REASONS.into_iter().find(|why| why.to_string() == words),
        }
    }

    /// Whether there is nothing that was to be measured: a rule passes over it.
    pub fn is_vacuous(self) -> bool {
        matches!(self, Self::Absent | Self::NoUpdate)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NonFinite => "the weight holds NaN or infinite entries",
            Self::AllZero => "every entry is zero",
            Self::BelowFloor => "below the accuracy floor of the spectrum; `--precision exact` resolves it",
            Self::BelowExactFloor => {
                "below the accuracy floor of the exact route, where a value cannot be told from zero"
            }
            Self::LowRank => "zero by construction: the update has fewer directions than rows and columns",
            Self::TooFewValues => "too few positive eigenvalues",
            Self::NoTail => "no candidate tail can be fitted",
            Self::FallsToFloor => "the fall ends below the accuracy floor of the spectrum",
            Self::NoNoise => "no resolved singular value counts as noise",
            Self::NotConverged => "the decomposition did not converge",
            Self::Overflow => {
                "too large or too small for a double (1.8e308 to 2.2e-308); scale the weights, or the adapter's alpha"
            }
            Self::NotApplicable => "not defined for this row",
            Self::Failed => "the matrix could not be read or decomposed",
            Self::NotDecomposed => "unchanged, so it was not decomposed; `--all` measures it, too",
            Self::ZeroBase => "the base's value is 0",
            Self::Unpaired => "the other side has no matrix of this name and shape",
            Self::Absent => "there is no such matrix on this side",
            Self::NoUpdate => "nothing was changed",
            Self::Degenerate => "its singular values do not tell their directions apart",
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

    /// A square of a positive number: one that a double holds with fewer digits, or as 0, is missing.
    pub fn positive(x: f64) -> Self {
        if x.is_normal() { Self::Real(x) } else { Self::Missing(Why::Overflow) }
    }

    /// A number between two bounds that rounding may have put a hair beyond one.
    pub fn within(x: f64, low: f64, high: f64) -> Self {
        if x.is_nan() { Self::Missing(Why::Overflow) } else { Self::real(x.clamp(low, high)) }
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
        let missing = self.0.iter().filter_map(|(column, value)| match value {
            Value::Missing(why) => Some((column.key.to_owned(), why.to_string().into())),
            _ => None,
        });
        let missing: serde_json::Map<String, serde_json::Value> = missing.collect();
        if !missing.is_empty() {
            map.serialize_entry("missing", &missing)?;
        }
        map.end()
    }
}

/// One logical matrix of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
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
    /// The scheme that entries were computed by, where they are not stored as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dequant: Option<String>,
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
    /// How it stands to the matrix it is compared with.
    #[serde(flatten)]
    pub comparison: Option<Comparison>,
    /// Cautions that a reader of the numbers should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<&'static str>,
    /// What another tool's tables hold beside numbers, where its names were asked for.
    #[serde(flatten)]
    pub labels: Option<Labels>,
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
    /// Only in a comparison: what became of the matrices that were not measured on both sides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
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
    /// Where they came from by name, if several models are compared with one base; the first is also `model`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tuned: Vec<Named>,
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

impl Report {
    /// What could not be read or decomposed, by name, with the reason.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        let rows = self.rows.iter().filter_map(|row| Some((row.name.as_str(), row.failed.as_deref()?)));
        let others = self.skipped.iter();
        rows.chain(others.filter_map(|other| Some((other.tensor.as_str(), other.failed.as_deref()?))))
    }
}

fn keys<S: Serializer>(columns: &[&'static Column], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(columns.iter().map(|column| column.key))
}

fn map<S: Serializer>(pairs: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}
