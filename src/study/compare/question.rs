//! Which columns a comparison has, and what is measured for those that are wanted.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::side::ComparedSide;
use super::{Depth, Draft, Question};
use crate::analysis::compare::{
    BYTE_COLUMNS, Drift, Drifts, NOTHING, PairNeeds, Preserve, Settings, Vectors, Vocabulary, drifts_of,
};
use crate::metric::{Metric, Metrics};
use crate::report::{Aspect, Column, ColumnKey};
use crate::solver::Needs;
use crate::study::further::further_of;
use crate::study::{Asked, OwnColumns};

impl Draft {
    /// Every column that there may be, with these vectors at most.
    pub fn columns(&self, vectors: Vectors) -> Vec<&'static Column> {
        let drifts = leaked(self.drifts(vectors));
        Vocabulary::new(&[], &self.method.columns, drifts, &self.names()).columns()
    }

    /// Whether all sides have weights.
    pub fn has_weights(&self) -> bool {
        self.sides.all().all(|side| side.weights().is_some())
    }

    /// Which report lacks the metric that a column `key` would be of, in words.
    pub fn lacking(&self, key: &str) -> Option<String> {
        if further_of(key) && self.sides.all().any(|side| side.weights().is_some()) {
            let what = "eigenvalues and robust values are compared between two reports: write one of the other side, too, with `svdkit spectrum … -o FILE.json`";
            return Some(format!("no column is called `{key}` here; {what}"));
        }
        let known = self.method.metrics.iter().map(|metric| &metric.column);
        let metric = ColumnKey::parse(key, known)?.metric;
        let lacks = |side: &&ComparedSide| {
            side.saved().is_some_and(|saved| !saved.columns.iter().any(|column| column.key == metric.key))
        };
        let (side, key) = (self.sides.all().find(lacks)?, metric.key);
        let path = &side.origin.path;
        Some(format!(
            "{path} has no `{key}`: it was written without that column; write it again with `--columns …,{key}`, or without `--columns`"
        ))
    }

    fn names(&self) -> Vec<&str> {
        self.sides.tuned.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The columns of a pair that there may be.
    fn drifts(&self, vectors: Vectors) -> Vec<&'static Drift> {
        match self.depth {
            _ if !self.has_weights() => vec![],
            Depth::Bytes => BYTE_COLUMNS.iter().collect(),
            Depth::Changes | Depth::Everything => drifts_of(vectors).collect(),
        }
    }

    /// The request for the columns that are `asked` for, by all of those that there may be.
    pub fn asked(self, asked: Asked) -> Question {
        let all = self.columns(Vectors::All);
        let own = self.columns(self.vectors);
        let wanted: Vec<&'static Column> = asked.shown(&all, &own);
        let is_evidence = |column: &&'static Column| {
            let key = column.means();
            key.aspect == Aspect::Value && asked.is_evidence(key.metric.key)
        };
        let evidence = all.iter().copied().filter(is_evidence);
        let wanted: Vec<&'static Column> = wanted.into_iter().chain(evidence).collect();
        let mut needs = wanted.iter().map(|column| self.needs_of(column)).fold(NOTHING, PairNeeds::and);
        if let Some(least) = self.least(needs) {
            (needs.base, needs.tuned) = (least, least);
        }
        // All of a kind come together.
        let vectors =
            if asked.own == OwnColumns::Wanted { needs.vectors.max(self.vectors) } else { Vectors::None };
        let own = self.columns(vectors);
        let shown = asked.shown(&all, &own);
        let keys: BTreeSet<&str> =
            wanted.iter().chain(&shown).map(|column| column.means().metric.key).collect();
        let is_welcome = |key: &str| keys.contains(key) || asked.is_welcome(key);
        let drifts = self.drifts(Vectors::All).into_iter();
        let drifts: Vec<&'static Drift> =
            drifts.filter(|drift| drift.needs.is_within(needs) && is_welcome(drift.column.key)).collect();
        let most = needs.base.max(needs.tuned);
        let is_taken = |metric: &&Metric| metric.needs <= most && is_welcome(metric.column.key);
        let is_known = |metric: &&Metric| self.method.columns.contains(&&metric.column);
        let metrics: Metrics =
            self.method.metrics.iter().filter(|m| is_known(m) && is_taken(m)).collect::<Vec<_>>().leak();
        self.question(asked, (metrics, leaked(drifts)), needs, shown)
    }

    fn question(
        self,
        asked: Asked,
        (metrics, drifts): (Metrics, Drifts),
        needs: PairNeeds,
        shown: Vec<&'static Column>,
    ) -> Question {
        let is_read = self.sides.all().any(|side| side.weights().is_some());
        // What only a report has is not measured.
        let is_known = |column: &&'static Column| {
            let of_table = self.method.metrics.iter().any(|metric| metric.column == **column);
            !is_read || !of_table || metrics.iter().any(|metric| metric.column == **column)
        };
        let columns: Vec<&'static Column> = self.method.columns.iter().copied().filter(is_known).collect();
        let vocabulary = Arc::new(Vocabulary::new(metrics, &columns, drifts, &self.names()));
        let has_weights = self.has_weights();
        let Self { sides, depth, method, preserve, top, .. } = self;
        // What bytes tell is read in the first step.
        let depth = if is_read && needs == NOTHING { Depth::Bytes } else { depth };
        let settings = Settings { metrics, drifts, precision: method.precision, needs, preserve, top };
        let mut words = method.settings(needs, depth);
        if depth != Depth::Bytes && has_weights {
            words.extend(pair_settings(&settings));
        }
        Question { columns: vocabulary.columns(), sides, depth, settings, words, vocabulary, shown, asked }
    }

    /// What a column needs.
    fn needs_of(&self, column: &'static Column) -> PairNeeds {
        let key = column.means();
        if let Some(drift) = self.drifts(Vectors::All).into_iter().find(|drift| drift.column == *key.metric) {
            return drift.needs;
        }
        let metric = self.method.metrics.iter().find(|metric| metric.column == *key.metric);
        metric.map_or(NOTHING, |metric| PairNeeds::of_metric(metric.needs, key.aspect))
    }

    /// Where a side is a report: what its numbers were computed from, if any that are wanted are decomposed.
    fn least(&self, needs: PairNeeds) -> Option<Needs> {
        let decomposes = needs.base.max(needs.tuned) > Needs::Entries;
        self.method.of_report.filter(|_| decomposes)
    }
}

/// They live as long as the program, like those of a table.
fn leaked(drifts: Vec<&'static Drift>) -> Drifts {
    drifts.leak()
}

/// The settings that only a comparison of weights has.
fn pair_settings(settings: &Settings) -> Vec<(&'static str, String)> {
    let preserve = match settings.preserve {
        Preserve::Rank(rank) => rank.to_string(),
        Preserve::Energy(share) => format!("energy:{share}"),
    };
    match settings.needs.vectors {
        Vectors::None => vec![("vectors", "none".to_owned())],
        Vectors::Leading => vec![("vectors", "leading".to_owned()), ("k", settings.top.to_string())],
        Vectors::All => {
            vec![("vectors", "all".to_owned()), ("k", settings.top.to_string()), ("preserve", preserve)]
        }
    }
}
