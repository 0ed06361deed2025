//! `svdkit series`: what happened along a run: every number against step, and where it changed.

mod open;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;

use crate::analysis::columns::{self, Words};
use crate::analysis::compare::{Preserve, Vectors};
use crate::analysis::series;
use crate::checkpoint::Catalogue;
use crate::engine::{Limits, heap};
use crate::error::Error;
use crate::gate::Gate;
use crate::layer::{Filter, bare};
use crate::notation;
use crate::report::{Aspect, Column, Hidden, Report};
use crate::solver::Memo;
use crate::study::{
    self, Asked, CompareRequest, Depth, Measures, Names, RecentMemo, Series, Spectra, SpectrumRequest,
    StepOrder, Study,
};
use crate::writing;

use super::jobs::run_study_with;
use super::options::{Common, PrecisionName, ReadingOptions};
use super::outputs::Outputs;
use super::{Status, cache, complain, plan, remark, rules, run};
use open::{Base, StepPlace, is_passed_over};

/// Columns of the table, most wanted first.
const SHOWN: [&str; 9] = [
    "spectral_norm",
    "spectral_norm_max_step_change",
    "spectral_norm_max_step_change_at",
    "effective_rank",
    "effective_rank_max_step_change",
    "effective_rank_max_step_change_at",
    "stable_rank",
    "alpha",
    "spike_count",
];
/// The same with `--base`.
const SHOWN_DRIFT: [&str; 8] = [
    "delta_frobenius_ratio",
    "spectral_norm",
    "spectral_norm_max_step_change",
    "spectral_norm_max_step_change_at",
    "delta_effective_rank",
    "effective_rank",
    "effective_rank_max_step_change",
    "effective_rank_max_step_change_at",
];
/// The same with `--no-svd`.
const SHOWN_BYTES: [&str; 5] =
    ["nonfinite_count", "max_abs", "max_abs_max_step_change", "max_abs_max_step_change_at", "zero_rows"];

/// Shows what happened along a run: every metric at every step, where it changed most, and steps that repeat another.
///
/// Checkpoints are measured one after another, in the memory of one. Matrices that did not change since the step before are
/// not decomposed again.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder of a run, or its checkpoints: folders, files, or ORG/NAME@REV of the Hugging Face cache, where REV may be
    /// a pattern, as in 'step*'
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Also measure how far each step is from BASE, such as the first checkpoint: size, rank and spectrum of the change
    #[arg(long, value_name = "BASE", help_heading = "Input")]
    base: Option<PathBuf>,
    /// Take the checkpoints in the order given, numbered from 1, not by the steps that their names or `trainer_state.json`
    /// tell
    #[arg(long, help_heading = "Input")]
    as_given: bool,
    #[command(flatten)]
    reading: ReadingOptions,
    /// How exact small singular values are
    #[arg(long, value_name = "HOW", value_enum, default_value_t = PrecisionName::Fast)]
    precision: PrecisionName,
    /// Decompose nothing: only hashes, NaN and infinities, zero rows and largest entries
    #[arg(long, conflicts_with_all = ["precision", "base"])]
    no_svd: bool,
    /// Also write the values of the table's columns to DIR, as an event file for TensorBoard
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    tensorboard: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// The tasks of one step, and its weights where they are measured by themselves.
type StepStudy = (Arc<dyn Study>, Option<Arc<Catalogue>>);

