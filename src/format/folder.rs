//! Which files of a folder make up one checkpoint: an index and its shards, a file with a usual name, or the files that
//! exist.
//!
//! Looks at names and indices; the files themselves are opened by the format that asks.

use std::collections::BTreeSet;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::candidate::{Candidate, CandidateKind, Choice};
use super::parts::{FilePart, Parts};
use super::{FORMATS, index, unsupported};
use crate::error::{Error, brief, quoted};
use crate::store::Location;

/// The names that a format's files go by.
pub(crate) struct Family {
    /// Index files, the first that is there wins.
    pub(crate) indices: &'static [&'static str],
    /// Whole models, the first that is there wins.
    pub(crate) files: &'static [&'static str],
    /// Endings by which any other file is taken for weights.
    pub(crate) endings: &'static [&'static str],
}

/// Reads the header of one file.
pub(crate) type Opener<'a> = &'a (dyn Fn(&Location) -> Result<FilePart, Error> + Sync);

/// Files whose headers are read at the same time.
const AT_ONCE: usize = 8;

/// The files of one family in a folder.
enum Layout {
    Index(Location),
    Files(Vec<Location>),
    /// Indices of several checkpoints, none of a usual name.
    Several(Vec<String>),
}

/// Whether a folder of files called `names` holds weights of `family`.
pub(crate) fn holds(candidate: &Candidate<'_>, names: &[String], family: &Family) -> bool {
    layout(candidate.location, names, family, &candidate.choice).is_some()
}

/// Opens all files of a checkpoint (a file, an index or a folder) with `open`, in reading order.
pub(crate) fn open_all(candidate: &Candidate<'_>, family: &Family, open: Opener<'_>) -> Result<Parts, Error> {
    unsupported::refuse_packed(candidate)?;
    let location = candidate.location;
    let CandidateKind::Folder(names) = &candidate.content else {
        let shards = is_index(&location.name());
        let parts = if shards { open_shards(location, open)? } else { vec![open(location)?] };
        return Ok(Parts { parts, notes: vec![] });
    };
    let (parts, taken) = match layout(location, names, family, &candidate.choice) {
        Some(Layout::Index(index)) => (open_shards(&index, open)?, vec![index]),
        Some(Layout::Files(files)) => {
            complete(location, &files)?;
            (at_once(&files, open)?.into_iter().collect::<Result<_, _>>()?, files)
        }
        Some(Layout::Several(names)) => {
            let reason = format!("holds several checkpoints; name the index of one: {}", quoted(&names));
            return Err(location.malformed(reason));
        }
        None => return Err(location.malformed("the folder holds no weights")),
    };
    Ok(Parts { parts, notes: twin(names, &taken).into_iter().chain(unrelated(&taken)).collect() })
}

/// Whether a file is an index by its name: `….index.json`, or `….index.fp16.json` of a variant.
pub(crate) fn is_index(name: &str) -> bool {
    let mut parts = name.rsplit('.');
    parts.next() == Some("json") && parts.take(2).any(|part| part == "index")
}

/// The name of Mistral's own weights, which lie beside the same ones under the usual names.
const TWIN: &str = "consolidated";

/// Says that the folder holds the model twice, if it does, and which was `taken`.
fn twin(names: &[String], taken: &[Location]) -> Option<String> {
    let twin = names.iter().find(|name| name.starts_with(TWIN) && name.ends_with(".safetensors"))?;
    let name = taken.first()?.name();
    let note = format!("`{}` beside it was taken to be the same model and left alone", brief(twin));
    (!name.starts_with(TWIN)).then_some(note)
}

/// Says that files were read as one model that no index names, and that are not called like the shards of one.
fn unrelated(taken: &[Location]) -> Option<String> {
    let names: Vec<String> = taken.iter().map(Location::name).collect();
    let without_digits = |name: &String| name.replace(|c: char| c.is_ascii_digit(), "");
    let kinds: BTreeSet<String> = names.iter().map(without_digits).collect();
    (kinds.len() > 1)
        .then(|| format!("! {} were read as one model; if they are not, name one of them", quoted(&names)))
}

/// The name of a file of the given variant: `model.fp16.safetensors`.
fn varied(name: &str, variant: Option<&str>) -> String {
    match (variant, name.rsplit_once('.')) {
        (Some(variant), Some((stem, ending))) => format!("{stem}.{variant}.{ending}"),
        _ => name.to_owned(),
    }
}

/// The variants among files called `names`.
pub(crate) fn variants(names: &[String]) -> BTreeSet<String> {
    let endings = || FORMATS.iter().flat_map(|format| format.varied);
    let variant = |name: &String| {
        let stem = endings().find_map(|ending| name.strip_suffix(ending))?;
        let stem = numbered(name).map_or(stem, |series| series.stem);
        stem.rsplit_once('.').map(|(_, variant)| variant.to_owned())
    };
    names.iter().filter_map(variant).collect()
}

