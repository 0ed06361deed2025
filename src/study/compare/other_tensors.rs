//! The tensors of a comparison that are not matrices: which is which, what became of them, and whether they are finite.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::side::{ComparedSide, SideData, Sides};
use super::standing::{between, summary};
use crate::analysis::compare::{Bytes, Fate, Retyped, Vocabulary};
use crate::analysis::hygiene;
use crate::checkpoint::Catalogue;
use crate::error::{Error, printable};
use crate::layer::{self, Filter, Layer, TensorInfo, bare, block_and_role, distinct, natural};
use crate::pair;
use crate::report::{
    Column, Comparison, MissingReason, Row, RowValues, Skipped, SkippedContent, Standing, Value,
};
use crate::solver::Memo;
use crate::text::Text;

/// A tensor that is not a matrix, on all sides.
#[derive(Debug, Clone)]
pub(super) struct OtherTensor {
    name: Text,
    base: Option<Entry>,
    tuned: Vec<Option<Entry>>,
    /// Whether the other side needs no scales for the weight that it scales; empty where it scales none.
    stored_plainly: Vec<bool>,
}

/// The tensor of one side, and its position among those that its file stores, if it is there.
#[derive(Debug, Clone)]
struct Entry {
    tensor: Arc<Skipped>,
    stored: Option<usize>,
}

impl Sides {
    /// The tensors that are not matrices and that `filter` keeps, in natural name order. Their rows have none
    /// of the names that are `taken`.
    pub(super) fn other_tensors(&self, filter: &Filter, taken: &BTreeSet<&str>) -> Vec<OtherTensor> {
        fn names(side: &ComparedSide) -> Vec<&str> {
            side.others().iter().map(|line| line.tensor.as_str()).collect()
        }
        let empty = || vec![None; self.tuned.len()];
        let of_base = names(&self.base);
        let mut others: Vec<OtherTensor> = entries(&self.base)
            .map(|entry| OtherTensor { base: Some(entry), ..OtherTensor::new(empty()) })
            .collect();
        let mut added: BTreeMap<String, usize> = BTreeMap::new();
        for (side, (_, tuned)) in self.tuned.iter().enumerate() {
            let partners = pair::tensors(&of_base, &names(tuned));
            for (entry, partner) in entries(tuned).zip(partners) {
                let at = partner.unwrap_or_else(|| {
                    // Several sides may have added the same.
                    let name = pair::canonical(&entry.tensor.tensor);
                    let known = added.get(&name).copied().filter(|at| others[*at].tuned[side].is_none());
                    known.unwrap_or_else(|| {
                        others.push(OtherTensor::new(empty()));
                        added.insert(name, others.len() - 1);
                        others.len() - 1
                    })
                });
                others[at].tuned[side] = Some(entry);
            }
        }
        others.retain(|other| filter.keeps(bare(other.tensor())));
        others.sort_by(|a, b| natural(a.tensor(), b.tensor()));
        others.iter_mut().for_each(|other| other.name = layer::printable_name(other.tensor()));
        let mut seen = taken.clone();
        if !others.iter().all(|other| seen.insert(&other.name)) {
            let called: Vec<(String, String)> =
                others.iter().map(|other| (other.name.to_string(), printable(other.tensor()))).collect();
            others
                .iter_mut()
                .zip(distinct(&called, taken))
                .for_each(|(other, name)| other.name = name.into());
        }
        self.without_scales_of_one_side(&mut others);
        others
    }

    /// Removes scales of a weight that the other side stores without scales: they came with the type, or went
    /// with it, and the row of the weight says so.
    fn without_scales_of_one_side(&self, others: &mut [OtherTensor]) {
        let plain = |side: &ComparedSide| -> BTreeSet<String> {
            let floats = |layer: &&Arc<Layer>| layer.encoding.is_none() && layer.dtype.size() > 1;
            side.layers.iter().filter(floats).map(|layer| pair::canonical(&layer.name)).collect()
        };
        if others.iter().all(|other| other.scales().is_none()) {
            return;
        }
        let of_base = plain(&self.base);
        let of_tuned: Vec<BTreeSet<String>> = self.tuned.iter().map(|(_, side)| plain(side)).collect();
        for other in others {
            let Some(weight) = other.scales().map(|weight| pair::canonical(bare(weight))) else { continue };
            other.stored_plainly = if other.base.is_some() {
                let lacks = other.tuned.iter().map(Option::is_none);
                lacks.zip(&of_tuned).map(|(lacks, plain)| lacks && plain.contains(&weight)).collect()
            } else {
                vec![of_base.contains(&weight); self.tuned.len()]
            };
        }
    }
}

impl OtherTensor {
    /// One that no side has yet.
    fn new(tuned: Vec<Option<Entry>>) -> Self {
        Self { name: Text::default(), base: None, stored_plainly: vec![], tuned }
    }

    /// As some side has it, the base first.
    fn entry(&self) -> Option<&Entry> {
        self.base.as_ref().or_else(|| self.tuned.iter().flatten().next())
    }

    /// The name of its tensor.
    fn tensor(&self) -> &Text {
        self.entry().map_or(&self.name, |entry| &entry.tensor.tensor)
    }

    /// The weight that it scales.
    fn scales(&self) -> Option<&str> {
        self.entry()?.tensor.scales.as_deref()
    }

    /// How many bytes are read to see it.
    pub(super) fn bytes(&self, sides: &Sides) -> u64 {
        let entries = sides.all().zip(std::iter::once(&self.base).chain(&self.tuned));
        entries.filter_map(|(side, entry)| stored(side, entry.as_ref()?)).map(hygiene::bytes).sum()
    }

