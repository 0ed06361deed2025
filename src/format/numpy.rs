//! NumPy's own files: one array (`.npy`), or a zip archive of them (`.npz`) whose entries are stored as they are.
//!
//! An array names its type and shape in a line of Python, which is read as text by a small strict parser; nothing is
//! evaluated. Arrays of Python objects are pickles inside and are never read.

use std::collections::BTreeMap;

use super::candidate::{Candidate, CandidateKind};
use super::parts::{FilePart, Layout, Parts};
use super::strides::is_countable;
use super::zip::{Archive, Extent};
use super::{Format, opened};
use crate::error::{Error, brief};
use crate::layer::{Element, TensorInfo};
use crate::matrix::Dtype;
use crate::store::ReadAt;

/// The table entry.
pub(crate) const FORMAT: Format = Format::read("numpy", &[".npz", ".npy"], sniff, parts);

const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header that is read: an array without named fields has about 128 bytes.
const LONGEST: u64 = 65_535;

/// No weight has more axes than this; an array that claims so is hostile.
const MOST_AXES: usize = 32;

/// An array, or an archive whose first entry is one.
fn sniff(candidate: &Candidate<'_>) -> bool {
    let CandidateKind::File(head) = &candidate.content else { return false };
    head.starts_with(MAGIC) || head.starts_with(b"PK\x03\x04") && first_entry(head).ends_with(b".npy")
}

/// The name of the first entry of an archive that starts with `head`.
fn first_entry(head: &[u8]) -> &[u8] {
    let length = head.get(26..28).map_or(0, |b| usize::from(b[0]) + 256 * usize::from(b[1]));
    head.get(30..30 + length).unwrap_or_default()
}

fn parts(candidate: &Candidate<'_>) -> Result<Parts, Error> {
    let location = candidate.location;
    let opened::Opened { bytes, file, head } = opened::open(location)?;
    let (mut tensors, mut layouts) = (vec![], BTreeMap::new());
    let mut add = |name: &str, extent: Extent| {
        let array = array(bytes.as_ref(), extent).map_err(|reason| location.tensor(name, reason))?;
        let Array { element, shape, offset, bytes, layout } = array;
        layouts.extend(layout.map(|layout| (name.to_owned(), layout)));
        tensors.push(TensorInfo { name: name.into(), shape, element, file: 0, offset, bytes: Some(bytes) });
        Ok::<_, Error>(())
    };
    if head.starts_with(MAGIC) {
        let name = location.path().file_stem().unwrap_or_default().to_string_lossy();
        add(&name, Extent { offset: 0, length: file.length() })?;
    } else {
        let archive = Archive::open(bytes.as_ref(), &file, "numpy.savez")?;
        for entry in archive.names() {
            let Some(name) = entry.strip_suffix(".npy") else {
                return Err(
                    location.malformed(format!("entry `{}` of the archive is not an array", brief(entry)))
                );
            };
            if let Some(extent) = archive.find(entry)? {
                add(name, extent)?;
            }
        }
    }
    let part = FilePart { layouts, ..FilePart::new(file, tensors)? };
    Ok(Parts { parts: vec![part], notes: vec![] })
}

/// One array of a file.
struct Array {
    element: Element,
    shape: Vec<usize>,
    /// Position of its first entry in the file.
    offset: u64,
    /// How many bytes its entries take.
    bytes: u64,
    layout: Option<Layout>,
}

