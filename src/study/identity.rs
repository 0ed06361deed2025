//! What decides the numbers of a study, fact by fact: two machines with the same facts find the same records.
//!
//! Paths, times, threads and memory are none of them. Files go by their lengths, headers and samples of their bytes.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Manifest, Study};
use crate::checkpoint::{Derivations, Tensors};
use crate::error::Error;
use crate::report::{Report, Source};
use crate::store::Location;

/// What the numbers of a study depend on beside what its manifest says.
#[derive(Debug, Default)]
pub struct Basis {
    /// Options that the settings of the report leave out, each with its name.
    pub options: Vec<(&'static str, String)>,
    /// How its matrices are computed from files.
    pub derivations: Derivations,
    /// Saved reports that it takes numbers from.
    pub reports: Vec<PathBuf>,
}

/// Facts that decide the numbers, each with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity(Vec<(String, String)>);

impl Identity {
    /// That of `study`, whose manifest is `manifest`; files are sampled.
    ///
    /// # Errors
    /// When a file has changed or cannot be read, or the study does not tell its basis.
    pub fn new(study: &dyn Study, manifest: &Manifest) -> Result<Self, Error> {
        let Manifest { report, .. } = manifest;
        let missing = || Error::Contract(format!("`{}` has no ledger", report.command));
        let Basis { options, derivations, reports } = study.basis().ok_or_else(missing)?;
        let mut facts = vec![("the command".to_owned(), report.command.to_string())];
        facts.extend(report.settings.iter().map(|(key, value)| (format!("`{key}`"), value.clone())));
        facts.extend(options.into_iter().map(|(key, value)| (key.to_owned(), value)));
        facts.push(("the list of columns".to_owned(), columns(report)));
        facts.extend(sources(report).flat_map(of_source));
        let (derivation, origins) = derivations.finish();
        facts.extend(of_files(&origins)?);
        for path in reports {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            facts.push((format!("the report `{name}`"), of_report(path)?));
        }
        facts.push(("the choice of matrices".to_owned(), matrices(manifest)));
        facts.push(("the choice of other tensors".to_owned(), skipped(report)));
        facts.push(("what matrices are computed from".to_owned(), short(derivation)));
        Ok(Self(facts))
    }

    /// That of facts, each with its name.
    pub fn of_facts(facts: Vec<(String, String)>) -> Self {
        Self(facts)
    }

    /// The first fact that `other` has otherwise, in words: here, and there.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let of = |facts: &[(String, String)], name: &str| {
            facts.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        let names = self.0.iter().chain(&other.0).map(|(name, _)| name);
        names.into_iter().find_map(|name| {
            let (here, there) = (of(&self.0, name), of(&other.0, name));
            let word =
                |value: Option<String>| value.map_or("nothing".to_owned(), |value| format!("`{value}`"));
            (here != there).then(|| format!("{name} is {} in the ledger and {} now", word(there), word(here)))
        })
    }
}

/// The first digits of a digest: enough to tell two of them apart.
fn short(digest: blake3::Hash) -> String {
    digest.to_hex()[..16].to_owned()
}

fn columns(report: &Report) -> String {
    let keys: Vec<&str> = report.columns.iter().map(|column| column.key).collect();
    format!("{} columns, {}", keys.len(), short(blake3::hash(keys.join(" ").as_bytes())))
}

/// The base and the tuned sides, each with what it is called.
fn sources(report: &Report) -> impl Iterator<Item = (String, &Source)> {
    let base = report.base.iter().map(|base| ("the base".to_owned(), base));
    let tuned = report.tuned.iter().map(|tuned| (format!("the fine-tune `{}`", tuned.name), &tuned.source));
    std::iter::once(("the model".to_owned(), &report.model)).chain(base).chain(tuned)
}

fn of_source((side, source): (String, &Source)) -> impl Iterator<Item = (String, String)> {
    let format = (format!("the format of {side}"), source.format.to_string());
    let commit = source.commit.as_ref().map(|commit| (format!("the commit of {side}"), commit.clone()));
    std::iter::once(format).chain(commit)
}

fn of_files(origins: &[Arc<Tensors>]) -> Result<Vec<(String, String)>, Error> {
    let mut facts = vec![];
    for (at, tensors) in origins.iter().enumerate() {
        for file in tensors.contents()? {
            let name = if origins.len() == 1 {
                format!("the file `{}`", file.name)
            } else {
                format!("the file `{}` of checkpoint {}", file.name, at + 1)
            };
            facts.push((name, format!("{} bytes, {}", file.bytes, short(file.digest))));
        }
    }
    Ok(facts)
}

fn of_report(path: PathBuf) -> Result<String, Error> {
    const LONGEST: u64 = 1 << 32;
    let text = Location::disk(path).text("a report", LONGEST)?;
    Ok(format!("{} bytes, {}", text.len(), short(blake3::hash(&text))))
}

fn matrices(manifest: &Manifest) -> String {
    let mut hash = blake3::Hasher::new();
    for row in &manifest.rows {
        hash.update(format!("{} {:?} {};", row.name, row.shape(), row.layer.stored_type()).as_bytes());
    }
    for row in &manifest.report.rows {
        hash.update(format!("{} {:?} {};", row.name, row.shape, row.dtype).as_bytes());
    }
    let count = manifest.rows.len() + manifest.report.rows.len();
    format!("{count} rows, {}", short(hash.finalize()))
}

fn skipped(report: &Report) -> String {
    let mut hash = blake3::Hasher::new();
    for skipped in &report.skipped {
        hash.update(format!("{} {:?} {};", skipped.tensor, skipped.shape, skipped.reason).as_bytes());
    }
    let totals = &report.totals;
    format!("{} skipped, {} filtered out, {}", totals.skipped, totals.filtered, short(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(facts: &[(&str, &str)]) -> Identity {
        Identity::of_facts(
            facts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        )
    }

    #[test]
    fn the_first_fact_that_differs_is_named_with_both_values() {
        let one = identity(&[("the command", "spectrum"), ("`precision`", "fast")]);
        assert_eq!(one.difference(&one.clone()), None);
        let other = identity(&[("the command", "spectrum"), ("`precision`", "exact")]);
        let told = one.difference(&other);
        assert_eq!(told.as_deref(), Some("`precision` is `exact` in the ledger and `fast` now"));
        let more = identity(&[("the command", "spectrum"), ("`precision`", "fast"), ("`xmin`", "ks")]);
        let told = one.difference(&more);
        assert_eq!(told.as_deref(), Some("`xmin` is `ks` in the ledger and nothing now"));
        assert!(more.difference(&one).is_some());
    }
}
