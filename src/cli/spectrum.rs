//! `svdkit spectrum`: norms, ranks, tail exponent, noise edge and spikes of each matrix.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::error::Error;
use crate::notation;
use crate::render;
use crate::render::plot::{Picture, write_picture};
use crate::study::{self, Asked, Measures, Spectra, SpectrumRequest};
use crate::writing;

use super::further::{self, FurtherOptions};
use super::model::open_input;
use super::options::{Common, FormatName, Input, PrecisionName};
use super::outputs::Outputs;
use super::recording::LedgerOptions;
use super::run::{self, Finished};
use super::{Status, rules};

/// Columns of the table, most wanted first.
const SHOWN: [&str; 6] =
    ["spectral_norm", "stable_rank", "effective_rank", "alpha", "ks_distance", "spike_count"];
/// The same with `--no-svd`.
const SHOWN_BYTES: [&str; 3] = ["nonfinite_count", "zero_rows", "max_abs"];
/// The same under `--names weightwatcher`.
const SHOWN_WEIGHTWATCHER: [&str; 6] =
    ["alpha", "D", "stable_rank", "log_spectral_norm", "alpha_weighted", "num_pl_spikes"];

/// Measures every matrix of a checkpoint: norms, ranks, entropy, power-law tail, noise edge and spikes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    input: Input,
    /// How exact small singular values are
    #[arg(long, value_name = "HOW", value_enum, default_value_t = PrecisionName::Fast)]
    precision: PrecisionName,
    /// Decompose nothing: only hashes, NaN and infinities, zero rows and largest entries, as fast as the file can be
    /// read
    #[arg(long, conflicts_with_all = ["precision", "names", "singular_values"])]
    no_svd: bool,
    /// Whose column names and definitions to use
    #[arg(long, value_name = "WHOSE", value_enum, default_value_t = Names::Svdkit)]
    names: Names,
    /// Save every spectrum to FILE: one f64 tensor a matrix
    #[arg(long, value_name = "FILE.safetensors")]
    singular_values: Option<PathBuf>,
    /// Plot each matrix below the table: at most 4; choose them with `--include`
    #[arg(long, value_name = "WHAT", value_enum)]
    plot: Option<PlotName>,
    #[command(flatten)]
    further: FurtherOptions,
    #[command(flatten)]
    pub ledger: LedgerOptions,
    #[command(flatten)]
    pub common: Common,
}

/// The pictures by the names users type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PlotName {
    /// Eigenvalue density on log–log axes, with the fitted tail and its start
    Esd,
    /// Singular values by position, with the ranks that hold 90 % and 99 % of the energy
    Scree,
}

/// More plots than this don't help.
const MOST_PICTURES: usize = 4;

/// The vocabularies by the names users type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Names {
    /// svdkit's own (docs/metrics.md)
    Svdkit,
    /// WeightWatcher's names with WeightWatcher's definitions, for notebooks that expect them
    Weightwatcher,
}

impl From<Names> for study::Names {
    fn from(names: Names) -> Self {
        match names {
            Names::Svdkit => Self::Svdkit,
            Names::Weightwatcher => Self::Weightwatcher,
        }
    }
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.recorded(&arguments.ledger)?;
    let request = request(arguments);
    let further = arguments.further.further();
    let columns: Vec<_> = request.columns().into_iter().chain(further.columns()).collect();
    let gate = rules::gate(common, "spectrum", &columns).map_err(further::hint);
    let gate = if arguments.no_svd { gate.map_err(rules::without_svd) } else { gate }?;
    let request = SpectrumRequest { asked: rules::asked(common, &gate, &columns, &[]), ..request };
    let mut outputs = Outputs::new(&common.output)?;
    let singular_values = outputs.add("--singular-values", arguments.singular_values.as_deref())?;
    if arguments.plot.is_some() && common.format != FormatName::Table {
        let what = "`--plot` draws below the table; leave out `--format`, or write the report with `-o`";
        return Err(Error::Usage(what.to_owned()));
    }
    let opened = open_input(&arguments.input)?;
    let source = Arc::clone(&opened.source);
    let study = request.plan_with(further, opened, &common.filter()?)?;
    if let (Some(_), [first, _, ..]) = (arguments.plot, study.layers())
        && study.layers().len() > MOST_PICTURES
    {
        return Err(Error::Usage(format!(
            "`--plot` draws at most {MOST_PICTURES} matrices, and these are {}; choose, as in `--include '{}'`",
            study.layers().len(),
            first.name
        )));
    }
    outputs.ready(common)?;
    let Some(Finished { report, spectra }) = run::report(study, source, (common, &gate))? else {
        return Ok(Status::Fine);
    };
    // What does not fit a double cannot be written or drawn.
    let mut spectra: Vec<_> = spectra.iter().map(|(name, spectrum)| (name.as_str(), spectrum)).collect();
    spectra.retain(|(_, spectrum)| spectrum.fits());
    if let Some(slot) = singular_values {
        let holds = format!("singular values of {} matrices", notation::count(spectra.len() as u64));
        outputs.write(slot, &holds, |out| writing::write_spectra(out, &spectra));
    }
    let shown: Vec<&str> = arguments.further.shown().iter().chain(shown(arguments)).copied().collect();
    run::deliver_with(&report, common, &shown, &mut outputs, &|style, out| {
        render::write(&report, common.format.into(), style, out)?;
        let Some(plot) = arguments.plot else { return Ok(()) };
        let picture = if plot == PlotName::Esd { Picture::Esd } else { Picture::Scree };
        for (name, spectrum) in &spectra {
            if let Some(row) = report.rows.iter().find(|row| row.name == *name) {
                write_picture(row, spectrum, picture, (style.width, style.paint), out)?;
            }
        }
        Ok(())
    })
}

fn request(arguments: &Arguments) -> SpectrumRequest {
    let kept = arguments.plot.is_some() || arguments.singular_values.is_some();
    SpectrumRequest {
        measures: if arguments.no_svd {
            Measures::Bytes
        } else {
            Measures::Values(arguments.names.into(), arguments.precision.into())
        },
        asked: Asked::own(),
        spectra: if kept { Spectra::Kept } else { Spectra::Dropped },
    }
}

/// Columns of the table, most wanted first.
fn shown(arguments: &Arguments) -> &'static [&'static str] {
    match arguments.names {
        _ if arguments.no_svd => &SHOWN_BYTES,
        Names::Svdkit => &SHOWN,
        Names::Weightwatcher => &SHOWN_WEIGHTWATCHER,
    }
}