/// Reads and validates the header of the array at `extent`.
fn array(bytes: &dyn ReadAt, extent: Extent) -> Result<Array, String> {
    let at = |out: &mut [u8], offset| {
        bytes.read_at(out, offset).map_err(|e| format!("cannot read its header: {e}"))
    };
    let cut = || "its header is cut short; download the file again".to_owned();
    let mut start = [0; 12];
    let long = extent.length >= 12;
    let known = start.get_mut(..extent.length.min(12) as usize).ok_or_else(cut)?;
    at(known, extent.offset)?;
    if !long || !start.starts_with(MAGIC) {
        return Err("does not start as an array does".to_owned());
    }
    let [.., version, _, a, b, c, d] = start;
    let (first, length) = match version {
        1 => (10, u64::from(u16::from_le_bytes([a, b]))),
        2 | 3 => (12, u64::from(u32::from_le_bytes([a, b, c, d]))),
        other => return Err(format!("is an array of version {other}, which is unknown")),
    };
    if length > LONGEST {
        return Err(format!("a header of {length} bytes is not read; {LONGEST} are the most"));
    }
    let data = extent.length.checked_sub(first + length).ok_or_else(cut)?;
    let mut text = vec![0; length as usize];
    at(&mut text, extent.offset + first)?;
    let text = String::from_utf8(text).map_err(|_| "its header is not text".to_owned())?;
    let header = Literal { rest: &text }
        .header()
        .ok_or_else(|| format!("its header is not understood: `{}`", brief(text.trim_end())))?;
    let (element, size) = element(&header.descr);
    check_length(&header.shape, size, data)?;
    let layout = match &element {
        Err(reason) => Some(Layout::Refused(reason.clone())),
        Ok(Element::Float(_)) => columns(&header),
        Ok(_) => None,
    };
    let element =
        element.unwrap_or_else(|_| Element::Other(name(header.descr.trim_start_matches('|'), None)));
    Ok(Array { element, shape: header.shape, offset: extent.offset + first + length, bytes: data, layout })
}

/// Refuses an array whose stored bytes don't match its entries.
fn check_length(shape: &[usize], size: Option<u64>, data: u64) -> Result<(), String> {
    let too_large = || "its shape is too large".to_owned();
    if !is_countable(shape) {
        return Err(too_large());
    }
    let Some(size) = size else { return Ok(()) };
    let needed = shape.iter().try_fold(size, |product, axis| product.checked_mul(*axis as u64));
    match needed.ok_or_else(too_large)? {
        needed if needed == data => Ok(()),
        needed => Err(format!("{data} bytes are stored, but {shape:?} entries need {needed} bytes")),
    }
}

/// How an array is read that is stored column by column.
fn columns(header: &Header) -> Option<Layout> {
    if matches!(header.order, Order::Rows) || header.shape.len() < 2 {
        return None;
    }
    let steps = header.shape.iter().scan(1u64, |step, axis| {
        let stride = *step;
        *step = stride.saturating_mul(*axis as u64);
        Some(stride)
    });
    Some(Layout::Strided(steps.collect()))
}

/// The element type that `descr` names, or why it is unsupported; bytes of one entry, if known.
fn element(descr: &str) -> (Result<Element, String>, Option<u64>) {
    let code = descr.trim_start_matches(['<', '>', '|', '=']);
    let size = code.get(1..).and_then(|digits| digits.parse::<u64>().ok());
    let floats = [("f2", Dtype::F16), ("f4", Dtype::F32), ("f8", Dtype::F64)];
    let float = floats.iter().find(|(name, _)| *name == code).map(|(_, dtype)| *dtype);
    let element = match (float, code.chars().next()) {
        (Some(_), _) if descr.starts_with('>') => {
            Err("is stored in big-endian order; save it after `.astype(x.dtype.newbyteorder('<'))`"
                .to_owned())
        }
        (Some(dtype), _) => Ok(Element::Float(dtype)),
        (_, Some('O')) => Err("holds Python objects, which are never loaded".to_owned()),
        (_, Some('V')) => {
            Err("is of a type that NumPy does not know (bfloat16, perhaps); save it as float32".to_owned())
        }
        (_, Some('[')) => Err("has named fields; save each as an array".to_owned()),
        _ => Ok(Element::Other(name(code, size))),
    };
    // Texts count characters of four bytes; objects are of any length.
    match code.chars().next() {
        Some('U') => (element, size.and_then(|n| n.checked_mul(4))),
        Some('O' | '[' | 'M' | 'm') => (element, None),
        _ => (element, size),
    }
}

/// The name in reports of a type that is not a weight.
fn name(code: &str, size: Option<u64>) -> String {
    match (code.chars().next(), size) {
        (Some('b'), _) => "bool".to_owned(),
        (Some(kind @ ('i' | 'u' | 'c' | 'f')), Some(size @ 1..=64)) => format!("{kind}{}", size * 8),
        (Some('['), _) => "fields".to_owned(),
        _ => brief(code),
    }
}

