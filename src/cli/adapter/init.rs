//! `svdkit adapter init`: an adapter that begins with a decomposition of the weights, and the base that it leaves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::analysis::init::{Method, Setup};
use crate::checkpoint::DataKind;
use crate::error::Error;
use crate::matrix::Dtype;
use crate::study::{InitRequest, Initializing, Opened};
use crate::writing::{check_adapter_folder, check_outside};

use super::super::model::{Model, open_pair};
use super::super::options::{Common, ReadingOptions};
use super::super::outputs::Outputs;
use super::super::run::{self, Finished};
use super::super::values::globs;
use super::super::{Status, locate, remark, rules};
use super::extract::DtypeName;

/// Columns of the table, most wanted first.
const SHOWN: [&str; 10] = [
    "adapter_rank",
    "chosen_energy",
    "explained_variance",
    "weighted_norm",
    "plain_error",
    "weighted_error",
    "residual_norm",
    "preservation_error",
    "tail_gap",
    "adapter_norm",
];

/// Writes an adapter whose factors come from a decomposition of the weights, as PEFT loads it. Methods that move the base
/// write that, too: BASE stays W = W_res + s·BA. Linear layers in numbered blocks are initialized.
#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// The checkpoint to train on; of `eora` the compressed one
    base: PathBuf,
    /// How the factors begin
    #[arg(long, value_name = "METHOD", value_enum)]
    method: MethodName,
    /// The rank of every module; of `eva` on average
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    rank: u32,
    /// The scale s of the update times the rank [default: the rank, so that s is 1]
    #[arg(long, value_name = "ALPHA", value_parser = positive)]
    alpha: Option<f64>,
    /// Linear layers to initialize, by a glob over their names; may be repeated [default: those in numbered blocks]
    #[arg(long, value_name = "GLOB")]
    target: Vec<String>,
    /// Covariances of the modules' inputs: PEFT's `covariance_file`, safetensors, or an imatrix of llama.cpp
    #[arg(long, value_name = "FILE", conflicts_with = "acts")]
    cov: Option<PathBuf>,
    /// The modules' inputs, tokens × channels: safetensors or NumPy
    #[arg(long, value_name = "FILE")]
    acts: Option<PathBuf>,
    /// Of `eora`: the uncompressed model
    #[arg(long, value_name = "MODEL")]
    original: Option<PathBuf>,
    /// The folder for the adapter; must be empty or not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The folder for the base that the method leaves; must be empty or not exist
    #[arg(long, value_name = "DIR")]
    base_out: Option<PathBuf>,
    /// The type that factors are written in
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = DtypeName::F32)]
    dtype: DtypeName,
    /// The seed of what `kasa` begins at random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MethodName {
    /// The leading singular directions
    Pissa,
    /// The last ones: SoMA, MiLoRA
    Minor,
    /// The leading ones, A and B/S orthonormal
    Sorsa,
    /// B = 0 and a diagonal; the last directions are cut off the base
    Kasa,
    /// The leading directions for the inputs of `--cov` or `--acts`: learns them anew
    CordaIpm,
    /// The last directions for these inputs: keeps what they need
    CordaKpm,
    /// B = 0, A the leading directions of the inputs of `--acts`
    Eva,
    /// What a compressed BASE lacks, in the norm of its outputs
    Eora,
    /// The first columns and rows of a QR decomposition
    Olora,
}

impl From<MethodName> for Method {
    fn from(name: MethodName) -> Self {
        match name {
            MethodName::Pissa => Self::Pissa,
            MethodName::Minor => Self::Minor,
            MethodName::Sorsa => Self::Sorsa,
            MethodName::Kasa => Self::Kasa,
            MethodName::CordaIpm => Self::CordaIpm,
            MethodName::CordaKpm => Self::CordaKpm,
            MethodName::Eva => Self::Eva,
            MethodName::Eora => Self::Eora,
            MethodName::Olora => Self::Olora,
        }
    }
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let setup = arguments.setup()?;
    let data = arguments.data();
    let mut request = InitRequest {
        setup,
        base: arguments.base.clone(),
        from: PathBuf::new(),
        out: arguments.out.clone(),
        base_out: arguments.base_out.clone(),
        data,
    };
    let gate = rules::gate(common, "adapter init", &request.columns())?;
    let mut outputs = Outputs::new(&common.output)?;
    check_adapter_folder(&arguments.out)?;
    let inputs: Vec<&Path> =
        std::iter::once(arguments.base.as_path()).chain(arguments.original.as_deref()).collect();
    let folders = std::iter::once(&arguments.out).chain(&arguments.base_out);
    folders.clone().try_for_each(|out| check_outside(out, &inputs))?;
    let opened = arguments.open()?;
    if arguments.base_out.is_some() {
        request.from = locate::locate(&arguments.base)?.local()?;
    }
    outputs.add_folder("--out", &arguments.out);
    if let Some(out) = &arguments.base_out {
        outputs.add_folder("--base-out", out);
    }
    let chosen = if arguments.target.is_empty() { None } else { Some(globs(&arguments.target)?) };
    let initializing = Initializing::new(request.clone(), &opened, (&common.filter()?, chosen.as_ref()))?;
    let initializing = Arc::new(initializing);
    outputs.ready(common)?;
    let source = Arc::clone(&opened.source);
    let study = request.plan(opened, &initializing)?;
    if !common.dry_run {
        initializing.begin()?;
    }
    let finished = run::report(study, source, (common, &gate));
    if finished.is_err() {
        initializing.abandon();
    }
    let Some(Finished { mut report, .. }) = finished? else {
        return Ok(Status::Fine);
    };
    match initializing.finish(&mut report) {
        Ok(left_out) => {
            if setup.method == Method::Eva {
                // Ranks depend on all modules, so they are known only now.
                run::judge(&mut report, common, &gate)?;
            }
            let base = arguments.base_out.as_deref().unwrap_or(&arguments.out).display();
            for name in left_out.iter().filter(|_| !common.quiet) {
                remark(&format!("{base}: without `{name}`, a link out of the model's folder"));
            }
        }
        Err(error) => {
            initializing.abandon();
            outputs.fail(&error);
        }
    }
    run::deliver(&report, common, &SHOWN, &mut outputs)
}

