//! The choice of a column to plot: all of them in groups, with a field to search.

use maud::{Markup, html};

use crate::report::{Aspect, Column, Report};

/// The page whose headings are the groups.
const METRICS: &str = include_str!("../../../docs/metrics.md");

/// The list of columns: `drawn` can be chosen, of the others it says where they are.
pub(super) fn chooser(report: &Report, drawn: &[&'static Column], first: &str) -> Markup {
    let mut groups: Vec<(String, Vec<(usize, &Column)>)> = vec![];
    for (i, column) in drawn.iter().enumerate() {
        let name = group(column);
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, columns)) => columns.push((i, column)),
            None => groups.push((name, vec![(i, column)])),
        }
    }
    let others: Vec<&Column> =
        report.columns.iter().filter(|column| drawn.iter().all(|d| d.key != column.key)).copied().collect();
    html! {
        label { select #column {
            @for (name, columns) in &groups { optgroup label=(name) { @for (i, column) in columns {
                option class={"o" (i)} value=(column.key) selected[column.key == first] { (text(column)) }
            } } }
            @if !others.is_empty() { optgroup label="In the table of matrices" { @for column in others {
                option disabled { (text(column)) }
            } } }
        } }
        label.live { input #find type="search" placeholder="find a column" aria-label="find a column" autocomplete="off"; }
    }
}

/// Shows one view at a time if the browser supports it, else all of them. Views go by their numbers: a key may hold
/// whatever a user calls a side.
pub(super) fn choices(views: usize) -> String {
    let rules = (0..views).map(|i| format!(".views:has(.o{i}:checked) .v{i}{{display:block}}"));
    format!("@supports selector(:has(a)){{.view{{display:none}}{}}}", rules.collect::<String>())
}

fn text(column: &Column) -> String {
    format!("{} · {}", column.label.replace('\n', " "), column.key)
}

/// The side and the aspect of a column of a comparison; of others the heading of docs/metrics.md that they stand under.
fn group(column: &'static Column) -> String {
    let key = column.means();
    let what = match key.aspect {
        Aspect::Value => heading(key.metric.key),
        Aspect::Base => "Base",
        Aspect::Difference => "Tuned − base",
        Aspect::Change => "Change",
        Aspect::Slope => "Slope over steps",
        Aspect::StepChange => "Largest change of a step",
        Aspect::StepChangeAt => "Step of the largest change",
    };
    key.side.map_or_else(|| what.to_owned(), |side| format!("{side}: {what}"))
}

fn heading(key: &str) -> &'static str {
    let at = METRICS.find(&format!("\n### `{key}`\n"));
    let before = at.and_then(|at| METRICS[..at].rsplit_once("\n## "));
    before.and_then(|(_, rest)| rest.lines().next()).unwrap_or("Columns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_stands_under_its_heading() {
        assert_eq!(["alpha", "spectral_norm", "unknown"].map(heading), ["Tail", "Size", "Columns"]);
    }
}
