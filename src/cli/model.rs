//! Opens what the user asked for, with what the report says of where it came from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{Catalogue, Holds, Opening, Pairs};
use crate::error::Error;
use crate::layer::Filter;
use crate::pair::{self, Unpaired};
use crate::report::Source;
use crate::store::{Location, Room};
use crate::study::Opened;

use super::locate::{self, Located};
use super::options::Input;

/// A source with its description for the report.
pub(super) struct Model {
    /// The weights or updates to analyze.
    pub source: Arc<Catalogue>,
    /// The file or folder that was opened.
    pub location: Location,
    /// Where it came from.
    pub origin: Source,
}

impl Model {
    /// The checkpoint at `path`, with its description.
    pub(super) fn open(path: &Path, opening: &Opening<'_>) -> Result<Self, Error> {
        Self::open_at(&locate::locate(path)?, path, opening)
    }

    /// The checkpoint at `place`, which was typed as `typed`.
    pub(super) fn open_at(place: &Located, typed: &Path, opening: &Opening<'_>) -> Result<Self, Error> {
        let init = opening.adapter_init.map(|init| locate::locate(init)?.local()).transpose()?;
        let opening = Opening { adapter_init: init.as_deref(), ..opening.clone() };
        let (format, source) = place.open(&opening)?;
        let origin = Source {
            path: typed.display().to_string(),
            format: format.into(),
            commit: place.commit.clone(),
            files: source.files(),
        };
        Ok(Self { source, location: place.location.clone(), origin })
    }

    /// Where it lies, as messages may call it.
    pub(super) fn roots(&self) -> Vec<PathBuf> {
        roots(&self.location, Path::new(&self.origin.path))
    }
}

/// Where something lies that was typed as `typed`, as messages may call it.
pub(super) fn roots(location: &Location, typed: &Path) -> Vec<PathBuf> {
    let mut roots = vec![location.describe()];
    if roots[0] != typed {
        roots.push(typed.to_owned());
    }
    roots
}

/// What the user asked to look at: weights, or the update to a base.
pub(super) fn open_input(input: &Input) -> Result<Opened, Error> {
    open_input_with(input, &input.reading.opening()?)
}

/// The same, opened as `opening` says.
pub(super) fn open_input_with(input: &Input, opening: &Opening<'_>) -> Result<Opened, Error> {
    if let Some(base) = &input.base {
        return Ok(open_pair(base, &input.model, opening)?.0);
    }
    let model = Model::open(&input.model, opening)?;
    let roots = model.roots();
    Ok(Opened { source: model.source, pairs: None, origin: model.origin, base: None, roots })
}

/// Fine-tunes as typed, each with a name of its own.
pub(super) fn named<'p>(typed: impl Iterator<Item = &'p PathBuf>) -> Vec<(String, PathBuf)> {
    let mut named: Vec<(String, PathBuf)> = typed.map(|path| name_and_path(path)).collect();
    for i in 1..named.len() {
        let (before, here) = named.split_at_mut(i);
        let name = here[0].0.clone();
        let twice = before.iter().filter(|(other, _)| other.split('#').next() == Some(&name)).count();
        if twice > 0 {
            here[0].0 = format!("{name}#{}", twice + 1);
        }
    }
    named
}

/// `NAME=PATH`, or a path whose last part is its name; characters that rules use are replaced.
fn name_and_path(typed: &Path) -> (String, PathBuf) {
    let text = typed.to_string_lossy();
    let (name, path) = match text.split_once('=') {
        Some((name, path)) if !typed.exists() && !name.is_empty() && !name.contains("://") => {
            (name.to_owned(), PathBuf::from(path))
        }
        _ => {
            let name = typed.file_stem().filter(|_| typed.is_file()).or_else(|| typed.file_name());
            (
                name.map_or_else(|| "tuned".to_owned(), |name| name.to_string_lossy().into_owned()),
                typed.into(),
            )
        }
    };
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    (name.chars().map(plain).collect(), path)
}

/// The differences of the checkpoints at `base` and `tuned`, and the pairs that they are taken from. What else is known of
/// the tuned one, if it is an adapter, is in `opening`.
pub(super) fn open_pair(
    base: &Path,
    tuned: &Path,
    opening: &Opening<'_>,
) -> Result<(Opened, Arc<Pairs>), Error> {
    let base = open_base(base, opening)?;
    let opening = Opening { base: Some(Arc::clone(&base.source)), ..opening.clone() };
    let tuned = Model::open(tuned, &opening)?;
    let roots = [tuned.roots(), base.roots()].concat();
    // Pairs and their differences take as much as the matrices of a file.
    let room = Room::take(tuned.source.weights().len(), 0);
    room.map_err(|reason| Error::malformed(Path::new(&tuned.origin.path), reason))?;
    let pairs = Arc::new(Pairs::new(base.source, tuned.source));
    check_related(&pairs, &base.origin.path, &tuned.origin.path)?;
    let opened = Opened {
        source: Arc::new(pairs.difference()),
        pairs: Some(Arc::clone(&pairs)),
        origin: tuned.origin,
        base: Some(base.origin),
        roots,
    };
    Ok((opened, pairs))
}

/// The checkpoint at `path`, which something was trained from.
pub(super) fn open_base(path: &Path, opening: &Opening<'_>) -> Result<Model, Error> {
    let base = Model::open(path, &opening.of_base())?;
    if base.source.holds() == Holds::Updates {
        let reason = "is an adapter, and the base has to be a checkpoint; are the two sides swapped?";
        return Err(Error::malformed(path, reason));
    }
    Ok(base)
}

/// Refuses two checkpoints without a matrix of the same name; updates that fit nothing are refused with their reasons.
fn check_related(pairs: &Pairs, base: &str, tuned: &str) -> Result<(), Error> {
    let first =
        |source: &Catalogue| source.select(&Filter::default()).layers.first().map(|layer| layer.name.clone());
    let names = first(pairs.base()).zip(first(pairs.tuned()));
    let is_named = |unpaired: &Unpaired| matches!(unpaired, Unpaired::Reshaped(_));
    match names {
        Some((a, b))
            if pairs.tuned().holds() == Holds::Weights
                && pairs.paired().is_empty()
                && !pairs.unpaired().iter().any(is_named) =>
        {
            Err(Error::Usage(pair::unrelated((base, &a), (tuned, &b))))
        }
        _ => Ok(()),
    }
}
