//! A file of weights that is open, and how it begins.

use super::presence::check;
use super::unsupported;
use crate::error::Error;
use crate::store::{Location, ReadAt, StoredFile};

/// Bytes read to identify a file.
const HEAD: usize = 512;

/// A file of weights that was opened, and how it begins.
pub(crate) struct Opened {
    pub(crate) bytes: Box<dyn ReadAt>,
    pub(crate) file: StoredFile,
    pub(crate) head: Vec<u8>,
}

/// Opens the file at `location`.
pub(crate) fn open(location: &Location) -> Result<Opened, Error> {
    check(location)?;
    let (bytes, file) = location.open()?;
    let mut head = vec![0; HEAD.min(usize::try_from(file.length()).unwrap_or(HEAD))];
    bytes.read_at(&mut head, 0).map_err(|e| location.failed("cannot read", e))?;
    Ok(Opened { bytes, file, head })
}

impl Opened {
    /// Refuses a file whose first bytes belong to a format that is not read, whatever its name promises.
    pub(crate) fn refuse_unsupported(&self) -> Result<(), Error> {
        unsupported::refuse(self.file.location(), &self.head)
    }
}
