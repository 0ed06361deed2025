//! Singular values on disk: all spectra of a run in one safetensors file, one f64 vector a matrix.
//!
//! The metadata's `floors` is a JSON object that gives each spectrum's accuracy floor: values below are rounding.
//! The header is written here because the library orders its metadata by a hash; the same run gives the same bytes.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::error::brief;
use crate::spectrum::Spectrum;

/// What the metadata of the file says it is.
const FORMAT: &str = "svdkit.spectra";

/// Writes `spectra` to `out`, in the order given.
///
/// # Errors
/// When two spectra have the same name, or `out` takes no more.
pub fn write_spectra(out: &mut dyn Write, spectra: &[(&str, &Spectrum)]) -> io::Result<()> {
    let mut names = BTreeSet::from(["__metadata__"]);
    if let Some((name, _)) = spectra.iter().find(|(name, _)| !names.insert(name)) {
        return Err(io::Error::other(format!("two spectra would be called `{}`", brief(name))));
    }
    let header = header(spectra);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for value in spectra.iter().flat_map(|(_, spectrum)| spectrum.values()) {
        out.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

/// The header, padded with spaces so that the data start at a multiple of eight bytes.
fn header(spectra: &[(&str, &Spectrum)]) -> String {
    let mut entries = Map::new();
    let floors: Map<String, Value> =
        spectra.iter().map(|(name, spectrum)| ((*name).to_owned(), json!(spectrum.floor()))).collect();
    // Metadata may only be text.
    let floors = Value::Object(floors).to_string();
    let metadata = json!({"format": FORMAT, "svdkit": env!("CARGO_PKG_VERSION"), "floors": floors});
    entries.insert("__metadata__".to_owned(), metadata);
    let mut start = 0;
    for (name, spectrum) in spectra {
        let count = spectrum.values().len();
        let end = start + 8 * count;
        let entry = json!({"dtype": "F64", "shape": [count], "data_offsets": [start, end]});
        entries.insert((*name).to_owned(), entry);
        start = end;
    }
    let text = Value::Object(entries).to_string();
    let padding = text.len().next_multiple_of(8) - text.len();
    text + &" ".repeat(padding)
}
