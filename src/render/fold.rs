//! Many experts on one line: the rows of one projection in one block, as the least, the greatest and the median of each
//! column, and the outliers in words.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::cell::{UNSURE, cell, is_unsure, number};
use super::style::{Experts, Layout, TableStyle};
use crate::layer::block_and_role;
use crate::report::{Column, Format, Report, Row, Value};

/// From so many on experts are folded.
const MANY: usize = 8;
/// Most outlier experts that are named; the rest is counted.
const NAMED: usize = 8;
/// An expert this many robust standard deviations from the median is an outlier. In a normal distribution, one in two
/// million is: none in a model of tens of thousands of experts.
const APART: f64 = 5.0;
/// From the median absolute deviation to the standard deviation of a normal law (Iglewicz & Hoaglin 1993).
const NORMAL: f64 = 1.4826;
/// The deviation is at least 1 % of the median, and at least 1 for a count: smaller ones don't matter.
const LEAST: f64 = 0.01;

/// How the numbers of several experts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// The range and the median.
    Ranges,
    /// The median alone.
    Medians,
}

/// One line of the table: one row, or several.
pub(super) struct ExpertGroup<'r> {
    /// The name, with `*` in the place of the expert's number where there are several.
    pub(super) name: Cow<'r, str>,
    /// At least one.
    pub(super) rows: Vec<&'r Row>,
}

/// The lines of `rows`, each at the place of its first row.
pub(super) fn groups<'r>(rows: &[&'r Row], style: &TableStyle<'_>) -> Vec<ExpertGroup<'r>> {
    let fold = style.experts == Experts::Folded && style.layout == Layout::Grouped;
    let keys: Vec<Option<String>> =
        rows.iter().map(|row| all_experts(&row.name).filter(|_| fold && row.failed.is_none())).collect();
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for key in keys.iter().flatten() {
        *sizes.entry(key).or_default() += 1;
    }
    let mut groups: Vec<ExpertGroup<'r>> = vec![];
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (row, key) in rows.iter().zip(&keys) {
        match key.as_deref().filter(|key| sizes.get(key).is_some_and(|size| *size >= MANY)) {
            None => groups.push(ExpertGroup { name: row.name.as_str().into(), rows: vec![row] }),
            Some(key) => {
                let at = *places.entry(key).or_insert(groups.len());
                if at == groups.len() {
                    groups.push(ExpertGroup { name: key.to_owned().into(), rows: vec![] });
                }
                groups[at].rows.push(row);
            }
        }
    }
    groups
}

/// The name of an expert's matrix with `*` in the place of the expert's number; none of another matrix.
fn all_experts(name: &str) -> Option<String> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let slice = ["expert", "_exps"].iter().any(|word| name.contains(word)).then(|| name.rfind('[')).flatten();
    let at = name.find("experts.").map(|at| at + "experts.".len()).filter(|at| digits(&name[*at..]) > 0);
    let at = at.or(slice.map(|at| at + 1))?;
    let end = at + digits(&name[at..]);
    (end > at).then(|| format!("{}*{}", &name[..at], &name[end..]))
}

impl ExpertGroup<'_> {
    /// The row that represents all: the first.
    pub(super) fn first(&self) -> &Row {
        self.rows[0]
    }

    /// The block of the model that all rows are in: `model.layers.3` of `model.layers.3.mlp.up_proj`.
    pub(super) fn block(&self) -> Option<&str> {
        // A block's number is not a folded one.
        let name = &*self.name;
        let (block, role) = block_and_role(name);
        block.and(name.strip_suffix(role)?.strip_suffix('.')).filter(|block| !block.is_empty())
    }

    /// The suffix of the name: the number of rows.
    pub(super) fn count(&self) -> String {
        if self.rows.len() > 1 { format!(" ×{}", self.rows.len()) } else { String::new() }
    }

    /// Words that are the same for all rows, or that they differ.
    pub(super) fn text(&self, text: impl Fn(&Row) -> String) -> String {
        let first = text(self.first());
        if self.rows.iter().all(|row| text(row) == first) { first } else { "various".to_owned() }
    }

    /// The value of one row; for several, minimum and maximum in parentheses, if asked for, then the median.
    pub(super) fn cell(&self, column: &Column, values: Values) -> String {
        let [row] = self.rows[..] else {
            let numbers = sorted(&self.rows, column);
            let ([least, .., greatest], Some(median)) = (&numbers[..], median(&numbers)) else {
                return "–".to_owned();
            };
            let [least, greatest, median] = [*least, *greatest, median].map(|x| number(x, column.format));
            let unsure = self.rows.iter().any(|row| is_unsure(row, column));
            let mark = if unsure { UNSURE } else { "" };
            let alone = least == greatest || values == Values::Medians;
            let range = if alone { String::new() } else { format!("({least}–{greatest}) ") };
            return format!("{mark}{range}{median}");
        };
        cell(row, column)
    }
}

