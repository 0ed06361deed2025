//! The sides of a comparison: checkpoints, or saved reports that must have been made the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;

use crate::analysis::columns;
use crate::analysis::compare::{self, Weight};
use crate::checkpoint::{self, Catalogue, Holds, Opening, Pairs, Saved, SavedRow, is_recognized, is_saved};
use crate::cli::locate;
use crate::cli::model::Model;
use crate::cli::options::PrecisionName;
use crate::cli::spectrum::{Names, bytes_settings, settings};
use crate::error::{Error, printable};
use crate::layer::{Filter, Layer, Selection};
use crate::metric::{HYGIENE, Metric};
use crate::report::{Column, Measurements, Skipped, Source, SourceFile};

/// One side.
pub(super) struct Side {
    /// Where it came from.
    pub(super) origin: Source,
    /// All its matrices, in natural name order.
    pub(super) layers: Vec<Arc<Layer>>,
    /// Its tensors that are no matrices.
    pub(super) skipped: Vec<Skipped>,
    /// The same without what belongs to an adapter and to no model.
    pub(super) others: Vec<Skipped>,
    /// What can be read of it.
    pub(super) content: Content,
}

/// What can be read of a side.
#[expect(clippy::large_enum_variant, reason = "there is one for each side of a run")]
pub(super) enum Content {
    /// Weights.
    Weights(Arc<Catalogue>),
    /// Weights that an adapter makes of a base.
    Adapter(Arc<Pairs>, Arc<Catalogue>),
    /// The report of an earlier run, with the positions of its rows by name, and the rows that are copies or have some.
    Saved(Saved, BTreeMap<String, usize>, BTreeSet<String>),
}

impl Side {
    /// Opens `path`, whichever it is; an adapter is added to the base of `opening`.
    pub(super) fn open(path: &Path, opening: Opening<'_>) -> Result<Self, Error> {
        let place = locate::locate(path)?;
        if let Some(here) = place.location.local().filter(|here| is_saved(here)) {
            return Self::open_saved(path, here, place.commit.clone());
        }
        let Model { source, origin, .. } = Model::open_at(&place, path, &opening)
            .map_err(|error| or_report(place.location.path(), error))?;
        if source.holds() == Holds::Weights {
            let Selection { layers, skipped, .. } = source.select(&Filter::default());
            return Ok(Self {
                origin,
                layers,
                others: skipped.clone(),
                skipped,
                content: Content::Weights(source),
            });
        }
        let Some(base) = opening.base else {
            return Err(Error::malformed(
                path,
                "is an adapter; name the checkpoint that it changes with `--base`",
            ));
        };
        let pairs = Pairs::new(Arc::clone(&base), source);
        if pairs.paired().is_empty() {
            return Err(Error::malformed(
                path,
                "is an adapter of another model: none of its updates fits the base",
            ));
        }
        let merged = pairs.merged();
        let Selection { layers, skipped, .. } = merged.select(&Filter::default());
        let others = base.select(&Filter::default()).skipped;
        let content = Content::Adapter(Arc::new(pairs), Arc::new(merged));
        Ok(Self { origin, layers, skipped, others, content })
    }

    /// Shows fused tensors as they are stored.
    pub(super) fn fuse(&mut self) {
        let Content::Weights(source) = &self.content else { return };
        let Some(source) = source.fused().cloned() else { return };
        let Selection { layers, skipped, .. } = source.select(&Filter::default());
        (self.layers, self.others, self.skipped) = (layers, skipped.clone(), skipped);
        self.content = Content::Weights(source);
    }

    fn open_saved(typed: &Path, path: &Path, commit: Option<String>) -> Result<Self, Error> {
        let saved = Saved::open(path, &columns::of_report)?;
        let positions = saved.rows.iter().enumerate().map(|(i, row)| (row.layer.name.clone(), i)).collect();
        let ties = saved.rows.iter().filter_map(|row| Some([row.layer.name.clone(), row.tied_to.clone()?]));
        let copies = ties.flatten().collect();
        let bytes = fs::metadata(path).map(|data| data.len()).unwrap_or_default();
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let files = vec![SourceFile { name, bytes }];
        Ok(Self {
            origin: Source {
                path: typed.display().to_string(),
                format: "svdkit report".into(),
                commit,
                files,
            },
            layers: saved.layers().into_iter().map(Arc::new).collect(),
            skipped: saved.skipped.clone(),
            others: saved.skipped.clone(),
            content: Content::Saved(saved, positions, copies),
        })
    }

    /// The report, if it is one.
    pub(super) fn saved(&self) -> Option<&Saved> {
        match &self.content {
            Content::Weights(_) | Content::Adapter(..) => None,
            Content::Saved(saved, ..) => Some(saved),
        }
    }

    /// The row of a report that is called `name`.
    pub(super) fn row(&self, name: &str) -> Option<&SavedRow> {
        match &self.content {
            Content::Weights(_) | Content::Adapter(..) => None,
            Content::Saved(saved, positions, _) => saved.rows.get(*positions.get(name)?),
        }
    }