/// What is the same for all steps.
struct Run<'a> {
    arguments: &'a Arguments,
    common: &'a Common,
    gate: &'a Gate,
    asked: Asked,
    base: Option<Base>,
    limits: Limits,
    memo: Arc<dyn Memo>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let metrics = arguments.metrics();
    let all = series::columns(&metrics);
    let gate = rules::gate(common, "series", &all);
    let gate = if arguments.no_svd { gate.map_err(rules::without_svd) } else { gate }?;
    let mut outputs = Outputs::new(&common.output)?;
    let places = open::places(&arguments.runs, arguments.as_given)?;
    // Later steps are opened when reports have been begun.
    for path in super::outputs::reports(common) {
        places.iter().try_for_each(|place| place.check_outside(path))?;
    }
    let events = events(arguments, common, &mut outputs)?;
    let limits = if arguments.no_svd { common.limits() } else { common.limits_of_decompositions()? };
    let below = cache::open(&common.shared).map(Arc::new);
    let recent = Arc::new(RecentMemo::new(below.as_ref().map(|cache| Arc::clone(cache) as Arc<dyn Memo>)));
    let run = Run {
        arguments,
        common,
        gate: &gate,
        asked: of_metrics(rules::asked(common, &gate, &all, &[])),
        base: arguments.base.as_deref().map(|base| Base::open(base, &arguments.reading)).transpose()?,
        limits,
        memo: Arc::clone(&recent) as Arc<dyn Memo>,
    };
    if common.dry_run {
        return run.dry_run(&places).map(|()| Status::Fine);
    }
    let begun = Instant::now();
    let mut steps = Series::default();
    let mut created = false;
    let mut hidden = Hidden::default();
    for place in &places {
        recent.next_step();
        // An output that cannot be written costs no work; what is read has to be known before.
        let mut ready = || if created { Ok(()) } else { outputs.ready(common).map(|()| created = true) };
        let measured = run.measure(place, &mut ready);
        match measured {
            Ok((report, by)) => {
                hidden = by;
                steps.add(place.step, &place.typed(), report);
            }
            Err(error) if is_passed_over(&error) => {
                if !common.quiet {
                    remark(&format!("step {} is left out: {error}", place.step));
                }
                steps.skip(place.step, &place.typed(), &error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(trouble) = below.and_then(|cache| cache.finish()).filter(|_| !common.quiet) {
        remark(&format!("nothing is kept for later runs: {trouble}; `--no-cache` does not try to"));
    }
    let measured = steps.measured();
    let order = if arguments.as_given { StepOrder::AsGiven } else { StepOrder::ByNumber };
    let mut report = steps.finish(order)?;
    if common.verbose || (!common.quiet && super::is_watched()) {
        let steps = notation::counted(measured as u64, "step", "steps");
        remark(&format!("measured {steps} in {}", notation::seconds(begun.elapsed().as_secs_f64())));
    }
    report.unlisted.hidden = hidden;
    run::find(&mut report, common);
    run::judge(&mut report, common, &gate)?;
    keep(&mut report, &run.asked);
    let shown = arguments.shown();
    if let Some(slot) = events {
        let style = common.table_style(shown, &report.columns);
        let keys: Vec<&str> = style.columns.iter().copied().filter(|key| is_metric(&report, key)).collect();
        let holds = format!("{} at {}", keys.join(", "), notation::counted(measured as u64, "step", "steps"));
        outputs.write(slot, &holds, |out| writing::write_events(out, &report, &keys));
    }
    let status = run::deliver(&report, common, shown, &mut outputs)?;
    let left_out: Vec<u64> =
        report.steps.iter().filter(|step| step.failed.is_some()).map(|step| step.step).collect();
    match left_out[..] {
        [first, ..] if common.strict => {
            complain(&format!("step {first} could not be measured, and `--strict` needs all of them"));
            Ok(Status::Incomplete)
        }
        _ => Ok(status),
    }
}

/// The event file, in a folder that is made if it is not there.
fn events(
    arguments: &Arguments,
    common: &Common,
    outputs: &mut Outputs,
) -> Result<Option<super::outputs::Slot>, Error> {
    let Some(folder) = &arguments.tensorboard else { return Ok(None) };
    if folder.exists() && !folder.is_dir() {
        return Err(Error::malformed(
            folder,
            "is not a folder; `--tensorboard` names one for its event file",
        ));
    }
    if !common.dry_run {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, "cannot create", e))?;
    } else if !folder.exists() {
        return Ok(None);
    }
    outputs.add("--tensorboard", Some(&folder.join(writing::EVENT_FILE)))
}

/// Whether `key` is a metric itself, not what it does over steps.
fn is_metric(report: &Report, key: &str) -> bool {
    let column = report.columns.iter().find(|column| column.key == key);
    column.is_some_and(|column| column.means().aspect == Aspect::Value)
}

/// What is asked for of each step: the metrics of what is asked for of the series.
fn of_metrics(asked: Asked) -> Asked {
    let metric = |(column, by): (&'static Column, String)| (column.means().metric, by);
    Asked { columns: asked.columns.into_iter().map(metric).collect(), ..asked }
}

/// Leaves in `report` what was asked for: of each metric all that it does over steps.
fn keep(report: &mut Report, asked: &Asked) {
    let is_own = asked.own == study::OwnColumns::Wanted;
    let is_shown = |column: &&'static Column| is_own || asked.names(column.means().metric);
    let shown: Vec<&'static Column> = report.columns.iter().copied().filter(is_shown).collect();
    report.keep(&shown);
    for course in report.rows.iter_mut().filter_map(|row| row.course.as_mut()) {
        course.keep(&shown);
    }
}

impl Arguments {
    /// Every metric that there may be.
    fn metrics(&self) -> Vec<&'static Column> {
        let own = spectrum(self, Asked::own()).columns();
        if self.base.is_none() {
            return own;
        }
        columns::metrics("series", Words::Svdkit)
    }

    /// Columns of the table, most wanted first.
    fn shown(&self) -> &'static [&'static str] {
        match (self.no_svd, &self.base) {
            (true, _) => &SHOWN_BYTES,
            (false, Some(_)) => &SHOWN_DRIFT,
            (false, None) => &SHOWN,
        }
    }
}

