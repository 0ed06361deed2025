//! `--emit`: advice in the form that other tools read, to stdout in the table's place or to a file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::Args;

use crate::analysis::budget;
use crate::analysis::resize::{Method, Rule, resize};
use crate::error::Error;
use crate::layer::bare;
use crate::metric::{energy_rank, energy_shares};
use crate::render::advice::{self, Advice, RankPattern};
use crate::report::Row;
use crate::spectrum::Spectrum;

use super::outputs::{Outputs, Slot};
use super::remark;
use super::run::Finished;
use super::values::percent;

/// Advice that other tools read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Advice for other tools")]
pub(super) struct Emit {
    /// Write KIND to FILE, or to stdout instead of the table: peft-rank-pattern, spectrum-yaml or kohya; may be repeated
    ///
    /// `peft-rank-pattern`: arguments of PEFT's LoraConfig as JSON, with a rank for each module: those of `--budget`, or
    /// those that hold the share of the energy given by `--energy`. `spectrum-yaml`: the `unfrozen_parameters` of Spectrum
    /// and axolotl, the `--top` of each kind of matrix by `spectrum_snr`. `kohya`: the ranks that `resize_lora.py` would
    /// cut to, by the rules of `--resize`.
    #[arg(id = "emit", long, value_name = "KIND[=FILE]", value_parser = emission)]
    asked: Vec<Emission>,
    /// Ranks to give, on average to a matrix: one each where it holds the largest share of a matrix's energy
    #[arg(long, value_name = "R", requires = "emit", value_parser = clap::value_parser!(u32).range(1..))]
    budget: Option<u32>,
    /// No matrix gets more than RHO times the budget
    #[arg(long, value_name = "RHO", requires = "budget", value_parser = factor)]
    rho: Option<f64>,
    /// `lora_alpha` of the pattern at its rank `r`; each module gets it in proportion to its rank [default: r]
    #[arg(long, value_name = "ALPHA", requires = "emit", value_parser = factor)]
    lora_alpha: Option<f64>,
    /// How many of each kind of matrix to train
    #[arg(long, value_name = "PERCENT", requires = "emit", value_parser = percent, default_value = "50%")]
    top: f64,
    /// How to resize: sv_ratio=P, sv_fro=P or sv_cumulative=P, separated by commas
    #[arg(long, value_name = "RULES", requires = "emit", value_delimiter = ',', value_parser = rule)]
    resize: Vec<Rule>,
}

/// One `--emit` as typed.
#[derive(Debug, Clone)]
struct Emission {
    kind: Kind,
    file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    RankPattern,
    Unfrozen,
    Resize,
}

impl Kind {
    const ALL: [(Self, &str); 3] = [
        (Self::RankPattern, "peft-rank-pattern"),
        (Self::Unfrozen, "spectrum-yaml"),
        (Self::Resize, "kohya"),
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name))
    }
}

/// Where an `--emit` goes; without a file to stdout.
pub(super) struct Destination(Kind, Option<Slot>);

impl Emit {
    /// Whether every kind asked for has what it needs; `energy` are the shares of `--energy`.
    pub(super) fn check(&self, energy: &[f64]) -> Result<(), Error> {
        let asked = |kind| self.asked.iter().any(|emission| emission.kind == kind);
        let problem = match energy {
            _ if asked(Kind::Resize) && self.resize.is_empty() => {
                "`--emit kohya` needs a rule, as in `--resize sv_fro=0.9`"
            }
            _ if !asked(Kind::RankPattern) || self.budget.is_some() => return Ok(()),
            [_] => return Ok(()),
            [] => "`--emit peft-rank-pattern` needs `--budget 16`, or a share to hold, as in `--energy 0.9`",
            _ => "`--emit peft-rank-pattern` takes one share of `--energy`, or a `--budget`",
        };
        Err(Error::Usage(problem.to_owned()))
    }

