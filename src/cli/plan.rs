//! `--dry-run`: the work and cost of a run, from headers alone.

use std::sync::OnceLock;
use std::time::Instant;

use crate::engine::{Job, Limits};
use crate::error::{Error, brief, printable};
use crate::matrix::{Dtype, Matrix};
use crate::notation;
use crate::solver::{self, Form, Need, Precision};
use crate::study::{AskedColumn, Estimate, EstimatedPart};

use super::stdout;

/// The plan, with an estimate from timing a small decomposition.
pub(super) fn write(estimate: &Estimate, limits: Limits) -> Result<(), Error> {
    print(&lines(estimate, limits))
}

/// The lines of a plan.
pub(super) fn lines(estimate: &Estimate, limits: Limits) -> Vec<(&'static str, String)> {
    let Estimate { jobs, justified, largest, parameters, bytes, report, skipped, parts } = estimate;
    let pairs = || jobs.iter().zip(justified);
    let left = limits.beside(*report);
    let forbidden = pairs().filter(|(job, justified)| left.forbids(job, **justified).is_some()).count();
    let allowed =
        |(job, justified): (&Job, &u64)| left.forbids(job, *justified).is_none().then_some(job.bytes);
    let mut dearest: Vec<u64> = pairs().filter_map(allowed).collect();
    dearest.sort_unstable_by(|a, b| b.cmp(a));
    let peak: u64 = dearest.iter().take(limits.threads).sum();
    let mut lines = vec![
        (
            "matrices",
            format!(
                "{} ({} parameters)",
                notation::count(jobs.len() as u64),
                notation::parameters(*parameters)
            ),
        ),
        ("to read", notation::bytes(*bytes)),
        ("skipped", format!("{} tensors", notation::count(*skipped as u64))),
        ("work", notation::flops(flops(jobs))),
        ("threads", limits.threads.to_string()),
        (
            "memory",
            format!(
                "{} at most, of {} allowed",
                notation::bytes(peak.min(left.memory.max(dearest.first().copied().unwrap_or(0)))),
                notation::bytes(limits.memory)
            ),
        ),
    ];
    if let Some((job, name, [rows, cols])) = largest {
        lines.push(("largest", format!("{} ({rows} × {cols}, {})", brief(name), notation::bytes(job.bytes))));
    }
    // Less is part of every program.
    if *report > 16 << 20 {
        lines.push(("report", format!("{} beside that, for its rows", notation::bytes(*report))));
    }
    if forbidden > 0 {
        let reason = "far more memory than is stored of them, and than is allowed: see the largest";
        lines.push(("refused", format!("{} that take {reason}", notation::count(forbidden as u64))));
    }
    for (i, line) in needs(parts, limits).into_iter().enumerate() {
        lines.push((if i == 0 { "needs" } else { "" }, line));
    }
    lines.push(("time", time(flops(jobs), limits)));
    lines
}

/// The parts of the work, a line each: how long one takes, and what it is for.
fn needs(parts: &[EstimatedPart], limits: Limits) -> Vec<String> {
    let cells = |part: &EstimatedPart| [part.what.clone(), time(part.flops, limits), asked(&part.columns)];
    let rows: Vec<[String; 3]> = parts.iter().map(cells).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let (wide, long) = (width(0), width(1));
    let line = |[what, time, columns]: &[String; 3]| format!("{what:wide$}  {time:long$}  {columns}");
    rows.iter().map(|row| line(row).trim_end().to_owned()).collect()
}

/// Columns, those together that are asked for by the same.
fn asked(columns: &[AskedColumn]) -> String {
    const NAMED: usize = 3;
    let mut groups: Vec<(&[String], Vec<&str>)> = vec![];
    for AskedColumn { key, by } in columns {
        match groups.iter_mut().find(|(known, _)| *known == by.as_slice()) {
            Some((_, keys)) => keys.push(*key),
            None => groups.push((by.as_slice(), vec![*key])),
        }
    }
    // What was asked for by name before the command's own.
    groups.sort_by_key(|(by, _)| by.is_empty());
    let told = groups.into_iter().map(|(by, keys)| {
        let more = keys.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let by = if by.is_empty() { String::new() } else { format!(" ({})", by.join(", ")) };
        format!("{}{more}{by}", keys[..keys.len().min(NAMED)].join(", "))
    });
    told.collect::<Vec<_>>().join("; ")
}

/// How long so much work takes here and now.
pub(super) fn time(flops: f64, limits: Limits) -> String {
    format!("about {}", notation::estimate(flops / (rate() * limits.threads as f64)))
}

/// The work of all jobs.
pub(super) fn flops(jobs: &[Job]) -> f64 {
    jobs.iter().map(|job| job.flops).sum()
}

/// Writes a plan to stdout.
pub(super) fn print(lines: &[(&'static str, String)]) -> Result<(), Error> {
    stdout::write(|out| {
        lines.iter().try_for_each(|(word, text)| writeln!(out, " {word:<9} {}", printable(text)))
    })
}

/// Operations a second of one thread on this machine now, timed once.
pub(super) fn rate() -> f64 {
    static RATE: OnceLock<f64> = OnceLock::new();
    *RATE.get_or_init(timed)
}

/// Operations a second in a small decomposition.
fn timed() -> f64 {
    const SIDE: usize = 640;
    // Any full-rank matrix will do; this one is a fixed pseudo-random one.
    let mut state = 1u32;
    let mut entry = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    let entries: Vec<u8> = (0..SIDE * SIDE).flat_map(|_| (entry() as f32).to_le_bytes()).collect();
    let Ok(matrix) = Matrix::new(SIDE, SIDE, Dtype::F32, entries) else { return 1e9 };
    let form = Form::whole((SIDE, SIDE), Dtype::F32, Precision::Fast);
    let flops = solver::cost(&form, Need::Values).flops;
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let begun = Instant::now();
        if solver::singular_values(&matrix, Precision::Fast).is_ok() {
            best = best.min(begun.elapsed().as_secs_f64());
        }
    }
    if best.is_finite() { flops / best } else { 1e9 }
}
