//! Adapters against each other: a matrix of pairs for the terminal, and a heat map for a page.

use std::collections::BTreeMap;
use std::io::{self, Write};

use maud::{Markup, html};
use unicode_width::UnicodeWidthStr;

use super::style::TableStyle;
use super::wrap::indented;
use crate::notation;
use crate::report::{Encounter, Report, Row, Value};

/// A cosine from which on two adapters are told of by name.
const TOLD: f64 = 0.1;

/// What the rows of a pair come to together.
#[derive(Debug, Clone, Default, PartialEq)]
struct PairSums {
    product: f64,
    squares: [f64; 2],
    shared: usize,
    /// The module with the cosine of largest magnitude.
    worst: Option<(String, f64)>,
}

impl PairSums {
    fn cosine(&self) -> Option<f64> {
        let [a, b] = self.squares;
        let size = (a * b).sqrt();
        (a > 0.0 || b > 0.0).then(|| if size > 0.0 { (self.product / size).clamp(-1.0, 1.0) } else { 0.0 })
    }

    fn joint(&self) -> Option<f64> {
        let sum: f64 = self.squares.iter().sum();
        (sum > 0.0).then(|| ((sum + 2.0 * self.product) / sum).clamp(0.0, 2.0))
    }
}

/// The adapters' names, and what each pair comes to.
struct Pairs<'r> {
    names: Vec<&'r str>,
    sums: BTreeMap<(usize, usize), PairSums>,
}

impl<'r> Pairs<'r> {
    fn new(report: &'r Report) -> Self {
        let names: Vec<&str> = report.tuned.iter().map(|named| named.name.as_str()).collect();
        let place = |name: &str| names.iter().position(|known| *known == name);
        let mut sums: BTreeMap<(usize, usize), PairSums> = BTreeMap::new();
        for (row, encounter) in report.rows.iter().filter_map(|row| Some((row, row.encounter.as_ref()?))) {
            let Encounter { module, first, second, .. } = &**encounter;
            let Some(pair) = place(first).zip(place(second)) else { continue };
            add(sums.entry(pair).or_default(), row, module);
        }
        Self { names, sums }
    }

    /// The cosine of two of them, in either order.
    fn cosine(&self, i: usize, j: usize) -> Option<f64> {
        if i == j { Some(1.0) } else { self.sums.get(&(i.min(j), i.max(j)))?.cosine() }
    }
}

fn add(sums: &mut PairSums, row: &Row, module: &str) {
    let number = |key: &str| row.values.get(key).and_then(Value::number);
    let norms = ["first_norm", "second_norm"].map(|key| number(key).unwrap_or(0.0));
    for (sum, norm) in sums.squares.iter_mut().zip(norms) {
        *sum += norm * norm;
    }
    let Some(cosine) = number("update_cosine").filter(|_| norms.iter().all(|norm| *norm > 0.0)) else {
        return;
    };
    sums.product += cosine * norms[0] * norms[1];
    sums.shared += 1;
    if sums.worst.as_ref().is_none_or(|(_, worst)| cosine.abs() > worst.abs()) {
        sums.worst = Some((module.to_owned(), cosine));
    }
}

/// Writes the matrix of cosines, and what stands out in it.
///
/// # Errors
/// Errors of the writer.
pub(super) fn write(report: &Report, look: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    let pairs = Pairs::new(report);
    let count = pairs.names.len();
    let widest = pairs.names.iter().map(|name| name.width()).max().unwrap_or(0);
    writeln!(out, " {}", look.paint.wrap("1", "cosine of the updates, all modules together"))?;
    let heads: Vec<String> = (1..=count).map(|i| format!("{:>8}", format!("#{i}"))).collect();
    let head = heads.concat();
    writeln!(out, " {:widest$}     {head}", "")?;
    for (i, name) in pairs.names.iter().enumerate() {
        let pad = " ".repeat(widest - name.width());
        let cells: String = (0..count)
            .map(|j| match pairs.cosine(i, j) {
                _ if i == j => format!("{:>8}", "·"),
                Some(cosine) => paint(cosine, look),
                None => format!("{:>8}", "–"),
            })
            .collect();
        writeln!(out, " {name}{pad} {:>4}{cells}", format!("#{}", i + 1))?;
    }
    writeln!(out)?;
    let line = |text: &str, out: &mut dyn Write| -> io::Result<()> {
        indented(text, look.width.saturating_sub(1), 2).lines().try_for_each(|line| writeln!(out, " {line}"))
    };
    for ((i, j), sums) in told(&pairs) {
        line(&sentence((pairs.names[*i], pairs.names[*j]), sums), out)?;
    }
    for note in report.notes.iter().chain(&super::footer::commits(report)) {
        line(note, out)?;
    }
    Ok(())
}

/// The pairs that stand out, the most alike first.
fn told<'p>(pairs: &'p Pairs<'_>) -> Vec<(&'p (usize, usize), &'p PairSums)> {
    let size = |sums: &PairSums| sums.cosine().map_or(0.0, f64::abs);
    let mut told: Vec<_> =
        pairs.sums.iter().filter(|(_, sums)| sums.shared == 0 || size(sums) >= TOLD).collect();
    told.sort_by(|a, b| size(b.1).total_cmp(&size(a.1)));
    told
}

fn sentence((first, second): (&str, &str), sums: &PairSums) -> String {
    if let Some((name, _)) = [first, second].iter().zip(sums.squares).find(|(_, square)| *square <= 0.0) {
        return format!("{name} changes nothing.");
    }
    if sums.shared == 0 {
        return format!("{first} and {second} change no matrix in common.");
    }
    let cosine = sums.cosine().unwrap_or(0.0);
    let how = if cosine > 0.0 { "add up" } else { "work against each other" };
    let joint = notation::real(sums.joint().unwrap_or(1.0));
    let worst = sums
        .worst
        .as_ref()
        .map_or_else(String::new, |(module, cosine)| format!("; most in {module}, cosine {cosine:.3}"));
    format!(
        "{first} and {second} {how}: cosine {cosine:.3}, ‖Δ₁+Δ₂‖² is {joint} times the sum of both{worst}."
    )
}

/// A cell, colored from where it matters.
fn paint(cosine: f64, look: &TableStyle<'_>) -> String {
    let cell = format!("{:>8}", format!("{cosine:.3}"));
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
            @for ((i, j), sums) in told(&pairs) { p { (sentence((pairs.names[*i], pairs.names[*j]), sums)) } }
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
    for (row, encounter) in report.rows.iter().filter_map(|row| Some((row, row.encounter.as_ref()?))) {
        let Encounter { module, first, second, .. } = &**encounter;
        if order.last() != Some(&module.as_str()) {
            order.push(module);
        }
        let cosine = row.values.get("update_cosine").and_then(Value::number);
        cells.entry(module).or_default().insert((first, second), cosine);
    }
    order.dedup();
    let shown: Vec<(&str, &str)> =
        pairs.sums.keys().take(MOST_PAIRS).map(|(i, j)| (pairs.names[*i], pairs.names[*j])).collect();
    let hidden = order.len().saturating_sub(MOST_MODULES) + pairs.sums.len().saturating_sub(MOST_PAIRS);
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
