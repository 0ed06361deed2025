//! Adapters against each other: a matrix of pairs for the terminal, and a heat map for a page.

use std::collections::BTreeMap;
use std::io::{self, Write};

use maud::{Markup, html};
use unicode_width::UnicodeWidthStr;

use super::inline::{TextPlace, inline};
use super::style::{Layout, TableStyle};
use super::wrap::indented;
use crate::notation;
use crate::report::{Encounter, Group, Report, Value};

/// A cosine from which on two adapters are told of by name.
const TOLD: f64 = 0.1;
/// Most pairs that get a sentence.
const SENTENCES: usize = 10;
/// Longest name in the terminal.
const NAME: usize = 24;

/// A pair of adapters, all modules together.
#[derive(Debug, Clone, PartialEq)]
struct PairTotal<'r> {
    cosine: Option<f64>,
    joint: Option<f64>,
    norms: [f64; 2],
    shared: u64,
    /// The module with the cosine of largest magnitude.
    worst: Option<(&'r str, f64)>,
}

/// The adapters' names, and what each pair comes to.
struct Pairs<'r> {
    names: Vec<&'r str>,
    totals: BTreeMap<(usize, usize), PairTotal<'r>>,
}

impl<'r> Pairs<'r> {
    fn new(report: &'r Report) -> Self {
        let names: Vec<&str> = report.tuned.iter().map(|named| named.name.as_str()).collect();
        let groups: BTreeMap<&str, &Group> =
            report.groups.iter().map(|group| (group.name.as_str(), group)).collect();
        let mut worst: BTreeMap<(&str, &str), (&str, f64)> = BTreeMap::new();
        for (row, encounter) in report.rows.iter().filter_map(|row| Some((row, row.encounter.as_deref()?))) {
            let Some(cosine) = row.values.get("update_cosine").and_then(Value::number) else { continue };
            let found =
                worst.entry((&encounter.first, &encounter.second)).or_insert((&encounter.module, cosine));
            if cosine.abs() > found.1.abs() {
                *found = (&encounter.module, cosine);
            }
        }
        let total = |(i, j): (usize, usize)| {
            let group = groups.get(format!("{} × {}", names[i], names[j]).as_str())?;
            let number = |key: &str| group.values.get(key).and_then(Value::number);
            Some(PairTotal {
                cosine: number("update_cosine"),
                joint: number("joint_ratio"),
                norms: ["first_norm", "second_norm"].map(|key| number(key).unwrap_or(0.0)),
                shared: group.matrices,
                worst: worst.get(&(names[i], names[j])).copied(),
            })
        };
        let pairs = (0..names.len()).flat_map(|i| (i + 1..names.len()).map(move |j| (i, j)));
        let totals = pairs.filter_map(|pair| Some((pair, total(pair)?))).collect();
        Self { names, totals }
    }

    /// The cosine of two of them, in either order.
    fn cosine(&self, i: usize, j: usize) -> Option<f64> {
        if i == j { Some(1.0) } else { self.totals.get(&(i.min(j), i.max(j)))?.cosine }
    }
}

/// How the matrix is laid out in a line: digits of a cosine, the width of its column, columns beside each other.
struct Grid {
    names: Vec<String>,
    digits: usize,
    cell: usize,
    across: usize,
}

impl Grid {
    /// All columns beside each other if they fit, with two digits if three are too many; else several blocks.
    fn new(names: &[&str], width: usize) -> Self {
        let names: Vec<String> = names.iter().map(|name| shortened(name, NAME)).collect();
        let widest = names.iter().map(|name| name.width()).max().unwrap_or(0);
        let number = names.len().to_string().len() + 1;
        let room = width.saturating_sub(widest + number + 3);
        let fitting = |cell: usize| (room / cell).max(1);
        let (digits, cell) = if fitting(8) >= names.len() { (3, 8) } else { (2, 6) };
        let across = fitting(cell).min(names.len());
        Self { names, digits, cell, across }
    }
}

/// `name`, or its beginning and its end where it is longer than that.
fn shortened(name: &str, longest: usize) -> String {
    let count = name.chars().count();
    if name.width() <= longest || count < 4 {
        return name.to_owned();
    }
    let keep = longest.saturating_sub(1) / 2;
    let start: String = name.chars().take(keep).collect();
    let end: String = name.chars().skip(count - keep).collect();
    format!("{start}…{end}")
}

