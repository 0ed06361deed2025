//! The formats: how files of weights are called, how they begin, and how they are read or why they are not.
//!
//! The only table of file endings; other code asks it.

mod candidate;
mod config;
mod config_summary;
mod diagnose;
mod elements;
mod folder;
mod gguf;
mod header;
mod index;
mod numpy;
mod opened;
mod parts;
mod pickle;
mod pipeline;
mod presence;
mod safetensors;
mod state_dict;
mod strides;
mod torch;
mod unsupported;
mod zip;

use std::path::Path;

use crate::error::Error;
use crate::store::Location;

pub use candidate::Choice;
pub(crate) use candidate::{Candidate, CandidateKind};
pub(crate) use config::{Config, Quantization};
pub use config_summary::config_summary;
pub(crate) use diagnose::unknown;
pub use elements::Elements;
pub(crate) use header::LONGEST as LONGEST_HEADER;
pub(crate) use parts::{FilePart, Layout, Parts};
pub(crate) use pipeline::FORMAT as PIPELINE;
pub(crate) use presence::{check, listing};
pub(crate) use strides::SCATTERED;
pub(crate) use unsupported::refuse_slices;

/// One way of storing weights.
pub struct Format {
    /// The name used in reports.
    pub name: &'static str,
    /// The endings of its files.
    endings: &'static [&'static str],
    /// The endings that may follow the name of a variant, as in `model.fp16.safetensors`.
    pub(crate) varied: &'static [&'static str],
    reader: Reader,
}

/// How a format is handled.
enum Reader {
    Read {
        /// Whether a candidate matches this format.
        sniff: fn(&Candidate<'_>) -> bool,
        /// The files of a candidate, their headers read and validated.
        parts: fn(&Candidate<'_>) -> Result<Parts, Error>,
    },
    Refused {
        /// Whether a file that begins so is of this format.
        sniff: fn(&[u8]) -> bool,
        /// The message: what it is and what to do.
        words: &'static str,
    },
}

/// The formats, in the order they are tried.
pub static FORMATS: &[Format] = &[
    pipeline::FORMAT,
    safetensors::FORMAT,
    numpy::FORMAT,
    torch::FORMAT,
    gguf::FORMAT,
    unsupported::HDF5,
    unsupported::ONNX,
    unsupported::ENGINE,
    unsupported::MSGPACK,
];

impl Format {
    pub(crate) const fn read(
        name: &'static str,
        endings: &'static [&'static str],
        sniff: fn(&Candidate<'_>) -> bool,
        parts: fn(&Candidate<'_>) -> Result<Parts, Error>,
    ) -> Self {
        Self { name, endings, varied: &[], reader: Reader::Read { sniff, parts } }
    }

    /// The same, with files of variants that end in `varied`.
    pub(crate) const fn in_variants(self, varied: &'static [&'static str]) -> Self {
        Self { varied, ..self }
    }

    pub(crate) const fn refused(
        name: &'static str,
        endings: &'static [&'static str],
        sniff: fn(&[u8]) -> bool,
        words: &'static str,
    ) -> Self {
        Self { name, endings, varied: &[], reader: Reader::Refused { sniff, words } }
    }

    pub(crate) fn is_read(&self) -> bool {
        matches!(self.reader, Reader::Read { .. })
    }

    /// Whether files called `name` are of this format, by their ending.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.endings.iter().any(|ending| name.ends_with(ending))
    }

    pub(crate) fn sniffs(&self, candidate: &Candidate<'_>) -> bool {
        matches!(self.reader, Reader::Read { sniff, .. } if sniff(candidate))
    }

    pub(crate) fn parts(&self, candidate: &Candidate<'_>) -> Result<Parts, Error> {
        match self.reader {
            Reader::Read { parts, .. } => parts(candidate),
            Reader::Refused { words, .. } => Err(candidate.location.malformed(words)),
        }
    }

    /// The message for a file with these first bytes, if this format is not supported.
    pub(crate) fn refuses(&self, head: &[u8]) -> Option<&'static str> {
        match self.reader {
            Reader::Refused { sniff, words } => sniff(head).then_some(words),
            Reader::Read { .. } => None,
        }
    }
}

/// Whether files called `name` hold weights of some format, read or not.
pub fn names_weights(name: &str) -> bool {
    FORMATS.iter().any(|format| format.names(name))
}

/// Whether `path` matches some checkpoint format, valid or not.
pub fn is_recognized(path: &Path) -> bool {
    is_recognized_at(&Location::disk(path))
}

pub(crate) fn is_recognized_at(location: &Location) -> bool {
    Candidate::of(location, Choice::default()).format().is_some()
}

impl Candidate<'_> {
    /// The format it matches.
    pub(crate) fn format(&self) -> Option<&'static Format> {
        FORMATS.iter().find(|format| format.sniffs(self))
    }
}
