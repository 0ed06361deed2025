//! The rows of a table: the columns that fit the line, names that stay distinct, colors for rows that need attention.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use unicode_width::UnicodeWidthStr;

use super::cell::{SHORT_TAILS, UNSURE, ranges};
use super::changes;
use super::fold::{ExpertGroup, Values};
use super::names::{broken, shortened, widest};
use super::series::{self, OverSteps};
use super::style::{Layout, Overflow, TableStyle};
use crate::notation;
use crate::report::{Aspect, Attention, Column, ColumnKey, Level, Outcome, Report, Row, Severity};

const SPARK: usize = 12;
/// What headers call the largest change from one step to the next.
const MAX_CHANGE: &str = "max Δ";
/// So many blocks draw a number over the steps of a series.
const COURSE: usize = 20;
/// Names take this share of a line before columns have to give way for them.
const NAME_SHARE: f64 = 0.4;
/// The same on a narrow line, in characters.
const NAME_WIDTH: usize = 24;
/// So many numbers stay when the shape gives way.
const NUMBERS: usize = 3;

/// A column other than the name: its header, and how its cells are written. They are written twice, to be measured and to be
/// shown: all of a large model would take more memory than its report.
struct Cells<'s> {
    header: String,
    /// That of its widest cell.
    width: usize,
    holds: Holds,
    /// What a number is of: the same for all sides of a comparison.
    metric: String,
    text: CellText<'s>,
}

/// The text of one line in a column.
type CellText<'s> = Box<dyn Fn(&ExpertGroup<'_>) -> String + 's>;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Shape,
    Dtype,
    Status,
    Number,
    /// The same at every step of a series.
    Course,
    /// Which directions are intruders.
    Which,
    Spark,
}

impl<'s> Cells<'s> {
    fn new(holds: Holds, header: &str, text: CellText<'s>, shown: &[ExpertGroup<'_>]) -> Self {
        let header_width = header.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
        let width = shown.iter().map(|group| text(group).width()).max().unwrap_or(0).max(header_width);
        Self { header: header.to_owned(), width, holds, metric: String::new(), text }
    }
}

/// One line of the table: a heading, or a row with its indent.
enum Line<'s> {
    Heading(&'s str),
    Row(&'static str, Cow<'s, str>, &'s ExpertGroup<'s>),
}

/// What the table does not show.
pub(super) struct LeftOut {
    /// How many of the report's columns.
    pub(super) columns: usize,
    /// What lines of several experts have.
    pub(super) values: Values,
    /// Whether a number that it does show is marked as unsure.
    pub(super) has_unsure: bool,
    /// Whether it shows lines over the steps of a series, and largest changes.
    pub(super) has: OverSteps,
}