    /// The numbers of that row in `columns`.
    pub(super) fn numbers(&self, name: &str, columns: &[&'static Column]) -> Measurements {
        let values = self.row(name).map(|row| &row.values);
        let value = |column: &&'static Column| Some((*column, values?.of(column.means())?));
        Measurements(columns.iter().filter_map(value).collect())
    }

    /// What a reader should know of how its files were chosen.
    pub(super) fn notes(&self) -> Vec<String> {
        self.weights().map_or_else(Vec::new, |source| source.notes().to_vec())
    }

    /// For each of `layers` the first earlier one that it is a copy of.
    pub(super) fn tied(&self, layers: &[Arc<Layer>]) -> Vec<Option<usize>> {
        if let Some(source) = self.weights() {
            return checkpoint::tied(source.as_ref(), layers);
        }
        let original = |layer: &Layer| {
            let own = self.row(&layer.name).and_then(|row| row.tied_to.clone());
            own.unwrap_or_else(|| layer.name.clone())
        };
        let mut first: BTreeMap<String, usize> = BTreeMap::new();
        let found = layers.iter().enumerate().map(|(i, layer)| *first.entry(original(layer)).or_insert(i));
        found.enumerate().map(|(i, first)| (first != i).then_some(first)).collect()
    }

    /// Whether a report calls a matrix a copy of another, or another a copy of it.
    pub(super) fn has_copies(&self, layer: &Layer) -> bool {
        matches!(&self.content, Content::Saved(_, _, copies) if copies.contains(&layer.name))
    }

    /// The error about what could not be read or decomposed when the report was written.
    pub(super) fn failed(&self, failure: &str) -> Error {
        let what = format!("could not be measured when the report was written: {}", printable(failure));
        Error::malformed(Path::new(&self.origin.path), what)
    }

    /// The weights, if it has them.
    pub(super) fn weights(&self) -> Option<&Arc<Catalogue>> {
        match &self.content {
            Content::Weights(source) | Content::Adapter(_, source) => Some(source),
            Content::Saved(..) => None,
        }
    }
}

/// `error`, which says that `path` is no checkpoint, for a command that takes reports as well.
fn or_report(path: &Path, error: Error) -> Error {
    match error {
        Error::Malformed { path: of, reason } if path.is_file() && !is_recognized(path) => {
            let reason =
                format!("{reason}; nor is it a report, which `svdkit spectrum MODEL -o FILE.json` saves");
            Error::Malformed { path: of, reason }
        }
        other => other,
    }
}

/// `NAME=PATH`, or a path whose last part is its name; characters that rules use are replaced.
pub(super) fn name_and_path(typed: &Path) -> (String, PathBuf) {
    let text = typed.to_string_lossy();
    let (name, path) = match text.split_once('=') {
        Some((name, path)) if !typed.exists() && !name.is_empty() && !name.contains("://") => {
            (name.to_owned(), PathBuf::from(path))
        }
        _ => {
            let name = typed.file_stem().filter(|_| typed.is_file()).or_else(|| typed.file_name());
            (
                name.map_or_else(|| "tuned".to_owned(), |name| name.to_string_lossy().into_owned()),
                typed.into(),
            )
        }
    };
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    (name.chars().map(plain).collect(), path)
}

/// How both sides are measured.
pub(super) struct Method {
    /// The metrics that weights are measured by.
    pub(super) metrics: &'static [Metric],
    /// How exact.
    pub(super) precision: PrecisionName,
    /// As the report says it.
    pub(super) settings: Vec<(&'static str, String)>,
    /// What both sides have numbers for.
    pub(super) columns: Vec<&'static Column>,
}

impl Method {
    /// What `sides` have in common, or what they were told to be measured with.
    ///
    /// # Errors
    /// When two reports were made differently, or one differently from what was asked for.
    pub(super) fn of(
        sides: &[&Side],
        names: Option<Names>,
        precision: Option<PrecisionName>,
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
        let names = first.1.settings.get("names").and_then(|word| Names::from_str(word, true).ok());
        let method = Self { settings, ..Self::chosen(names, None) };
        Ok(method.with_columns(&reports))
    }

    /// What `sides` can say without a decomposition: how reports were measured does not matter.
    pub(super) fn of_bytes(sides: &[&Side]) -> Self {
        let reports = || sides.iter().filter_map(|side| side.saved());
        let has = |column: &&'static Column| reports().all(|saved| saved.columns.contains(column));
        let columns = HYGIENE.iter().map(|metric| &metric.column).filter(|column| has(column)).collect();
        Self { metrics: HYGIENE, precision: PrecisionName::Fast, settings: bytes_settings(), columns }
    }

    fn chosen(names: Option<Names>, precision: Option<PrecisionName>) -> Self {
        let (names, precision) = (names.unwrap_or(Names::Svdkit), precision.unwrap_or(PrecisionName::Fast));
        let metrics = names.metrics();
        let columns = metrics.iter().map(|metric| &metric.column).collect();
        Self { metrics, precision, settings: settings(names, precision), columns }
    }

    /// The method of a report that weights are measured by.
    fn of_report(
        (path, saved): (&str, &Saved),
        names: Option<Names>,
        precision: Option<PrecisionName>,
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
        let made = (Names::from_str(word("names"), true), PrecisionName::from_str(word("precision"), true));
        let (Ok(its_names), Ok(its_precision)) = made else {
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

/// A side of one pair, for the analysis.
pub(super) fn half<'a>(side: &'a Side, layer: &'a Layer, saved: &'a Measurements) -> compare::Side<'a> {
    match side.weights() {
        Some(source) => compare::Side::Weight(Weight { source, layer }),
        None => compare::Side::Saved(saved),
    }
}
