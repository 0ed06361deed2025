//! docs/metrics.md and the tables of metrics say the same.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use svdkit::analysis::intruder_columns::{COLUMNS, RIGHT};
use svdkit::metric::{METRICS, WEIGHTWATCHER};
use svdkit::report::Column;

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap()
}

/// Every column of every command, under its own name.
fn columns() -> impl Iterator<Item = &'static Column> {
    METRICS.iter().map(|metric| &metric.column).chain(&COLUMNS).chain(&RIGHT)
}

/// The text below each `` ### `key` `` heading.
fn sections(page: &str) -> BTreeMap<&str, &str> {
    let parts = page.split("\n### `").skip(1);
    parts.map(|part| part.split_once("`\n").unwrap()).collect()
}

#[test]
fn every_metric_has_a_heading_and_every_heading_a_metric() {
    let page = page();
    let mut keys: Vec<_> = columns().map(|column| column.key).collect();
    keys.sort_unstable();
    assert_eq!(sections(&page).into_keys().collect::<Vec<_>>(), keys);
}

#[test]
fn the_page_gives_the_programs_own_formula_range_and_source() {
    let page = page();
    let sections = sections(&page);
    for column in columns() {
        let text = sections[column.key];
        for words in [column.doc, column.label, column.range, column.source] {
            assert!(text.contains(words), "docs/metrics.md, {}: lacks `{words}`", column.key);
        }
    }
}

#[test]
fn every_column_of_weightwatcher_is_on_the_page() {
    let page = page();
    for column in WEIGHTWATCHER.iter().map(|metric| &metric.column) {
        let row = format!("| `{}` | {} |", column.key, column.doc);
        assert!(page.contains(&row), "docs/metrics.md lacks `{row}`");
    }
}