/// Writes the rows.
pub(super) fn write(
    report: &Report,
    shown: &[ExpertGroup<'_>],
    style: &TableStyle<'_>,
    out: &mut dyn Write,
) -> io::Result<LeftOut> {
    let lines = lines(shown, style.layout);
    let mut names: Vec<&str> = vec![];
    let mut indent = 0;
    for line in &lines {
        if let Line::Row(blanks, name, _) = line {
            names.push(name);
            indent = indent.max(blanks.len());
        }
    }
    names.sort_unstable();
    names.dedup();
    // A blank before the name, another behind it.
    let width = style.width.saturating_sub(indent + 2);
    let most = NAME_WIDTH.max((style.width as f64 * NAME_SHARE) as usize);
    let need = || widest(&shortened(&names, most)).max(FIRST.len()).min(width * 3 / 5);
    let is_folded = shown.iter().any(|group| group.rows.len() > 1);
    let mut values = Values::Ranges;
    let mut columns = cells(report, shown, style, values);
    let tables = match style.overflow {
        Overflow::Keep => vec![columns],
        Overflow::Split => split(columns, width.saturating_sub(need())),
        Overflow::Drop => {
            let need = need();
            while total(&columns) + need > width {
                match least_wanted(&columns) {
                    Some(Holds::Number) if is_folded && values == Values::Ranges => {
                        let kept = columns.iter().map(|column| column.holds).collect::<Vec<_>>();
                        values = Values::Medians;
                        columns = cells(report, shown, style, values);
                        columns.retain(|column| kept.contains(&column.holds));
                    }
                    Some(Holds::Number) => {
                        let metric = columns.iter().rfind(|column| column.holds == Holds::Number);
                        let metric = metric.map_or_else(String::new, |column| column.metric.clone());
                        let is_of_it = |column: &Cells<'_>| {
                            column.metric == metric && matches!(column.holds, Holds::Number | Holds::Course)
                        };
                        columns.retain(|column| !is_of_it(column));
                    }
                    Some(least) => columns.retain(|column| column.holds != least),
                    None => break,
                }
            }
            // One metric of all sides may be wider than the line.
            if total(&columns) + need > width {
                split(columns, width.saturating_sub(need))
            } else {
                vec![columns]
            }
        }
    };
    let colors: Vec<Option<&str>> = colors(report, shown);
    for (i, columns) in tables.iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        let room = match style.overflow {
            Overflow::Keep => usize::MAX,
            Overflow::Drop | Overflow::Split => width.saturating_sub(total(columns)).max(NAME_WIDTH / 2),
        };
        let short = names.iter().copied().zip(shortened(&names, room));
        let fitted = |short: &str| short.width() <= room;
        let short = short.map(|(name, short)| match short {
            short if fitted(&short) => (name, short),
            long => (name, broken(&long, room).into()),
        });
        let short = short.collect();
        write_table(&lines, columns, &short, (style, &colors), out)?;
    }
    let numbers = || tables.iter().flatten().filter(|column| column.holds == Holds::Number);
    let may_be = |column: &&Cells<'_>| SHORT_TAILS.iter().any(|(key, _)| column.metric == *key);
    let is_unsure = |column: &Cells<'_>| shown.iter().any(|group| (column.text)(group).contains(UNSURE));
    let has_unsure = numbers().filter(may_be).any(is_unsure);
    let has = OverSteps {
        lines: tables.iter().flatten().any(|column| column.holds == Holds::Course),
        changes: numbers().any(|column| column.header.contains(MAX_CHANGE)),
    };
    Ok(LeftOut { columns: report.columns.len().saturating_sub(numbers().count()), values, has_unsure, has })
}

/// So many rows are laid out together, and names that fill so many characters: those of a large model would take more
/// memory than its report.
const LAID_OUT: usize = 4096;
const LAID_OUT_NAMES: usize = 1 << 20;

