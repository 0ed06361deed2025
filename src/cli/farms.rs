//! `svdkit farms`: the tail exponent free of aspect-ratio bias, and allocations by layer from it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::analysis::allocation::{ASSIGNED_RATE, ASSIGNED_SPARSITY, assign};
use crate::analysis::farms::{Convolution, Settings};
use crate::error::Error;
use crate::metric::StartRule;
use crate::notation;
use crate::render;
use crate::render::allocation::Allocation;
use crate::report::Value;
use crate::solver::Precision;
use crate::study::{Asked, FarmsRequest, Matrices};

use super::allocate::Allocate;
use super::model::open_input;
use super::options::{Common, Input, PrecisionName};
use super::outputs::Outputs;
use super::plan;
use super::recording::LedgerOptions;
use super::run::{self, Finished};
use super::{Status, rules};

/// Columns of the table, most wanted first.
const SHOWN: [&str; 8] = [
    "farms_alpha",
    "whole_alpha",
    "alpha_shift",
    "farms_ks_distance",
    "windows",
    "window_rows",
    "window_cols",
    "window_coverage",
];

/// Fits one power law to the pooled eigenvalues of many overlapping windows of each matrix, all of one aspect ratio.
///
/// The exponent of a whole matrix depends on its shape, so layers of different shape do not compare by it. This one does
/// not (FARMS). Exponents can be turned into pruning ratios or learning rates with `--allocate`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    input: Input,
    /// Published settings to start from; the options below override them
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Preset::Language, help_heading = "Windows")]
    preset: Preset,
    /// Rows of a window; fewer if the matrix is smaller [default: 2000, for images 100]
    #[arg(long, value_name = "ROWS", help_heading = "Windows")]
    window: Option<NonZeroUsize>,
    /// Columns of a window divided by its rows [default: 1]
    #[arg(long, value_name = "RATIO", value_parser = ratio, help_heading = "Windows")]
    aspect: Option<f64>,
    /// Windows along each side of a matrix, so up to N² in all; the work grows like N² [default: 15, for images 9]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=200), help_heading = "Windows")]
    windows_per_dim: Option<u16>,
    /// Where a tail may start [default: peak, for images median]
    #[arg(long, value_name = "RULE", value_enum, help_heading = "Windows")]
    xmin: Option<StartName>,
    /// How to treat convolution kernels [default: fold, for images farms]
    #[arg(long, value_name = "HOW", value_enum, help_heading = "Windows")]
    conv: Option<ConvolutionName>,
    /// How exact small singular values are
    #[arg(long, value_name = "HOW", value_enum, default_value_t = PrecisionName::Fast, help_heading = "Windows")]
    precision: PrecisionName,
    #[command(flatten)]
    allocate: Allocate,
    #[command(flatten)]
    pub ledger: LedgerOptions,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// Language models: windows of 2000 × 2000, 15 along each side, tails by the peak rule
    Language,
    /// Image classifiers: windows of 100 × 100, 9 along each side, tails from the median, convolutions in blocks
    Image,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StartName {
    /// Anywhere: the start with the smallest Kolmogorov–Smirnov distance
    Ks,
    /// At the median
    Median,
    /// Near the peak of the density, as in AlphaPruning's and FARMS' code, including a mistake in its lower bound
    Peak,
    /// Near the peak of the density, from 0.95 to 1.5 times it
    PeakFixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ConvolutionName {
    /// As one matrix, out × (in·k·k)
    Fold,
    /// As in FARMS' code: square blocks of each kernel position, one exponent for each row of blocks, and their mean
    Farms,
}

impl From<StartName> for StartRule {
    fn from(name: StartName) -> Self {
        match name {
            StartName::Ks => Self::Ks,
            StartName::Median => Self::Median,
            StartName::Peak => Self::Peak,
            StartName::PeakFixed => Self::PeakFixed,
        }
    }
}

impl From<ConvolutionName> for Convolution {
    fn from(name: ConvolutionName) -> Self {
        match name {
            ConvolutionName::Fold => Self::Fold,
            ConvolutionName::Farms => Self::Blocks,
        }
    }
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.recorded(&arguments.ledger)?;
    arguments.allocate.check()?;
    let request = request(arguments);
    let columns = request.columns();
    let gate = rules::gate(common, "farms", &columns)?;
    let outputs_of = arguments.allocate.columns();
    let request = FarmsRequest { asked: rules::asked(common, &gate, &columns, &outputs_of), ..request };
    let mut outputs = Outputs::new(&common.output)?;
    let file = outputs.add("--allocate", arguments.allocate.file())?;
    let opened = open_input(&arguments.input)?;
    outputs.ready(common)?;
    let source = Arc::clone(&opened.source);
    let study = request.clone().plan(opened, &common.filter()?)?;
    if !common.quiet {
        hint(&request, &study, common);
    }
    let Some(Finished { mut report, .. }) = run::report(study, source, (common, &gate))? else {
        return Ok(Status::Fine);
    };
    let allocation = arguments.allocate.request().map(|request| request.allocate(&report)).transpose();
    // If nothing can be allocated, the measurements are still reported, except for a table when stdout was for the
    // allocation.
    if let Err(error) = &allocation {
        outputs.fail(error);
    }
    let mut shown = SHOWN.to_vec();
    if let Ok(Some(Allocation { kind, layers, .. })) = &allocation {
        let column = if *kind == "sparsity" { &ASSIGNED_SPARSITY } else { &ASSIGNED_RATE };
        let values = layers.iter().map(|layer| (layer.name.as_str(), Value::Real(layer.value))).collect();
        assign(&mut report, column, &values);
        shown.insert(0, column.key);
    }
    match (allocation.transpose(), file) {
        (Some(Ok(allocation)), Some(file)) => {
            let whole = allocation.layers.iter().filter(|layer| layer.value >= 1.0).count();
            let whole = match (allocation.kind, whole) {
                ("sparsity", 1..) => {
                    format!(", {whole} pruned whole: a smaller `--epsilon` keeps some of them")
                }
                _ => String::new(),
            };
            let holds = format!(
                "{} of {} matrices, {} left out{whole}",
                allocation.kind.replace('_', " "),
                notation::count(allocation.layers.len() as u64),
                notation::count(allocation.excluded.len() as u64)
            );
            outputs.write(file, &holds, |out| render::allocation::write(&allocation, out));
        }
        (Some(allocation), None) => {
            return run::deliver_with(&report, common, &shown, &mut outputs, &|_, out| {
                allocation.as_ref().map_or(Ok(()), |allocation| render::allocation::write(allocation, out))
            });
        }
        (Some(Err(_)), Some(_)) | (None, _) => {}
    }
    run::deliver(&report, common, &shown, &mut outputs)
}

fn request(arguments: &Arguments) -> FarmsRequest {
    let (window, windows_per_dim, xmin, conv) = match arguments.preset {
        Preset::Language => (2000, 15, StartName::Peak, ConvolutionName::Fold),
        Preset::Image => (100, 9, StartName::Median, ConvolutionName::Farms),
    };
    let (xmin, conv) = (arguments.xmin.unwrap_or(xmin), arguments.conv.unwrap_or(conv));
    let settings = Settings {
        window: arguments.window.map_or(window, NonZeroUsize::get),
        aspect: arguments.aspect.unwrap_or(1.0),
        windows_per_dim: usize::from(arguments.windows_per_dim.unwrap_or(windows_per_dim)),
        start: xmin.into(),
        convolution: conv.into(),
        precision: Precision::from(arguments.precision),
    };
    FarmsRequest { settings, asked: Asked::own() }
}

/// A hint about the work and how to reduce it, before a long run.
fn hint(request: &FarmsRequest, study: &Matrices, common: &Common) {
    /// About a minute of two threads.
    const LONG: f64 = 5e12;
    const CHEAP: usize = 5;
    let (here, there) = request.work(study, CHEAP);
    if request.settings.windows_per_dim <= CHEAP || here < LONG {
        return;
    }
    let less = format!("`--windows-per-dim {CHEAP}` takes {} of it", notation::share(there / here));
    // The plan of a dry run says the rest.
    if common.dry_run {
        super::remark(&format!("hint: {less}"));
    } else {
        let seconds = here / (plan::rate() * common.limits().threads as f64);
        super::remark(&format!(
            "hint: {} of work, about {}; {less}",
            notation::flops(here),
            notation::estimate(seconds)
        ));
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.trim().parse().ok().filter(|x: &f64| *x > 0.0 && x.is_finite());
    ratio.ok_or_else(|| "an aspect ratio is above 0, as in 1 or 0.5".to_owned())
}