/// The experts that deviate most from the others of their line, in words.
pub(super) fn notes(report: &Report, rows: &[&Row], style: &TableStyle<'_>, values: Values) -> Vec<String> {
    let mut groups = groups(rows, style);
    groups.retain(|group| group.rows.len() > 1);
    let columns: Vec<&'static Column> = super::columns(report, &style.columns).collect();
    let mut found: Vec<(f64, String)> = groups.iter().flat_map(|group| apart(group, &columns)).collect();
    found.sort_by(|(a, x), (b, y)| b.abs().total_cmp(&a.abs()).then_with(|| x.cmp(y)));
    let mut notes = vec![];
    if !groups.is_empty() {
        let values = if values == Values::Ranges { "(min–max) median" } else { "median" };
        notes.push(format!("× experts on a line: {values}; `--experts all` shows each"));
    }
    notes.extend(found.iter().take(NAMED).map(|(_, text)| format!("! {text}")));
    if let more @ 1.. = found.len().saturating_sub(NAMED) {
        let experts = if more == 1 { "expert stands" } else { "experts stand" };
        notes.push(format!("! {more} more {experts} apart"));
    }
    notes
}

/// The outlier experts of one line, each with the column of its largest deviation: in deviations and in words.
fn apart(group: &ExpertGroup<'_>, columns: &[&'static Column]) -> Vec<(f64, String)> {
    let mut farthest: BTreeMap<&str, (f64, String)> = BTreeMap::new();
    for column in columns {
        let values = sorted(&group.rows, column);
        let Some(middle) = median(&values) else { continue };
        let mut far: Vec<f64> = values.iter().map(|x| (x - middle).abs()).collect();
        far.sort_by(f64::total_cmp);
        let least = if column.format == Format::Count { 1.0 } else { LEAST * middle.abs() };
        let deviation = (NORMAL * median(&far).unwrap_or(0.0)).max(least);
        for row in group.rows.iter().filter(|row| !is_unsure(row, column)) {
            let Some(value) = row.values.get(column.key).and_then(Value::number) else { continue };
            let distance = (value - middle) / deviation;
            let before = farthest.get(row.name.as_str()).map_or(0.0, |(distance, _)| distance.abs());
            if distance.is_finite() && distance.abs() >= APART && distance.abs() > before {
                let [value, middle] = [value, middle].map(|x| number(x, column.format));
                let label = column.key;
                let away = format!("{distance:+.0}").replace('-', "\u{2212}");
                let text = format!("{}: {label} {value}, median {middle} ({away} deviations)", row.name);
                farthest.insert(&row.name, (distance, text));
            }
        }
    }
    farthest.into_values().collect()
}

