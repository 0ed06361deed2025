//! The output of `svdkit inspect`: path, settings, tensors by pattern, files.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::escape::Escaped;
use super::inline::{TextPlace, code, inline};
use super::names::{broken, shortened};
use super::style::TableStyle;
use super::{OutputFormat, csv_file, json};
use crate::error::brief;
use crate::notation;
use crate::report::{Fate, Inventory, Pattern, SkipKind, Source, Updates};

/// The formats it can be written in.
pub const FORMATS: [OutputFormat; 5] =
    [OutputFormat::Table, OutputFormat::Json, OutputFormat::Jsonl, OutputFormat::Csv, OutputFormat::Markdown];

/// A pattern has room for so many characters.
const SHORTEST: usize = 24;
/// Files, targets and other long lists are shown up to here; machine formats have all.
const LONGEST_LIST: usize = 12;

/// Writes `inventory` as `format`; formats not in [`FORMATS`] give a table.
///
/// # Errors
/// Errors of the writer.
pub fn write(
    inventory: &Inventory,
    format: OutputFormat,
    look: &TableStyle<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let out: &mut dyn Write = &mut Escaped::new(out, super::style(format, look));
    match format {
        OutputFormat::Json => return json::write(inventory, out),
        OutputFormat::Jsonl => return json::write_each(&inventory.patterns, out),
        _ => {}
    }
    let inventory = &inventory.printable();
    match format {
        OutputFormat::Csv => csv_file::write_patterns(&inventory.patterns, look.formulas, out),
        OutputFormat::Markdown => write_markdown(inventory, out),
        _ => write_table(inventory, look, out),
    }
}

