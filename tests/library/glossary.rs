//! docs/metrics.md and the tables of metrics say the same.

use std::collections::BTreeMap;
use std::path::Path;

use svdkit::analysis::allocation::{ASSIGNED_RANK, ASSIGNED_RATE, ASSIGNED_SPARSITY};
use svdkit::analysis::columns::{Words, metrics, metrics_of};
use svdkit::analysis::compare::{STATUS_COLUMNS, Vectors, drifts_of};
use svdkit::analysis::dct::FAMILIES;
use svdkit::analysis::eigen::EIGENVALUES;
use svdkit::analysis::farms::FARMS;
use svdkit::analysis::intruders::columns::{COLUMNS, RIGHT};
use svdkit::analysis::robust::ROBUST;
use svdkit::analysis::{compensate, preview};
use svdkit::metric::{METRICS, RANKS, WEIGHTWATCHER, chosen};
use svdkit::report::Column;

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap()
}

/// The text below each `` ### `key` `` heading.
fn sections(page: &str) -> BTreeMap<&str, &str> {
    let parts = page.split("\n### `").skip(1);
    parts.map(|part| part.split_once("`\n").unwrap()).collect()
}

/// The columns of every table but WeightWatcher's, each once.
fn columns() -> BTreeMap<&'static str, &'static Column> {
    let compared = STATUS_COLUMNS.iter().chain(drifts_of(Vectors::All).map(|drift| &drift.column));
    let fixed = METRICS.iter().chain(RANKS).map(|metric| &metric.column).chain(compared);
    fixed
        .chain(FARMS.iter().map(|metric| &metric.column))
        .chain(chosen(0.01, &[]).iter().map(|metric| &metric.column))
        .chain(&COLUMNS)
        .chain([&ASSIGNED_RANK, &ASSIGNED_SPARSITY, &ASSIGNED_RATE])
        .chain(&RIGHT)
        .chain(EIGENVALUES.iter().chain(&ROBUST).chain(&FAMILIES))
        .chain(
            [
                "adapter inspect",
                "adapter init",
                "adapter verify",
                "adapter merge",
                "adapter extract",
                "adapter clash",
                "heads",
                "features",
                "lineage",
                "scaling",
            ]
            .into_iter()
            .flat_map(metrics_of),
        )
        .chain(compensate::COMPENSATED.iter().chain(&compensate::FAMILIES))
        .chain(preview::fixed().chain(&preview::FAMILIES))
        .chain(metrics("compare", Words::Svdkit))
        .map(|column| (column.key, column))
        .collect()
}

#[test]
fn every_metric_has_a_heading_and_every_heading_a_metric() {
    let page = page();
    assert_eq!(sections(&page).into_keys().collect::<Vec<_>>(), columns().into_keys().collect::<Vec<_>>());
}

#[test]
fn the_page_gives_the_programs_own_formula_range_and_source() {
    let page = page();
    let sections = sections(&page);
    for column in columns().into_values() {
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
