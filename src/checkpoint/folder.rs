//! Which files of a folder make up one checkpoint: an index and its shards, a file of a usual name, or what is there.
//!
//! Looks at names and indices; the files themselves are opened by the format that asks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::index;
use super::stored::WeightFile;
use crate::error::{Error, brief};
use crate::layer::{TensorInfo, natural};

/// The names that a format's files go by.
pub(super) struct Family {
    /// Index files, the first that is there wins.
    pub(super) indices: &'static [&'static str],
    /// Whole models, the first that is there wins.
    pub(super) files: &'static [&'static str],
    /// Endings by which any other file is taken for weights.
    pub(super) endings: &'static [&'static str],
}

/// A file and the tensors its header lists.
pub(super) type Part = (WeightFile, Vec<TensorInfo>);

/// What a folder offers of one family.
enum Layout {
    Index(PathBuf),
    Files(Vec<PathBuf>),
    /// Indices of several checkpoints, none of a usual name.
    Several(Vec<String>),
}

/// Whether `folder` holds weights of `family`.
pub(super) fn holds(folder: &Path, family: &Family) -> bool {
    matches!(layout(folder, family), Ok(Some(_)))
}

/// Opens all files of the checkpoint at `path` (a file, an index or a folder) with `open`, in reading order.
pub(super) fn open_all(
    path: &Path,
    family: &Family,
    open: &mut dyn FnMut(&Path) -> Result<Part, Error>,
) -> Result<Vec<Part>, Error> {
    if path.is_file() {
        return if is_index(path) { open_shards(path, open) } else { Ok(vec![open(path)?]) };
    }
    match layout(path, family)? {
        Some(Layout::Index(index)) => open_shards(&index, open),
        Some(Layout::Files(files)) => {
            complete(path, &files)?;
            files.iter().map(|file| open(file)).collect()
        }
        Some(Layout::Several(names)) => {
            let reason = format!("holds several checkpoints; name the index of one: {}", quoted(&names));
            Err(Error::malformed(path, reason))
        }
        None => Err(Error::malformed(path, "the folder holds no weights")),
    }
}

/// Whether a file is an index by its name.
fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".index.json"))
}

/// The files of `folder`, by natural name; folders and hidden files (`._model.safetensors`) left out.
pub(super) fn listing(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |e| Error::io(folder, "cannot list", e);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Not `entry.file_type()`: the files of a download cache are links.
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !entry.path().is_dir() {
            names.push(name);
        }
    }
    names.sort_by(|a, b| natural(a, b));
    Ok(names)
}

fn layout(folder: &Path, family: &Family) -> Result<Option<Layout>, Error> {
    let names = listing(folder)?;
    let first = |wanted: &'static [&'static str]| {
        wanted.iter().find(|name| names.iter().any(|n| n == *name)).copied()
    };
    if let Some(index) = first(family.indices) {
        return Ok(Some(Layout::Index(folder.join(index))));
    }
    if let Some(file) = first(family.files) {
        return Ok(Some(Layout::Files(vec![folder.join(file)])));
    }
    let ending =
        |name: &str, suffix: &str| family.endings.iter().any(|e| name.ends_with(&format!("{e}{suffix}")));
    let indices: Vec<_> = names.iter().filter(|name| ending(name, ".index.json")).collect();
    match indices[..] {
        [] => {}
        [index] => return Ok(Some(Layout::Index(folder.join(index)))),
        _ => return Ok(Some(Layout::Several(indices.into_iter().cloned().collect()))),
    }
    let files: Vec<_> = names.iter().filter(|name| ending(name, "")).map(|name| folder.join(name)).collect();
    Ok(if files.is_empty() { None } else { Some(Layout::Files(files)) })
}

/// Up to five names in backticks.
pub(super) fn quoted(names: &[impl AsRef<str>]) -> String {
    let mut text: Vec<_> = names.iter().take(5).map(|n| format!("`{}`", brief(n.as_ref()))).collect();
    if names.len() > text.len() {
        text.push(format!("{} more", names.len() - text.len()));
    }
    text.join(", ")
}