fn write_table(inventory: &Inventory, look: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    for (word, text) in head(inventory) {
        wrapped(&word, &text, look.width, out)?;
    }
    writeln!(out)?;
    let cells: Vec<[String; 6]> = shown(inventory).map(cells).collect();
    let width = |i: usize| {
        let cells = cells.iter().map(|cells| cells[i].width());
        cells.chain([HEAD[i].width()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (1..6).map(width).collect();
    let others: usize = widths.iter().map(|width| width + 2).sum();
    let longest = cells.iter().map(|cells| cells[0].width()).max().unwrap_or(0);
    let room = look.width.saturating_sub(others + 1).max(SHORTEST).min(longest.max(HEAD[0].len()));
    let mut names: Vec<&str> = cells.iter().map(|cells| cells[0].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let short: BTreeMap<&str, String> = names.iter().copied().zip(shortened(&names, room)).collect();
    for (i, cells) in std::iter::once(&HEAD.map(str::to_owned)).chain(&cells).enumerate() {
        let name = short.get(cells[0].as_str()).filter(|_| i > 0).unwrap_or(&cells[0]);
        let name = broken(name, room);
        let mut parts = name.lines();
        let first = parts.next().unwrap_or("");
        let mut line = format!(" {first}{}", " ".repeat(room.saturating_sub(first.width())));
        for (i, cell) in cells.iter().enumerate().skip(1) {
            let pad = " ".repeat(widths[i - 1].saturating_sub(cell.width()));
            // Numbers to the right, words to the left.
            let cell = if [1, 4].contains(&i) { format!("{pad}{cell}") } else { format!("{cell}{pad}") };
            line.push_str("  ");
            line.push_str(&cell);
        }
        let line = line.trim_end();
        writeln!(out, "{}", if i == 0 { look.paint.wrap("1", line) } else { line.to_owned() })?;
        parts.try_for_each(|part| writeln!(out, " {part}"))?;
    }
    writeln!(out, " {}", look.paint.wrap("2", &footer(inventory)))
}

fn write_markdown(inventory: &Inventory, out: &mut dyn Write) -> io::Result<()> {
    for (word, text) in head(inventory) {
        writeln!(out, "- {word}: {}", inline(&text, TextPlace::Line))?;
    }
    writeln!(out, "\n| {} |\n|---|--:|---|---|--:|---|", HEAD.join(" | "))?;
    for pattern in shown(inventory) {
        let [name, rest @ ..] = cells(pattern);
        writeln!(
            out,
            "| {} | {} |",
            code(&name, TextPlace::Cell),
            rest.map(|cell| inline(&cell, TextPlace::Cell)).join(" | ")
        )?;
    }
    writeln!(out, "\n{}", footer(inventory))
}

/// The patterns to show: all but the filtered ones.
fn shown(inventory: &Inventory) -> impl Iterator<Item = &Pattern> {
    inventory.patterns.iter().filter(|pattern| pattern.becomes != Fate::Filtered)
}

const HEAD: [&str; 6] = ["tensor", "count", "shape", "dtype", "size", "becomes"];

fn cells(pattern: &Pattern) -> [String; 6] {
    let becomes = match (pattern.becomes, &pattern.reason) {
        (Fate::Matrix, _) if pattern.matrices != pattern.count => {
            format!("{} matrices", notation::count(pattern.matrices))
        }
        (Fate::Skipped, Some(reason)) if pattern.kind == Some(SkipKind::Refused) => {
            format!("refused: {}", brief(reason))
        }
        (Fate::Skipped, Some(reason)) => format!("skipped: {}", brief(reason)),
        (fate, _) => fate.name().to_owned(),
    };
    let shape: Vec<String> = pattern.shape.iter().map(u64::to_string).collect();
    [
        pattern.pattern.clone(),
        format!("×{}", pattern.count),
        format!("[{}]", shape.join(", ")),
        pattern.dtype.clone(),
        pattern.bytes.map_or_else(|| "–".to_owned(), notation::bytes),
        becomes,
    ]
}

/// The lines above the tensors: a word and a text each.
fn head(inventory: &Inventory) -> Vec<(String, String)> {
    let mut lines = vec![("model".to_owned(), model(&inventory.model))];
    if inventory.model.files.len() > 1 {
        lines.push(("files".to_owned(), files(&inventory.model)));
    }
    for (file, claims) in &inventory.config {
        let word = if file.starts_with("adapter") { "adapter" } else { "config" }.to_owned();
        lines.push((word, claims.as_object().map_or_else(|| text(claims), claimed)));
    }
    lines.extend(inventory.adapter.as_ref().map(|updates| ("updates".to_owned(), updated(updates))));
    lines
}

fn model(source: &Source) -> String {
    let bytes = source.files.iter().map(|file| file.bytes).sum();
    let files = if source.files.len() == 1 { "1 file" } else { &format!("{} files", source.files.len()) };
    let mut text = format!("{} · {} · {files} · {}", source.path, source.format, notation::bytes(bytes));
    if let Some(commit) = &source.commit {
        text.push_str(" · commit ");
        text.push_str(commit);
    }
    text
}

/// The names of the files, the middle left out of a long list.
fn files(source: &Source) -> String {
    let names: Vec<String> =
        source.files.iter().map(|file| format!("{} ({})", file.name, notation::bytes(file.bytes))).collect();
    match names.as_slice() {
        [first, second, .., last] if names.len() > LONGEST_LIST => format!("{first}, {second}, …, {last}"),
        _ => names.join(", "),
    }
}

fn claimed(claims: &serde_json::Map<String, Value>) -> String {
    let claims: Vec<String> = claims.iter().map(|(key, value)| format!("{key} {}", text(value))).collect();
    if claims.is_empty() { "nothing that svdkit knows".to_owned() } else { claims.join(" · ") }
}

/// A claim without quotes and brackets.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => brief(text),
        Value::Array(items) => {
            let mut texts: Vec<String> = items.iter().take(LONGEST_LIST).map(text).collect();
            if items.len() > texts.len() {
                texts.push("…".to_owned());
            }
            texts.join(", ")
        }
        other => brief(&other.to_string()),
    }
}

fn updated(updates: &Updates) -> String {
    let numbers = |word: &str, numbers: Vec<String>| match numbers.as_slice() {
        [] => String::new(),
        [only] => format!(" · {word} {only}"),
        [first, .., last] => format!(" · {word} {first} to {last}"),
    };
    let mut targets: Vec<String> = updates.targets.iter().take(LONGEST_LIST).cloned().collect();
    if updates.targets.len() > targets.len() {
        targets.push("…".to_owned());
    }
    format!(
        "{} of {}{}{}: {}",
        notation::count(updates.count),
        updates.kinds.iter().map(|kind| &**kind).collect::<Vec<_>>().join(", "),
        numbers("rank", updates.ranks.iter().map(u64::to_string).collect()),
        numbers("scale", updates.scales.iter().map(|scale| notation::real(*scale)).collect()),
        targets.join(", ")
    )
}

/// Counts of everything, so that nothing is left out silently.
fn footer(inventory: &Inventory) -> String {
    let totals = &inventory.totals;
    let of =
        |n: u64, one: &str, many: &str| format!("{} {}", notation::count(n), if n == 1 { one } else { many });
    let mut parts = vec![
        of(totals.tensors, "tensor", "tensors"),
        of(totals.matrices, "matrix to measure", "matrices to measure"),
    ];
    let words =
        [(totals.skipped, "skipped"), (totals.refused, "of them refused"), (totals.filtered, "filtered out")];
    let words = words.iter().filter(|(n, _)| *n > 0);
    parts.extend(words.map(|(n, word)| format!("{} {word}", notation::count(*n))));
    parts.push(format!("{} parameters", notation::parameters(totals.parameters)));
    parts.join(" · ")
}

/// A word, and a text beside it in lines of at most `width` characters, broken between the items of a list.
fn wrapped(word: &str, text: &str, width: usize, out: &mut dyn Write) -> io::Result<()> {
    const INDENT: usize = 9;
    let (mut line, mut start) = (format!(" {word:<7}"), true);
    for piece in items(text) {
        if !start && line.width() + 1 + piece.width() > width {
            writeln!(out, "{line}")?;
            line = " ".repeat(INDENT - 1);
        }
        line.push(' ');
        line.push_str(piece);
        start = false;
    }
    writeln!(out, "{line}")
}

/// The items of a list, each with its separator.
fn items(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let end = text.match_indices(' ').find(|(at, _)| text[..*at].ends_with([',', '·', ':']));
        let (item, rest) = end.map_or((text, ""), |(at, _)| (&text[..at], &text[at + 1..]));
        text = rest;
        (!item.is_empty()).then_some(item)
    })
}
