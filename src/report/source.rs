//! Where the weights of a report came from, how an adapter stores them, and which tensors were skipped.

use serde::{Deserialize, Serialize};

use super::{Flag, Word};
use crate::text::Text;

/// A tensor that was not analyzed, with the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Name of the stored tensor.
    pub tensor: Text,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its storage type.
    pub dtype: Text,
    /// Why it is not analyzed as a matrix.
    pub reason: Text,
    /// What that means for the model.
    #[serde(default)]
    pub kind: SkipKind,
    /// Findings from its bytes, if they were read.
    #[serde(flatten)]
    pub content: Option<SkippedContent>,
    /// What is unknown about them, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
    /// Why they could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The weight that it scales, where it is a part of a quantized one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scales: Option<String>,
}

impl Skipped {
    /// Takes the words that it has in common with another from there: tens of thousands of norms have the same.
    pub fn share(&mut self, other: &Self) {
        for (own, known) in [(&mut self.dtype, &other.dtype), (&mut self.reason, &other.reason)] {
            if own == known {
                own.clone_from(known);
            }
        }
    }

    /// Records the findings from its bytes; none if its bytes can't be separated from other tensors'.
    pub fn see(&mut self, found: Result<Option<SkippedContent>, String>) {
        match found {
            Ok(content) => {
                self.unseen = match &content {
                    None => Some("where its bytes lie is not known, so nothing is known of them".to_owned()),
                    Some(SkippedContent { nonfinite_count: None, .. }) => Some(format!(
                        "whether its entries are finite is not known: {} is not decoded",
                        self.dtype
                    )),
                    Some(_) => None,
                };
                self.content = content;
            }
            Err(why) => self.failed = Some(why),
        }
    }
}

/// What skipping a tensor means for the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SkipKind {
    /// Nothing is lost: it is a vector, a number, a mask, or a part of another tensor.
    #[default]
    Plain,
    /// A matrix without a partner on the other side.
    Unpaired,
    /// It may be a weight, and nothing was measured of it.
    Refused,
}

impl SkipKind {
    /// The code in reports; it does not change.
    pub fn code(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Unpaired => "unpaired",
            Self::Refused => "refused",
        }
    }
}

/// Findings from the bytes of a tensor that is not a matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedContent {
    /// BLAKE3 of the stored bytes, in hexadecimal.
    pub blake3: String,
    /// Number of NaN or infinite entries, if the type is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonfinite_count: Option<u64>,
}

/// Where the weights came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The path as the user gave it.
    pub path: String,
    /// Name of the format.
    #[serde(default)]
    pub format: Word,
    /// The commit of the Hugging Face hub, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The weight files, in reading order.
    #[serde(default)]
    pub files: Vec<SourceFile>,
}

/// One weight file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// File name.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// How an adapter stores the update of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// The method: `lora`, `dora`, `kasa`, `loha`, `lokr`, `difference`, `replacement`.
    pub kind: Word,
    /// The scale of the product of the factors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// The most directions it can have, where those are fewer than a matrix of its shape has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<u64>,
    /// The stored tensors it is made of.
    pub tensors: Vec<String>,
    /// Cautions, which the row's flags repeat.
    #[serde(skip)]
    pub flags: Vec<Flag>,
}
