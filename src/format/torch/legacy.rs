//! Files from before PyTorch 1.6: a magic number, a version, facts about the machine, the object and the keys of its
//! storages, a pickle each, then the storages, each after its number of entries.

use std::collections::BTreeMap;

use super::{BIG_ENDIAN, Contents, LONGEST_PICKLE};
use crate::error::{Error, brief};
use crate::format::elements;
use crate::format::opened::Opened;
use crate::format::pickle::{CUT_SHORT, Object, Pickle};
use crate::format::state_dict::{self, element, storages};
use crate::format::zip::Extent;

/// The pickle of the magic number, after the version of its protocol.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// The version of the format.
const VERSION: i64 = 1001;

/// Bytes that are read first; a longer object takes more.
const FIRST: u64 = 1 << 20;

/// Whether a file begins like one.
pub(super) fn begins(head: &[u8]) -> bool {
    after_magic(head).is_some()
}

/// The bytes after the magic number. Protocols from 4 on put a frame around it.
fn after_magic(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(b"\x80")?.get(1..)?;
    let rest = if rest.starts_with(b"\x95") { rest.get(9..)? } else { rest };
    rest.strip_prefix(MAGIC)
}

/// The contents of such a file.
pub(super) fn read(opened: &Opened) -> Result<Contents, Error> {
    let malformed = |reason: String| opened.file.location().malformed(reason);
    let length = opened.file.length();
    let mut wanted = FIRST;
    let Head { object, keys, end } = loop {
        let bytes = opened.file.read(0, wanted.min(length)).map_err(malformed)?;
        match head(&bytes) {
            Err(reason) if reason == CUT_SHORT && wanted < length && wanted < LONGEST_PICKLE => {
                wanted = (4 * wanted).min(LONGEST_PICKLE);
            }
            found => break found.map_err(malformed)?,
        }
    };
    let model = state_dict::model(&object).map_err(malformed)?;
    let mut widths = BTreeMap::new();
    for storage in storages(&object) {
        let storage = storage.map_err(malformed)?;
        let width = match (storage.class, element(storage.class)) {
            ("UntypedStorage", _) => Some(1),
            (_, element) => elements::width(element.name()),
        };
        widths.insert(storage.key.to_owned(), (width, storage.class.to_owned()));
    }
    let mut places = BTreeMap::new();
    let mut at = end;
    for key in keys {
        let named = |reason: &str| malformed(format!("storage `{}` {reason}", brief(&key)));
        let count = opened.file.read(at, 8).map_err(|_| named("is not in the file; download it again"))?;
        let count = count.first_chunk().map_or(0, |count| u64::from_le_bytes(*count));
        let width = match widths.get(&key) {
            Some((Some(width), _)) => *width,
            Some((None, class)) => {
                return Err(named(&format!("is a `{}`, whose size is not known", brief(class))));
            }
            None => return Err(named("is listed, but no tensor lies in it")),
        };
        let extent = count.checked_mul(width).map(|length| Extent { offset: at + 8, length });
        let extent = extent.filter(|extent| extent.length <= length - extent.offset);
        let extent = extent.ok_or_else(|| named("is not whole in the file; download it again"))?;
        at = extent.offset + extent.length;
        places.insert(key, extent);
    }
    Ok((model, places))
}

/// All that comes before the storages.
struct Head {
    object: Pickle,
    /// The keys of the storages, in their order.
    keys: Vec<String>,
    /// Where the first storage begins.
    end: u64,
}

fn head(bytes: &[u8]) -> Result<Head, String> {
    let mut rest = after_magic(bytes).ok_or(CUT_SHORT)?;
    let version = Pickle::read(&mut rest)?;
    if *version.get(version.root()) != Object::Number(VERSION) {
        return Err(
            "is of a version of PyTorch's old format that is not known; load it and save it again".to_owned()
        );
    }
    let facts = Pickle::read(&mut rest)?;
    let is_big = |(key, value): &(_, _)| {
        matches!(facts.get(*key), Object::Text(key) if key == "little_endian")
            && *facts.get(*value) == Object::False
    };
    if matches!(facts.get(facts.root()), Object::Dict(pairs) if pairs.iter().any(is_big)) {
        return Err(BIG_ENDIAN.to_owned());
    }
    let object = Pickle::read(&mut rest)?;
    let listed = Pickle::read(&mut rest)?;
    let Object::List(keys) = listed.get(listed.root()) else {
        return Err("does not list its storages; download it again".to_owned());
    };
    let key = |id| match listed.get(id) {
        Object::Text(key) => Some(key),
        _ => None,
    };
    let keys = keys.iter().map(|id| key(*id)).collect::<Option<Vec<_>>>();
    // One text may stand in the list many times; no file lists more than it holds.
    let size: usize = keys.iter().flatten().map(|key| key.len()).sum();
    let keys = keys.filter(|_| size <= bytes.len()).map(|keys| keys.into_iter().cloned().collect());
    let keys = keys.ok_or("lists a storage without a name; download it again")?;
    Ok(Head { object, keys, end: (bytes.len() - rest.len()) as u64 })
}
