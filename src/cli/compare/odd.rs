//! The tensors of a comparison that are no matrices: what became of them, and whether they are finite.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::analysis::compare::{Bytes, Fate, Retyped, Vocabulary};
use crate::analysis::hygiene;
use crate::checkpoint::Catalogue;
use crate::error::{Error, printable};
use crate::layer::{Filter, Layer, TensorInfo, bare, distinct, natural, place};
use crate::pair;
use crate::report::{Comparison, MissingReason, Row, Skipped, SkippedContent, Standing, Value};

use super::assembly::summary;
use super::side::{Content, Side};
use super::task::{Sides, Task, between};

/// A tensor that is no matrix, on all sides.
#[derive(Debug, Clone)]
pub(super) struct Odd {
    name: String,
    base: Option<Entry>,
    tuned: Vec<Option<Entry>>,
    /// Whether the other side needs no scales for the weight that it scales.
    stored_plainly: Vec<bool>,
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
    base_nonfinite: Value,
    tuned: Vec<(Fate, Option<SkippedContent>)>,
}

impl Sides {
    /// The tensors that are no matrices and that `filter` keeps, in natural name order. Their rows are called as none of
    /// `tasks` is.
    pub(super) fn odd(&self, filter: &Filter, tasks: &[Task]) -> Vec<Odd> {
        let empty = || vec![None; self.tuned.len()];
        let base: Vec<Entry> = entries(&self.base).collect();
        let names = |entries: &[Entry]| -> Vec<String> {
            entries.iter().map(|entry| entry.tensor.tensor.clone()).collect()
        };
        let of_base = names(&base);
        let mut odd: Vec<Odd> =
            base.into_iter().map(|entry| Odd { base: Some(entry), ..Odd::new(empty()) }).collect();
        let mut added: BTreeMap<String, usize> = BTreeMap::new();
        for (side, (_, tuned)) in self.tuned.iter().enumerate() {
            let tuned: Vec<Entry> = entries(tuned).collect();
            let partners = pair::tensors(&of_base, &names(&tuned));
            for (entry, partner) in tuned.into_iter().zip(partners) {
                // Several sides may have added the same.
                let name = pair::canonical(&entry.tensor.tensor);
                let known = || added.get(&name).copied().filter(|at| odd[*at].tuned[side].is_none());
                let at = partner.or_else(known).unwrap_or(odd.len());
                if at == odd.len() {
                    odd.push(Odd::new(empty()));
                    added.insert(name, at);
                }
                odd[at].tuned[side] = Some(entry);
            }
        }
        odd.iter_mut().for_each(|odd| odd.name = odd.tensor().to_owned());
        odd.retain(|odd| filter.keeps(bare(&odd.name)));
        odd.sort_by(|a, b| natural(&a.name, &b.name));
        let called: Vec<(String, String)> =
            odd.iter().map(|odd| (printable(bare(&odd.name)), printable(&odd.name))).collect();
        let taken = tasks.iter().map(|task| task.name.as_str()).collect();
        odd.iter_mut().zip(distinct(&called, &taken)).for_each(|(odd, name)| odd.name = name);
        self.without_scales_of_one_side(&mut odd);
        odd
    }

    /// Takes out what scales a weight of one side that the other stores without scales: it came with the type, or went
    /// with it, and the row of the weight says so.
    fn without_scales_of_one_side(&self, odd: &mut [Odd]) {
        let plain = |side: &Side| -> BTreeSet<String> {
            let floats = |layer: &&Arc<Layer>| layer.encoding.is_none() && layer.dtype.size() > 1;
            side.layers.iter().filter(floats).map(|layer| pair::canonical(&layer.name)).collect()
        };
        if odd.iter().all(|odd| odd.scales().is_none()) {
            return;
        }
        let of_base = plain(&self.base);
        let of_tuned: Vec<BTreeSet<String>> = self.tuned.iter().map(|(_, side)| plain(side)).collect();
        for odd in odd {
            let Some(weight) = odd.scales().map(|weight| pair::canonical(bare(weight))) else { continue };
            odd.stored_plainly = if odd.base.is_some() {
                let lacks = odd.tuned.iter().map(Option::is_none);
                lacks.zip(&of_tuned).map(|(lacks, plain)| lacks && plain.contains(&weight)).collect()
            } else {
                vec![of_base.contains(&weight); self.tuned.len()]
            };
        }
    }
}

impl Odd {
    /// One that no side has yet.
    fn new(tuned: Vec<Option<Entry>>) -> Self {
        Self { name: String::new(), base: None, stored_plainly: vec![false; tuned.len()], tuned }
    }

