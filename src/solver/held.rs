//! A matrix in memory, whole or as thin factors: its entries, its unit, and the spectra of its windows.

use super::choice::{Form, Need, Precision, procedure};
use super::entries::Entries;
use super::unit;
use crate::error::Error;
use crate::layer::Layer;
use crate::linalg::{self, Operator, WindowGrid, Windows};
use crate::low_rank::LowRank;
use crate::matrix::Matrix;
use crate::spectrum::Spectrum;
use crate::weight::{Catalogue, ContentId};

/// A matrix in memory.
#[derive(Debug, Clone, PartialEq)]
pub enum Held {
    /// Entry by entry.
    Dense(Matrix),
    /// As thin factors.
    Thin(LowRank),
}

impl<'a> From<&'a Held> for Operator<'a> {
    fn from(held: &'a Held) -> Self {
        match held {
            Held::Dense(matrix) => matrix.into(),
            Held::Thin(product) => product.into(),
        }
    }
}

impl Held {
    /// Reads a matrix whole; one that is stored as factors is never multiplied out.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(source: &Catalogue, layer: &Layer) -> Result<Self, Error> {
        match layer.rank {
            Some(_) => source.factors(layer).map(Self::Thin),
            None => source.read(layer, 0..layer.rows).map(Self::Dense),
        }
    }

    /// What its entries say, or those of its factors.
    pub fn entries(&self) -> Entries {
        match self {
            Self::Dense(matrix) => Entries::of(matrix),
            Self::Thin(product) => Entries::of_factors(product),
        }
    }

    /// What it is called equal by.
    pub fn identity(&self) -> ContentId {
        match self {
            Self::Dense(matrix) => ContentId::of_matrix(matrix),
            Self::Thin(product) => ContentId::of_factors(product),
        }
    }

    /// The exponent of its largest entry, or of a bound for the entries of a product; none for zeros.
    pub fn exponent(&self) -> Option<i32> {
        match self {
            Self::Dense(matrix) => unit::of_matrix(matrix),
            Self::Thin(product) => unit::of_product(product),
        }
    }

    /// The same times `2^exponent`.
    ///
    /// # Errors
    /// None: the shape stays.
    pub fn rescaled(&self, exponent: i32) -> Result<Self, Error> {
        Ok(match self {
            Self::Dense(matrix) => Self::Dense(unit::matrix(matrix, exponent)?),
            Self::Thin(product) => Self::Thin(unit::product(product, exponent)?),
        })
    }

    /// The spectra of all windows of a finite matrix, row by row; of a product at most as many values each as it has
    /// directions.
    ///
    /// # Errors
    /// [`Error::NotConverged`].
    pub fn windows(&self, windows: &Windows, precision: Precision) -> Result<Vec<Spectrum>, Error> {
        match self {
            Self::Dense(matrix) => {
                let form = Form::in_memory(&matrix.into(), precision);
                windows.spectra(matrix, procedure(&form, Need::Windows(windows)).route())
            }
            Self::Thin(product) => {
                let corners = windows
                    .rows
                    .starts
                    .iter()
                    .flat_map(|top| windows.cols.starts.iter().map(move |left| (*top, *left)));
                let spectrum = |(top, left)| {
                    linalg::low_rank_values(&cut(product, (top, &windows.rows), (left, &windows.cols))?)
                };
                corners.map(spectrum).collect()
            }
        }
    }
}

/// The factors of one window: rows of the left factor and columns of the right one.
fn cut(
    product: &LowRank,
    (top, rows): (usize, &WindowGrid),
    (left, cols): (usize, &WindowGrid),
) -> Result<LowRank, Error> {
    let rank = product.rank();
    let tall = product.left()[top * rank..(top + rows.length) * rank].to_vec();
    let row = |r: usize| &product.right()[r * product.cols() + left..][..cols.length];
    let wide = (0..rank).flat_map(row).copied().collect();
    LowRank::new((rows.length, cols.length), rank, tall, wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_factors_are_windows_of_their_product() {
        let (shape, rank) = ((30, 20), 3);
        let entry = |i: usize| ((i * 37 + 11) % 101) as f64 / 50.0 - 1.0;
        let left: Vec<f64> = (0..shape.0 * rank).map(entry).collect();
        let right: Vec<f64> = (7..7 + rank * shape.1).map(entry).collect();
        let factors = LowRank::new(shape, rank, left, right).expect("sizes agree");
        let windows = Windows {
            rows: WindowGrid { length: 9, starts: vec![0, 5, 21] },
            cols: WindowGrid { length: 8, starts: vec![0, 12] },
        };
        let spectra = |held: Held| held.windows(&windows, Precision::Exact).expect("converges");
        let dense = spectra(Held::Dense(factors.dense(0..shape.0).expect("fits")));
        for (found, expected) in spectra(Held::Thin(factors)).iter().zip(&dense) {
            for (found, value) in found.values().iter().zip(expected.values()) {
                assert!((found - value).abs() < 1e-13 * expected.largest(), "{found:e} is not {value:e}");
            }
        }
    }
}
