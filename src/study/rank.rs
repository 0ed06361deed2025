//! `rank`: how many directions each matrix, or its update, uses.

use super::matrices::{Copies, Method};
use super::spectrum::{LARGEST, precision_word};
use super::{Asked, Beside, FoundMatrix, Matrices, Opened, OwnColumns, Spectra};
use crate::analysis::{rank, spectrum};
use crate::error::Error;
use crate::layer::{Filter, Layer};
use crate::metric::{Chosen, RANKS, chosen};
use crate::report::Column;
use crate::solver::{Needs, Precision};

/// The options.
#[derive(Debug, Clone)]
pub struct RankRequest {
    precision: Precision,
    threshold: f64,
    chosen: &'static [Chosen],
    spectra: Spectra,
    asked: Asked,
}

impl RankRequest {
    /// Ranks that hold each of `shares` of the energy, beside those that are always told, and values above `threshold`
    /// of the largest.
    pub fn new(precision: Precision, threshold: f64, shares: &[f64], spectra: Spectra) -> Self {
        Self {
            precision,
            threshold,
            chosen: chosen(threshold, &new_shares(shares)),
            spectra,
            asked: Asked::own(),
        }
    }

    /// The same for the columns that are `asked` for.
    #[must_use]
    pub fn asked(self, asked: Asked) -> Self {
        Self { asked, ..self }
    }

    /// The columns that were asked for by a number.
    pub fn chosen(&self) -> impl Iterator<Item = &'static Column> + use<> {
        self.chosen.iter().map(|metric| &metric.column)
    }

    /// Every column, in report order.
    pub fn columns(&self) -> Vec<&'static Column> {
        RANKS.iter().map(|metric| &metric.column).chain(self.chosen()).collect()
    }

    /// The tasks over the matrices of `opened` that `filter` keeps.
    ///
    /// # Errors
    /// When there is none.
    pub fn plan(self, opened: Opened, filter: &Filter) -> Result<Matrices, Error> {
        let Self { precision, threshold, chosen, spectra, asked } = self;
        let is_asked = |metric: &&Chosen| asked.own == OwnColumns::Wanted || asked.names(&metric.column);
        let chosen: Vec<&'static Chosen> = chosen.iter().filter(is_asked).collect();
        let of_chosen = || chosen.iter().map(|metric| &metric.column);
        let is_whole = spectra == Spectra::Kept || !chosen.is_empty();
        let least = if is_whole { Needs::Values } else { Needs::Entries };
        let mut taken = asked.of_table(RANKS, (least, Needs::Values));
        taken.shown.extend(of_chosen());
        let (needs, metrics) = (taken.needs, taken.metrics);
        let mut parts = taken.parts(&asked, precision);
        if let Some(last) = parts.last_mut() {
            last.columns.extend(asked.told(of_chosen()));
        }
        let pairs = opened.pairs.clone();
        let method = Method {
            command: "rank",
            columns: metrics.iter().map(|metric| &metric.column).chain(of_chosen()).collect(),
            parts,
            shown: taken.shown,
            kept_by: None,
            settings: match needs {
                Needs::Values => vec![
                    ("precision", precision_word(precision).to_owned()),
                    ("noise", "median".to_owned()),
                    ("threshold", threshold.to_string()),
                ],
                Needs::Largest => {
                    vec![("precision", precision_word(precision).to_owned()), ("svd", LARGEST.to_owned())]
                }
                Needs::Entries => vec![("svd", "none".to_owned())],
            },
            cost: Box::new(move |layer| spectrum::cost(layer, precision, needs)),
            measure: Box::new(move |source, layer: &Layer, memo| {
                let (how, which) = ((precision, needs), (metrics, &chosen[..]));
                let measured = rank::measure(source, pairs.as_deref(), layer, how, which, memo)?;
                Ok(FoundMatrix::new(measured, layer, spectra))
            }),
            base: None,
            copies: Copies::Recalled,
            beside: Beside::Nothing,
        };
        Ok(Matrices::new(opened, filter, method)?.holding(spectra))
    }
}

/// The shares that have no column in [`RANKS`].
fn new_shares(shares: &[f64]) -> Vec<f64> {
    let mut new: Vec<f64> = vec![];
    for share in shares.iter().filter(|share| ![0.90, 0.95, 0.99].contains(*share)) {
        if !new.contains(share) {
            new.push(*share);
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_one_column() {
        let request = RankRequest::new(Precision::Fast, 0.01, &[0.9, 0.8, 0.8, 0.95], Spectra::Dropped);
        let keys: Vec<&str> = request.columns().iter().map(|column| column.key).collect();
        for key in ["rank_at_80", "rank_at_90", "rank_at_95"] {
            assert_eq!(keys.iter().filter(|known| **known == key).count(), 1, "{key}: {keys:?}");
        }
    }
}
