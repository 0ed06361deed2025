//! The work of a comparison, from headers: its parts, each with the columns that it is for.

use super::measure::{measuring, read};
use super::tasks::MatrixTask;
use super::{Comparison, Depth, Question};
use crate::analysis::compare::{
    DIRECTION_COLUMNS, DRIFTS, NOTHING, PairNeeds, SUBSPACE_COLUMNS, Settings, Vectors,
};
use crate::layer::Layer;
use crate::report::Column;
use crate::solver::Needs;
use crate::study::estimate::total;
use crate::study::{Estimate, EstimatedPart, Study};

impl Comparison {
    /// The most that it costs, for headers do not tell what changed; with as many `vectors` as that.
    pub fn estimate(&self, vectors: Vectors) -> Estimate {
        let Question { sides, depth, settings, .. } = &self.question;
        let settings = &Settings { needs: settings.needs.with(vectors), ..*settings };
        let layers: Vec<&Layer> = self.tasks.iter().filter_map(MatrixTask::layer).collect();
        let bytes = |task: &MatrixTask| {
            let layers = std::iter::once(&task.base).chain(&task.tuned);
            let read = sides.all().zip(layers).filter(|(side, _)| side.weights().is_some());
            total(read.filter_map(|(_, layer)| Some(layer.as_ref()?.bytes())))
        };
        let jobs = self.tasks.iter().map(|task| match depth {
            Depth::Bytes => read(bytes(task)),
            Depth::Changes | Depth::Everything => measuring(sides, task, settings),
        });
        let skipped = sides.tuned.first().map_or(0, |(_, side)| side.skipped.len());
        Estimate {
            parts: parts(&self.question, &self.tasks, settings),
            ..Estimate::new(
                &layers,
                jobs.collect(),
                total(self.tasks.iter().map(bytes)),
                (skipped, self.question.columns.len(), 1 + sides.tuned.len()),
            )
        }
    }

    /// The work of each task in both steps, if every matrix changed.
    pub(super) fn whole_work(&self) -> Vec<f64> {
        let Question { sides, depth, settings, .. } = &self.question;
        let mut work: Vec<f64> = self.costs().iter().map(|job| job.flops).collect();
        if *depth != Depth::Bytes {
            for (work, task) in work.iter_mut().zip(&self.tasks) {
                *work += measuring(sides, task, settings).flops;
            }
        }
        work
    }
}

/// The parts, if every matrix changed.
pub(super) fn parts(question: &Question, tasks: &[MatrixTask], settings: &Settings) -> Vec<EstimatedPart> {
    let needs = settings.needs;
    let of = |needs: Needs| needs.name();
    let update = needs.update.filter(|needs| *needs > Needs::Entries);
    let vectors = if needs.vectors == Vectors::All { "all directions" } else { "leading directions" };
    let all = [
        (format!("{} of the base", of(needs.base)), PairNeeds { base: needs.base, ..NOTHING }),
        (format!("{} of the tuned side", of(needs.tuned)), PairNeeds { tuned: needs.tuned, ..NOTHING }),
        (format!("{} of the update", of(update.unwrap_or(Needs::Entries))), PairNeeds { update, ..NOTHING }),
        (vectors.to_owned(), PairNeeds { vectors: needs.vectors, ..NOTHING }),
        ("gains".to_owned(), PairNeeds { gains: needs.gains, ..NOTHING }),
    ];
    let part = |(what, part): (String, PairNeeds)| {
        let is_for = |column: &&'static Column| part != NOTHING && shares(needs_of(question, column), part);
        let columns = question.shown.iter().copied().filter(is_for);
        let settings = Settings { needs: part, ..*settings };
        EstimatedPart {
            what,
            flops: tasks.iter().map(|task| measuring(&question.sides, task, &settings).flops).sum(),
            columns: question.asked.told(columns),
        }
    };
    all.into_iter().filter(|(_, part)| *part != NOTHING).map(part).collect()
}

/// Whether something of both is the same kind of work.
fn shares(column: PairNeeds, part: PairNeeds) -> bool {
    (part.base > Needs::Entries && column.base > Needs::Entries)
        || (part.tuned > Needs::Entries && column.tuned > Needs::Entries)
        || (part.update.is_some() && column.update.is_some())
        || (part.vectors > Vectors::None && column.vectors > Vectors::None)
        || (part.gains == column.gains && part.gains != NOTHING.gains)
}

/// What a column needs.
fn needs_of(question: &Question, column: &'static Column) -> PairNeeds {
    let key = column.means();
    let mut drifts = DRIFTS.iter().chain(SUBSPACE_COLUMNS).chain(DIRECTION_COLUMNS);
    if let Some(drift) = drifts.find(|drift| drift.column == *key.metric) {
        return drift.needs;
    }
    let metric = question.settings.metrics.iter().find(|metric| metric.column == *key.metric);
    let needs = metric.map_or(Needs::Entries, |metric| metric.needs);
    PairNeeds::of_metric(needs, key.aspect)
}
