//! What lies at a path: whether it can be a checkpoint at all, and the names in a folder.

use std::path::Path;

use crate::error::{Error, brief};
use crate::layer::natural;
use crate::store::{Entry, Location};

/// Refuses paths that can't be a checkpoint: absent, empty, not a file or folder.
pub(crate) fn check(location: &Location) -> Result<(), Error> {
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

/// An error for a path that does not exist, with similar names nearby.
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
        [] => format!("does not exist{}", hub_hint(location)),
        _ => format!("does not exist; did you mean {}?", near.join(" or ")),
    })
}

/// Owners on the hub of models that are often named without one, by how their names start.
const OWNERS: [(&str, &str); 8] = [
    ("gpt2", "openai-community"),
    ("distilgpt2", "distilbert"),
    ("distilbert-", "distilbert"),
    ("bert-", "google-bert"),
    ("roberta-", "FacebookAI"),
    ("xlm-roberta-", "FacebookAI"),
    ("albert-", "albert"),
    ("t5-", "google-t5"),
];

/// What to type for a model of the hub, where `location` is a bare name that may be one.
fn hub_hint(location: &Location) -> String {
    let name = location.name();
    let letters = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if location.local() != Some(Path::new(&name)) || !name.chars().all(letters) || super::names_weights(&name)
    {
        return String::new();
    }
    match OWNERS.iter().find(|(start, _)| name.starts_with(start)) {
        Some((_, owner)) => {
            format!(
                " here, and a model of the hub is named with its owner; to download it: `hf download {owner}/{name}`"
            )
        }
        None => " here; a model of the Hugging Face hub is named with its owner, as ORG/NAME".to_owned(),
    }
}

/// The files of `folder`, by natural name; folders and hidden files (`._model.safetensors`) left out.
pub(crate) fn listing(folder: &Location) -> Result<Vec<String>, Error> {
    let listed = folder.list()?.into_iter().filter(|listed| !listed.is_folder).map(|listed| listed.name);
    let mut names: Vec<_> = listed.filter(|name| !name.starts_with('.')).collect();
    names.sort_by(|a, b| natural(a, b));
    Ok(names)
}

/// The folders in `folder`, by name.
pub(crate) fn subfolders(folder: &Location) -> Vec<Location> {
    let listed = folder.list().unwrap_or_default().into_iter();
    let mut names: Vec<_> = listed.filter(|listed| listed.is_folder).map(|listed| listed.name).collect();
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}
