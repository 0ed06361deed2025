//! The path that every one-model command shares: open, select, plan, measure, report, judge, write.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::analysis::Measured;
use crate::checkpoint::{self, Catalogue};
use crate::engine::{Job, Limits};
use crate::error::Error;
use crate::gate::Gate;
use crate::layer::{Filter, Layer, Selection, bare};
use crate::notation;
use crate::render;
use crate::report::{self, Column, Measurements, Report, Row, Skipped, Totals, Unlisted, Verdict};
use crate::solver::{self, Form, Need, Operand, Precision};

use super::jobs::{Work, run_jobs};
use super::model::Model;
use super::options::{Common, FormatName};
use super::outputs::Outputs;
use super::plan;
use super::{Status, complain, remark, rules, skipped, stdout, strict};

/// What a command brings: its columns and the function that measures one matrix.
pub(super) struct Analysis {
    /// The subcommand.
    pub command: &'static str,
    /// Every column, in report order.
    pub columns: Vec<&'static Column>,
    /// Keys of the table's columns, most wanted first.
    pub shown: Vec<&'static str>,
    /// What decides the numbers.
    pub settings: Vec<(&'static str, String)>,
    /// What one matrix costs.
    pub cost: Box<dyn Fn(&Layer) -> Job>,
    /// Measures one matrix.
    pub measure: Measure,
}

impl Analysis {
    /// What one matrix costs, with the decomposition of another that it may take to read it.
    pub(super) fn job(&self, source: &Catalogue, layer: &Layer) -> Job {
        let job = (self.cost)(layer);
        if !source.decomposes(layer) {
            return job;
        }
        let whole = Form { operand: Operand::Whole, ..Form::of(layer, Precision::Fast) };
        let before = solver::cost(&whole, Need::Vectors);
        Job { flops: job.flops + before.flops, bytes: job.bytes.max(before.bytes) }
    }
}

/// Measures one matrix of a source.
pub(super) type Measure = Arc<dyn Fn(&Catalogue, &Layer) -> Result<Measured, Error> + Send + Sync>;

/// A report with what only its own run knows.
pub(super) struct Finished {
    /// The report.
    pub report: Report,
    /// What was found of each row, in natural name order, whatever the report's order; none where it failed.
    pub measured: Vec<(String, Option<Arc<Measured>>)>,
}

/// Runs `analysis` over `model` up to the report; `None` after `--dry-run`.
pub(super) fn report(model: &Model, common: &Common, analysis: &Analysis) -> Result<Option<Finished>, Error> {
    let gate = rules::gate(common, analysis.command, &analysis.columns)?;
    let begun = Instant::now();
    let source = &model.source;
    let mut selection = source.select(&common.filter()?);
    if selection.layers.is_empty() {
        return Err(nothing_selected(Path::new(&model.origin.path), &selection));
    }
    let limits = common.limits();
    if common.dry_run {
        let jobs: Vec<Job> =
            selection.layers.iter().map(|layer| analysis.job(source.as_ref(), layer)).collect();
        plan::write(&selection, &jobs, limits)?;
        return Ok(None);
    }
    if common.verbose {
        for skipped in &selection.skipped {
            remark(&format!(
                "skipped {} {:?} {}: {}",
                crate::error::printable(&skipped.tensor),
                skipped.shape,
                skipped.dtype,
                skipped.reason
            ));
        }
        remark(&format!(
            "{} threads, {} for matrices in flight",
            limits.threads,
            notation::bytes(limits.memory)
        ));
    }
    let tied = checkpoint::tied(source.as_ref(), &selection.layers);
    let measured = measure_all(source, &selection.layers, &tied, (common, analysis, limits))?;
    if common.verbose || (!common.quiet && super::is_watched()) {
        remark(&format!("measured in {}", notation::seconds(begun.elapsed().as_secs_f64())));
    }
    skipped::look(source, &mut selection.skipped, (common, limits))?;
    let mut report = assemble(model, &selection, &measured, &tied, analysis);
    if !gate.clauses.is_empty() && report.totals.filtered > 0 {
        let all = source.select(&Filter::default());
        let others = all.skipped.iter().map(|skipped| bare(&skipped.tensor));
        report.unlisted.hidden =
            rules::hidden(common, all.layers.iter().map(|layer| layer.name.as_str()), others)?;
    }
    judge(&mut report, common, &gate)?;
    let names = selection.layers.iter().map(|layer| layer.name.clone());
    Ok(Some(Finished { report, measured: names.zip(measured.into_iter().map(Result::ok)).collect() }))
}

/// Writes a report to stdout and the files of `-o`, and says how the run ended.
pub(super) fn deliver(
    report: &Report,
    common: &Common,
    shown: &[&str],
    outputs: &mut Outputs,
) -> Result<Status, Error> {
    deliver_with(report, common, shown, outputs, &|look, out| {
        render::write(report, common.format.into(), look, out)
    })
}

/// The same where stdout gets what `content` writes.
pub(super) fn deliver_with(
    report: &Report,
    common: &Common,
    shown: &[&str],
    outputs: &mut Outputs,
    content: Content<'_>,
) -> Result<Status, Error> {
    let all: Vec<&str> = report.columns.iter().map(|column| column.key).collect();
    let status = deliver_as(report, &common.look(shown, &all), outputs, content)?;
    if is_rows_alone(common) {
        tell_remarks(report, common);
    }
    Ok(strict::judged(status, common, &report.skipped))
}

/// Whether stdout gets a format that has no place for verdicts.
pub(super) fn is_rows_alone(common: &Common) -> bool {
    matches!(common.format, FormatName::Csv | FormatName::Jsonl)
}

/// Says on stderr what rules have passed over, where stdout does not.
pub(super) fn tell_remarks(report: &Report, common: &Common) {
    let remarks = report.verdicts.iter().flat_map(|v| v.remarks.iter().map(|remark| (&v.rule, remark)));
    for (rule, told) in remarks.filter(|_| !common.quiet) {
        remark(&format!("{rule}: {told}"));
    }
}

/// The same with a look that the command chose.
pub(super) fn deliver_as(
    report: &Report,
    look: &render::TableStyle<'_>,
    outputs: &mut Outputs,
    content: Content<'_>,
) -> Result<Status, Error> {
    let plain = render::TableStyle { paint: render::Paint::Plain, ..look.clone() };
    outputs.write_reports(&|format, out| render::write(report, format, &plain, out));
    if super::is_interrupted() {
        return Err(Error::Interrupted);
    }
    if let Err(error) = stdout::write(|out| content(look, out)) {
        outputs.fail(&error);
    }
    for (name, why) in report.failures() {
        complain(&format!("{}: {why}", crate::error::printable(name)));
    }
    Ok(outputs.status(match () {
        () if report.totals.failed > 0 => Status::Incomplete,
        () if report.verdicts.iter().any(Verdict::blocks) => Status::Broken,
        () => Status::Fine,
    }))
}

/// Writes to stdout, in the given look.
pub(super) type Content<'a> = &'a dyn Fn(&render::TableStyle<'_>, &mut dyn Write) -> std::io::Result<()>;

/// Measures every layer that is not a copy of an earlier one; a copy shares its original's result.
fn measure_all(
    source: &Arc<Catalogue>,
    layers: &[Arc<Layer>],
    tied: &[Option<usize>],
    (common, analysis, limits): (&Common, &Analysis, Limits),
) -> Result<Vec<Result<Arc<Measured>, String>>, Error> {
    let originals: Vec<usize> = (0..layers.len()).filter(|i| tied[*i].is_none()).collect();
    let jobs: Vec<Job> = originals.iter().map(|i| analysis.job(source.as_ref(), &layers[*i])).collect();
    let work: Work<Measured> = {
        let (source, measure) = (Arc::clone(source), Arc::clone(&analysis.measure));
        let layers: Vec<Arc<Layer>> = originals.iter().map(|i| Arc::clone(&layers[*i])).collect();
        Arc::new(move |i| measure(source.as_ref(), &layers[i]))
    };
    let mut measured: Vec<Option<Result<Arc<Measured>, String>>> = vec![None; layers.len()];
    for (i, result) in originals.into_iter().zip(run_jobs(&jobs, &work, (common, limits))?) {
        measured[i] = Some(result.map(Arc::new));
    }
    let shared = |i: usize| measured[tied[i].unwrap_or(i)].clone();
    Ok((0..layers.len()).map(|i| shared(i).unwrap_or_else(|| Err("not measured".to_owned()))).collect())
}

fn assemble(
    model: &Model,
    selection: &Selection,
    measured: &[Result<Arc<Measured>, String>],
    tied: &[Option<usize>],
    analysis: &Analysis,
) -> Report {
    let layers = &selection.layers;
    let rows = (0..layers.len())
        .map(|i| {
            row(model.source.as_ref(), &layers[i], &measured[i], tied[i].map(|original| &*layers[original]))
        })
        .collect::<Vec<_>>();
    let failed = measured.iter().filter(|result| result.is_err()).count();
    let unread = selection.skipped.iter().filter(|skipped| skipped.failed.is_some()).count();
    let parameters = (0..layers.len())
        .filter(|i| measured[*i].is_ok() && tied[*i].is_none())
        .map(|i| layers[i].parameters());
    let totals = Totals {
        measured: (layers.len() - failed) as u64,
        tied: tied.iter().flatten().count() as u64,
        failed: (failed + unread) as u64,
        skipped: selection.skipped.len() as u64,
        filtered: selection.filtered as u64,
        parameters: parameters.sum::<usize>() as u64,
        compared: None,
    };
    Report {
        schema: report::SCHEMA,
        svdkit: env!("CARGO_PKG_VERSION").into(),
        command: analysis.command.into(),
        model: model.origin.clone(),
        base: model.base.clone(),
        tuned: vec![],
        settings: analysis.settings.iter().map(|(key, value)| ((*key).into(), value.clone())).collect(),
        columns: analysis.columns.clone(),
        rows,
        skipped: selection.skipped.clone(),
        totals,
        groups: vec![],
        notes: model.source.notes().iter().map(|note| crate::error::printable(note)).collect(),
        verdicts: vec![],
        unlisted: Unlisted::default(),
    }
}

fn row(
    source: &Catalogue,
    layer: &Layer,
    measured: &Result<Arc<Measured>, String>,
    original: Option<&Layer>,
) -> Row {
    let found = measured.as_ref().ok();
    // Values that do not fit a double cannot be drawn.
    let spectrum = found.and_then(|found| found.spectrum.as_ref()).filter(|spectrum| spectrum.fits());
    let directions = layer.rank.unwrap_or(usize::MAX);
    let update = source.update(layer);
    let flags = found.iter().flat_map(|found| &found.flags);
    Row {
        blake3: found.map(|found| found.blake3.clone()),
        tied_to: original.map(|layer| layer.name.clone()),
        failed: measured.as_ref().err().cloned(),
        flags: flags
            .chain(update.iter().flat_map(|update| &update.flags))
            .copied()
            .chain(layer.flag())
            .collect(),
        update,
        values: found.map_or_else(Measurements::default, |found| found.values.clone()),
        sketch: spectrum.map_or_else(Vec::new, |spectrum| spectrum.leading_sketch(directions)),
        outline: spectrum.map_or_else(Vec::new, |spectrum| spectrum.outline(directions)),
        ..row_of(layer)
    }
}

/// What names and headers tell of a row.
pub(super) fn row_of(layer: &Layer) -> Row {
    let stored: Vec<u64> = layer.stored_shape.iter().map(|n| *n as u64).collect();
    let shape = [layer.rows as u64, layer.cols as u64];
    Row {
        name: layer.name.clone(),
        tensor: layer.tensor.clone(),
        block: layer.block,
        role: layer.role.clone(),
        shape,
        stored_shape: (stored != shape).then_some(stored),
        dtype: layer.stored_type().to_owned(),
        dequant: layer.scheme().map(str::to_owned),
        ..Row::default()
    }
}

/// What the gate says of `report`, whose rows are then put into the order of `--sort`.
pub(super) fn judge(report: &mut Report, common: &Common, gate: &Gate) -> Result<(), Error> {
    report.verdicts = gate.judge(report).map_err(|error| rules::placed(error, common))?;
    if let Some(sort) = &common.sort {
        sort_rows(report, sort);
    }
    Ok(())
}

fn sort_rows(report: &mut Report, sort: &str) {
    let (key, descending) = sort.strip_prefix('-').map_or((sort, false), |key| (key, true));
    let number = |row: &Row| row.values.get(key).and_then(report::Value::number);
    // The sort is stable, so equal rows stay in natural name order.
    report.rows.sort_by(|a, b| match (number(a), number(b)) {
        (Some(x), Some(y)) if descending => y.total_cmp(&x),
        (Some(x), Some(y)) => x.total_cmp(&y),
        (x, y) => x.is_none().cmp(&y.is_none()),
    });
    if key == "name" && descending {
        report.rows.reverse();
    }
}

fn nothing_selected(path: &Path, selection: &Selection) -> Error {
    let reason = match (selection.filtered, &selection.skipped[..]) {
        (0, []) => "holds no tensor".to_owned(),
        (0, [only]) => format!("its one tensor cannot be measured: {}", only.reason),
        (0, skipped) => {
            format!("none of its {} tensors can be measured: {}", skipped.len(), reasons(skipped))
        }
        (n, _) => format!("`--include` and `--exclude` leave nothing of its {n} matrices and tensors"),
    };
    Error::malformed(path, reason)
}

/// The commonest reasons, each with its count where there are several.
fn reasons(skipped: &[Skipped]) -> String {
    const MOST: usize = 3;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for skipped in skipped {
        *counts.entry(&skipped.reason).or_default() += 1;
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    if let [(only, _)] = counts[..] {
        return only.to_owned();
    }
    let more = if counts.len() > MOST { ", …" } else { "" };
    let listed: Vec<String> =
        counts.iter().take(MOST).map(|(reason, count)| format!("{count} {reason}")).collect();
    listed.join(", ") + more
}
