//! Path in, catalogue out: a place is looked at, its format read, and what it holds put through the dialects.

mod layer_data;
mod saved;
mod steps;

use std::path::Path;
use std::sync::Arc;

use crate::dialect::adapter::{self, Beginning, Known};
use crate::dialect::{factored, fused, quantized};
use crate::error::Error;
use crate::format::{self, Candidate, CandidateKind, Format, PIPELINE, Parts};
use crate::layer::Folding;
use crate::store::Location;
use crate::weight::Beyond;

pub(crate) use crate::dialect::{FactorNames, VectorUpdate, factor_names, vector_update};
pub use crate::dialect::{Pairs, QueriesKeysValues, copies, of_base};
pub(crate) use crate::format::Config;
pub(crate) use crate::format::is_recognized_at;
pub use crate::format::{Choice, Elements, is_recognized, names_weights};
pub use crate::weight::{
    Catalogue, ContentId, Derivations, FileContents, Fingerprint, Given, Holds, Rows, Tensors, tied,
};
pub use layer_data::{DataKind, LayerData, Moments};
pub use saved::{Saved, SavedRow, is_saved};
pub use steps::{decides_numbers, is_step, is_unfinished, step_in_name, step_of, step_of_name, steps_in};

/// What the factors of adapters are taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Factors {
    /// Parts of updates to a base; a file of factors that no known format has is refused.
    #[default]
    OfUpdates,
    /// The same, also where training began by moving the base: what the factors hold, whatever they apply to.
    AsTheyAre,
    /// Weights like any other.
    Weights,
}

/// Options for opening a checkpoint; most matter only for adapters.
#[derive(Clone, Default)]
pub struct Opening<'a> {
    /// Which of its files to use.
    pub choice: Choice<'a>,
    /// The configuration of an adapter, if it is not beside the weights.
    pub adapter_config: Option<&'a Path>,
    /// The adapter as it was before training, subtracted from the present one.
    pub adapter_init: Option<&'a Path>,
    /// The base of an adapter.
    pub base: Option<Arc<Catalogue>>,
    /// Decomposes a matrix of the base, for adapters that cut its last directions off (KaSA).
    pub beyond: Option<Beyond>,
    /// How fused attention is handled.
    pub attention: QueriesKeysValues,
    /// What the factors of adapters are taken for.
    pub factors: Factors,
    /// What tensors of three axes are, where the user says so.
    pub folding: Folding,
}

impl Opening<'_> {
    /// The same for a base, which is not an adapter.
    #[must_use]
    pub fn of_base(&self) -> Self {
        Self {
            choice: self.choice,
            attention: self.attention,
            beyond: self.beyond,
            factors: self.factors,
            folding: self.folding.clone(),
            ..Self::default()
        }
    }
}

/// Opens the checkpoint at `path`: a file, the index of a sharded one, or a folder. Gives the format's name, too.
///
/// # Errors
/// If nothing is there, or it can't be read; the message says what it is and what to try.
pub fn open(path: &Path) -> Result<(&'static str, Arc<Catalogue>), Error> {
    open_with(path, &Opening::default())
}

/// As [`open`], with options.
///
/// # Errors
/// As [`open`]; also if an adapter lacks a part, or its configuration is not enough.
pub fn open_with(path: &Path, opening: &Opening<'_>) -> Result<(&'static str, Arc<Catalogue>), Error> {
    open_at(&Location::disk(path), opening)
}

/// As [`open_with`], in any store.
///
/// # Errors
/// As [`open_with`].
pub fn open_at(location: &Location, opening: &Opening<'_>) -> Result<(&'static str, Arc<Catalogue>), Error> {
    let beginning = match opening.factors {
        _ if opening.adapter_init.is_some() => Beginning::Known,
        Factors::AsTheyAre => Beginning::Itself,
        Factors::OfUpdates | Factors::Weights => Beginning::Unknown,
    };
    open_as(location, opening, beginning)
}

