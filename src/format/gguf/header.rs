//! The header of a GGUF file, checked before anything in it is believed.
//!
//! Parsed here and not by candle, which refuses a whole file for one type it does not know, keeps the last of two
//! equal names and reads every token of the vocabulary into memory. Values of metadata are passed over but for the
//! few that matter. Reads no weights.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::json;

use super::kinds::{self, Form};
use crate::error::{Error, brief};
use crate::format::strides::is_countable;
use crate::format::{FilePart, Layout};
use crate::layer::{Element, TensorInfo};
use crate::store::{ReadAt, Sequence, StoredFile};

/// The longest header that is read; a vocabulary of 256,000 tokens and its merges need about twelve million bytes.
const LONGEST: u64 = 100_000_000;

/// The longest name of a tensor or of metadata.
const LONGEST_NAME: u64 = 65_535;

/// GGML has no more axes.
const MOST_AXES: u32 = 4;

/// Arrays of arrays nest no deeper.
const DEEPEST: u32 = 4;

/// Where no other is given.
const ALIGNMENT: u64 = 32;

/// The fewest bytes that describe a tensor: the length of its name, two counts and an offset.
const SHORTEST_TENSOR: u64 = 24;

/// The contents of a header.
pub(crate) struct Header {
    /// The file and its tensors.
    pub(crate) part: FilePart,
    /// Of how many pieces the file says that it is one.
    pub(crate) pieces: u64,
}

/// Reads and validates the header of `file`.
pub(crate) fn read(bytes: &dyn ReadAt, file: StoredFile) -> Result<Header, Error> {
    let mut cursor = Cursor::new(bytes, file.length());
    let mut found = parse(&mut cursor).map_err(|reason| match cursor.failure.take() {
        Some(e) => file.location().failed("cannot read the header", e),
        None => Error::malformed(file.describe(), reason),
    })?;
    let start = cursor.sequence.position().next_multiple_of(found.settings.alignment);
    check_places(&mut found.tensors, start, &file)?;
    let (mut tensors, mut layouts) = (vec![], BTreeMap::new());
    for Described { name, shape, type_id, offset, bytes } in found.tensors {
        let element = match kinds::of(type_id) {
            Some(kind) => kind.element(),
            None => Element::Other(format!("type {type_id}")),
        };
        let layout = match kinds::of(type_id).map(|kind| kind.form) {
            Some(Form::Float(_) | Form::Integers) => None,
            Some(Form::Blocks(decoder)) => Some(Layout::Blocks { decoder, start: offset }),
            None | Some(Form::Unread(_)) => {
                Some(Layout::Refused(format!("blocks of {} are not decoded", element.name())))
            }
        };
        layouts.extend(layout.map(|layout| (name.clone(), layout)));
        tensors.push(TensorInfo { name: name.into(), shape, element, file: 0, offset, bytes: Some(bytes) });
    }
    let refused = layouts.values().any(|layout| matches!(layout, Layout::Refused(_)));
    let notes = if refused { vec![ADVICE.to_owned()] } else { vec![] };
    let settings = found.settings.of_adapter();
    let part = FilePart { layouts, notes, settings, ..FilePart::new(file, tensors)? };
    Ok(Header { part, pieces: found.settings.pieces })
}

/// Advice for blocks that are not decoded.
const ADVICE: &str = "blocks that are not decoded: convert the file with `llama-quantize --allow-requantize IN.gguf \
                      OUT.gguf F32`, or take the checkpoint it was made from";

/// One tensor as the header describes it.
struct Described {
    name: String,
    /// Axes with the last varying fastest, unlike in the file.
    shape: Vec<usize>,
    type_id: u32,
    /// From the start of the data, later from the start of the file.
    offset: u64,
    /// How many of the file's bytes are its own.
    bytes: u64,
}

/// The metadata that matter.
struct Metadata {
    alignment: u64,
    pieces: u64,
    /// What `general.type` says that it is: "model" where that is not said.
    kind: String,
    /// What the updates of an adapter are scaled by, over their rank.
    alpha: f32,
}

impl Metadata {
    /// What an adapter says of its scale, as others write it. llama.cpp takes an alpha of 0 for none.
    fn of_adapter(&self) -> Option<String> {
        let settings = match self.alpha {
            0.0 => json!({"lora_parameters": {"scale": 1.0}}),
            alpha => json!({"lora_alpha": alpha}),
        };
        (self.kind == "adapter").then(|| settings.to_string())
    }
}

