//! The metrics of every command: resolves keys in rules, on the command line and in reports.

use super::across::ACROSS;
use super::allocation::{ASSIGNED_RANK, ASSIGNED_RATE, ASSIGNED_SPARSITY};
use super::clash::CLASH;
use super::compare::{STATUS_COLUMNS, Vectors, drifts_of};
use super::eigen::EIGENVALUES;
use super::extract::EXTRACTED;
use super::heads::{COMPONENTS, COMPOSITION, CONTROL_TOKENS, HEAD_CHANGES, HEADS};
use super::init::INITIALIZED;
use super::lineage::LINEAGE;
use super::merge::MERGED;
use super::permute::{PERMUTED, PERMUTED_UNITS};
use super::robust::ROBUST;
use super::scaling::{DECAY_RATIO, SCALING};
use super::verify::VERIFIED;
use super::{adapter, compensate, dct, farms, features, intruders, preview, ranked};
use crate::metric::{FEATURES, METRICS, RANKS, WEIGHTWATCHER, of_share};
use crate::report::{Column, ColumnKey, Report};

/// The commands with columns.
pub const COMMANDS: [&str; 18] = [
    "spectrum",
    "series",
    "compare",
    "rank",
    "farms",
    "intruders",
    "heads",
    "features",
    "lineage",
    "scaling",
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
    // Others stand among the columns of a pair.
    let is_own = |column: &&Column| drifts_of(Vectors::All).all(|drift| drift.column.key != column.key);
    match command {
        "spectrum" => spectrum.chain(&EIGENVALUES).chain(&ROBUST).collect(),
        "series" => spectrum.chain(drifts_of(Vectors::None).map(|drift| &drift.column)).collect(),
        "compare" => {
            let others = compensate::COMPENSATED.iter().filter(is_own);
            spectrum
                .chain(pair)
                .chain(others)
                .chain(&PERMUTED)
                .chain(&PERMUTED_UNITS)
                .chain(&ACROSS)
                .collect()
        }
        "rank" => {
            let own = RANKS.iter().map(|metric| &metric.column);
            own.chain([&ASSIGNED_RANK]).chain(preview::fixed()).collect()
        }
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
        "features" => FEATURES
            .iter()
            .map(|metric| &metric.column)
            .chain(features::TABLES.iter().map(|metric| &metric.column))
            .chain(&features::COSINES)
            .collect(),
        "lineage" => LINEAGE.iter().collect(),
        "scaling" => SCALING.iter().chain([&DECAY_RATIO]).collect(),
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

/// Every family of `command` that has a column for each of several ranks.
fn families(command: &str) -> &'static [Column] {
    match command {
        "compare" => &compensate::FAMILIES,
        "rank" => &preview::FAMILIES,
        _ => &[],
    }
}

/// What `key` means to any command.
pub fn meaning(key: &str) -> Option<ColumnKey<'_>> {
    let family = |command: &str| {
        let families = families(command);
        let is = |family: &&'static Column| family.key == key;
        families.iter().find(is).or_else(|| Some(ranked::of_key(key, families)?.0)).map(Column::means)
    };
    let parsed = ColumnKey::parse(key, COMMANDS.into_iter().flat_map(metrics_of));
    let parsed = parsed.or_else(|| COMMANDS.into_iter().find_map(family));
    parsed.or_else(|| Some(dct::family(key)?.0.means())).or_else(|| Some(of_share(key)?.means()))
}

/// The metric whose header in a table is `label`, where that takes a number: `SVD 4`, `energy 2`, `k 80%`, `relative`.
pub fn of_ranked_label(label: &str) -> Option<&'static Column> {
    if let Some(relative) = of_share("relative_rank").filter(|column| column.label == label) {
        return Some(relative);
    }
    let (name, rank) = label.rsplit_once(' ')?;
    let of_family = || {
        rank.parse::<usize>().ok()?;
        let families = COMMANDS.into_iter().flat_map(families).chain(&dct::FAMILIES);
        families.into_iter().find(|family| family.label == name)
    };
    let of_share = || {
        let percent = rank.strip_suffix('%')?.replace('.', "_");
        let keys = ["rank_at_", "nuclear_rank_at_", "saved_at_"].map(|family| format!("{family}{percent}"));
        keys.iter().filter_map(|key| of_share(key)).find(|column| column.label == label)
    };
    of_family().or_else(of_share)
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
    let ranked =
        || ranked::of_key(key, families(command)).map(|(family, rank)| ranked::at_rank(family, rank));
    let chosen = || of_share(key).or_else(|| dct::of_key(key)).filter(|_| command == "rank");
    metric.or_else(ranked).or_else(chosen).unwrap_or_else(|| Column::foreign(key))
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