    /// The kinds that go to stdout.
    pub(super) fn to_stdout(&self) -> Vec<String> {
        let bare = self.asked.iter().filter(|emission| emission.file.is_none());
        bare.map(|emission| emission.kind.to_string()).collect()
    }

    /// Adds the files to `outputs`.
    pub(super) fn add_to(&self, outputs: &mut Outputs) -> Result<Vec<Destination>, Error> {
        let mut add = |emission: &Emission| {
            Ok(Destination(emission.kind, outputs.add("--emit", emission.file.as_deref())?))
        };
        self.asked.iter().map(&mut add).collect()
    }
}

/// A measured matrix.
struct Matrix<'a> {
    row: &'a Row,
    spectrum: &'a Spectrum,
}

/// What stdout gets of the advice.
pub(super) enum Spoken<'a> {
    /// Nothing was to go there.
    None,
    /// This, in the table's place.
    Advice(Advice<'a>),
    /// There is nothing to advise, which has been said.
    Failed,
}

/// Writes the files, and returns what goes to stdout.
pub(super) fn advise<'a>(
    destinations: Vec<Destination>,
    outputs: &mut Outputs,
    emit: &Emit,
    finished: &'a Finished,
    (energy, quiet): (&[f64], bool),
) -> Spoken<'a> {
    // In natural name order, whatever the report's.
    let rows: BTreeMap<&str, &Row> =
        finished.report.rows.iter().map(|row| (row.name.as_str(), row)).collect();
    let measured = finished.measured.iter().filter_map(|(name, found)| {
        let row = rows.get(name.as_str())?;
        Some(Matrix { row, spectrum: found.as_ref()?.spectrum.as_ref()? })
    });
    let measured: Vec<Matrix<'_>> = measured.collect();
    let advice = |kind| {
        Ok(match kind {
            Kind::RankPattern => {
                Advice::RankPattern(pattern(&modules(&measured, kind, quiet)?, emit, energy)?)
            }
            Kind::Unfrozen => Advice::Unfrozen(unfrozen(&modules(&measured, kind, quiet)?, emit.top)),
            Kind::Resize => Advice::Resize(resized(&measured, &emit.resize)),
        })
    };
    let mut spoken = Spoken::None;
    for Destination(kind, file) in destinations {
        let advice: Result<Advice<'_>, Error> = advice(kind);
        if let Err(error) = &advice {
            outputs.fail(error);
        }
        match (file, advice) {
            (Some(file), Ok(advice)) => outputs.write(file, |out| advice::write(&advice, out)),
            (Some(_), Err(_)) => {}
            (None, Ok(advice)) => spoken = Spoken::Advice(advice),
            (None, Err(_)) => spoken = Spoken::Failed,
        }
    }
    spoken
}

/// The matrices that are a module's weight by themselves: a slice of a stack or a bare parameter cannot be named.
fn modules<'a, 'b>(
    measured: &'b [Matrix<'a>],
    kind: Kind,
    quiet: bool,
) -> Result<Vec<&'b Matrix<'a>>, Error> {
    let whole = |matrix: &&Matrix<'_>| {
        let weight = matrix.row.update.is_some() || matrix.row.tensor.ends_with(".weight");
        weight && !matrix.row.name.ends_with(']')
    };
    let modules: Vec<_> = measured.iter().filter(whole).collect();
    let left = measured.len() - modules.len();
    if modules.is_empty() {
        return Err(Error::Usage(format!(
            "no matrix here is a module's `.weight`: there is no {kind} to write"
        )));
    }
    if left > 0 && !quiet {
        remark(&format!("{kind}: without {left} matrices that are no module's `.weight` by themselves"));
    }
    Ok(modules)
}