/// The contents of an array's header.
struct Header {
    descr: String,
    order: Order,
    shape: Vec<usize>,
}

#[derive(Clone, Copy)]
enum Order {
    Rows,
    Columns,
}

/// The rest of a Python literal.
struct Literal<'t> {
    rest: &'t str,
}

impl<'t> Literal<'t> {
    /// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, its three keys in any order.
    fn header(mut self) -> Option<Header> {
        let (mut descr, mut order, mut shape) = (None, None, None);
        self.eat('{')?;
        while self.eat('}').is_none() {
            let key = self.text()?;
            self.eat(':')?;
            let fresh = match key {
                "descr" => descr.replace(self.descr()?).is_none(),
                "fortran_order" => order.replace(self.truth()?).is_none(),
                "shape" => shape.replace(self.shape()?).is_none(),
                _ => false,
            };
            if !fresh || (self.eat(',').is_none() && !self.rest.trim_start().starts_with('}')) {
                return None;
            }
        }
        let header = Header { descr: descr?, order: order?, shape: shape? };
        self.rest.trim().is_empty().then_some(header)
    }

    fn eat(&mut self, wanted: char) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(wanted)?;
        Some(())
    }

    fn text(&mut self) -> Option<&'t str> {
        let rest = self.rest.trim_start();
        let quote = rest.chars().next().filter(|c| ['\'', '"'].contains(c))?;
        let (text, rest) = rest.get(1..)?.split_once(quote)?;
        self.rest = rest;
        Some(text)
    }

    /// A type; of one with fields only that it has them.
    fn descr(&mut self) -> Option<String> {
        let rest = self.rest.trim_start();
        if !rest.starts_with('[') {
            return self.text().map(str::to_owned);
        }
        let mut depth = 0;
        let close = rest.char_indices().find(|(_, c)| {
            depth += i32::from(*c == '[') - i32::from(*c == ']');
            depth == 0 && *c == ']'
        });
        let (fields, rest) = rest.split_at_checked(close?.0 + 1)?;
        self.rest = rest;
        Some(fields.to_owned())
    }

    fn truth(&mut self) -> Option<Order> {
        let rest = self.rest.trim_start();
        let words = [("False", Order::Rows), ("True", Order::Columns)];
        let (word, order) = words.into_iter().find(|(word, _)| rest.starts_with(word))?;
        self.rest = &rest[word.len()..];
        Some(order)
    }

    fn shape(&mut self) -> Option<Vec<usize>> {
        let mut shape = vec![];
        self.eat('(')?;
        while self.eat(')').is_none() {
            let rest = self.rest.trim_start();
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            shape.push(rest[..end].parse().ok()?);
            self.rest = &rest[end..];
            let more = self.eat(',').is_some();
            if shape.len() > MOST_AXES || (!more && !self.rest.trim_start().starts_with(')')) {
                return None;
            }
        }
        Some(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, &[usize])>) {
        let header = Literal { rest: text }.header();
        let got = header.as_ref().map(|header| (header.descr.as_str(), &header.shape[..]));
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn headers_are_read_as_text_and_nothing_is_evaluated() {
        check("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }  \n", Some(("<f4", &[3, 4])));
        check("{\"shape\":(),\"descr\":\"|u1\",\"fortran_order\":True}", Some(("|u1", &[])));
        check(
            "{'descr': [('a', '<f4'), ('b', '<i4', (2,))], 'fortran_order': False, 'shape': (7,), }",
            Some(("[('a', '<f4'), ('b', '<i4', (2,))]", &[7])),
        );
        check("{'descr': '<f4', 'fortran_order': False}", None);
        check("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}", None);
        check("{'descr': '<f4', 'fortran_order': False, 'shape': (3 4)}", None);
        check("{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 4)}", None);
        check("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", None);
        check("{'descr': '<f4', 'fortran_order': exec('x'), 'shape': (3,)}", None);
        check("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)} x", None);
        check("{'descr': [[[", None);
        check("", None);
    }
}