struct Parsed {
    tensors: Vec<Described>,
    settings: Metadata,
}

fn parse(cursor: &mut Cursor<'_>) -> Result<Parsed, String> {
    if cursor.take::<4>()? != *b"GGUF" {
        return Err("does not start with `GGUF`; the file is not what its name says".to_owned());
    }
    match u32::from_le_bytes(cursor.take()?) {
        2 | 3 => {}
        version @ (0 | 1) => {
            return Err(format!("is GGUF of version {version}, which is no longer read; convert it again"));
        }
        swapped if swapped.swap_bytes() <= 3 => {
            return Err("is a big-endian GGUF file; convert it with `gguf-convert-endian`".to_owned());
        }
        version => return Err(format!("is GGUF of version {version}; svdkit reads 2 and 3")),
    }
    let (tensors, pairs) = (cursor.u64()?, cursor.u64()?);
    if tensors.checked_mul(SHORTEST_TENSOR).is_none_or(|bytes| bytes > cursor.left) {
        return Err(format!("the header claims {tensors} tensors, more than the file can hold"));
    }
    let settings = settings(cursor, pairs)?;
    let mut seen = BTreeSet::new();
    let mut found = vec![];
    for _ in 0..tensors {
        let tensor = described(cursor)?;
        if !seen.insert(tensor.name.clone()) {
            return Err(format!("tensor `{}` appears twice", brief(&tensor.name)));
        }
        found.push(tensor);
    }
    Ok(Parsed { tensors: found, settings })
}

/// Passes over `pairs` pairs of metadata.
fn settings(cursor: &mut Cursor<'_>, pairs: u64) -> Result<Metadata, String> {
    let mut settings = Metadata { alignment: ALIGNMENT, pieces: 1, kind: "model".to_owned(), alpha: 0.0 };
    let mut seen = BTreeSet::new();
    for _ in 0..pairs {
        let key = cursor.text()?;
        let type_id = u32::from_le_bytes(cursor.take()?);
        match (key.as_str(), type_id) {
            ("general.type", TEXT) if seen.insert(key.clone()) => {
                settings.kind = cursor.text()?;
                continue;
            }
            ("adapter.lora.alpha", FLOAT) if seen.insert(key.clone()) => {
                settings.alpha = f32::from_le_bytes(cursor.take()?);
                continue;
            }
            _ => {}
        }
        let value =
            value(cursor, type_id, 0).map_err(|what| format!("metadata `{}`: {what}", brief(&key)))?;
        match (key.as_str(), value) {
            ("general.alignment", Some(n)) if n.is_power_of_two() && n <= 1 << 30 => settings.alignment = n,
            ("general.alignment", _) => {
                return Err("metadata `general.alignment` is not a power of two".to_owned());
            }
            ("split.count", Some(n)) => settings.pieces = n,
            _ => {}
        }
        if !seen.insert(key.clone()) {
            return Err(format!("metadata `{}` appears twice", brief(&key)));
        }
    }
    Ok(settings)
}

