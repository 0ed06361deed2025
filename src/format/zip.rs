//! The directory of a zip archive whose entries are stored as they are, which is how PyTorch writes its files.
//!
//! Says where an entry's bytes lie in the file and decompresses nothing, so no archive is larger than it looks.

use std::collections::BTreeMap;

use crate::error::{Error, brief};
use crate::store::{ReadAt, StoredFile, zeros};

/// A directory longer than this is not read: it would list about a million entries.
const LONGEST: u64 = 100_000_000;

/// The longest comment between the end record and the end of the file.
const TAIL: u64 = 65_557;

/// One entry, as the directory lists it.
struct Entry {
    header: u64,
    size: u64,
    method: u16,
}

/// The entries of an archive.
pub(crate) struct Archive<'f> {
    bytes: &'f dyn ReadAt,
    file: &'f StoredFile,
    entries: BTreeMap<String, Entry>,
    /// The function that writes such archives without compression.
    writer: &'static str,
}

/// A run of bytes in the file.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// Position of the first byte.
    pub(crate) offset: u64,
    /// Number of bytes.
    pub(crate) length: u64,
}

impl<'f> Archive<'f> {
    /// Reads the directory of `file`.
    pub(crate) fn open(
        bytes: &'f dyn ReadAt,
        file: &'f StoredFile,
        writer: &'static str,
    ) -> Result<Self, Error> {
        let mut archive = Self { bytes, file, entries: BTreeMap::new(), writer };
        let directory = archive.directory()?;
        archive.entries = parse(&directory).map_err(|reason| Error::malformed(file.describe(), reason))?;
        Ok(archive)
    }

    /// The names of the entries, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Where the bytes of `name` lie, if there is such an entry.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Extent>, Error> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        let fail = |what: &str| {
            Error::malformed(self.file.describe(), format!("entry `{}` of the archive {what}", brief(name)))
        };
        if entry.method != 0 {
            return Err(fail(&format!(
                "is compressed; load the file and save it again with `{}`",
                self.writer
            )));
        }
        let outside = || fail("lies outside the file; download it again");
        let header = self.part(entry.header, 30).map_err(|_| outside())?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err(fail("does not start where the directory says"));
        }
        // The local header repeats the name and pads with an extra field, so that the data are aligned.
        let skip = 30 + u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        let offset = entry.header.checked_add(skip).ok_or_else(outside)?;
        let end = offset.checked_add(entry.size).ok_or_else(outside)?;
        if end > self.file.length() {
            Err(outside())
        } else {
            Ok(Some(Extent { offset, length: entry.size }))
        }
    }

    /// The bytes of an entry of at most `most` bytes.
    pub(crate) fn read(&self, extent: Extent, most: u64) -> Result<Vec<u8>, Error> {
        if extent.length > most {
            let reason = format!("an entry of {} bytes is not read; {most} are the most", extent.length);
            return Err(Error::malformed(self.file.describe(), reason));
        }
        self.part(extent.offset, extent.length)
    }

    /// The bytes of the central directory.
    fn directory(&self) -> Result<Vec<u8>, Error> {
        let fail = |reason: &str| Error::malformed(self.file.describe(), reason);
        let cut = "is a zip archive without an end; the file is cut short, download it again";
        let length = self.file.length();
        let start = length.saturating_sub(TAIL);
        let tail = self.part(start, length - start)?;
        let end = tail.windows(22).rposition(|w| w.starts_with(b"PK\x05\x06")).ok_or_else(|| fail(cut))?;
        let record = &tail[end..];
        let (mut size, mut offset) = (u64::from(u32_at(record, 12)), u64::from(u32_at(record, 16)));
        // Archives above 4 GiB have a second end record; a locator of 20 bytes before the first says where.
        if let Some(locator) = end.checked_sub(20).map(|at| &tail[at..end])
            && locator.starts_with(b"PK\x06\x07")
        {
            let large = self.part(u64_at(locator, 8), 56).map_err(|_| fail(cut))?;
            if !large.starts_with(b"PK\x06\x06") {
                return Err(fail(cut));
            }
            (size, offset) = (u64_at(&large, 40), u64_at(&large, 48));
        }
        if size > LONGEST || offset.checked_add(size).is_none_or(|end| end > length) {
            return Err(fail("is a zip archive whose directory is not in the file; download it again"));
        }
        self.part(offset, size)
    }

    /// `length` bytes at `offset`, if the file has them.
    fn part(&self, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let malformed = |reason: String| Error::malformed(self.file.describe(), reason);
        if offset.checked_add(length).is_none_or(|end| end > self.file.length()) {
            return Err(malformed("the archive points outside its file".to_owned()));
        }
        let mut bytes = zeros(length).map_err(malformed)?;
        let read = self.bytes.read_at(&mut bytes, offset);
        read.map_err(|e| self.file.location().failed("cannot read", e))?;
        Ok(bytes)
    }
}

/// The entries that a central directory lists.
fn parse(mut directory: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
    let broken = || "the directory of the zip archive is malformed; download the file again".to_owned();
    let mut entries = BTreeMap::new();
    while !directory.is_empty() {
        let (record, rest) = directory.split_at_checked(46).ok_or_else(broken)?;
        if !record.starts_with(b"PK\x01\x02") {
            return Err(broken());
        }
        let (name, rest) = rest.split_at_checked(usize::from(u16_at(record, 28))).ok_or_else(broken)?;
        let (extra, rest) = rest.split_at_checked(usize::from(u16_at(record, 30))).ok_or_else(broken)?;
        let (_, rest) = rest.split_at_checked(usize::from(u16_at(record, 32))).ok_or_else(broken)?;
        directory = rest;
        let name = String::from_utf8_lossy(name).into_owned();
        if u16_at(record, 8) & 1 != 0 {
            return Err(format!("entry `{}` of the archive is encrypted", brief(&name)));
        }
        let large = large_fields(record, extra).ok_or_else(broken)?;
        let entry = Entry { header: large.header, size: large.size, method: u16_at(record, 10) };
        if entries.insert(name.clone(), entry).is_some() {
            return Err(format!("the archive has two entries `{}`", brief(&name)));
        }
    }
    Ok(entries)
}

struct LargeFields {
    size: u64,
    header: u64,
}

/// Size and position of an entry; if they exceed 32 bits, extra field 1 holds them, in this order.
fn large_fields(record: &[u8], mut extra: &[u8]) -> Option<LargeFields> {
    let (packed, size, header) = (u32_at(record, 20), u32_at(record, 24), u32_at(record, 42));
    let mut wide: &[u8] = &[];
    while let Some((head, rest)) = extra.split_at_checked(4) {
        let (field, rest) = rest.split_at_checked(usize::from(u16_at(head, 2)))?;
        if u16_at(head, 0) == 1 {
            wide = field;
        }
        extra = rest;
    }
    let mut widen = |narrow: u32| {
        if narrow != u32::MAX {
            return Some(u64::from(narrow));
        }
        let (value, rest) = wide.split_at_checked(8)?;
        wide = rest;
        Some(u64_at(value, 0))
    };
    let size = widen(size)?;
    widen(packed)?;
    let header = widen(header)?;
    Some(LargeFields { size, header })
}

/// The little-endian number at `at`; zero past the end, which no caller reaches.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