fn open_as(
    location: &Location,
    opening: &Opening<'_>,
    beginning: Beginning,
) -> Result<(&'static str, Arc<Catalogue>), Error> {
    let candidate = Candidate::found(location, opening.choice)?;
    format::refuse_slices(&candidate)?;
    let format = candidate.format().ok_or_else(|| format::unknown(&candidate))?;
    if opening.base.is_none() {
        applies(&candidate, format)?;
    }
    assembled(&candidate, (format.name, format.parts(&candidate)?), opening, beginning)
}

/// The contents of a checkpoint's files: weights, dequantized and split where needed, or an adapter.
fn assembled(
    candidate: &Candidate<'_>,
    (format, mut parts): (&'static str, Parts),
    opening: &Opening<'_>,
    beginning: Beginning,
) -> Result<(&'static str, Arc<Catalogue>), Error> {
    let location = candidate.location;
    let headers: Vec<String> = parts.parts.iter_mut().filter_map(|part| part.settings.take()).collect();
    let config = candidate.config()?;
    let folding = Folding { experts: config.number(&fused::EXPERT_COUNTS), ..opening.folding.clone() };
    let tensors = Tensors::new(location, parts)?.folded(&folding);
    let built_in = adapter::built_in(tensors.list()).filter(|_| opening.factors == Factors::OfUpdates);
    let tensors = Arc::new(tensors.noted(built_in));
    // Adapters know no fused tensors that are cut.
    let base = opening.base.as_ref().map(|base| base.fused().unwrap_or(base).as_ref());
    let known = Known { config: opening.adapter_config, base, beginning, beyond: opening.beyond };
    let adapter = match opening.factors {
        Factors::Weights => None,
        // Its factors are parts of weights.
        _ if factored::is_svdquant(tensors.list()) => None,
        Factors::OfUpdates | Factors::AsTheyAre => adapter::open(location, &tensors, &headers, known)?,
    };
    if let Some(adapter) = adapter {
        let updates = match opening.adapter_init.filter(|_| !adapter.cuts_base) {
            Some(init) => {
                let before = before(init, opening)?;
                adapter::trained_delta(adapter.updates, init, &before)?
            }
            None => adapter.updates,
        };
        return Ok((adapter::FORMAT, Arc::new(updates)));
    }
    if let Some(option) = tensors.folds().unmatched(&folding) {
        return Err(location.malformed(format!("has no tensor of three axes that `{option}` names")));
    }
    let decoded = quantized::open(&tensors, &config.quantization);
    let whole = match opening.factors {
        Factors::Weights => decoded,
        Factors::OfUpdates | Factors::AsTheyAre => factored::open(decoded, config),
    };
    Ok((format, fused::open(&location.describe(), Arc::new(whole), opening.attention, config)?))
}

/// What lies at `init`, an adapter as it was before training.
fn before(init: &Path, opening: &Opening<'_>) -> Result<Arc<Catalogue>, Error> {
    let location = Location::disk(init);
    // Where there are no settings, it was scaled as it is now.
    let adapter_config = opening.adapter_config.filter(|_| !adapter::has_config(&location));
    let opening = Opening { adapter_config, adapter_init: None, ..opening.clone() };
    Ok(open_as(&location, &opening, Beginning::Itself)?.1)
}

/// Refuses a choice that a candidate does not offer. A fine-tune need not offer it: an adapter of a pipeline's component
/// is a single file.
fn applies(candidate: &Candidate<'_>, format: &Format) -> Result<(), Error> {
    let reason = match candidate.choice {
        Choice { components: [_, ..], .. } if format.name != PIPELINE.name => {
            "is not a pipeline of components, so `--component` does not apply"
        }
        Choice { variant: Some(_), .. } if matches!(candidate.content, CandidateKind::File(_)) => {
            "is not a folder, so `--variant` does not apply; name the file you want"
        }
        _ => return Ok(()),
    };
    Err(candidate.location.malformed(reason))
}