fn pattern<'a>(modules: &[&Matrix<'a>], emit: &Emit, energy: &[f64]) -> Result<RankPattern<'a>, Error> {
    let ranks: Vec<usize> = match (emit.budget, energy) {
        (Some(budget), _) => {
            let shares: Vec<Vec<f64>> = modules.iter().map(|matrix| energy_shares(matrix.spectrum)).collect();
            let most = emit.rho.map_or(usize::MAX, |rho| (rho * f64::from(budget)).round() as usize);
            budget::allocate(&shares, budget as usize * modules.len(), most)
        }
        (None, energy) => {
            let share = energy.first().copied().unwrap_or(1.0);
            modules.iter().map(|matrix| energy_rank(matrix.spectrum, share)).collect()
        }
    };
    let given: Vec<usize> = ranks.iter().copied().filter(|rank| *rank > 0).collect();
    if given.is_empty() {
        return Err(Error::Usage("no matrix has a direction to give a rank to: all are zero".to_owned()));
    }
    let mean = || (given.iter().sum::<usize>() as f64 / given.len() as f64).round() as usize;
    let rank = emit.budget.map_or_else(mean, |budget| budget as usize);
    let names = modules.iter().map(|matrix| module(matrix.row));
    Ok(RankPattern {
        rank,
        alpha: emit.lora_alpha.unwrap_or(rank as f64),
        modules: names.zip(ranks).collect(),
    })
}

/// The module whose weight a row is, where it is called by its whole tensor.
fn module(row: &Row) -> &str {
    let whole = row.update.is_none() && row.name == row.tensor;
    if whole { bare(&row.name) } else { &row.name }
}

/// The `top` percent of each role by Spectrum's ratio, best first; a matrix without one comes last.
fn unfrozen<'a>(modules: &[&Matrix<'a>], top: f64) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut roles: BTreeMap<&str, Vec<(&str, Option<f64>)>> = BTreeMap::new();
    for matrix in modules {
        let ratio = matrix.row.values.get("spectrum_snr").and_then(crate::report::Value::number);
        roles.entry(&matrix.row.role).or_default().push((module(matrix.row), ratio));
    }
    let best = |(role, mut matrices): (&'a str, Vec<(&'a str, Option<f64>)>)| {
        // Ratios are not negative, and a positive number's bits are ordered like it.
        matrices.sort_by_key(|(_, ratio)| std::cmp::Reverse(ratio.map(f64::to_bits)));
        matrices.truncate((matrices.len() as f64 * top / 100.0) as usize);
        (role, matrices.into_iter().map(|(name, _)| name).collect())
    };
    roles.into_iter().map(best).collect()
}

fn resized<'a>(
    measured: &[Matrix<'a>],
    rules: &[Rule],
) -> Vec<(Rule, Vec<(&'a str, crate::analysis::resize::Resized)>)> {
    let one =
        |matrix: &Matrix<'a>, rule| Some((matrix.row.name.as_str(), resize(matrix.spectrum.values(), rule)?));
    rules
        .iter()
        .map(|rule| (*rule, measured.iter().filter_map(|matrix| one(matrix, *rule)).collect()))
        .collect()
}

fn emission(text: &str) -> Result<Emission, String> {
    let (name, file) =
        text.split_once('=').map_or((text, None), |(name, file)| (name, Some(PathBuf::from(file))));
    let kind = Kind::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind);
    if file.as_ref().is_some_and(|file| file.as_os_str().is_empty()) {
        return Err("name a file after `=`".to_owned());
    }
    let known = || Kind::ALL.map(|(_, name)| name).join(", ");
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
    let parameter = number.parse::<f64>().map_err(|_| format!("`{number}` is no number"))?;
    let (sound, range) = match method {
        Method::Ratio => (parameter > 1.0 && parameter.is_finite(), "above 1"),
        Method::Frobenius | Method::Cumulative => {
            (parameter > 0.0 && parameter <= 1.0, "above 0 and at most 1")
        }
    };
    if sound { Ok(Rule { method, parameter }) } else { Err(format!("{name} takes a number {range}")) }
}
