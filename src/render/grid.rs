//! The rows of a table: the columns that fit the line, names that stay distinct, colors for rows that need attention.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use unicode_width::UnicodeWidthStr;

use super::cell::ranges;
use super::changes;
use super::fold::Bunch;
use super::names::{broken, shortened, widest};
use super::style::{Layout, Overflow, TableStyle};
use crate::notation;
use crate::report::{Column, Level, Outcome, Report, Row, Severity};

const SPARK: usize = 12;
/// Names take this share of a line before columns have to give way for them.
const NAME_SHARE: f64 = 0.4;
/// The same on a narrow line, in characters.
const NAME_WIDTH: usize = 24;
/// So many numbers stay when the shape gives way.
const NUMBERS: usize = 3;

/// A column other than the name: its header, and its cells in row order.
struct Cells {
    header: String,
    texts: Vec<String>,
    holds: Holds,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Shape,
    Dtype,
    Status,
    Number,
    /// Which directions are intruders.
    Which,
    Spark,
}

impl Cells {
    /// The width of its widest cell.
    fn width(&self) -> usize {
        widest(&self.texts).max(self.header.lines().map(UnicodeWidthStr::width).max().unwrap_or(0))
    }
}

/// One line of the table: a heading, or a row with its indent.
enum Line<'s> {
    Heading(&'s str),
    Row(&'static str, String),
}

/// Writes the rows; returns how many of the report's columns are not among them.
pub(super) fn write(
    report: &Report,
    shown: &[Bunch<'_>],
    look: &TableStyle<'_>,
    out: &mut dyn Write,
) -> io::Result<usize> {
    let lines = lines(shown, look.layout);
    let mut names: Vec<&str> = vec![];
    let mut indent = 0;
    for line in &lines {
        if let Line::Row(blanks, name) = line {
            names.push(name);
            indent = indent.max(blanks.len());
        }
    }
    names.sort_unstable();
    names.dedup();
    // A blank before the name, another behind it.
    let width = look.width.saturating_sub(indent + 2);
    let most = NAME_WIDTH.max((look.width as f64 * NAME_SHARE) as usize);
    let need = widest(&shortened(&names, most)).max("matrix".len()).min(width * 3 / 5);
    let mut columns = cells(report, shown, look);
    let tables = match look.overflow {
        Overflow::Keep => vec![columns],
        Overflow::Split => split(columns, width.saturating_sub(need)),
        Overflow::Drop => {
            while total(&columns) + need > width
                && let Some(least) = least_wanted(&columns)
            {
                columns.remove(least);
            }
            vec![columns]
        }
    };
    let colors: Vec<Option<&str>> = colors(report, shown);
    for (i, columns) in tables.iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        let room = match look.overflow {
            Overflow::Keep => usize::MAX,
            Overflow::Drop | Overflow::Split => width.saturating_sub(total(columns)).max(NAME_WIDTH / 2),
        };
        let short = names.iter().copied().zip(shortened(&names, room));
        let short = short.map(|(name, short)| (name, broken(&short, room))).collect();
        write_table(&lines, columns, &short, (look, &colors), out)?;
    }
    let numbers = tables.iter().flatten().filter(|column| column.holds == Holds::Number).count();
    Ok(report.columns.len().saturating_sub(numbers))
}

fn write_table(
    lines: &[Line<'_>],
    columns: &[Cells],
    short: &BTreeMap<&str, String>,
    (look, colors): (&TableStyle<'_>, &[Option<&str>]),
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(std::iter::once("matrix").chain(columns.iter().map(|column| column.header.as_str())));
    let height = columns.iter().map(|column| column.header.lines().count()).max().unwrap_or(1).max(1);
    // What each line of the table looks like; a heading takes the place of an empty one, for it may be wider than the names.
    let mut styles = vec![(Some(BOLD), None); height];
    let mut row = 0;
    for line in lines {
        match line {
            Line::Heading(name) => {
                table.add_row([" "]);
                styles.push((Some(BOLD), Some(*name)));
            }
            Line::Row(indent, name) => {
                let parts = short[name.as_str()].split('\n').map(|part| format!("{indent}{part}"));
                let name: Vec<String> = parts.collect();
                let cells = columns.iter().map(|column| column.texts[row].clone());
                table.add_row(std::iter::once(name.join("\n")).chain(cells));
                styles.extend(std::iter::repeat_n((colors[row], None), name.len()));
                row += 1;
            }
        }
    }
    for (i, column) in table.column_iter_mut().enumerate() {
        let is_number = |column: &Cells| matches!(column.holds, Holds::Shape | Holds::Number);
        let right = i > 0 && columns.get(i - 1).is_some_and(is_number);
        column.set_cell_alignment(if right { CellAlignment::Right } else { CellAlignment::Left });
        column.set_padding((1, u16::from(i == 0)));
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    for (line, (color, heading)) in table.lines().zip(styles) {
        let line = heading.map_or_else(|| line.trim_end().to_owned(), |name| format!(" {name}"));
        writeln!(out, "{}", color.map_or_else(|| line.clone(), |color| look.paint.wrap(color, &line)))?;
    }
    Ok(())
}

/// Every column but the name.
fn cells(report: &Report, shown: &[Bunch<'_>], look: &TableStyle<'_>) -> Vec<Cells> {
    let each = |holds, header: &str, cell: &dyn Fn(&Row) -> String| {
        let cells = shown.iter().map(|bunch| bunch.text(cell)).collect();
        Cells { header: header.to_owned(), texts: cells, holds }
    };
    let mut all = vec![
        each(Holds::Shape, "shape", &|row| format!("{} × {}", row.shape[0], row.shape[1])),
        each(Holds::Dtype, "dtype", &|row| row.storage().to_owned()),
    ];
    if shown.iter().any(|bunch| changes::need_status(&bunch.rows)) {
        all.push(each(Holds::Status, "status", &|row| row.status().to_owned()));
    }
    let columns: Vec<&Column> = super::columns(report, &look.columns).collect();
    for column in columns {
        let cells = shown.iter().map(|bunch| bunch.cell(column)).collect();
        all.push(Cells { header: column.label.to_owned(), texts: cells, holds: Holds::Number });
        if column.key == "intruder_count" {
            all.push(each(Holds::Which, "which", &|row| {
                row.intruders.as_ref().map_or_else(String::new, |i| ranges(&i.indices))
            }));
        }
    }
    // The spectrum of one expert would say nothing of the others.
    let single = |bunch: &&Bunch<'_>| bunch.rows.len() == 1;
    if shown.iter().filter(single).any(|bunch| !bunch.first().sketch.is_empty()) {
        let spark = |bunch: &Bunch<'_>| match bunch.rows[..] {
            [row] => notation::spark(&row.sketch, SPARK),
            _ => String::new(),
        };
        let cells = shown.iter().map(spark).collect();
        all.push(Cells { header: "log σ".to_owned(), texts: cells, holds: Holds::Spark });
    }
    all
}

/// The width of all columns with the gaps before them.
fn total(columns: &[Cells]) -> usize {
    columns.iter().map(|column| column.width() + 1).sum()
}

/// The column that gives way first; none where the last number would.
fn least_wanted(columns: &[Cells]) -> Option<usize> {
    let last = |holds| columns.iter().rposition(|column| column.holds == holds);
    let numbers = columns.iter().filter(|column| column.holds == Holds::Number).count();
    let number = |least| last(Holds::Number).filter(|_| numbers > least);
    last(Holds::Spark)
        .or(last(Holds::Dtype))
        .or(number(NUMBERS))
        .or(last(Holds::Which))
        .or(last(Holds::Shape))
        .or(number(1))
}

/// The columns in tables that fit `width`, one below the other.
fn split(columns: Vec<Cells>, width: usize) -> Vec<Vec<Cells>> {
    let mut tables: Vec<Vec<Cells>> = vec![vec![]];
    for column in columns {
        match tables.last_mut() {
            Some(table) if table.is_empty() || total(table) + column.width() < width => table.push(column),
            _ => tables.push(vec![column]),
        }
    }
    tables
}

/// The color of each line: of rows that break a rule, and of those with a finding that is a problem.
fn colors(report: &Report, shown: &[Bunch<'_>]) -> Vec<Option<&'static str>> {
    let mut colors: BTreeMap<&str, &str> = BTreeMap::new();
    for verdict in &report.verdicts {
        for offender in &verdict.offenders {
            let color = match (offender.outcome, verdict.severity) {
                (Outcome::Fail, Severity::Error) => RED,
                (Outcome::Fail | Outcome::Inconclusive, _) => YELLOW,
                (Outcome::Pass | Outcome::Accepted, _) => continue,
            };
            if let Some(matrix) = offender.matrix.as_deref() {
                let known = colors.entry(matrix).or_insert(color);
                if color == RED {
                    *known = RED;
                }
            }
        }
    }
    let problems = report.findings.iter().filter(|finding| finding.level == Level::Problem);
    colors.extend(problems.flat_map(|finding| &finding.matrices).map(|matrix| (matrix.as_str(), RED)));
    let color = |bunch: &Bunch<'_>| {
        let colors = bunch.rows.iter().filter_map(|row| colors.get(row.name.as_str()).copied());
        colors.max_by_key(|color| *color == RED)
    };
    shown.iter().map(color).collect()
}

const BOLD: &str = "1";
const RED: &str = "31";
const YELLOW: &str = "33";

/// The rows under a heading for each block, where a block has a common prefix and more than one matrix.
fn lines<'s>(shown: &'s [Bunch<'_>], layout: Layout) -> Vec<Line<'s>> {
    let mut lines = vec![];
    let mut current = None;
    for bunch in shown {
        let group = match layout {
            Layout::Grouped => bunch.block(),
            Layout::Flat => None,
        };
        if group != current {
            lines.extend(group.map(Line::Heading));
            current = group;
        }
        let (indent, name) = match group {
            Some(group) => ("  ", &bunch.name[group.len() + 1..]),
            None => ("", bunch.name.as_str()),
        };
        lines.push(Line::Row(indent, format!("{name}{}", bunch.count())));
    }
    lines
}
