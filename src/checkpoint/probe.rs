//! What lies at a path that is no checkpoint we read, said so that a person knows what to try next.
//!
//! Looks at names and first bytes only; opens nothing as a model.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Choice, FORMATS, folder, foreign, input};
use crate::error::{Error, brief};

/// Refuses a path that cannot be a checkpoint whatever its bytes say: absent, empty, no file or folder.
pub(super) fn check(path: &Path) -> Result<(), Error> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(absent(path)),
        Err(e) => return Err(Error::io(path, "cannot open", e)),
    };
    if metadata.is_dir() {
        return folder::listing(path).map(drop);
    }
    if let Some(kind) = input::special(&metadata) {
        return Err(Error::malformed(path, format!("is {kind}, not a file or folder")));
    }
    if metadata.len() == 0 {
        return Err(Error::malformed(path, "the file is empty; download or save it again"));
    }
    input::open(path).map(drop)
}

/// An error for a path that does not exist, with the names nearby that look like it.
fn absent(path: &Path) -> Error {
    if let Ok(target) = fs::read_link(path) {
        let target = brief(&target.to_string_lossy());
        return Error::malformed(
            path,
            format!("is a link to `{target}`, which does not exist; download it again"),
        );
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    if !parent.is_dir() {
        let parent = brief(&parent.to_string_lossy());
        return Error::malformed(path, format!("does not exist, nor does the folder `{parent}`"));
    }
    let wanted = path.file_name().unwrap_or_default().to_string_lossy();
    let mut near: Vec<_> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .map(|name| (strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .collect();
    near.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.cmp(y)));
    let near: Vec<_> = near
        .iter()
        .take(3)
        .map(|(_, name)| format!("`{}`", brief(&parent.join(name).to_string_lossy())))
        .collect();
    Error::malformed(
        path,
        match near[..] {
            [] => "does not exist".to_owned(),
            _ => format!("does not exist; did you mean {}?", near.join(" or ")),
        },
    )
}

/// Refuses a file whose first bytes belong to a format that is not read, whatever its name promises.
pub(super) fn refuse_foreign(path: &Path) -> Result<(), Error> {
    match foreign::file(&head(path)?) {
        Some(what) => Err(Error::malformed(path, what)),
        None => Ok(()),
    }
}

/// An error for a file or folder that no format claims.
pub(super) fn unknown(path: &Path, choice: &Choice<'_>) -> Error {
    if path.is_dir() {
        return choice.variant.map_or_else(|| empty_folder(path), |variant| no_variant(path, variant));
    }
    if let Err(e) = refuse_foreign(path) {
        return e;
    }
    let formats: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
    let formats = formats.join(", ");
    Error::malformed(
        path,
        format!("is no checkpoint that svdkit reads ({formats}), by its name and first bytes"),
    )
}

/// The first bytes of a file.
pub(super) fn head(path: &Path) -> Result<Vec<u8>, Error> {
    let mut head = Vec::new();
    let read = input::open(path)?.take(512).read_to_end(&mut head);
    read.map_err(|e| Error::io(path, "cannot read", e))?;
    Ok(head)
}

/// Names that look like weights of some kind.
const WEIGHTS: &[&str] =
    &[".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".npz", ".npy", ".onnx"];

/// An error for a folder without a model: what was looked for, and what is there instead.
fn empty_folder(folder: &Path) -> Error {
    let names = folder::listing(folder).unwrap_or_default();
    if let Some(what) = foreign::folder(folder, &names) {
        return Error::malformed(folder, what);
    }
    let weights: Vec<_> =
        names.iter().filter(|name| WEIGHTS.iter().any(|ending| name.ends_with(ending))).collect();
    // Two levels: a download cache keeps its models in `snapshots/COMMIT`.
    let below =
        subfolders(folder).into_iter().flat_map(|below| [vec![below.clone()], subfolders(&below)].concat());
    let inside: Vec<_> = below
        .filter(|folder| FORMATS.iter().any(|format| (format.sniff)(folder, &Choice::default())))
        .map(|folder| folder.to_string_lossy().into_owned())
        .collect();
    let advice = if !weights.is_empty() {
        format!("; there is {}: name the file to open it", folder::quoted(&weights))
    } else if !inside.is_empty() {
        format!("; a model is in {}", folder::quoted(&inside))
    } else {
        String::new()
    };
    let reason = format!(
        "holds no model: looked for `*.safetensors`, their index, `pytorch_model.bin` and `*.gguf`{advice}"
    );
    Error::malformed(folder, reason)
}

/// An error for a folder without files of a variant.
fn no_variant(folder: &Path, variant: &str) -> Error {
    let there: Vec<_> = folder::variants(folder).into_iter().collect();
    let advice = match there[..] {
        [] => String::new(),
        _ => format!("; it has {}", folder::quoted(&there)),
    };
    Error::malformed(folder, format!("holds no files of the variant `{}`{advice}", brief(variant)))
}

/// The folders in `folder`, by name.
pub(super) fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let is_folder = |entry: &fs::DirEntry| {
        let kind = entry.file_type();
        kind.is_ok_and(|kind| if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() })
    };
    let mut folders: Vec<_> = entries.filter(is_folder).map(|entry| entry.path()).collect();
    folders.sort();
    folders
}
