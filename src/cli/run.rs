//! What the commands share: run a study, judge its report, write it, say how the run ended.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use globset::GlobMatcher;

use crate::checkpoint::Catalogue;
use crate::engine::heap;
use crate::error::Error;
use crate::findings;
use crate::gate::{self, Gate};
use crate::layer::{Filter, bare};
use crate::notation;
use crate::render::{self, OutputFormat};
use crate::report::{self, MissingReason, Outcome, Report, Row, Verdict};
use crate::spectrum::Spectrum;
use crate::study::{self, Matrices, Study};
use crate::text::Text;

use super::ledger::measured;
use super::options::{Common, FormatName};
use super::outputs::Outputs;
use super::plan;
use super::{Status, complain, remark, rules, stdout, strict};

/// A report with what it does not hold.
pub(super) struct Finished {
    /// The report.
    pub report: Report,
    /// The spectra that were kept, by the name of their matrix, in natural name order, whatever the report's order.
    pub spectra: Vec<(Text, Spectrum)>,
}

/// Runs a study of `source` up to its judged report; `None` after `--dry-run`, and where a part was done.
pub(super) fn report(
    study: Matrices,
    source: Arc<Catalogue>,
    (common, gate): (&Common, &Gate),
) -> Result<Option<Finished>, Error> {
    let begun = Instant::now();
    let limits = if study.only_reads() { common.limits() } else { common.limits_of_decompositions()? };
    if common.dry_run {
        plan::write(&study.estimate(), limits)?;
        return Ok(None);
    }
    let shown = study.shown().to_vec();
    let study: Arc<dyn Study> = Arc::new(study);
    let manifest = study.manifest();
    if common.verbose {
        for skipped in &manifest.report.skipped {
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
    heap::give_back();
    let Some(mut ledger) = measured(&study, &manifest, (common, limits))? else { return Ok(None) };
    if common.verbose || (!common.quiet && super::is_watched()) {
        remark(&format!("measured in {}", notation::seconds(begun.elapsed().as_secs_f64())));
    }
    let spectra = ledger.take_spectra(&manifest);
    let hides = !gate.clauses.is_empty() && manifest.report.totals.filtered > 0;
    let all = hides.then(|| source.select(&Filter::default()));
    // A report of many rows needs the room.
    drop((study, source));
    heap::give_back();
    let mut report = study::assemble(manifest, ledger);
    heap::give_back();
    if let Some(all) = all {
        let others = all.skipped.iter().map(|skipped| bare(&skipped.tensor));
        report.unlisted.hidden =
            rules::hidden(common, all.layers.iter().map(|layer| layer.name.as_str()), others)?;
    }
    find(&mut report, common);
    judge(&mut report, common, gate)?;
    report.keep(&shown);
    Ok(Some(Finished { report, spectra }))
}

/// Writes a report to stdout and the files of `-o`, and says how the run ended.
pub(super) fn deliver(
    report: &Report,
    common: &Common,
    shown: &[&str],
    outputs: &mut Outputs,
) -> Result<Status, Error> {
    deliver_with(report, common, shown, outputs, &|style, out| {
        render::write(report, common.format.into(), style, out)
    })
}

/// The same, with the output of `content` on stdout.
pub(super) fn deliver_with(
    report: &Report,
    common: &Common,
    shown: &[&str],
    outputs: &mut Outputs,
    content: WriteTable<'_>,
) -> Result<Status, Error> {
    let shown = judged_first(report, shown);
    let status = deliver_as(report, &common.table_style(&shown, &report.columns), outputs, content)?;
    if is_rows_alone(common) {
        tell_remarks(report, common);
    }
    Ok(strict::judged(status, common, &report.skipped))
}

/// The columns of rules that are broken, then the other `shown` ones.
pub(super) fn judged_first<'a>(report: &Report, shown: &[&'a str]) -> Vec<&'a str> {
    let broken = report.verdicts.iter().filter(|verdict| verdict.blocks());
    let column = |verdict: &Verdict| report.columns.iter().find(|column| column.key == verdict.key);
    let mut keys: Vec<&str> = broken.filter_map(column).map(|column| column.key).collect();
    keys.extend(shown);
    let all = keys.clone();
    let mut place = 0..;
    keys.retain(|key| place.next().is_some_and(|i| !all[..i].contains(key)));
    keys
}

/// Whether stdout gets a format that has no place for verdicts.
pub(super) fn is_rows_alone(common: &Common) -> bool {
    matches!(common.format, FormatName::Csv | FormatName::Jsonl)
}

/// Writes to stderr which rules are not kept and what they ignored, if stdout does not show it.
pub(super) fn tell_remarks(report: &Report, common: &Common) {
    for verdict in report.verdicts.iter().filter(|verdict| verdict.blocks() && !common.quiet) {
        let worst = verdict.worst.as_ref().map_or_else(String::new, |worst| format!("; {worst}"));
        let what = if verdict.outcome == Outcome::Inconclusive { "inconclusive" } else { "broken" };
        remark(&format!("rule `{}` is {what}{worst}", verdict.rule));
    }
    let remarks = report.verdicts.iter().flat_map(|v| v.remarks.iter().map(|remark| (&v.rule, remark)));
    for (rule, told) in remarks.filter(|_| !common.quiet) {
        remark(&format!("{rule}: {told}"));
    }
}

