//! safetensors: one file, or a folder of shards as the Hugging Face libraries write them.
//!
//! Which files make up a checkpoint is `folder`'s business, what a header may say is `header`'s.

use std::collections::BTreeMap;
use std::path::Path;

use super::folder::{self, Family};
use super::header::{self, Header};
use super::stored::{Part, Parts, WeightFile};
use super::{Choice, Format, input};
use crate::error::Error;

/// The table entry.
pub(super) const FORMAT: Format = Format { name: "safetensors", sniff, parts };

pub(super) const FAMILY: Family = Family {
    indices: &[
        "model.safetensors.index.json",
        "diffusion_pytorch_model.safetensors.index.json",
        "adapter_model.safetensors.index.json",
    ],
    files: &["model.safetensors", "diffusion_pytorch_model.safetensors", "adapter_model.safetensors"],
    endings: &[".safetensors"],
};

/// A file that starts as safetensors does or is named so, an index, or a folder that holds either.
fn sniff(path: &Path, choice: &Choice<'_>) -> bool {
    if path.is_dir() {
        return folder::holds(path, &FAMILY, choice);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let index = folder::is_index(path) && name.contains(".safetensors.index.");
    name.ends_with(".safetensors") || index || looks_right(path)
}

/// Whether the first bytes are a believable header length and the start of a header.
fn looks_right(path: &Path) -> bool {
    let mut head = [0; 9];
    let read = input::try_open(path).and_then(|file| super::stored::read_exact_at(&file, &mut head, 0));
    let [length @ .., first] = head;
    read.is_ok() && u64::from_le_bytes(length) <= header::LONGEST && first == b'{'
}

fn parts(path: &Path, choice: &Choice<'_>) -> Result<Parts, Error> {
    folder::open_all(path, &FAMILY, choice, &one)
}

/// One file and the tensors its header lists.
fn one(path: &Path) -> Result<Part, Error> {
    super::probe::check(path)?;
    // A header length can be the first bytes of anything: of a pickle, when it is 640.
    if !looks_right(path) {
        super::probe::refuse_foreign(path)?;
    }
    let (handle, file) = WeightFile::open(path)?;
    let Header { tensors, settings } = header::read(&handle, &file)?;
    Ok(Part { file, tensors, readings: BTreeMap::new(), notes: vec![], quantization: None, settings })
}
