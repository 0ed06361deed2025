//! The metrics of every command: resolves keys in rules, on the command line and in reports.

use super::allocation::{ASSIGNED_RANK, ASSIGNED_RATE, ASSIGNED_SPARSITY};
use super::clash::CLASH;
use super::compare::{STATUS_COLUMNS, Vectors, drifts_of};
use super::extract::EXTRACTED;
use super::heads::{COMPONENTS, COMPOSITION, CONTROL_TOKENS, HEAD_CHANGES, HEADS};
use super::init::INITIALIZED;
use super::merge::MERGED;
use super::verify::VERIFIED;
use super::{adapter, farms, intruders};
use crate::metric::{METRICS, RANKS, WEIGHTWATCHER, of_share};
use crate::report::{Column, ColumnKey, Report};

/// The commands with columns.
pub const COMMANDS: [&str; 15] = [
    "spectrum",
    "series",
    "compare",
    "rank",
    "farms",
    "intruders",
    "heads",
    "adapter inspect",
    "adapter init",
    "adapter verify",
    "adapter merge",
    "adapter extract",
    "adapter resize",
    "adapter canon",
    "adapter clash",
];

/// Whose words the keys of a report are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// Those of docs/metrics.md.
    Svdkit,
    /// WeightWatcher's columns; some share a name with ours but mean something else.
    WeightWatcher,
}

/// The metrics that `command` may have by these words; those for a share of the energy that the user chose aside.
pub fn metrics(command: &str, words: Words) -> Vec<&'static Column> {
    let table = match words {
        Words::Svdkit => METRICS,
        Words::WeightWatcher => WEIGHTWATCHER,
    };
    let spectrum = table.iter().map(|metric| &metric.column);
    let pair = drifts_of(Vectors::All).map(|drift| &drift.column).chain(&STATUS_COLUMNS);
    match command {
        "spectrum" => spectrum.collect(),
        "series" => spectrum.chain(drifts_of(Vectors::None).map(|drift| &drift.column)).collect(),
        "compare" => spectrum.chain(pair).collect(),
        "rank" => RANKS.iter().map(|metric| &metric.column).chain([&ASSIGNED_RANK]).collect(),
        "farms" => {
            let assigned = [&ASSIGNED_SPARSITY, &ASSIGNED_RATE];
            farms::FARMS.iter().map(|metric| &metric.column).chain(assigned).collect()
        }
        "intruders" => intruders::columns_of(intruders::VectorSide::Both),
        "heads" => HEADS
            .iter()
            .chain([&CONTROL_TOKENS])
            .chain(&HEAD_CHANGES)
            .chain(&COMPOSITION)
            .chain(&COMPONENTS)
            .collect(),
        "adapter extract" | "adapter resize" => EXTRACTED.iter().collect(),
        "adapter init" => INITIALIZED.iter().collect(),
        "adapter verify" => VERIFIED.iter().collect(),
        "adapter merge" => MERGED.iter().collect(),
        "adapter clash" => CLASH.iter().collect(),
        "adapter canon" => adapter::columns::columns(false),
        "adapter inspect" => adapter::columns::columns(true),
        _ => vec![],
    }
}

/// Those by either's words.
pub fn metrics_of(command: &str) -> Vec<&'static Column> {
    [Words::Svdkit, Words::WeightWatcher].into_iter().flat_map(|words| metrics(command, words)).collect()
}

/// What `key` means to any command.
pub fn meaning(key: &str) -> Option<ColumnKey<'_>> {
    ColumnKey::parse(key, COMMANDS.into_iter().flat_map(metrics_of))
}

/// The column of `report` that is called `key`.
pub fn of_report(report: &Report, key: &str) -> &'static Column {
    let names = report.settings.iter().find(|(setting, _)| setting == "names");
    let words = match names {
        Some((_, names)) if names == "weightwatcher" => Words::WeightWatcher,
        _ => Words::Svdkit,
    };
    column(key, &report.command, words)
}

/// The column of a report of `command` that is called `key`: a foreign one where its definition is not known here.
fn column(key: &str, command: &str, words: Words) -> &'static Column {
    let metric = ColumnKey::parse(key, metrics(command, words)).map(ColumnKey::column);
    metric.or_else(|| of_share(key).filter(|_| command == "rank")).unwrap_or_else(|| Column::foreign(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Aspect, Format};

    #[test]
    fn a_word_means_what_its_table_says() {
        let [ours, theirs] = [Words::Svdkit, Words::WeightWatcher]
            .map(|words| column("spectral_norm_change", "compare", words).means());
        assert_eq!((ours.metric.key, ours.aspect), (theirs.metric.key, theirs.aspect));
        assert_ne!(ours.metric, theirs.metric);
        assert_eq!(meaning("stable_rank_base").map(|key| key.aspect), Some(Aspect::Base));
        assert_eq!(meaning("alignment_base"), None);
    }

    #[test]
    fn every_column_of_an_old_report_is_one() {
        let formats = ["rank_at_90", "rank_at_99_5", "saved_at_80", "relative_rank", "of_tomorrow"]
            .map(|key| (column(key, "rank", Words::Svdkit)).format);
        assert_eq!(formats, [Format::Count, Format::Count, Format::Share, Format::Count, Format::Real]);
        assert_eq!(column("rank_at_120", "rank", Words::Svdkit), Column::foreign("rank_at_120"));
    }
}
