//! The output of `svdkit inspect`: path, settings, tensors by pattern, files.

use std::io::{self, Write};

use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::escape::Escaped;
use super::inline::{TextPlace, code, inline};
use super::names::broken;
use super::style::TableStyle;
use super::{OutputFormat, csv_file, json, wrap};
use crate::error::brief;
use crate::notation;
use crate::report::{Fate, Inventory, Pattern, SkipKind, Source, Updates};

/// The formats it can be written in.
pub const FORMATS: [OutputFormat; 5] =
    [OutputFormat::Table, OutputFormat::Json, OutputFormat::Jsonl, OutputFormat::Csv, OutputFormat::Markdown];

/// A pattern, and what becomes of it, has room for so many characters.
const SHORTEST: usize = 16;
/// Files, targets and other long lists are shown up to here; machine formats have all.
const LONGEST_LIST: usize = 12;

/// Writes `inventory` as `format`; formats not in [`FORMATS`] give a table.
///
/// # Errors
/// Errors of the writer.
pub fn write(
    inventory: &Inventory,
    format: OutputFormat,
    style: &TableStyle<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let out: &mut dyn Write = &mut Escaped::new(out, super::escaping(format, style));
    match format {
        OutputFormat::Json => return json::write(inventory, out),
        OutputFormat::Jsonl => return json::write_each(&inventory.patterns, out),
        _ => {}
    }
    let inventory = &inventory.printable();
    match format {
        OutputFormat::Csv => csv_file::write_patterns(&inventory.patterns, style.formulas, out),
        OutputFormat::Markdown => write_markdown(inventory, out),
        _ => write_table(inventory, style, out),
    }
}

fn write_table(inventory: &Inventory, style: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    for (word, text) in head(inventory) {
        wrapped(&word, &text, style.width, out)?;
    }
    writeln!(out)?;
    let rows: Vec<[String; 6]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(shown(inventory).map(cells)).collect();
    let widths = widths(&rows, style.width.saturating_sub(1));
    for (i, cells) in rows.iter().enumerate() {
        let cell = |(column, width): &(usize, usize)| match column {
            0 => broken(&cells[0], *width).lines().map(str::to_owned).collect(),
            _ => wrap::wrapped(&cells[*column], *width),
        };
        let cells: Vec<Vec<String>> = widths.iter().map(cell).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        for part in 0..height {
            let mut line = String::new();
            for ((column, width), cell) in widths.iter().zip(&cells) {
                let text = cell.get(part).map_or("", String::as_str);
                let pad = " ".repeat(width.saturating_sub(text.width()));
                let gap = if *column == 0 { " " } else { "  " };
                // Numbers to the right, words to the left.
                let (before, after) =
                    if [COUNT, SIZE].contains(column) { (&pad[..], "") } else { ("", &pad[..]) };
                line.extend([gap, before, text, after]);
            }
            let line = line.trim_end();
            writeln!(out, "{}", if i == 0 { style.paint.wrap("1", line) } else { line.to_owned() })?;
        }
    }
    for line in wrap::wrapped(&footer(inventory), style.width.saturating_sub(1)) {
        writeln!(out, " {}", style.paint.wrap("2", &line))?;
    }
    Ok(())
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

/// The columns that fit a line of `room` characters, with the width of each. Size and type give way first, then lines of the
/// last column are wrapped, then names are broken at their dots.
fn widths(rows: &[[String; 6]], room: usize) -> Vec<(usize, usize)> {
    let widest = |i: usize| rows.iter().map(|cells| cells[i].width()).max().unwrap_or(0);
    let mut columns: Vec<(usize, usize)> = (0..HEAD.len()).map(|i| (i, widest(i))).collect();
    let over = |columns: &[(usize, usize)]| {
        let all: usize = columns.iter().map(|(_, width)| width + 2).sum();
        (all - 2).saturating_sub(room)
    };
    for least in [SIZE, DTYPE] {
        if over(&columns) > 0 {
            columns.retain(|(column, _)| *column != least);
        }
    }
    for (column, fewest) in [(BECOMES, SHORTEST), (0, SHORTEST)] {
        let over = over(&columns);
        for (_, width) in columns.iter_mut().filter(|(i, width)| *i == column && *width > fewest) {
            *width = width.saturating_sub(over).max(fewest);
        }
    }
    columns
}

/// The patterns to show: all but the filtered ones.
fn shown(inventory: &Inventory) -> impl Iterator<Item = &Pattern> {
    inventory.patterns.iter().filter(|pattern| pattern.becomes != Fate::Filtered)
}

const HEAD: [&str; 6] = ["tensor", "count", "shape", "dtype", "size", "becomes"];
const COUNT: usize = 1;
const DTYPE: usize = 3;
const SIZE: usize = 4;
const BECOMES: usize = 5;

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
