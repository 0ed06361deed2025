//! `compare MODEL --across`: the leading directions of matrices of one kind against each other, a row a kind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::each::{Watch, counted, each, left_out};
use super::matrices::report_of;
use super::{Estimate, RowHeader, unmatched};
use crate::analysis::across::{self, ACROSS};
use crate::checkpoint::{Catalogue, Holds};
use crate::engine::{Job, Limits};
use crate::error::{Error, printable};
use crate::layer::{Filter, Layer, Selection, natural, without_block};
use crate::report::{Column, Measurements, Overlaps, Report, Row, SkipKind, Skipped, Source, Totals};
use crate::solver::Factors;

/// What matrices of one kind differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Across {
    /// The number of their block.
    Layers,
    /// The number of the expert, in one block.
    Experts,
}

/// The options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcrossRequest {
    /// What is compared.
    pub across: Across,
    /// Number of leading directions.
    pub top: usize,
}

/// Matrices, each with what tells it from the others.
type Labeled = Vec<(String, Arc<Layer>)>;

/// Matrices of one kind and shape.
struct Kind {
    name: String,
    layers: Labeled,
}

/// The kinds of a model with two matrices or more.
struct Kinds {
    all: Vec<Kind>,
    /// What has no other of its kind.
    skipped: Vec<Skipped>,
    /// How many matrices and tensors a filter leaves out.
    filtered: usize,
}

impl AcrossRequest {
    /// Every column, in report order.
    pub fn columns(self) -> Vec<&'static Column> {
        ACROSS.iter().collect()
    }

    /// What it takes, as headers tell.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn estimate(self, source: &Catalogue, origin: &Source, filter: &Filter) -> Result<Estimate, Error> {
        let Kinds { all: kinds, skipped, .. } = self.kinds(source, origin, filter)?;
        let layers: Vec<&Layer> =
            kinds.iter().flat_map(|kind| &kind.layers).map(|(_, layer)| layer.as_ref()).collect();
        let bytes = layers.iter().map(|layer| layer.bytes()).sum();
        let jobs = layers.iter().map(|layer| self.job(layer)).collect();
        Ok(Estimate::new(&layers, jobs, bytes, (skipped.len(), ACROSS.len(), 1)))
    }

    /// The report on the model of `source`.
    ///
    /// # Errors
    /// When it has no two matrices of one kind, or `watch` broke. The row of a kind fails if one of its matrices cannot be
    /// read or decomposed.
    pub fn run(
        self,
        (source, origin): (Arc<Catalogue>, Source),
        filter: &Filter,
        (limits, watch): (Limits, Watch<'_>),
    ) -> Result<Report, Error> {
        let Kinds { all: kinds, mut skipped, filtered } = self.kinds(&source, &origin, filter)?;
        let layers: Vec<Arc<Layer>> =
            kinds.iter().flat_map(|kind| &kind.layers).map(|(_, layer)| Arc::clone(layer)).collect();
        let jobs: Vec<Job> = layers.iter().map(|layer| self.job(layer)).collect();
        let path = PathBuf::from(&origin.path);
        let mut notes: Vec<String> = source.notes().iter().map(|note| printable(note)).collect();
        if source.holds() == Holds::Updates {
            notes.push(format!("Δ every number is of what {} adds to its base", origin.path));
        }
        let most = |kind: &Kind| kind.layers.iter().map(|(_, layer)| most(layer)).min().unwrap_or(0);
        if let Some(kind) = kinds.iter().filter(|kind| most(kind) < self.top).min_by_key(|kind| most(kind)) {
            notes.push(format!(
                "`-k {}` is more than the {} directions of `{}`: each is compared by as many as it has",
                self.top,
                most(kind),
                printable(&kind.name)
            ));
        }
        let work: Arc<dyn Fn(usize) -> Result<Factors, Error> + Send + Sync> = Arc::new(move |i| {
            let layer = &layers[i];
            across::leading(&source, layer, self.top).map_err(|error| match error {
                Error::NotFinite { .. } => {
                    let reason = format!(
                        "holds NaN or infinite entries, so it has no directions; `--exclude {}` leaves it out",
                        layer.name
                    );
                    Error::tensor(&path, &layer.tensor, reason)
                }
                other => other,
            })
        });
        let mut found = each(&jobs, (limits, watch), &work)?.into_iter();
        let row = |kind: &Kind| {
            // All of a kind's are taken, whether they failed or not.
            let factors: Vec<Result<Factors, Error>> = found.by_ref().take(kind.layers.len()).collect();
            let factors: Result<Vec<Factors>, Error> = factors.into_iter().collect();
            let header = RowHeader::new(&kind.layers[0].1, None).row();
            let header = Row {
                name: printable(&kind.name).into(),
                role: printable(&kind.name).into(),
                block: header.block.filter(|_| self.across == Across::Experts),
                ..header
            };
            let measured = match factors {
                Ok(factors) => {
                    let empty = kind.layers.iter().zip(&factors).filter(|(_, of)| of.values.is_empty());
                    let reason = "every entry is zero, so it has no directions";
                    skipped.extend(empty.map(|((_, layer), _)| left_out(layer, SkipKind::Refused, reason)));
                    across::overlaps(&factors, self.top)
                }
                Err(error) => return Row { failed: Some(error.to_string()), ..header },
            };
            let overlaps = Overlaps {
                labels: kind.layers.iter().map(|(label, _)| label.clone()).collect(),
                names: kind.layers.iter().map(|(_, layer)| layer.name.to_string()).collect(),
                left: measured.left,
                right: measured.right,
            };
            Row {
                values: Measurements(ACROSS.iter().zip(measured.values).collect()).into(),
                overlaps: Some(Box::new(overlaps)),
                ..header
            }
        };
        let rows: Vec<Row> = kinds.iter().map(row).collect();
        let word = if self.across == Across::Layers { "layers" } else { "experts" };
        let settings = vec![("across", word.to_owned()), ("k", self.top.to_string())];
        let report = Report {
            totals: Totals { filtered: filtered as u64, ..Totals::default() },
            rows,
            notes,
            ..report_of("compare", origin, settings, self.columns())
        };
        Ok(counted(report, skipped))
    }

    fn job(self, layer: &Layer) -> Job {
        let cost = across::cost(layer, self.top);
        // The vectors are kept until all are there.
        let kept = 8 * self.top * (layer.rows + layer.cols);
        Job { flops: cost.flops.max(1.0), bytes: cost.bytes + kept as u64 }
    }

    /// The kinds of what `filter` keeps.
    fn kinds(self, source: &Catalogue, origin: &Source, filter: &Filter) -> Result<Kinds, Error> {
        let mut known: BTreeMap<(String, usize, usize), Labeled> = BTreeMap::new();
        let Selection { layers, skipped, filtered } = source.select(filter);
        let mut skipped: Vec<Skipped> = skipped.into_iter().map(Arc::unwrap_or_clone).collect();
        let (outside, alone) = match self.across {
            Across::Layers => ("in no numbered block", "no other block has its kind and shape"),
            Across::Experts => ("not of an expert", "no other expert of its block has its kind and shape"),
        };
        for layer in layers {
            match self.kind(&layer) {
                Some((kind, label)) => {
                    known.entry((kind, layer.rows, layer.cols)).or_default().push((label, layer));
                }
                None => skipped.push(left_out(&layer, SkipKind::Plain, outside)),
            }
        }
        let mut kinds: Vec<Kind> = vec![];
        for ((name, rows, cols), layers) in known {
            match layers.as_slice() {
                [(_, only)] => skipped.push(left_out(only, SkipKind::Refused, alone)),
                // Names of rows are unique.
                _ if kinds.iter().any(|kind| kind.name == name) => {
                    kinds.push(Kind { name: format!("{name} ({rows} × {cols})"), layers });
                }
                _ => kinds.push(Kind { name, layers }),
            }
        }
        if kinds.is_empty() {
            let what = match self.across {
                Across::Layers => "no two blocks with matrices of one kind and shape",
                Across::Experts => "no two experts: names with `experts.N.`, or stacks of experts",
            };
            let all = source.select(&Filter::default()).layers;
            let names: Vec<&str> = all.iter().map(|layer| layer.name.as_str()).collect();
            let hint = unmatched::hint(filter, &names);
            return Err(Error::malformed(Path::new(&origin.path), format!("holds {what}{hint}")));
        }
        kinds.sort_by(|a, b| natural(&a.name, &b.name));
        Ok(Kinds { all: kinds, skipped, filtered })
    }

    /// What a matrix shares with others, and what tells it from them; none where it has no others.
    fn kind(self, layer: &Layer) -> Option<(String, String)> {
        match self.across {
            Across::Layers => layer.block.map(|block| (without_block(&layer.name), block.to_string())),
            Across::Experts => expert(&layer.name),
        }
    }
}

