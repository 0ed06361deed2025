//! Tensors that lie in the memory of the program that started this one, as the Python package hands them down.

use std::path::Path;

use crate::error::Error;

/// Reads tensors through stdin, where `list` says so.
#[cfg(unix)]
pub(super) fn accept(list: Option<&Path>) -> Result<(), Error> {
    use std::os::fd::AsFd;

    let Some(list) = list else { return Ok(()) };
    let memory = std::io::stdin().as_fd().try_clone_to_owned();
    crate::store::borrow(list, memory.map_err(|e| Error::io(list, "cannot read what is named in", e))?.into())
}

/// The same where no program can hand down its memory.
#[cfg(not(unix))]
pub(super) fn accept(list: Option<&Path>) -> Result<(), Error> {
    list.map_or(Ok(()), |list| Err(Error::malformed(list, "borrowed tensors are not read on this system")))
}
