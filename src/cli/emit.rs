//! `--emit`: advice in the form that other tools read, to stdout in the table's place or to a file.

use std::fmt;
use std::path::PathBuf;

use clap::Args;

use crate::analysis::resize::{Method, Rule};
use crate::error::Error;
use crate::metric::SPECTRUM_SNR;
use crate::render::advice::{self, Advice};
use crate::report::Column;
use crate::study::{AdviceRequest, Ranks};

use super::options::ModulesName;
use super::outputs::{Outputs, Slot};
use super::remark;
use super::run::Finished;
use super::values::percent;

/// Advice that other tools read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output for other tools")]
pub(super) struct Emit {
    /// Write KIND to FILE, or to stdout instead of the table: peft-rank-pattern, kappatune, spectrum-yaml, spectrum-snr
    /// or kohya; may be repeated
    ///
    /// `peft-rank-pattern`: arguments of PEFT's LoraConfig as JSON, with a rank for each module: those of `--budget`, or
    /// those that hold the share of the energy given by `--energy`. `kappatune`: PEFT's `target_modules` and
    /// `target_parameters`, the `--top` with the lowest condition number. `spectrum-yaml`: the `unfrozen_parameters` of
    /// Spectrum and axolotl, the `--top` of each kind of matrix by `spectrum_snr`. `spectrum-snr`: that ratio of every
    /// module, the `model_snr_results/snr_results_MODEL.json` of Spectrum and axolotl. `kohya`: the ranks that
    /// `resize_lora.py` would cut to, by the rules of `--resize`.
    #[arg(id = "emit", long, value_name = "KIND[=FILE]", value_parser = emission)]
    asked: Vec<Emission>,
    /// Average rank of a matrix; ranks go where they hold the largest share of a matrix's energy
    #[arg(long, value_name = "R", requires = "emit", value_parser = clap::value_parser!(u32).range(1..))]
    budget: Option<u32>,
    /// No matrix gets more than RHO times the budget
    #[arg(long, value_name = "RHO", requires = "budget", value_parser = factor)]
    rho: Option<f64>,
    /// `lora_alpha` of the pattern at its rank `r`; each module gets it in proportion to its rank [default: r]
    #[arg(long, value_name = "ALPHA", requires = "emit", value_parser = factor)]
    lora_alpha: Option<f64>,
    /// How many modules to train [default: 50% of each kind of matrix for spectrum-yaml, 20% of all for kappatune]
    #[arg(long, value_name = "PERCENT", requires = "emit", value_parser = percent)]
    top: Option<f64>,
    /// Which modules get a rank from peft-rank-pattern and kohya; other kinds choose as their tools do
    #[arg(long, value_name = "WHICH", requires = "emit", value_enum, default_value_t = ModulesName::Inner)]
    modules: ModulesName,
    /// How to resize: sv_ratio=P, sv_fro=P or sv_cumulative=P, separated by commas
    #[arg(long, value_name = "RULES", requires = "emit", value_delimiter = ',', value_parser = rule)]
    resize: Vec<Rule>,
}

/// One `--emit` as typed.
#[derive(Debug, Clone)]
struct Emission {
    kind: AdviceKind,
    file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AdviceKind {
    RankPattern,
    Unfrozen,
    Resize,
    Kappa,
    Ratios,
}

impl AdviceKind {
    const ALL: [(Self, &str); 5] = [
        (Self::RankPattern, "peft-rank-pattern"),
        (Self::Kappa, "kappatune"),
        (Self::Unfrozen, "spectrum-yaml"),
        (Self::Ratios, "spectrum-snr"),
        (Self::Resize, "kohya"),
    ];
}

impl fmt::Display for AdviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name))
    }
}

/// Where an `--emit` goes; without a file to stdout.
pub(super) struct Destination(AdviceKind, Option<Slot>);

impl Emit {
    /// Checks that every kind has the options it needs; `energy` are the shares of `--energy`.
    pub(super) fn check(&self, energy: &[f64]) -> Result<(), Error> {
        let asked = |kind| self.asked.iter().any(|emission| emission.kind == kind);
        let problem = match energy {
            _ if asked(AdviceKind::Resize) && self.resize.is_empty() => {
                "`--emit kohya` needs a rule, as in `--resize sv_fro=0.9`"
            }
            _ if !asked(AdviceKind::RankPattern) || self.budget.is_some() => return Ok(()),
            [_] => return Ok(()),
            [] => "`--emit peft-rank-pattern` needs `--budget 16`, or a share to hold, as in `--energy 0.9`",
            _ => "`--emit peft-rank-pattern` takes one share of `--energy`, or a `--budget`",
        };
        Err(Error::Usage(problem.to_owned()))
    }

    /// Whether any advice is.
    pub(super) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The columns that are written beside what spectra tell, each with what asks for it.
    pub(super) fn columns(&self) -> Vec<(&'static Column, &'static str)> {
        let ratios = [AdviceKind::Unfrozen, AdviceKind::Ratios];
        let is_asked = self.asked.iter().any(|emission| ratios.contains(&emission.kind));
        is_asked.then_some((&SPECTRUM_SNR.column, "`--emit`")).into_iter().collect()
    }