/// The most directions that a matrix can have.
fn most(layer: &Layer) -> usize {
    layer.rank.unwrap_or(usize::MAX).min(layer.rows).min(layer.cols)
}

/// The name without the number of its expert, and that number: `…experts.3.w1` or the slice `…experts.gate_up_proj[3]`.
fn expert(name: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = name.split('.').collect();
    let at = parts.iter().position(|part| part.contains("expert"))?;
    if let Some(number) = parts.get(at + 1).filter(|part| part.parse::<u64>().is_ok()) {
        let mut kind = parts.clone();
        kind[at + 1] = "*";
        return Some((kind.join("."), (*number).to_owned()));
    }
    let (stack, number) = name.strip_suffix(']')?.rsplit_once('[')?;
    number.parse::<u64>().ok()?;
    Some((format!("{stack}[*]"), number.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_are_told_by_their_numbers() {
        let check = |name: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(kind, label)| (kind.to_owned(), label.to_owned()));
            assert_eq!(expert(name), expected, "{name}");
        };
        check("model.layers.0.mlp.experts.7.up_proj", Some(("model.layers.0.mlp.experts.*.up_proj", "7")));
        check("model.layers.0.mlp.experts.up_proj[3]", Some(("model.layers.0.mlp.experts.up_proj[*]", "3")));
        check("model.layers.0.mlp.shared_expert.up_proj", None);
        check("model.layers.0.mlp.up_proj", None);
    }
}
