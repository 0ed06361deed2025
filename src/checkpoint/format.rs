//! The formats: how files of weights are called, how they begin, and how they are read or why they are not.
//!
//! The one table that knows endings; whoever else needs one asks it.

use std::cell::OnceCell;

use super::config::Config;
use super::stored::Parts;
use super::{Choice, diagnose, gguf, numpy, pipeline, safetensors, torch, unsupported};
use crate::error::Error;
use crate::store::Location;

/// One way of storing weights.
pub struct Format {
    /// The name used in reports.
    pub name: &'static str,
    /// What its files end in.
    endings: &'static [&'static str],
    /// Those of them before which the name of a variant may stand, as in `model.fp16.safetensors`.
    pub(super) varied: &'static [&'static str],
    reader: Reader,
}

/// What is done with a format.
enum Reader {
    Read {
        /// Whether a candidate looks like this format.
        sniff: fn(&Candidate<'_>) -> bool,
        /// The files of a candidate, their headers read and validated.
        parts: fn(&Candidate<'_>) -> Result<Parts, Error>,
    },
    Refused {
        /// Whether a file that begins so is of this format.
        sniff: fn(&[u8]) -> bool,
        /// What it is and what to do about it.
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
    pub(super) const fn read(
        name: &'static str,
        endings: &'static [&'static str],
        sniff: fn(&Candidate<'_>) -> bool,
        parts: fn(&Candidate<'_>) -> Result<Parts, Error>,
    ) -> Self {
        Self { name, endings, varied: &[], reader: Reader::Read { sniff, parts } }
    }

    /// The same, with files of variants that end in `varied`.
    pub(super) const fn in_variants(self, varied: &'static [&'static str]) -> Self {
        Self { varied, ..self }
    }

    pub(super) const fn refused(
        name: &'static str,
        endings: &'static [&'static str],
        sniff: fn(&[u8]) -> bool,
        words: &'static str,
    ) -> Self {
        Self { name, endings, varied: &[], reader: Reader::Refused { sniff, words } }
    }

    pub(super) fn is_read(&self) -> bool {
        matches!(self.reader, Reader::Read { .. })
    }

    /// Whether files called `name` are of this format, by their ending.
    pub(super) fn names(&self, name: &str) -> bool {
        self.endings.iter().any(|ending| name.ends_with(ending))
    }

    pub(super) fn sniffs(&self, candidate: &Candidate<'_>) -> bool {
        matches!(self.reader, Reader::Read { sniff, .. } if sniff(candidate))
    }

    pub(super) fn parts(&self, candidate: &Candidate<'_>) -> Result<Parts, Error> {
        match self.reader {
            Reader::Read { parts, .. } => parts(candidate),
            Reader::Refused { words, .. } => Err(candidate.location.malformed(words)),
        }
    }

    /// What is said of a file that begins so, if it is of this format and not read.
    pub(super) fn refuses(&self, head: &[u8]) -> Option<&'static str> {
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

/// A place where a checkpoint is to be opened, and what names and first bytes tell of it.
#[derive(Clone)]
pub(super) struct Candidate<'a> {
    pub(super) location: &'a Location,
    pub(super) choice: Choice<'a>,
    pub(super) content: Content,
    config: OnceCell<Config>,
}

/// What lies at a place.
#[derive(Clone)]
pub(super) enum Content {
    /// A folder, with the names of its files.
    Folder(Vec<String>),
    /// A file, with its first bytes.
    File(Vec<u8>),
}

impl<'a> Candidate<'a> {
    /// What lies at `location`.
    pub(super) fn found(location: &'a Location, choice: Choice<'a>) -> Result<Self, Error> {
        Ok(Self { location, choice, content: diagnose::content(location)?, config: OnceCell::new() })
    }

    /// The same; what cannot be read looks like nothing.
    pub(super) fn of(location: &'a Location, choice: Choice<'a>) -> Self {
        let content = diagnose::content(location).unwrap_or(Content::File(vec![]));
        Self { location, choice, content, config: OnceCell::new() }
    }

    /// The same for another choice.
    pub(super) fn chosen(&self, choice: Choice<'a>) -> Self {
        Self { choice, ..self.clone() }
    }

    /// The format that it looks like.
    pub(super) fn format(&self) -> Option<&'static Format> {
        FORMATS.iter().find(|format| format.sniffs(self))
    }

    /// The configuration beside it, parsed once.
    pub(super) fn config(&self) -> Result<&Config, Error> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = Config::beside(self.location)?;
        Ok(self.config.get_or_init(|| config))
    }
}