fn write_table(
    lines: &[Line<'_>],
    columns: &[Cells<'_>],
    short: &BTreeMap<&str, Cow<'_, str>>,
    (style, colors): (&TableStyle<'_>, &[Option<&str>]),
    out: &mut dyn Write,
) -> io::Result<()> {
    let extent = |line: &Line<'_>| match line {
        Line::Heading(_) => (0, 1),
        Line::Row(indent, name, _) => {
            let parts = short[name.as_ref()].split('\n').map(|part| indent.len() + part.width());
            parts.fold((0, 0), |(width, count), part| (width.max(part), count + 1))
        }
    };
    let larger = |(a, b): (usize, usize), (c, d): (usize, usize)| (a.max(c), b.max(d));
    let (names, tallest) = lines.iter().map(extent).fold((FIRST.width(), 1), larger);
    let height = columns.iter().map(|column| column.header.lines().count()).max().unwrap_or(1).max(1);
    let mut colors = colors.iter();
    let count = (LAID_OUT_NAMES / (names * tallest)).clamp(1, LAID_OUT);
    for first in (0..lines.len().max(1)).step_by(count) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        // What each line of the table looks like; a heading takes the place of an empty one, for it may be wider than the
        // names.
        let mut styles = vec![];
        if first == 0 {
            table.set_header(
                std::iter::once(FIRST).chain(columns.iter().map(|column| column.header.as_str())),
            );
            styles = vec![(Some(BOLD), None); height];
        }
        for line in lines.iter().skip(first).take(count) {
            match line {
                Line::Heading(name) => {
                    table.add_row([" "]);
                    styles.push((Some(BOLD), Some(*name)));
                }
                Line::Row(indent, name, group) => {
                    let parts = short[name.as_ref()].split('\n').map(|part| format!("{indent}{part}"));
                    let name: Vec<String> = parts.collect();
                    let cells = columns.iter().map(|column| (column.text)(group));
                    table.add_row(std::iter::once(name.join("\n")).chain(cells));
                    let color = colors.next().copied().flatten();
                    styles.extend(std::iter::repeat_n((color, None), name.len()));
                }
            }
        }
        for (i, column) in table.column_iter_mut().enumerate() {
            let cells = i.checked_sub(1).and_then(|i| columns.get(i));
            let is_number = |cells: &Cells<'_>| matches!(cells.holds, Holds::Shape | Holds::Number);
            let right = cells.is_some_and(is_number);
            column.set_cell_alignment(if right { CellAlignment::Right } else { CellAlignment::Left });
            let (width, after) = cells.map_or((names, 1), |cells| (cells.width, 0));
            column.set_padding((1, after));
            let width = u16::try_from(width + 1 + usize::from(after)).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
        }
        for (line, (color, heading)) in table.lines().zip(styles) {
            let heading = heading
                .map(|name| format!(" {}", broken(name, style.width.saturating_sub(1)).replace('\n', "\n ")));
            let line = heading.unwrap_or_else(|| line.trim_end().to_owned());
            writeln!(out, "{}", color.map_or_else(|| line.clone(), |color| style.paint.wrap(color, &line)))?;
        }
    }
    Ok(())
}

/// Every column but the name.
fn cells<'s>(
    report: &'s Report,
    shown: &[ExpertGroup<'_>],
    style: &TableStyle<'_>,
    values: Values,
) -> Vec<Cells<'s>> {
    let each = |holds, header: &str, cell: fn(&Row) -> String| {
        Cells::new(holds, header, Box::new(move |group| group.text(cell)), shown)
    };
    let mut all = vec![];
    // All pairs of heads have the same, and names that need the room.
    if !shown.iter().all(|group| is_pair(group.first())) {
        all.push(each(Holds::Shape, "shape", |row| format!("{} × {}", row.shape[0], row.shape[1])));
        all.push(each(Holds::Dtype, "dtype", |row| row.storage().to_owned()));
    }
    if shown.iter().any(|group| changes::need_status(&group.rows)) {
        all.push(each(Holds::Status, "status", |row| row.status().to_owned()));
    }
    let columns: Vec<&'static Column> = super::columns(report, &style.columns).collect();
    for column in columns {
        let means = column.means();
        // What a metric does over steps goes with it.
        let aspect = if Aspect::OF_STEPS.contains(&means.aspect) { Aspect::Value } else { means.aspect };
        let metric = ColumnKey { side: None, aspect, ..means }.to_string();
        let text: CellText<'s> = Box::new(move |group| group.cell(column, values));
        let number = Cells::new(Holds::Number, column.label, text, shown);
        all.push(Cells { metric: metric.clone(), ..number });
        if column.means().aspect == Aspect::Value && shown.iter().any(|group| group.first().course.is_some())
        {
            let text: CellText<'s> = Box::new(move |group| series::line(group, column, COURSE));
            all.push(Cells { metric, ..Cells::new(Holds::Course, "over steps", text, shown) });
        }
        if column.key == "intruder_count" {
            all.push(each(Holds::Which, "which", |row| {
                row.intruders.as_ref().map_or_else(String::new, |i| ranges(&i.indices))
            }));
        }
    }
    // The spectrum of one expert would say nothing of the others.
    let single = |group: &&ExpertGroup<'_>| group.rows.len() == 1;
    if report.steps.is_empty() && shown.iter().filter(single).any(|group| !group.first().sketch.is_empty()) {
        let spark = |group: &ExpertGroup<'_>| match group.rows[..] {
            [row] => notation::spark(&row.sketch, SPARK),
            _ => String::new(),
        };
        all.push(Cells::new(Holds::Spark, "log σ", Box::new(spark), shown));
    }
    part(&mut all);
    all
}

