//! Singular values on disk: all spectra of a run in one safetensors file, one f64 vector a matrix.
//!
//! The metadata's `floors` is a JSON object that gives each spectrum's accuracy floor: values below are rounding.
//! The header is written here because the library orders its metadata by a hash; the same run gives the same bytes.

use std::collections::BTreeSet;
#[cfg(unix)]
use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use crate::error::{Error, brief};
use crate::spectrum::Spectrum;

/// What the metadata of the file says it is.
const FORMAT: &str = "svdkit.spectra";

/// What the name of a file begins with until it is complete.
const PREFIX: &str = ".svdkit-";

/// Writes `spectra` to `path`, in the order given. The file appears whole or not at all.
///
/// # Errors
/// When two spectra have the same name, or the file cannot be written.
pub fn write_spectra(path: &Path, spectra: &[(&str, &Spectrum)]) -> Result<(), Error> {
    let mut names = BTreeSet::from(["__metadata__"]);
    if let Some((name, _)) = spectra.iter().find(|(name, _)| !names.insert(name)) {
        return Err(Error::malformed(path, format!("two spectra would be called `{}`", brief(name))));
    }
    if path.exists() && !path.is_file() {
        return Err(Error::malformed(path, "is not a file; it will not be replaced by one"));
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |e| Error::io(path, "cannot write", e);
    let mut file = temporary(folder).map_err(failed)?;
    write(file.as_file_mut(), spectra).map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

fn write(file: &mut impl Write, spectra: &[(&str, &Spectrum)]) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    let header = header(spectra);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for value in spectra.iter().flat_map(|(_, spectrum)| spectrum.values()) {
        out.write_all(&value.to_le_bytes())?;
    }
    out.flush()
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

/// A temporary file with the rights of an ordinary one: readable by all, as far as the user's mask allows.
#[cfg(unix)]
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let rights = Permissions::from_mode(0o666);
    tempfile::Builder::new().prefix(PREFIX).permissions(rights).tempfile_in(folder)
}

/// A temporary file.
#[cfg(not(unix))]
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(PREFIX).tempfile_in(folder)
}
