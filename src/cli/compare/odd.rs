//! The tensors of a comparison that are no matrices: what became of them, and whether they are finite.

use std::collections::BTreeMap;

use crate::analysis::compare::{Fate, Retyped, Vocabulary};
use crate::analysis::hygiene;
use crate::checkpoint::MatrixSource;
use crate::error::{Error, printable};
use crate::layer::{Filter, SCALES_OF_A_MATRIX, TensorInfo, bare, natural, place};
use crate::pair;
use crate::report::{Comparison, Row, Skipped, SkippedContent, Standing};

use super::assembly::summary;
use super::side::{Content, Side};
use super::task::{Sides, between};

/// A tensor that is no matrix, on all sides.
#[derive(Debug, Clone)]
pub(super) struct Odd {
    name: String,
    base: Option<Entry>,
    tuned: Vec<Option<Entry>>,
}

/// The tensor of one side, and where it is stored, if it is.
#[derive(Debug, Clone)]
struct Entry {
    tensor: Skipped,
    stored: Option<TensorInfo>,
}

/// What was seen of one.
#[derive(Debug, Clone)]
pub(super) struct SeenOdd {
    base: Option<SkippedContent>,
    tuned: Vec<(Fate, Option<SkippedContent>)>,
}

impl Sides {
    /// The tensors that are no matrices and that `filter` keeps, in natural name order.
    pub(super) fn odd(&self, filter: &Filter) -> Vec<Odd> {
        let mut all: BTreeMap<String, Odd> = BTreeMap::new();
        let empty =
            |name: &str| Odd { name: name.to_owned(), base: None, tuned: vec![None; self.tuned.len()] };
        for (name, entry) in entries(&self.base) {
            all.entry(name.clone()).or_insert_with(|| empty(&name)).base = Some(entry);
        }
        for (i, (_, side)) in self.tuned.iter().enumerate() {
            for (name, entry) in entries(side) {
                all.entry(name.clone()).or_insert_with(|| empty(&name)).tuned[i] = Some(entry);
            }
        }
        let mut odd: Vec<Odd> = all.into_values().filter(|odd| filter.keeps(bare(&odd.name))).collect();
        odd.sort_by(|a, b| natural(&a.name, &b.name));
        odd
    }
}

impl Odd {
    /// How many bytes are read to see it.
    pub(super) fn bytes(&self) -> u64 {
        let entries = self.base.iter().chain(self.tuned.iter().flatten());
        entries.filter_map(|entry| entry.stored.as_ref()).map(hygiene::bytes).sum()
    }

    /// Looks at its bytes on all sides.
    ///
    /// # Errors
    /// When a side cannot be read.
    pub(super) fn see(&self, sides: &Sides) -> Result<SeenOdd, Error> {
        let header = |entry: &Entry| (entry.tensor.shape.clone(), entry.tensor.dtype.clone());
        let base = self.base.as_ref().map(|entry| read(&sides.base, entry)).transpose()?.flatten();
        let tuned = sides.tuned.iter().zip(&self.tuned).map(|((_, side), entry)| {
            let content = entry.as_ref().map(|entry| read(side, entry)).transpose()?.flatten();
            let (standing, retyped) = between(self.base.as_ref().map(header), entry.as_ref().map(header));
            let differs =
                matches!((&base, &content), (Some(base), Some(tuned)) if base.blake3 != tuned.blake3);
            let standing = match standing {
                Some(Standing::Unchanged) if differs => Some(Standing::Measured),
                standing => standing,
            };
            let nonfinite = content.as_ref().map(|content| content.nonfinite_count);
            Ok((Fate { standing, retyped, nonfinite }, content))
        });
        Ok(SeenOdd { tuned: tuned.collect::<Result<_, Error>>()?, base })
    }

    /// Its row: none where there is nothing to say of it.
    pub(super) fn row(&self, seen: &Result<SeenOdd, String>, vocabulary: &Vocabulary) -> Option<Row> {
        let Entry { tensor, .. } = self.base.as_ref().or(self.tuned.iter().flatten().next())?;
        let name = printable(bare(&tensor.tensor));
        let (block, role) = place(&name);
        let row = Row {
            block,
            role,
            tensor: tensor.tensor.clone(),
            // A saved report may claim any shape.
            shape: [tensor.shape.iter().fold(1, |n: u64, side| n.saturating_mul(*side)), 1],
            stored_shape: Some(tensor.shape.clone()),
            dtype: tensor.dtype.clone(),
            name,
            ..Row::default()
        };
        let comparison =
            |status, base_blake3| Comparison { status, base_shape: None, base_dtype: None, base_blake3 };
        let seen = match seen {
            Ok(seen) => seen,
            Err(failure) => {
                let comparison = Some(comparison(Standing::Failed, None));
                return Some(Row { comparison, failed: Some(failure.clone()), ..row });
            }
        };
        let same = |fate: &Fate| {
            fate.standing == Some(Standing::Unchanged)
                && fate.retyped == Retyped::No
                && fate.nonfinite.unwrap_or(0) == 0
        };
        if seen.tuned.iter().all(|(fate, _)| same(fate)) {
            return None;
        }
        let fates: Vec<Fate> = seen.tuned.iter().map(|(fate, _)| *fate).collect();
        let hash = |content: &Option<SkippedContent>| content.as_ref().map(|content| content.blake3.clone());
        Some(Row {
            blake3: match seen.tuned.as_slice() {
                [(_, content)] => hash(content),
                _ => None,
            },
            comparison: Some(comparison(
                summary(&fates.iter().map(|fate| fate.standing).collect::<Vec<_>>()),
                hash(&seen.base),
            )),
            values: vocabulary.fates(seen.base.as_ref().map(|content| content.nonfinite_count), &fates),
            ..row
        })
    }
}

/// The tensors of a side that are no matrices, by the name that pairs them.
fn entries(side: &Side) -> impl Iterator<Item = (String, Entry)> {
    let stored = source(side).map_or(&[][..], MatrixSource::tensors);
    let by_name: BTreeMap<&str, &TensorInfo> =
        stored.iter().map(|stored| (stored.name.as_str(), stored)).collect();
    // Scales are part of the matrices that are compared.
    let others = side.others.iter().filter(|tensor| tensor.reason != SCALES_OF_A_MATRIX);
    others.map(move |tensor| {
        let stored = by_name.get(tensor.tensor.as_str()).map(|stored| (*stored).clone());
        (pair::canonical(&tensor.tensor), Entry { tensor: tensor.clone(), stored })
    })
}

/// What the bytes of a tensor say: as a report has it, or as they are read.
fn read(side: &Side, entry: &Entry) -> Result<Option<SkippedContent>, Error> {
    match (source(side), &entry.stored) {
        (Some(source), Some(stored)) => hygiene::content(source, stored),
        _ => Ok(entry.tensor.content.clone()),
    }
}

/// The checkpoint that stores the tensors which are no matrices; none of a report.
fn source(side: &Side) -> Option<&dyn MatrixSource> {
    match &side.content {
        Content::Weights(source) => Some(source.as_ref()),
        // An adapter changes no tensor that is no matrix.
        Content::Adapter(pairs, _) => Some(pairs.base().as_ref()),
        Content::Saved(..) => None,
    }
}
