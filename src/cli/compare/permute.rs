//! `compare A B --permute`: the units of B in the order of those of A.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::analysis::compare::Vectors;
use crate::analysis::permute::{Alignments, PERMUTED};
use crate::analysis::units::Which;
use crate::error::Error;
use crate::report::{Column, Report};
use crate::study::{Permutation, PermuteRequest};
use crate::writing::check_outside;

use super::super::lineage::opened;
use super::super::locate;
use super::super::options::Common;
use super::super::outputs::{Outputs, Slot};
use super::super::watched::watched;
use super::super::{Status, plan, remark, rules, run};
use super::Arguments;

/// Columns of the table, most wanted first.
const SHOWN: [&str; 5] =
    ["distance_before", "distance_after", "alignment_before", "alignment_after", "moved_share"];

/// Most directions of a matrix whose alignment is measured without being asked for.
const DEFAULT_DIRECTIONS: usize = 1024;

/// Options of `--permute`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Permutation")]
pub(super) struct PermuteOptions {
    /// Match the units of B with those of A before comparing: neurons of MLPs and attention heads, or with 'all' the
    /// residual stream, too
    #[arg(
        long,
        value_name = "WHICH",
        value_enum,
        num_args = 0..=1,
        default_missing_value = "inner",
        conflicts_with_all = ["more", "adapted", "all", "no_svd", "preserve", "k", "precision", "names"]
    )]
    permute: Option<WhichName>,
    /// Write the orders that `--permute` finds to FILE as JSON, or to stdout instead of the table
    #[arg(long, value_name = "permutation[=FILE]", requires = "permute", value_parser = emission)]
    emit: Option<Emission>,
    /// The folder for a copy of B in the order of A; must be empty or not exist
    #[arg(long, value_name = "DIR", requires = "permute")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WhichName {
    /// Neurons of MLPs and attention heads
    Inner,
    /// The residual stream, too
    All,
}

/// Where the orders go; without a file to stdout.
#[derive(Debug, Clone)]
struct Emission(Option<PathBuf>);

/// `permutation` or `permutation=FILE`.
fn emission(text: &str) -> Result<Emission, String> {
    match text.split_once('=') {
        None if text == "permutation" => Ok(Emission(None)),
        Some(("permutation", file)) if !file.is_empty() => Ok(Emission(Some(file.into()))),
        _ => Err("give permutation, or permutation=FILE".to_owned()),
    }
}

impl PermuteOptions {
    /// Whether units are to be matched.
    pub(super) fn is_asked(&self) -> bool {
        self.permute.is_some()
    }
}

/// Runs the comparison of `arguments`, which ask for it.
pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<Status, Error> {
    let options = &arguments.permute;
    let Some(tuned) = &arguments.tuned else {
        let what = "nothing to compare with; name a second model, as in `svdkit compare A B --permute`";
        return Err(Error::Usage(what.to_owned()));
    };
    let which = if options.permute == Some(WhichName::All) { Which::All } else { Which::Inner };
    let columns: Vec<&'static Column> = PERMUTED.iter().collect();
    let gate = rules::gate(common, "compare", &columns)?;
    let shown = rules::asked(common, &gate, &columns, &[]).shown(&columns, &columns);
    let mut outputs = Outputs::new(&common.output)?;
    let emitted = match &options.emit {
        Some(Emission(Some(file))) => outputs.add("--emit", Some(file))?,
        _ => None,
    };
    let models = [opened(&arguments.base, &arguments.reading)?, opened(tuned, &arguments.reading)?];
    let wants = shown.iter().any(|column| column.key.starts_with("alignment"));
    let alignments = match arguments.vectors() {
        _ if !wants => Alignments::Nowhere,
        Some(Vectors::None) => Alignments::Nowhere,
        Some(Vectors::All) => Alignments::UpTo(usize::MAX),
        _ => Alignments::UpTo(DEFAULT_DIRECTIONS),
    };
    let permuting = PermuteRequest { which, alignments }.over(models, &common.filter()?)?;
    let copy = match &options.out {
        Some(out) => {
            check_outside(out, &[&arguments.base])?;
            let from = locate::locate(tuned)?.local()?;
            permuting.check_copy(&from, out)?;
            outputs.add_folder("--out", out);
            Some((from, out.as_path()))
        }
        None => None,
    };
    outputs.ready(common)?;
    let limits = common.limits_of_decompositions()?;
    if common.dry_run {
        return plan::write(&permuting.estimate(), limits).map(|()| Status::Fine);
    }
    let (mut report, permutation) = watched(common, limits.threads, |watch| permuting.run((limits, watch)))?;
    run::judge(&mut report, common, &gate)?;
    report.keep(&shown);
    if let Some((from, out)) = copy {
        match permutation.write_copy(&from, out) {
            Ok(left_out) => tell(&mut report, (out, &left_out), common),
            Err(error) => outputs.fail(&error),
        }
    }
    deliver(&report, (&permutation, options, emitted), common, &mut outputs)
}

/// Says what was written to `out`.
fn tell(report: &mut Report, (out, left_out): (&Path, &[String]), common: &Common) {
    let note = format!("{}: a copy with its units in the order of the base", out.display());
    report.notes.push(note);
    run::tell_left_out(out, left_out, common);
}

fn deliver(
    report: &Report,
    (permutation, options, emitted): (&Permutation, &PermuteOptions, Option<Slot>),
    common: &Common,
    outputs: &mut Outputs,
) -> Result<Status, Error> {
    let json = || permutation.json().to_string() + "\n";
    if let Some(slot) = emitted {
        outputs.write(slot, "the orders of all units", |out| out.write_all(json().as_bytes()));
    }
    if let Some(Emission(None)) = options.emit {
        let status =
            run::deliver_with(report, common, &SHOWN, outputs, &|_, out| out.write_all(json().as_bytes()))?;
        if !common.quiet {
            report.notes.iter().for_each(|note| remark(note));
        }
        return Ok(status);
    }
    run::deliver(report, common, &SHOWN, outputs)
}
