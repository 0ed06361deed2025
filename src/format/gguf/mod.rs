//! GGUF: one file, or numbered pieces as `llama-gguf-split` makes them.
//!
//! Blocks of small integers are decoded a matrix at a time when it is read; names stay as they are stored.

mod header;
mod kinds;

use super::candidate::{Candidate, CandidateKind};
use super::parts::Parts;
use super::{Format, folder, opened};
use crate::error::{Error, quoted};
use crate::store::Location;

pub(crate) use kinds::{Scale, scale};

/// The table entry.
pub(crate) const FORMAT: Format = Format::read("gguf", &[".gguf"], sniff, parts);

/// A file that starts as GGUF does, or a folder with files named so.
fn sniff(candidate: &Candidate<'_>) -> bool {
    match &candidate.content {
        CandidateKind::Folder(names) => names.iter().any(|name| FORMAT.names(name)),
        CandidateKind::File(head) => head.starts_with(b"GGUF"),
    }
}

fn parts(candidate: &Candidate<'_>) -> Result<Parts, Error> {
    let files = files(candidate)?;
    let open = |location: &Location| {
        let opened = opened::open(location)?;
        opened.refuse_unsupported()?;
        let header = header::read(opened.bytes.as_ref(), opened.file)?;
        if header.pieces > 1 && header.pieces != files.len() as u64 {
            let reason = format!(
                "is one of {} pieces, which are found by their names, `…-00001-of-{:05}.gguf`; rename it back",
                header.pieces, header.pieces
            );
            return Err(location.malformed(reason));
        }
        Ok(header.part)
    };
    let parts = folder::at_once(&files, open)?.into_iter().collect::<Result<_, _>>()?;
    Ok(Parts { parts, notes: vec![] })
}

/// The file of a candidate, or all pieces of its model; the only model of a folder.
fn files(candidate: &Candidate<'_>) -> Result<Vec<Location>, Error> {
    let location = candidate.location;
    let CandidateKind::Folder(names) = &candidate.content else { return folder::pieces(location) };
    let names: Vec<_> = names.iter().filter(|name| FORMAT.names(name)).collect();
    let Some(first) = names.first() else { return Err(location.malformed("the folder holds no weights")) };
    let pieces = folder::pieces(&location.join(first))?;
    if names.iter().any(|name| !pieces.iter().any(|piece| piece.name() == **name)) {
        let reason = format!("holds several GGUF models; name the file of one: {}", quoted(&names));
        return Err(location.malformed(reason));
    }
    Ok(pieces)
}