    /// What its bytes say on each side, the base first; nothing where a side has no such tensor, or its bytes are not
    /// known.
    ///
    /// # Errors
    /// When a side cannot be read.
    pub(super) fn read(&self, sides: &Sides, memo: &dyn Memo) -> Result<Vec<Option<SkippedContent>>, Error> {
        let entries = std::iter::once(&self.base).chain(&self.tuned);
        let content = |(side, entry): (&ComparedSide, &Option<Entry>)| {
            Ok(entry.as_ref().map(|entry| read(side, entry, memo)).transpose()?.flatten())
        };
        sides.all().zip(entries).map(content).collect()
    }

    /// What became of it on each tuned side, by what its bytes say there and in the base.
    fn fates(&self, contents: &[Option<SkippedContent>]) -> Vec<Fate> {
        let header = |entry: &Entry| (entry.tensor.shape.clone(), entry.tensor.dtype.clone());
        let Some((base, tuned)) = contents.split_first() else { return vec![] };
        let tuned = self.tuned.iter().enumerate().zip(tuned);
        let fate = |((i, entry), content): ((usize, &Option<Entry>), &Option<SkippedContent>)| {
            let plainly = self.stored_plainly.get(i).is_some_and(|plainly| *plainly);
            let (standing, retyped) = between(self.base.as_ref().map(header), entry.as_ref().map(header));
            let nonfinite = nonfinite(entry.as_ref(), content.as_ref());
            let same = base.as_ref().zip(content.as_ref()).map(|(base, tuned)| base.blake3 == tuned.blake3);
            let (standing, bytes) = match (standing, same) {
                (Some(Standing::Unchanged), Some(false)) => (Some(Standing::Measured), Bytes::Seen),
                (Some(Standing::Unchanged), None) => (Some(Standing::Measured), Bytes::Unseen),
                (Some(Standing::Added | Standing::Removed), _) if plainly && is_sound(nonfinite) => {
                    (None, Bytes::Seen)
                }
                (standing, _) => (standing, Bytes::Seen),
            };
            Fate { standing, retyped, bytes, nonfinite }
        };
        tuned.map(fate).collect()
    }

    /// Its name in reports.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its row, by what its bytes say on each side; none where it is the same on all sides and finite.
    pub(super) fn row(
        &self,
        contents: &Result<Vec<Option<SkippedContent>>, String>,
        (vocabulary, columns): (&Vocabulary, &Arc<[&'static Column]>),
    ) -> Option<Row> {
        let Entry { tensor, .. } = self.entry()?;
        let name = self.name.clone();
        let shown = printable(bare(&tensor.tensor));
        let (block, role) = block_and_role(&shown);
        let role = role.into();
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
        let comparison = |status, base_blake3| {
            Box::new(Comparison { status, base_shape: None, base_dtype: None, base_blake3 })
        };
        let contents = match contents {
            Ok(contents) => contents,
            Err(failure) => {
                let comparison = Some(comparison(Standing::Failed, None));
                return Some(Row { comparison, failed: Some(failure.clone()), ..row });
            }
        };
        let fates = self.fates(contents);
        if fates.iter().all(same) {
            return None;
        }
        let hash = |at: usize| Some(contents.get(at)?.as_ref()?.blake3.clone());
        let base_nonfinite = nonfinite(self.base.as_ref(), contents.first().and_then(Option::as_ref));
        Some(Row {
            blake3: if self.tuned.len() == 1 { hash(1) } else { None },
            comparison: Some(comparison(
                summary(&fates.iter().map(|fate| fate.standing).collect::<Vec<_>>()),
                hash(0),
            )),
            values: RowValues::in_columns(columns, vocabulary.fates(base_nonfinite, &fates)),
            ..row
        })
    }
}

/// Whether there is nothing to say of a tensor on one side.
fn same(fate: &Fate) -> bool {
    matches!(fate.standing, None | Some(Standing::Unchanged))
        && fate.retyped == Retyped::No
        && is_sound(fate.nonfinite)
}

/// The tensors of a side that are not matrices.
fn entries(side: &ComparedSide) -> impl Iterator<Item = Entry> {
    let place = move |tensor: &Skipped| source(side)?.stored().position(&tensor.tensor);
    side.others().iter().map(move |tensor| Entry { tensor: Arc::clone(tensor), stored: place(tensor) })
}

/// Where a tensor is stored.
fn stored<'s>(side: &'s ComparedSide, entry: &Entry) -> Option<&'s TensorInfo> {
    source(side)?.tensors().get(entry.stored?)
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

/// Findings from the bytes of a tensor: of a report, or read now.
fn read(side: &ComparedSide, entry: &Entry, memo: &dyn Memo) -> Result<Option<SkippedContent>, Error> {
    match (source(side), stored(side, entry), &entry.tensor.failed) {
        (Some(source), Some(stored), _) => hygiene::content(source, stored, memo),
        (_, _, Some(failure)) => Err(side.failed(failure)),
        _ => Ok(entry.tensor.content.clone()),
    }
}

/// The checkpoint that stores the tensors which are not matrices; none of a report.
fn source(side: &ComparedSide) -> Option<&Catalogue> {
    match &side.data {
        SideData::Weights(source) => Some(source.as_ref()),
        // An adapter changes no tensor that is not a matrix.
        SideData::Adapter(pairs, _) => Some(pairs.base().as_ref()),
        SideData::Saved(..) => None,
    }
}
