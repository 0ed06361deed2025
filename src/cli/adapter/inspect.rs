//! `svdkit adapter inspect`: what is in an adapter.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::checkpoint::{Factors, Holds, Opening};
use crate::error::Error;
use crate::notation;
use crate::study::{AdapterRequest, Spectra};
use crate::writing;

use super::super::Status;
use super::super::model::open_input_with;
use super::super::options::{Common, Input};
use super::super::run::{self, Finished};
use super::prepared;

/// Columns of the table, most wanted first.
const SHOWN: [&str; 11] = [
    "factor_rank",
    "spectral_norm",
    "effective_rank",
    "rank_at_99",
    "wasted_rank",
    "delta_frobenius_ratio",
    "left_centroid",
    "principal_share",
    "defect_a",
    "defect_b",
    "minor_share",
];

/// Says what is in an adapter: the singular values of each update, how much of its rank it uses, how orthonormal its
/// factors are, what method made it, by evidence, and, with `--base`, where in the base's singular basis it lies.
#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    #[command(flatten)]
    input: Input,
    /// Save every spectrum to FILE: one f64 tensor a module
    #[arg(long, value_name = "FILE.safetensors")]
    singular_values: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let spectra = if arguments.singular_values.is_some() { Spectra::Kept } else { Spectra::Dropped };
    let request = AdapterRequest { base: arguments.input.base.is_some(), spectra };
    let (gate, mut outputs) = prepared("adapter inspect", &request.columns(), common)?;
    let singular_values = outputs.add("--singular-values", arguments.singular_values.as_deref())?;
    let opening = arguments.input.reading.opening()?;
    let opening = match opening.factors {
        Factors::OfUpdates => Opening { factors: Factors::AsTheyAre, ..opening },
        _ => return Err(Error::Usage("`--as-weights` leaves no update to inspect; leave it out".to_owned())),
    };
    let opened = open_input_with(&arguments.input, &opening)?;
    let adapted = opened.pairs.as_ref().map_or(opened.source.as_ref(), |pairs| pairs.tuned().as_ref());
    if adapted.holds() != Holds::Updates {
        let model = &arguments.input.model;
        let reason = format!(
            "is a checkpoint, not an adapter; `svdkit spectrum {}` measures it, `svdkit adapter extract` makes an \
             adapter of a fine-tune",
            model.display()
        );
        return Err(Error::malformed(model, reason));
    }
    let source = Arc::clone(&opened.source);
    let study = request.plan(opened, &common.filter()?)?;
    outputs.ready(common)?;
    let Some(Finished { report, spectra }) = run::report(study, source, (common, &gate))? else {
        return Ok(Status::Fine);
    };
    if let Some(slot) = singular_values {
        let spectra: Vec<_> = spectra.iter().filter(|(_, spectrum)| spectrum.fits()).collect();
        let spectra: Vec<_> = spectra.iter().map(|(name, spectrum)| (name.as_str(), spectrum)).collect();
        let holds = format!("singular values of {} updates", notation::count(spectra.len() as u64));
        outputs.write(slot, &holds, |out| writing::write_spectra(out, &spectra));
    }
    run::deliver(&report, common, &SHOWN, &mut outputs)
}
