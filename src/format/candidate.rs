//! A place where a checkpoint is to be opened, and what names and first bytes tell of it.

use std::cell::OnceCell;

use super::config::Config;
use super::presence::{check, listing};
use crate::error::Error;
use crate::store::Location;

/// What is read of a file to tell what it is.
const HEAD: usize = 512;

/// Which of the files that a folder offers are meant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice<'a> {
    /// Those of this variant, as in `model.fp16.safetensors`.
    pub variant: Option<&'a str>,
    /// These components of a pipeline; all if none is named.
    pub components: &'a [String],
}

/// A place where a checkpoint is to be opened, and what names and first bytes tell of it.
#[derive(Clone)]
pub(crate) struct Candidate<'a> {
    pub(crate) location: &'a Location,
    pub(crate) choice: Choice<'a>,
    pub(crate) content: Content,
    config: OnceCell<Config>,
}

/// What lies at a place.
#[derive(Clone)]
pub(crate) enum Content {
    /// A folder, with the names of its files.
    Folder(Vec<String>),
    /// A file, with its first bytes.
    File(Vec<u8>),
}

impl<'a> Candidate<'a> {
    /// What lies at `location`.
    pub(crate) fn found(location: &'a Location, choice: Choice<'a>) -> Result<Self, Error> {
        Ok(Self { location, choice, content: content(location)?, config: OnceCell::new() })
    }

    /// The same; what cannot be read looks like nothing.
    pub(crate) fn of(location: &'a Location, choice: Choice<'a>) -> Self {
        let content = content(location).unwrap_or(Content::File(vec![]));
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

/// What lies at `location`, by names or first bytes.
fn content(location: &Location) -> Result<Content, Error> {
    check(location)?;
    if location.is_folder() {
        return listing(location).map(Content::Folder);
    }
    location.head(HEAD).map(Content::File)
}