/// Refuses shards that count themselves (`-00001-of-00003`) when one of the count is absent.
fn complete(folder: &Path, files: &[PathBuf]) -> Result<(), Error> {
    let names: BTreeSet<_> =
        files.iter().filter_map(|file| file.file_name()).map(|n| n.to_string_lossy().into_owned()).collect();
    let series: BTreeSet<_> = names.iter().filter_map(|name| numbered(name)).collect();
    for Series { stem, width, total, ending } in series {
        for number in 1..=count(total) {
            let expected = format!("{stem}-{number:0width$}-of-{total}{ending}");
            if !names.contains(&expected) {
                let reason = format!("shard {number} of {} is missing: `{}`", count(total), brief(&expected));
                return Err(Error::malformed(folder, reason));
            }
        }
    }
    Ok(())
}

/// What all of `stem-00001-of-00003.ending`, `stem-00002-of-00003.ending`, … have in common.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Series<'n> {
    stem: &'n str,
    width: usize,
    total: &'n str,
    ending: &'n str,
}

/// The series that a file belongs to, if its name says so.
fn numbered(name: &str) -> Option<Series<'_>> {
    let (before, after) = name.rsplit_once("-of-")?;
    let (stem, number) = before.rsplit_once('-')?;
    let (total, _) = after.split_once('.')?;
    let digits = |s: &str| (1..=5).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
    let series = Series { stem, width: number.len(), total, ending: &after[total.len()..] };
    (digits(number) && digits(total)).then_some(series)
}

fn count(digits: &str) -> usize {
    digits.parse().unwrap_or(0)
}

/// Opens the shards that `index` names and checks that each holds what the index says.
fn open_shards(index: &Path, open: &mut dyn FnMut(&Path) -> Result<Part, Error>) -> Result<Vec<Part>, Error> {
    let folder = index.parent().unwrap_or(Path::new(""));
    let shards = index::read(index)?;
    for shard in shards.keys() {
        if !Path::new(shard).components().all(|c| matches!(c, Component::Normal(_))) || shard.contains('\\') {
            let reason = format!("shard `{}` lies outside the folder", brief(shard));
            return Err(Error::malformed(index, reason));
        }
    }
    let absent: Vec<_> =
        shards.keys().enumerate().filter(|(_, shard)| !folder.join(shard).is_file()).collect();
    match absent[..] {
        [] => {}
        [(i, shard)] => {
            let reason = format!("shard {} of {} is missing: `{}`", i + 1, shards.len(), brief(shard));
            return Err(Error::malformed(index, reason));
        }
        _ => {
            let names: Vec<_> = absent.iter().map(|(_, shard)| shard).collect();
            let reason =
                format!("{} of {} shards are missing: {}", names.len(), shards.len(), quoted(&names));
            return Err(Error::malformed(index, reason));
        }
    }
    shards.iter().map(|(shard, tensors)| agree(index, tensors, open(&folder.join(shard))?)).collect()
}

/// `part`, if it holds all `tensors` that `index` expects in it. Tensors that the index does not name are kept:
/// every loader reads whole shards, so they are part of the model.
fn agree(index: &Path, tensors: &BTreeSet<String>, part: Part) -> Result<Part, Error> {
    let (file, found) = &part;
    let found: BTreeSet<_> = found.iter().map(|tensor| &tensor.name).collect();
    let absent: Vec<_> = tensors.iter().filter(|name| !found.contains(name)).collect();
    if absent.is_empty() {
        return Ok(part);
    }
    let shard = file.path().file_name().unwrap_or_default().to_string_lossy();
    let reason = format!("shard `{}` lacks what the index promises: {}", brief(&shard), quoted(&absent));
    Err(Error::malformed(index, reason))
}