/// Writes the matrix of cosines, and what stands out in it.
///
/// # Errors
/// Errors of the writer.
pub(super) fn write(report: &Report, look: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    let pairs = Pairs::new(report);
    let grid = Grid::new(&pairs.names, look.width);
    let line = |text: &str, out: &mut dyn Write| -> io::Result<()> {
        indented(text, look.width.saturating_sub(1), 2).lines().try_for_each(|line| writeln!(out, " {line}"))
    };
    writeln!(out, " {}", look.paint.wrap("1", "cosine of the updates, all modules together"))?;
    let widest = grid.names.iter().map(|name| name.width()).max().unwrap_or(0);
    let number = grid.names.len().to_string().len() + 1;
    let cell = grid.cell;
    for first in (0..grid.names.len()).step_by(grid.across.max(1)) {
        let columns = first..grid.names.len().min(first + grid.across);
        if first > 0 {
            writeln!(out)?;
        }
        let heads: Vec<String> =
            columns.clone().map(|j| format!("{:>cell$}", format!("#{}", j + 1))).collect();
        let head = heads.concat();
        writeln!(out, " {:widest$} {:>number$}{head}", "", "")?;
        for (i, name) in grid.names.iter().enumerate() {
            let pad = " ".repeat(widest - name.width());
            let cells: String = columns
                .clone()
                .map(|j| match pairs.cosine(i, j) {
                    _ if i == j => format!("{:>cell$}", "·"),
                    Some(cosine) => paint(cosine, &grid, look),
                    None => format!("{:>cell$}", "–"),
                })
                .collect();
            writeln!(out, " {name}{pad} {:>number$}{cells}", format!("#{}", i + 1))?;
        }
    }
    writeln!(out)?;
    for sentence in sentences(&pairs) {
        line(&sentence, out)?;
    }
    // With rows below, the notes follow these.
    if look.layout == Layout::Flat || look.limit.is_some() {
        return writeln!(out);
    }
    let failures = report.failures().map(|(name, why)| format!("! {name}: {why}"));
    let mut notes = failures.chain(report.notes.iter().cloned()).chain(super::footer::commits(report));
    notes.try_for_each(|note| line(&note, out))
}

/// The matrix for a pull request, and what stands out in it.
///
/// # Errors
/// Errors of the writer.
pub(super) fn write_markdown(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let pairs = Pairs::new(report);
    let cell = |text: &str| inline(text, TextPlace::Cell);
    let heads: Vec<String> = (1..=pairs.names.len()).map(|i| format!(" #{i} |")).collect();
    writeln!(out, "Cosine of the updates, all modules together:\n\n| adapter | |{}", heads.concat())?;
    writeln!(out, "|---|---|{}", "--:|".repeat(pairs.names.len()))?;
    for (i, name) in pairs.names.iter().enumerate() {
        let cells = (0..pairs.names.len()).map(|j| match pairs.cosine(i, j) {
            _ if i == j => " · |".to_owned(),
            Some(cosine) => format!(" {cosine:.3} |"),
            None => " – |".to_owned(),
        });
        writeln!(out, "| {} | #{} |{}", cell(name), i + 1, cells.collect::<String>())?;
    }
    writeln!(out)?;
    sentences(&pairs).iter().try_for_each(|told| writeln!(out, "- {}", inline(told, TextPlace::Line)))?;
    writeln!(out)
}

/// What to say of the pairs that stand out, the most alike first.
fn sentences(pairs: &Pairs<'_>) -> Vec<String> {
    let size = |total: &PairTotal<'_>| total.cosine.map_or(0.0, f64::abs);
    let mut told: Vec<_> =
        pairs.totals.iter().filter(|(_, total)| total.shared == 0 || size(total) >= TOLD).collect();
    told.sort_by(|a, b| size(b.1).total_cmp(&size(a.1)));
    let more = told.len().saturating_sub(SENTENCES);
    let shown = told.into_iter().take(SENTENCES);
    let mut sentences: Vec<String> =
        shown.map(|((i, j), total)| sentence((pairs.names[*i], pairs.names[*j]), total)).collect();
    // An adapter that changes nothing is told of once.
    sentences.dedup();
    if more > 0 {
        sentences.push(format!("… and {more} more pairs of a cosine of {TOLD} or more."));
    }
    sentences
}

