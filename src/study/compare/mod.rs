//! `compare`: what changed from a base to one or several versions of it.
//!
//! A row takes two steps: its bytes are read, and only where they changed it is measured. What is not a matrix takes the
//! first.

mod assembly;
mod bytes;
mod known;
mod measure;
mod method;
mod origins;
mod other_tensors;
mod plan;
mod question;
mod side;
mod standing;
mod tasks;
mod unpaired;
mod updates;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::further::is_further;
use super::{
    Asked, Basis, Complete, Found, Manifest, Names, Reads, RowHeader, Step, Study, Waiting, ties, unmatched,
};
use crate::analysis::compare::{Preserve, Settings, Vectors, Vocabulary};
use crate::checkpoint::of_base;
use crate::engine::Job;
use crate::error::{Error, printable};
use crate::layer::{Filter, Layer, bare};
use crate::report::{
    self, Column, Comparison as Compared, Flag, Named, Report, Skipped, Standing, Totals, Unlisted, Update,
};
use crate::solver::{Memo, Precision};
use crate::store::Room;
use bytes::compare_bytes;
use known::Known;
use measure::{is_wanted, measured, measuring, read, reading, unmeasured};
use method::Method;
use other_tensors::OtherTensor;
use tasks::MatrixTask;
use unpaired::{Unpaired, unpaired};

pub use assembly::PairHeaders;
pub(super) use assembly::complete;
use assembly::{key, numbers_of};
pub use side::{ComparedSide, Sides};

/// The options.
#[derive(Debug, Clone)]
pub struct CompareRequest {
    /// How much is done.
    pub depth: Depth,
    /// Whose names metrics have, if not those of a report.
    pub names: Option<Names>,
    /// How exact singular values are, if not as those of a report.
    pub precision: Option<Precision>,
    /// Which singular vectors are compared, if no column asks for others.
    pub vectors: Vectors,
    /// Which of the base's directions count as principal.
    pub preserve: Preserve,
    /// Number of leading directions in the compared subspace.
    pub top: usize,
}

/// How much of a comparison is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every byte is read, nothing is decomposed.
    Bytes,
    /// Bytes are read where they decide what changed; that is measured.
    Changes,
    /// Unchanged matrices are measured, too.
    Everything,
}

/// A request over sides that are open.
pub struct Question {
    sides: Sides,
    depth: Depth,
    settings: Settings,
    /// What decides the numbers, as the report says it.
    words: Vec<(&'static str, String)>,
    vocabulary: Arc<Vocabulary>,
    /// Every column that is measured.
    columns: Vec<&'static Column>,
    /// Those of them that the report has in the end.
    shown: Vec<&'static Column>,
    /// What asks for them.
    asked: Asked,
}

/// A request over sides that are open, before it is known which columns are wanted.
pub struct Draft {
    sides: Sides,
    depth: Depth,
    method: Method,
    vectors: Vectors,
    preserve: Preserve,
    top: usize,
}

/// Its tasks: a row each for the matrices, then the other tensors, then the blocks that have unpaired matrices.
pub struct Comparison {
    question: Question,
    filter: Filter,
    tasks: Vec<MatrixTask>,
    /// Names of the matrices that the filter leaves out.
    dropped: Vec<String>,
    others: Arc<Vec<OtherTensor>>,
    unpaired: Vec<Unpaired>,
    roots: Vec<PathBuf>,
}

impl CompareRequest {
    /// The request over `sides`.
    ///
    /// # Errors
    /// When their numbers do not compare.
    pub fn over(self, sides: Sides) -> Result<Draft, Error> {
        let all: Vec<&ComparedSide> = sides.all().collect();
        updates::check(&all)?;
        let Self { depth, names, precision, vectors, preserve, top } = self;
        let method = match depth {
            Depth::Bytes => Method::of_bytes(&all),
            Depth::Changes | Depth::Everything => Method::shared(&all, names, precision)?,
        };
        Ok(Draft { sides, depth, method, vectors, preserve, top })
    }
}

impl Question {
    /// Every column that the report has in the end, in report order.
    pub fn shown(&self) -> &[&'static Column] {
        &self.shown
    }

    /// How much is done.
    pub fn depth(&self) -> Depth {
        self.depth
    }

    /// The sides.
    pub fn sides(&self) -> &Sides {
        &self.sides
    }

    /// Which singular vectors are compared.
    pub fn vectors(&self) -> Vectors {
        self.settings.needs.vectors
    }

