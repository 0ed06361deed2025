//! Opens what the user asked to look at, with what the report says of where it came from.

use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{Catalogue, Opening, Pairs};
use crate::error::Error;
use crate::report::Source;
use crate::store::Location;

use super::locate::{self, Place};
use super::options::Input;

/// A source with what the report says about it.
pub(super) struct Model {
    /// What is analysed.
    pub source: Arc<Catalogue>,
    /// The file or folder that was opened.
    pub location: Location,
    /// Where it came from.
    pub origin: Source,
    /// Where the base came from, if there is one.
    pub base: Option<Source>,
}

impl Model {
    /// What the user asked to look at: weights, or the update to a base and the pairs that it was taken from.
    pub(super) fn open_input(input: &Input) -> Result<(Self, Option<Arc<Pairs>>), Error> {
        let opening = input.reading.opening();
        let Some(base) = &input.base else {
            return Ok((Self::open(&input.model, &opening)?, None));
        };
        let (model, pairs) = Self::open_pair(base, &input.model, &opening)?;
        Ok((model, Some(pairs)))
    }

    /// The checkpoint at `path`, with what else is known of it.
    pub(super) fn open(path: &Path, opening: &Opening<'_>) -> Result<Self, Error> {
        Self::open_at(&locate::locate(path)?, path, opening)
    }

    /// The checkpoint at `place`, which was typed as `typed`.
    pub(super) fn open_at(place: &Place, typed: &Path, opening: &Opening<'_>) -> Result<Self, Error> {
        let init = opening.adapter_init.map(|init| locate::locate(init)?.local()).transpose()?;
        let opening = Opening { adapter_init: init.as_deref(), ..opening.clone() };
        let (format, source) = place.open(&opening)?;
        let origin = Source {
            path: typed.display().to_string(),
            format: format.into(),
            commit: place.commit.clone(),
            files: source.files(),
        };
        Ok(Self { source, location: place.location.clone(), origin, base: None })
    }

    /// The checkpoints at `base` and `tuned`, with their matrices paired; the model holds their differences.
    /// What else is known of the tuned one, if it is an adapter, is in `opening`.
    pub(super) fn open_pair(
        base: &Path,
        tuned: &Path,
        opening: &Opening<'_>,
    ) -> Result<(Self, Arc<Pairs>), Error> {
        let base = Self::open(base, &opening.of_base())?;
        let opening = Opening { base: Some(Arc::clone(&base.source)), ..opening.clone() };
        let tuned = Self::open(tuned, &opening)?;
        let pairs = Arc::new(Pairs::new(base.source, tuned.source));
        let source = Arc::new(pairs.difference());
        Ok((Self { source, location: tuned.location, origin: tuned.origin, base: Some(base.origin) }, pairs))
    }
}
