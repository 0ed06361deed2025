//! The report on a run: judged, written to files, delivered.

use crate::cli::options::Common;
use crate::cli::outputs::{Outputs, Slot};
use crate::cli::{Status, complain, remark, run, strict};
use crate::error::Error;
use crate::gate;
use crate::notation;
use crate::render::OutputFormat;
use crate::report::{Aspect, Column, Hidden, Report, Skipped};
use crate::study::{Asked, OwnColumns, Series, StepOrder};
use crate::writing;

use super::measure::Run;

impl Run<'_> {
    /// The report on `series`, with findings and verdicts. `hidden` is what the settings file hides of the last step.
    pub(in crate::cli) fn judged(
        &self,
        series: &Series,
        (order, hidden): (StepOrder, &Hidden),
        common: &Common,
    ) -> Result<Report, Error> {
        let mut report = series.finish(order)?;
        report.unlisted.hidden = hidden.clone();
        run::find(&mut report, common);
        run::judge(&mut report, common, &self.gate)?;
        keep(&mut report, &self.asked);
        Ok(report)
    }

    /// Writes the event file, if there is one: while the run goes on, by appending to it where that is enough.
    pub(in crate::cli) fn write_events(&self, report: &Report, events: Option<Slot>, outputs: &mut Outputs) {
        let (Some(slot), Some(folder)) = (events, &self.options.tensorboard) else { return };
        let style = self.common.table_style(self.options.shown(), &report.columns);
        let keys: Vec<&str> = style.columns.iter().copied().filter(|key| is_metric(report, key)).collect();
        let measured = report.steps.iter().filter(|step| step.failed.is_none()).count();
        let holds = format!("{} at {}", keys.join(", "), notation::counted(measured as u64, "step", "steps"));
        if self.follows {
            let mut bytes = vec![];
            let written = writing::write_events(&mut bytes, report, &keys);
            let path = folder.join(writing::EVENT_FILE);
            if written.and_then(|()| writing::extend_events(&path, &bytes)).unwrap_or(false) {
                return;
            }
        }
        outputs.write(slot, &holds, |out| writing::write_events(out, report, &keys));
    }

    /// Writes the report everywhere, and says how the run ended.
    pub(in crate::cli) fn deliver(
        &self,
        (series, report): (&Series, &Report),
        events: Option<Slot>,
        outputs: &mut Outputs,
    ) -> Result<Status, Error> {
        let common = self.common;
        self.write_events(report, events, outputs);
        let mut status = run::deliver(report, common, self.options.shown(), outputs)?;
        self.tell_left_out(report, outputs);
        let is_known = |skipped: &Skipped| report.skipped.iter().any(|last| last.tensor == skipped.tensor);
        let before = series.refused_before().filter(|(_, skipped)| !is_known(skipped));
        let before: Vec<Skipped> = before
            .map(|(step, skipped)| Skipped {
                reason: format!("at step {step}: {}", skipped.reason).into(),
                ..skipped.clone()
            })
            .collect();
        status = strict::judged(status, common, &before);
        let left_out = report.steps.iter().find(|step| step.failed.is_some());
        if let Some(first) = left_out.filter(|_| common.strict) {
            complain(&format!("step {} could not be measured, and `--strict` needs all of them", first.step));
            status = Status::Incomplete;
        }
        Ok(status)
    }

    /// Says that lines of matrices and steps have no place for columns over all steps, where such were named.
    fn tell_left_out(&self, report: &Report, outputs: &Outputs) {
        let mut formats = outputs.formats().chain([self.common.format.into()]);
        if self.common.quiet || !formats.any(|format| format == OutputFormat::Csv) {
            return;
        }
        let column = |word: &String| gate::column(word, &report.columns).ok();
        let mut named = self.common.columns.iter().filter_map(column);
        if let Some(column) = named.find(|column| Aspect::OF_STEPS.contains(&column.means().aspect)) {
            remark(&format!(
                "CSV has a line for each matrix and step, and no column for `{}`, which is of all steps; JSON has it",
                column.key
            ));
        }
    }
}

/// Whether `key` is a metric itself, not what it does over steps.
fn is_metric(report: &Report, key: &str) -> bool {
    let column = report.columns.iter().find(|column| column.key == key);
    column.is_some_and(|column| column.means().aspect == Aspect::Value)
}

/// Leaves in `report` what was asked for: of each metric all that it does over steps.
fn keep(report: &mut Report, asked: &Asked) {
    let is_own = asked.own == OwnColumns::Wanted;
    let is_shown = |column: &&'static Column| is_own || asked.names(column.means().metric);
    let shown: Vec<&'static Column> = report.columns.iter().copied().filter(is_shown).collect();
    report.keep(&shown);
    for course in report.rows.iter_mut().filter_map(|row| row.course.as_mut()) {
        course.keep(&shown);
    }
}
