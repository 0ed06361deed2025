//! Which files of a folder make up one checkpoint: an index and its shards, a file of a usual name, or what is there.
//!
//! Looks at names and indices; the files themselves are opened by the format that asks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::stored::{Part, Parts};
use super::{Choice, foreign, index, input};
use crate::error::{Error, brief};
use crate::layer::natural;

/// The names that a format's files go by.
pub(super) struct Family {
    /// Index files, the first that is there wins.
    pub(super) indices: &'static [&'static str],
    /// Whole models, the first that is there wins.
    pub(super) files: &'static [&'static str],
    /// Endings by which any other file is taken for weights.
    pub(super) endings: &'static [&'static str],
}

/// Reads the header of one file.
pub(super) type Opener<'a> = &'a (dyn Fn(&Path) -> Result<Part, Error> + Sync);

/// Files whose headers are read at the same time.
const AT_ONCE: usize = 8;

/// What a folder offers of one family.
enum Layout {
    Index(PathBuf),
    Files(Vec<PathBuf>),
    /// Indices of several checkpoints, none of a usual name.
    Several(Vec<String>),
}

/// Whether `folder` holds weights of `family`.
pub(super) fn holds(folder: &Path, family: &Family, choice: &Choice<'_>) -> bool {
    listing(folder).is_ok_and(|names| layout(folder, &names, family, choice).is_some())
}

/// Opens all files of the checkpoint at `path` (a file, an index or a folder) with `open`, in reading order.
pub(super) fn open_all(
    path: &Path,
    family: &Family,
    choice: &Choice<'_>,
    open: Opener<'_>,
) -> Result<Parts, Error> {
    foreign::refuse_packed(path)?;
    if path.is_file() {
        let parts = if is_index(path) { open_shards(path, open)? } else { vec![open(path)?] };
        return Ok(Parts { parts, notes: vec![] });
    }
    let names = listing(path)?;
    let (parts, taken) = match layout(path, &names, family, choice) {
        Some(Layout::Index(index)) => (open_shards(&index, open)?, vec![index]),
        Some(Layout::Files(files)) => {
            complete(path, &files)?;
            (each(&files, open)?.into_iter().collect::<Result<_, _>>()?, files)
        }
        Some(Layout::Several(names)) => {
            let reason = format!("holds several checkpoints; name the index of one: {}", quoted(&names));
            return Err(Error::malformed(path, reason));
        }
        None => return Err(Error::malformed(path, "the folder holds no weights")),
    };
    Ok(Parts { parts, notes: twin(&names, &taken).into_iter().collect() })
}

/// Whether a file is an index by its name: `….index.json`, or `….index.fp16.json` of a variant.
pub(super) fn is_index(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut parts = name.rsplit('.');
    parts.next() == Some("json") && parts.take(2).any(|part| part == "index")
}

/// What Mistral calls its own weights, which lie beside the same ones under the usual names.
const TWIN: &str = "consolidated";

/// Says that the folder holds the model twice, if it does, and which was `taken`.
fn twin(names: &[String], taken: &[PathBuf]) -> Option<String> {
    let twin = names.iter().find(|name| name.starts_with(TWIN) && name.ends_with(".safetensors"))?;
    let name = taken.first()?.file_name()?.to_string_lossy();
    let note = format!("`{}` beside it was taken to be the same model and left alone", brief(twin));
    (!name.starts_with(TWIN)).then_some(note)
}

/// The name of a file of the given variant: `model.fp16.safetensors`.
fn varied(name: &str, variant: Option<&str>) -> String {
    match (variant, name.rsplit_once('.')) {
        (Some(variant), Some((stem, ending))) => format!("{stem}.{variant}.{ending}"),
        _ => name.to_owned(),
    }
}

/// The variants among the files in `folder`.
pub(super) fn variants(folder: &Path) -> BTreeSet<String> {
    let names = listing(folder).unwrap_or_default();
    let variant = |name: &String| {
        let stem = [".safetensors", ".bin"].iter().find_map(|ending| name.strip_suffix(ending))?;
        let stem = numbered(name).map_or(stem, |series| series.stem);
        stem.rsplit_once('.').map(|(_, variant)| variant.to_owned())
    };
    names.iter().filter_map(variant).collect()
}

/// The files of `folder`, by natural name; folders and hidden files (`._model.safetensors`) left out.
pub(super) fn listing(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |e| Error::io(folder, "cannot list", e);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // The files of a download cache are links; only those are followed, for a folder may hold very many files.
        let kind = entry.file_type().map_err(failed)?;
        let is_folder = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !is_folder {
            names.push(name);
        }
    }
    names.sort_by(|a, b| natural(a, b));
    Ok(names)
}

