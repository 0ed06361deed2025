//! `svdkit scaling`: how singular values grow with the width of a model.

use std::path::PathBuf;

use clap::Args;

use crate::error::Error;
use crate::study::{FamilyMember, ScalingRequest};

use super::model::{self, Model};
use super::options::{Common, ReadingOptions};
use super::outputs::Outputs;
use super::watched::watched;
use super::{Status, plan, rules, run};

/// Columns of the table, most wanted first.
const SHOWN: [&str; 5] = ["width_exponent", "width_exponent_sigma", "r_squared", "shape_gap", "decay_ratio"];

/// Holds models of one family and several widths against the rule for weight decay: for each kind of matrix the exponent
/// with which σ₁ grows with the width, and whether the shape of the spectrum stays the same.
///
/// With a learning rate that falls as 1/width: 0 if the weight decay grows as √width, as the rule says, 0.25 if it is the
/// same at all widths.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Two or more checkpoints of one family, as PATH or NAME=PATH
    #[arg(required = true, num_args = 2.., value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// The width of each model, in the order of the models [default: of `config.json`, or the commonest side]
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', help_heading = "Method", value_parser = at_least_one)]
    widths: Vec<usize>,
    /// The learning rate of the matrices of each model, or one for all: adds `decay_ratio`
    #[arg(long, value_name = "LR,LR,…", value_delimiter = ',', requires = "wd", help_heading = "Method", value_parser = positive)]
    lr: Vec<f64>,
    /// The weight decay of each model, or one for all
    #[arg(long, value_name = "WD,WD,…", value_delimiter = ',', requires = "lr", help_heading = "Method", value_parser = positive)]
    wd: Vec<f64>,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let named = model::named(arguments.models.iter());
    let request = ScalingRequest { has_rates: !arguments.lr.is_empty() };
    let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    let gate = rules::gate(common, "scaling", &request.columns(&names))?;
    let mut outputs = Outputs::new(&common.output)?;
    let widths = each_or_one("--widths", &arguments.widths, names.len())?;
    let (rates, decays) =
        (each_or_one("--lr", &arguments.lr, names.len())?, each_or_one("--wd", &arguments.wd, names.len())?);
    let mut family = vec![];
    for (i, (name, path)) in named.iter().enumerate() {
        let Model { source, location, origin } = Model::open(path, &arguments.reading.opening()?)?;
        let rates = rates[i].zip(decays[i]);
        family.push(FamilyMember::new(name.clone(), (&location, source, origin), widths[i], rates)?);
    }
    outputs.ready(common)?;
    let (filter, limits) = (common.filter()?, common.limits_of_decompositions()?);
    if common.dry_run {
        return plan::write(&request.estimate(&family, &filter)?, limits).map(|()| Status::Fine);
    }
    let mut report = watched(common, limits.threads, |watch| request.run(family, &filter, (limits, watch)))?;
    run::judge(&mut report, common, &gate)?;
    run::deliver(&report, common, &SHOWN, &mut outputs)
}

/// A value for each of `count` models: as many as were given, or the only one for all.
fn each_or_one<T: Copy>(option: &str, given: &[T], count: usize) -> Result<Vec<Option<T>>, Error> {
    match given {
        [] => Ok(vec![None; count]),
        [one] if option != "--widths" => Ok(vec![Some(*one); count]),
        all if all.len() == count => Ok(all.iter().copied().map(Some).collect()),
        all => {
            let reason =
                format!("`{option}` gives {} values for {count} models; give one for each", all.len());
            Err(Error::Usage(reason))
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|width| *width > 0).ok_or_else(|| "a whole number from 1 on".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| *x > 0.0 && x.is_finite());
    number.ok_or_else(|| "a positive number".to_owned())
}