impl Arguments {
    /// What the adapter is to be, if the options fit the method.
    fn setup(&self) -> Result<Setup, Error> {
        let method = Method::from(self.method);
        let name = method.name();
        let usage = |what: String| Err(Error::Usage(what));
        match (method.moves_base(), &self.base_out) {
            (true, None) => {
                return usage(format!(
                    "`--method {name}` moves the base; `--base-out DIR` takes the base that belongs to the adapter"
                ));
            }
            (false, Some(_)) => {
                return usage(format!("`--method {name}` leaves the base as it is; leave `--base-out` out"));
            }
            (true, Some(base)) if base.starts_with(&self.out) || self.out.starts_with(base) => {
                return usage(
                    "`--out` and `--base-out` have to be two folders, neither in the other".to_owned(),
                );
            }
            _ => {}
        }
        let takes_data = matches!(method, Method::CordaIpm | Method::CordaKpm | Method::Eora);
        match (&self.cov, &self.acts) {
            (None, None) if takes_data => {
                return usage(format!(
                    "`--method {name}` needs the modules' inputs: `--cov FILE` or `--acts FILE` (docs/data-files.md)"
                ));
            }
            (_, None) if method == Method::Eva => {
                return usage(
                    "`--method eva` needs the modules' inputs, which it centers: `--acts FILE` (docs/data-files.md)"
                        .to_owned(),
                );
            }
            (Some(_), _) | (_, Some(_)) if !takes_data && method != Method::Eva => {
                return usage(format!("`--method {name}` takes no data; leave `--cov` and `--acts` out"));
            }
            _ => {}
        }
        match (method == Method::Eora, &self.original) {
            (true, None) => {
                return usage("`--method eora` needs the uncompressed model: `--original MODEL`".to_owned());
            }
            (false, Some(_)) => return usage("`--original` is of `--method eora`".to_owned()),
            _ => {}
        }
        if method == Method::Eora && self.alpha.is_some() {
            return usage("EoRA's scale is 1; leave `--alpha` out".to_owned());
        }
        let rank = self.rank as usize;
        let scale = self.alpha.map_or(1.0, |alpha| alpha / rank as f64);
        Ok(Setup { method, rank, scale, dtype: Dtype::from(self.dtype), seed: self.seed })
    }

    fn data(&self) -> Option<(DataKind, PathBuf)> {
        let cov = self.cov.iter().map(|path| (DataKind::Covariances, path.clone()));
        cov.chain(self.acts.iter().map(|path| (DataKind::Inputs, path.clone()))).next()
    }

    fn open(&self) -> Result<Opened, Error> {
        let opening = self.reading.opening()?;
        if let Some(original) = &self.original {
            return Ok(open_pair(&self.base, original, &opening)?.0);
        }
        let model = Model::open(&self.base, &opening)?;
        if model.source.holds() == crate::checkpoint::Holds::Updates {
            let reason = "is an adapter; an adapter begins on a checkpoint";
            return Err(Error::malformed(&self.base, reason));
        }
        let roots = model.roots();
        Ok(Opened { source: model.source, pairs: None, origin: model.origin, base: None, roots })
    }
}

/// A number above 0.
fn positive(text: &str) -> Result<f64, String> {
    let number = text.trim().parse::<f64>().ok().filter(|x| *x > 0.0 && x.is_finite());
    number.ok_or_else(|| "a number above 0".to_owned())
}
