//! Findings for people: below a table, before the rows of Markdown, with their level.

use std::io::{self, Write};

use super::inline::{TextPlace, code, inline};
use super::style::TableStyle;
use super::wrap::wrapped;
use crate::notation;
use crate::report::{Finding, Level, Report, Summary};

/// So many are told below a table before the others are counted.
const MOST: usize = 5;

/// Matrices of fewer are not summed up.
const FEW: usize = 8;
/// Roles whose rank is told in a line.
const ROLES: usize = 4;

/// One line for each expert, the worst first, wrapped to the width.
pub(super) fn write(report: &Report, style: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    for finding in report.findings.iter().take(MOST) {
        let level = finding.level.name();
        let indent = Level::Problem.name().len() + 2;
        let text = format!("{}: {}", title(finding), finding.sentence);
        for (i, line) in wrapped(&text, width(style, indent)).into_iter().enumerate() {
            let start = if i == 0 { level } else { "" };
            let pad = " ".repeat(indent - start.len());
            writeln!(out, " {}{pad}{line}", style.paint.wrap(color(finding.level), start))?;
        }
    }
    if report.findings.len() > MOST {
        let more = notation::count((report.findings.len() - MOST) as u64);
        writeln!(out, " … and {more} more findings: JSON, Markdown and HTML have all")?;
    }
    Ok(())
}

/// The model in one sentence, wrapped to the width; none where there is nothing to sum up.
pub(super) fn summary(report: &Report, style: &TableStyle<'_>) -> Vec<String> {
    let Some(Summary::Own { alpha_fits, median_alpha, alpha_within_2_to_6, median_stable_rank, .. }) =
        &report.summary
    else {
        return vec![];
    };
    // Of a few matrices the table says it all.
    if report.rows.len() < FEW {
        return vec![];
    }
    let mut parts = vec![];
    if let Some((median, within)) = median_alpha.zip(*alpha_within_2_to_6) {
        parts.push(format!(
            "median α {} of {} {} with 50 values or more, {:.0} % within 2–6",
            notation::real(median),
            notation::count(*alpha_fits),
            if *alpha_fits == 1 { "fit" } else { "fits" },
            100.0 * within
        ));
    }
    let ranks: Vec<String> = median_stable_rank
        .iter()
        .take(ROLES)
        .map(|(role, rank)| format!("{} {}", role, notation::real(*rank)))
        .collect();
    if !ranks.is_empty() {
        let more = if median_stable_rank.len() > ROLES { ", …" } else { "" };
        parts.push(format!("median stable rank {}{more}", ranks.join(", ")));
    }
    if parts.is_empty() { vec![] } else { wrapped(&parts.join(" · "), width(style, 0)) }
}

/// The columns that are left for text after `indent` of them; a text is not broken up more than that.
fn width(style: &TableStyle<'_>, indent: usize) -> usize {
    style.width.saturating_sub(indent + 1).max(40)
}

/// All of them as a list.
pub(super) fn write_markdown(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for finding in &report.findings {
        let (level, name) = (finding.level.name(), code(&title(finding), TextPlace::Line));
        writeln!(out, "- **{level}** {name}: {}", inline(&finding.sentence, TextPlace::Line))?;
    }
    if !report.findings.is_empty() {
        writeln!(out)?;
    }
    Ok(())
}

/// Its name, with the side that it is about.
pub(super) fn title(finding: &Finding) -> String {
    finding.side.as_ref().map_or_else(|| finding.name.to_string(), |side| format!("{}@{side}", finding.name))
}

fn color(level: Level) -> &'static str {
    match level {
        Level::Problem => "1;31",
        Level::Caution => "33",
        Level::Note => "36",
    }
}
