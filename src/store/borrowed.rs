//! Tensors in the memory of the program that started this one, read in place of a file's.
//!
//! On the disk lies a file with the header alone and holes where the tensors would be. Their bytes come from
//! `/proc/self/mem` of the other program, which opened it for itself and hands it down: nothing is copied, and no right is
//! needed. The other program keeps the tensors until this one has ended.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;

use super::{Identity, ReadAt, input};
use crate::error::Error;

/// What was handed down; once for the process.
static BORROWED: OnceLock<Borrowed> = OnceLock::new();

struct Borrowed {
    memory: File,
    files: Vec<(Identity, Vec<Part>)>,
}

/// A file as the list has it.
#[derive(Deserialize)]
struct Listed {
    path: PathBuf,
    /// By their offset, apart.
    parts: Vec<Part>,
}

/// `length` bytes of a file, from `offset` on, that lie at `address`.
#[derive(Deserialize)]
struct Part {
    offset: u64,
    length: u64,
    address: u64,
}

/// Reads parts of files from `memory` from now on, as the JSON at `list` says: an array of `path` and `parts`, which are by
/// `offset` and have a `length` in bytes and an `address`.
///
/// # Errors
/// When the list can't be read.
pub fn borrow(list: &Path, memory: File) -> Result<(), Error> {
    let text = input::open(list)?;
    let listed: Vec<Listed> = serde_json::from_reader(io::BufReader::new(text))
        .map_err(|e| Error::malformed(list, format!("is not a list of borrowed tensors: {e}")))?;
    let files = listed.into_iter().map(|file| (Identity::of(&file.path), file.parts)).collect();
    // A second list would be one of the same program.
    let _ = BORROWED.set(Borrowed { memory, files });
    Ok(())
}

/// Opens the file at `path` to be copied.
///
/// # Errors
/// As [`input::open`], and when its tensors lie elsewhere.
pub(crate) fn open_to_copy(path: &Path) -> Result<File, Error> {
    if find(path).is_some() {
        return Err(Error::malformed(path, "lies in the memory of another program; save it to a file first"));
    }
    input::open(path)
}

/// The bytes of the opened `file` at `path`, wherever they lie.
pub(super) fn reader(path: &Path, file: File) -> Box<dyn ReadAt> {
    match find(path) {
        Some((memory, parts)) => Box::new(Patched { file, memory, parts }),
        None => Box::new(file),
    }
}

fn find(path: &Path) -> Option<(&'static File, &'static [Part])> {
    let borrowed = BORROWED.get()?;
    let own = Identity::of(path);
    let (_, parts) = borrowed.files.iter().find(|(identity, _)| *identity == own)?;
    Some((&borrowed.memory, parts))
}

/// A file with parts that lie in memory.
struct Patched<'p> {
    file: File,
    memory: &'p File,
    parts: &'p [Part],
}

impl ReadAt for Patched<'_> {
    fn read_at(&self, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !out.is_empty() {
            let next = self.parts.partition_point(|part| part.offset.saturating_add(part.length) <= offset);
            let (source, at, left) = match self.parts.get(next) {
                Some(part) if part.offset <= offset => {
                    let within = offset - part.offset;
                    (self.memory, part.address.saturating_add(within), part.length - within)
                }
                Some(part) => (&self.file, offset, part.offset - offset),
                None => (&self.file, offset, u64::MAX),
            };
            let count = usize::try_from(left).map_or(out.len(), |left| left.min(out.len()));
            let (now, rest) = out.split_at_mut(count);
            ReadAt::read_at(source, now, at)?;
            (out, offset) = (rest, offset + count as u64);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn parts_come_from_memory_and_the_rest_from_the_file() {
        let written = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().expect("a temporary file");
            file.write_all(bytes).expect("written");
            file
        };
        let (file, memory) = (written(b"header__..____tail"), written(b"??abcdef??XY"));
        let parts = [Part { offset: 6, length: 2, address: 10 }, Part { offset: 10, length: 4, address: 3 }];
        let patched = Patched { file, memory: &memory, parts: &parts };
        let check = |offset: usize, expected: &str| {
            let mut out = vec![0; expected.len()];
            patched.read_at(&mut out, offset as u64).expect("read");
            assert_eq!(String::from_utf8_lossy(&out), expected, "at {offset}");
        };
        check(0, "headerXY..bcdetail");
        check(7, "Y..b");
        check(11, "cde");
        check(12, "de");
        check(14, "tail");
        assert!(patched.read_at(&mut [0; 2], 17).is_err());
    }
}
