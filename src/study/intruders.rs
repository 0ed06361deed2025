//! `intruders`: which leading directions of a fine-tune its base does not have.

use std::sync::Arc;

use super::matrices::{Copies, Method};
use super::{Beside, FoundMatrix, Matrices, Opened, Spectra};
use crate::analysis::intruders::{
    self, Cosines, Of, Options, PairMeasured, VectorSide, columns_of, measure, totals,
};
use crate::checkpoint::Pairs;
use crate::error::Error;
use crate::layer::{Filter, Layer};
use crate::report::{Column, Report};
use crate::writing::Spool;

/// The options.
#[derive(Debug, Clone, PartialEq)]
pub struct IntrudersRequest {
    /// Which directions, and when one is an intruder.
    pub options: Options,
}

impl IntrudersRequest {
    /// Every column, in report order.
    pub fn columns(&self) -> Vec<&'static Column> {
        columns_of(self.options.side)
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
        let columns = self.columns();
        let Self { options } = self;
        let side = match options.side {
            VectorSide::Left => "left",
            VectorSide::Right => "right",
            VectorSide::Both => "both",
        };
        let k = options.k;
        let method = Method {
            command: "intruders",
            columns,
            settings: vec![
                ("k", k.to_string()),
                ("epsilon", options.epsilon.to_string()),
                ("side", side.to_owned()),
                ("of", if options.of == Of::Delta { "delta" } else { "tuned" }.to_owned()),
                ("cosines", if options.cosines == Cosines::Exact { "exact" } else { "bounds" }.to_owned()),
            ],
            cost: {
                let pairs = Arc::clone(pairs);
                Box::new(move |layer| intruders::cost(&pairs, layer, k))
            },
            copies: Copies::Spared,
            beside: Beside::Intruders(options.clone()),
            base: Some(Arc::clone(pairs)),
            measure: {
                let (pairs, corrections) = (Arc::clone(pairs), corrections.cloned());
                Box::new(move |_, layer: &Layer, _| {
                    let PairMeasured { measured, base, intruders, drawn, correction } =
                        measure(&pairs, &layer.name, &options)?;
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
        };
        Matrices::new(opened, filter, method)
    }
}

/// Adds the sums over rows that belong together.
pub(super) fn sum_up(report: &mut Report, options: &Options) {
    report.groups = totals::groups(&report.rows);
    report.notes.splice(0..0, totals::summary(&report.rows, options));
}