/// The same with a table style that the command chose.
pub(super) fn deliver_as(
    report: &Report,
    style: &render::TableStyle<'_>,
    outputs: &mut Outputs,
    content: WriteTable<'_>,
) -> Result<Status, Error> {
    write_in(report, style, outputs);
    if super::is_interrupted() {
        return Err(Error::Interrupted);
    }
    if let Err(error) = stdout::write(|out| content(style, out)) {
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

/// Writes a report to the files of `-o` alone.
pub(super) fn write_files(report: &Report, common: &Common, shown: &[&str], outputs: &mut Outputs) {
    let shown = judged_first(report, shown);
    write_in(report, &common.table_style(&shown, &report.columns), outputs);
}

fn write_in(report: &Report, style: &render::TableStyle<'_>, outputs: &mut Outputs) {
    let plain = render::TableStyle { paint: render::Paint::Plain, ..style.clone() };
    let holds = |format| contents(report, format);
    outputs.write_reports(&holds, &|format, out| render::write(report, format, &plain, out));
}

/// Names the files that a copy at `out` is without, for they are links out of the folder that was copied.
pub(super) fn tell_left_out(out: &Path, left_out: &[String], common: &Common) {
    for name in left_out.iter().filter(|_| !common.quiet) {
        remark(&format!("{}: without `{name}`, a link out of the folder that was copied", out.display()));
    }
}

/// What a report of this format holds, in a few words.
fn contents(report: &Report, format: OutputFormat) -> String {
    let counted = |n: usize, one: &str, many: &str| notation::counted(n as u64, one, many);
    let rules = || counted(report.verdicts.len(), "rule", "rules");
    match format {
        OutputFormat::Junit => rules(),
        OutputFormat::Github | OutputFormat::Gitlab => format!("problems, by {}", rules()),
        _ => {
            let [one, many] = report.noun();
            let matrices = counted(report.rows.len(), one, many);
            format!("{matrices}, {}", counted(report.findings.len(), "finding", "findings"))
        }
    }
}

/// Writes to stdout, in the given style.
pub(super) type WriteTable<'a> = &'a dyn Fn(&render::TableStyle<'_>, &mut dyn Write) -> std::io::Result<()>;

/// Adds what the numbers of `report` say in sentences, without what `svdkit.toml` ignores or allows.
pub(super) fn find(report: &mut Report, common: &Common) {
    report.summary = if report.command == "spectrum" { findings::summary(report) } else { None };
    if common.no_findings {
        report.findings_unchecked = findings::unsearched("left out by `--no-findings`");
        return;
    }
    let Some(file) = &common.shared.file else {
        (report.findings, report.findings_unchecked) = findings::find(report, &|_, _| false);
        return;
    };
    let allowed = rules::allowed_findings(file);
    let (mut found, mut unchecked) = findings::find(report, &|finding, matrix| {
        allowed.iter().any(|allowed| {
            let matches = |glob: &GlobMatcher| matrix.is_some_and(|matrix| glob.is_match(matrix));
            allowed.finding == finding && allowed.matrix.as_ref().is_none_or(matches)
        })
    });
    found.retain(|finding| !file.ignored.iter().any(|name| finding.name == name.as_str()));
    unchecked.retain(|unchecked| !file.ignored.iter().any(|name| unchecked.name == name.as_str()));
    let left_out = findings::unsearched("left out by `[findings]` of `svdkit.toml`").into_iter();
    unchecked.extend(left_out.filter(|one| file.ignored.iter().any(|name| one.name == name.as_str())));
    (report.findings, report.findings_unchecked) = (found, unchecked);
    for allowed in allowed {
        report
            .notes
            .push(crate::error::printable(&format!("{} is allowed: {}", allowed.finding, allowed.reason)));
    }
}

/// Judges `report`, then sorts its rows by `--sort`.
pub(super) fn judge(report: &mut Report, common: &Common, gate: &Gate) -> Result<(), Error> {
    report.verdicts = gate.judge(report).map_err(|error| rules::placed(error, common))?;
    if !common.quiet {
        rules::unused(gate, report, common).iter().for_each(|told| remark(told));
    }
    if let Some(sort) = &common.sort {
        sort_rows(report, sort);
    }
    Ok(())
}

fn sort_rows(report: &mut Report, sort: &str) {
    let (key, descending) = sort.strip_prefix('-').map_or((sort, false), |key| (key, true));
    let column = gate::column(key, &report.columns).map_or(key, |column| column.key);
    // A change from 0 is larger than any number.
    let number = |row: &Row| match row.values.get(column)? {
        report::Value::Missing(MissingReason::ZeroBase) => Some(f64::INFINITY),
        value => value.number(),
    };
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
