//! How the sides of a comparison are measured: reports must have been made the same way, and weights are measured so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::side::ComparedSide;
use crate::checkpoint::Saved;
use crate::error::Error;
use crate::metric::{HYGIENE, Metric};
use crate::report::Column;
use crate::solver::Precision;
use crate::study::{Measures, Names, precision_of};

/// How both sides are measured.
pub(super) struct Method {
    /// The metrics that weights are measured by.
    pub(super) metrics: &'static [Metric],
    /// How exact.
    pub(super) precision: Precision,
    /// As the report says it.
    pub(super) settings: Vec<(&'static str, String)>,
    /// The metrics that both sides have.
    pub(super) columns: Vec<&'static Column>,
}

impl Method {
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
            let method = Self::of_report(*first, names, precision)?;
            return Ok(method.with_columns(&reports));
        }
        if names.is_some() || precision.is_some() {
            let what = "`--names` and `--precision` change nothing of two reports; leave them out";
            return Err(Error::Usage(what.to_owned()));
        }
        let settings = first.1.settings.iter();
        let settings = settings.map(|(key, value)| (&*key.clone().leak(), value.clone())).collect();
        let names = first.1.settings.get("names").and_then(|word| Names::of_word(word));
        let method = Self { settings, ..Self::chosen(names, None) };
        Ok(method.with_columns(&reports))
    }

    /// The columns of `sides` without a decomposition: the settings of reports don't matter.
    pub(super) fn of_bytes(sides: &[&ComparedSide]) -> Self {
        let reports = || sides.iter().filter_map(|side| side.saved());
        let has = |column: &&'static Column| reports().all(|saved| saved.columns.contains(column));
        let columns = HYGIENE.iter().map(|metric| &metric.column).filter(|column| has(column)).collect();
        Self { metrics: HYGIENE, precision: Precision::Fast, settings: Measures::Bytes.settings(), columns }
    }

    fn chosen(names: Option<Names>, precision: Option<Precision>) -> Self {
        let (names, precision) = (names.unwrap_or(Names::Svdkit), precision.unwrap_or(Precision::Fast));
        let metrics = names.metrics();
        let columns = metrics.iter().map(|metric| &metric.column).collect();
        Self { metrics, precision, settings: Measures::Values(names, precision).settings(), columns }
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
        let method = Self::chosen(names.or(Some(its_names)), precision.or(Some(its_precision)));
        let ours = method.settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        match differences(&saved.settings, &ours).as_slice() {
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

/// Two reports can be compared if the same command made them in the same way.
fn same_method(first: (&str, &Saved), other: (&str, &Saved)) -> Result<(), Error> {
    let refuse = |what: String| {
        Err(Error::Usage(format!("{} and {} were made differently: {what}", first.0, other.0)))
    };
    if first.1.command != other.1.command {
        return refuse(format!("by `{}` and by `{}`", first.1.command, other.1.command));
    }
    match differences(&first.1.settings, &other.1.settings).as_slice() {
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
