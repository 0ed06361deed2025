//! `svdkit spectrum`: norms, ranks, tail exponent, noise edge and spikes of each matrix.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::analysis::spectrum;
use crate::checkpoint;
use crate::engine::Job;
use crate::error::Error;
use crate::layer::Layer;
use crate::linalg::Precision;
use crate::metric::{METRICS, Metric, WEIGHTWATCHER};

use super::Status;
use super::model::Model;
use super::options::{Common, Input, PrecisionName, word};
use super::outputs::Outputs;
use super::run::{self, Analysis, Finished};

/// Columns of the table, most wanted first.
const SHOWN: [&str; 6] =
    ["spectral_norm", "stable_rank", "effective_rank", "alpha", "ks_distance", "spike_count"];
/// The same under `--names weightwatcher`.
const SHOWN_WEIGHTWATCHER: [&str; 6] =
    ["alpha", "D", "stable_rank", "log_spectral_norm", "alpha_weighted", "num_pl_spikes"];

/// Measures every matrix of a checkpoint: norms, ranks, entropy, power-law tail, noise edge and spikes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    input: Input,
    /// How exact small singular values have to be
    #[arg(long, value_name = "HOW", value_enum, default_value_t = PrecisionName::Fast)]
    precision: PrecisionName,
    /// Whose column names and definitions to use
    #[arg(long, value_name = "WHOSE", value_enum, default_value_t = Names::Svdkit)]
    names: Names,
    /// Save every spectrum to FILE: one f64 tensor a matrix
    #[arg(long, value_name = "FILE.safetensors")]
    singular_values: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// The vocabularies by the names users type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Names {
    /// The names of docs/metrics.md
    Svdkit,
    /// WeightWatcher's names with WeightWatcher's definitions, for notebooks that expect them
    Weightwatcher,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common;
    common.set_color();
    let analysis = analysis(arguments);
    let outputs = if common.dry_run { Outputs::create(&[])? } else { Outputs::create(&common.output)? };
    let (model, _) = Model::open_input(&arguments.input)?;
    let Some(Finished { report, measured }) = run::report(&model, common, &analysis)? else {
        return Ok(Status::Fine);
    };
    if let Some(path) = &arguments.singular_values {
        let spectra = measured
            .iter()
            .filter_map(|(name, found)| Some((name.as_str(), found.as_ref()?.spectrum.as_ref()?)));
        checkpoint::write_spectra(path, &spectra.collect::<Vec<_>>())?;
    }
    run::deliver(&report, common, &analysis.shown, outputs)
}

impl Names {
    /// The metrics that go by these names.
    pub(super) fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Svdkit => METRICS,
            Self::Weightwatcher => WEIGHTWATCHER,
        }
    }
}

/// What decides the numbers of a spectrum, as reports say it.
pub(super) fn settings(names: Names, precision: PrecisionName) -> Vec<(&'static str, String)> {
    vec![
        ("names", word(&names)),
        ("precision", word(&precision)),
        ("noise", "median".to_owned()),
        ("xmin", "ks".to_owned()),
    ]
}

fn analysis(arguments: &Arguments) -> Analysis {
    let precision = Precision::from(arguments.precision);
    let metrics = arguments.names.metrics();
    let shown = match arguments.names {
        Names::Svdkit => SHOWN,
        Names::Weightwatcher => SHOWN_WEIGHTWATCHER,
    };
    Analysis {
        command: "spectrum",
        columns: metrics.iter().map(|metric| &metric.column).collect(),
        shown: shown.to_vec(),
        settings: settings(arguments.names, arguments.precision),
        cost: Box::new(move |layer: &Layer| {
            let cost = spectrum::cost(layer, precision);
            Job { flops: cost.flops, bytes: cost.bytes }
        }),
        measure: Arc::new(move |source, layer| spectrum::measure(source, layer, precision, metrics)),
    }
}
