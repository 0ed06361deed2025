//! `svdkit spectrum`: norms, ranks, tail exponent, noise edge and spikes of each matrix.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::analysis::{hygiene, spectrum};
use crate::engine::Job;
use crate::error::Error;
use crate::layer::{Layer, bare};
use crate::metric::{HYGIENE, METRICS, Metric, WEIGHTWATCHER};
use crate::render;
use crate::render::plot::{Picture, write_picture};
use crate::report::{Labels, Row};
use crate::solver::Precision;
use crate::writing;

use super::model::Model;
use super::options::{Common, FormatName, Input, PrecisionName, word};
use super::outputs::Outputs;
use super::run::{self, Analysis, Finished};
use super::{Status, rules};

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
    /// Decompose nothing: hashes, what is not finite, zero rows, largest entries, as fast as the file can be read
    #[arg(long, conflicts_with_all = ["precision", "names", "singular_values"])]
    no_svd: bool,
    /// Whose column names and definitions to use
    #[arg(long, value_name = "WHOSE", value_enum, default_value_t = Names::Svdkit)]
    names: Names,
    /// Save every spectrum to FILE: one f64 tensor a matrix
    #[arg(long, value_name = "FILE.safetensors")]
    singular_values: Option<PathBuf>,
    /// Draw each matrix below the table: at most 4, chosen with `--include`
    #[arg(long, value_name = "WHAT", value_enum)]
    plot: Option<PlotName>,
    #[command(flatten)]
    common: Common,
}

/// The pictures by the names users type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PlotName {
    /// Density of the eigenvalues over both logarithms, with the fitted tail and its start
    Esd,
    /// Singular values by position, with the ranks that hold 90 % and 99 % of the energy
    Scree,
}

/// More pictures than this are no answer.
const MOST_PICTURES: usize = 4;

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
    let common = &arguments.common.in_force()?;
    let analysis = analysis(arguments);
    let mut outputs = Outputs::new(&common.output)?;
    let spectra = outputs.add("--singular-values", arguments.singular_values.as_deref())?;
    if arguments.plot.is_some() && common.format != FormatName::Table {
        let what = "`--plot` draws below the table; leave out `--format`, or write the report with `-o`";
        return Err(Error::Usage(what.to_owned()));
    }
    let (model, _) = Model::open_input(&arguments.input)?;
    if arguments.plot.is_some() {
        let layers = model.source.select(&common.filter()?).layers;
        if let Some(first) = layers.first().filter(|_| layers.len() > MOST_PICTURES) {
            return Err(Error::Usage(format!(
                "`--plot` draws at most {MOST_PICTURES} matrices, and these are {}; choose, as in `--include '{}'`",
                layers.len(),
                first.name
            )));
        }
    }
    outputs.ready(common)?;
    let finished = run::report(&model, common, &analysis);
    let finished = if arguments.no_svd { finished.map_err(rules::without_svd) } else { finished };
    let Some(Finished { mut report, measured }) = finished? else {
        return Ok(Status::Fine);
    };
    if arguments.names == Names::Weightwatcher && !arguments.no_svd {
        report.rows.iter_mut().for_each(|row| row.labels = Some(labels(row)));
    }
    if let Some(slot) = spectra {
        let spectra = measured
            .iter()
            .filter_map(|(name, found)| Some((name.as_str(), found.as_ref()?.spectrum.as_ref()?)))
            .filter(|(_, spectrum)| spectrum.fits());
        outputs.write(slot, |out| writing::write_spectra(out, &spectra.collect::<Vec<_>>()));
    }
    run::deliver_with(&report, common, &analysis.shown, &mut outputs, &|look, out| {
        render::write(&report, common.format.into(), look, out)?;
        let Some(plot) = arguments.plot else { return Ok(()) };
        let picture = if plot == PlotName::Esd { Picture::Esd } else { Picture::Scree };
        for (name, found) in &measured {
            let row = report.rows.iter().find(|row| row.name == *name);
            let spectrum = found.as_ref().and_then(|found| found.spectrum.as_ref()).filter(|s| s.fits());
            if let Some((row, spectrum)) = row.zip(spectrum) {
                write_picture(row, spectrum, picture, (look.width, look.paint), out)?;
            }
        }
        Ok(())
    })
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

/// The same where nothing is decomposed.
pub(super) fn bytes_settings() -> Vec<(&'static str, String)> {
    vec![("svd", "none".to_owned())]
}

/// What WeightWatcher's table holds of a row beside numbers, as it reads a file of weights.
fn labels(row: &Row) -> Labels {
    let axes = row.stored_shape.as_ref().map_or(2, Vec::len);
    let slice = row.name.ends_with(']');
    Labels {
        longname: if row.update.is_some() || slice { row.name.clone() } else { bare(&row.tensor).to_owned() },
        layer_type: match axes {
            2 => "dense",
            4 => "conv2d",
            _ if slice => "dense",
            _ => "unknown",
        }
        .into(),
        has_esd: row.failed.is_none() && row.values.get("num_evals").is_some() && !row.sketch.is_empty(),
    }
}

/// What is only read.
fn bytes() -> Analysis {
    let columns: Vec<_> = HYGIENE.iter().map(|metric| &metric.column).collect();
    Analysis {
        command: "spectrum",
        shown: columns.iter().map(|column| column.key).collect(),
        columns,
        settings: bytes_settings(),
        cost: Box::new(|layer: &Layer| Job {
            flops: layer.bytes() as f64 * hygiene::OPERATIONS_PER_BYTE,
            bytes: layer.bytes().min(hygiene::BLOCK as u64),
        }),
        measure: Arc::new(hygiene::measure),
    }
}

fn analysis(arguments: &Arguments) -> Analysis {
    if arguments.no_svd {
        return bytes();
    }
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
