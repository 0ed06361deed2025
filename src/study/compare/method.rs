//! How the sides of a comparison are measured: reports must have been made the same way, and weights are measured so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Depth;
use super::side::ComparedSide;
use crate::analysis::compare::PairNeeds;
use crate::checkpoint::Saved;
use crate::error::Error;
use crate::metric::{METRICS, Metric};
use crate::report::Column;
use crate::solver::{Needs, Precision};
use crate::study::further::{FURTHER, is_further};
use crate::study::spectrum::LARGEST;
use crate::study::{Measures, Names, precision_of};

/// How both sides are measured.
pub(super) struct Method {
    /// The metrics that weights are measured by.
    pub(super) metrics: &'static [Metric],
    /// How exact.
    pub(super) precision: Precision,
    /// What decides the numbers: of reports as they say it.
    decided: Decided,
    /// What the numbers of a report were computed from, where weights are held against one.
    pub(super) of_report: Option<Needs>,
    /// The metrics that both sides have.
    pub(super) columns: Vec<&'static Column>,
}

/// What decides the numbers.
enum Decided {
    /// The options.
    Measures(Measures),
    /// The settings that reports share.
    Saved(Vec<(&'static str, String)>),
}

impl Method {
    /// The settings of a report of numbers that `needs` so much.
    pub(super) fn settings(&self, needs: PairNeeds, depth: Depth) -> Vec<(&'static str, String)> {
        let measures = match &self.decided {
            Decided::Saved(settings) => return settings.clone(),
            Decided::Measures(_) if depth == Depth::Bytes => return Measures::Bytes.settings(Needs::Entries),
            Decided::Measures(measures) => *measures,
        };
        let PairNeeds { base, tuned, update, .. } = needs;
        if let Some(same) = self.of_report {
            return measures.settings(same);
        }
        // Without a word on it, all values of both sides and of the update were found.
        let is_all = [Some(base), Some(tuned), update].iter().all(|needs| *needs == Some(Needs::Values));
        let mut settings = measures.settings(Needs::Values);
        if !is_all {
            let update = update.map_or("none", Needs::name);
            let found = format!("base {}, tuned {}, update {update}", base.name(), tuned.name());
            settings.push(("svd", found));
        }
        settings
    }

    /// The settings that `sides` share, or that were given.
    ///
    /// # Errors
    /// If two reports have different settings, or one differs from the options.
    pub(super) fn shared(
        sides: &[&ComparedSide],
        names: Option<Names>,
        precision: Option<Precision>,
    ) -> Result<Self, Error> {
        let reports: Vec<(&str, &Saved)> =
            sides.iter().filter_map(|side| Some((side.origin.path.as_str(), side.saved()?))).collect();
        let Some((first, rest)) = reports.split_first() else {
            return Ok(Self::chosen(names, precision));
        };
        for other in rest {
            same_method(*first, *other)?;
        }
        if reports.len() < sides.len() {
            let mut method = Self::of_report(*first, names, precision)?.with_columns(&reports);
            method.columns.retain(|column| !is_further(column));
            return Ok(method);
        }
        if names.is_some() || precision.is_some() {
            let what = "`--names` and `--precision` change nothing of two reports; leave them out";
            return Err(Error::Usage(what.to_owned()));
        }
        let settings = first.1.settings.iter();
        let settings = settings.map(|(key, value)| (&*key.clone().leak(), value.clone())).collect();
        let names = first.1.settings.get("names").and_then(|word| Names::of_word(word));
        let method = Self { decided: Decided::Saved(settings), ..Self::chosen(names, None) };
        Ok(method.with_columns(&reports))
    }

    /// The columns of `sides` without a decomposition: the settings of reports don't matter.
    pub(super) fn of_bytes(sides: &[&ComparedSide]) -> Self {
        let reports = || sides.iter().filter_map(|side| side.saved());
        let has = |column: &&'static Column| reports().all(|saved| saved.columns.contains(column));
        let of_entries = METRICS.iter().filter(|metric| metric.needs == Needs::Entries);
        let columns = of_entries.map(|metric| &metric.column).filter(|column| has(column)).collect();
        let decided = Decided::Measures(Measures::Bytes);
        Self { metrics: METRICS, precision: Precision::Fast, decided, of_report: None, columns }
    }

    fn chosen(names: Option<Names>, precision: Option<Precision>) -> Self {
        let (names, precision) = (names.unwrap_or(Names::Svdkit), precision.unwrap_or(Precision::Fast));
        let metrics = names.metrics();
        let columns = metrics.iter().map(|metric| &metric.column).collect();
        let decided = Decided::Measures(Measures::Values(names, precision));
        Self { metrics, precision, decided, of_report: None, columns }
    }

    /// The method of a report that weights are measured by.
    fn of_report(
        (path, saved): (&str, &Saved),
        names: Option<Names>,
        precision: Option<Precision>,
    ) -> Result<Self, Error> {
        let refuse = |what: String| Err(Error::malformed(Path::new(path), what));
        if saved.command != "spectrum" {
            return refuse(format!(
                "is a report of `{0}`, which weights are not compared with; write one of the other side with `svdkit {0} … -o FILE.json`",
                saved.command
            ));
        }
        let word = |key: &str| saved.settings.get(key).map_or("", String::as_str);
        if word("svd") == "none" {
            let what = "was made with `--no-svd`, so it has no numbers to compare with; give `--no-svd` here, too, or write it again without";
            return refuse(what.to_owned());
        }
        let made = (Names::of_word(word("names")), precision_of(word("precision")));
        let (Some(its_names), Some(its_precision)) = made else {
            return refuse("does not say how it was measured; write it again".to_owned());
        };
        let of_report = if word("svd") == LARGEST { Needs::Largest } else { Needs::Values };
        let (names, precision) = (names.unwrap_or(its_names), precision.unwrap_or(its_precision));
        let method = Self { of_report: Some(of_report), ..Self::chosen(Some(names), Some(precision)) };
        let ours = Measures::Values(names, precision).settings(of_report);
        let ours = ours.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        // What was measured beside the metrics has no counterpart in weights, and decides no metric.
        let theirs = saved.settings.iter().filter(|(key, _)| !FURTHER.contains(&key.as_str()));
        let theirs = theirs.map(|(key, value)| (key.clone(), value.clone())).collect();
        match differences(&theirs, &ours).as_slice() {
            [] => Ok(method),
            found => refuse(format!(
                "was made with other settings: {}; write it again, or leave the option out",
                found.join(", ")
            )),
        }
    }

    /// With the columns that all of `reports` have, too.
    fn with_columns(mut self, reports: &[(&str, &Saved)]) -> Self {
        let shared =
            |column: &&&'static Column| reports.iter().all(|(_, saved)| saved.columns.contains(column));
        let Some((_, first)) = reports.first() else { return self };
        self.columns = first.columns.iter().filter(shared).copied().collect();
        self
    }
}

/// Settings of `scaling` that say what was measured, not how.
const OF_FAMILY: [&str; 2] = ["widths", "sqrt_lr_over_wd"];

/// Two reports can be compared if the same command made them in the same way.
fn same_method(first: (&str, &Saved), other: (&str, &Saved)) -> Result<(), Error> {
    let refuse = |what: String| {
        Err(Error::Usage(format!("{} and {} were made differently: {what}", first.0, other.0)))
    };
    if first.1.command != other.1.command {
        return refuse(format!("by `{}` and by `{}`", first.1.command, other.1.command));
    }
    // Widths and rates are of the models of a family, which may be the difference in question.
    let decides = |saved: &Saved| -> BTreeMap<String, String> {
        let settings = saved.settings.iter().filter(|(key, _)| !OF_FAMILY.contains(&key.as_str()));
        settings.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    match differences(&decides(first.1), &decides(other.1)).as_slice() {
        [] => Ok(()),
        found => refuse(found.join(", ")),
    }
}

/// Every setting that is not the same on both sides, in words.
fn differences(first: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<String> {
    let keys: BTreeSet<&String> = first.keys().chain(other.keys()).collect();
    let word = |value: Option<&String>| value.map_or("not set".to_owned(), |value| format!("`{value}`"));
    let differs = keys.into_iter().filter(|key| first.get(*key) != other.get(*key));
    differs.map(|key| format!("`{key}` is {} and {}", word(first.get(key)), word(other.get(key)))).collect()
}
