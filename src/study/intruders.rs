//! `intruders`: which leading directions of a fine-tune its base does not have.

use std::sync::Arc;

use super::asked::PlanPart;
use super::matrices::{Copies, Method};
use super::{Asked, Beside, FoundMatrix, Matrices, Opened, Spectra};
use crate::analysis::intruders::{
    self, Cosines, Of, Options, PairMeasured, VectorSide, columns_of, measure, needs_of_update, totals,
};
use crate::checkpoint::{Holds, Pairs};
use crate::error::Error;
use crate::layer::{Filter, Layer};
use crate::report::{Column, Report};
use crate::solver::{Cost, Needs};
use crate::writing::Spool;

/// The options.
#[derive(Debug, Clone)]
pub struct IntrudersRequest {
    /// Which directions, and when one is an intruder.
    pub options: Options,
    /// The columns that are wanted.
    pub asked: Asked,
}

impl IntrudersRequest {
    /// Every column that there may be, in report order.
    pub fn columns(&self) -> Vec<&'static Column> {
        columns_of(self.options.side)
    }

    /// Those that come by themselves. All values of an update take as long as the rest, where they are not those of thin
    /// factors.
    fn own(&self, pairs: &Pairs) -> Vec<&'static Column> {
        let is_dear = |column: &&'static Column| {
            pairs.tuned().holds() == Holds::Weights && needs_of_update(&[*column]) == Needs::Values
        };
        self.columns().into_iter().filter(|column| !is_dear(column)).collect()
    }

    /// The tasks over the pairs of `opened` that `filter` keeps; `corrections` takes what a mitigated copy adds to each weight,
    /// by the matrix's name: that is written, not reported, so no record holds it.
    ///
    /// # Errors
    /// When there is none.
    pub fn plan(
        self,
        opened: Opened,
        pairs: &Arc<Pairs>,
        filter: &Filter,
        corrections: Option<&Arc<Spool>>,
    ) -> Result<Matrices, Error> {
        let (all, own) = (self.columns(), self.own(pairs));
        let Self { options, asked } = self;
        let shown = asked.shown(&all, &own);
        let asked_by_rules = all.iter().copied().filter(|column| asked.is_evidence(column.key));
        let wanted: Vec<&'static Column> = shown.iter().copied().chain(asked_by_rules).collect();
        let needs = needs_of_update(&wanted);
        // Sums and findings are of the directions, whichever columns are shown.
        let columns: Vec<&'static Column> =
            all.into_iter().filter(|column| needs_of_update(&[*column]) <= needs).collect();
        let side = match options.side {
            VectorSide::Left => "left",
            VectorSide::Right => "right",
            VectorSide::Both => "both",
        };
        let k = options.k;
        let part = |what, of_update: bool, at: usize| {
            let is_for = |column: &&&'static Column| column.key.starts_with("delta_") == of_update;
            let (columns, pairs) = (wanted.iter().filter(is_for).copied(), Arc::clone(pairs));
            let flops = move |layer: &Layer| intruders::costs(&pairs, layer, k, needs)[at].flops;
            PlanPart { what, columns: asked.told(columns), flops: Box::new(flops) }
        };
        let method = Method {
            command: "intruders",
            parts: vec![part("directions", false, 1), part("update", true, 0)],
            shown,
            // What a mitigated copy adds is kept nowhere.
            kept_by: corrections.is_none().then(|| format!("{options:?}")),
            settings: vec![
                ("k", k.to_string()),
                ("epsilon", options.epsilon.to_string()),
                ("side", side.to_owned()),
                ("of", if options.of == Of::Delta { "delta" } else { "tuned" }.to_owned()),
                ("cosines", if options.cosines == Cosines::Exact { "exact" } else { "bounds" }.to_owned()),
                // Thin factors give all values at once.
                (
                    "update",
                    if pairs.tuned().holds() == Holds::Weights { needs } else { Needs::Values }
                        .name()
                        .to_owned(),
                ),
            ],
            cost: {
                let pairs = Arc::clone(pairs);
                Box::new(move |layer| {
                    let [update, directions] = intruders::costs(&pairs, layer, k, needs);
                    Cost { flops: update.flops + directions.flops, ..directions }
                })
            },
            copies: if corrections.is_some() { Copies::Spared } else { Copies::Recalled },
            beside: Beside::Intruders(options.clone()),
            base: Some(Arc::clone(pairs)),
            measure: {
                let (pairs, corrections, columns) =
                    (Arc::clone(pairs), corrections.cloned(), columns.clone());
                Box::new(move |_, layer: &Layer, _| {
                    let PairMeasured { measured, base, intruders, drawn, correction } =
                        measure(&pairs, &layer.name, &options, &columns)?;
                    if let (Some(correction), Some(spool)) = (correction, &corrections) {
                        spool.put(&layer.name, &correction)?;
                    }
                    Ok(FoundMatrix {
                        base_blake3: Some(base.hex()),
                        intruders: Some(Box::new(intruders)),
                        drawn,
                        ..FoundMatrix::new(measured, layer, Spectra::Dropped)
                    })
                })
            },
            columns,
        };
        Matrices::new(opened, filter, method)
    }
}

/// Adds the sums over rows that belong together.
pub(super) fn sum_up(report: &mut Report, options: &Options) {
    report.groups = totals::groups(&report.rows);
    report.notes.splice(0..0, totals::summary(&report.rows, options));
}
