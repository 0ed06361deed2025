//! The columns that a run is asked for, what asks for each, and what that takes of a table.

use crate::analysis::spectrum;
use crate::findings;
use crate::layer::Layer;
use crate::metric::{Metric, Metrics, select};
use crate::report::Column;
use crate::solver::{Needs, Precision};

/// What a run is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Whether the command's own columns are wanted.
    pub own: OwnColumns,
    /// Further columns of the report, each with what asks for it, as it was typed.
    pub columns: Vec<(&'static Column, String)>,
    /// The evidence of findings that rules are about, each with its rule.
    pub evidence: Vec<(&'static str, String)>,
    /// Whether findings are looked for.
    pub findings: Search,
}

/// Whether the columns are wanted that a command has by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnColumns {
    /// They are.
    Wanted,
    /// Others were named.
    LeftOut,
}

/// Whether findings are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// In all that is measured.
    On,
    /// They are not.
    Off,
}

impl Asked {
    /// The command's own columns, and findings in them.
    pub fn own() -> Self {
        Self { own: OwnColumns::Wanted, columns: vec![], evidence: vec![], findings: Search::On }
    }

    /// The columns of the report: of `all` those that are asked for, and of the command's `own` all if they are wanted.
    pub fn shown(&self, all: &[&'static Column], own: &[&'static Column]) -> Vec<&'static Column> {
        let is_own = |column: &&'static Column| self.own == OwnColumns::Wanted && own.contains(column);
        all.iter().copied().filter(|column| is_own(column) || self.names(column)).collect()
    }

    /// Whether `column` was asked for by name.
    pub fn names(&self, column: &Column) -> bool {
        self.columns.iter().any(|(asked, _)| *asked == column)
    }

    /// Whether a rule on findings needs the metric `key`.
    pub fn is_evidence(&self, key: &str) -> bool {
        self.evidence.iter().any(|(known, _)| is_of(known, key))
    }

    /// Whether a metric is measured where that takes nothing more: a finding may be in it.
    pub fn is_welcome(&self, key: &str) -> bool {
        self.findings == Search::On && findings::evidence().any(|known| is_of(known, key))
    }

    /// What asks for `column`; nothing of the command's own.
    pub fn asking(&self, column: &Column) -> Vec<&str> {
        let named = self.columns.iter().filter(|(asked, _)| *asked == column).map(|(_, by)| by.as_str());
        let rules = self.evidence.iter().filter(|(key, _)| is_of(key, column.key)).map(|(_, by)| by.as_str());
        let mut by: Vec<&str> = named.chain(rules).collect();
        by.dedup();
        by
    }

    /// Columns as a plan tells them: each with what asks for it.
    pub(super) fn told(&self, columns: impl IntoIterator<Item = &'static Column>) -> Vec<AskedColumn> {
        let told = |column: &'static Column| AskedColumn {
            key: column.key,
            by: self.asking(column).into_iter().map(str::to_owned).collect(),
        };
        columns.into_iter().map(told).collect()
    }

    /// What is taken of `table`, all of whose columns that need no more than `most` are the command's own; no less than `least`
    /// is needed.
    pub(super) fn of_table(&self, table: &'static [Metric], (least, most): (Needs, Needs)) -> Taken {
        let there = || table.iter().filter(|metric| metric.needs <= most);
        let is_shown = |metric: &Metric| self.own == OwnColumns::Wanted || self.names(&metric.column);
        let is_asked = |metric: &Metric| is_shown(metric) || self.is_evidence(metric.column.key);
        let needs = there().filter(|metric| is_asked(metric)).map(|metric| metric.needs);
        let needs = needs.max().map_or(least, |needs| needs.max(least));
        let metrics = select(table, |metric| {
            let is_welcome = metric.needs <= needs && self.is_welcome(metric.column.key);
            metric.needs <= most && (is_asked(metric) || is_welcome)
        });
        let shown = metrics.iter().filter(|metric| is_shown(metric)).map(|metric| &metric.column).collect();
        Taken { needs, metrics, shown }
    }
}

