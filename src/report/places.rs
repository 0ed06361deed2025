//! Where in a matrix the entries are that a finding is about, so that it can name them.

use serde::{Deserialize, Serialize};

use super::Empty;

/// Lines and entries worth naming; most matrices have none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Places {
    /// The largest entry, where it is large enough to make a singular direction by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest_entry: Option<Box<Entry>>,
    /// The first rows of zeros, counted from 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zero_rows: Vec<u64>,
    /// The first columns of zeros.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zero_columns: Vec<u64>,
    /// The first two rows that are equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_rows: Option<Box<[u64; 2]>>,
    /// The first two columns that are equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_columns: Option<Box<[u64; 2]>>,
    /// Where the leading direction lies, if it holds half of the energy or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leading_direction: Option<Concentration>,
    /// The proven order in which it holds the entries of its base, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reordering: Option<Box<Reordering>>,
    /// The matrices of the other side whose rows or columns it is proven to be made of, if only one side has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Box<Parts>>,
}

/// What a matrix is made of, proven line by line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Their names, in the order in which it begins them.
    pub names: Vec<String>,
    /// Whether its rows are their columns, or the other way round.
    pub transposed: bool,
    /// What the order of lines is called, if they do not lie one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
}

/// An order in which a matrix holds another one's entries, proven entry by entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reordering {
    /// Whether it is the other one transposed, before rows and columns are put into order.
    pub transposed: bool,
    /// The order of rows, if it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<Order>,
    /// The order of columns, if it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Order>,
}

/// An order of lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its name.
    pub words: String,
    /// The same for the same order.
    pub digest: String,
}

/// An entry of a matrix with its place, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its row.
    pub row: u64,
    /// Its column.
    pub column: u64,
    /// Its value.
    pub value: f64,
}

/// What makes a leading direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concentration {
    /// One entry.
    Entry,
    /// One row.
    Row,
    /// One column.
    Column,
    /// A constant that is added to all entries.
    Constant,
    /// The same vector in every row.
    CommonRow,
    /// One constant per row.
    ConstantPerRow,
    /// Nothing simpler: it is spread over rows and columns.
    Spread,
}

impl Empty for Places {
    const EMPTY: &'static Self = &Self {
        largest_entry: None,
        zero_rows: vec![],
        zero_columns: vec![],
        duplicate_rows: None,
        duplicate_columns: None,
        leading_direction: None,
        reordering: None,
        parts: None,
    };
}

impl Concentration {
    /// What makes the direction, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Entry => "one entry",
            Self::Row => "one row",
            Self::Column => "one column",
            Self::Constant => "one constant added to all entries",
            Self::CommonRow => "the same vector in every row",
            Self::ConstantPerRow => "one constant per row",
            Self::Spread => "spread over rows and columns",
        }
    }
}
