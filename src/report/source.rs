//! Where the weights of a report came from, and what of them was not analysed.

use serde::Serialize;

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