/// Bytes of one value, by the number of its type; none of texts and arrays.
fn width(type_id: u32) -> Option<u64> {
    match type_id {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

const FLOAT: u32 = 6;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// Passes over one value; gives it if it is a whole number that is not negative.
fn value(cursor: &mut Cursor<'_>, type_id: u32, depth: u32) -> Result<Option<u64>, String> {
    match (type_id, width(type_id)) {
        (0 | 1 | 7, _) => cursor.take().map(|[n]| Some(u64::from(n))),
        (2 | 3, _) => cursor.take().map(|bytes| Some(u64::from(u16::from_le_bytes(bytes)))),
        (4 | 5, _) => cursor.take().map(|bytes| Some(u64::from(u32::from_le_bytes(bytes)))),
        (10 | 11, _) => cursor.u64().map(Some),
        (_, Some(width)) => cursor.skip(width).map(|()| None),
        (TEXT, _) => {
            let length = cursor.u64()?;
            cursor.skip(length).map(|()| None)
        }
        (ARRAY, _) if depth < DEEPEST => {
            let (inner, count) = (u32::from_le_bytes(cursor.take()?), cursor.u64()?);
            match width(inner) {
                Some(width) => cursor.skip(count.saturating_mul(width))?,
                None => (0..count).try_for_each(|_| value(cursor, inner, depth + 1).map(drop))?,
            }
            Ok(None)
        }
        (ARRAY, _) => Err("arrays nest too deep; it is refused".to_owned()),
        (other, _) => Err(format!("its type {other} is unknown")),
    }
}

fn described(cursor: &mut Cursor<'_>) -> Result<Described, String> {
    let name = cursor.text()?;
    let fail = |what: &str| format!("tensor `{}`: {what}", brief(&name));
    let axes = u32::from_le_bytes(cursor.take()?);
    if axes > MOST_AXES {
        return Err(fail(&format!("{axes} axes; {MOST_AXES} are the most")));
    }
    let mut shape = vec![];
    for _ in 0..axes {
        shape.push(usize::try_from(cursor.u64()?).map_err(|_| fail("its shape is too large"))?);
    }
    if !is_countable(&shape) {
        return Err(fail("its shape is too large"));
    }
    shape.reverse();
    let (type_id, offset) = (u32::from_le_bytes(cursor.take()?), cursor.u64()?);
    Ok(Described { name, shape, type_id, offset, bytes: 0 })
}

/// Makes offsets count from the start of the file, and refuses tensors that lie outside it or in each other.
fn check_places(tensors: &mut [Described], start: u64, file: &StoredFile) -> Result<(), Error> {
    tensors.sort_by_key(|tensor| tensor.offset);
    let mut end = start;
    for tensor in tensors.iter_mut() {
        let fail = |reason: String| Error::tensor(file.describe(), &tensor.name, reason);
        let length = length(tensor).map_err(fail)?;
        let begin = start.checked_add(tensor.offset);
        let stop = begin.and_then(|begin| begin.checked_add(length)).filter(|stop| *stop <= file.length());
        let (Some(begin), Some(stop)) = (begin, stop) else {
            return Err(fail(format!(
                "its {length} bytes at {} of the data are not all in the file; download it again",
                tensor.offset
            )));
        };
        if begin < end {
            return Err(fail(format!("its data start at {}, inside those of another tensor", tensor.offset)));
        }
        (tensor.offset, tensor.bytes, end) = (begin, length, stop);
    }
    // The length of a tensor of unknown type follows from the start of the next one.
    let mut next = file.length();
    for tensor in tensors.iter_mut().rev() {
        if kinds::of(tensor.type_id).is_none() {
            tensor.bytes = next.saturating_sub(tensor.offset);
        }
        next = tensor.offset;
    }
    Ok(())
}

/// Bytes of a tensor; 0 where its type is unknown.
fn length(tensor: &Described) -> Result<u64, String> {
    let Some(kind) = kinds::of(tensor.type_id) else { return Ok(0) };
    let row = tensor.shape.last().map_or(1, |n| *n as u64);
    if !row.is_multiple_of(kind.entries) {
        return Err(format!("rows of {row} entries are no blocks of {} {}", kind.entries, kind.name));
    }
    let entries: u64 = tensor.shape.iter().map(|n| *n as u64).product();
    (entries / kind.entries).checked_mul(kind.bytes).ok_or_else(|| "its shape is too large".to_owned())
}

/// Reads sequentially from the start of a file, within the limits of the file and of a header.
struct Cursor<'f> {
    sequence: Sequence<'f>,
    left: u64,
    /// Whether `left` is limited by the file or by the largest header.
    whole: bool,
    /// Why the file could not be read.
    failure: Option<io::Error>,
}

impl<'f> Cursor<'f> {
    fn new(bytes: &'f dyn ReadAt, length: u64) -> Self {
        let whole = length <= LONGEST;
        Self { sequence: Sequence::new(bytes, length), left: length.min(LONGEST), whole, failure: None }
    }

    /// Accounts for the next `count` bytes.
    fn advance(&mut self, count: u64) -> Result<(), String> {
        self.left = self.left.checked_sub(count).ok_or_else(|| {
            if self.whole {
                "the header claims more than the file holds; the file is cut short".to_owned()
            } else {
                format!("a header of more than {LONGEST} bytes is not read")
            }
        })?;
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        self.advance(bytes.len() as u64)?;
        self.sequence.take(bytes).map_err(|e| {
            let reason = e.to_string();
            self.failure = Some(e);
            reason
        })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.take().map(u64::from_le_bytes)
    }

    fn skip(&mut self, count: u64) -> Result<(), String> {
        self.advance(count)?;
        self.sequence.skip(count);
        Ok(())
    }

    /// A name.
    fn text(&mut self) -> Result<String, String> {
        let length = self.u64()?;
        if length > LONGEST_NAME {
            return Err(format!("a name of {length} bytes is not read; {LONGEST_NAME} are the most"));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| "a name in the header is not UTF-8".to_owned())
    }
}
