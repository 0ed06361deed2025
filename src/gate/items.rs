//! The values of a report that a rule judges, and the rows hidden from it.

use crate::analysis::compare::STATUS_COLUMNS;
use crate::error::{Error, printable};
use crate::layer::bare;
use crate::metric::NONFINITE_COUNT;
use crate::notation;
use crate::report::{Column, MissingReason, Report, Row, Skipped, Value};

use super::bounds::{self, Known};
use super::clause::Clause;
use super::missing::{self, Gap};

/// A named value to judge: what is known about it, and the reason if it is missing.
pub(super) struct Item<'r> {
    pub(super) name: String,
    pub(super) row: Option<&'r Row>,
    pub(super) known: Option<Known>,
    pub(super) gap: Option<Gap>,
}

/// All that a rule is about.
pub(super) struct Items<'r> {
    /// In report order.
    pub(super) all: Vec<Item<'r>>,
    /// Whether rows were passed over because nothing of them was changed, which is as good as a number.
    pub(super) nothing_changed: bool,
    /// How many rows the settings file hides.
    pub(super) hidden: usize,
}

/// The values that `clause` judges; matrices that exist on neither side are left out.
///
/// # Errors
/// [`Error::Rule`] if there are none: a gate that judges nothing would always pass.
pub(super) fn items<'r>(
    clause: &Clause,
    column: &'static Column,
    report: &'r Report,
) -> Result<Items<'r>, Error> {
    let rule = &clause.rule;
    let wanted =
        |name: &str| rule.glob.as_ref().is_none_or(|glob| glob.is_match(name)) && clause.filter.keeps(name);
    let rows: Vec<&Row> = report.rows.iter().filter(|row| wanted(&row.name)).collect();
    let others = others(report, column, &wanted);
    let hidden = &report.unlisted.hidden;
    let count = |names: &[String]| names.iter().filter(|name| wanted(name)).count();
    let hidden_others = if speaks_of_others(column) { count(&hidden.others) } else { 0 };
    let hidden_rows = count(&hidden.matrices) + hidden_others;
    let matches = rows.len() + others.len();
    let nothing_changed =
        rows.iter().any(|row| row.values.of(column.means()) == Some(Value::Missing(MissingReason::NoUpdate)));
    let items: Vec<Item<'r>> = rows.into_iter().filter_map(|row| of_row(row, column)).chain(others).collect();
    if items.is_empty() && !nothing_changed {
        let what = match (matches, hidden_rows) {
            (0, 0) if rule.glob.as_ref().is_some_and(|glob| glob.glob().glob().ends_with(".weight")) => {
                "no matrix of the report matches; names in reports leave out the `.weight` at the end"
                    .to_owned()
            }
            (0, 0) if report.totals.filtered > 0 => {
                "no matrix of the report matches; `--include` and `--exclude` may leave it out".to_owned()
            }
            (0, 0) => "no matrix of the report matches".to_owned(),
            (0, n) => format!("no matrix of the report matches, and {} hides {n} that would", hidden.by),
            _ => format!("what matches has no `{}` that could be judged", column.key),
        };
        return Err(Error::Rule { rule: rule.text().to_owned(), problem: what });
    }
    Ok(Items { all: items, nothing_changed, hidden: hidden_rows })
}

/// The remark about rows that the settings file hides.
pub(super) fn hidden(hidden: usize, by: &str) -> Option<String> {
    let rows = if hidden == 1 { "row" } else { "rows" };
    (hidden > 0).then(|| format!("{by} hides {} {rows} from this rule", notation::count(hidden as u64)))
}

fn of_row<'r>(row: &'r Row, column: &'static Column) -> Option<Item<'r>> {
    let value = row.values.of(column.means()).filter(|_| row.failed.is_none());
    let missing = match value {
        Some(Value::Missing(why)) if missing::is_vacuous(row, column, why) => return None,
        Some(value) => value.number().is_none(),
        None => true,
    };
    let known = value.and_then(|_| bounds::known(row, column));
    // A value beyond every limit counts like a number.
    let beyond = known.is_some_and(|known| known.low.is_infinite() && known.high.is_infinite());
    let gap = (missing && !beyond).then(|| missing::gap(row, column));
    Some(Item { name: row.name.to_string(), row: Some(row), known, gap })
}

/// Tensors that are not matrices and have no row, with what is known about them.
fn others<'r>(report: &Report, column: &'static Column, wanted: &dyn Fn(&str) -> bool) -> Vec<Item<'r>> {
    let item = |name: String, known, gap| Item { name, row: None, known, gap };
    if report.totals.compared.is_some() {
        // Those that differ have rows.
        let unchanged =
            report.unlisted.unchanged.iter().filter(|name| speaks_of_others(column) && wanted(name));
        return unchanged.map(|name| item(name.clone(), Some(Known::exact(0.0)), None)).collect();
    }
    // Tensors that were only read have just this number.
    let skipped = if *column == NONFINITE_COUNT.column { report.skipped.as_slice() } else { &[] };
    let of = |skipped: &Skipped| {
        let name = printable(bare(&skipped.tensor));
        let gap = |why, words: &String| Some(Gap { why, words: words.clone(), lost: true, base: None });
        let count = skipped.content.as_ref().and_then(|content| content.nonfinite_count);
        match (count, &skipped.failed, &skipped.unseen) {
            (_, Some(words), _) => Some(item(name, None, gap(MissingReason::Failed, words))),
            (Some(count), None, _) => Some(item(name, Some(Known::exact(count as f64)), None)),
            (None, None, Some(words)) => Some(item(name, None, gap(MissingReason::Unseen, words))),
            (None, None, None) => None,
        }
    };
    skipped.iter().filter_map(of).filter(|item| wanted(&item.name)).collect()
}

/// Whether a column applies to tensors that are not matrices.
fn speaks_of_others(column: &'static Column) -> bool {
    let metric = column.means().metric;
    *metric == NONFINITE_COUNT.column || STATUS_COLUMNS.contains(metric)
}
