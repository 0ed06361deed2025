//! Singular values on disk: all spectra of a run in one safetensors file, one f64 vector a matrix.
//!
//! The metadata's `floors` is a JSON object that gives each spectrum's accuracy floor: values below are rounding.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::safetensors::{self, Entry};
use crate::spectrum::Spectrum;

/// The file's format in its metadata.
const FORMAT: &str = "svdkit.spectra";

/// Writes `spectra` to `out`, in the order given.
///
/// # Errors
/// When two spectra have the same name, or `out` takes no more.
pub fn write_spectra(out: &mut dyn Write, spectra: &[(&str, &Spectrum)]) -> io::Result<()> {
    let floors: Map<String, Value> =
        spectra.iter().map(|(name, spectrum)| ((*name).to_owned(), json!(spectrum.floor()))).collect();
    // Metadata may only be text.
    let floors = Value::Object(floors).to_string();
    let metadata = json!({"format": FORMAT, "svdkit": env!("CARGO_PKG_VERSION"), "floors": floors});
    let entry = |(name, spectrum): &(&str, &Spectrum)| {
        let count = spectrum.values().len() as u64;
        Entry { name: (*name).to_owned(), dtype: "F64".to_owned(), shape: vec![count], bytes: 8 * count }
    };
    let entries: Vec<Entry> = spectra.iter().map(entry).collect();
    let by_name: BTreeMap<&str, &Spectrum> = spectra.iter().copied().collect();
    safetensors::write(out, Some(metadata), &entries, |entry, out| {
        let values = by_name.get(entry.name.as_str()).map_or(&[][..], |spectrum| spectrum.values());
        values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
    })
}
