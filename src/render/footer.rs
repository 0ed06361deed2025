//! The parts below the rows of a table: single directions, and sums by role and block.

use std::io::{self, Write};
use std::ops::Range;

use unicode_width::UnicodeWidthStr;

use crate::notation;
use crate::report::{Direction, Format, Group, Report, Source, Value};

/// Every direction that was checked, and the sums, in lines of `width` where that is possible.
pub(super) fn write(report: &Report, width: usize, out: &mut dyn Write) -> io::Result<()> {
    for row in &report.rows {
        let directions = row.intruders.as_ref().map_or(&[][..], |intruders| &intruders.directions);
        if !directions.is_empty() {
            writeln!(out, "\n {}", row.name)?;
            let head = ["side", "#", "σ", "best cosine", "base #", ""].map(str::to_owned);
            align(&head, directions.iter().map(direction).collect(), (1, width), out)?;
        }
    }
    for Sums { head, rows } in sums(report) {
        writeln!(out)?;
        align(&head, rows, (0, width), out)?;
    }
    let has_sums = report.groups.iter().any(|group| group.by != "pair");
    if has_sums || report.rows.iter().any(|row| !no_directions(row)) {
        writeln!(out)?;
    }
    Ok(())
}

/// A table of sums over rows that belong together.
pub(super) struct Sums {
    /// What they are by, how many matrices, and the labels of the columns.
    pub(super) head: Vec<String>,
    /// The same of each.
    pub(super) rows: Vec<Vec<String>>,
}

/// The sums of a report, a table a kind; pairs of adapters have one of their own.
pub(super) fn sums(report: &Report) -> Vec<Sums> {
    let mut kinds: Vec<&str> = vec![];
    for by in report.groups.iter().map(|group| &*group.by).filter(|by| *by != "pair") {
        if !kinds.contains(&by) {
            kinds.push(by);
        }
    }
    let table = |by: &str| {
        let groups: Vec<&Group> = report.groups.iter().filter(|group| group.by == by).collect();
        let labels = groups.first()?.values.iter().map(|(column, _)| column.label.to_owned());
        let head = [by.to_owned(), "matrices".to_owned()].into_iter().chain(labels).collect();
        Some(Sums { head, rows: groups.into_iter().map(sum).collect() })
    };
    kinds.into_iter().filter_map(table).collect()
}

/// Which commits of the hub were read, where that is known.
pub(super) fn commits(report: &Report) -> Vec<String> {
    let tuned = report.tuned.iter().map(|named| &named.source);
    let mut sources: Vec<_> = report.base.iter().chain([&report.model]).chain(tuned).collect();
    // The model is the first of several tuned sides.
    sources.dedup();
    let line = |source: &Source| Some(format!("@ {} is commit {}", source.path, source.commit.as_ref()?));
    sources.into_iter().filter_map(line).collect()
}

fn no_directions(row: &crate::report::Row) -> bool {
    row.intruders.as_ref().is_none_or(|intruders| intruders.directions.is_empty())
}

fn direction(direction: &Direction) -> Vec<String> {
    let [low, high] = direction.best_cosine;
    let cosine = if high - low < 1e-8 { format!("{high:.4}") } else { format!("{low:.2}–{high:.2}") };
    vec![
        direction.side.to_string(),
        direction.index.to_string(),
        notation::real(direction.singular_value),
        cosine,
        direction.base_index.map_or_else(|| "–".to_owned(), |index| index.to_string()),
        if direction.intruder { "intruder" } else { "" }.to_owned(),
    ]
}

fn sum(group: &Group) -> Vec<String> {
    let cell = |(column, value): (&crate::report::Column, Value)| match (value, column.format) {
        (Value::Missing(_), _) => "–".to_owned(),
        (Value::Count(n), _) => notation::count(n),
        (Value::Real(x), Format::Share) => notation::share(x),
        (Value::Real(x), _) if x < 0.0 => format!("−{}", notation::real(-x)),
        (Value::Real(x), _) => notation::real(x),
    };
    let cells = group.values.iter().map(cell);
    [group.name.clone(), notation::count(group.matrices)].into_iter().chain(cells).collect()
}

/// A table without rules: the first column to the left, all others to the right. Columns that do not fit beside the others
/// follow in a table below, behind the first one again.
fn align(
    head: &[String],
    rows: Vec<Vec<String>>,
    (indent, most): (usize, usize),
    out: &mut dyn Write,
) -> io::Result<()> {
    let rows: Vec<Vec<String>> = std::iter::once(head.to_vec()).chain(rows).collect();
    let width = |i: usize| rows.iter().map(|row| row[i].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for (part, columns) in parts(&widths, most.saturating_sub(indent * 2)).into_iter().enumerate() {
        if part > 0 {
            writeln!(out)?;
        }
        for row in &rows {
            let cells = std::iter::once(0).chain(columns.clone()).map(|i| {
                let (cell, pad) = (&row[i], " ".repeat(widths[i] - row[i].width()));
                if i == 0 { format!(" {cell}{pad}") } else { format!(" {pad}{cell}") }
            });
            let line = " ".repeat(indent * 2) + &cells.collect::<String>();
            writeln!(out, "{}", line.trim_end())?;
        }
    }
    Ok(())
}

/// The columns after the first, cut where a line of `most` characters ends that begins with the first.
fn parts(widths: &[usize], most: usize) -> Vec<Range<usize>> {
    let first = widths.first().map_or(0, |width| width + 1);
    let (mut parts, mut start, mut taken) = (vec![], 1, first);
    for (i, width) in widths.iter().enumerate().skip(1) {
        if taken + width + 1 > most && i > start {
            parts.push(start..i);
            (start, taken) = (i, first);
        }
        taken += width + 1;
    }
    parts.push(start..widths.len().max(start));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_do_not_fit_follow_below() {
        let check = |widths: &[usize], most, ends: &[usize]| {
            let parts = parts(widths, most);
            assert_eq!(parts.iter().map(|part| part.end).collect::<Vec<_>>(), ends, "{most}");
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start) && parts[0].start == 1);
        };
        check(&[10, 5, 5, 5], 29, &[4]);
        check(&[10, 5, 5, 5], 28, &[3, 4]);
        check(&[10, 5, 5, 5], 12, &[2, 3, 4]);
        check(&[10], 5, &[1]);
    }
}
