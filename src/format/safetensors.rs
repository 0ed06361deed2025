//! safetensors: one file, or a folder of shards as the Hugging Face libraries write them.
//!
//! `folder` chooses the files of a checkpoint, `header` validates headers.

use super::candidate::{Candidate, CandidateKind};
use super::folder::{self, Family};
use super::header::{self, Header};
use super::parts::{FilePart, Parts};
use super::{Format, opened};
use crate::error::Error;
use crate::store::Location;

const ENDINGS: &[&str] = &[".safetensors"];

/// The table entry.
pub(crate) const FORMAT: Format = Format::read("safetensors", ENDINGS, sniff, parts).in_variants(ENDINGS);

const FAMILY: Family = Family {
    indices: &[
        "model.safetensors.index.json",
        "diffusion_pytorch_model.safetensors.index.json",
        "adapter_model.safetensors.index.json",
    ],
    files: &["model.safetensors", "diffusion_pytorch_model.safetensors", "adapter_model.safetensors"],
    endings: ENDINGS,
};

/// A file that starts as safetensors does or is named so, an index, or a folder that holds either.
fn sniff(candidate: &Candidate<'_>) -> bool {
    let name = candidate.location.name().to_lowercase();
    match &candidate.content {
        CandidateKind::Folder(names) => folder::holds(candidate, names, &FAMILY),
        CandidateKind::File(head) => {
            let index = folder::is_index(&candidate.location.name()) && name.contains(".safetensors.index.");
            FORMAT.names(&name) || index || looks_right(head)
        }
    }
}

/// Whether the first bytes are a believable header length and the start of a header.
fn looks_right(head: &[u8]) -> bool {
    let length = head.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
    length.is_some_and(|length| length <= header::LONGEST) && head.get(8) == Some(&b'{')
}

fn parts(candidate: &Candidate<'_>) -> Result<Parts, Error> {
    folder::open_all(candidate, &FAMILY, &one)
}

/// One file and the tensors its header lists.
fn one(location: &Location) -> Result<FilePart, Error> {
    let opened = opened::open(location)?;
    // A header length can be the first bytes of anything: of a pickle, when it is 640.
    if !looks_right(&opened.head) {
        opened.refuse_unsupported()?;
    }
    let Header { tensors, settings } = header::read(opened.bytes.as_ref(), &opened.file)?;
    Ok(FilePart { settings, ..FilePart::new(opened.file, tensors)? })
}
