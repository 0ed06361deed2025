//! What tells the files of a checkpoint from those of another, the same on every machine: lengths, headers, and samples of
//! their bytes.

use blake3::Hasher;

use super::tensors::Tensors;
use crate::error::Error;

/// So many places of a file are looked at.
const SAMPLES: u64 = 16;
/// So many bytes at each.
const SAMPLE: u64 = 4 << 10;

/// A file, as far as headers and samples tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContents {
    /// Its path in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Of its header and of 16 samples of 4 KiB at even steps, the first and the last byte among them; of a file at another
    /// machine, whose commit tells it, of the header.
    pub digest: blake3::Hash,
}

impl Tensors {
    /// The files, in reading order.
    ///
    /// # Errors
    /// When one has changed or cannot be read.
    pub fn contents(&self) -> Result<Vec<FileContents>, Error> {
        let files = self.stored_files();
        let mut headers = vec![Hasher::new(); files.len()];
        for tensor in self.list() {
            let Some(header) = headers.get_mut(tensor.file) else { continue };
            let place = (tensor.offset, tensor.bytes);
            header.update(
                format!("{:?} {:?} {:?} {place:?}", tensor.name, tensor.shape, tensor.element).as_bytes(),
            );
        }
        let both = files.iter().zip(headers).map(|(file, mut hash)| {
            let length = file.length();
            if !file.location().is_remote() {
                let handle = file.reopen().map_err(|reason| Error::malformed(file.describe(), reason))?;
                let mut sample = vec![0; SAMPLE.min(length) as usize];
                let last = length - sample.len() as u64;
                let steps = if last == 0 { 1 } else { SAMPLES };
                for at in
                    (0..steps).map(|i| (u128::from(last) * u128::from(i) / u128::from(SAMPLES - 1)) as u64)
                {
                    let read = handle.read_at(&mut sample, at);
                    read.map_err(|e| Error::io(file.describe(), "cannot read", e))?;
                    hash.update(&sample);
                }
            }
            Ok(FileContents { name: self.name(file), bytes: length, digest: hash.finalize() })
        });
        both.collect()
    }
}
