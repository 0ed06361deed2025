//! A candidate for opening, with the names and first bytes that identify it.

use std::cell::OnceCell;

use super::config::Config;
use super::presence::{check, listing};
use crate::error::Error;
use crate::store::Location;

/// Bytes read to identify a file.
const HEAD: usize = 512;

/// Which files of a folder to use.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice<'a> {
    /// Those of this variant, as in `model.fp16.safetensors`.
    pub variant: Option<&'a str>,
    /// These components of a pipeline; all if none is named.
    pub components: &'a [String],
}

/// A candidate for opening, with the names and first bytes that identify it.
#[derive(Clone)]
pub(crate) struct Candidate<'a> {
    pub(crate) location: &'a Location,
    pub(crate) choice: Choice<'a>,
    pub(crate) content: CandidateKind,
    config: OnceCell<Config>,
}

/// The kind of a candidate.
#[derive(Clone)]
pub(crate) enum CandidateKind {
    /// A folder, with the names of its files.
    Folder(Vec<String>),
    /// A file, with its first bytes.
    File(Vec<u8>),
}

impl<'a> Candidate<'a> {
    /// The candidate at `location`.
    pub(crate) fn found(location: &'a Location, choice: Choice<'a>) -> Result<Self, Error> {
        Ok(Self { location, choice, content: content(location)?, config: OnceCell::new() })
    }

    /// The same; an unreadable file counts as unknown.
    pub(crate) fn of(location: &'a Location, choice: Choice<'a>) -> Self {
        let content = content(location).unwrap_or(CandidateKind::File(vec![]));
        Self { location, choice, content, config: OnceCell::new() }
    }

    /// The same for another choice.
    pub(crate) fn chosen(&self, choice: Choice<'a>) -> Self {
        Self { choice, ..self.clone() }
    }

    /// The configuration beside it, parsed once.
    pub(crate) fn config(&self) -> Result<&Config, Error> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = Config::beside(self.location)?;
        Ok(self.config.get_or_init(|| config))
    }
}

/// Identifies `location`, by names or first bytes.
fn content(location: &Location) -> Result<CandidateKind, Error> {
    check(location)?;
    if location.is_folder() {
        return listing(location).map(CandidateKind::Folder);
    }
    location.head(HEAD).map(CandidateKind::File)
}