fn layout(folder: &Path, names: &[String], family: &Family, choice: &Choice<'_>) -> Option<Layout> {
    let first = |wanted: &'static [&'static str]| {
        // A folder of such a name is not passed over: what is looked for may be in it.
        let there = |name: &String| names.contains(name) || folder.join(name).is_dir();
        wanted.iter().map(|name| varied(name, choice.variant)).find(there)
    };
    if let Some(index) = first(family.indices) {
        return Some(Layout::Index(folder.join(index)));
    }
    if let Some(file) = first(family.files) {
        return Some(Layout::Files(vec![folder.join(file)]));
    }
    let ends = |name: &str, more: &str| {
        family
            .endings
            .iter()
            .any(|ending| name.ends_with(&varied(&format!("{ending}{more}"), choice.variant)))
    };
    let indices: Vec<_> = names.iter().filter(|name| ends(name, ".index.json")).collect();
    match indices[..] {
        [] => {}
        [index] => return Some(Layout::Index(folder.join(index))),
        _ => return Some(Layout::Several(indices.into_iter().cloned().collect())),
    }
    // The shards of a variant carry its name before or after their numbers.
    let numbered = |name: &str| {
        let stem = numbered(name).filter(|series| family.endings.contains(&series.ending)).map(|s| s.stem);
        stem.zip(choice.variant).is_some_and(|(stem, variant)| stem.ends_with(&format!(".{variant}")))
    };
    let mut files: Vec<_> = names.iter().filter(|name| ends(name, "") || numbered(name)).collect();
    if files.iter().any(|name| !name.starts_with(TWIN)) {
        files.retain(|name| !name.starts_with(TWIN));
    }
    let files: Vec<_> = files.into_iter().map(|name| folder.join(name)).collect();
    (!files.is_empty()).then_some(Layout::Files(files))
}

/// All pieces of which the file at `path` is one, by its name; itself alone if its name has no number.
pub(super) fn pieces(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(series) = numbered(&name) else { return Ok(vec![path.to_owned()]) };
    let pieces: Vec<_> = series.names().map(|name| path.with_file_name(name)).collect();
    let there: Vec<_> = pieces.iter().filter(|piece| piece.exists()).cloned().collect();
    complete(path.parent().unwrap_or(Path::new("")), &there)?;
    Ok(pieces)
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
    for series in series {
        if let Some((i, name)) = series.names().enumerate().find(|(_, name)| !names.contains(name)) {
            let reason = format!("shard {} of {} is missing: `{}`", i + 1, series.count(), brief(&name));
            return Err(Error::malformed(folder, reason));
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

impl Series<'_> {
    fn count(&self) -> usize {
        self.total.parse().unwrap_or(0)
    }

    /// The names of all that belong to it, in order.
    fn names(&self) -> impl Iterator<Item = String> {
        let Self { stem, width, total, ending } = self;
        (1..=self.count()).map(move |number| format!("{stem}-{number:0width$}-of-{total}{ending}"))
    }
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

/// Opens the shards that `index` names and checks that each holds what the index says.
fn open_shards(index: &Path, open: Opener<'_>) -> Result<Vec<Part>, Error> {
    let folder = index.parent().unwrap_or(Path::new(""));
    let shards = index::read(index)?;
    for shard in shards.keys() {
        if !Path::new(shard).components().all(|c| matches!(c, Component::Normal(_))) || shard.contains('\\') {
            let reason = format!("shard `{}` lies outside the folder", brief(shard));
            return Err(Error::malformed(index, reason));
        }
    }
    let absent: Vec<_> =
        shards.keys().enumerate().filter(|(_, shard)| !input::exists(&folder.join(shard))).collect();
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
    let files: Vec<PathBuf> = shards.keys().map(|shard| folder.join(shard)).collect();
    each(&files, open)?.into_iter().zip(shards.values()).map(|(part, of)| agree(index, of, part?)).collect()
}

/// What `open` makes of each file, in their order, up to the first that fails. Several are asked for at once: of a
/// header, most of the time goes by in waiting for a disk or a server.
fn each(files: &[PathBuf], open: Opener<'_>) -> Result<Vec<Result<Part, Error>>, Error> {
    let threads = files.len().clamp(1, AT_ONCE);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|e| Error::Usage(format!("cannot start {threads} threads: {e}")))?;
    let failed = AtomicUsize::new(usize::MAX);
    let open = |(i, file): (usize, &PathBuf)| {
        let part = (i < failed.load(Ordering::Relaxed)).then(|| open(file));
        if let Some(Err(_)) = part {
            failed.fetch_min(i, Ordering::Relaxed);
        }
        part
    };
    let parts: Vec<_> = pool.install(|| files.par_iter().enumerate().with_max_len(1).map(open).collect());
    Ok(parts.into_iter().map_while(|part| part).collect())
}

/// `part`, if it holds all `tensors` that `index` expects in it. Tensors that the index does not name are kept:
/// every loader reads whole shards, so they are part of the model.
fn agree(index: &Path, tensors: &BTreeSet<String>, part: Part) -> Result<Part, Error> {
    let found: BTreeSet<_> = part.tensors.iter().map(|tensor| &tensor.name).collect();
    let absent: Vec<_> = tensors.iter().filter(|name| !found.contains(name)).collect();
    if absent.is_empty() {
        return Ok(part);
    }
    let shard = part.file.path().file_name().unwrap_or_default().to_string_lossy();
    let reason = format!("shard `{}` lacks what the index promises: {}", brief(&shard), quoted(&absent));
    Err(Error::malformed(index, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_opened_beyond_one_that_fails() {
        let files: Vec<PathBuf> = (0..1000).map(|i| PathBuf::from(i.to_string())).collect();
        let opened = AtomicUsize::new(0);
        let open = |file: &Path| {
            opened.fetch_add(1, Ordering::Relaxed);
            Err(Error::malformed(file, "is wrong"))
        };
        let parts = each(&files, &open).expect("threads");
        // The first is that of one thread, whichever of the others comes before.
        assert_eq!(parts[0].as_ref().expect_err("is wrong").to_string(), "0: is wrong");
        assert!(opened.into_inner() < files.len());
    }
}
