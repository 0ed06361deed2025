//! `svdkit adapter extract` and `svdkit adapter resize`: an adapter of chosen ranks out of a fine-tune, or out of another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::analysis::budget;
use crate::analysis::extract::Keep;
use crate::checkpoint::Holds;
use crate::error::Error;
use crate::layer::Filter;
use crate::matrix::Dtype;
use crate::metric::energy_shares;
use crate::solver::Precision;
use crate::study::{
    Carried, ExtractRequest, Opened, RankRequest, Spectra, Targets, check_all_fit, check_all_there,
    check_complete, check_no_stack, written_dtype,
};
use crate::writing::{AdapterDialect, Spool, check_adapter_folder, check_outside};

use super::super::jobs::run_study;
use super::super::model::{open_input, open_pair};
use super::super::options::{Common, Input, ReadingOptions};
use super::super::outputs::Outputs;
use super::super::run::{self, Finished};
use super::super::values::share;
use super::super::{Status, rules};
use super::merge::check_adapter;

/// Columns of the table, most wanted first.
const SHOWN: [&str; 6] =
    ["kept_rank", "kept_energy", "lost_ratio", "lost_norm", "spectral_norm", "frobenius_norm"];

/// Writes an adapter of plain LoRA: the best approximation of TUNED − BASE in so many directions a matrix.
///
/// TUNED is a fine-tune, or an adapter of any method. PEFT loads the folder; its scale is 1.
#[derive(Debug, Args)]
pub(in super::super) struct ExtractArguments {
    /// The original checkpoint
    base: PathBuf,
    /// What was trained from it: a checkpoint or an adapter
    tuned: PathBuf,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    written: Written,
    #[command(flatten)]
    common: Common,
}

/// Writes an adapter again with other ranks, as plain LoRA of scale 1.
///
/// Without `--base` it has to be LoRA; with it, an adapter of any method.
#[derive(Debug, Args)]
pub(in super::super) struct ResizeArguments {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    written: Written,
    #[command(flatten)]
    common: Common,
}

