//! `svdkit compare A B --compensate RANKS`: what an adapter of these ranks would give back of what compression took.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::Arguments;
use crate::checkpoint::{DataKind, Holds};
use crate::cli::model::open_pair;
use crate::cli::outputs::Outputs;
use crate::cli::run::{self, Finished};
use crate::cli::{Status, rules};
use crate::error::Error;
use crate::study::{CompensateRequest, OwnColumns};

/// Columns of the table, most wanted first; those of ranks stand where `R` is.
const SHOWN: [&str; 13] = [
    "output_error",
    "svd_output_error_R",
    "eora_output_error_R",
    "delta_frobenius_ratio",
    "svd_error_R",
    "best_rank",
    "best_parameters",
    "compensation_parameters_R",
    "eora_error_R",
    "nmse",
    "delta_effective_rank",
    "delta_spectral_ratio",
    "faint_share",
];

/// The ranks, and what is known of the inputs.
#[derive(Debug, Args)]
pub(super) struct Compensation {
    /// Of a compressed B: what is left of its error after adapters of these ranks, as in 16,32,64: by SVD and, with the
    /// inputs of its layers, by EoRA
    #[arg(long, help_heading = "Method", value_name = "RANKS", value_delimiter = ',', value_parser = super::at_least_one, conflicts_with_all = ["no_svd", "all", "vectors", "no_vectors", "preserve", "k", "precision", "names", "more", "adapted", "permute", "across", "out", "emit"])]
    pub(super) compensate: Vec<usize>,
    /// With `--compensate`: covariances of the layers' inputs (docs/data-files.md)
    #[arg(
        long,
        help_heading = "Method",
        value_name = "FILE",
        conflicts_with = "acts",
        requires = "compensate"
    )]
    cov: Option<PathBuf>,
    /// With `--compensate`: the layers' inputs
    #[arg(long, help_heading = "Method", value_name = "FILE", requires = "compensate")]
    acts: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let request = arguments.compensation.request();
    let columns = request.columns();
    let gate = rules::gate(common, "compare", &columns)?;
    let asked = rules::asked(common, &gate, &columns, &[]);
    let kept = asked.shown(&columns, if asked.own == OwnColumns::Wanted { &columns } else { &[] });
    let mut outputs = Outputs::new(&common.output)?;
    let Some(compressed) = &arguments.tuned else {
        return Err(Error::Usage(
            "nothing to compensate; name the compressed model, as in `svdkit compare A B --compensate 16`"
                .to_owned(),
        ));
    };
    let (opened, pairs) = open_pair(&arguments.base, compressed, &arguments.reading.opening()?)?;
    if pairs.tuned().holds() == Holds::Updates {
        let reason = "is an adapter; `--compensate` takes a compressed checkpoint of A";
        return Err(Error::malformed(compressed, reason));
    }
    let source = Arc::clone(&opened.source);
    let shown = shown(&request.ranks);
    let study = request.plan(opened, &common.filter()?, &kept)?;
    outputs.ready(common)?;
    let Some(Finished { report, .. }) = run::report(study, source, (common, &gate))? else {
        return Ok(Status::Fine);
    };
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    run::deliver(&report, common, &shown, &mut outputs)
}

impl Compensation {
    fn request(&self) -> CompensateRequest {
        let mut ranks = self.compensate.clone();
        ranks.sort_unstable();
        ranks.dedup();
        let cov = self.cov.iter().map(|path| (DataKind::Covariances, path.clone()));
        let acts = self.acts.iter().map(|path| (DataKind::Inputs, path.clone()));
        CompensateRequest { ranks, data: cov.chain(acts).next() }
    }
}

fn shown(ranks: &[usize]) -> Vec<String> {
    let of = |key: &&str| match key.strip_suffix("_R") {
        Some(family) => ranks.iter().map(|rank| format!("{family}_{rank}")).collect(),
        None => vec![(*key).to_owned()],
    };
    SHOWN.iter().flat_map(of).collect()
}
