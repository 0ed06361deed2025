//! What tasks find, as it is kept: plain data that reads back as it was written, wherever it is read.
//!
//! A record names no path of a machine; positions in it are those of its study's manifest.

use serde::{Deserialize, Serialize};

use super::Failure;
use crate::analysis::compare::Arrangement;
use crate::report::{
    Attention, Drawings, FactorDetail, Flag, Intruders, Lists, Numbers, Places, Resolution, SkippedContent,
    Standing,
};
use crate::spectrum::Spectrum;

/// What became of one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The position of the task in its plan.
    pub task: usize,
    /// What it found, or why it did not.
    pub result: Result<Found, Failure>,
    /// What it had found when it failed.
    pub before: Option<Found>,
}

/// What a task found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Found {
    /// Of a matrix, or of an update.
    Matrix(Box<FoundMatrix>),
    /// Of a matrix on all sides of a comparison.
    Pair(Box<FoundPair>),
    /// Of the bytes of a tensor that is not a matrix, on each side; nothing where a side has none, or where they cannot be
    /// told from those of others.
    Bytes(#[serde(with = "packed")] Vec<Option<SkippedContent>>),
    /// Of matrices that only one side of a comparison has.
    Parts(Vec<FoundParts>),
    /// Of several rows.
    Rows(Vec<FoundRow>),
}

/// What was found of one of the rows that a task is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundRow {
    /// Its position in the report.
    pub row: usize,
    /// The numbers, in the order of the report's columns.
    pub values: Numbers,
    /// How small a number each side resolves.
    #[serde(with = "packed")]
    pub resolution: Vec<Resolution>,
    /// What it is about, where more is known of that than before.
    #[serde(with = "packed")]
    pub attention: Option<Box<Attention>>,
    /// What pictures are drawn from.
    pub drawn: Drawings,
}

/// A row that is made of rows of the other side, all by their positions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundParts {
    /// The row.
    pub row: usize,
    /// What it is made of, in the order in which it begins them.
    pub parts: Vec<usize>,
    /// Whether its rows are their columns, or the other way round.
    pub transposed: bool,
    /// What the order of lines is called, if they do not lie one after the other.
    pub order: Option<String>,
}

impl FoundParts {
    /// That `row` is made of some of `rows`.
    pub(super) fn new(row: usize, made: Arrangement, rows: &[usize]) -> Self {
        let Arrangement { parts, transposed, order } = made;
        Self { row, parts: parts.into_iter().map(|part| rows[part]).collect(), transposed, order }
    }
}

/// What was found of a matrix, or of an update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundMatrix {
    /// The numbers, in the order of the report's columns.
    pub values: Numbers,
    /// How small a number its spectrum resolves, where it has one.
    #[serde(with = "packed")]
    pub resolution: Option<Resolution>,
    /// Cautions for whoever reads them.
    pub flags: Vec<Flag>,
    /// Entries, rows and columns that findings name.
    #[serde(with = "packed")]
    pub places: Places,
    /// BLAKE3 of its entries, in hexadecimal.
    pub blake3: String,
    /// The same of its base, where the numbers depend on that, too.
    pub base_blake3: Option<String>,
    /// Whether it can be a copy of another: it is not one number throughout.
    pub varies: bool,
    /// Singular values at even steps.
    pub sketch: Vec<f64>,
    /// Singular values with their positions, for pictures.
    pub outline: Vec<(usize, f64)>,
    /// What else pictures are drawn from.
    pub drawn: Drawings,
    /// All singular values, where an output needs them.
    pub spectrum: Option<Box<Spectrum>>,
    /// What the factors of an adapter's update are, where that was asked.
    #[serde(with = "packed")]
    pub factors: Option<Box<FactorDetail>>,
    /// What has no room in a column.
    #[serde(with = "packed")]
    pub lists: Lists,
    /// Which leading directions are intruders, where that was asked.
    #[serde(with = "packed")]
    pub intruders: Option<Box<Intruders>>,
}

/// What was found of a matrix on all sides of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundPair {
    /// BLAKE3 of the base's entries, where it is known.
    pub base_blake3: Option<String>,
    /// The base's numbers, where they are known, in the order of the metrics that are compared.
    pub base: Option<Numbers>,
    /// How small a number the base's spectrum resolves.
    #[serde(with = "packed")]
    pub base_resolution: Option<Resolution>,
    /// The base's singular values with their positions, where it was measured, for pictures.
    pub base_outline: Vec<(usize, f64)>,
    /// The tuned sides.
    pub tuned: Vec<FoundSide>,
    /// Whether it can be a copy of another: some side is not one number throughout.
    pub varies: bool,
    /// Whether its bytes left anything to be measured, and it was.
    pub measured: bool,
}

/// What was found of one tuned side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundSide {
    /// How the matrix stands to the base's; nothing where neither has it.
    pub standing: Option<Standing>,
    /// BLAKE3 of its entries, where it is known.
    pub blake3: Option<String>,
    /// Its numbers, where they are known.
    pub values: Option<Numbers>,
    /// How small a number its spectrum resolves.
    #[serde(with = "packed")]
    pub resolution: Option<Resolution>,
    /// Its singular values with their positions, where it was measured, for pictures.
    pub outline: Vec<(usize, f64)>,
    /// Its way from the base, where that was measured.
    pub drifts: Option<Numbers>,
    /// Cautions for whoever reads them.
    pub flags: Vec<Flag>,
    /// Entries, rows and columns that findings name.
    #[serde(with = "packed")]
    pub places: Places,
}

/// Parts of a report in a record that is kept in bytes: they leave out what is empty, which only a text can.
mod packed {
    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

    pub(super) fn serialize<T: Serialize, S: Serializer>(part: &T, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return part.serialize(serializer);
        }
        serde_json::to_string(part).map_err(ser::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        if deserializer.is_human_readable() {
            return T::deserialize(deserializer);
        }
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spectrum::Route;

    /// Writes and reads.
    #[track_caller]
    fn check<T: Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug>(written: &T) {
        let text = serde_json::to_string(written).expect("plain data");
        assert_eq!(serde_json::from_str::<T>(&text).expect("as written"), *written, "{text}");
    }

    #[test]
    fn a_spectrum_reads_back_in_its_units_and_with_its_floor() {
        let spectrum = |values: &[f64], exponent| {
            Spectrum::in_units(values.to_vec(), (3, 2), Route::Direct, exponent).expect("sound")
        };
        check(&spectrum(&[2.0, 1e-300], 0));
        check(&spectrum(&[1.5, 0.0], 1100));
        check(&spectrum(&[1.5, 1e-9], 0).of_terms(1e8));
        let damaged = r#"{"values":[-1.0,2.0],"rows":3,"cols":2,"route":"Gram","exponent":0,"size":0.0}"#;
        assert!(serde_json::from_str::<Spectrum>(damaged).is_err());
    }
}