fn sentence((first, second): (&str, &str), total: &PairTotal<'_>) -> String {
    if let Some((name, _)) = [first, second].iter().zip(total.norms).find(|(_, norm)| *norm <= 0.0) {
        return format!("{name} changes nothing.");
    }
    if total.shared == 0 {
        return format!("{first} and {second} change no matrix in common.");
    }
    let cosine = total.cosine.unwrap_or(0.0);
    let how = if cosine > 0.0 { "add up" } else { "work against each other" };
    let joint = notation::real(total.joint.unwrap_or(1.0));
    let worst = total
        .worst
        .map_or_else(String::new, |(module, cosine)| format!("; most in {module}, cosine {cosine:.3}"));
    format!(
        "{first} and {second} {how}: cosine {cosine:.3}, ‖Δ₁+Δ₂‖² is {joint} times the sum of both{worst}."
    )
}

/// A cell, colored from where it matters.
fn paint(cosine: f64, grid: &Grid, look: &TableStyle<'_>) -> String {
    let (width, digits) = (grid.cell, grid.digits);
    let cell = format!("{:>width$}", format!("{cosine:.digits$}"));
    match cosine {
        c if c <= -TOLD => look.paint.wrap("31", &cell),
        c if c >= TOLD => look.paint.wrap("33", &cell),
        _ => cell,
    }
}

/// A heat map of all pairs, and one of modules against pairs.
pub(super) fn heat_maps(report: &Report) -> Markup {
    let pairs = Pairs::new(report);
    let count = pairs.names.len();
    html! {
        section #clash {
            h2 { "Pairs" }
            p.note { "Cosine of the updates, all modules together: 1 adds up, −1 cancels, 0 leaves alone." }
            div.wide { table.heat {
                thead { tr { th {} @for name in &pairs.names { th.n { (name) } } } }
                tbody { @for (i, name) in pairs.names.iter().enumerate() { tr {
                    th { (name) }
                    @for j in 0..count { (cell(pairs.cosine(i, j), i == j)) }
                } } }
            } }
            @for told in sentences(&pairs) { p { (told) } }
            h2 { "Modules" }
            (by_module(report, &pairs))
        }
    }
}

/// Most pairs that get a column of their own in the map of modules.
const MOST_PAIRS: usize = 45;
/// Most modules that get a line.
const MOST_MODULES: usize = 600;

fn by_module(report: &Report, pairs: &Pairs<'_>) -> Markup {
    let mut cells: BTreeMap<&str, BTreeMap<(&str, &str), Option<f64>>> = BTreeMap::new();
    let mut order: Vec<&str> = vec![];
    for (row, Encounter { module, first, second, .. }) in
        report.rows.iter().filter_map(|row| Some((row, row.encounter.as_deref()?)))
    {
        if order.last() != Some(&module.as_str()) {
            order.push(module);
        }
        let cosine = row.values.get("update_cosine").and_then(Value::number);
        cells.entry(module).or_default().insert((first, second), cosine);
    }
    order.dedup();
    let shown: Vec<(&str, &str)> =
        pairs.totals.keys().take(MOST_PAIRS).map(|(i, j)| (pairs.names[*i], pairs.names[*j])).collect();
    let hidden = order.len().saturating_sub(MOST_MODULES) + pairs.totals.len().saturating_sub(MOST_PAIRS);
    html! {
        @if hidden > 0 { p.note { "Not all fit here; JSON and CSV hold all." } }
        div.wide.tall { table.heat {
            thead { tr { th { "module" } @for (a, b) in &shown { th.n { (a) " × " (b) } } } }
            tbody { @for module in order.iter().take(MOST_MODULES) { tr {
                th { (module) }
                @for pair in &shown { (cell(cells[module].get(pair).copied().flatten(), false)) }
            } } }
        } }
    }
}

/// A cell in one of nine steps between −1 and 1.
fn cell(cosine: Option<f64>, own: bool) -> Markup {
    let step = |cosine: f64| (4.0 * (cosine + 1.0)).round().clamp(0.0, 8.0) as usize;
    html! {
        @match cosine {
            _ if own => { td.n { "·" } }
            Some(cosine) => { td class={"n k" (step(cosine))} { (format!("{cosine:.2}")) } }
            None => { td.n { "–" } }
        }
    }
}