fn layout(folder: &Location, names: &[String], family: &Family, choice: &Choice<'_>) -> Option<Layout> {
    let first = |wanted: &'static [&'static str]| {
        // A folder with such a name is searched, too.
        let there = |name: &String| names.contains(name) || folder.join(name).is_folder();
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

/// All pieces of the model that the file at `location` belongs to, by its name; only itself if its name has no number.
pub(crate) fn pieces(location: &Location) -> Result<Vec<Location>, Error> {
    let name = location.name();
    let Some(series) = numbered(&name) else { return Ok(vec![location.clone()]) };
    let pieces: Vec<_> = series.names().map(|name| location.beside(name)).collect();
    let there: Vec<_> = pieces.iter().filter(|piece| piece.exists()).cloned().collect();
    complete(&location.parent().unwrap_or_else(|| location.clone()), &there)?;
    Ok(pieces)
}

/// Refuses shards that count themselves (`-00001-of-00003`) when one of the count is absent.
fn complete(folder: &Location, files: &[Location]) -> Result<(), Error> {
    let names: BTreeSet<_> = files.iter().map(Location::name).collect();
    let series: BTreeSet<_> = names.iter().filter_map(|name| numbered(name)).collect();
    for series in series {
        if let Some((i, name)) = series.names().enumerate().find(|(_, name)| !names.contains(name)) {
            let reason = format!("shard {} of {} is missing: `{}`", i + 1, series.count(), brief(&name));
            return Err(folder.malformed(reason));
        }
    }
    Ok(())
}

/// The common stem of `stem-00001-of-00003.ending`, `stem-00002-of-00003.ending`, …
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

/// Opens the shards that `index` names and checks that each has the tensors listed for it.
fn open_shards(index: &Location, open: Opener<'_>) -> Result<Vec<FilePart>, Error> {
    let shards = index::read(index)?;
    for shard in shards.keys() {
        if !Path::new(shard).components().all(|c| matches!(c, Component::Normal(_))) || shard.contains('\\') {
            return Err(index.malformed(format!("shard `{}` lies outside the folder", brief(shard))));
        }
    }
    let absent: Vec<_> =
        shards.keys().enumerate().filter(|(_, shard)| !index.beside(shard).is_named()).collect();
    match absent[..] {
        [] => {}
        [(i, shard)] => {
            let reason = format!("shard {} of {} is missing: `{}`", i + 1, shards.len(), brief(shard));
            return Err(index.malformed(reason));
        }
        _ => {
            let names: Vec<_> = absent.iter().map(|(_, shard)| shard).collect();
            let reason =
                format!("{} of {} shards are missing: {}", names.len(), shards.len(), quoted(&names));
            return Err(index.malformed(reason));
        }
    }
    let files: Vec<Location> = shards.keys().map(|shard| index.beside(shard)).collect();
    at_once(&files, open)?
        .into_iter()
        .zip(shards.values())
        .map(|(part, of)| agree(index, of, part?))
        .collect()
}

/// The results of `open` for each item, in order, up to the first error. Several run at the same time: most of
/// the time goes by in waiting for a disk or a server.
pub(crate) fn at_once<I: Sync, T: Send>(
    items: &[I],
    open: impl Fn(&I) -> Result<T, Error> + Sync,
) -> Result<Vec<Result<T, Error>>, Error> {
    // What another thread allocated is free for none but that thread.
    if let [only] = items {
        return Ok(vec![open(only)]);
    }
    let threads = items.len().clamp(1, AT_ONCE);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|e| Error::Resources(format!("cannot start {threads} threads: {e}")))?;
    let failed = AtomicUsize::new(usize::MAX);
    let open = |(i, item): (usize, &I)| {
        let opened = (i < failed.load(Ordering::Relaxed)).then(|| open(item));
        if let Some(Err(_)) = opened {
            failed.fetch_min(i, Ordering::Relaxed);
        }
        opened
    };
    let all: Vec<_> = pool.install(|| items.par_iter().enumerate().with_max_len(1).map(open).collect());
    Ok(all.into_iter().map_while(|opened| opened).collect())
}

/// `part`, if it holds all `tensors` that `index` expects in it. Tensors that the index does not name are kept:
/// every loader reads whole shards, so they are part of the model.
fn agree(index: &Location, tensors: &BTreeSet<String>, part: FilePart) -> Result<FilePart, Error> {
    let found: BTreeSet<_> = part.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let absent: Vec<_> = tensors.iter().filter(|name| !found.contains(name.as_str())).collect();
    if absent.is_empty() {
        return Ok(part);
    }
    let shard = brief(&part.file.location().name());
    Err(index.malformed(format!("shard `{shard}` lacks what the index promises: {}", quoted(&absent))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_opened_beyond_one_that_fails() {
        let files: Vec<Location> = (0..1000).map(|i| Location::disk(i.to_string())).collect();
        let opened = AtomicUsize::new(0);
        let open = |file: &Location| -> Result<(), Error> {
            opened.fetch_add(1, Ordering::Relaxed);
            Err(file.malformed("is wrong"))
        };
        let parts = at_once(&files, open).expect("threads");
        // The first error in order is reported, whichever thread fails first.
        assert_eq!(parts[0].as_ref().expect_err("is wrong").to_string(), "0: is wrong");
        assert!(opened.into_inner() < files.len());
    }
}