/// Two blanks before a header that would run together with the one before it: one of both has a blank of its own.
fn part(columns: &mut [Cells<'_>]) {
    let has_blank = |header: &str| header.contains(' ') && !header.contains('\n');
    let mut before = false;
    for column in columns {
        let has = has_blank(&column.header);
        let fills = column.header.width() == column.width && column.holds == Holds::Number;
        column.width += usize::from(fills && (has || before));
        before = has;
    }
}

fn is_pair(row: &Row) -> bool {
    matches!(row.attention.as_deref(), Some(Attention::Composition(_)))
}

/// The width of all columns with the gaps before them.
fn total(columns: &[Cells<'_>]) -> usize {
    columns.iter().map(|column| column.width + 1).sum()
}

/// What gives way first; nothing where the last metric would.
fn least_wanted(columns: &[Cells<'_>]) -> Option<Holds> {
    let has = |holds| columns.iter().any(|column| column.holds == holds).then_some(holds);
    let numbers = columns.iter().filter(|column| column.holds == Holds::Number);
    let metrics = numbers.map(|column| column.metric.as_str()).collect::<BTreeSet<_>>().len();
    let number = |least| (metrics > least).then_some(Holds::Number);
    has(Holds::Spark)
        .or(has(Holds::Dtype))
        .or(number(NUMBERS))
        .or(has(Holds::Which))
        .or(has(Holds::Shape))
        .or(number(1))
}

/// The columns in tables that fit `width`, one below the other.
fn split(columns: Vec<Cells<'_>>, width: usize) -> Vec<Vec<Cells<'_>>> {
    let mut tables: Vec<Vec<Cells<'_>>> = vec![vec![]];
    for column in columns {
        match tables.last_mut() {
            Some(table) if table.is_empty() || total(table) + column.width < width => table.push(column),
            _ => tables.push(vec![column]),
        }
    }
    tables
}

/// The color of each line: of rows that break a rule, and of those with a finding that is a problem.
fn colors(report: &Report, shown: &[ExpertGroup<'_>]) -> Vec<Option<&'static str>> {
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
    let color = |group: &ExpertGroup<'_>| {
        let colors = group.rows.iter().filter_map(|row| colors.get(row.name.as_str()).copied());
        colors.max_by_key(|color| *color == RED)
    };
    shown.iter().map(color).collect()
}

/// The header of the names.
const FIRST: &str = "matrix";
const BOLD: &str = "1";
const RED: &str = "31";
const YELLOW: &str = "33";

/// The rows under a heading for each block, where a block has a common prefix and more than one matrix.
fn lines<'s>(shown: &'s [ExpertGroup<'_>], layout: Layout) -> Vec<Line<'s>> {
    let mut lines = vec![];
    let mut current = None;
    for group in shown {
        let block = match layout {
            Layout::Grouped => group.block(),
            Layout::Flat => None,
        };
        if block != current {
            lines.extend(block.map(Line::Heading));
            current = block;
        }
        let (indent, name) = match block {
            Some(block) => ("  ", &group.name[block.len() + 1..]),
            None => ("", &*group.name),
        };
        let name =
            if group.rows.len() > 1 { Cow::Owned(format!("{name}{}", group.count())) } else { name.into() };
        lines.push(Line::Row(indent, name, group));
    }
    lines
}