    /// The names of the tuned sides.
    pub fn names(&self) -> Vec<&str> {
        self.sides.tuned.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Whether all sides have weights.
    pub fn has_weights(&self) -> bool {
        self.sides.all().all(|side| side.weights().is_some())
    }

    /// The tasks over what `filter` keeps.
    ///
    /// # Errors
    /// When there is no matrix, or there are more than fit into memory.
    pub fn plan(self, filter: Filter) -> Result<Comparison, Error> {
        let base = &self.sides.base;
        // What is planned takes as much as the matrices of a file, and as half of its other tensors.
        let room = Room::take(base.layers.len() + base.skipped.len() / 2, 0);
        room.map_err(|reason| Error::malformed(Path::new(&base.origin.path), reason))?;
        let (tasks, dropped) = self.sides.tasks(&filter);
        if tasks.is_empty() {
            let what = match dropped.len() {
                0 => "neither side holds a matrix".to_owned(),
                all => {
                    let names: Vec<&str> = dropped.iter().map(String::as_str).collect();
                    let hint = unmatched::hint(&filter, &names);
                    format!("`--include` and `--exclude` leave none of {all} matrices{hint}")
                }
            };
            return Err(Error::malformed(Path::new(&self.sides.base.origin.path), what));
        }
        if dropped.is_empty() && self.depth != Depth::Bytes {
            self.sides.check_related(&tasks)?;
        }
        let others = Arc::new(self.sides.other_tensors(&filter, &names(&tasks)));
        let sides = self.sides.tuned.iter().map(|(_, side)| side).chain([&self.sides.base]);
        let roots = sides.flat_map(|side| side.roots.clone()).collect();
        let unpaired = unpaired(&self.sides, &tasks);
        Ok(Comparison { question: self, filter, tasks, dropped, others, unpaired, roots })
    }
}

fn names(tasks: &[MatrixTask]) -> BTreeSet<&str> {
    tasks.iter().map(|task| task.name.as_str()).collect()
}

impl Comparison {
    /// The request over its sides.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// The names of the matrices that the filter leaves out, and of all tensors that are not matrices.
    pub fn left_out(&self) -> (&[String], Vec<String>) {
        let others = self.question.sides.other_tensors(&Filter::default(), &names(&self.tasks));
        (&self.dropped, others.iter().map(|other| other.name().to_owned()).collect())
    }

    /// The fields of a row that come from names and headers.
    fn row(&self, task: &MatrixTask) -> Option<RowHeader> {
        let layer = task.shared()?;
        let tuned = &self.question.sides.tuned;
        let base = task.base.as_ref();
        let differs = base.filter(|base| (base.rows, base.cols) != (layer.rows, layer.cols));
        let retyped = base.filter(|base| base.storage() != layer.storage());
        let mut flags: Vec<Flag> = layer.flag().into_iter().collect();
        let adapters = tuned.iter().zip(&task.tuned).filter_map(|((_, side), l)| update(side, l.as_ref()?));
        for flag in adapters.flat_map(|update| update.flags) {
            if !flags.contains(&flag) {
                flags.push(flag);
            }
        }
        Some(RowHeader {
            name: task.name.clone(),
            layer: Arc::clone(layer),
            update: if let [(_, side)] = tuned.as_slice() { update(side, layer) } else { None },
            flags,
            comparison: Some(Box::new(Compared {
                status: Standing::Failed,
                base_shape: differs.map(|base| [base.rows as u64, base.cols as u64]),
                base_dtype: retyped.map(|base| base.storage().to_owned()),
                base_blake3: None,
            })),
        })
    }

