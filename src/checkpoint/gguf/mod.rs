//! GGUF: one file, or numbered pieces as `llama-gguf-split` makes them.
//!
//! Blocks of small integers are decoded a matrix at a time when it is read; names stay as they are stored.

mod header;
mod kinds;

use std::io::Read;
use std::path::{Path, PathBuf};

use super::stored::{Parts, WeightFile};
use super::{Choice, Format, folder, input, probe};
use crate::error::Error;
pub(super) use kinds::scale;

/// The table entry.
pub(super) const FORMAT: Format = Format { name: "gguf", sniff, parts };

const ENDING: &str = ".gguf";

/// A file that starts as GGUF does, or a folder with files named so.
fn sniff(path: &Path, _: &Choice<'_>) -> bool {
    if path.is_dir() {
        return folder::listing(path).is_ok_and(|names| names.iter().any(|name| name.ends_with(ENDING)));
    }
    let mut magic = [0; 4];
    input::try_open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"GGUF"
}

fn parts(path: &Path, _: &Choice<'_>) -> Result<Parts, Error> {
    let files = files(path)?;
    let mut parts = vec![];
    for file in &files {
        probe::check(file)?;
        probe::refuse_foreign(file)?;
        let (handle, weights) = WeightFile::open(file)?;
        let header = header::read(&handle, weights)?;
        if header.pieces > 1 && header.pieces != files.len() as u64 {
            let reason = format!(
                "is one of {} pieces, which are found by their names, `…-00001-of-{:05}.gguf`; rename it back",
                header.pieces, header.pieces
            );
            return Err(Error::malformed(file, reason));
        }
        parts.push(header.part);
    }
    Ok(Parts { parts, notes: vec![] })
}

/// The file at `path`, or all pieces of the model of which it is one; the one model of a folder.
fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return folder::pieces(path);
    }
    let names: Vec<_> = folder::listing(path)?.into_iter().filter(|name| name.ends_with(ENDING)).collect();
    let files: Vec<_> = names.iter().map(|name| path.join(name)).collect();
    let first = match &files[..] {
        [] => return Err(Error::malformed(path, "the folder holds no weights")),
        [first, ..] => folder::pieces(first)?,
    };
    if files.iter().any(|file| !first.contains(file)) {
        let reason = format!("holds several GGUF models; name the file of one: {}", folder::quoted(&names));
        return Err(Error::malformed(path, reason));
    }
    Ok(first)
}