/// What is kept, and what is written.
#[derive(Debug, Args)]
struct Written {
    #[command(flatten)]
    ranks: RankChoice,
    /// The folder for the adapter; must be empty or not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Who is to read it
    #[arg(long, value_name = "WHOSE", value_enum, default_value_t = DialectName::Peft)]
    dialect: DialectName,
    /// What names begin with in kohya's and Diffusers' files [default: lora_unet or unet]
    #[arg(long, value_name = "WORD")]
    prefix: Option<String>,
    /// The type that factors are written in [default: the adapter's own, f32 of a fine-tune]
    #[arg(long, value_name = "TYPE", value_enum)]
    dtype: Option<DtypeName>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct RankChoice {
    /// The rank of every matrix
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    rank: Option<u32>,
    /// The fewest directions of each matrix that hold this share of its Σσ², as in 0.9
    #[arg(long, value_name = "SHARE", value_parser = share)]
    energy: Option<f64>,
    /// The average rank: ranks go where they hold the largest share of a matrix's energy
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    budget: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DialectName {
    /// `adapter_model.safetensors` and `adapter_config.json`
    Peft,
    /// `lora.safetensors` for sd-scripts, ComfyUI, LyCORIS: `lora_down`, `lora_up`, `alpha`
    Kohya,
    /// `pytorch_lora_weights.safetensors` for Diffusers
    Diffusers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DtypeName {
    F64,
    F32,
    F16,
    Bf16,
}

impl From<DtypeName> for Dtype {
    fn from(name: DtypeName) -> Self {
        match name {
            DtypeName::F64 => Self::F64,
            DtypeName::F32 => Self::F32,
            DtypeName::F16 => Self::F16,
            DtypeName::Bf16 => Self::Bf16,
        }
    }
}

/// Runs `adapter extract`.
pub(super) fn extract(arguments: &ExtractArguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let outputs = prepared("adapter extract", &arguments.written, common)?;
    let opening = arguments.reading.opening()?;
    check_outside(&arguments.written.out, &[&arguments.base, &arguments.tuned])?;
    let (opened, _) = open_pair(&arguments.base, &arguments.tuned, &opening)?;
    let base = arguments.base.display().to_string();
    write("adapter extract", (&arguments.tuned, opened), (&arguments.written, common), Some(&base), outputs)
}

/// Runs `adapter resize`.
pub(super) fn resize(arguments: &ResizeArguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let outputs = prepared("adapter resize", &arguments.written, common)?;
    let inputs: Vec<&Path> =
        std::iter::once(arguments.input.model.as_path()).chain(arguments.input.base.as_deref()).collect();
    check_outside(&arguments.written.out, &inputs)?;
    let opened = open_input(&arguments.input)?;
    let adapted = opened.pairs.as_ref().map_or(opened.source.as_ref(), |pairs| pairs.tuned().as_ref());
    check_adapter(&arguments.input.model, adapted.holds())?;
    let base = arguments.input.base.as_ref().map(|base| base.display().to_string());
    let of = &arguments.input.model;
    write("adapter resize", (of, opened), (&arguments.written, common), base.as_deref(), outputs)
}

/// What can be refused before anything is opened.
fn prepared(command: &str, written: &Written, common: &Common) -> Result<Outputs, Error> {
    rules::gate(common, command, &ExtractRequest::columns())?;
    if written.prefix.is_some() && written.dialect == DialectName::Peft {
        return Err(Error::Usage("`--prefix` is of `--dialect kohya` and `--dialect diffusers`".to_owned()));
    }
    check_adapter_folder(&written.out)?;
    Outputs::new(&common.output)
}

fn write(
    command: &'static str,
    (of, mut opened): (&Path, Opened),
    (written, common): (&Written, &Common),
    base: Option<&str>,
    mut outputs: Outputs,
) -> Result<Status, Error> {
    let gate = rules::gate(common, command, &ExtractRequest::columns())?;
    outputs.add_folder("--out", &written.out);
    outputs.ready(common)?;
    let filter = common.filter()?;
    let pairs = opened.pairs.clone();
    let adapted =
        pairs.as_ref().map_or_else(|| Arc::clone(&opened.source), |pairs| Arc::clone(pairs.tuned()));
    let of_factors = adapted.holds() == Holds::Updates;
    let carried = match &pairs {
        Some(pairs) if !of_factors => Carried::of_pairs(pairs, &filter)?,
        _ => Carried::of_adapter(&adapted, &filter),
    };
    if of_factors && written.dialect == DialectName::Peft {
        let reason = "saved whole with the adapter, and again";
        opened.source = Arc::new(opened.source.leaving(&carried.names(), reason));
    }
    let source = Arc::clone(&opened.source);
    match &pairs {
        None => check_all_there(of, &source, &filter, "written again")?,
        Some(pairs) if of_factors => check_all_fit(of, pairs, &filter)?,
        Some(_) => {}
    }
    let prefix = |default: &str| written.prefix.clone().unwrap_or_else(|| default.to_owned());
    let dialect = match written.dialect {
        DialectName::Peft => AdapterDialect::Peft,
        DialectName::Kohya => AdapterDialect::Kohya(prefix("lora_unet")),
        DialectName::Diffusers => AdapterDialect::Diffusers(prefix("unet")),
    };
    let layers = source.select(&filter).layers;
    if of_factors {
        check_no_stack(of, &source, &layers, "written as modules of their own")?;
    }
    let targets = Targets::new(of, (&layers, &source, pairs.as_deref()), &dialect)?;
    let dtype = written.dtype.map_or_else(|| written_dtype(&layers, of_factors), Dtype::from);
    let ranks = match (written.ranks.budget, common.dry_run) {
        (Some(budget), false) => Some(budgeted(&opened, &filter, budget, common)?),
        _ => None,
    };
    let (keep, asked) = match &written.ranks {
        RankChoice { energy: Some(share), .. } => (Keep::Energy(*share), ("energy", share.to_string())),
        RankChoice { budget: Some(budget), .. } => {
            (Keep::Rank(*budget as usize), ("budget", budget.to_string()))
        }
        RankChoice { rank, .. } => {
            let rank = rank.unwrap_or(1);
            (Keep::Rank(rank as usize), ("rank", rank.to_string()))
        }
    };
    let request = ExtractRequest { command, keep, ranks, asked, dtype };
    let products = Arc::new(Spool::beside(&written.out)?);
    let study = request.plan(opened, &filter, &products)?;
    let Some(Finished { mut report, .. }) = run::report(study, Arc::clone(&source), (common, &gate))? else {
        return Ok(Status::Fine);
    };
    check_complete(&report, &written.out)?;
    let written = targets.write(&mut report, (&written.out, &dialect), &products, carried, (dtype, base));
    if let Err(error) = written {
        outputs.fail(&error);
    }
    run::deliver(&report, common, &SHOWN, &mut outputs)
}

/// Ranks that are `budget` on average, by the energy shares of all matrices.
fn budgeted(
    opened: &Opened,
    filter: &Filter,
    budget: u32,
    common: &Common,
) -> Result<BTreeMap<String, usize>, Error> {
    let request = RankRequest::new(Precision::Fast, 0.01, &[], Spectra::Kept);
    let study: Arc<dyn crate::study::Study> = Arc::new(request.plan(opened.clone(), filter)?);
    let manifest = study.manifest();
    let mut ledger = run_study(&study, (common, common.limits()))?;
    let spectra = ledger.take_spectra(&manifest);
    let shares: Vec<Vec<f64>> = spectra.iter().map(|(_, spectrum)| energy_shares(spectrum)).collect();
    let total = budget as usize * shares.len();
    let ranks = budget::allocate(&shares, total, usize::MAX);
    Ok(spectra.into_iter().map(|(name, _)| name.into()).zip(ranks).collect())
}