/// The request of one step.
fn spectrum(arguments: &Arguments, asked: Asked) -> SpectrumRequest {
    let values = Measures::Values(Names::Svdkit, arguments.precision.into());
    let measures = if arguments.no_svd { Measures::Bytes } else { values };
    SpectrumRequest { measures, asked, spectra: Spectra::Dropped }
}

impl Run<'_> {
    /// The report on one step, and which of its rows the settings file hides. `ready` is called once its files are open.
    fn measure(
        &self,
        place: &StepPlace,
        ready: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<(Report, Hidden), Error> {
        let (study, source) = self.study(place)?;
        ready()?;
        heap::give_back();
        let manifest = study.manifest();
        let hidden = self.hidden(&manifest.report, source.as_ref())?;
        let ledger = run_study_with(&study, (self.common, self.limits), &self.memo)?;
        drop((study, source));
        heap::give_back();
        let report = study::assemble(manifest, ledger);
        heap::give_back();
        Ok((report, hidden))
    }

    /// The tasks of one step, and its weights.
    fn study(&self, place: &StepPlace) -> Result<StepStudy, Error> {
        let filter = self.common.filter()?;
        let Some(base) = &self.base else {
            let opened = place.open(&self.arguments.reading)?;
            let source = Arc::clone(&opened.source);
            let study = spectrum(self.arguments, self.asked.clone()).plan(opened, &filter)?;
            return Ok((Arc::new(study), Some(source)));
        };
        let request = CompareRequest {
            depth: Depth::Everything,
            names: Some(Names::Svdkit),
            precision: Some(self.arguments.precision.into()),
            vectors: Vectors::None,
            preserve: Preserve::Energy(0.9),
            top: 10,
        };
        let draft = request.over(base.with(place, &self.arguments.reading)?)?;
        Ok((Arc::new(draft.asked(self.asked.clone()).plan(filter)?), None))
    }

    fn hidden(&self, report: &Report, source: Option<&Arc<Catalogue>>) -> Result<Hidden, Error> {
        let hides = !self.gate.clauses.is_empty() && report.totals.filtered > 0;
        let Some(source) = source.filter(|_| hides) else { return Ok(Hidden::default()) };
        let all = source.select(&Filter::default());
        let others = all.skipped.iter().map(|skipped| bare(&skipped.tensor));
        rules::hidden(self.common, all.layers.iter().map(|layer| layer.name.as_str()), others)
    }

    /// The plan, by the first step that can be opened.
    fn dry_run(&self, places: &[StepPlace]) -> Result<(), Error> {
        let filter = self.common.filter()?;
        let mut first = None;
        for place in places {
            match place.open(&self.arguments.reading) {
                Ok(opened) => {
                    first = Some(spectrum(self.arguments, self.asked.clone()).plan(opened, &filter)?);
                    break;
                }
                Err(error) if is_passed_over(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(first) = first else {
            return self.study(&places[0]).map(drop);
        };
        let (from, to) = (places[0].step, places[places.len() - 1].step);
        let mut lines = vec![("steps", format!("{}: {from} to {to}; the plan of one:", places.len()))];
        lines.extend(plan::lines(&first.estimate(), self.limits));
        lines.push(("", "for each step that changed; unchanged matrices are only read".to_owned()));
        if self.base.is_some() {
            lines.push(("", "and the same again for its change from the base".to_owned()));
        }
        plan::print(&lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ColumnKey;

    #[test]
    fn every_column_of_the_table_is_one_of_the_series() {
        let metrics = columns::metrics_of("series");
        for key in SHOWN.iter().chain(&SHOWN_DRIFT).chain(&SHOWN_BYTES) {
            assert!(ColumnKey::parse(key, metrics.iter().copied()).is_some(), "{key}");
        }
    }
}