/// The numbers that the rows have in a column, in order.
fn sorted(rows: &[&Row], column: &Column) -> Vec<f64> {
    let mut values: Vec<f64> =
        rows.iter().filter_map(|row| row.values.get(column.key).and_then(Value::number)).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The middle of values in order.
fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { sorted[middle - 1].midpoint(upper) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Accuracy, Measurements, MissingReason, Quantity};

    fn check(name: &str, expected: Option<&str>) {
        assert_eq!(all_experts(name).as_deref(), expected, "{name}");
    }

    #[test]
    fn the_number_of_an_expert_is_found_in_its_name() {
        check("model.layers.3.mlp.experts.17.up_proj", Some("model.layers.3.mlp.experts.*.up_proj"));
        check("blk.3.ffn_up_exps[4]", Some("blk.3.ffn_up_exps[*]"));
        check("layers.0.mlp.experts.up[12]", Some("layers.0.mlp.experts.up[*]"));
        check("layers.0.mlp.shared_expert.up_proj", None);
        check("rel_pos[3]", None);
    }

    fn check_block(name: &str, expected: Option<&str>) {
        assert_eq!(ExpertGroup { name: name.into(), rows: vec![] }.block(), expected, "{name}");
    }

    #[test]
    fn a_block_is_read_from_the_name_that_is_shown() {
        check_block("model.layers.3.mlp.up_proj", Some("model.layers.3"));
        check_block("model.layers.3.mlp.experts.*.up_proj", Some("model.layers.3"));
        check_block("blk.3.ffn_up_exps[4]", Some("blk.3"));
        check_block("experts.*.up_proj", None);
        check_block("net.4", None);
        check_block("lm_head", None);
    }

    #[test]
    fn the_middle_of_an_even_number_of_values_lies_between_two() {
        assert_eq!(median(&[1.0, 2.0, 4.0, 8.0]), Some(3.0));
        assert_eq!(median(&[1.0, 2.0, 4.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }

    static REAL: Column = Column {
        key: "real",
        label: "real",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "",
        range: "",
        source: "",
    };
    static COUNT: Column = Column {
        key: "count",
        label: "count",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "",
        range: "",
        source: "",
    };

    /// The outliers among experts with these values in `column`.
    fn check_apart(column: &'static Column, values: &[Value], expected: &[&str]) {
        let row = |(i, value): (usize, &Value)| Row {
            name: format!("experts.{i}.up").into(),
            values: Measurements(vec![(column, *value)]).into(),
            ..Row::default()
        };
        let rows: Vec<Row> = values.iter().enumerate().map(row).collect();
        let group = ExpertGroup { name: "experts.*.up".into(), rows: rows.iter().collect() };
        let found = apart(&group, &[column]);
        assert_eq!(found.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), expected, "{values:?}");
    }

    #[test]
    fn an_expert_five_robust_deviations_from_the_median_stands_apart() {
        let reals = |values: &[f64]| values.iter().map(|x| Value::Real(*x)).collect::<Vec<_>>();
        // The median is 10 and that of the distances from it 1, so a deviation is 1.4826 and five are 7.413.
        let others = [9.0, 9.0, 10.0, 10.0, 10.0, 11.0, 11.0];
        let with = |last: f64| reals(&[&others[..], &[last]].concat());
        check_apart(&REAL, &with(17.4), &[]);
        check_apart(&REAL, &with(17.5), &["experts.7.up: real 17.50, median 10.00 (+5 deviations)"]);
        check_apart(&REAL, &with(2.5), &["experts.7.up: real 2.500, median 10.00 (\u{2212}5 deviations)"]);
    }

    #[test]
    fn what_nobody_would_act_on_does_not_stand_apart() {
        let of = |value: Value, other: Value| [vec![value; 8], vec![other]].concat();
        // All others agree: a hundredth of the median is one deviation, and so is one of a count.
        check_apart(&REAL, &of(Value::Real(10.0), Value::Real(10.4)), &[]);
        check_apart(
            &REAL,
            &of(Value::Real(10.0), Value::Real(10.6)),
            &["experts.8.up: real 10.60, median 10.00 (+6 deviations)"],
        );
        check_apart(&COUNT, &of(Value::Count(3), Value::Count(7)), &[]);
        check_apart(
            &COUNT,
            &of(Value::Count(3), Value::Count(8)),
            &["experts.8.up: count 8, median 3 (+5 deviations)"],
        );
        check_apart(&REAL, &of(Value::Missing(MissingReason::TooFewValues), Value::Real(10.0)), &[]);
    }
}