    /// Notes on the choice of files of all sides, each once.
    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = vec![];
        let Sides { base, tuned } = &self.question.sides;
        let several = tuned.len() > 1;
        let of_tuned = tuned.iter().flat_map(|(name, side)| {
            side.notes().into_iter().map(move |note| if several { format!("{name}: {note}") } else { note })
        });
        let has_weights = self.question.sides.all().any(|side| side.weights().is_some());
        let further = self.question.sides.all().filter(|side| {
            has_weights
                && side.saved().is_some_and(|saved| saved.columns.iter().any(|column| is_further(column)))
        });
        let further = further.map(|side| {
            format!("{}: its eigenvalues or robust values are not compared with weights", side.origin.path)
        });
        for note in of_tuned.chain(base.notes().iter().map(|note| of_base(note))).chain(further) {
            let note = printable(&note);
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes
    }
}

/// How an adapter stores its update of a matrix.
fn update(side: &ComparedSide, layer: &Layer) -> Option<Box<Update>> {
    side.weights()?.update(layer)
}

impl Study for Comparison {
    fn manifest(&self) -> Manifest {
        let Question { sides, words, vocabulary, columns, .. } = &self.question;
        let all: Vec<_> = sides.tuned.iter().take(1).flat_map(|(_, side)| &side.skipped).collect();
        let kept = all.iter().filter(|skipped| self.filter.keeps(bare(&skipped.tensor)));
        // Failed matrices have a row that says so.
        let skipped: Vec<Skipped> =
            kept.map(|skipped| Skipped { failed: None, ..Skipped::clone(skipped) }).collect();
        let mut origins = sides.tuned.iter().map(|(name, side)| (name, &side.origin));
        let (first, several) = (origins.clone().next(), sides.tuned.len() > 1);
        let of_tuned = |task: &MatrixTask| (0..sides.tuned.len()).map(|i| task.standing(i).1).collect();
        let reused =
            sides.base.saved().is_some() && sides.tuned.iter().any(|(_, side)| side.weights().is_some());
        let report = Report {
            schema: report::SCHEMA,
            svdkit: env!("CARGO_PKG_VERSION").into(),
            command: "compare".into(),
            model: first.map_or_else(|| sides.base.origin.clone(), |(_, origin)| origin.clone()),
            base: Some(sides.base.origin.clone()),
            tuned: origins
                .by_ref()
                .filter(|_| several)
                .map(|(name, source)| Named { name: name.clone(), source: source.clone() })
                .collect(),
            settings: words.iter().map(|(key, value)| ((*key).into(), value.clone())).collect(),
            columns: columns.clone(),
            rows: vec![],
            totals: Totals {
                skipped: skipped.len() as u64,
                filtered: (self.dropped.len() + all.len() - skipped.len()) as u64,
                ..Totals::default()
            },
            skipped,
            groups: vec![],
            notes: self.notes(),
            summary: None,
            findings: vec![],
            findings_unchecked: vec![],
            verdicts: vec![],
            unlisted: Unlisted::default(),
            steps: vec![],
        };
        let headers = PairHeaders {
            vocabulary: Arc::clone(vocabulary),
            retyped: self.tasks.iter().map(of_tuned).collect(),
            others: Arc::clone(&self.others),
            reused,
        };
        let rows = self.tasks.iter().filter_map(|task| self.row(task)).collect();
        Manifest { report, rows, roots: self.roots.clone(), complete: Complete::Comparison(headers) }
    }

    fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    fn costs(&self) -> Vec<Job> {
        let others = self.others.iter().map(|other| read(other.bytes(&self.question.sides)));
        let unpaired = self.unpaired.iter().map(|block| block.cost(&self.tasks));
        self.tasks.iter().map(reading).chain(others).chain(unpaired).collect()
    }

    fn basis(&self) -> Option<Basis> {
        Some(origins::basis(&self.question, &self.tasks))
    }

    fn reads(&self) -> Vec<Reads> {
        let tasks = self.tasks.iter().map(origins::reads);
        let sides = &self.question.sides;
        let others = self.others.iter().map(|other| origins::nowhere(other.bytes(sides)));
        tasks.chain(others).chain(self.unpaired.iter().map(|_| origins::nowhere(0))).collect()
    }

    fn work(&self) -> Vec<f64> {
        self.whole_work()
    }

    fn report_bytes(&self) -> u64 {
        self.estimate(self.question.vectors()).report
    }

    fn copies(&self, waiting: &[Waiting], _: &dyn Memo) -> Vec<Option<usize>> {
        ties::copies(waiting.iter().map(|waiting| match waiting.before.as_ref()? {
            Found::Pair(found) => key(&self.row(self.tasks.get(waiting.task)?)?, found),
            _ => None,
        }))
    }

    fn run(&self, task: usize, before: Option<Found>, memo: &dyn Memo) -> Result<Step, Error> {
        let Question { sides, depth, settings, vocabulary, .. } = &self.question;
        let Some(row) = self.tasks.get(task) else {
            let after = task - self.tasks.len();
            return Ok(Step::Done(match self.others.get(after) {
                Some(other) => Found::Bytes(other.read(sides, memo)?),
                None => Found::Parts(self.unpaired[after - self.others.len()].read(sides, &self.tasks)?),
            }));
        };
        if let Some(Found::Pair(found)) = before {
            let known = || Known::new(&self.question, row, &found, memo);
            let before = known();
            let measured = if let Some(known) = before.recall() {
                known
            } else {
                let method = (*depth, settings, vocabulary.as_ref());
                let measured = measured(sides, row, (*found).clone(), method, memo)?;
                before.keep(&known(), &measured);
                measured
            };
            return Ok(Step::Done(Found::Pair(Box::new(measured))));
        }
        let mut found = compare_bytes(sides, row, (*depth, vocabulary, settings.drifts), memo)?;
        if is_wanted(&found, *depth) {
            return Ok(Step::Again(measuring(sides, row, settings), Found::Pair(Box::new(found))));
        }
        let tuned = found.tuned.into_iter().zip(&sides.tuned);
        found.tuned = tuned
            .map(|(known, (_, side))| {
                unmeasured(known, side, (found.base.as_ref(), found.base_resolution.as_ref()))
            })
            .collect();
        Ok(Step::Done(Found::Pair(Box::new(found))))
    }
}
