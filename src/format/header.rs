//! The header of a safetensors file, checked before anything in it is believed.
//!
//! Parsed here and not by the safetensors crate, which refuses a whole file for one unknown dtype, keeps the last
//! of two equal names, and does not say which tensor is wrong. Its table of dtypes is used. Reads no weights.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use safetensors::tensor::Dtype as Stored;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use crate::error::{Error, brief};
use crate::layer::{Element, TensorInfo};
use crate::matrix::Dtype;
use crate::store::{ReadAt, Room, StoredFile, check_header, zeros};
use crate::text::Text;

/// The longest header that is read: the same bound as the safetensors library's.
pub(crate) const LONGEST: u64 = 100_000_000;

/// No weight has more axes than this; a header that claims so is hostile.
const MOST_AXES: usize = 32;

/// The key that holds free text and no tensor.
const METADATA: &str = "__metadata__";

/// Where in the free text Diffusers puts the settings of an adapter.
const SETTINGS: &str = "lora_adapter_metadata";

/// The contents of a header.
pub(crate) struct Header {
    /// In the order of their bytes.
    pub(crate) tensors: Vec<TensorInfo>,
    /// The settings of an adapter.
    pub(crate) settings: Option<String>,
}

/// Reads and validates the header of `file`.
pub(crate) fn read(bytes: &dyn ReadAt, file: &StoredFile) -> Result<Header, Error> {
    let malformed = |reason: String| Error::malformed(file.describe(), reason);
    let at = |out: &mut [u8], offset| {
        bytes.read_at(out, offset).map_err(|e| file.location().failed("cannot read the header", e))
    };
    if file.length() < 8 {
        return Err(malformed(format!(
            "{} bytes are too few for a safetensors file, which starts with an 8-byte header length",
            file.length()
        )));
    }
    let mut length = [0; 8];
    at(&mut length, 0)?;
    let length = u64::from_le_bytes(length);
    if length > file.length() - 8 {
        return Err(malformed(format!(
            "the header claims {length} bytes, but only {} follow; the file is cut short or not safetensors",
            file.length() - 8
        )));
    }
    if length > LONGEST {
        return Err(malformed(format!("the header claims {length} bytes; more than {LONGEST} are not read")));
    }
    check_header(length).map_err(malformed)?;
    let mut text = zeros(length).map_err(malformed)?;
    at(&mut text, 8)?;
    // Each tensor's description stands in braces.
    let tensors = text.split(|byte| *byte == b'{').count() - 1;
    let _room = Room::take(tensors, text.len()).map_err(malformed)?;
    let (entries, mut free) = parse(&text).map_err(malformed)?;
    drop(text);
    Ok(Header { tensors: layout(entries, file, 8 + length)?, settings: free.remove(SETTINGS) })
}

/// Tensors by name, and free text by its key.
type HeaderFields = (Vec<(Text, Entry)>, BTreeMap<String, String>);

/// One tensor as the header describes it.
#[derive(Deserialize)]
#[serde(expecting = "a tensor's type, shape and offsets")]
struct Entry {
    dtype: StoredType,
    shape: Shape,
    data_offsets: (u64, u64),
}

/// Parses the text of a header, or says what is wrong.
fn parse(text: &[u8]) -> Result<HeaderFields, String> {
    let text = std::str::from_utf8(text)
        .map_err(|e| format!("the header is not UTF-8 at its byte {}", e.valid_up_to()))?;
    if !text.starts_with('{') {
        return Err("the header does not start with `{`; the file is not safetensors".to_owned());
    }
    let mut key = None;
    let mut json = serde_json::Deserializer::from_str(text);
    Entries { key: &mut key }.deserialize(&mut json).and_then(|entries| json.end().map(|()| entries)).map_err(
        |e| {
            let place = key.map_or_else(String::new, |key| format!(" (in `{}`)", brief(&key)));
            format!("the header is not valid: {}{place}", brief(&e.to_string()))
        },
    )
}

/// Collects entries and remembers the key it is at, so that an error can name it.
struct Entries<'k> {
    key: &'k mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = HeaderFields;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = HeaderFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from names to tensors")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let (mut entries, mut free) = (Vec::<(Text, Entry)>::new(), None);
        // A digest of each name says nearly always that it is new: a set of names takes as much memory as they do.
        let (mut digests, hasher) = (HashSet::new(), RandomState::new());
        while let Some(key) = map.next_key::<String>()? {
            *self.key = Some(key.clone());
            let seen = if key == METADATA {
                free.replace(map.next_value::<Option<_>>()?.unwrap_or_default()).is_some()
            } else {
                let entry = map.next_value()?;
                let seen =
                    !digests.insert(hasher.hash_one(&key)) && entries.iter().any(|(name, _)| *name == key);
                entries.push((key.into(), entry));
                seen
            };
            if seen {
                return Err(de::Error::custom("the name appears twice"));
            }
            *self.key = None;
        }
        Ok((entries, free.unwrap_or_default()))
    }
}