    /// As some side has it, the base first.
    fn entry(&self) -> Option<&Entry> {
        self.base.as_ref().or_else(|| self.tuned.iter().flatten().next())
    }

    /// The name of its tensor.
    fn tensor(&self) -> &str {
        self.entry().map_or("", |entry| &entry.tensor.tensor)
    }

    /// The weight that it scales.
    fn scales(&self) -> Option<&str> {
        self.entry()?.tensor.scales.as_deref()
    }

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
        let tuned = sides.tuned.iter().zip(&self.tuned).zip(&self.stored_plainly);
        let tuned = tuned.map(|(((_, side), entry), plainly)| {
            let content = entry.as_ref().map(|entry| read(side, entry)).transpose()?.flatten();
            let (standing, retyped) = between(self.base.as_ref().map(header), entry.as_ref().map(header));
            let nonfinite = nonfinite(entry.as_ref(), content.as_ref());
            let same = base.as_ref().zip(content.as_ref()).map(|(base, tuned)| base.blake3 == tuned.blake3);
            let (standing, bytes) = match (standing, same) {
                (Some(Standing::Unchanged), Some(false)) => (Some(Standing::Measured), Bytes::Seen),
                (Some(Standing::Unchanged), None) => (Some(Standing::Measured), Bytes::Unseen),
                (Some(Standing::Added | Standing::Removed), _) if *plainly && is_sound(nonfinite) => {
                    (None, Bytes::Seen)
                }
                (standing, _) => (standing, Bytes::Seen),
            };
            Ok((Fate { standing, retyped, bytes, nonfinite }, content))
        });
        let tuned = tuned.collect::<Result<_, Error>>()?;
        Ok(SeenOdd { tuned, base_nonfinite: nonfinite(self.base.as_ref(), base.as_ref()), base })
    }

    /// Its name in reports.
    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    /// Its row: none where there is nothing to say of it.
    pub(super) fn row(&self, seen: &Result<SeenOdd, String>, vocabulary: &Vocabulary) -> Option<Row> {
        let Entry { tensor, .. } = self.entry()?;
        let name = self.name.clone();
        let (block, role) = place(&printable(bare(&tensor.tensor)));
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
        if seen.is_unchanged() {
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
            values: vocabulary.fates(seen.base_nonfinite, &fates),
            ..row
        })
    }
}

impl SeenOdd {
    /// Whether it is the same on all sides, and every entry is finite.
    pub(super) fn is_unchanged(&self) -> bool {
        self.tuned.iter().all(|(fate, _)| same(fate))
    }
}

/// Whether there is nothing to say of a tensor on one side.
fn same(fate: &Fate) -> bool {
    matches!(fate.standing, None | Some(Standing::Unchanged))
        && fate.retyped == Retyped::No
        && is_sound(fate.nonfinite)
}

/// The tensors of a side that are no matrices.
fn entries(side: &Side) -> impl Iterator<Item = Entry> {
    let stored = source(side).map_or(&[][..], Catalogue::tensors);
    let by_name: BTreeMap<&str, &TensorInfo> =
        stored.iter().map(|stored| (stored.name.as_str(), stored)).collect();
    side.others.iter().map(move |tensor| {
        let stored = by_name.get(tensor.tensor.as_str()).map(|stored| (*stored).clone());
        Entry { tensor: tensor.clone(), stored }
    })
}

/// How many entries are not finite, or why that is not known.
fn nonfinite(entry: Option<&Entry>, content: Option<&SkippedContent>) -> Value {
    let count = content.and_then(|content| content.nonfinite_count).map(Value::Count);
    count.unwrap_or(Value::Missing(if entry.is_some() {
        MissingReason::Unseen
    } else {
        MissingReason::Absent
    }))
}

/// Whether nothing is known against it.
fn is_sound(nonfinite: Value) -> bool {
    matches!(nonfinite, Value::Count(0) | Value::Missing(MissingReason::Absent))
}

/// What the bytes of a tensor say: as a report has it, or as they are read.
fn read(side: &Side, entry: &Entry) -> Result<Option<SkippedContent>, Error> {
    match (source(side), &entry.stored, &entry.tensor.failed) {
        (Some(source), Some(stored), _) => hygiene::content(source, stored),
        (_, _, Some(failure)) => Err(side.failed(failure)),
        _ => Ok(entry.tensor.content.clone()),
    }
}

/// The checkpoint that stores the tensors which are no matrices; none of a report.
fn source(side: &Side) -> Option<&Catalogue> {
    match &side.content {
        Content::Weights(source) => Some(source.as_ref()),
        // An adapter changes no tensor that is no matrix.
        Content::Adapter(pairs, _) => Some(pairs.base().as_ref()),
        Content::Saved(..) => None,
    }
}
