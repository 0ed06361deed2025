//! Opens what the user asked for, with what the report says of where it came from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{Catalogue, Opening, Pairs};
use crate::error::Error;
use crate::report::Source;
use crate::store::Location;
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
    let opening = input.reading.opening()?;
    if let Some(base) = &input.base {
        return Ok(open_pair(base, &input.model, &opening)?.0);
    }
    let model = Model::open(&input.model, &opening)?;
    let roots = model.roots();
    Ok(Opened { source: model.source, pairs: None, origin: model.origin, base: None, roots })
}

/// The differences of the checkpoints at `base` and `tuned`, and the pairs that they are taken from. What else is known of
/// the tuned one, if it is an adapter, is in `opening`.
pub(super) fn open_pair(
    base: &Path,
    tuned: &Path,
    opening: &Opening<'_>,
) -> Result<(Opened, Arc<Pairs>), Error> {
    let base = Model::open(base, &opening.of_base())?;
    let opening = Opening { base: Some(Arc::clone(&base.source)), ..opening.clone() };
    let tuned = Model::open(tuned, &opening)?;
    let roots = [tuned.roots(), base.roots()].concat();
    let pairs = Arc::new(Pairs::new(base.source, tuned.source));
    let opened = Opened {
        source: Arc::new(pairs.difference()),
        pairs: Some(Arc::clone(&pairs)),
        origin: tuned.origin,
        base: Some(base.origin),
        roots,
    };
    Ok((opened, pairs))
}
