//! stdout: the report and nothing else. A reader that leaves has seen enough, which changes nothing of how a run ends.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::Path;

use crate::error::Error;
use crate::store::Identity;

/// Writes `content` to stdout.
///
/// # Errors
/// If stdout can't be written, except when its reader has gone.
pub(super) fn write(content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    let mut out = BufWriter::new(Stdout { pipe: io::stdout().lock(), is_closed: false });
    let written = content(&mut out).and_then(|()| out.flush());
    written.map_err(|source| Error::io(Path::new("stdout"), "cannot write", source))
}

/// Writes `text` to stdout.
///
/// # Errors
/// As [`write()`].
pub(super) fn print(text: &[u8]) -> Result<(), Error> {
    write(|out| out.write_all(text))
}

/// The file that stdout goes to, if it is a regular one.
#[cfg(unix)]
pub(super) fn file() -> Option<Identity> {
    use std::os::fd::AsFd;
    let stdout = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned().ok()?);
    let metadata = stdout.metadata().ok()?;
    metadata.is_file().then(|| Identity::of_metadata(&metadata))
}

/// The file that stdout goes to, which is not known here.
#[cfg(not(unix))]
pub(super) fn file() -> Option<Identity> {
    None
}

/// stdout, which takes everything and does nothing with it once its reader has left. Formats never see the pipe break,
/// so it does not matter how they pass on an error.
struct Stdout {
    pipe: StdoutLock<'static>,
    is_closed: bool,
}

impl Stdout {
    /// `done`, or `instead` where the reader has left.
    fn unless_closed<T>(&mut self, done: io::Result<T>, instead: T) -> io::Result<T> {
        match done {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(instead)
            }
            other => other,
        }
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = if self.is_closed { Ok(bytes.len()) } else { self.pipe.write(bytes) };
        self.unless_closed(done, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = if self.is_closed { Ok(()) } else { self.pipe.flush() };
        self.unless_closed(done, ())
    }
}