    /// The kinds that go to stdout.
    pub(super) fn to_stdout(&self) -> Vec<String> {
        let bare = self.asked.iter().filter(|emission| emission.file.is_none());
        bare.map(|emission| emission.kind.to_string()).collect()
    }

    /// What is asked of that kind; `energy` are the shares of `--energy`.
    fn request(&self, kind: AdviceKind, energy: &[f64]) -> AdviceRequest {
        match (kind, self.budget) {
            (AdviceKind::RankPattern, Some(budget)) => {
                AdviceRequest::RankPattern(Ranks::Budget(budget, self.rho), self.lora_alpha)
            }
            (AdviceKind::RankPattern, None) => {
                let share = energy.first().copied().unwrap_or(1.0);
                AdviceRequest::RankPattern(Ranks::Energy(share), self.lora_alpha)
            }
            (AdviceKind::Unfrozen, _) => AdviceRequest::Unfrozen(self.top.unwrap_or(50.0)),
            (AdviceKind::Kappa, _) => AdviceRequest::Kappa(self.top.unwrap_or(20.0)),
            (AdviceKind::Ratios, _) => AdviceRequest::Ratios,
            (AdviceKind::Resize, _) => AdviceRequest::Resize(self.resize.clone()),
        }
    }

    /// Adds the files to `outputs`.
    pub(super) fn add_to(&self, outputs: &mut Outputs) -> Result<Vec<Destination>, Error> {
        let mut add = |emission: &Emission| {
            Ok(Destination(emission.kind, outputs.add("--emit", emission.file.as_deref())?))
        };
        self.asked.iter().map(&mut add).collect()
    }
}

/// The part of the output for stdout.
pub(super) enum Spoken<'a> {
    /// Nothing was to go there.
    None,
    /// This, in the table's place.
    Advice(Advice<'a>),
    /// There is nothing to advise, which has been said.
    Failed,
}

/// Writes the files. Returns the text for stdout, and the rank of each matrix where ranks are advised.
pub(super) fn advise<'a>(
    destinations: Vec<Destination>,
    outputs: &mut Outputs,
    emit: &Emit,
    finished: &'a Finished,
    (energy, quiet): (&[f64], bool),
) -> (Spoken<'a>, Vec<(&'a str, usize)>) {
    let mut spoken = Spoken::None;
    let mut ranks = vec![];
    for Destination(kind, file) in destinations {
        let request = emit.request(kind, energy);
        let advised = request.advise(&finished.report, &finished.spectra, emit.modules.into());
        let advice = advised.map(|advised| {
            for (left, what) in [
                (advised.no_modules, "matrices that are not a module's `.weight` by themselves"),
                (
                    advised.outer,
                    "embeddings, positions, norms and output heads; `--modules all` takes them, too",
                ),
            ] {
                if left > 0 && !quiet {
                    remark(&format!("{kind}: without {left} {what}"));
                }
            }
            if ranks.is_empty() {
                ranks = advised.ranks;
            }
            advised.advice
        });
        if let Err(error) = &advice {
            outputs.fail(error);
        }
        match (file, advice) {
            (Some(file), Ok(advice)) => {
                outputs.write(file, &advice.contents(), |out| advice::write(&advice, out));
            }
            (Some(_), Err(_)) => {}
            (None, Ok(advice)) => spoken = Spoken::Advice(advice),
            (None, Err(_)) => spoken = Spoken::Failed,
        }
    }
    (spoken, ranks)
}

fn emission(text: &str) -> Result<Emission, String> {
    let (name, file) =
        text.split_once('=').map_or((text, None), |(name, file)| (name, Some(PathBuf::from(file))));
    let kind = AdviceKind::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind);
    if file.as_ref().is_some_and(|file| file.as_os_str().is_empty()) {
        return Err("name a file after `=`".to_owned());
    }
    let known = || AdviceKind::ALL.map(|(_, name)| name).join(", ");
    Ok(Emission { kind: kind.ok_or_else(|| format!("known kinds are {}", known()))?, file })
}

fn factor(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|x: &f64| x.is_finite() && *x > 0.0)
        .ok_or_else(|| "not a positive number".to_owned())
}

fn rule(text: &str) -> Result<Rule, String> {
    let (name, number) = text.split_once('=').ok_or("a rule is METHOD=P, as in sv_fro=0.9")?;
    let method = Method::ALL.iter().find(|(_, known)| *known == name).map(|(method, _)| *method);
    let method = method.ok_or("methods are sv_ratio, sv_fro and sv_cumulative")?;
    let parameter = number.parse::<f64>().map_err(|_| format!("`{number}` is not a number"))?;
    let (sound, range) = match method {
        Method::Ratio => (parameter > 1.0 && parameter.is_finite(), "above 1"),
        Method::Frobenius | Method::Cumulative => {
            (parameter > 0.0 && parameter <= 1.0, "above 0 and at most 1")
        }
    };
    if sound { Ok(Rule { method, parameter }) } else { Err(format!("{name} takes a number {range}")) }
}
