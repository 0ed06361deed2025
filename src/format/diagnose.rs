//! Diagnoses a path that is not a supported checkpoint, with advice for the user.
//!
//! Looks at names and first bytes only; opens nothing as a model.

use super::candidate::{Candidate, CandidateKind};
use super::presence::subfolders;
use super::{FORMATS, folder, unsupported};
use crate::error::{Error, brief, quoted};
use crate::store::Location;

/// An error for a file or folder that no format claims.
pub(crate) fn unknown(candidate: &Candidate<'_>) -> Error {
    let location = candidate.location;
    let head = match &candidate.content {
        CandidateKind::Folder(names) => {
            let variant = candidate.choice.variant;
            return variant.map_or_else(
                || empty_folder(location, names),
                |variant| no_variant(location, names, variant),
            );
        }
        CandidateKind::File(head) => head,
    };
    if let Err(e) = unsupported::refuse(location, head) {
        return e;
    }
    let formats: Vec<_> = FORMATS.iter().filter(|format| format.is_read()).map(|f| f.name).collect();
    location.malformed(format!(
        "is not a checkpoint svdkit can read ({}), by its name and first bytes",
        formats.join(", ")
    ))
}

/// An error for a folder without a model: what was searched for, and what it holds.
fn empty_folder(folder: &Location, names: &[String]) -> Error {
    if let Some(what) = unsupported::folder(folder, names) {
        return folder.malformed(what);
    }
    let weights: Vec<_> = names.iter().filter(|name| super::names_weights(name)).collect();
    // Two levels: a download cache keeps its models in `snapshots/COMMIT`.
    let below =
        subfolders(folder).into_iter().flat_map(|below| [vec![below.clone()], subfolders(&below)].concat());
    let inside: Vec<_> = below
        .filter(super::is_recognized_at)
        .map(|folder| folder.describe().to_string_lossy().into_owned())
        .collect();
    let advice = if !weights.is_empty() {
        format!("; there is {}: name the file to open it", quoted(&weights))
    } else if !inside.is_empty() {
        format!("; a model is in {}", quoted(&inside))
    } else {
        String::new()
    };
    let reason = format!(
        "holds no model: looked for `*.safetensors`, their index, `pytorch_model.bin` and `*.gguf`{advice}"
    );
    folder.malformed(reason)
}

/// An error for a folder without files of a variant.
fn no_variant(folder: &Location, names: &[String], variant: &str) -> Error {
    let there: Vec<_> = folder::variants(names).into_iter().collect();
    let advice = match there[..] {
        [] => String::new(),
        _ => format!("; it has {}", quoted(&there)),
    };
    folder.malformed(format!("holds no files of the variant `{}`{advice}", brief(variant)))
}