/// A type by its name; one that the library does not know keeps its name, brief and in lower case.
enum StoredType {
    Known(Stored),
    Unknown(Box<str>),
}

impl<'de> Deserialize<'de> for StoredType {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        let known: de::value::StrDeserializer<'_, de::value::Error> = name.as_ref().into_deserializer();
        Ok(match Stored::deserialize(known) {
            Ok(stored) => Self::Known(stored),
            Err(_) => Self::Unknown(brief(&name.to_lowercase()).into()),
        })
    }
}

/// A shape with a bounded number of axes, so that a header cannot ask for more memory than it is long.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Axes;
        impl<'de> Visitor<'de> for Axes {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a shape of at most {MOST_AXES} axes")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<Shape, S::Error> {
                let mut axes = Vec::new();
                while let Some(axis) = sequence.next_element()? {
                    if axes.len() == MOST_AXES {
                        return Err(de::Error::invalid_length(MOST_AXES + 1, &self));
                    }
                    axes.push(axis);
                }
                Ok(Shape(axes))
            }
        }
        deserializer.deserialize_seq(Axes)
    }
}

/// Checks that the entries tile the bytes from `start` to the end of `file`, each with the size its shape needs.
fn layout(mut entries: Vec<(Text, Entry)>, file: &StoredFile, start: u64) -> Result<Vec<TensorInfo>, Error> {
    entries.sort_by(|(a, one), (b, other)| one.data_offsets.cmp(&other.data_offsets).then_with(|| a.cmp(b)));
    let mut end = 0;
    let available = file.length() - start;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let fail = |reason| Error::tensor(file.describe(), &name, reason);
        let (from, to) = entry.data_offsets;
        let length = to
            .checked_sub(from)
            .ok_or_else(|| fail(format!("its data offsets [{from}, {to}] are reversed")))?;
        if to > available {
            return Err(fail(format!(
                "its data end at {to}, but the file has {available} bytes of data; download the file again"
            )));
        }
        if from < end {
            return Err(fail(format!("its data start at {from}, inside those of another tensor")));
        }
        if from > end {
            return Err(fail(format!("{} bytes before its data belong to no tensor", from - end)));
        }
        end = to;
        let shape = shape(entry.shape.0).ok_or_else(|| fail("its shape is too large".to_owned()))?;
        let element = element(entry.dtype, &shape, length).map_err(fail)?;
        tensors.push(TensorInfo { name, shape, element, file: 0, offset: start + from, bytes: Some(length) });
    }
    if end < available {
        return Err(Error::malformed(
            file.describe(),
            format!("{} bytes after the last tensor belong to none", available - end),
        ));
    }
    Ok(tensors)
}

/// The axes as indices of this machine, if their product is one too.
fn shape(axes: Vec<u64>) -> Option<Vec<usize>> {
    let axes: Vec<usize> = axes.into_iter().map(|n| usize::try_from(n).ok()).collect::<Option<_>>()?;
    // Zeros are set aside, so that `[0, huge, huge]` can't bypass the check.
    let product = axes.iter().filter(|n| **n != 0).try_fold(1usize, |product, n| product.checked_mul(*n));
    product.map(|_| axes)
}

/// The element type named `dtype`, once `length` is what `shape` needs. A type unknown to the library is kept by
/// name: its tensor is listed, and the others can still be read.
fn element(dtype: StoredType, shape: &[usize], length: u64) -> Result<Element, String> {
    let stored = match dtype {
        StoredType::Known(stored) => stored,
        StoredType::Unknown(name) => return Ok(Element::Other(name.into())),
    };
    let entries: u64 = shape.iter().map(|n| *n as u64).product();
    let needed =
        entries.checked_mul(stored.bitsize() as u64).filter(|bits| bits % 8 == 0).map(|bits| bits / 8);
    if needed != Some(length) {
        let needed = needed.map_or_else(|| "another number of".to_owned(), |n| n.to_string());
        return Err(format!(
            "{length} bytes are stored, but {shape:?} entries of {stored} need {needed} bytes"
        ));
    }
    Ok(match stored {
        Stored::F64 => Element::Float(Dtype::F64),
        Stored::F32 => Element::Float(Dtype::F32),
        Stored::F16 => Element::Float(Dtype::F16),
        Stored::BF16 => Element::Float(Dtype::Bf16),
        Stored::F8_E4M3 => Element::Float(Dtype::F8E4M3),
        Stored::F8_E5M2 => Element::Float(Dtype::F8E5M2),
        _ => Element::Other(stored.to_string().to_lowercase()),
    })
}