/// Whether the evidence `known` is a number of the metric `key`.
fn is_of(known: &str, key: &str) -> bool {
    known.strip_suffix("_base").unwrap_or(known) == key
}

/// A column of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedColumn {
    /// Its key.
    pub key: &'static str,
    /// What asks for it; nothing for the command's own.
    pub by: Vec<String>,
}

/// What is taken of a table of metrics.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    /// The most that one of them needs.
    pub(super) needs: Needs,
    /// The metrics that are measured.
    pub(super) metrics: Metrics,
    /// The columns that the report has.
    pub(super) shown: Vec<&'static Column>,
}

impl Taken {
    /// The parts of the work, each with the columns that it is for.
    pub(super) fn parts(&self, asked: &Asked, precision: Precision) -> Vec<PlanPart> {
        let part = |needs: Needs| {
            let is_for =
                |metric: &&&'static Metric| (metric.needs == Needs::Entries) == (needs == Needs::Entries);
            let columns = self.metrics.iter().filter(is_for).map(|metric| &metric.column);
            let is_asked =
                |column: &&'static Column| self.shown.contains(column) || asked.is_evidence(column.key);
            PlanPart {
                what: needs.name(),
                columns: asked.told(columns.filter(is_asked)),
                flops: Box::new(move |layer: &Layer| spectrum::cost(layer, precision, needs).flops),
            }
        };
        let more = (self.needs > Needs::Entries).then(|| part(self.needs));
        std::iter::once(part(Needs::Entries)).chain(more).collect()
    }
}

/// A part of the work on a matrix.
pub(super) struct PlanPart {
    /// What is found.
    pub(super) what: &'static str,
    /// The columns that it is for.
    pub(super) columns: Vec<AskedColumn>,
    /// How much it is.
    pub(super) flops: Box<dyn Fn(&Layer) -> f64 + Send + Sync>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::METRICS;

    fn column(key: &str) -> &'static Column {
        METRICS.iter().map(|metric| &metric.column).find(|column| column.key == key).expect("a column")
    }

    fn asked(keys: &[&str], findings: Search) -> Asked {
        let columns = keys.iter().map(|key| (column(key), "--columns".to_owned())).collect();
        Asked { own: OwnColumns::LeftOut, columns, evidence: vec![], findings }
    }

    #[track_caller]
    fn check(keys: &[&str], needs: Needs) {
        let taken = asked(keys, Search::Off).of_table(METRICS, (Needs::Entries, Needs::Values));
        assert_eq!(taken.needs, needs, "{keys:?}");
        let measured: Vec<&str> = taken.metrics.iter().map(|metric| metric.column.key).collect();
        assert_eq!(measured, keys);
    }

    #[test]
    fn no_more_is_needed_than_columns_take() {
        check(&["zero_rows"], Needs::Entries);
        check(&["frobenius_norm"], Needs::Entries);
        check(&["spectral_norm", "frobenius_norm", "stable_rank"], Needs::Largest);
        check(&["spectral_norm", "alpha"], Needs::Values);
    }

    #[test]
    fn findings_take_what_is_there_and_no_more() {
        let measured = |asked: &Asked| -> Vec<&str> {
            let taken = asked.of_table(METRICS, (Needs::Entries, Needs::Values));
            assert_eq!(taken.shown, [column("stable_rank")]);
            taken.metrics.iter().map(|metric| metric.column.key).collect()
        };
        let mut asked = asked(&["stable_rank"], Search::On);
        let keys = measured(&asked);
        assert!(keys.contains(&"kurtosis") && keys.contains(&"spectral_norm"), "{keys:?}");
        assert!(!keys.contains(&"effective_rank"), "{keys:?}");
        asked.evidence = vec![("effective_rank", "rule".to_owned())];
        let keys = measured(&asked);
        assert!(keys.contains(&"effective_rank") && keys.contains(&"mp_distance"), "{keys:?}");
        assert!(!keys.contains(&"alpha"), "{keys:?}");
    }
}
