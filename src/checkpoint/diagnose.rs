//! What lies at a path that is no checkpoint we read, said so that a person knows what to try next.
//!
//! Looks at names and first bytes only; opens nothing as a model.

use super::{Candidate, Content, FORMATS, folder, unsupported};
use crate::error::{Error, brief};
use crate::store::{Entry, Location, ReadAt, StoredFile};

/// What is read of a file to tell what it is.
const HEAD: usize = 512;

/// Refuses what cannot be a checkpoint whatever its bytes say: absent, empty, not a file or folder.
pub(super) fn check(location: &Location) -> Result<(), Error> {
    match location.entry()? {
        Entry::File(Some(0)) => Err(location.malformed("the file is empty; download or save it again")),
        Entry::Folder | Entry::File(_) => Ok(()),
        Entry::Special(kind) => Err(location.malformed(format!("is {kind}, not a file or folder"))),
        Entry::Broken(target) => {
            let target = brief(&target.to_string_lossy());
            let reason = format!("is a link to `{target}`, which does not exist; download it again");
            Err(location.malformed(reason))
        }
        Entry::Absent => Err(absent(location)),
    }
}

/// An error for what does not exist, with the names nearby that look like it.
fn absent(location: &Location) -> Error {
    let parent = match location.parent() {
        Some(parent) if parent.path().as_os_str().is_empty() && parent.local().is_some() => parent.join("."),
        Some(parent) => parent,
        None => location.clone(),
    };
    if !parent.is_folder() {
        let parent = brief(&parent.describe().to_string_lossy());
        return location.malformed(format!("does not exist, nor does the folder `{parent}`"));
    }
    let wanted = location.name();
    let listed = parent.list().unwrap_or_default().into_iter();
    let mut near: Vec<_> = listed
        .map(|listed| listed.name)
        .map(|name| (strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .collect();
    near.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.cmp(y)));
    let near: Vec<_> = near
        .iter()
        .take(3)
        .map(|(_, name)| format!("`{}`", brief(&parent.join(name).describe().to_string_lossy())))
        .collect();
    location.malformed(match near[..] {
        [] => "does not exist".to_owned(),
        _ => format!("does not exist; did you mean {}?", near.join(" or ")),
    })
}

/// What lies at `location`, by names or first bytes.
pub(super) fn content(location: &Location) -> Result<Content, Error> {
    check(location)?;
    if location.is_folder() {
        return folder::listing(location).map(Content::Folder);
    }
    location.head(HEAD).map(Content::File)
}

/// A file of weights that was opened, and how it begins.
pub(super) struct Opened {
    pub(super) bytes: Box<dyn ReadAt>,
    pub(super) file: StoredFile,
    pub(super) head: Vec<u8>,
}

/// Opens the file at `location`.
pub(super) fn open(location: &Location) -> Result<Opened, Error> {
    check(location)?;
    let (bytes, file) = location.open()?;
    let mut head = vec![0; HEAD.min(usize::try_from(file.length()).unwrap_or(HEAD))];
    bytes.read_at(&mut head, 0).map_err(|e| location.failed("cannot read", e))?;
    Ok(Opened { bytes, file, head })
}

impl Opened {
    /// Refuses a file whose first bytes belong to a format that is not read, whatever its name promises.
    pub(super) fn refuse_unsupported(&self) -> Result<(), Error> {
        refuse_unsupported(self.file.location(), &self.head)
    }
}

fn refuse_unsupported(location: &Location, head: &[u8]) -> Result<(), Error> {
    unsupported::file(head).map_or(Ok(()), |what| Err(location.malformed(what)))
}

/// An error for a file or folder that no format claims.
pub(super) fn unknown(candidate: &Candidate<'_>) -> Error {
    let location = candidate.location;
    let head = match &candidate.content {
        Content::Folder(names) => {
            let variant = candidate.choice.variant;
            return variant.map_or_else(
                || empty_folder(location, names),
                |variant| no_variant(location, names, variant),
            );
        }
        Content::File(head) => head,
    };
    if let Err(e) = refuse_unsupported(location, head) {
        return e;
    }
    let formats: Vec<_> = FORMATS.iter().filter(|format| format.is_read()).map(|f| f.name).collect();
    location.malformed(format!(
        "is not a checkpoint svdkit can read ({}), by its name and first bytes",
        formats.join(", ")
    ))
}

/// An error for a folder without a model: what was looked for, and what is there instead.
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
        format!("; there is {}: name the file to open it", folder::quoted(&weights))
    } else if !inside.is_empty() {
        format!("; a model is in {}", folder::quoted(&inside))
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
        _ => format!("; it has {}", folder::quoted(&there)),
    };
    folder.malformed(format!("holds no files of the variant `{}`{advice}", brief(variant)))
}

/// The folders in `folder`, by name.
pub(super) fn subfolders(folder: &Location) -> Vec<Location> {
    let listed = folder.list().unwrap_or_default().into_iter();
    let mut names: Vec<_> = listed.filter(|listed| listed.is_folder).map(|listed| listed.name).collect();
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}
