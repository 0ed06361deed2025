//! Writing safetensors: the header, then the bytes of each tensor as they come, so that no more than one is in memory.
//!
//! Written here because the library orders its metadata by a hash, and takes all tensors at once; the same content gives
//! the same bytes.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::error::brief;

/// The key of a header that holds free text and no tensor.
pub(crate) const METADATA: &str = "__metadata__";

/// A tensor that is to be written.
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Its type, as headers name it.
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) bytes: u64,
}

/// Writes a file of `entries`, in the order given; `content` writes the bytes of one.
///
/// # Errors
/// When two have the same name, `content` fails or writes more or fewer bytes than announced, or `out` takes no more.
pub(crate) fn write(
    out: &mut dyn Write,
    metadata: Option<Value>,
    entries: &[Entry],
    mut content: impl FnMut(&Entry, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut names = BTreeSet::from([METADATA]);
    if let Some(entry) = entries.iter().find(|entry| !names.insert(&entry.name)) {
        return Err(io::Error::other(format!("two tensors would be called `{}`", brief(&entry.name))));
    }
    let header = header(metadata, entries);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for entry in entries {
        let mut counted = Counted { out, count: 0 };
        content(entry, &mut counted)?;
        if counted.count != entry.bytes {
            let (name, found) = (brief(&entry.name), counted.count);
            return Err(io::Error::other(format!("`{name}` has {found} bytes, not {}", entry.bytes)));
        }
    }
    Ok(())
}

/// The header, padded with spaces so that the data start at a multiple of eight bytes.
fn header(metadata: Option<Value>, entries: &[Entry]) -> String {
    let mut fields = Map::new();
    fields.extend(metadata.map(|metadata| (METADATA.to_owned(), metadata)));
    let mut start = 0;
    for Entry { name, dtype, shape, bytes } in entries {
        let end = start + bytes;
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
        fields.insert(name.clone(), entry);
        start = end;
    }
    let text = Value::Object(fields).to_string();
    let padding = text.len().next_multiple_of(8) - text.len();
    text + &" ".repeat(padding)
}

/// Counts what is written.
struct Counted<'o> {
    out: &'o mut dyn Write,
    count: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, bytes: u64) -> Entry {
        Entry { name: name.to_owned(), dtype: "U8".to_owned(), shape: vec![bytes], bytes }
    }

    #[test]
    fn what_is_written_opens_with_the_library() {
        let (mut out, entries) = (vec![], [entry("b", 3), entry("a", 2)]);
        let metadata = Some(json!({"format": "pt"}));
        write(&mut out, metadata, &entries, |entry, out| out.write_all(&vec![7; entry.bytes as usize]))
            .expect("memory takes it");
        let read = ::safetensors::SafeTensors::deserialize(&out).expect("sound");
        assert_eq!(read.tensor("a").expect("there").data(), [7, 7]);
        assert_eq!(read.tensor("b").expect("there").shape(), [3]);
    }

    #[test]
    fn a_tensor_of_another_length_than_announced_is_an_error() {
        let write = |names: [&str; 2], length: usize| {
            let entries = names.map(|name| entry(name, 3));
            write(&mut vec![], None, &entries, |_, out| out.write_all(&vec![0; length]))
        };
        assert!(write(["a", "b"], 3).is_ok());
        assert!(write(["a", "b"], 2).is_err() && write(["a", "b"], 4).is_err());
        assert!(write(["a", "a"], 3).is_err() && write(["a", METADATA], 3).is_err());
    }
}
